"""Videos among the inputs of a verb, which become folders of frames."""

from __future__ import annotations

from pathlib import Path

from gatlas.cli.terminal import counting_bar, message
from gatlas.errors import GatlasError
from gatlas.io.photos.videos import is_video, video_frames


def frames_folder(video: str, count: int, folder: str | None, *, force: bool) -> Path:
    """Return the folder of the frames of a video, with a bar while it is read."""
    with counting_bar("frames", None) as on_frame:
        return video_frames(video, count, folder, force=force, report=message, on_frame=on_frame).folder


def with_frames(names: list[str], count: int | None, default: int, folder: str | None, *, force: bool) -> list[str]:
    """Return the names of photos, in which those of videos are replaced by those of their frames.

    `count` None is the default. The options of videos without a video are a GatlasError, as is one folder for several.
    """
    videos = [name for name in names if is_video(name)]
    if not videos and (count, folder) != (None, None):
        raise GatlasError("--frames and --frames-out are for videos: no input is one")
    if len(videos) > 1 and folder is not None:
        raise GatlasError("--frames-out is a folder for one video: leave it out, and frames are kept in the cache")
    found: list[str] = []
    for name in names:
        if name in videos:
            place = frames_folder(name, default if count is None else count, folder, force=force)
            found += [str(path) for path in sorted(place.glob("*.jpg"))]
        else:
            found.append(name)
    return found
