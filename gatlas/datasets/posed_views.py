"""Sets of posed photos to learn from: in each sample some context views of a scene, and target views.

Which views, and the frame of their cameras, is a policy: see `gatlas.datasets.view_policy`. A sample is drawn from its
seed alone, so that a resumed run has the samples of a run without a break.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from gatlas.errors import GatlasError
from gatlas.images.crop import cover
from gatlas.io.photos.re10k import Clip, chunk_files, listed_keys, read_chunk
from gatlas.io.photos.scenes import PhotoFolder, scene_folders
from gatlas.io.photos.view_shards import ShardPhotos, is_view_shard, shard_objects

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8
    from torch import Tensor

    from gatlas.datasets.view_policy import PosedScene, ViewPolicy
    from gatlas.io.sets.shards import Member

CACHE_BYTES = 1 << 28  # of pictures at the network's size, in each process
OPEN_CHUNKS = 8  # at once, in each process
_MIRROR = np.diag([-1.0, 1.0, 1.0, 1.0])


@dataclass(frozen=True)
class SamplingConfig:
    """The way a sample is drawn from a scene."""

    width: int
    height: int
    policy: ViewPolicy
    flip: float = 0.5  # share of the samples that are mirrored
    max_fov: float = 100.0  # degrees; scenes with wider photos are left out
    background: float = 0.0  # gray value that transparent photos are put on, 0 black .. 1 white
    alpha: bool = False  # pictures have a fourth channel, the photo's alpha; 1 where it has none


class PosedSample(NamedTuple):
    """Some views of one scene, cut to one size."""

    key: str
    context: UInt8[np.ndarray, "v h w d"]  # RGB, or RGB over the background and alpha
    context_viewmats: Float[np.ndarray, "v 4 4"]  # world -> camera, OpenCV
    context_intrinsics: Float[np.ndarray, "v 3 3"]  # rows divided by the width and the height
    targets: UInt8[np.ndarray, "t h w d"]
    target_viewmats: Float[np.ndarray, "t 4 4"]
    target_intrinsics: Float[np.ndarray, "t 3 3"]


class PosedBatch(NamedTuple):
    """Several samples."""

    keys: list[str]
    context: UInt8[Tensor, "b v h w d"]
    context_viewmats: Float[Tensor, "b v 4 4"]
    context_intrinsics: Float[Tensor, "b v 3 3"]
    targets: UInt8[Tensor, "b t h w d"]
    target_viewmats: Float[Tensor, "b t 4 4"]
    target_intrinsics: Float[Tensor, "b t 3 3"]


class SceneRef(NamedTuple):
    """The path to the photos of a scene, and what is known of it before they are read."""

    path: Path  # the scene's folder, or a chunk, or a tar
    number: int | None  # of the clip in the chunk, or of the object in the tar
    key: str
    photos: int


class PosedViewSet(torch.utils.data.Dataset[PosedSample]):
    """Scenes whose photos are read when they are needed."""

    def __init__(self, scenes: Sequence[SceneRef], sampling: SamplingConfig, notes: Sequence[str] = ()) -> None:
        if not scenes:
            raise ValueError("there must be at least one scene")
        self._scenes = list(scenes)
        self.sampling = sampling
        self._notes = list(notes)
        self._folders: dict[Path, PhotoFolder] = {}
        self._shards: dict[Path, list[list[Member]]] = {}
        self._objects: dict[tuple[Path, int], ShardPhotos] = {}
        self._chunks: OrderedDict[Path, list[object]] = OrderedDict()
        self._pictures: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = {}

    def __len__(self) -> int:
        return len(self._scenes)

    def __getitem__(self, index: int) -> PosedSample:
        """Return a sample of a scene, the same every time."""
        return self.draw(index, seed=index)

    def draw(self, index: int, *, seed: int, step: int | None = None) -> PosedSample:
        """Return the sample of a scene that follows from `seed` and the optimizer step; None: as at the end.

        A photo that is damaged is a GatlasError that names it.
        """
        rng = np.random.default_rng(seed)
        policy, scene = self.sampling.policy, self._scene(index)
        context, targets = policy.choose(scene, rng, step)
        chosen = [*context, *targets]
        pictures, Ks = self._read(index, scene, chosen)
        viewmats = policy.in_frame(scene.viewmats[chosen])
        if rng.random() < self.sampling.flip:
            pictures, viewmats, Ks = mirrored(pictures, viewmats, Ks)
        parts = [(each[: len(context)], each[len(context) :]) for each in (pictures, viewmats, Ks)]
        return PosedSample(scene.key, *(part[0] for part in parts), *(part[1] for part in parts))

    def collate(self, items: list[PosedSample]) -> PosedBatch:
        """Return one batch."""
        arrays = [torch.from_numpy(np.stack(field)) for field in list(zip(*items, strict=True))[1:]]
        return PosedBatch([item.key for item in items], *arrays)

    def report(self) -> list[str]:
        """Return what was left out of the set and why, one message each."""
        return list(self._notes)

    def identity(self) -> Mapping[str, Iterable[Any]]:
        """Return the keys of the scenes and the numbers of their photos."""
        return {"scenes": ((scene.key, scene.photos) for scene in self._scenes)}

    def _scene(self, index: int) -> PosedScene:
        path, number = self._scenes[index][:2]
        if is_view_shard(path) and number is not None:
            if (path, number) not in self._objects:
                self._objects[path, number] = ShardPhotos(self._shards.setdefault(path, shard_objects(path))[number])
            return self._objects[path, number]
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
        self, index: int, scene: PosedScene, frames: Sequence[int]
    ) -> tuple[UInt8[np.ndarray, "n h w d"], Float[np.ndarray, "n 3 3"]]:
        """Return photos cut to the size of the samples, and their intrinsics. A small set is read once."""
        wanted = list(dict.fromkeys(frame for frame in frames if (index, frame) not in self._pictures))
        fresh = {}
        for frame, picture in zip(wanted, scene.pictures(wanted) if wanted else [], strict=True):
            self._check(index, frame, picture)
            fresh[index, frame] = self._cut(picture, scene.Ks[frame])
        pairs = [fresh.get((index, frame)) or self._pictures[index, frame] for frame in frames]
        pictures, Ks = np.stack([picture for picture, _ in pairs]), np.stack([K for _, K in pairs])
        if (len(self._pictures) + len(fresh)) * pictures[0].nbytes <= CACHE_BYTES:
            self._pictures |= fresh
        return pictures, Ks

    def _check(self, index: int, number: int, picture: Float[np.ndarray, "h w d"]) -> None:
        """Refuse a photo that was read, the one of this number in a scene, with a GatlasError: here none."""

    def _cut(
        self, picture: Float[np.ndarray, "h w d"], K: Float[np.ndarray, "3 3"]
    ) -> tuple[UInt8[np.ndarray, "height width channels"], Float[np.ndarray, "3 3"]]:
        sampling = self.sampling
        size = sampling.width, sampling.height
        cut, moved = cover(picture, K, *size, background=sampling.background)
        if sampling.alpha:
            alpha = picture[..., 3:] if picture.shape[-1] == 4 else np.ones_like(picture[..., :1])
            opacity, _ = cover(np.repeat(alpha, 3, axis=-1), K, *size)
            cut = np.concatenate([cut, opacity[..., :1]], axis=-1)
        return np.rint(cut * 255).astype(np.uint8), moved.astype(np.float32)


def posed_view_set(
    inputs: Sequence[str],
    sampling: SamplingConfig,
    kind: Callable[[Sequence[SceneRef], SamplingConfig, Sequence[str]], PosedViewSet] = PosedViewSet,
) -> PosedViewSet:
    """Return the scenes that the inputs name, as a set of a kind.

    An input is a folder of posed photos (transforms.json, COLMAP or SRN), a folder of such folders, a tar of folders
    with a transforms.json, or a folder of RealEstate10K chunks (or the one above it, whose `train` is taken). All
    scenes are opened once: those that cannot be used are left out with a line in `report`. That nothing is left is a
    GatlasError.
    """
    scenes: list[SceneRef] = []
    notes: list[str] = []
    for name in inputs:
        before, noted = len(scenes), len(notes)
        if is_view_shard(name):
            scenes += _shard(Path(name), sampling, notes)
            if len(scenes) == before:
                raise GatlasError(f"{name}: there is no object to learn from: {notes[noted]}")
            continue
        chunks = chunk_files(name)
        keys: set[str] = set()
        for path in chunks or scene_folders(name):
            scenes += _clips(path, sampling, notes, keys) if chunks else _folder(path, sampling, notes)
        if chunks:
            lacking = sorted((listed_keys(chunks[0].parent) or keys) - keys)
            if lacking:
                notes.append(
                    f"{chunks[0].parent}: {len(lacking)} clips of its index.json are in no chunk, the first is "
                    f"{lacking[0]}"
                )
        if len(scenes) == before:
            reason = (
                f": {notes[noted]}" if notes[noted:] else ": it holds no transforms.json, COLMAP model or .torch chunk"
            )
            raise GatlasError(f"{name}: there is no scene to learn from{reason}")
    notes += sampling.policy.notes()
    photos = sum(scene.photos for scene in scenes)
    notes.append(f"{len(scenes):,} {'scene' if len(scenes) == 1 else 'scenes'} of {photos:,} photos")
    return kind(scenes, sampling, notes)


def mirrored(
    pictures: UInt8[np.ndarray, "n h w d"], viewmats: Float[np.ndarray, "n 4 4"], Ks: Float[np.ndarray, "n 3 3"]
) -> tuple[UInt8[np.ndarray, "n h w d"], Float[np.ndarray, "n 4 4"], Float[np.ndarray, "n 3 3"]]:
    """Return pictures, cameras and intrinsics of a world whose x axis is reversed."""
    Ks = Ks.copy()
    Ks[:, 0, 2] = 1.0 - Ks[:, 0, 2]
    return np.ascontiguousarray(pictures[:, :, ::-1]), (_MIRROR @ viewmats @ _MIRROR).astype(viewmats.dtype), Ks


def _fault(scene: PosedScene, sampling: SamplingConfig) -> str | None:
    """Return why a scene cannot be used; None where it can."""
    if len(scene) < sampling.policy.context + 1:
        return f"has {len(scene)} photos and needs {sampling.policy.context + 1}"
    widest = np.degrees(2 * np.arctan(0.5 / np.min([scene.Ks[:, 0, 0], scene.Ks[:, 1, 1]])))
    if widest > sampling.max_fov:
        return f"has a field of view of {widest:.0f} degrees, beyond {sampling.max_fov:g}"
    return sampling.policy.fault(scene)


def _folder(path: Path, sampling: SamplingConfig, notes: list[str]) -> list[SceneRef]:
    """Return the folder's scene, where it can be used."""
    try:
        scene = PhotoFolder(path)
    except GatlasError as error:
        notes.append(f"left out: {error}")
        return []
    if (fault := _fault(scene, sampling)) is not None:
        notes.append(f"left out: {path}: {fault}")
        return []
    return [SceneRef(path, None, scene.key, len(scene))]


def _shard(path: Path, sampling: SamplingConfig, notes: list[str]) -> list[SceneRef]:
    """Return the objects of a tar that can be used."""
    usable = []
    for number, members in enumerate(shard_objects(path)):
        try:
            scene = ShardPhotos(members)
        except GatlasError as error:
            notes.append(f"left out: {error}")
            continue
        if (fault := _fault(scene, sampling)) is not None:
            notes.append(f"left out: {scene.name}: {fault}")
        else:
            usable.append(SceneRef(path, number, scene.key, len(scene)))
    return usable


def _clips(path: Path, sampling: SamplingConfig, notes: list[str], keys: set[str]) -> list[SceneRef]:
    """Return the clips of a chunk that can be used; the keys of all clips are added to `keys`."""
    try:
        records = read_chunk(path)
    except GatlasError as error:
        notes.append(f"left out: {error}")
        return []
    usable: list[SceneRef] = []
    unusable = []
    for number, record in enumerate(records):
        try:
            clip = Clip(str(path), record)
        except GatlasError as error:
            notes.append(f"left out: {error}")
            continue
        keys.add(clip.key)
        fault = _fault(clip, sampling)
        if fault is None:
            usable.append(SceneRef(path, number, clip.key, len(clip)))
        else:
            unusable.append(f"{clip.key} ({fault})")
    if unusable:
        notes.append(f"left out: {path}: {len(unusable)} of {len(records)} clips, the first is {unusable[0]}")
    return usable
