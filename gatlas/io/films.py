"""Films: MP4 through PyAV, animated GIF and WebP through Pillow.

Frames are encoded as they come: of a film in the making there is one frame in memory, and what is compressed already.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import GifImagePlugin, Image, ImageChops

from gatlas.errors import GatlasError
from gatlas.io.registry import VIDEO_SUFFIXES, written_format, written_suffixes
from gatlas.io.sets.scratch import temporary_folder
from gatlas.io.streams import os_errors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import UInt8

MAX_GIF_FPS = 50  # of frames that last two hundredths of a second: browsers slow down shorter ones
CRF, WEBP_QUALITY = "16", 90  # x264's quality (0 is lossless), and libwebp's (100 is the best)
BT709, SRGB, TV_RANGE = 1, 13, 1  # ITU-T H.273, which players assume of large films only
CHUNK = 1 << 20  # bytes
LARGEST = {"MP4": 16_384, "GIF": 65_535, "WebP": 16_383}  # sides in pixels, of the encoders


class Film(NamedTuple):
    """Frames of one size, which may be made as they are asked for."""

    frames: Iterable[UInt8[np.ndarray, "h w d"]]  # sRGB, or straight RGBA
    length: int  # frames
    width: int
    height: int
    fps: int

    def watched(self, on_frame: Callable[[], None]) -> Film:
        """Return the same film; `on_frame` is called after each frame is encoded."""

        def frames() -> Iterator[UInt8[np.ndarray, "h w d"]]:
            for frame in self.frames:
                yield frame
                on_frame()

        return self._replace(frames=frames())


def check_size(out: str | Path, width: int, height: int) -> None:
    """Raise a GatlasError where the format that `out` names has no frames of that size."""
    name = written_format("film", out).name
    if max(width, height) > LARGEST[name]:
        raise GatlasError(f"{out}: {name} has at most {LARGEST[name]:,} pixels a side, not {width:,} x {height:,}")


def names_film(out: str | Path) -> bool:
    """Return True where the suffix of an output is that of a film, also of a format that is not written."""
    return Path(out).suffix.lower() in (*written_suffixes("film"), *VIDEO_SUFFIXES)


def has_even_sides(out: str | Path) -> bool:
    """Return True where the format that `out` names holds half of the colors a side: its sides are even."""
    return written_format("film", out).name == "MP4"


def check_film(out: str | Path, *, transparent: bool, fps: int) -> None:
    """Raise a GatlasError, before any frame is made, where the format that `out` names cannot hold such a film."""
    name = written_format("film", out).name
    if name == "MP4":
        _require_av(out)
    if transparent and name != "WebP":
        other = Path(out).with_suffix(".webp")
        raise GatlasError(f"{out}: {name} holds no partial transparency: name the output {other}, or a --background")
    if name == "GIF" and fps > MAX_GIF_FPS:
        raise GatlasError(f"{out}: GIF has at most {MAX_GIF_FPS} frames per second, not {fps}")


def _require_av(out: str | Path) -> Any:
    try:
        import av
    except ImportError:
        other = Path(out).with_suffix(".webp")
        raise GatlasError(f"{out}: MP4 needs PyAV: pip install 'gatlas[video]', or name the output {other}") from None
    return av


def encode_mp4(film: Film) -> Iterator[bytes]:
    """Yield H.264 in MP4, which browsers and phones play: 4:2:0, and its index in front, to play while it loads."""
    av = _require_av("x.mp4")
    with temporary_folder() as folder, os_errors(folder):
        path = folder / "film.mp4"
        with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
            stream = container.add_stream("libx264", rate=film.fps, options={"crf": CRF, "preset": "medium"})
            stream.width, stream.height, stream.pix_fmt = film.width, film.height, "yuv420p"
            context = stream.codec_context
            context.colorspace, context.color_primaries, context.color_trc = BT709, BT709, SRGB
            context.color_range = TV_RANGE
            for frame in film.frames:
                picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
                picture = picture.reformat(
                    format="yuv420p", dst_colorspace=BT709, src_color_range=2, dst_color_range=TV_RANGE
                )
                container.mux(stream.encode(picture))
            container.mux(stream.encode())
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                yield chunk


def encode_gif(film: Film) -> Iterator[bytes]:
    """Yield a GIF that repeats forever; each frame has its own 256 colors and holds what has changed."""
    before: Image.Image | None = None
    for frame, (start, end) in zip(film.frames, _spans(film, 100), strict=True):
        picture = Image.fromarray(frame)
        box = (0, 0, *picture.size)
        if before is not None:  # a frame in which nothing changes is one pixel
            box = ImageChops.difference(before, picture).getbbox() or (0, 0, 1, 1)
        before = picture
        part = picture.crop(box).quantize(256, method=Image.Quantize.MEDIANCUT)
        if box == (0, 0, *picture.size) and start == 0:
            header, _ = GifImagePlugin.getheader(part.copy(), info={"loop": 0})
            yield b"".join(header)
        yield b"".join(
            GifImagePlugin.getdata(part, box[:2], duration=10 * (end - start), disposal=1, include_color_table=True)
        )
    yield b";"


def encode_webp(film: Film) -> Iterator[bytes]:
    """Yield a WebP that repeats forever."""
    frames = iter(film.frames)
    durations = [end - start for start, end in _spans(film, 1000)]
    payload = io.BytesIO()
    first = Image.fromarray(next(frames))
    later: Sequence[Any] = [_LaterFrames(frames, film.length - 1)] if film.length > 1 else []
    first.save(
        payload, "WEBP", save_all=True, append_images=later, duration=durations, loop=0, quality=WEBP_QUALITY, method=2
    )
    yield payload.getvalue()


class _LaterFrames:
    """Frames as Pillow's images of several ones: only the one that was sought last is in memory."""

    def __init__(self, frames: Iterator[UInt8[np.ndarray, "h w d"]], count: int) -> None:
        self.n_frames = count
        self._frames = frames

    def seek(self, frame: int) -> None:
        """Go to the next frame: they are asked for in their order."""
        self._image = Image.fromarray(next(self._frames))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._image, name)


def _spans(film: Film, ticks: int) -> Iterator[tuple[int, int]]:
    """Yield begin and end of each frame in ticks of a second; rounded, without an error that adds up."""
    ends = [round(ticks * number / film.fps) for number in range(film.length + 1)]
    yield from pairwise(ends)
