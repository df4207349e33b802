"""gatlas sample"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from gatlas.cli.options import Device, Force, Fov, Intrinsics, Seed

if TYPE_CHECKING:
    from gatlas.systems.contract import Draw, SampleRequest, System


class Dtype(str, Enum):
    auto = "auto"
    fp32 = "fp32"
    bf16 = "bf16"


class Scheduler(str, Enum):
    dpm = "dpm++"
    ddim = "ddim"
    euler = "euler"
    unipc = "unipc"


def sample(
    context: typer.Context,
    model: Annotated[
        str,
        typer.Option(metavar="FOLDER|FILE", help="A run of train, one of its checkpoints, or a published .ckpt."),
    ],
    photos: Annotated[
        list[str] | None,
        typer.Argument(metavar="PHOTO...", help="Two or more of one scene; the first one's camera is the world."),
    ] = None,
    prompt: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT", help="What to make; may be given many times.", show_default=False),
    ] = None,
    prompts: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Prompts, one a line; - is standard input.", show_default=False),
    ] = None,
    count: Annotated[int, typer.Option("--count", "-n", min=1, metavar="N", help="Samples a prompt.")] = 1,
    output: Annotated[
        str,
        typer.Option("--output", "-o", metavar="OUTPUT", help="x.npz, x.ply, DIR/ or x.tar; - is standard output."),
    ] = "-",
    steps: Annotated[int, typer.Option(min=1, metavar="N", help="Steps of the sampler; more give more detail.")] = 20,
    guidance: Annotated[
        float | None,
        typer.Option(min=0, metavar="X", help="Weight of the text; default the model's own.", show_default=False),
    ] = None,
    scheduler: Annotated[
        Scheduler, typer.Option(metavar="dpm++|ddim|euler|unipc", help="How the noise is taken away.")
    ] = Scheduler.dpm,
    batch: Annotated[
        int, typer.Option(min=1, metavar="N", help="Samples at once; it changes no more than rounding.")
    ] = 8,
    device: Annotated[Device, typer.Option(metavar="auto|cpu|cuda", help="Where the network runs.")] = Device.auto,
    dtype: Annotated[
        Dtype, typer.Option(metavar="auto|fp32|bf16", help="Numbers of the network; auto: bf16 on CUDA.")
    ] = Dtype.auto,
    seed: Seed = 0,
    fov: Fov = None,
    intrinsics: Intrinsics = None,
    views: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="Write the photos as the model saw them, with the cameras that it found."),
    ] = None,
    convert: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="Write the model as a folder of safetensors, and sample nothing."),
    ] = None,
    force: Force = False,
) -> None:
    """Make 3D Gaussians with a trained model: from text, or a scene from photos without poses.

    One sample gives an atlas NPZ, or with -o x.ply a splat that any viewer opens. Many samples go into -o DIR/, one
    file each, into -o x.tar, or to standard output as a tar stream. A sample depends on the model, its prompt, the
    seed and its number: but for rounding, neither on the other prompts nor on how many are made at once.

    A model that learned without captions is sampled without a prompt.

    In a folder, samples that are there already are kept, so the same command goes on after a stop. Where one was made
    with other options, or before the model was trained further, nothing is sampled without --force.

    From photos comes one splat, a Gaussian for each pixel of each photo as the model saw it: its middle, at the model's
    size. The world is the first photo's camera, x right, y up, z towards the viewer, in units that the model chose.
    --views DIR writes those pictures with a transforms.json, which render --camera, pose-pnp and fit read.
    --intrinsics takes fl_x, fl_y, cx, cy, w, h and lens coefficients, those of a frame of the photo's name first.

    Example: gatlas sample --model run --prompt "a red cube" | gatlas atlas-decode -o cube.ply
    """
    from dataclasses import replace

    from gatlas.cli import sample_photos
    from gatlas.cli.terminal import say
    from gatlas.systems.contract import Draw, SampleRequest

    given = {name for name in context.params if _is_given(context, name)}
    what = sample_photos.task(given)
    if what == "convert":
        sample_photos.convert(model, str(convert), force)
        return
    if what == "photos":
        wish = sample_photos.Wish(model, tuple(photos or ()), fov, intrinsics, output, views, force)
        sample_photos.sample_photos(wish, device.value, lambda chosen: _dtype(dtype, chosen))
        return
    sample_photos.require_input(model, "text")
    wanted = _prompts(model, prompt, prompts)
    draws = [Draw(text, number) for text in wanted for number in range(count)]
    kind = _check_output(output, len(draws), force)

    from gatlas.raster.devices import choose_device
    from gatlas.systems import load_system

    chosen = choose_device(device.value, gsplat=False)
    system = cast("System", load_system(model, device=chosen, dtype=_dtype(dtype, chosen)))
    request = SampleRequest(
        draws=tuple(draws), seed=seed, steps=steps, guidance=guidance, scheduler=scheduler.value, batch=batch
    )
    for line in system.check(request):
        say(line)
    if kind == "folder" and not force:
        request = replace(request, draws=_lacking(system, request, output))
    if request.draws:
        _save(system.sample(request), list(request.draws), output, kind, force)


def _is_given(context: typer.Context, name: str) -> bool:
    """Whether the command line says something of a parameter."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _prompts(model: str, prompt: list[str] | None, prompts: str | None) -> list[str]:
    """Every prompt once, in order; "", which is no text, where none is given of a model that learned without any."""
    from gatlas import io
    from gatlas.cli.terminal import say
    from gatlas.errors import GatlasError
    from gatlas.io.models.pipeline import read_description

    if prompt is None and prompts is None and read_description(model).get("captions") is False:
        return [""]
    lines = io.load_lines(prompts) if prompts is not None else []
    given = [text.strip() for text in [*(prompt or []), *lines]]
    if not given:
        raise GatlasError("no prompt: give one with --prompt TEXT, or a file of them with --prompts FILE")
    unique = list(dict.fromkeys(given))
    if len(unique) < len(given):
        say(f"{len(given) - len(unique)} prompts were given twice and are taken once; -n N makes more of each")
    return unique


def _check_output(output: str, samples: int, force: bool) -> str:
    """What the output is: "atlas", "splat", "folder" or "tar". One that cannot hold the samples is a GatlasError."""
    from gatlas import io
    from gatlas.errors import GatlasError

    if io.is_folder(output):
        io.check_output(output, force=True, folder=True)  # samples that are there are kept, one by one
        return "folder"
    if output.lower().endswith(".tar") or (output == "-" and samples > 1):
        io.check_output(output, force=force, suffix=".tar", what="a tar of atlases")
        return "tar"
    if samples > 1:
        raise GatlasError(f"{output}: holds one sample, and {samples} are asked for: name a folder, DIR/, or x.tar")
    if output.lower().endswith(".ply"):
        io.check_output(output, force=force, noun="splat")
        return "splat"
    io.check_output(output, force=force, noun="atlas")
    return "atlas"


def _lacking(system: System, request: SampleRequest, folder: str) -> tuple[Draw, ...]:
    """The draws whose samples are not in the folder yet. One that was made in another way is a GatlasError."""
    from gatlas import io
    from gatlas.cli.terminal import say
    from gatlas.errors import GatlasError

    lacking = []
    for draw in request.draws:
        path = _place(folder, draw)
        if not io.exists(path):
            lacking.append(draw)
            continue
        made = io.load_atlas(path).meta.get("sample")
        if not isinstance(made, dict):
            raise GatlasError(f"{path}: is there already and no sample: use --force, or name another folder")
        wanted = system.record(request, draw)
        made = {"dtype": wanted["dtype"], **made}  # an earlier gatlas did not say
        others = [name for name, value in wanted.items() if name != "model" and made.get(name) != value]
        if others:
            how = ", ".join(
                "other weights" if name == "weights" else f"{name} {made.get(name)} (now {wanted[name]})"
                for name in others
            )
            raise GatlasError(f"{path}: was made with {how}: --force makes all samples anew, or name another folder")
    if len(lacking) < len(request.draws):
        kept = len(request.draws) - len(lacking)
        say(f"{kept} samples are in {folder} already and are kept (--force makes them anew)")
    return tuple(lacking)


def _place(folder: str, draw: Draw) -> str:
    return f"{folder.rstrip('/')}/{draw.name}.npz"


def _save(atlases: Iterator[Any], draws: list[Draw], output: str, kind: str, force: bool) -> None:
    """Write each sample as soon as it is there."""
    from gatlas import io
    from gatlas.atlas import decode
    from gatlas.cli.terminal import say

    if kind == "tar":
        with io.ShardWriter(output, force=force) as shard:
            for draw, atlas in zip(draws, atlases, strict=True):
                shard.add(draw.name, ".npz", io.atlas_bytes(atlas))
                shard.add(draw.name, ".txt", draw.prompt.encode())
        return
    if kind == "folder":
        io.make_folder(output)
        for draw, atlas in zip(draws, atlases, strict=True):
            io.save_atlas(_place(output, draw), atlas, force=force)
        say(f"{len(draws)} samples in {output}")
        return
    for atlas in atlases:
        if kind == "splat":
            io.save_gaussians(output, decode(atlas), force=force)
        else:
            io.save_atlas(output, atlas, force=force)


def _dtype(dtype: Dtype, device: str) -> str:
    """The numbers of the network, by the name that torch has for them."""
    if dtype is Dtype.auto:
        return "bfloat16" if device == "cuda" else "float32"
    return "bfloat16" if dtype is Dtype.bf16 else "float32"
