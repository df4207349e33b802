"""Options of `gatlas fit`, and its named budgets."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Literal, NamedTuple

from gatlas.config import ABSENT, Options, option, option_fields, result_fields
from gatlas.io.splats.options import drop_invalid_option
from gatlas.types import MAX_GROWTH


class Budget(NamedTuple):
    """The size of a fit. Its learning rates decay over exactly `iterations` steps."""

    iterations: int  # one view each
    views: int  # training pictures of a mesh
    resolution: int  # pixels a side of the training pictures; a fit falls apart above what it was trained at

    @property
    def coarse_iterations(self) -> int:
        """The number of initial steps at half resolution; 0 for small or odd resolutions."""
        return self.iterations // 2 if self.resolution >= 384 and self.resolution % 2 == 0 else 0


PROFILES = {
    "instant": Budget(iterations=0, views=24, resolution=512),  # resolution is what its splats are meant for
    "quick": Budget(iterations=200, views=48, resolution=256),
    "default": Budget(iterations=1200, views=64, resolution=512),
    "quality": Budget(iterations=4000, views=96, resolution=512),
}
MAX_LEVELS = 16
MESH_COUNT = 16_384  # default number of Gaussians of a mesh, and of an object that photos show cut out
# Fields that reports and checkpoints always hold, in this order. Other options that change the result are added where
# they differ from their default, so that checkpoints from before an option was added can still be resumed.
RECORDED = ("count", "iterations", "views", "resolution", "held_out", "seed", "supersample", "shading")
# Options that the record of a run holds elsewhere: in the budget, the loss or the digest of the input; and the units of
# the output, which a fit does not depend on.
RECORDED_ELSEWHERE = {
    *("profile", "init", "model", "lpips_weights", "lambda_rgb", "lambda_ssim", "lambda_lpips", "lambda_reg"),
    *("up", "ignore_vertex_colors", "denormalize", "masks", "mask_command", "matting"),
}


@dataclass(frozen=True)
class FitOptions(Options):
    """Fit exactly COUNT Gaussians to a mesh or to photos.

    INPUT is a GLB, glTF, OBJ or PLY mesh, a folder of photos, or a video. The result is a splat PLY in the unit
    ball; its header holds the center and scale that lead back to the object's own units.

    A mesh is rendered from all sides. Photos are resized to --resolution on the longer side, and --views does not apply
    to them. PSNR and SSIM are measured on held-out pictures, which are never trained on: 20 renders of a mesh, every
    eighth photo.

    The cameras of photos are read from a transforms.json or a COLMAP model, which is searched for in sparse/, the
    folder itself and colmap/sparse/; of several the one with most images is taken.

    Cameras that no file holds are found by COLMAP (extra photos), and kept for the next run: in --cameras-out DIR, or
    in the cache. Up to 100 photos are all matched with each other, of more those next to each other and those
    that look alike. Photos of equal size and EXIF tags share a camera. A run that is ended goes on where it was.

    Of a video --frames N sharp frames are taken, evenly along the way that its picture moves. They are kept for the
    next run, in --frames-out DIR or in the cache.

    Photos of an object are cut out by --masks DIR, by a program of yours, --mask-command, or by a network in a file,
    --matting; the two last keep what they make in --masks DIR, and make only what is missing there.

    Photos without transparency show a scene with all that is around it: by default it gets a Gaussian for every 100
    pixels of all photos, from 16,384 to 65,536, and begins on the surfaces that the photos agree about (--init stereo).

    --background scene fits one color behind what photos show, --background view one per photo; the splat leaves it out,
    PSNR and SSIM are over it, and the report holds it.

    --profile quick is 200 steps on 48 pictures of 256 x 256, default 1,200 on 64 of 512 x 512, quality 4,000 on 96,
    instant 0 on 24: it places the Gaussians of a mesh on the surface that these show and does not optimize them, in
    about a second per mesh. Without --report its PSNR and SSIM are of 4 held-out pictures.

    --model scaffold ends with COUNT Gaussians or fewer (at most 36,864), as the fits of the paper do. The loss is
    lambda-rgb L1 + lambda-ssim (1 - SSIM) + lambda-lpips LPIPS + lambda-reg times the mean product of the scales. LPIPS
    is used if its weights are found: in --lpips-weights, or in torchvision's cache (~/.cache/torch/hub/checkpoints).

    --exposure fits a gain and an offset per photo and channel; their mean over the photos is the identity. The report
    lists them under "exposure", with the PSNR of the held-out photos after their own, solved, exposure is applied.

    --init even begins with Gaussians that follow from the surface alone, where surface chooses them by chance: what a
    network learns of their atlases is smoother. The PSNR of a fit changes by -0.3 to +0.5 dB.

    --sh-degree 1 to 3 is for splats that stay splats: it pays where the surface is glossy, and files are larger.

    The splat and --views-out are written in the units of the unit ball; --denormalize applies to the splat.

    --lod 1024,4096,16384 makes levels of detail: the first 1,024 Gaussians of the file, and the first 4,096, show the
    whole object as well; prune -n 1024 takes them out. The levels are fitted together, with half as many steps again
    as the profile has. Each is 1.0 to 2.8 dB short of a fit of its count alone, as large Gaussians remain in the large
    levels. With --lod-growth 0.3 it is at most 0.6 dB: prune then enlarges those of a small level, by a factor that the
    header holds.

    --device auto uses CUDA if gsplat runs on a GPU, else the CPU.

    Example: gatlas fit obj.glb --profile quick -o obj.ply
    """

    count: int | None = option(
        None,
        "-n",
        min=1,
        recorded=MESH_COUNT,
        show_default="16384; of opaque photos by their number and size, up to 65536",
        help="Number of Gaussians (exact).",
    )
    profile: Literal["instant", "quick", "default", "quality"] = option(
        "default",
        help="Preset of iterations, views and resolution; explicit options win. instant does not optimize.",
    )
    iterations: int | None = option(None, min=0, help="Optimization steps; default from the profile.")
    views: int | None = option(None, min=1, max=100_000, help="Training views of a mesh; default from the profile.")
    resolution: int | None = option(
        None, min=16, help="Width and height of the training views in pixels; default from the profile."
    )
    init: str | None = option(
        None,
        metavar="surface|even|points|hull|stereo|random|FILE.ply",
        help="Initialization: the surface of a mesh, or even for smooth atlases; points, visual hull, stereo or random "
        "positions of photos.",
    )
    lod: str | None = option(
        None,
        metavar="N,N,...",
        recorded=ABSENT,
        help="Levels of detail: ascending numbers of Gaussians that end with -n; see above.",
    )
    lod_growth: float = option(
        0.0, min=0, max=MAX_GROWTH, recorded=ABSENT, help="Scales of a level of n are to be times (COUNT / n)^X."
    )
    drop_invalid: bool = drop_invalid_option("Gaussians of --init FILE.ply")
    model_dir: str | None = option(
        None,
        metavar="DIR",
        recorded=ABSENT,
        help="COLMAP model of the photos, such as sparse/1; default the one with most images.",
    )
    frames: int | None = option(
        None,
        min=3,
        max=10_000,
        recorded=ABSENT,
        show_default="60",
        help="Number of frames of a video to take: sharp ones, evenly along the way of the camera.",
    )
    frames_out: str | None = option(
        None, metavar="DIR", output="", once=False, help="Keep the frames of a video there; default in the cache."
    )
    background: Literal["none", "scene", "view"] = option(
        "none",
        recorded=ABSENT,
        help="Fit the color behind what photos show, one for all or one per photo, and leave it out of the splat.",
    )
    scene: bool = option(
        False,
        recorded=ABSENT,
        help="Photos of a scene with much that is far away, as landscapes: few large Gaussians hold what is far.",
    )
    masks: str | None = option(
        None,
        metavar="DIR",
        recorded=ABSENT,
        help="Masks of the photos, white where the object is: NAME.jpg.png, as COLMAP names them, or NAME.png.",
    )
    mask_command: str | None = option(
        None,
        metavar="COMMAND",
        recorded=ABSENT,
        help="Program that makes the mask, or a cut-out, of each photo, as 'rembg i {input} {output}'.",
    )
    matting: str | None = option(
        None,
        metavar="MODEL.onnx",
        recorded=ABSENT,
        help="Network of background removal that makes the mask of each photo, of rembg's kind (extra matting).",
    )
    camera_model: Literal["simple-pinhole", "pinhole", "simple-radial", "radial", "opencv"] | None = option(
        None,
        recorded=ABSENT,
        show_default="simple-radial",
        help="Lens of photos without cameras, as COLMAP calls it.",
    )
    fov: float | None = option(
        None,
        above=0,
        below=180,
        metavar="DEGREES",
        recorded=ABSENT,
        help="Field of view of photos without cameras, across the shorter side, to begin with; default from EXIF.",
    )
    principal_point: str | None = option(
        None,
        metavar="X,Y",
        recorded=ABSENT,
        help="Principal point of photos without cameras, in pixels as stored; default their middle.",
    )
    cameras_out: str | None = option(
        None,
        metavar="DIR",
        output="",
        once=False,
        help="Keep the cameras that are found of photos there, as a COLMAP model; default in the cache.",
    )
    model: Literal["direct", "scaffold"] = option(
        "direct", help="Optimize Gaussians directly, or the paper's anchors and networks, baked at the end."
    )
    lpips_weights: str | None = option(
        None, metavar="FILE", help="VGG16 or AlexNet weights in torchvision's format, for LPIPS."
    )
    lambda_rgb: float | None = option(None, min=0, help="Weight of L1 in the loss; default 0.8.")
    lambda_ssim: float | None = option(None, min=0, help="Weight of 1 - SSIM; default 0.2.")
    lambda_lpips: float | None = option(None, min=0, help="Weight of LPIPS; default 0.1 if its weights are found.")
    lambda_reg: float | None = option(
        None, min=0, help="Weight of the mean product of the scales; default 0, of scaffold 0.01."
    )
    antialiased: bool = option(
        False,
        recorded=ABSENT,
        help="Fit for pictures of all sizes, in the antialiased mode (Mip-Splatting), which the header then names; "
        "viewers without that mode need fits without it.",
    )
    sh_degree: int = option(
        0,
        min=0,
        max=3,
        recorded=ABSENT,
        help="Degree of the spherical harmonics: above 0 colors depend on the direction, which atlases do not store.",
    )
    exposure: Literal["auto", "on", "off"] = option(
        "auto",
        recorded=ABSENT,
        help="Fit a gain and an offset of the colors of each photo; auto is on for photos, and a mesh has none.",
    )
    shading: Literal["auto", "unlit", "headlight"] = option(
        "auto", help="Shading of a mesh; auto is unlit if its textures or colors show its form."
    )
    up: Literal["x", "y", "z", "-x", "-y", "-z"] | None = option(
        None,
        metavar="AXIS",
        recorded="y",
        help="Vertical axis of the mesh file, such as z or -y; default y. With photos, that of --init FILE.ply.",
    )
    ignore_vertex_colors: bool = option(False, help="Ignore vertex colors, for files that store other data there.")
    supersample: int = option(4, min=1, max=16, help="Samples per pixel side when rendering a mesh.")
    denormalize: bool = option(False, help="Write the splat in the object's own units instead of the unit ball.")
    seed: int = option(0, min=0, help="Random seed; the same seed gives the same bytes on the CPU.")
    report: str | None = option(
        None, metavar="FILE.json", output=".json", help="Write held-out PSNR and SSIM, times and arguments as JSON."
    )
    plot: str | None = option(
        None, metavar="FILE.png", output=".png", help="Draw PSNR and loss over the steps (extra plot)."
    )
    views_out: str | None = option(
        None, metavar="DIR", output="", help="Write the training views with a transforms.json."
    )
    preview: str | None = option(
        None, metavar="FILE.png", output=".png", once=False, help="Write a picture that is updated during the fit."
    )
    resume: str | None = option(
        None,
        metavar="FILE.npz",
        output=".npz",
        once=False,
        help="Checkpoint: saved when a signal or --time-limit stops the fit (status 75); resumed from if it exists.",
    )
    time_limit: float | None = option(
        None,
        min=0,
        metavar="SECONDS",
        affects_result=False,
        help="Stop and save after this time; needs --resume.",
    )
    max_offset: float | None = option(
        None,
        min=1e-4,
        max=1,
        metavar="R",
        recorded=ABSENT,
        help="Greatest distance of a center from a mesh's surface, in radii of the unit ball; default unbounded.",
    )
    device: Literal["auto", "cpu", "cuda"] = option(
        "auto", affects_result=False, help="Device for rendering Gaussians; see above."
    )
    held_out: int = option(20, min=1, command_line=False, help="Held-out views of a mesh.")

    @property
    def budget(self) -> Budget:
        """The profile's budget, with the values that are given."""
        given = {name: getattr(self, name) for name in Budget._fields if getattr(self, name) is not None}
        budget = PROFILES[self.profile]
        if self.lod is not None:  # the levels share the steps
            budget = budget._replace(iterations=budget.iterations * 3 // 2)
        return budget._replace(**given)

    @property
    def levels(self) -> tuple[int, ...]:
        """The numbers of Gaussians of the levels of detail, ascending; () without."""
        return () if self.lod is None else tuple(int(word) for word in self.lod.split(","))

    def validate(self) -> None:
        """Refuse levels of detail that are not ascending numbers which end with the number of Gaussians."""
        if self.lod is None:
            self.require(self.lod_growth == 0, "lod_growth", "is for levels of detail: give --lod")
            return
        words = self.lod.split(",")
        rule = f"must be 2 to {MAX_LEVELS} ascending numbers such as 1024,4096,16384"
        numbers = all(word.isascii() and word.isdigit() and len(word) < 10 for word in words)
        self.require(numbers and 2 <= len(words) <= MAX_LEVELS, "lod", rule)
        self.require(all(low < high for low, high in pairwise((0, *self.levels))), "lod", rule)
        self.require(
            self.levels[-1] == self.mesh_count, "lod", f"must end with the number of Gaussians, -n {self.mesh_count}"
        )

    @property
    def mesh_count(self) -> int:
        """The number of Gaussians of a mesh."""
        return MESH_COUNT if self.count is None else self.count

    def as_record(self) -> dict[str, Any]:
        """Return what a report and a checkpoint hold of the options."""
        stored = {**asdict(self), **self.budget._asdict(), "count": self.mesh_count}
        defaults = {field.name: field.default for field in option_fields(type(self)).values()}
        others = {
            name: value
            for name, value in result_fields(self).items()
            if name not in RECORDED_ELSEWHERE and name not in RECORDED and value != defaults[name]
        }
        return {**{name: stored[name] for name in RECORDED}, **others}
