"""Atlases that are made from another: how it enters the sampler, and what of it stays as it is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gatlas.atlas.statistics import CHANNELS, shared_meta, stack, unstack
from gatlas.errors import GatlasError
from gatlas.models.atlas_unet import pack
from gatlas.systems.contract import digest_of
from gatlas.systems.gaussian_atlas.generated import generated_atlas

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor

    from gatlas.atlas.statistics import Whitening
    from gatlas.systems.contract import Edit
    from gatlas.types import Atlas

_NOUNS = {"gatlas_atlas": "format", "sphere": "sphere layout", "frame": "frame of the axes", "spaces": "value spaces"}


def check_edit(edit: Edit, layout: Mapping[str, Any], size: int) -> None:
    """Raise a GatlasError where an atlas has another layout than the atlases that the model makes."""
    atlas, name = edit.atlas, edit.name
    if not 0 <= edit.strength <= 1:
        raise GatlasError(f"strength must be at least 0 and at most 1, got {edit.strength}")
    if atlas.size != size:
        raise GatlasError(
            f"{name}: has {atlas.size} x {atlas.size} cells and the model makes {size} x {size}: encode it with "
            f"gatlas atlas-encode --size {size}"
        )
    if edit.anew is not None and edit.anew.shape != (size, size):
        raise GatlasError(f"the mask of {name} must have {size} x {size} cells, got {list(edit.anew.shape)}")
    meta = shared_meta(atlas, name)
    for key in ("gatlas_atlas", "sphere", "projection", "frame", "spaces", "antialiased"):
        found, wanted = meta.get(key), layout.get(key)
        if found != wanted:
            fault = "are others" if key == "spaces" else f"is {found!r}, not {wanted!r}"
            remedy = f"encode it with --projection {wanted}" if key == "projection" else "use an atlas like its own"
            raise GatlasError(
                f"{name}: its {_NOUNS.get(key, key)} {fault} as in the atlases that the model makes: {remedy}"
            )


def edit_latents(edit: Edit, whitening: Whitening, device: torch.device) -> Float[Tensor, "1 16 h w"]:
    """Return an atlas as the network sees it."""
    planes = torch.from_numpy(stack(edit.atlas)).to(device)
    return pack(whitening.whiten(planes))[None]


def edited_atlas(
    edit: Edit, planes: Float[np.ndarray, "h h 14"], layout: Mapping[str, Any], name: str, record: Mapping[str, Any]
) -> Atlas:
    """Return the atlas of raw planes from the network, in which the cells that are kept are those of the edit's atlas.

    It stands where that atlas stands, and has what its meta says of its source. Where every cell is kept, also because
    the strength is 0, it is that atlas with `record` in its meta.
    """
    anew = _anew(edit)
    if not anew.any():
        return replace(edit.atlas, meta={**edit.atlas.meta, "sample": dict(record)})
    own = stack(edit.atlas)
    made = generated_atlas(np.where(anew[..., None], planes, own), layout, name, record)
    kept = np.where(anew[..., None], stack(made), own)
    real = int((kept[..., CHANNELS["opacity"]] > 0).sum())
    meta = {**made.meta, "count": real, "padded": kept.shape[0] ** 2 - real}
    for key in ("normalization", "origin"):
        if key in edit.atlas.meta:
            meta[key] = edit.atlas.meta[key]
    return unstack(kept, meta)


def edit_record(edit: Edit) -> dict[str, Any]:
    """Return what a sample's record has of its edit."""
    meta = {key: value for key, value in edit.atlas.meta.items() if key != "sample"}
    text = np.frombuffer(json.dumps(meta, sort_keys=True).encode(), dtype=np.uint8)
    record: dict[str, Any] = {"atlas": digest_of([stack(edit.atlas), text]), "strength": edit.strength}
    if edit.anew is not None:
        record |= {"mask": digest_of([edit.anew]), "repeats": edit.repeats}
    return record


def _anew(edit: Edit) -> Bool[np.ndarray, "h h"]:
    """Return the cells that are made anew."""
    size = edit.atlas.size
    if edit.strength == 0:
        return np.zeros((size, size), dtype=bool)
    return np.ones((size, size), dtype=bool) if edit.anew is None else edit.anew
