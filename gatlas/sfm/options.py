"""Options of structure from motion."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from gatlas.config import Options, option


@dataclass(frozen=True)
class SfmOptions(Options):
    """Find the cameras of photos from the photos alone."""

    camera_model: Literal["simple-pinhole", "pinhole", "simple-radial", "radial", "opencv"] = option(
        "simple-radial", help="Model of the lenses, as COLMAP calls them."
    )
    fov: float | None = option(None, above=0, below=180, help="Field of view in degrees, across the shorter side.")
    principal_point: str | None = option(
        None, metavar="X,Y", help="Principal point in pixels of the photos as stored; default their middle."
    )
    sequential: bool = option(False, help="The photos are frames of a video, in order.")
    seed: int = option(0, min=0, help="Random seed.")

    def validate(self) -> None:
        """Raise a GatlasError where the principal point is not two numbers."""
        try:
            finite = self.point is None or all(map(math.isfinite, self.point))
        except ValueError:
            finite = False
        self.require(finite, "principal_point", "must be two numbers with a comma between them")

    @property
    def point(self) -> tuple[float, float] | None:
        """The principal point in pixels, where the upper left corner of the picture is at 0, 0."""
        if self.principal_point is None:
            return None
        x, y = map(float, self.principal_point.split(","))
        return x, y

    @property
    def colmap_model(self) -> str:
        """COLMAP's name of the camera model."""
        return self.camera_model.replace("-", "_").upper()
