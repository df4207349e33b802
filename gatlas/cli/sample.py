"""gatlas sample"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import TYPE_CHECKING

from gatlas import io
from gatlas.cli.terminal import counting_bar, message
from gatlas.config import option_fields
from gatlas.errors import GatlasError
from gatlas.io.outputs import refuse_shared_names
from gatlas.systems import config_class, load_system, system_module, system_of

if TYPE_CHECKING:
    from gatlas.systems.options import SampleOptions


def run(photos: list[str] | None, output: str, options: SampleOptions, *, force: bool, given: Collection[str]) -> None:
    """Sample a model, or convert it."""
    if options.convert is not None:
        _convert(options, options.convert, force, given)
        return
    from gatlas.raster.devices import choose_device
    from gatlas.systems.conditions import check_options, read_conditions, read_settings
    from gatlas.systems.contract import SampleRequest
    from gatlas.systems.edits import read_edit
    from gatlas.systems.sampling import check_output, save_samples
    from gatlas.systems.targets import target_cameras

    name, photos = system_of(options.model), photos or []
    module = system_module(name)
    check_options(name, module.TAKES, options, photos, given)
    refuse_shared_names(output, options.views)
    conditions = read_conditions(name, module.TAKES, options, photos, message)
    request = SampleRequest(
        conditions,
        target_cameras(options, conditions),
        count=options.count,
        seed=options.seed,
        steps=options.steps,
        guidance=options.guidance,
        scheduler=options.scheduler,
        batch=options.batch,
        edit=read_edit(options),
        condition_on=options.condition_on,
    )
    check_output(module.SYSTEM, request, output, views=options.views, force=force)
    device = choose_device(options.device, gsplat=False)
    settings = read_settings(name, module.TAKES, config_class(module), options)
    system = load_system(options.model, device=device, dtype=_dtype(options.dtype, device), settings=settings)
    if not request.conditions:
        request = replace(request, conditions=system.default_conditions())
    if not request.conditions:
        raise GatlasError("no prompt: give one with --prompt TEXT, or a file of them with --prompts FILE")
    for line in system.check(request):
        message(line)
    steps = len(request.samples) * (1 if request.cameras is None else len(request.cameras))
    with counting_bar("sample", steps) as on_step:
        save_samples(system, request, output, views=options.views, force=force, report=message, on_step=on_step)


def _convert(options: SampleOptions, folder: str, force: bool, given: Collection[str]) -> None:
    """Write the model as a folder of safetensors."""
    from gatlas.systems.conditions import read_settings
    from gatlas.systems.sampling import save_model

    mixed = ["the photos"] if "inputs" in given else []
    fields = [field for field in option_fields(type(options)).values() if field.name in given and field.info.group]
    mixed += [field.flag for field in fields if field.name != "settings"]
    mixed += ["--output"] if "output" in given else []
    if mixed:
        raise GatlasError(f"--convert only writes the model: leave out {mixed[0]}")
    io.check_output(folder, force=force, folder=True)
    name = system_of(options.model)
    module = system_module(name)
    if options.settings and not module.TAKES.keys:
        raise GatlasError("--convert only writes the model: leave out --set")
    settings = read_settings(name, module.TAKES, config_class(module), options) if options.settings else None
    system = load_system(options.model, settings=settings)
    save_model(system, folder, force=force)
    message(f"{folder}: a model folder of {system.name}")


def _dtype(dtype: str, device: str) -> str:
    """Return torch's name of the network's precision."""
    if dtype == "auto":
        from gatlas.raster.devices import computes_bf16

        return "bfloat16" if device == "cuda" and computes_bf16() else "float32"
    return "bfloat16" if dtype == "bf16" else "float32"
