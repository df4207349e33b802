"""Model folders, runs and weights, made with torch: a thousand times smaller than real ones."""

from __future__ import annotations

import io
import json
import os
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from tests.fuzz.damage import Files
from tests.fuzz.seeds import cameras, picture, statistics


def files_in(folder: Path) -> Files:
    """The content of every file below a folder; links are followed."""
    paths = [Path(place, name) for place, _, names in os.walk(folder, followlinks=True) for name in names]
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(paths) if not path.name.startswith(".")}


def clips() -> list[Files]:
    """A chunk of RealEstate10K's kind."""
    import torch

    shot = cameras(2)
    values = np.zeros((2, 18), dtype=np.float32)
    values[:, :4] = 0.9, 0.9, 0.5, 0.5
    values[:, 6:] = shot.viewmats[:, :3].reshape(2, 12)
    images = [torch.frombuffer(bytearray(picture(16, "JPEG")), dtype=torch.uint8)] * 2
    records = [{"key": key, "images": images, "cameras": torch.tensor(values)} for key in ("one", "two")]
    payload = io.BytesIO()
    torch.save(records, payload)
    index = json.dumps({"one": "000000.torch", "two": "000000.torch"}).encode()
    return [{"train/000000.torch": payload.getvalue(), "train/index.json": index}]


def lpips_weights() -> list[Files]:
    import torch
    from safetensors.torch import save

    rng = torch.Generator().manual_seed(0)
    first = {"features.0.weight": torch.rand(64, 3, 3, 3, generator=rng), "features.0.bias": torch.zeros(64)}
    widths = (64, 128, 256, 512, 512)
    heads = {f"lin{i}": torch.rand(width, generator=rng) for i, width in enumerate(widths)}
    published = {f"lin{i}.model.1.weight": head.reshape(1, -1, 1, 1) for i, head in enumerate(heads.values())}
    whole, apart, tops = io.BytesIO(), io.BytesIO(), io.BytesIO()
    torch.save({**first, **heads}, whole)
    torch.save({"state_dict": first}, apart)
    torch.save(published, tops)
    return [
        {"a.pth": whole.getvalue()},
        {"a.safetensors": save({**first, **heads})},
        {"vgg16-397923af.pth": apart.getvalue(), "vgg.pth": tops.getvalue()},
    ]


def view_networks() -> list[Files]:
    """Return weights of a small LGM network, as published files hold them."""
    import torch
    from safetensors.torch import save

    from gatlas.models.lgm import fresh_network
    from tests.helpers.small_lgm import TINIEST

    weights = fresh_network(TINIEST, torch.Generator().manual_seed(0)).state_dict()
    return [{"a.safetensors": save({name: weight.half() for name, weight in weights.items()})}]


@cache
def base_pipelines() -> list[Files]:
    from tests.helpers.pipeline_files import write_pipeline

    with TemporaryDirectory() as folder:
        return [files_in(write_pipeline(Path(folder) / "r"))]


@cache
def model_folders() -> list[Files]:
    """A model of each kind of network that gatlas saves, as a run with a checkpoint."""
    import torch

    from gatlas.io.atlases.npz import decode_stats
    from gatlas.io.runs.train_run import save_checkpoint
    from gatlas.io.streams import Blob
    from gatlas.systems.gaussian_atlas import PRESETS, create

    stats = decode_stats(Blob("stats", statistics(8)))
    with TemporaryDirectory() as name:
        run = Path(name) / "r"
        run.mkdir()
        torch.manual_seed(0)
        system = create(replace(PRESETS["small"].config, widths=(32, 32)), stats=stats)
        system.save_frozen(str(run))
        weights = system.network.state_dict()
        save_checkpoint(
            run,
            4,
            {"step": torch.zeros(1), "weights/a": torch.ones(3)},
            {"version": "0.1.0", "options": {"steps": 8}, "seed": 0},
            part="unet",
            fill=lambda part, _: system.save_network(part, weights),
            keep=1,
        )
        (run / "log.jsonl").write_text('{"step": 2, "loss": 0.5}\n{"step": 4, "loss": 0.25}\n')
        return [files_in(Path(name))]


def checkpoints() -> list[Files]:
    """What a training reads that continues."""
    wanted = (".jsonl", "gatlas.json", "training.json", "training.safetensors")
    found = {name: content for name, content in model_folders()[0].items() if name.endswith(wanted)}
    (described,) = (name for name in found if name.endswith("training.json"))
    meta = json.loads(found[described])
    del meta["files"], meta["sha256"]  # as of an earlier version: no checksum hides what damage does
    return [{**found, described: json.dumps(meta, indent=2).encode()}]
