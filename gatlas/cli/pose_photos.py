"""What `gatlas pose-pnp` is asked for: its words, checked, and the photos with their lenses and masks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gatlas import io
from gatlas.errors import GatlasError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float

    from gatlas.geometry.lens import Lens
    from gatlas.io import Blob

STEM = "{stem}"


class Wish(NamedTuple):
    """What the command line says."""

    scene: str
    photos: tuple[str, ...]
    output: str
    fov: float | None
    intrinsics: str | None
    find: str
    matches: str | None
    init: str | None
    candidates: str | None
    views: int | None
    mask: str | None
    background: str | None
    refine: str
    focal: bool
    min_inliers: int
    own_units: bool
    ground_truth: str | None
    lpips_weights: str | None
    threads: int | None
    force: bool


class Photo(NamedTuple):
    """One photo, undistorted."""

    path: str
    image: Float[np.ndarray, "h w d"]
    K: Float[np.ndarray, "3 3"]  # pixels
    lens: Lens  # of the photo as it lies there
    original: Float[np.ndarray, "3 3"]  # K of the photo as it lies there, pixels
    mask: Float[np.ndarray, "h w"] | None  # undistorted too

    @property
    def size(self) -> tuple[int, int]:
        return self.image.shape[1], self.image.shape[0]

    def as_taken(self, K: Float[np.ndarray, "3 3"]) -> tuple[Float[np.ndarray, "3 3"], Lens]:
        """K and the lens of the photo as it lies there, where K is that of the undistorted one.

        Readers undo the lens again: they must come to the same picture, also where the focal length was refined.
        """
        from gatlas.io.photos.pose_file import zoomed_lens

        factor = float(K[0, 0] / self.K[0, 0])
        return self.original * np.array([[factor, 1, 1], [1, factor, 1], [1, 1, 1]]), zoomed_lens(self.lens, factor)

    def straight(self, pixels: Float[np.ndarray, "m 2"]) -> Float[np.ndarray, "m 2"]:
        """Where the undistorted photo shows what the photo as it lies there shows at `pixels`.

        NaN where the lens puts no ray.
        """
        from gatlas.geometry.lens import undistort_points

        return undistort_points(pixels, self.original, self.lens, self.K) if self.lens.bends else pixels


class Album(NamedTuple):
    """The photos, and the file of --init, whose frames' pictures lie where the photos do."""

    photos: list[Photo]
    init: Blob | None


def checked(wish: Wish) -> Wish:
    """The wish with folders replaced by the index in them; words that exclude each other are a GatlasError."""
    from gatlas.images.colors import parse_background
    from gatlas.io.photos.transforms import index_of

    _refuse_mixtures(wish)
    _refuse_shared_input(wish)
    behind = None if wish.background is None else parse_background(wish.background)
    if wish.refine == "noposplat" and wish.background is not None and behind is None:
        raise GatlasError("--background transparent: the photos' background must be a colour")

    def file(name: str | None) -> str | None:
        return str(index_of(name)) if name is not None and io.is_folder(name) else name

    return wish._replace(init=file(wish.init), intrinsics=file(wish.intrinsics), ground_truth=file(wish.ground_truth))


def read_album(wish: Wish) -> Album:
    """The photos that a checked wish names, with their intrinsics and masks.

    Where there is no --mask, it is the `mask_path` of the photo's own frame.
    """
    from gatlas.io.photos.photo_loader import own_masks, read_straight
    from gatlas.io.photos.transforms import index_of

    paths, index = list(wish.photos), None
    init = None if wish.init is None else io.read(wish.init)
    if len(paths) == 1 and io.is_folder(paths[0]):
        folder = Path(paths[0])
        if init is None:
            index = io.read(index_of(folder))
        else:
            init = index = replace(init, path=folder / Path(init.name).name)
        paths = _pictures_of(index, folder)
    elif not paths and init is not None:
        index = init
        paths = _pictures_of(init, Path(init.name).parent)
    intrinsics = None if wish.intrinsics is None else io.read(wish.intrinsics)
    source = index or init if intrinsics is None and wish.fov is None else intrinsics
    paths = paths or ["-"]
    framed = index or init or intrinsics
    masks: Sequence[str | Path | None] | None = None
    if wish.mask is not None:
        masks = _mask_names(wish.mask, paths)
    elif framed is not None:
        masks = own_masks(framed, paths)
    straight = read_straight(paths, fov=wish.fov, source=source, masks=masks)
    photos = [
        Photo(path, each.image, each.K, each.lens, each.original, each.mask)
        for path, each in zip(paths, straight, strict=True)
    ]
    return Album(photos, init)


def _refuse_mixtures(wish: Wish) -> None:
    ways = {"--matches": wish.matches, "--init": wish.init, "--candidates": wish.candidates}
    given = [name for name, value in ways.items() if value is not None]
    if len(given) > 1:
        raise GatlasError(f"{given[0]} and {given[1]} exclude each other")
    if given and wish.views is not None:
        raise GatlasError(f"--views is of cameras from all sides: it does not go with {given[0]}")
    if given and wish.find == "grid":
        raise GatlasError(f"--find grid does not go with {given[0]}")
    if wish.init is not None and wish.refine == "none":
        raise GatlasError("--init is to refine: leave out --refine none")
    if wish.init is not None and wish.refine == "noposplat":
        raise GatlasError("--refine noposplat refines one photo at a time from PnP: it does not go with --init")
    if wish.focal and wish.refine != "photometric":
        raise GatlasError("--focal needs --refine photometric")


def _refuse_shared_input(wish: Wish) -> None:
    """Two inputs cannot share one stream; the photo is the one that is read from there unasked."""
    photo = "-" if "-" in wish.photos or (not wish.photos and wish.init is None) else None
    inputs = {
        "the scene": wish.scene,
        "the photo": photo,
        "--matches": wish.matches,
        "--init": wish.init,
        "--candidates": wish.candidates,
        "--intrinsics": wish.intrinsics,
        "--ground-truth": wish.ground_truth,
    }
    piped = [name for name, value in inputs.items() if value == "-"]
    if len(piped) > 1:
        raise GatlasError(f"{piped[0]} and {piped[1]} cannot both come from standard input: name one of them")


def _pictures_of(index: Blob, folder: Path) -> list[str]:
    """The pictures that an index names, which must all be there."""
    from gatlas.io.photos.transforms import read_shots

    _, shots, _, _ = read_shots(index)
    missing = [shot.name for shot in shots if shot.picture is None]
    if missing:
        raise GatlasError(
            f"{index.name}: {len(missing)} of its pictures are missing in {folder}, the first is {missing[0]}"
        )
    return [str(shot.picture) for shot in shots]


def _mask_names(mask: str, paths: list[str]) -> list[str]:
    names = [mask.replace(STEM, Path(path).stem) for path in paths]
    if len(set(names)) < len(set(paths)):
        raise GatlasError(
            f"--mask {mask}: photos would share a mask: put {STEM} into its name, which no two photos may share"
        )
    return names
