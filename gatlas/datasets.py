"""Sets of atlases to learn from: files, folders and tar shards, with captions and views beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from gatlas.atlas.spaces import STORED_FRAME
from gatlas.atlas.statistics import shared_meta, stack
from gatlas.errors import GatlasError
from gatlas.io.captions import captions_in_shards, load_captions, match
from gatlas.io.gather import gather, read_item
from gatlas.io.npz import decode_atlas
from gatlas.io.streams import is_folder
from gatlas.io.transforms import has_index

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from gatlas.io.gather import Item
    from gatlas.types import Atlas, AtlasStats

KEPT_BYTES = 1 << 28  # of planes, in each process: a small set is read once


class Example(NamedTuple):
    """One atlas."""

    key: str
    planes: Float[np.ndarray, "h h 14"]  # raw, in the order offset, color, opacity, scale, rotation
    captions: tuple[str, ...]  # none: it is learnt without text
    views: str | None  # folder with a transforms.json
    to_world: Float[np.ndarray, "4 4"]  # from the unit ball to the frame of the views


class Batch(NamedTuple):
    """Several examples."""

    keys: list[str]
    planes: Float[Tensor, "b h h 14"]
    captions: list[tuple[str, ...]]
    views: list[str | None]
    to_world: Float[Tensor, "b 4 4"]


class AtlasSet(torch.utils.data.Dataset[Example]):
    """Atlases of one layout, read when they are asked for."""

    def __init__(
        self,
        items: Sequence[Item],
        layout: AtlasStats,
        captions: Mapping[str, tuple[str, ...]] | None = None,
        views: Mapping[str, str] | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        """`layout` is what every atlas must agree with. With `captions`, items that have none must be left out."""
        if not items:
            raise ValueError("there must be at least one item")
        self._items = list(items)
        self._size = int(layout.mean.shape[0])
        self._layout = {**layout.meta, "size": self._size}
        self._captions = captions
        self._views = views or {}
        self._notes = list(notes)
        self._kept: dict[int, Example] = {}

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> Example:
        """The atlas of an item. One that is damaged or of another layout is a GatlasError that names it."""
        if index in self._kept:
            return self._kept[index]
        item = self._items[index]
        atlas = decode_atlas(read_item(item))
        self._check(item.name, atlas)
        example = Example(
            item.key,
            np.ascontiguousarray(stack(atlas), dtype=np.float32),
            self.captions_of(index),
            self._views.get(item.key),
            to_world(atlas, item.name),
        )
        if (len(self._kept) + 1) * example.planes.nbytes <= KEPT_BYTES:
            self._kept[index] = example
        return example

    def captions_of(self, index: int) -> tuple[str, ...]:
        """The captions of an item; none where the set has none."""
        return self._captions[self._items[index].key] if self._captions is not None else ()

    def collate(self, items: list[Example]) -> Batch:
        """One batch."""
        return Batch(
            [item.key for item in items],
            torch.from_numpy(np.stack([item.planes for item in items])),
            [item.captions for item in items],
            [item.views for item in items],
            torch.from_numpy(np.stack([item.to_world for item in items])),
        )

    def report(self) -> list[str]:
        """What was left out of the set and why, a line each."""
        return list(self._notes)

    def _check(self, name: str, atlas: Atlas) -> None:
        if atlas.size != self._size:
            raise GatlasError(
                f"{name}: the atlas is {atlas.size} x {atlas.size}, the statistics are {self._size} x {self._size}: "
                f"encode it with --size {self._size}, or make statistics of these atlases with gatlas normalize-stats"
            )
        for field, found in shared_meta(atlas, name).items():
            wanted = self._layout.get(field)
            if found != wanted:
                told = "are others than" if field == "spaces" else f"is {found!r}, not {wanted!r} like"
                noun = {"spaces": "value spaces", "gatlas_atlas": "format"}.get(field, field)
                raise GatlasError(
                    f"{name}: its {noun} {told} those of the statistics: make statistics of these atlases with gatlas "
                    "normalize-stats"
                )


def to_world(atlas: Atlas, name: str) -> Float[np.ndarray, "4 4"]:
    """The similarity from the unit ball to the coordinates that `gatlas.atlas.decode` gives."""
    record = atlas.meta.get("normalization", {"center": [0.0, 0.0, 0.0], "scale": 1.0})
    matrix = np.eye(4)
    try:
        matrix[:3, :3] *= float(record["scale"])
        matrix[:3, 3] = record["center"]
    except (KeyError, TypeError, ValueError) as error:
        raise GatlasError(f"{name}: damaged: its meta has a broken 'normalization': {record!r}") from error
    if atlas.meta.get("frame") == STORED_FRAME:  # half a turn about z
        matrix[:2] *= -1.0
    return matrix


def atlas_set(
    inputs: Sequence[str], layout: AtlasStats, *, captions: str | None = None, views: str | None = None
) -> AtlasSet:
    """The atlases that the inputs name, of the layout of the statistics.

    `captions` is a file (see `gatlas.io.captions`); without it, captions beside the atlases in their shards count. An
    atlas that has none is left out, unless none has any: then all are learnt without text. `views` is a folder with a
    folder DIR/<key> for each atlas. What is left out is in the set's `report`. That nothing is left is a GatlasError.
    """
    items = gather(inputs)
    notes: list[str] = []
    texts = captions_in_shards(items)
    if captions is not None:
        texts = {**texts, **_captions_of_file(captions, items, notes)}
    if texts:
        without = [item.key for item in items if item.key not in texts]
        if without:
            notes.append(f"{len(without)} of {len(items)} atlases have no caption and are left out: {listed(without)}")
        items = [item for item in items if item.key in texts]
    else:
        notes.append("there are no captions: the model learns without text")
    folders = _view_folders(views, [item.key for item in items], notes) if views is not None else None
    return AtlasSet(items, layout, texts or None, folders, notes)


def listed(names: Sequence[str], most: int = 5) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _captions_of_file(captions: str, items: Sequence[Item], notes: list[str]) -> dict[str, tuple[str, ...]]:
    """The captions of a file by the keys of the items; at least one must match."""
    matched = match(load_captions(captions), [item.key for item in items])
    if matched.unmatched:
        count = len(matched.unmatched)
        ids = "1 id belongs" if count == 1 else f"{count} ids belong"
        notes.append(f"{captions}: {ids} to no atlas: {listed(matched.unmatched)}")
    if matched.ambiguous:
        notes.append(
            f"{captions}: {len(matched.ambiguous)} ids fit several atlases, or several ids one, and are not used: "
            f"{listed(matched.ambiguous)}"
        )
    if not matched.captions:
        unused = [*matched.unmatched, *matched.ambiguous]
        raise GatlasError(
            f"{captions}: no id belongs to an atlas: the ids are {listed(unused, 2)}, "
            f"the atlases are {listed([item.key for item in items], 2)}"
        )
    return matched.captions


def _view_folders(views: str, keys: Sequence[str], notes: list[str]) -> dict[str, str]:
    """The folder of pictures of each atlas: DIR/<key>, else DIR/<last part of the key>."""
    if not is_folder(views):
        raise GatlasError(f"{views}: there is no such folder; it should hold a folder of pictures for each atlas")
    root = views.rstrip("/")
    found: dict[str, str] = {}
    for key in keys:
        names = dict.fromkeys((f"{root}/{key}", f"{root}/{key.rpartition('/')[2]}"))
        folder = next((name for name in names if has_index(name)), None)
        if folder is not None:
            found[key] = folder
    missing = [key for key in keys if key not in found]
    if not found:
        raise GatlasError(f"{views}: there is no {keys[0]}/transforms.json in it, nor one for any other atlas")
    if missing:
        notes.append(
            f"{views}: {len(missing)} of {len(keys)} atlases have no pictures, so theirs are rendered from the atlas: "
            f"{listed(missing)}"
        )
    return found


def all_captions(examples: Any) -> list[str]:
    """The first caption of every item of an `AtlasSet`, each text once, in order."""
    first = (examples.captions_of(i) for i in range(len(examples)))
    return list(dict.fromkeys(texts[0] for texts in first if texts))
