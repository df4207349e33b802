"""Samples of any system, saved: one file, a folder that a second run completes, a tar, or standard output.

An atlas is an NPZ (or a splat PLY), Gaussians are a PLY, views are a folder of PNGs with a transforms.json, or one PNG.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gatlas import io
from gatlas.atlas import decode
from gatlas.config import Report, ignore
from gatlas.errors import GatlasError
from gatlas.io.images import encode_png
from gatlas.io.outputs import filling_folder, is_streamed
from gatlas.io.photos.transforms import encode_index
from gatlas.io.photos.views_folder import ViewsFolder, begun_views, record_of, stored_record
from gatlas.io.registry import names_a
from gatlas.io.splats.ply import encode_ply
from gatlas.types import Atlas, Cameras, Gaussians, Views

if TYPE_CHECKING:
    from jaxtyping import Float

    from gatlas.systems.contract import Photo, SampleRequest, SampleSpec, System

DIGESTS = (
    "weights",
    "photos",
    "cameras",
    "picture",
    "atlas",
    "mask",
)  # entries of records whose values no message shows
# Entries of the records of samples that are made from a picture or an atlas, and of no others.
OPTIONAL = ("picture", "atlas", "strength", "mask", "repeats")


def save_samples(
    system: System,
    request: SampleRequest,
    output: str = "-",
    *,
    views: str | None = None,
    force: bool = False,
    report: Report = ignore,
    on_step: Callable[[], None] = lambda: None,
) -> None:
    """Sample, and save each sample as soon as it is there.

    A folder keeps the samples that it has and gets those that it lacks; one that was made in another way is a
    GatlasError before anything is sampled. `force` makes all of them again. `views` is a folder for the photos as the
    system saw them, with the cameras that it found. `on_step` is called once per sample, or per view of the request's
    cameras.
    """
    kind = check_output(system, request, output, views=views, force=force)
    files, samples = FILES[system.gives], request.samples
    alone = len(request.conditions) * request.count == 1
    paths = {sample.name: files.path(output, sample.name, alone) for sample in samples}
    if kind == "folder" and not force:
        steps = _count_steps(request, samples)
        request = _without_finished(system, request, paths, output, report)
        for _ in range(steps - _count_steps(request, request.samples)):
            on_step()
    if not request.samples:
        return
    if kind == "tar":
        with io.ShardWriter(output, force=force) as shard:
            for sampled in _sample(system, request, on_step):
                key, prompt = io.shard_key(sampled.spec.name), sampled.spec.condition.prompt
                for member in files.members(key, sampled):
                    shard.add(*member)
                if prompt is not None:
                    shard.add(key, ".txt", prompt.encode())
        return
    if kind == "folder" and output.rstrip("/") not in paths.values():
        io.make_folder(output)
    if views is not None and not alone:
        io.make_folder(views)
    for sampled in _sample(system, request, on_step):
        if views is not None:  # is of Gaussians, which come whole
            (gaussians,) = sampled.pieces
            sampled = sampled._replace(pieces=iter([gaussians]))
        if kind == "folder":
            files.save(paths[sampled.spec.name], sampled, force)
        else:
            files.save_alone(output, sampled, force)
        if views is not None:
            folder = views if alone else f"{views.rstrip('/')}/{sampled.spec.name}"
            _save_located(system, gaussians, sampled.spec.condition.photos, folder, force, report)
    if kind == "folder":
        report(f"{len(request.samples)} samples in {output}")


def save_model(system: System, folder: str, *, force: bool = False) -> None:
    """Write a system as a model folder."""
    with filling_folder(folder, force=force) as target:
        system.save(str(target))


def check_output(
    system: System | type[System], request: SampleRequest, output: str, *, views: str | None = None, force: bool = False
) -> str:
    """Return what the output is: "file", "folder" or "tar".

    An output that cannot hold the samples is a GatlasError, and a folder for views that cannot be had.
    """
    files, samples = FILES[system.gives], request.samples
    if len({sample.name for sample in samples}) < len(samples):
        raise GatlasError("two samples would have one name: rename one of the pictures or the folders of photos")
    if views is not None and not system.locates:
        raise GatlasError(f"--views: {system.name} finds no cameras of its photos")
    if views is not None:
        io.check_output(views, force=force, folder=True)
    count = len(samples) if request.conditions else request.count  # without a condition, of the system's own
    parts = count * (1 if request.cameras is None else len(request.cameras))
    if io.is_folder(output):
        io.check_output(output, force=True, folder=True)  # samples that are there are kept, one by one
        return "folder"
    if output.lower().endswith(".tar") or (parts > 1 and is_streamed(output)):
        io.check_output(output, force=force, suffix=".tar", what=f"a tar of {files.plural}")
        return "tar"
    if parts > 1:
        asked = f"sample, and {count}" if count > 1 else f"view, and {parts}"
        raise GatlasError(f"{output}: holds one {asked} are asked for: name a folder, DIR/, or x.tar")
    files.check_alone(output, force)
    return "file"


class _Sampled(NamedTuple):
    """A sample and how it is made."""

    spec: SampleSpec
    record: dict[str, Any]
    cameras: Cameras | None  # of its views, where the request has cameras
    begun: bool  # its first views are in the folder
    pieces: Iterator[Any]  # the sample, or its views in several pieces; to be taken before the next sample


def _sample(system: System, request: SampleRequest, on_step: Callable[[], None]) -> Iterator[_Sampled]:
    """Yield the samples of a request."""
    stream: Iterator[Any] = system.sample(request)

    def pieces(steps: int) -> Iterator[Any]:
        while steps > 0:
            piece = next(stream)
            yield piece
            taken = 1 if request.cameras is None else len(piece)
            steps -= taken
            for _ in range(taken):
                on_step()

    cameras = None if request.cameras is None else system.output_cameras(request)
    for spec in request.samples:
        record, begun = system.record(request, spec), spec.name in request.begun
        yield _Sampled(spec, record, cameras, begun, pieces(_count_steps(request, [spec])))


def _count_steps(request: SampleRequest, samples: Sequence[SampleSpec]) -> int:
    """Return the number of samples, or of the views that they lack."""
    if request.cameras is None:
        return len(samples)
    return sum(len(request.cameras) - len(request.begun.get(sample.name, ())) for sample in samples)


def _without_finished(
    system: System, request: SampleRequest, paths: dict[str, str], folder: str, report: Report
) -> SampleRequest:
    """Return the request without the samples that are there. One that was made in another way is a GatlasError."""
    files, begun, finished = FILES[system.gives], {}, set()
    for sample in request.samples:
        path = paths[sample.name]
        stored = files.record(path)
        if stored is None:
            continue
        if not stored:
            raise GatlasError(f"{path}: is there already and no sample: use --force, or name another folder")
        wanted = dict.fromkeys((name for name in OPTIONAL if name in stored), None) | system.record(request, sample)
        stored = {"dtype": wanted.get("dtype"), **stored}  # absent from files of earlier versions
        others = [name for name, value in wanted.items() if name != "model" and stored.get(name) != value]
        if others:
            how = ", ".join(
                f"other {name}" if name in DIGESTS else f"{name} {stored.get(name)} (now {wanted[name]})"
                for name in others
            )
            raise GatlasError(f"{path}: was made with {how}: --force makes all samples anew, or name another folder")
        images = files.begun(path)
        if images is None:
            finished.add(sample.name)
        elif images:
            begun[sample.name] = Views(np.stack(images), system.output_cameras(request)[: len(images)])
    if finished:
        report(f"{len(finished)} samples are in {folder} already and are kept (--force makes them anew)")
    return replace(request, skip=request.skip | finished, begun=begun)


def _save_located(
    system: System, gaussians: Gaussians, photos: Sequence[Photo], folder: str, force: bool, report: Report
) -> None:
    """Write the photos of a sample with the cameras that the system finds for them."""
    located = system.locate(gaussians, photos)
    for number in located.lost:
        report(f"{photos[number].name}: its camera was not found, and {folder} leaves it out")
    io.save_views(folder, located.views, force=force)


class _Files(ABC):
    """The files of one kind of sample."""

    suffix: str
    noun: str  # of `gatlas.io.registry`
    plural: str

    def path(self, folder: str, name: str, alone: bool) -> str:
        """Return the path of a sample in a folder; `alone`, it is the only one that is asked for."""
        return f"{folder.rstrip('/')}/{name}{self.suffix}"

    def check_alone(self, output: str, force: bool) -> None:
        """Raise a GatlasError where a sample cannot be written as this file."""
        io.check_output(output, force=force, noun=self.noun)

    @abstractmethod
    def record(self, path: str) -> dict[str, Any] | None:
        """Return how the sample at a path was made, {} if it has no record, None if there is no file."""

    def begun(self, path: str) -> list[Float[np.ndarray, "_ _ d"]] | None:
        """Return the first views of the sample at a path; None where it is whole."""
        return None

    @abstractmethod
    def save(self, path: str, sampled: _Sampled, force: bool) -> None:
        """Write a sample into a folder."""

    @abstractmethod
    def save_alone(self, output: str, sampled: _Sampled, force: bool) -> None:
        """Write a sample as one file, or to standard output."""

    @abstractmethod
    def members(self, key: str, sampled: _Sampled) -> Iterator[tuple[str, str, bytes]]:
        """Yield the files of a sample in a tar: key, suffix and content."""


class _AtlasFiles(_Files):
    """An NPZ, whose meta holds the record; alone also a splat PLY."""

    suffix, noun, plural = ".npz", "atlas", "atlases"

    def check_alone(self, output: str, force: bool) -> None:
        if names_a("splat", output):
            io.check_output(output, force=force, noun="splat")
        else:
            super().check_alone(output, force)

    def record(self, path: str) -> dict[str, Any] | None:
        if not io.exists(path):
            return None
        made = io.load_atlas(path).meta.get("sample")
        return made if isinstance(made, dict) else {}

    def save(self, path: str, sampled: _Sampled, force: bool) -> None:
        (atlas,) = sampled.pieces
        io.save_atlas(path, atlas, force=force)

    def save_alone(self, output: str, sampled: _Sampled, force: bool) -> None:
        (atlas,) = sampled.pieces
        if names_a("splat", output):
            io.save_gaussians(output, decode(atlas), force=force)
        else:
            io.save_atlas(output, atlas, force=force)

    def members(self, key: str, sampled: _Sampled) -> Iterator[tuple[str, str, bytes]]:
        (atlas,) = sampled.pieces
        yield key, self.suffix, io.atlas_bytes(atlas)


class _GaussiansFiles(_Files):
    """A splat PLY; in a folder or a tar, a JSON file of its name holds the record."""

    suffix, noun, plural = ".ply", "splat", "Gaussians"

    def record(self, path: str) -> dict[str, Any] | None:
        sidecar = Path(path).with_suffix(".json")
        made = record_of(sidecar) if io.exists(sidecar) else {}
        if io.exists(path) or (io.exists(sidecar) and not made):
            return made
        return None  # a record without a splat is of a run that was stopped

    def save(self, path: str, sampled: _Sampled, force: bool) -> None:
        (gaussians,) = sampled.pieces
        io.save_json(Path(path).with_suffix(".json"), {"sample": sampled.record}, force=True)
        io.save_gaussians(path, gaussians, force=force)

    def save_alone(self, output: str, sampled: _Sampled, force: bool) -> None:
        (gaussians,) = sampled.pieces
        io.save_gaussians(output, gaussians, force=force)

    def members(self, key: str, sampled: _Sampled) -> Iterator[tuple[str, str, bytes]]:
        (gaussians,) = sampled.pieces
        header, body = encode_ply(gaussians)
        yield key, self.suffix, header + body.tobytes()
        yield key, ".json", (json.dumps({"sample": sampled.record}, indent=2) + "\n").encode()


class _ViewsFiles(_Files):
    """A folder of PNGs whose transforms.json holds the record, filled view by view; a single view alone is a PNG."""

    suffix, noun, plural = ".png", "image", "views"

    def path(self, folder: str, name: str, alone: bool) -> str:
        return folder.rstrip("/") if alone else f"{folder.rstrip('/')}/{name}"

    def record(self, path: str) -> dict[str, Any] | None:
        return stored_record(path)

    def begun(self, path: str) -> list[Float[np.ndarray, "_ _ d"]] | None:
        return begun_views(path)

    def save(self, path: str, sampled: _Sampled, force: bool) -> None:
        cameras, pieces = self._cameras(sampled)
        folder = ViewsFolder(path, cameras, sampled.record, resume=sampled.begun, force=force)
        for piece in pieces:
            folder.add(piece.images)

    def save_alone(self, output: str, sampled: _Sampled, force: bool) -> None:
        (views,) = sampled.pieces
        io.save_image(output, views.images[0], force=force)

    def members(self, key: str, sampled: _Sampled) -> Iterator[tuple[str, str, bytes]]:
        cameras, pieces = self._cameras(sampled)
        names, index = encode_index(cameras, sample=sampled.record)
        images = (image for piece in pieces for image in piece.images)
        for name, image in zip(names, images, strict=True):
            yield f"{key}/{name.removesuffix('.png')}", ".png", encode_png(image)
        yield f"{key}/transforms", ".json", index

    def _cameras(self, sampled: _Sampled) -> tuple[Cameras, Iterator[Views]]:
        """Return the cameras of all views of a sample, and its pieces."""
        if sampled.cameras is not None:
            return sampled.cameras, sampled.pieces
        (views,) = sampled.pieces
        return views.cameras, iter([views])


FILES: dict[type[Any], _Files] = {Atlas: _AtlasFiles(), Gaussians: _GaussiansFiles(), Views: _ViewsFiles()}
