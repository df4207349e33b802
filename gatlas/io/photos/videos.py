"""Videos as photos: the sharp frames of the way that a camera moves, in a folder of JPEGs.

A video is read twice from front to back, first for how sharp each frame is and how far the picture has moved, then for
the frames that are chosen: one frame is in memory at a time, however long the video is.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image

from gatlas.config import Report, ignore
from gatlas.errors import GatlasError
from gatlas.images.frame_choice import (
    MOTION_SIDE,
    SHARPNESS_SIDE,
    FrameScore,
    MotionPath,
    choose_frames,
    is_still,
    sharpness,
)
from gatlas.io import outputs
from gatlas.io.atlases.plane_cache import cache_folder
from gatlas.io.json_reader import JsonError, parse_json
from gatlas.io.registry import VIDEO_SUFFIXES
from gatlas.io.sets.digests import sha256_of
from gatlas.io.streams import opened_file, os_errors
from gatlas.trust import foreign_writer

if TYPE_CHECKING:
    from jaxtyping import UInt8

    Frame = UInt8[np.ndarray, "h w 3"]

INDEX = "frames.json"  # beside the frames: of which video they are
SUFFIXES = (".mp4", *(suffix for suffix in VIDEO_SUFFIXES if suffix != ".apng"))
VERSION = 1  # of the choice of frames: raised when the same video gives others
MOST_PIXELS = 1 << 26  # of a frame; 8K has half as many
FEWEST = 3  # frames
QUALITY = 95  # of the JPEGs, without subsampling of colors
_BRANDS_OF_PICTURES = (b"heic", b"heix", b"mif1", b"msf1", b"avif", b"avis")
_HDR = {16: "HDR10 (PQ)", 18: "HLG"}  # ITU-T H.273
_NAME = re.compile(r"t\d{9,}\.jpg")


class VideoFrames(NamedTuple):
    """The frames of a video in a folder."""

    folder: Path
    names: list[str]  # "t000012345.jpg" is the frame of 12.345 s
    times: list[float]  # seconds since the first frame


def is_video(path: str | Path) -> bool:
    """Return True for a file that is a video by its first bytes, or by its suffix."""
    if not Path(path).is_file():
        return False
    with opened_file(path) as file:
        head = file.read(16)
    if head[4:8] == b"ftyp":
        return head[8:12] not in _BRANDS_OF_PICTURES
    video = head.startswith(b"\x1a\x45\xdf\xa3") or (head.startswith(b"RIFF") and head[8:12] == b"AVI ")
    return video or Path(path).suffix.lower() in SUFFIXES


def video_frames(
    video: str | Path,
    count: int,
    folder: str | Path | None = None,
    *,
    force: bool = False,
    report: Report = ignore,
    on_frame: Callable[[], None] = lambda: None,
) -> VideoFrames:
    """Return at most `count` frames of a video as JPEGs in a folder, upright, named by their time in milliseconds.

    `folder` None is one in the user's cache. A folder that has the frames of this video and count already is read; one
    with other files is a GatlasError unless `force` is given. `on_frame` is called for each frame that was looked at.
    A video that cannot be read, shows one view only, or has fewer than three frames is a GatlasError.
    """
    path = Path(video)
    key = f"{sha256_of(path)}-{count}-v{VERSION}"
    kept = folder is not None
    place = Path(folder) if folder is not None else cache_folder() / "frames" / f"{path.stem[:80]}-{key[:16]}-{count}"
    if (found := _stored(place, key, trusted=kept)) is not None:
        report(f"{path}: {len(found.names)} frames of an earlier run, in {place}")
        return found
    outputs.check_output(place, force=force, folder=True) if kept else _make_cache(place)
    scores = _look_through(path, report, on_frame)
    chosen = choose_frames(scores, count)
    if len(chosen) < FEWEST:
        raise GatlasError(f"{path}: only {len(chosen)} of its {len(scores)} frames can be used: film for longer")
    names = [f"t{round(1000 * scores[i].time):09d}.jpg" for i in chosen]
    times = [scores[i].time for i in chosen]
    record = {"video": path.name, "key": key, "names": names, "times": times}
    with outputs.filling_folder(place, force=force or not kept) as target:
        for old in (target / INDEX, *_frames_in(target)):
            old.unlink(missing_ok=True)
        wanted = dict(zip(chosen, names, strict=True))
        for number, (_, picture) in enumerate(_frames(path, set(wanted))):
            if number in wanted:
                _write_jpeg(target / wanted[number], picture())
        if len(list(_frames_in(target))) < len(names):
            raise GatlasError(f"{path}: the file changed while it was read: run the same command again")
        outputs.write(target / INDEX, [(json.dumps(record, indent=2) + "\n").encode()], force=True)
    report(f"{path}: {len(names)} of {len(scores):,} frames, in {place}")
    return VideoFrames(place, names, times)


def _make_cache(place: Path) -> None:
    """Make the folder of the caches, and remove what is left of a place that cannot be used."""
    with os_errors(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        if (fault := foreign_writer(place.parent, contents=False)) is not None:
            raise GatlasError(f"{fault}: name a folder for the frames, --frames-out DIR")
        outputs.remove(place)


def _frames_in(folder: Path) -> Iterator[Path]:
    return (each for each in sorted(folder.iterdir()) if _NAME.fullmatch(each.name))


def _stored(place: Path, key: str, *, trusted: bool) -> VideoFrames | None:
    """Return the frames that an earlier run kept in a folder, or None where it has none of this video and count."""
    if not (place / INDEX).is_file() or (not trusted and foreign_writer(place) is not None):
        return None
    with opened_file(place / INDEX) as file:
        try:
            record = parse_json(file.read(), finite=True)
        except JsonError:
            return None
    if not isinstance(record, dict) or record.get("key") != key:
        return None
    names, times = record.get("names"), record.get("times")
    if not (isinstance(names, list) and isinstance(times, list) and len(names) == len(times)):
        return None
    whole = all(isinstance(name, str) and _NAME.fullmatch(name) and (place / name).is_file() for name in names)
    return VideoFrames(place, names, times) if whole and all(isinstance(time, float) for time in times) else None


def _write_jpeg(path: Path, picture: Frame) -> None:
    # Of a scratch folder that is renamed when it is whole, or of one without an index.
    with os_errors(path):
        Image.fromarray(picture).save(path, "JPEG", quality=QUALITY, subsampling=0)


def _look_through(path: Path, report: Report, on_frame: Callable[[], None]) -> list[FrameScore]:
    """Return the scores of all frames; what is wrong with the video is reported, or a GatlasError."""
    scores: list[FrameScore] = []
    motion = MotionPath()
    for time, picture in _frames(path, None, report):
        gray = picture()
        way = motion.add(_reduced(gray, MOTION_SIDE))
        scores.append(FrameScore(time, sharpness(gray), way))
        on_frame()
    if len(scores) < FEWEST:
        raise GatlasError(f"{path}: has {len(scores)} frame{'s' * (len(scores) != 1)}: a fit needs a film around it")
    if is_still(scores):
        raise GatlasError(f"{path}: nothing moves in it: walk around what is filmed, or turn it before the camera")
    return scores


def _reduced(gray: UInt8[np.ndarray, "h w"], side: int) -> UInt8[np.ndarray, "_ _"]:
    import cv2

    height, width = gray.shape
    scale = side / max(height, width)
    size = max(8, round(width * scale)), max(8, round(height * scale))
    reduced: UInt8[np.ndarray, "_ _"] = cv2.resize(gray, size, interpolation=cv2.INTER_AREA)
    return reduced


def _frames(path: Path, wanted: set[int] | None, report: Report = ignore) -> Iterator[tuple[float, Callable[[], Any]]]:
    """Yield the time of each frame and a function that returns its picture, valid until the next frame.

    Without `wanted` the picture is gray and small, as it is stored; else it is RGB and upright. Frames whose time is
    not at least a millisecond after the one before have none of their own and are left out.
    """
    with _opened(path) as (container, stream):
        start, last, ended = None, -1, False
        if wanted is None and (hdr := _HDR.get(int(stream.codec_context.color_trc or 0))) is not None:
            report(f"{path}: its colors are {hdr}: they are taken as they are, and look flat")
        try:
            for frame in container.decode(stream):
                time = float(frame.time) if frame.time is not None else None
                if time is None or getattr(frame, "is_corrupt", False):
                    continue
                start = time if start is None else start
                milliseconds = round(1000 * (time - start))
                if milliseconds <= last:
                    continue
                last = milliseconds
                yield time - start, _picture_of(frame, stream, gray=wanted is None)
            ended = True
        except _faults() as error:
            if last < 0:
                raise
            if wanted is None:
                report(f"{path}: breaks off after {last / 1000:.1f} s ({_reason(error)}): what is before is taken")
        if ended and wanted is None and stream.duration:
            length = float(stream.duration * stream.time_base)
            if last / 1000 < 0.9 * length - 0.2:
                report(f"{path}: breaks off after {last / 1000:.1f} of {length:.1f} s: what is before is taken")


def _picture_of(frame: Any, stream: Any, *, gray: bool) -> Callable[[], Any]:
    if frame.width * frame.height > MOST_PIXELS:
        raise GatlasError(f"its frames have {frame.width:,} x {frame.height:,} pixels, which is too large")
    if gray:
        scale = min(1.0, SHARPNESS_SIDE / max(frame.width, frame.height))
        size = max(8, round(frame.width * scale)), max(8, round(frame.height * scale))
        return lambda: frame.reformat(*size, format="gray", interpolation="AREA").to_ndarray()
    aspect = stream.codec_context.sample_aspect_ratio
    stretch = float(aspect) if aspect and 0.1 < float(aspect) < 10 else 1.0
    turn = _turn_of(frame)

    def upright() -> Frame:
        width = round(frame.width * stretch)
        picture = frame.reformat(width, frame.height, format="rgb24").to_ndarray()
        return np.ascontiguousarray(_turned(picture, turn))

    return upright


def _turn_of(frame: Any) -> tuple[int, int, int, int]:
    """Return a, b, c, d of the frame's display matrix: the pixel x, y is shown at a x + c y, b x + d y."""
    from av.sidedata.sidedata import Type

    found = frame.side_data.get(Type.DISPLAYMATRIX)
    if found is None:
        return (1, 0, 0, 1)
    a, b, _, c, d, *_ = np.frombuffer(bytes(found), dtype="<i4")[:9].tolist()
    return (a, b, c, d)


def _turned(picture: Frame, turn: tuple[int, int, int, int]) -> Frame:
    """Return the picture turned by the multiple of a right angle, or mirrored, that is nearest to the matrix."""
    a, b, c, d = turn
    across, down = (a, d) if abs(a) + abs(d) >= abs(b) + abs(c) else (c, b)
    if (across, down) == (c, b) and abs(a) + abs(d) < abs(b) + abs(c):
        picture = picture.swapaxes(0, 1)
    return picture[:: -1 if down < 0 else 1, :: -1 if across < 0 else 1]


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any]]:
    """Yield a video's container and its first stream of pictures. What is wrong with it is a GatlasError."""
    try:
        import av
    except ImportError:
        raise GatlasError(f"{path}: videos need PyAV: pip install 'gatlas[video]'") from None
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise GatlasError(f"{path}: has no pictures, only sound or the like")
            stream = container.streams.video[0]
            if stream.codec_context is None:
                raise GatlasError(f"{path}: its pictures are compressed in a way that PyAV does not read")
            stream.thread_type = "AUTO"
            yield container, stream
    except GatlasError as error:
        raise error if str(error).startswith(str(path)) else GatlasError(f"{path}: {error}") from None
    except _faults() as error:
        raise GatlasError(
            f"{path}: the video cannot be read ({_reason(error)}): if it plays, convert it: "
            f"ffmpeg -i {os.path.basename(path)} other.mp4"
        ) from None


def _faults() -> tuple[type[Exception], ...]:
    """Return the errors of PyAV and of the system."""
    from av.error import FFmpegError

    return (FFmpegError, OSError, ValueError)


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())[:200]
