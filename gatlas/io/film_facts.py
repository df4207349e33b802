"""Facts of films that hold for GIF and for every video: their frames, size and length, read through imageio."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gatlas.errors import GatlasError
from gatlas.io.registry import VIDEO_SUFFIXES
from gatlas.io.streams import opened_file

if TYPE_CHECKING:
    from gatlas.io.streams import Blob

MOST_FRAMES = 100_000  # of a GIF, whose length is the sum over its frames


class FilmFacts(NamedTuple):
    """The facts that a film gives of itself."""

    frames: int | None  # None: the container does not say
    width: int  # pixels
    height: int
    seconds: float | None
    fps: float | None  # None: the frames have no one rate
    codec: str


def names_video(path: str) -> bool:
    """Return True for the suffix of a video."""
    return Path(path).suffix.lower() in (".mp4", *VIDEO_SUFFIXES)


def video_facts(path: str | Path) -> FilmFacts:
    """Return the facts of a video, of which only its index is read. A damaged one, or one without PyAV, is an error."""
    try:
        import av  # noqa: F401  (imageio would name its plugin)
    except ImportError:
        raise GatlasError(f"{path}: videos need PyAV: pip install 'gatlas[video]'") from None
    import imageio.v3 as iio

    with opened_file(path) as file, _one_line(str(path)), iio.imopen(file, "r", plugin="pyav") as film:
        shape, said = film.properties(index=...).shape, film.metadata()  # type: ignore[arg-type]
    return FilmFacts(
        int(shape[0]) if 0 < shape[0] < 1 << 40 else None,
        int(shape[2]),
        int(shape[1]),
        _positive(said.get("duration")),
        _positive(said.get("fps")),
        str(said.get("codec", "unknown")),
    )


def gif_facts(blob: Blob) -> FilmFacts:
    """Return the facts of a GIF; a damaged one is a GatlasError."""
    import imageio.v3 as iio

    from gatlas.io.images import read_header

    read_header(blob)  # refuses a size that the file cannot hold
    with _one_line(blob.name), iio.imopen(blob.data, "r", extension=".gif", plugin="pillow") as film:
        shape = film.properties(index=...).shape  # type: ignore[arg-type]
        if shape[0] > MOST_FRAMES:
            raise GatlasError(f"{blob.name}: a GIF of {shape[0]:,} frames")
        lengths = [float(film.metadata(index=i).get("duration", 0)) / 1000 for i in range(shape[0])]
    same = len(set(lengths)) == 1 and lengths[0] > 0
    return FilmFacts(shape[0], shape[2], shape[1], sum(lengths), 1 / lengths[0] if same else None, "GIF")


@contextmanager
def _one_line(name: str) -> Iterator[None]:
    """Inside the block, any failure of Pillow or FFmpeg on damaged bytes is a GatlasError."""
    try:
        yield
    except (MemoryError, GatlasError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        if "can not handle" in reason or "initializing plugin" in reason:  # imageio's words hide FFmpeg's
            reason = "it is no video, or its index is damaged or missing"
        raise GatlasError(f"{name}: the film cannot be read: {reason}") from None


def _positive(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and value > 0 else None
