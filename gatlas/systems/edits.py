"""The atlas that a request varies or completes, and the mask of the cells that are made anew."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gatlas import io
from gatlas.errors import GatlasError
from gatlas.io.registry import suffixes
from gatlas.systems.contract import Edit

if TYPE_CHECKING:
    from jaxtyping import Bool

    from gatlas.systems.options import SampleOptions
    from gatlas.types import Atlas

STRENGTH = 0.6  # of a variation where none is given
REPEATS = 2  # of each step of a completion: 3 times the cost, half the bias (see the tests of the samplers)
MASK = "mask"  # the array of an NPZ of cells


def read_edit(options: SampleOptions) -> Edit | None:
    """Return the atlas that the options name and what is done with it; None where they name none."""
    if options.from_atlas is not None:
        atlas = io.load_atlas(options.from_atlas)
        return Edit(options.from_atlas, atlas, STRENGTH if options.strength is None else options.strength)
    if options.keep is None or options.mask is None:
        return None
    atlas = io.load_atlas(options.keep)
    return Edit(
        options.keep,
        atlas,
        1.0 if options.strength is None else options.strength,
        read_cells(options.mask, atlas, options.keep),
        REPEATS if options.repeats is None else options.repeats,
    )


def read_cells(mask: str, atlas: Atlas, name: str) -> Bool[np.ndarray, "h h"]:
    """Return the cells of an atlas that a mask marks: a part of the unit ball, an NPZ or a picture of a pixel per cell.

    `name` is the atlas's, for messages. A mask of another size, or one that marks no cell, is a GatlasError.
    """
    if mask.startswith(("box:", "sphere:")):
        marked = cells_in(mask, atlas)
        if not marked.any():
            raise GatlasError(
                f"--mask {mask}: no Gaussian of {name} is in it: it is given in the atlas's unit ball, y up"
            )
        return marked
    array = _of_picture(mask) if mask.lower().endswith(tuple(suffixes("image"))) else _of_npz(mask)
    if array.shape != (atlas.size, atlas.size):
        shape = " x ".join(map(str, array.shape))
        raise GatlasError(f"{mask}: has {shape} cells and {name} has {atlas.size} x {atlas.size}: give one per cell")
    if not array.any():
        raise GatlasError(f"{mask}: marks no cell: it must be white, or not 0, where cells are made anew")
    return array


def cells_in(region: str, atlas: Atlas) -> Bool[np.ndarray, "h h"]:
    """Return the cells whose Gaussians have their centers in a region of the unit ball, y up; padding has none."""
    from gatlas.atlas.decoding import unit_positions
    from gatlas.atlas.spaces import STORED_FRAME
    from gatlas.convert.converting import in_region
    from gatlas.convert.options import REGIONS, parse_region

    positions = unit_positions(atlas)
    if atlas.meta.get("frame") == STORED_FRAME:
        positions = positions * [-1.0, -1.0, 1.0]
    inside = in_region(positions, parse_region(region, f"--mask {region}: needs {REGIONS}"))
    return inside.reshape(atlas.size, atlas.size) & (atlas.opacity[..., 0] > 0)


def _of_picture(mask: str) -> Bool[np.ndarray, "h w"]:
    """Return where a picture is white, over black where it is transparent."""
    image = io.load_image(mask)
    gray = image[..., :3].mean(axis=-1)
    return (gray if image.shape[-1] == 3 else gray * image[..., 3]) > 0.5


def _of_npz(mask: str) -> Bool[np.ndarray, "*shape"]:
    """Return where the array of an NPZ is not 0."""
    from gatlas.io.array_reader import read_npz

    remedy = f": --mask takes an NPZ with the array '{MASK}', a picture, box:X,Y,Z,X,Y,Z or sphere:X,Y,Z,R"
    array = read_npz(io.as_blob(mask), (MASK,), finite=True, fault="no mask", remedy=remedy).get(MASK)
    if array is None or array.dtype.kind not in "biuf":
        raise GatlasError(f"{mask}: has no array '{MASK}' of numbers{remedy}")
    return array.reshape(array.shape[:2] if array.shape[2:] == (1,) else array.shape) != 0
