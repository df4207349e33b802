"""Results of finding and refining a photo's camera."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float


DIAGNOSTICS = (
    "inliers",
    "correspondences",
    "cost",
    "residual",
    "runner_up",
    "ambiguous",
    "loss_before",
    "loss_after",
    "agreement",
    "not_refined",
)


class NotFound(NamedTuple):
    """No camera was found."""

    reason: str  # one clause, without the photo's name


class RunnerUp(NamedTuple):
    """The best other camera of a photo."""

    viewmat: Float[np.ndarray, "4 4"]  # world -> camera, OpenCV
    inliers: int
    cost: float  # see `PoseResult.cost`


@dataclass(frozen=True, eq=False)
class PoseResult:
    """The camera of a photo, or the reason why there is none, with diagnostics that are None where not measured."""

    viewmat: Float[np.ndarray, "4 4"] | None  # world -> camera, OpenCV; None: not found
    K: Float[np.ndarray, "3 3"]  # pixels of the undistorted photo, refined where asked for
    method: str  # "matches", "grid", "render" or "init"
    reason: str | None = None  # why there is no camera
    not_refined: str | None = None  # why the camera is the one that PnP found
    inliers: int | None = None  # correspondences that agree; 0 where the silhouette found the camera
    correspondences: int | None = None  # that were given or are in the pixel grid
    cost: float | None = None  # 1 - correlation of photo and render over the object, [0, 2]
    residual: float | None = None  # median reprojection error of the inliers, pixels
    runner_up: RunnerUp | None = None  # the best camera elsewhere, where one could be scored
    ambiguous: bool = False  # the runner-up fits nearly as well
    loss_before: float | None = None  # of the refinement
    loss_after: float | None = None
    agreement: float | None = None  # share of the photo's variance that the Gaussians explain, at most 1

    def details(self) -> dict[str, Any]:
        """Return the reason or the diagnostics that were measured, by name, as JSON-able values and NaN or infinity."""
        if self.viewmat is None:
            return {"reason": self.reason}
        values = {name: getattr(self, name) for name in DIAGNOSTICS}
        if self.runner_up is not None:
            viewmat, inliers, cost = self.runner_up
            viewmat = np.asarray(viewmat, dtype=np.float64).tolist()
            values["runner_up"] = {"inliers": inliers, "cost": cost, "viewmat": viewmat}
        return {name: value for name, value in values.items() if value is not None and value is not False}


@dataclass(frozen=True, eq=False)
class FoundCamera:
    """A camera before its refinement, with the correspondences that agree with it."""

    viewmat: Float[np.ndarray, "4 4"]
    result: PoseResult  # without a refinement
    points: Float[np.ndarray, "m 3"]  # world units
    pixels: Float[np.ndarray, "m 2"]  # of the undistorted photo
    reliable: bool  # so many agree that the camera is kept where its refinement fails
    outweighs_pictures: bool = False  # the correspondences are not from renders: no refinement may raise their residual
    on_black: bool = False  # the scene has black Gaussians where the photo is transparent
