"""The plan of a training: `gatlas train` from Python, the keys of --set, and runs of an earlier gatlas."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from gatlas.config import option_fields, show_value
from gatlas.errors import GatlasError
from gatlas.io import save_stats
from gatlas.systems import SYSTEMS, system_module
from gatlas.train import TrainCommand, TrainOptions, plan_training, run_plan, train
from tests.helpers.atlas_sets import write_set
from tests.helpers.toy_system import ToyScenes, ToySystem, tensors_of

TOY = TrainCommand(system="toy")


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    monkeypatch.setitem(SYSTEMS, "toy", "tests.helpers.toy_system")


def test_a_training_from_python_is_the_command_without_a_command_line(tmp_path):
    messages, steps = [], []
    plan = plan_training(["10"], str(tmp_path / "run"), replace(TOY, steps=6, batch=4), report=messages.append)
    assert (plan.options.steps, plan.options.batch, plan.options.lr) == (6, 4, 1e-2)
    assert not (tmp_path / "run").exists()
    outcome = run_plan(plan, report=messages.append, on_step=lambda step, loss: steps.append(step))
    assert (outcome.step, outcome.stopped) == (6, False)
    assert steps == [1, 2, 3, 4, 5, 6]
    assert messages == ["10 samples, 0.0 M parameters, 6 steps"]
    assert (tmp_path / "run" / "net" / "weights.safetensors").is_file()
    train(
        plan_training(["10"], "twin", replace(TOY, steps=6)).system, ToyScenes(), plan.options, str(tmp_path / "twin")
    )
    one, two = tensors_of(tmp_path / "run", 6), tensors_of(tmp_path / "twin", 6)
    assert all((one[name] == two[name]).all() for name in one)


def test_the_time_limit_stops_and_the_run_is_resumed(tmp_path):
    run = str(tmp_path / "run")
    outcome = run_plan(plan_training(["10"], run, replace(TOY, time_limit=0.0)))
    assert outcome.stopped
    assert outcome.step < 40
    assert run_plan(plan_training(["10"], run, replace(TOY, resume="latest"))).step == 40


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"settings": ("widht=3",)}, "did you mean width?"),
        ({"preset": "large"}, "--preset large: toy has small, paper"),
        ({"lr": 1.0, "settings": ("lr=2",)}, "--set lr: given twice, as --lr too"),
        ({"system": "tyo"}, "there is no system 'tyo'"),
        ({"resume": "100"}, "no checkpoint of step 100: there is none"),
        ({"lpips_weights": "vgg.pth"}, "toy does not measure LPIPS"),
        ({"processes": 2}, "--processes 2: 1 was started"),
    ],
)
def test_a_mistake_is_named_before_anything_is_written(tmp_path, monkeypatch, changes, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(GatlasError, match=re.escape(message)):
        plan_training(["10"], "run", replace(TOY, **changes))
    with pytest.raises(GatlasError, match="there is no folder"):
        plan_training(["10"], "none/run", TOY)
    assert not list(tmp_path.iterdir())


def test_a_resumed_run_keeps_its_own_options_and_refuses_others(tmp_path):
    run = str(tmp_path / "run")
    first = plan_training(["10"], run, replace(TOY, settings=("width=5", "lr=0.5"), steps=3, batch=4, resume="latest"))
    assert (first.options.lr, first.options.steps, first.options.warmup) == (0.5, 3, 0)
    run_plan(first)
    again = plan_training(["10"], run, replace(TOY, resume="latest", keep=2))
    assert again.system.config.width == 5
    assert again.options == replace(first.options, keep=2)
    assert again.origin == {"base": None, "preset": "small"}
    for changes, message in (
        ({"settings": ("width=6",)}, "width is 5 there and 6 here"),
        ({"preset": "paper"}, "preset is small there and paper here"),
        ({"base": "sd", "preset": "small"}, "base is unset there and sd here"),
    ):
        with pytest.raises(GatlasError, match=message):
            plan_training(["10"], run, replace(TOY, resume="latest", **changes))


def config_class(system):
    return type(next(iter(system_module(system).PRESETS.values())).config)


# Values and other settings that checks across fields ask for.
VALUES = {
    "schedule_steps": "90000", "betas": "0.8,0.9", "gap": "3,4", "hooks": "0,1,2,3", "level_dims": "8,8,8,8",
    "encoder_dim": "256", "decoder_dim": "256", "encoder_heads": "8", "decoder_heads": "8", "widths": "32,32",
    "decoder_depth": "6", "patch": "4", "width": "128", "height": "128",
    "down_channels": "16,32,48", "up_channels": "64,48", "side": "64",
    "channels": "64", "pictures": "64", "embedding": "6", "multiples": "1,2,3", "far": "9.0",
}  # fmt: skip
TOGETHER = {  # settings that a key needs, of every system or of one
    "schedule_steps": ["schedule=cosine"],
    "octaves": ["positions=true"],
    ("gaussian-atlas", "prediction"): ["zero_terminal_snr=false", "basis=0"],
    ("threedim", "prediction"): ["epipolar_points=0"],
}


def another(name, field):
    """A value of a field, as it is typed after --set KEY=, that is not the default."""
    parts = {part for part in (field.type, *get_args(field.type)) if part is not type(None)}
    if name in VALUES:
        return VALUES[name]
    if field.choices:
        return next(choice for choice in field.choices if choice != field.default)
    if bool in parts:
        return str(not field.default).lower()
    if int in parts:
        return "3" if field.default == 2 else "2"
    return str((field.default or 0.5) / 4)


KEYS = [
    (system, name)
    for system in SYSTEMS
    for name in [*option_fields(TrainOptions), *option_fields(config_class(system))]
]


@pytest.mark.parametrize(("system", "key"), KEYS)
def test_set_reaches_every_key_of_every_config_class(tmp_path, monkeypatch, system, key):
    class Made(ToySystem):
        def __init__(self, config, **_):
            super().__init__()
            self.config = config

    monkeypatch.setattr(system_module(system), "create", Made)
    owner = TrainOptions if key in option_fields(TrainOptions) else config_class(system)
    field = option_fields(owner)[key]
    word = f"{key}={another(key, field)}"
    command = TrainCommand(system=system, settings=(word, *TOGETHER.get(key, []), *TOGETHER.get((system, key), [])))
    plan = plan_training(["10"], str(tmp_path / "run"), command)
    arrived = getattr(plan.options if owner is TrainOptions else plan.system.config, key)
    assert f"{key}={show_value(arrived)}" == word
    assert arrived != field.default


def test_the_commands_options_of_the_loop_have_the_loops_types():
    loop, command = get_type_hints(TrainOptions), get_type_hints(TrainCommand)
    shared = loop.keys() & command.keys()
    assert len(shared) == 11
    assert all(command[name] == (loop[name] | None) for name in shared)


# training.json of a run that version 0.1 wrote: the whitening's clip was called clip.
STORED_CONFIG = {
    "size": 8, "prediction": "v", "zero_terminal_snr": True, "text_dropout": 0.2, "guidance": 1.5,
    "deviation": "channel", "clip": 4.0, "positions": True, "octaves": 3, "pooled": True, "widths": [32, 32],
    "input_scale": 0.5, "diffusion": 1.0, "rgb": 0.0, "mask": 0.0, "lpips": 0.0, "render_start": 0.05,
    "render_ramp": 0.05, "snr_cap": 5.0, "render_size": 64, "render_views": 1,
}  # fmt: skip
STORED_OPTIONS = {
    "steps": 2, "batch": 3, "accumulate": 1, "lr": 0.003, "schedule": "constant", "schedule_steps": None,
    "lr_end": 0.0, "warmup": 20, "weight_decay": 0.01, "betas": [0.9, 0.999], "clip": 1.0, "ema_decay": 0.9999,
    "ema_power": 0.75, "seed": 0, "gradient_checkpointing": False, "checkpoint_every": 200, "keep": 3,
    "sample_every": 0, "log_every": 10, "diagnose_every": 0, "workers": None, "precision": "auto",
}  # fmt: skip


def test_a_run_of_an_earlier_gatlas_is_resumed(tmp_path):
    inputs, stats, run = [str(tmp_path / "set")], str(tmp_path / "stats.npz"), tmp_path / "run"
    save_stats(stats, write_set(tmp_path / "set", size=8), force=False)
    settings = (
        "widths=32,32", "whitening_clip=4", "guidance=1.5", "basis=0", "diagnose_every=0", "schedule=constant",
        "schedule_steps=none",
    )  # fmt: skip
    command = TrainCommand(stats=stats, steps=2, batch=3, sample_every=0, settings=settings)
    run_plan(plan_training(inputs, str(run), command))
    for path, key in ((run / "gatlas.json", "config"), (run / "checkpoint-000002" / "training.json", "config")):
        content = json.loads(path.read_text())
        expected = {("whitening_clip" if k == "clip" else k): v for k, v in STORED_CONFIG.items()}
        # Without them a run reads letters, has no basis, knows no pictures and trains all weights, as it always did.
        new = {"text": "words", "basis": 0, "sampler_steps": 4, "lora_rank": 0, "pictures": 0, "guess": 1.0}
        assert content[key] == {**expected, **new}
        stored = {**content, key: STORED_CONFIG}
        path.write_text(json.dumps({name: stored[name] for name in stored if name not in ("files", "sha256")}))
    meta = json.loads(Path(run / "checkpoint-000002" / "training.json").read_text())
    assert list(meta) == [
        "format", "options", "processes", "system", "config", "origin", "samples", "precision", "scenes", "versions",
        "step",
    ]  # fmt: skip
    assert meta["options"] == STORED_OPTIONS

    again = plan_training(inputs, str(run), replace(command, resume="latest", steps=4))
    assert again.system.config.whitening_clip == 4.0
    assert run_plan(again).step == 4
    with pytest.raises(GatlasError, match=r"whitening_clip is 4\.0 there and 3\.0 here"):
        plan_training(inputs, str(run), replace(command, resume="latest", settings=("whitening_clip=3",)))
