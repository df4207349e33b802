"""gatlas pose-pnp"""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer

from gatlas.cli.options import Force, Fov, Intrinsics, Threads


class Find(str, Enum):
    auto = "auto"
    grid = "grid"
    render = "render"


class Refine(str, Enum):
    photometric = "photometric"
    noposplat = "noposplat"
    none = "none"


def pose_pnp(
    scene: Annotated[str, typer.Option(metavar="SPLAT", help="The scene; - is standard input.")],
    photos: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PHOTO...",
            help="Photos of the scene (justphotos/*.png), or a folder of them with a transforms.json.",
        ),
    ] = None,
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="OUTPUT", help="JSON to write; - is standard output.")
    ] = "-",
    fov: Fov = None,
    intrinsics: Intrinsics = None,
    find: Annotated[
        Find,
        typer.Option(
            "--find", metavar="auto|grid|render", help="Correspondences from the splat's pixel grid, or from renders."
        ),
    ] = Find.auto,
    matches: Annotated[
        str | None,
        typer.Option(
            metavar="FILE.npz",
            help="Correspondences: points [m 3], in the units of cameras, and pixels [m 2] of one photo as it was "
            "taken. The first pixel's centre is (0.5, 0.5).",
            show_default=False,
        ),
    ] = None,
    init: Annotated[
        str | None,
        typer.Option(metavar="FILE.json", help="Refine the photos' cameras in this file.", show_default=False),
    ] = None,
    candidates: Annotated[
        str | None,
        typer.Option(metavar="FILE.json", help="Cameras to begin with, as those of training.", show_default=False),
    ] = None,
    views: Annotated[
        int | None,
        typer.Option(min=4, metavar="N", help="Cameras to begin with, from all sides; default 40.", show_default=False),
    ] = None,
    mask: Annotated[
        str | None,
        typer.Option(
            metavar="FILE.png",
            help="Grey picture of a photo as it was taken, white where the object is; {stem} is the photo's name. "
            "Without it, the mask_path of the photo's frame in a transforms.json.",
            show_default=False,
        ),
    ] = None,
    background: Annotated[
        str | None,
        typer.Option(
            metavar="COLOR", help="What stands behind the object, where it is one colour.", show_default=False
        ),
    ] = None,
    refine: Annotated[
        Refine,
        typer.Option(
            "--refine", metavar="photometric|noposplat|none", help="What is done to the camera that PnP found."
        ),
    ] = Refine.photometric,
    focal: Annotated[bool, typer.Option("--focal", help="Refine the focal length too.")] = False,
    min_inliers: Annotated[
        int,
        typer.Option(
            min=4,
            metavar="N",
            help="Correspondences that must agree; with fewer, only the silhouette under a known mask finds a camera.",
        ),
    ] = 12,
    own_units: Annotated[
        bool,
        typer.Option(
            "--own-units",
            help="Cameras and points in files have the object's units: give it with those of the photos that the scene "
            "was fitted on, not with those that render or fit --views-out wrote of a mesh.",
        ),
    ] = False,
    ground_truth: Annotated[
        str | None,
        typer.Option(
            metavar="FILE.json",
            help="The true cameras: print errors, and AUC of the larger of degrees and per cent of the distance (of "
            "degrees and degrees of direction for a splat of unposed photos).",
        ),
    ] = None,
    lpips_weights: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="VGG16 in torchvision's format: LPIPS in the refinement.", show_default=False
        ),
    ] = None,
    threads: Threads = None,
    force: Force = False,
) -> None:
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
    from gatlas.cli.pose_photos import Wish
    from gatlas.cli.pose_work import work

    work(
        Wish(
            scene=scene,
            photos=tuple(photos or ()),
            output=output,
            fov=fov,
            intrinsics=intrinsics,
            find=find.value,
            matches=matches,
            init=init,
            candidates=candidates,
            views=views,
            mask=mask,
            background=background,
            refine=refine.value,
            focal=focal,
            min_inliers=min_inliers,
            own_units=own_units,
            ground_truth=ground_truth,
            lpips_weights=lpips_weights,
            threads=threads,
            force=force,
        )
    )
