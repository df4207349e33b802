"""Options of `gatlas fit`, and its named budgets."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

from gatlas.config import Options, option


class Budget(NamedTuple):
    """How much a fit may cost. Its learning rates decay over exactly `iterations` steps."""

    iterations: int  # one view each
    views: int  # training pictures of a mesh
    resolution: int  # pixels a side of the training pictures; a fit falls apart above what it was trained at

    @property
    def coarse_iterations(self) -> int:
        """The number of first steps on pictures of half the size, where those are still large enough to tell apart."""
        return self.iterations // 2 if self.resolution >= 384 and self.resolution % 2 == 0 else 0


PROFILES = {
    "quick": Budget(iterations=200, views=48, resolution=256),
    "default": Budget(iterations=1000, views=64, resolution=512),
    "quality": Budget(iterations=4000, views=96, resolution=512),
}
# Fields that reports and checkpoints hold.
RECORDED = ("count", "iterations", "views", "resolution", "held_out", "seed", "supersample", "shading")


@dataclass(frozen=True)
class FitOptions(Options):
    """Fit exactly COUNT Gaussians to a mesh or to photos with known cameras.

    INPUT is a GLB, glTF, OBJ or PLY mesh, or a folder of photos with a transforms.json or a COLMAP model. The result is
    a splat PLY in the unit ball; its header holds the centre and scale that lead back to the object's own units.

    A mesh is photographed from all sides; photos are reduced to --resolution on the longer side, and --views is not for
    them. Held-out pictures are never trained on: PSNR and SSIM are measured on those, which are 20 of a mesh and every
    eighth of photos. Photos whose cameras are not known go through COLMAP first, whose model is looked for in sparse/0,
    sparse, the folder itself and colmap/sparse.

    --profile quick is 200 steps on 48 pictures of 256 x 256, default 1,000 on 64 of 512 x 512, quality 4,000 on 96.

    --model scaffold ends at or under COUNT (at most 36,864), as the paper's fits do. The loss is lambda-rgb L1 +
    lambda-ssim (1 - SSIM) + lambda-lpips LPIPS + lambda-reg times the mean product of the scales. LPIPS is on where its
    weights are found: in --lpips-weights, or where torchvision keeps its VGG16 (~/.cache/torch/hub/checkpoints).

    The units of what is written, splat and --views-out, are those of the unit ball; --denormalize is for the splat.

    --device auto is CUDA where there is a GPU on which gsplat runs, else the CPU.

    Example: gatlas fit obj.glb --profile quick -o obj.ply
    """

    count: int = option(16_384, "-n", min=1, help="Gaussians, exactly.")
    profile: Literal["quick", "default", "quality"] = option(
        "default", help="A budget; the options below override it. See above."
    )
    iterations: int | None = option(None, min=0, help="Optimisation steps; default the profile's.")
    views: int | None = option(None, min=1, max=100_000, help="Training pictures; default the profile's.")
    resolution: int | None = option(None, min=16, help="Pixels a side of the training pictures; default the profile's.")
    init: str | None = option(
        None,
        metavar="surface|points|hull|random|FILE.ply",
        help="Where the fit begins; a mesh at its surface, photos at their points, hull or random places.",
    )
    model: Literal["direct", "scaffold"] = option(
        "direct", help="The Gaussians themselves, or the paper's anchors with offsets and networks, baked in the end."
    )
    lpips_weights: str | None = option(
        None, metavar="FILE", help="VGG16 or AlexNet in torchvision's format, for LPIPS."
    )
    lambda_rgb: float | None = option(None, min=0, help="Weight of L1 in the loss; default 0.8.")
    lambda_ssim: float | None = option(None, min=0, help="Weight of 1 - SSIM; default 0.2.")
    lambda_lpips: float | None = option(None, min=0, help="Weight of LPIPS; default 0.1 where its weights are found.")
    lambda_reg: float | None = option(
        None, min=0, help="Weight of the mean product of the scales; default 0, of scaffold 0.01."
    )
    shading: Literal["auto", "unlit", "headlight"] = option(
        "auto", help="Light on a mesh: auto is none where it has textures or colours to tell apart."
    )
    up: Literal["x", "y", "z", "-x", "-y", "-z"] = option(
        "y", metavar="AXIS", help="Axis of a mesh file that points up, as z or -y."
    )
    ignore_vertex_colors: bool = option(False, help="Leave out vertex colours that are no colours.")
    supersample: int = option(4, min=1, max=16, help="Samples a side of a pixel of a mesh.")
    denormalize: bool = option(False, help="Write the object in its own units and not in the unit ball.")
    seed: int = option(0, min=0, help="Seed of everything random; the same seed gives the same bytes.")
    report: str | None = option(
        None, metavar="FILE.json", output=".json", help="Write held-out PSNR and SSIM, seconds, arguments."
    )
    views_out: str | None = option(
        None, metavar="DIR", output="", help="Write the training pictures with their transforms.json."
    )
    preview: str | None = option(
        None, metavar="FILE.png", output=".png", once=False, help="A picture that is refreshed as the fit goes."
    )
    resume: str | None = option(
        None,
        metavar="FILE.npz",
        output=".npz",
        once=False,
        help="Save the fit here when a signal or --time-limit stops it (exit status 75), and go on from there.",
    )
    time_limit: float | None = option(
        None,
        min=0,
        metavar="SECONDS",
        affects_result=False,
        help="Stop and save after this long; needs --resume.",
    )
    device: Literal["auto", "cpu", "cuda"] = option(
        "auto", affects_result=False, help="Where Gaussians are rendered; see above."
    )
    held_out: int = option(20, min=1, command_line=False, help="Pictures of a mesh that are only measured on.")

    @property
    def budget(self) -> Budget:
        """The profile's budget, with the values that are given."""
        given = {name: getattr(self, name) for name in Budget._fields if getattr(self, name) is not None}
        return PROFILES[self.profile]._replace(**given)

    def as_record(self) -> dict[str, Any]:
        """Return what a report and a checkpoint hold of the options."""
        stored = {**asdict(self), **self.budget._asdict()}
        return {name: stored[name] for name in RECORDED}
