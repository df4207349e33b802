"""Options of `gatlas pose-pnp`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gatlas.config import Options, option
from gatlas.errors import GatlasError
from gatlas.io.splats.options import drop_invalid_option, up_option


@dataclass(frozen=True)
class PoseOptions(Options):
    """Find the cameras of photos of a splat scene, or refine cameras that are nearly right.

    The splat is rendered from all sides and matched to each photo (SIFT). PnP with RANSAC gives a camera, from which
    the splat is rendered and matched again; then the camera is refined on the pictures. If few features match and the
    object's mask is known, its silhouette is tried. A splat that was sampled from the photos themselves, in their
    order, has a Gaussian for each of their pixels: --find grid uses these correspondences, and auto does so if the
    number of photos is right and the pictures agree.

    If only the refinement fails, the camera of PnP is kept and marked not_refined, provided that enough correspondences
    agree: with --matches and the grid at least --min-inliers and more than half of them, otherwise 40. With --matches
    and the grid, a refinement that raises the median residual of those that agree counts as failed.

    A video among the photos is its --frames N sharp frames, evenly along the way that its picture moves.

    OUTPUT is a transforms.json, which render --camera and fit read. Each frame has the number of inliers, the residual,
    the losses before and after the refinement, the runner-up if a second camera could be scored, and ambiguous if that
    fits nearly as well. A photo whose camera is not found is reported and listed under not_found: the exit status is 1
    if no camera was found and 3 if only some were.

    Example: gatlas pose-pnp photo.png --scene scene.ply --fov 47 -o poses.json
    """

    scene: str = option(metavar="SPLAT", help="The scene; - is standard input.")
    up: Literal["x", "y", "z", "-x", "-y", "-z"] | None = up_option("scene")
    drop_invalid: bool = drop_invalid_option("Gaussians of the scene")
    fov: float | None = option(None, metavar="DEGREES", help="Field of view of the photos, across the shorter side.")
    intrinsics: str | None = option(None, metavar="FILE.json", help="Intrinsics of the photos, as in transforms.json.")
    frames: int | None = option(
        None, min=3, max=10_000, show_default="20", help="Number of frames of each video among the photos."
    )
    frames_out: str | None = option(
        None, metavar="DIR", output="", once=False, help="Keep the frames of a video there; default in the cache."
    )
    find: Literal["auto", "grid", "render"] = option(
        "auto", help="Source of the correspondences: the splat's pixel grid, or renders."
    )
    matches: str | None = option(
        None,
        metavar="FILE.npz",
        help="Correspondences: points [m 3], in the units of cameras, and pixels [m 2] of one photo as it was taken. "
        "The center of the first pixel is (0.5, 0.5).",
    )
    init: str | None = option(None, metavar="FILE.json", help="Initial cameras of the photos, which are only refined.")
    candidates: str | None = option(
        None, metavar="FILE.json", help="Views of the scene to match with, such as the cameras of its training."
    )
    views: int | None = option(None, min=4, help="Number of views from all sides to match with; default 40.")
    mask: str | None = option(
        None,
        metavar="FILE.png",
        help="Gray picture of the size of the photo as it was taken, white where the object is; {stem} stands for the "
        "photo's name. Default: the mask_path of the photo's frame in a transforms.json.",
    )
    background: str | None = option(None, metavar="COLOR", help="Color behind the object, if it is one color.")
    refine: Literal["photometric", "noposplat", "none"] = option("photometric", help="Refinement method.")
    focal: bool = option(False, help="Refine the focal length too.")
    min_inliers: int = option(
        12,
        min=4,
        help="Least number of correspondences that must agree; with fewer, only a silhouette can give a camera.",
    )
    own_units: bool = option(
        False,
        help="Cameras and points in files are in the object's units: for cameras of the photos that the scene was "
        "fitted on, not for those that render or fit --views-out wrote of a mesh.",
    )
    ground_truth: str | None = option(
        None,
        metavar="FILE.json",
        help="True cameras: print errors, and the AUC of the larger of degrees and per cent of the distance (for a "
        "splat of unposed photos, of degrees and degrees of direction).",
    )
    lpips_weights: str | None = option(
        None, metavar="FILE", help="VGG16 in torchvision's format, for LPIPS in the refinement."
    )

    def validate(self) -> None:
        """Raise a GatlasError where options exclude each other."""
        sources = {"--matches": self.matches, "--init": self.init, "--candidates": self.candidates}
        given = [name for name, value in sources.items() if value is not None]
        if len(given) > 1:
            raise GatlasError(f"{given[0]} and {given[1]} exclude each other")
        if given and self.views is not None:
            raise GatlasError(f"--views is the number of views from all sides: it cannot be combined with {given[0]}")
        if given and self.find == "grid":
            raise GatlasError(f"--find grid cannot be combined with {given[0]}")
        if self.init is not None and self.refine == "none":
            raise GatlasError("--init only refines cameras: leave out --refine none")
        if self.init is not None and self.refine == "noposplat":
            raise GatlasError(
                "--refine noposplat refines photos one by one from PnP: it cannot be combined with --init"
            )
        if self.focal and self.refine != "photometric":
            raise GatlasError("--focal needs --refine photometric")
        from gatlas.images.colors import parse_background

        color = None if self.background is None else parse_background(self.background)
        if self.refine == "noposplat" and self.background is not None and color is None:
            raise GatlasError("--background transparent: the photos' background must be a color")
