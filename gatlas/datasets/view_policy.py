"""The choice of a sample's views: which photos of a scene a network sees, and which it is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from gatlas.geometry.cameras import camera_centers, orbit_angles

if TYPE_CHECKING:
    from jaxtyping import Float

MIN_BASELINE = 1e-3  # between the first and the last context camera, in the scene's unit


class PosedScene(Protocol):
    """The photos of one scene and their cameras; in a video neighbors overlap."""

    key: str
    name: str  # for messages
    viewmats: Float[np.ndarray, "n 4 4"]  # world -> camera, OpenCV
    Ks: Float[np.ndarray, "n 3 3"]  # the first row divided by the width, the second by the height
    unit: float  # length by which baselines are judged

    def __len__(self) -> int: ...

    def pictures(self, indices: Sequence[int]) -> list[Float[np.ndarray, "_ _ d"]]:
        """Return some of the photos: RGB or straight RGBA, [0, 1]."""


class ChosenViews(NamedTuple):
    """The photos of a sample, by their numbers in the scene."""

    context: list[int]  # that the network sees
    targets: list[int]  # that its output is compared with


class ViewPolicy(Protocol):
    """The rule by which a sample's photos are drawn from a scene, and the frame that its cameras are given in."""

    @property
    def context(self) -> int:
        """The number of photos that the network sees."""

    def fault(self, scene: PosedScene) -> str | None:
        """Return why no sample can be drawn from a scene of more than `context` photos, or None."""

    def choose(self, scene: PosedScene, rng: np.random.Generator, step: int | None) -> ChosenViews:
        """Return the photos of a sample at an optimizer step; None: as at the end of the training."""

    def in_frame(self, viewmats: Float[np.ndarray, "n 4 4"]) -> Float[np.ndarray, "n 4 4"]:
        """Return the cameras of a sample, the context's first, in its frame (float32)."""

    def notes(self) -> list[str]:
        """Return what the user should know, one message each."""


@dataclass(frozen=True)
class VideoNeighbors:
    """Context views some photos apart, and target views between them.

    The frame is the first context camera; the distance to the last is 1 (Ye et al. 2024).
    """

    context: int = 2
    targets: int = 4
    gap: tuple[int, int] = (45, 90)  # photos from the first to the last context view, least and greatest
    gap_start: int = 25  # both at the first step; they then grow to `gap`
    gap_steps: int = 0  # over this many steps

    def gaps(self, step: int) -> tuple[int, int]:
        """Return the least and the greatest gap at a step; the smallest has room for the context and a target."""
        share = 1.0 if self.gap_steps == 0 else min(1.0, step / self.gap_steps)
        low, high = (round(self.gap_start + share * (end - self.gap_start)) for end in self.gap)
        return max(low, self.context), max(high, self.context)

    def fault(self, scene: PosedScene) -> str | None:
        """Return a fault where a step of the gap's growth finds no pair of cameras that stand apart."""
        ranges = {self.gaps(step) for step in (0, self.gap_steps // 2, self.gap_steps)}
        if all(_first_photos(scene, gaps) for gaps in ranges):
            return None
        return "has cameras that all stand in one place"

    def choose(self, scene: PosedScene, rng: np.random.Generator, step: int | None) -> ChosenViews:
        """Return photos: all gaps in reach are equally likely, and then all first photos."""
        first_photos = _first_photos(scene, self.gaps(self.gap_steps if step is None else step))
        gap = int(rng.choice(sorted(first_photos)))
        first = int(rng.choice(first_photos[gap]))
        inner = first + 1 + np.arange(gap - 1)
        middle = np.sort(rng.choice(inner, size=self.context - 2, replace=False))
        rest = np.setdiff1d(inner, middle)
        targets = np.sort(rng.choice(rest, size=self.targets, replace=len(rest) < self.targets))
        return ChosenViews([first, *middle.tolist(), first + gap], targets.tolist())

    def in_frame(self, viewmats: Float[np.ndarray, "n 4 4"]) -> Float[np.ndarray, "n 4 4"]:
        """Return the cameras relative to the first, in units of its distance to the last context camera."""
        return relative(viewmats, self.context)

    def notes(self) -> list[str]:
        """Return a line about the gap that grows."""
        if not self.gap_steps:
            return []
        least = min(self.gap_start, self.gap[0])
        return [f"context views are {least} photos apart or more, and farther from step to step"]


@dataclass(frozen=True)
class OrbitViews:
    """Context views around an object, and target views at random among its other photos.

    With `spacing` each context view is the photo nearest to that many degrees of azimuth beyond the one before it, at
    the elevation of the first, which is random (LGM: four views, 90 degrees apart). Without it all are random (3DiM: a
    source and a target). The cameras look at the object, upright, and are given in the scene's own world.
    """

    context: int = 4
    targets: int = 4
    spacing: float | None = 90.0  # degrees; None: context views at random
    max_elevation: float = 90.0  # degrees that context views are above or below the horizon, at most

    def fault(self, scene: PosedScene) -> str | None:
        """Return a fault where too few photos are taken from within `max_elevation`."""
        count = len(self._level(orbit_angles(scene.viewmats)[1]))
        if count >= self.context:
            return None
        return f"has {count} photos from within {self.max_elevation:g} degrees of the horizon and needs {self.context}"

    def choose(self, scene: PosedScene, rng: np.random.Generator, step: int | None) -> ChosenViews:
        """Return photos; targets are distinct, and others than the context's, where there are enough."""
        azimuths, elevations = orbit_angles(scene.viewmats)
        level = self._level(elevations)
        if self.spacing is None:
            context = rng.choice(level, size=self.context, replace=False).tolist()
        else:
            first = int(rng.choice(level))
            context = [first]
            directions = _directions(azimuths, elevations)
            turns = self.spacing * np.arange(1, self.context)
            for wanted in _directions(azimuths[first] + turns, np.full(len(turns), elevations[first])):
                free = np.setdiff1d(level, context)
                context.append(int(free[np.argmax(directions[free] @ wanted)]))
        rest = np.setdiff1d(np.arange(len(scene)), context)
        targets = rng.choice(rest, size=self.targets, replace=len(rest) < self.targets)
        return ChosenViews(context, targets.tolist())

    def in_frame(self, viewmats: Float[np.ndarray, "n 4 4"]) -> Float[np.ndarray, "n 4 4"]:
        """Return the cameras as they are."""
        return viewmats.astype(np.float32)

    def notes(self) -> list[str]:
        """Return nothing."""
        return []

    def _level(self, elevations: Float[np.ndarray, " n"]) -> np.ndarray:
        return np.flatnonzero(np.abs(elevations) <= self.max_elevation + 1e-3)


def relative(viewmats: Float[np.ndarray, "n 4 4"], context: int) -> Float[np.ndarray, "n 4 4"]:
    """Return the cameras in the frame of the first, in units of its distance to the last of `context` ones."""
    moved = viewmats.astype(np.float64) @ np.linalg.inv(viewmats[0].astype(np.float64))
    moved[:, :3, 3] /= np.linalg.norm(moved[context - 1, :3, 3])
    moved[0] = np.eye(4)
    return moved.astype(np.float32)


def _first_photos(scene: PosedScene, gaps: tuple[int, int]) -> dict[int, np.ndarray]:
    """Return, for each gap that the scene has, the photos whose partner stands elsewhere. A short scene is used whole.

    The partner is `gap` photos later.
    """
    count = len(scene)
    centers = camera_centers(scene.viewmats)
    low, high = min(gaps[0], count - 1), min(gaps[1], count - 1)
    found = {}
    for gap in range(low, high + 1):
        distances = np.linalg.norm(centers[gap:] - centers[:-gap], axis=1)
        apart = (distances > 0) & (distances >= MIN_BASELINE * scene.unit)
        if apart.any():
            found[gap] = np.flatnonzero(apart)
    return found


def _directions(azimuths: Float[np.ndarray, " n"], elevations: Float[np.ndarray, " n"]) -> Float[np.ndarray, "n 3"]:
    """Return unit vectors from the object to cameras at these angles, in degrees."""
    a, e = np.radians(azimuths), np.radians(elevations)
    return np.stack([np.cos(e) * np.sin(a), np.sin(e), np.cos(e) * np.cos(a)], axis=-1)
