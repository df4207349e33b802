"""The choice of a video's frames by how sharp they are and how far its picture has moved."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import UInt8

SHARPNESS_SIDE = 640  # pixels of the longer side at which sharpness is compared
MOTION_SIDE = 160  # pixels of the longer side at which motion is measured
STEP = 0.02  # of the longer side: a move beyond it is counted, and the next is measured from there
STILL = 0.02  # of the longer side: a video in which less moves shows one view
BLURRED = 0.1  # of the median sharpness: frames below it are fades, covered lenses and the like
EDGE = 0.7  # weight of the sharpness at the ends of a share of the way, of that in its middle


class FrameScore(NamedTuple):
    """Sharpness and place of one frame of a video."""

    time: float  # seconds since the first frame
    sharpness: float  # variance of the Laplacian of its gray picture
    way: float  # that the picture has moved since the first frame, in lengths of its longer side


class MotionPath:
    """The way that a video's picture moves: the mean length of the optical flow since the frame last counted from.

    Measured from one frame to the next, the noise of a picture at rest would add up to a motion.
    """

    def __init__(self) -> None:
        self._from: UInt8[np.ndarray, "h w"] | None = None
        self._counted = 0.0  # the way to the frame that is counted from

    def add(self, gray: UInt8[np.ndarray, "h w"]) -> float:
        """Return the way to the next frame, in lengths of the longer side; `gray` has at most MOTION_SIDE pixels."""
        import cv2

        library: Any = cv2  # whose stubs lack it
        if self._from is None or self._from.shape != gray.shape:
            self._from = gray
            return self._counted
        flow = library.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST).calc(self._from, gray, None)
        moved = float(np.linalg.norm(flow, axis=-1).mean()) / max(gray.shape)
        way = self._counted + moved
        if moved > STEP:
            self._from, self._counted = gray, way
        return way


def sharpness(gray: UInt8[np.ndarray, "h w"]) -> float:
    """Return the variance of the Laplacian of a gray picture."""
    import cv2

    return float(cv2.Laplacian(gray, cv2.CV_32F).var())


def is_still(scores: Sequence[FrameScore]) -> bool:
    """Return True where the picture hardly moves in the whole video."""
    return max(score.way for score in scores) < STILL


def choose_frames(scores: Sequence[FrameScore], count: int) -> list[int]:
    """Return the numbers of at most `count` frames, ascending: the sharpest of each equal share of the way.

    Shares are of the way that the picture moves, not of time, so that a camera at rest gives few frames; the middle of
    a share is preferred. Frames that are far blurrier than the others are never taken. Where a frame moves by more
    than a share, shares are without frames and fewer than `count` are returned.
    """
    sharp = np.array([score.sharpness for score in scores])
    way = np.maximum.accumulate([score.way for score in scores])
    usable = np.flatnonzero(sharp >= BLURRED * np.median(sharp))
    if len(usable) <= count:
        return [int(i) for i in usable]
    span = way[usable[-1]] - way[usable[0]]
    place = (way[usable] - way[usable[0]]) / (span or 1.0) * count  # in shares
    share = np.minimum(place.astype(int), count - 1)
    centered = 1 - np.abs(place - share - 0.5) * 2  # 1 in the middle, 0 at the ends
    value = sharp[usable] * (EDGE + (1 - EDGE) * np.maximum(centered, 0))
    best: dict[int, int] = {}
    for i, which in enumerate(share):
        if which not in best or value[i] > value[best[which]]:
            best[which] = i
    return [int(usable[best[which]]) for which in sorted(best)]
