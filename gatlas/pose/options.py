"""Options of `gatlas pose-pnp`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gatlas.config import Options, option
from gatlas.errors import GatlasError


@dataclass(frozen=True)
class PoseOptions(Options):
    """Find the cameras that took photos of a splat scene, or refine cameras that are nearly right.

    The splat is rendered from all sides and matched to each photo (SIFT); the camera comes from PnP with RANSAC, is
    rendered from and matched again, and is then refined on the pictures. Where few features match and the object's
    mask is known, its silhouette is tried. A splat that was sampled from the photos themselves, in their order, knows
    which Gaussian shows which pixel: --find grid, which auto takes where the numbers fit and the pictures agree.

    Where only the refinement fails, PnP's camera is kept, marked not_refined: with --matches and the grid where at
    least --min-inliers and more than half of the correspondences agree, else where 40 matches do. With --matches and
    the grid, a refinement that raises the median residual of those that agree counts as failed.

    OUTPUT is a transforms.json that render --camera and fit read where the photos have one size, with inliers,
    residuals, losses before and after, the runner-up where a second camera could be scored, and ambiguous where it
    fits nearly as well. A photo whose camera is not found is said and stands in not_found: the exit status is 1 where
    none was found and 3 where some were not.

    Example: gatlas pose-pnp photo.png --scene scene.ply --fov 47 -o poses.json
    """

    scene: str = option(metavar="SPLAT", help="The scene; - is standard input.")
    fov: float | None = option(None, metavar="DEGREES", help="Field of view of the photos, across the shorter side.")
    intrinsics: str | None = option(None, metavar="FILE.json", help="Intrinsics of the photos, as in transforms.json.")
    find: Literal["auto", "grid", "render"] = option(
        "auto", help="Correspondences from the splat's pixel grid, or from renders."
    )
    matches: str | None = option(
        None,
        metavar="FILE.npz",
        help="Correspondences: points [m 3], in the units of cameras, and pixels [m 2] of one photo as it was taken. "
        "The first pixel's centre is (0.5, 0.5).",
    )
    init: str | None = option(None, metavar="FILE.json", help="Refine the photos' cameras in this file.")
    candidates: str | None = option(None, metavar="FILE.json", help="Cameras to begin with, as those of training.")
    views: int | None = option(None, min=4, help="Cameras to begin with, from all sides; default 40.")
    mask: str | None = option(
        None,
        metavar="FILE.png",
        help="Grey picture of a photo as it was taken, white where the object is; {stem} is the photo's name. Without "
        "it, the mask_path of the photo's frame in a transforms.json.",
    )
    background: str | None = option(
        None, metavar="COLOR", help="What stands behind the object, where it is one colour."
    )
    refine: Literal["photometric", "noposplat", "none"] = option(
        "photometric", help="What is done to the camera that PnP found."
    )
    focal: bool = option(False, help="Refine the focal length too.")
    min_inliers: int = option(
        12,
        min=4,
        help="Correspondences that must agree; with fewer, only the silhouette under a known mask finds a camera.",
    )
    own_units: bool = option(
        False,
        help="Cameras and points in files have the object's units: give it with those of the photos that the scene was "
        "fitted on, not with those that render or fit --views-out wrote of a mesh.",
    )
    ground_truth: str | None = option(
        None,
        metavar="FILE.json",
        help="The true cameras: print errors, and AUC of the larger of degrees and per cent of the distance (of "
        "degrees and degrees of direction for a splat of unposed photos).",
    )
    lpips_weights: str | None = option(
        None, metavar="FILE", help="VGG16 in torchvision's format: LPIPS in the refinement."
    )

    def validate(self) -> None:
        """Raise a GatlasError where options exclude each other."""
        sources = {"--matches": self.matches, "--init": self.init, "--candidates": self.candidates}
        given = [name for name, value in sources.items() if value is not None]
        if len(given) > 1:
            raise GatlasError(f"{given[0]} and {given[1]} exclude each other")
        if given and self.views is not None:
            raise GatlasError(f"--views is of cameras from all sides: it does not go with {given[0]}")
        if given and self.find == "grid":
            raise GatlasError(f"--find grid does not go with {given[0]}")
        if self.init is not None and self.refine == "none":
            raise GatlasError("--init is to refine: leave out --refine none")
        if self.init is not None and self.refine == "noposplat":
            raise GatlasError("--refine noposplat refines one photo at a time from PnP: it does not go with --init")
        if self.focal and self.refine != "photometric":
            raise GatlasError("--focal needs --refine photometric")
        from gatlas.images.colors import parse_background

        color = None if self.background is None else parse_background(self.background)
        if self.refine == "noposplat" and self.background is not None and color is None:
            raise GatlasError("--background transparent: the photos' background must be a color")
