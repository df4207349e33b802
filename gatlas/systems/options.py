"""Options of `gatlas sample`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gatlas.config import Options, option


@dataclass(frozen=True)
class SampleOptions(Options):
    """Make 3D Gaussians with a trained model: from text, or a scene from photos without poses.

    One sample gives an atlas NPZ, or with -o x.ply a splat that any viewer opens. Many samples go into -o DIR/, one
    file each, into -o x.tar, or to standard output as a tar stream. A sample depends on the model, its prompt, the
    seed and its number: but for rounding, neither on the other prompts nor on how many are made at once.

    A model that learned without captions is sampled without a prompt.

    In a folder, existing samples are kept, so the same command resumes after a stop. Where one was made
    with other options, or before the model was trained further, nothing is sampled without --force.

    From photos comes one splat, a Gaussian for each pixel of each photo as the model saw it: its middle, at the model's
    size. The world is the first photo's camera, x right, y up, z towards the viewer, in units that the model chose.
    --views DIR writes those pictures with a transforms.json, which render --camera, pose-pnp and fit read.
    --intrinsics takes fl_x, fl_y, cx, cy, w, h and lens coefficients, those of a frame of the photo's name first.

    Example: gatlas sample --model run --prompt "a red cube" | gatlas atlas-decode -o cube.ply
    """

    # A field's group names the member of `gatlas.systems.contract.Takes` that a system must have for it.
    model: str = option(metavar="FOLDER|FILE", help="A run of train, one of its checkpoints, or a published file.")
    prompt: tuple[str, ...] = option((), group="text", metavar="TEXT", help="What to make; may be given many times.")
    prompts: str | None = option(None, group="text", metavar="FILE", help="Prompts, one a line; - is standard input.")
    count: int = option(1, "-n", min=1, group="noise", help="Samples a prompt.")
    steps: int | None = option(
        None, min=1, group="noise", help="Steps of the sampler; more give more detail; default the model's own."
    )
    guidance: float | None = option(None, min=0, group="noise", help="Weight of the text; default the model's own.")
    scheduler: Literal["dpm++", "ddim", "euler", "unipc"] | None = option(
        None, group="noise", help="How the noise is taken away; default the model's own."
    )
    batch: int = option(8, min=1, group="noise", help="Samples at once; it changes no more than rounding.")
    device: Literal["auto", "cpu", "cuda"] = option("auto", help="Where the network runs.")
    dtype: Literal["auto", "fp32", "bf16"] = option("auto", help="Numbers of the network; auto: bf16 on CUDA.")
    seed: int = option(0, min=0, group="noise", help="Seed of everything random; the same seed gives the same bytes.")
    fov: float | None = option(
        None, group="photos", metavar="DEGREES", help="Field of view of the photos, across the shorter side."
    )
    intrinsics: str | None = option(
        None, group="photos", metavar="FILE.json", help="Intrinsics of the photos, as in transforms.json."
    )
    cameras: str | None = option(
        None, group="target_cameras", metavar="FILE", help="Cameras of the views to make, from a transforms.json."
    )
    views: str | None = option(
        None,
        group="photos",
        metavar="DIR",
        output="",
        help="Write the photos as the model saw them, with the cameras that it found.",
    )
    convert: str | None = option(
        None, metavar="DIR", output="", help="Write the model as a folder of safetensors, and sample nothing."
    )
