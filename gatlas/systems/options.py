"""Options of `gatlas sample`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gatlas.config import Options, option
from gatlas.errors import GatlasError


@dataclass(frozen=True)
class SampleOptions(Options):
    """Sample a trained model: 3D Gaussians from text, a scene from photos, an object or new views of it from views.

    A sample from text is an atlas NPZ, or with -o x.ply a splat that any viewer opens. Several samples go into -o DIR/,
    one file each, into -o x.tar, or to standard output as a tar stream. A sample depends on the model, its prompt, the
    seed and its number, and up to rounding not on the other prompts or on the batch size.

    A model that was trained without captions is sampled without a prompt.

    --image PICTURE makes the object on a picture, by a model that was trained with --set pictures=64, with a prompt or
    without. What is not transparent, or not white where the picture's edges are, is the object. A picture without a
    prompt gives the name of its samples.

    --from ATLAS makes variations of an atlas of the model's size: it is noised, the less the lower --strength, and
    denoised by the prompt. --keep ATLAS --mask CELLS makes some cells anew, to fit the others, which stay equal bit for
    bit. CELLS are box:X,Y,Z,X,Y,Z or sphere:X,Y,Z,R, the Gaussians with their centers there, in the unit ball of the
    atlas, y up; or cells.png, a pixel per cell, white for those to make; or cells.npz, whose array "mask" is not 0
    there. With --strength below 1 they begin from what they are. The result stands where the atlas stands.

    A folder keeps the samples that it has, so that the same command resumes after a stop. If one of them was made with
    other options, or before the model was trained further, nothing is sampled without --force.

    Photos give one splat, with a Gaussian per pixel of each photo as the model saw it: its middle, at the model's size.
    The world is the first photo's camera, x right, y up, z towards the viewer, in units of the model's own. Folders of
    photos give a splat each. --views DIR writes the photos as the model saw them with a transforms.json, which render
    --camera, pose-pnp and fit read. --intrinsics takes fl_x, fl_y, cx, cy, w, h and lens coefficients, first those of
    a frame with the photo's name.

    Views of an object give one splat in the world of their cameras. They are a folder with a transforms.json, whose
    cameras may be anywhere around the object, a tar of such folders, also from standard input, or the pictures of an
    orbit in order. Their background is transparent or white, or given by --mask.

    New views of an object are a folder with a transforms.json, a tar or a tar stream of one, which fit and sample read;
    a folder is completed after a stop. Their cameras are those of a file, or an orbit: that of the first photo, turned
    about the y axis of its world. Each view is made from the photos and the views before it. A model that was trained
    on cameras in the objects' own frame needs to know where a photo is taken from (--orbit-azimuths); one that was
    trained on relative cameras takes a photo that nothing is known of, with --relative also for the cameras of a file.

    Example: gatlas sample --model run --prompt "a red cube" | gatlas atlas-decode -o cube.ply
    """

    # A field's group names the members of `gatlas.systems.contract.Takes` of which a system must have one for it.
    model: str = option(
        metavar="FOLDER|FILE", help="Model folder, run of train, one of its checkpoints, or published file."
    )
    prompt: tuple[str, ...] = option((), group="text", metavar="TEXT", help="Text prompt; repeatable.")
    prompts: str | None = option(None, group="text", metavar="FILE", help="Prompts, one per line; - is standard input.")
    image: tuple[str, ...] = option(
        (),
        group="picture",
        metavar="FILE",
        help="Picture of an object, from any side, on white or transparent; repeatable. With prompts, each with each.",
    )
    count: int = option(1, "-n", min=1, group="noise", help="Samples per prompt, per picture or per scene.")
    steps: int | None = option(
        None, min=1, group="noise", help="Sampler steps; more give more detail. Default: the model's own."
    )
    guidance: float | None = option(
        None,
        min=0,
        group="noise",
        help="Guidance: weight of the condition; none is 1 of atlases, 0 of views. Default: the model's own.",
    )
    scheduler: Literal["dpm++", "ddim", "euler", "unipc", "ancestral"] | None = option(
        None,
        group="noise",
        help="Sampler: ancestral or ddim of views, others than ancestral else. Default: the model's own.",
    )
    batch: int = option(8, min=1, group="noise", help="Batch size; does not change results beyond rounding.")
    from_atlas: str | None = option(
        None, "--from", group="edit", metavar="ATLAS", help="Make variations of an atlas; see --strength."
    )
    keep: str | None = option(
        None,
        group="edit",
        metavar="ATLAS",
        help="Complete an atlas: make the cells of --mask anew, and keep the others.",
    )
    strength: float | None = option(
        None,
        min=0,
        max=1,
        group="edit",
        help="Share of the noise that the atlas is given, and of the steps: 0 changes nothing, 1 leaves nothing of "
        "the cells that are made anew. Default: 0.6 of --from, 1 of --keep.",
    )
    repeats: int | None = option(
        None,
        min=0,
        group="edit",
        help="Repetitions of each step with --keep, each at the cost of the step: what is made fits what is kept "
        "better. Default: 2.",
    )
    device: Literal["auto", "cpu", "cuda"] = option("auto", help="Device of the network.")
    dtype: Literal["auto", "fp32", "bf16"] = option(
        "auto", help="Compute precision; auto is bf16 on CUDA devices that compute it."
    )
    seed: int = option(0, min=0, group="noise", help="Random seed; the same seed gives the same bytes on the CPU.")
    fov: float | None = option(
        None, group="photos", metavar="DEGREES", help="Field of view of the photos, across the shorter side."
    )
    intrinsics: str | None = option(
        None, group="photos", metavar="FILE.json", help="Intrinsics of the photos, as in transforms.json."
    )
    mask: str | None = option(
        None,
        group="orbit edit",
        metavar="FILE",
        help="Gray pictures that are white where the object is; {stem} stands for the photo's name. Default: the "
        "photo's transparency, or the mask_path of its frame. With --keep: the cells to make anew.",
    )
    orbit_azimuths: str | None = option(
        None,
        group="orbit",
        metavar="A,B,...",
        help="Azimuths that the photos are taken from, in degrees, in order; 0 is the front, 90 the side of +x. "
        "Default: 0,90,180,270.",
    )
    orbit_elevation: float | None = option(
        None,
        min=-90,
        max=90,
        group="orbit",
        metavar="DEGREES",
        help="Their elevation; above 0 the camera is higher than the object and looks down. Default: 0.",
    )
    radius: float | None = option(
        None, above=0, group="orbit", metavar="UNITS", help="Their distance from the object. Default: 1.5."
    )
    recenter: bool = option(
        False, group="orbit", help="Cut the photos so that the object has 0.8 of their side, in the middle."
    )
    orbit: int | None = option(
        None,
        min=1,
        group="target_cameras",
        help="Make the views of so many cameras on a circle about the y axis, evenly spaced; the first is the photo's.",
    )
    cameras: str | None = option(
        None, group="target_cameras", metavar="FILE", help="Cameras of the views to make, from a transforms.json."
    )
    relative: bool = option(
        False,
        group="relative",
        help="Where the photo is taken from is not known: the cameras of --cameras are in the axes of its own camera.",
    )
    condition_on: Literal["pool", "first"] = option(
        "pool",
        group="pool",
        help="What each step of a view sees: one of the photos and earlier views at random, or always the first photo.",
    )
    views: str | None = option(
        None,
        group="photos",
        metavar="DIR",
        output="",
        help="Write the photos as the model saw them, with their cameras.",
    )
    settings: tuple[str, ...] = option(
        (), "--set", group="keys", metavar="KEY=VALUE", help="A key of the model's config that sampling may change."
    )
    convert: str | None = option(
        None, metavar="DIR", output="", help="Write the model as a folder of safetensors, without sampling."
    )

    def validate(self) -> None:
        """Refuse half of an edit, and two at once."""
        if self.from_atlas is not None and self.keep is not None:
            raise GatlasError("--from and --keep are two ways to make an atlas of another: leave out one of them")
        if self.from_atlas is not None and self.mask is not None:
            raise GatlasError("--from varies all cells: name the atlas with --keep, and with --mask the cells to make")
        if self.keep is not None and self.mask is None:
            raise GatlasError("--keep needs --mask, the cells to make anew; --from ATLAS varies all of them")
        for name, value, needs in (
            ("--strength", self.strength, self.from_atlas or self.keep),
            ("--repeats", self.repeats, self.keep),
        ):
            if value is not None and needs is None:
                raise GatlasError(
                    f"{name}: needs an atlas to begin from: name it with --keep" + " or --from" * (name == "--strength")
                )
