"""Sets of posed photos to learn from: in each sample some context views of a scene and target views between them.

World units of a sample: the distance between the first and the last context camera is 1, and the first context
camera is the world (Ye et al. 2024). A sample is drawn from its seed alone, so that a run that goes on sees the samples
of a run that was never stopped.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import torch

from gatlas.errors import GatlasError
from gatlas.geometry.cameras import camera_centers
from gatlas.images.crop import cover
from gatlas.io.photos.re10k import Clip, chunk_files, listed_keys, read_chunk
from gatlas.io.photos.scenes import PhotoFolder, scene_folders

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8
    from torch import Tensor

KEPT_BYTES = 1 << 28  # of pictures at the network's size, in each process
OPEN_CHUNKS = 8  # at once, in each process
LEAST_BASELINE = 1e-3  # between the first and the last context camera, in the scene's own units
_MIRROR = np.diag([-1.0, 1.0, 1.0, 1.0])


class Scene(Protocol):
    """The photos of one scene, in an order in which neighbours overlap, and their cameras."""

    key: str
    name: str  # for messages
    viewmats: Float[np.ndarray, "n 4 4"]  # world -> camera, OpenCV
    Ks: Float[np.ndarray, "n 3 3"]  # the first row divided by the width, the second by the height

    def __len__(self) -> int: ...

    def pictures(self, indices: Sequence[int]) -> list[Float[np.ndarray, "h w d"]]:
        """Some of the photos: RGB or straight RGBA, [0, 1]."""


@dataclass(frozen=True)
class Drawing:
    """How a sample is drawn from a scene. Gaps count photos from the first to the last context view."""

    width: int
    height: int
    context: int = 2  # views that the network sees
    targets: int = 4  # views between them that its Gaussians are compared with
    gap: tuple[int, int] = (45, 90)  # least and greatest
    gap_start: int = 25  # both at the first step; they then grow to `gap`
    gap_steps: int = 0  # over this many steps
    flip: float = 0.5  # share of the samples that are mirrored
    max_fov: float = 100.0  # degrees; scenes with wider photos are left out

    def gaps(self, step: int) -> tuple[int, int]:
        """The least and the greatest gap at a step."""
        share = 1.0 if self.gap_steps == 0 else min(1.0, step / self.gap_steps)
        low, high = (round(self.gap_start + share * (end - self.gap_start)) for end in self.gap)
        return max(low, self.least), max(high, self.least)

    @property
    def least(self) -> int:
        """The smallest gap that has room for the context views and a target."""
        return self.context


class Sample(NamedTuple):
    """Some views of one scene, cut to one size."""

    key: str
    context: UInt8[np.ndarray, "v h w 3"]
    context_viewmats: Float[np.ndarray, "v 4 4"]  # world -> camera, OpenCV; the first is 1
    context_intrinsics: Float[np.ndarray, "v 3 3"]  # rows divided by the width and the height
    targets: UInt8[np.ndarray, "t h w 3"]
    target_viewmats: Float[np.ndarray, "t 4 4"]
    target_intrinsics: Float[np.ndarray, "t 3 3"]


class SceneBatch(NamedTuple):
    """Several samples."""

    keys: list[str]
    context: UInt8[Tensor, "b v h w 3"]
    context_viewmats: Float[Tensor, "b v 4 4"]
    context_intrinsics: Float[Tensor, "b v 3 3"]
    targets: UInt8[Tensor, "b t h w 3"]
    target_viewmats: Float[Tensor, "b t 4 4"]
    target_intrinsics: Float[Tensor, "b t 3 3"]


class Place(NamedTuple):
    """Where the photos of a scene are, and what is known of it before they are read."""

    path: Path  # the scene's folder, or a chunk
    number: int | None  # of the clip in the chunk
    key: str
    photos: int


class PhotoSet(torch.utils.data.Dataset[Sample]):
    """Scenes whose photos are read when they are asked for."""

    def __init__(self, places: Sequence[Place], drawing: Drawing, notes: Sequence[str] = ()) -> None:
        if not places:
            raise ValueError("there must be at least one scene")
        self._places = list(places)
        self.drawing = drawing
        self._notes = list(notes)
        self._folders: dict[Path, PhotoFolder] = {}
        self._chunks: OrderedDict[Path, list[object]] = OrderedDict()
        self._pictures: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = {}

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Sample:
        """A sample of a scene, the same every time."""
        return self.draw(index, seed=index)

    def draw(self, index: int, *, seed: int, step: int | None = None) -> Sample:
        """The sample of a scene that follows from `seed`. `step` says how far the gap has grown; None: to its end.

        A photo that is damaged is a GatlasError that names it.
        """
        rng = np.random.default_rng(seed)
        drawing, scene = self.drawing, self._scene(index)
        context, targets = _choose(scene, drawing, rng, drawing.gaps(drawing.gap_steps if step is None else step))
        chosen = [*context, *targets]
        pictures, Ks = self._read(index, scene, chosen)
        viewmats = relative(scene.viewmats[chosen], len(context))
        if rng.random() < drawing.flip:
            pictures, viewmats, Ks = mirrored(pictures, viewmats, Ks)
        parts = [(each[: len(context)], each[len(context) :]) for each in (pictures, viewmats, Ks)]
        return Sample(scene.key, *(part[0] for part in parts), *(part[1] for part in parts))

    def collate(self, items: list[Sample]) -> SceneBatch:
        """One batch."""
        arrays = [torch.from_numpy(np.stack(field)) for field in list(zip(*items, strict=True))[1:]]
        return SceneBatch([item.key for item in items], *arrays)

    def report(self) -> list[str]:
        """What was left out of the set and why, a line each."""
        return list(self._notes)

    def identity(self) -> Mapping[str, Iterable[Any]]:
        """The keys of the scenes and how many photos each has."""
        return {"scenes": ((place.key, place.photos) for place in self._places)}

    def _scene(self, index: int) -> Scene:
        path, number = self._places[index][:2]
        if number is None:
            if path not in self._folders:
                self._folders[path] = PhotoFolder(path)
            return self._folders[path]
        if path not in self._chunks:
            self._chunks[path] = list(read_chunk(path))
            while len(self._chunks) > OPEN_CHUNKS:
                self._chunks.popitem(last=False)
        self._chunks.move_to_end(path)
        return Clip(str(path), self._chunks[path][number])

    def _read(
        self, index: int, scene: Scene, frames: Sequence[int]
    ) -> tuple[UInt8[np.ndarray, "n h w 3"], Float[np.ndarray, "n 3 3"]]:
        """Photos cut to the size of the drawing, and their intrinsics. A small set is read once."""
        width, height = self.drawing.width, self.drawing.height
        wanted = list(dict.fromkeys(frame for frame in frames if (index, frame) not in self._pictures))
        fresh = {}
        for frame, picture in zip(wanted, scene.pictures(wanted) if wanted else [], strict=True):
            cut, K = cover(picture, scene.Ks[frame], width, height)
            fresh[index, frame] = np.rint(cut * 255).astype(np.uint8), K.astype(np.float32)
        found = [fresh.get((index, frame)) or self._pictures[index, frame] for frame in frames]
        if (len(self._pictures) + len(fresh)) * width * height * 3 <= KEPT_BYTES:
            self._pictures |= fresh
        return np.stack([picture for picture, _ in found]), np.stack([K for _, K in found])


def scene_set(inputs: Sequence[str], drawing: Drawing) -> PhotoSet:
    """The scenes that the inputs name.

    An input is a folder of posed photos (transforms.json or COLMAP), a folder of such folders, or a folder of
    RealEstate10K chunks (or the one above it, whose `train` is taken). All scenes are opened once: those that cannot be
    used are left out with a line in `report`. That nothing is left is a GatlasError.
    """
    places: list[Place] = []
    notes: list[str] = []
    for name in inputs:
        before, told, chunks = len(places), len(notes), chunk_files(name)
        keys: set[str] = set()
        for path in chunks or scene_folders(name):
            places += _clips(path, drawing, notes, keys) if chunks else _folder(path, drawing, notes)
        if chunks:
            lacking = sorted((listed_keys(chunks[0].parent) or keys) - keys)
            if lacking:
                notes.append(
                    f"{chunks[0].parent}: {len(lacking)} clips of its index.json are in no chunk, the first is "
                    f"{lacking[0]}"
                )
        if len(places) == before:
            reason = (
                f": {notes[told]}" if notes[told:] else ": it holds no transforms.json, COLMAP model or .torch chunk"
            )
            raise GatlasError(f"{name}: there is no scene to learn from{reason}")
    if drawing.gap_steps:
        least = min(drawing.gap_start, drawing.gap[0])
        notes.append(f"context views are {least} photos apart or more, and farther from step to step")
    photos = sum(place.photos for place in places)
    notes.append(f"{len(places):,} {'scene' if len(places) == 1 else 'scenes'} of {photos:,} photos")
    return PhotoSet(places, drawing, notes)


def relative(viewmats: Float[np.ndarray, "n 4 4"], context: int) -> Float[np.ndarray, "n 4 4"]:
    """The cameras in the frame of the first, in units of its distance to the last of the first `context` ones."""
    moved = viewmats.astype(np.float64) @ np.linalg.inv(viewmats[0].astype(np.float64))
    moved[:, :3, 3] /= np.linalg.norm(moved[context - 1, :3, 3])
    moved[0] = np.eye(4)
    return moved.astype(np.float32)


def mirrored(
    pictures: UInt8[np.ndarray, "n h w 3"], viewmats: Float[np.ndarray, "n 4 4"], Ks: Float[np.ndarray, "n 3 3"]
) -> tuple[UInt8[np.ndarray, "n h w 3"], Float[np.ndarray, "n 4 4"], Float[np.ndarray, "n 3 3"]]:
    """What cameras see in a world whose x runs the other way."""
    Ks = Ks.copy()
    Ks[:, 0, 2] = 1.0 - Ks[:, 0, 2]
    return np.ascontiguousarray(pictures[:, :, ::-1]), (_MIRROR @ viewmats @ _MIRROR).astype(viewmats.dtype), Ks


def _choose(
    scene: Scene, drawing: Drawing, rng: np.random.Generator, gaps: tuple[int, int]
) -> tuple[list[int], list[int]]:
    """Context and target photos. All gaps in reach are equally likely, and then all starts."""
    starts = _starts(scene.viewmats, gaps)
    gap = int(rng.choice(sorted(starts)))
    first = int(rng.choice(starts[gap]))
    inner = first + 1 + np.arange(gap - 1)
    middle = np.sort(rng.choice(inner, size=drawing.context - 2, replace=False))
    rest = np.setdiff1d(inner, middle)
    targets = np.sort(rng.choice(rest, size=drawing.targets, replace=len(rest) < drawing.targets))
    return [first, *middle.tolist(), first + gap], targets.tolist()


def _starts(viewmats: Float[np.ndarray, "n 4 4"], gaps: tuple[int, int]) -> dict[int, np.ndarray]:
    """For each gap that the scene has, the first photos whose partner stands elsewhere. A short scene is used whole."""
    count = len(viewmats)
    centers = camera_centers(viewmats)
    low, high = min(gaps[0], count - 1), min(gaps[1], count - 1)
    found = {}
    for gap in range(low, high + 1):
        apart = np.linalg.norm(centers[gap:] - centers[:-gap], axis=1) >= LEAST_BASELINE
        if apart.any():
            found[gap] = np.flatnonzero(apart)
    return found


def _fault(scene: Scene, drawing: Drawing) -> str | None:
    """Why a scene cannot be used; None where it can."""
    if len(scene) < drawing.least + 1:
        return f"has {len(scene)} photos and needs {drawing.least + 1}"
    widest = np.degrees(2 * np.arctan(0.5 / np.min([scene.Ks[:, 0, 0], scene.Ks[:, 1, 1]])))
    if widest > drawing.max_fov:
        return f"has a field of view of {widest:.0f} degrees, beyond {drawing.max_fov:g}"
    # Every step of the gap's growth must find a pair.
    ranges = {drawing.gaps(step) for step in (0, drawing.gap_steps // 2, drawing.gap_steps)}
    if not all(_starts(scene.viewmats, gaps) for gaps in ranges):
        return "has cameras that all stand in one place"
    return None


def _folder(path: Path, drawing: Drawing, notes: list[str]) -> list[Place]:
    """The folder's scene, where it can be used."""
    try:
        scene = PhotoFolder(path)
    except GatlasError as error:
        notes.append(f"left out: {error}")
        return []
    if (fault := _fault(scene, drawing)) is not None:
        notes.append(f"left out: {path}: {fault}")
        return []
    return [Place(path, None, scene.key, len(scene))]


def _clips(path: Path, drawing: Drawing, notes: list[str], keys: set[str]) -> list[Place]:
    """The clips of a chunk that can be used; the keys of all that are there go to `keys`."""
    try:
        records = read_chunk(path)
    except GatlasError as error:
        notes.append(f"left out: {error}")
        return []
    found: list[Place] = []
    unusable = []
    for number, record in enumerate(records):
        try:
            clip = Clip(str(path), record)
        except GatlasError as error:
            notes.append(f"left out: {error}")
            continue
        keys.add(clip.key)
        fault = _fault(clip, drawing)
        if fault is None:
            found.append(Place(path, number, clip.key, len(clip)))
        else:
            unusable.append(f"{clip.key} ({fault})")
    if unusable:
        notes.append(f"left out: {path}: {len(unusable)} of {len(records)} clips, the first is {unusable[0]}")
    return found
