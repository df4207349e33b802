"""Options of structure from motion."""

from __future__ import annotations

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
    sequential: bool = option(False, help="The photos are frames of a video, in order.")
    seed: int = option(0, min=0, help="Random seed.")

    @property
    def colmap_model(self) -> str:
        """COLMAP's name of the camera model."""
        return self.camera_model.replace("-", "_").upper()
