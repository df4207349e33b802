"""gatlas train"""

from __future__ import annotations

import os
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gatlas.cli.interrupt import EXIT_REQUEUE, stopping
from gatlas.cli.options import Device
from gatlas.errors import GatlasError

if TYPE_CHECKING:
    from gatlas.cli.train_plan import Wish


class Precision(str, Enum):
    auto = "auto"
    fp32 = "fp32"
    bf16 = "bf16"


def _every(what: str) -> Any:
    return typer.Option(min=1, metavar="N", help=what, show_default=False)


def train(
    inputs: Annotated[
        list[str],
        typer.Argument(metavar="INPUT...", help="Atlases: files, folders, patterns, tar shards; or scenes, see above."),
    ],
    output: Annotated[str, typer.Option("--output", "-o", metavar="RUN", help="Folder of the run.")],
    stats: Annotated[
        str | None,
        typer.Option(metavar="FILE.npz", help="Statistics that normalize-stats wrote.", show_default=False),
    ] = None,
    captions: Annotated[
        str | None, typer.Option(metavar="FILE", help="What is said of each object; see above.", show_default=False)
    ] = None,
    views: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="Pictures of each object, for the rendered loss.", show_default=False),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER|NAME", help="What to begin with: a diffusers pipeline (a folder or a hub name), or a model."
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="A named set of options; the others override it. Default small, with --base finetune (noposplat: "
            "tiny, re10k).",
            show_default=False,
        ),
    ] = None,
    system: Annotated[str, typer.Option(metavar="NAME", help="gaussian-atlas or noposplat.")] = "gaussian-atlas",
    steps: Annotated[int | None, _every("Steps of the optimiser.")] = None,
    batch: Annotated[int | None, _every("Samples at once, of each process.")] = None,
    accumulate: Annotated[int | None, _every("Batches of a step.")] = None,
    lr: Annotated[float | None, typer.Option(metavar="X", help="Learning rate.", show_default=False)] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Seed of everything random.", show_default=False)
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option(metavar="latest|STEP", help="Go on from a checkpoint of RUN.", show_default=False),
    ] = None,
    checkpoint_every: Annotated[int | None, _every("Steps between checkpoints.")] = None,
    keep: Annotated[int | None, _every("Checkpoints to keep, the newest.")] = None,
    sample_every: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Steps between pictures; 0: none.", show_default=False)
    ] = None,
    log_every: Annotated[int | None, _every("Steps between lines of the log.")] = None,
    precision: Annotated[
        Precision | None,
        typer.Option(metavar="auto|fp32|bf16", help="Numbers of the network; auto: bf16 on CUDA.", show_default=False),
    ] = None,
    device: Annotated[Device, typer.Option(metavar="auto|cpu|cuda", help="Where the network runs.")] = Device.auto,
    workers: Annotated[
        int | None,
        typer.Option(min=0, metavar="N", help="Processes that read samples, beside each that trains."),
    ] = None,
    processes: Annotated[
        int | None, _every("How many processes torchrun has to have started; another number is an error.")
    ] = None,
    time_limit: Annotated[
        float | None,
        typer.Option(min=0, metavar="SECONDS", help="Stop and save after this long.", show_default=False),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any other option of the training or of the system."),
    ] = None,
    lpips_weights: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="VGG16 or AlexNet in torchvision's format, for LPIPS.", show_default=False),
    ] = None,
) -> None:
    """Train a diffusion model on atlases, with captions where there are any, or a model of scenes from photos.

    RUN becomes a model folder that sample and stock diffusers open: the newest averaged weights (EMA) with all that
    they need. Beside them are the checkpoints, log.jsonl, loss.png, pictures in samples/ and, where it is installed,
    TensorBoard's files.

    SIGTERM, SIGUSR1, SIGINT and --time-limit stop after the step under way: everything is saved and the exit status is
    75. --resume latest goes on from there, or from the start where there is no checkpoint yet, so that one command
    serves a queue that stops and restarts it. On the CPU the result is that of a run without a break, bit for bit.
    Options that are not given are then the run's own; others that would change the result are refused, and so are other
    samples or captions. --steps may grow unless the learning rate follows from it. --resume STEP goes back to a
    checkpoint; the next one that is written replaces the later ones.

    --system noposplat learns scenes from photos: the inputs are folders of posed photos (transforms.json or COLMAP), a
    folder of such folders, or RealEstate10K's chunks. Its presets are tiny, re10k and base; those of gaussian-atlas are
    small, finetune and paper.

    Captions are a CSV (uid,caption, or with a header), a JSON map or list, or JSON lines; or key.txt beside key.npz, in
    a folder or a tar. An id is the atlas's name without suffix. Without --base a small network begins from random
    weights: preset small is for atlases of 32 x 32 (fit -n 1024, atlas-encode --size 32), minutes on a CPU and hours at
    128 x 128. finetune measures LPIPS: --lpips-weights, or --set lpips=0. A base that predicts epsilon needs --set
    prediction=epsilon --set zero_terminal_snr=false.

    Many processes and machines are started by torchrun, with RUN on a disk that all of them see; --batch is for each
    process. torchrun then says 1 where this command says 75.

    Example: gatlas train atlases/ --stats stats.npz --captions captions.csv --preset small -o run
    """
    from gatlas.cli.train_plan import Wish

    flags = {
        "steps": steps,
        "batch": batch,
        "accumulate": accumulate,
        "lr": lr,
        "seed": seed,
        "checkpoint_every": checkpoint_every,
        "keep": keep,
        "sample_every": sample_every,
        "log_every": log_every,
        "workers": workers,
        "precision": None if precision is None else precision.value,
    }
    given = {name: value for name, value in flags.items() if value is not None}
    try:
        stopped = _train(
            Wish(system, output, resume, base, preset, stats, lpips_weights, given, settings or []),
            inputs,
            captions,
            views,
            device.value,
            processes,
            time_limit,
        )
    except GatlasError:
        if os.environ.get("LOCAL_RANK", "0") != "0":  # the first process of this machine says it
            raise typer.Exit(1) from None
        raise
    if stopped:
        raise typer.Exit(EXIT_REQUEUE)


def _train(
    wish: Wish,
    inputs: list[str],
    captions: str | None,
    views: str | None,
    device: str,
    processes: int | None,
    time_limit: float | None,
) -> bool:
    """Train; whether it was stopped before its end."""
    from gatlas.cli.terminal import progress_bar, say
    from gatlas.cli.train_plan import plan
    from gatlas.systems.contract import Sources
    from gatlas.train import train as run_training
    from gatlas.train.processes import check_count

    first = os.environ.get("RANK", "0") == "0"
    together = check_count(processes)
    system, options, origin = plan(wish)
    scenes = system.dataset(Sources(tuple(inputs), captions, views, wish.stats, wish.lpips_weights))
    if first:
        for line in scenes.report():
            say(line)
        count = sum(weight.numel() for weight in system.network.parameters())
        crew = f" on {together} processes" if together > 1 else ""
        samples = f"{len(scenes):,} sample{'s' * (len(scenes) != 1)}"
        say(f"{samples}, {count / 1e6:.1f} M parameters, {options.steps:,} steps{crew}")
    with (
        stopping(time_limit) as stop,
        progress_bar("train", options.steps, "loss {:.4g}") as progress,
    ):
        outcome = run_training(
            system,
            scenes,
            options,
            wish.run,
            resume=wish.resume,
            device=device,
            processes=processes,
            origin=origin,
            stop=stop,
            say=say,
            progress=progress,
        )
    if first and outcome.stopped:
        say(f"stopped after {outcome.step:,} of {options.steps:,} steps: --resume latest goes on from there")
    elif first and outcome.loss is None:
        say(f"all {outcome.step:,} steps are done already: {wish.run}")
    elif first:
        say(f"{outcome.step:,} steps done, loss {outcome.loss:.4g}: {wish.run}")
    return outcome.stopped
