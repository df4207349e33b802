"""A system so small that a step takes a millisecond, and the programs that tests run in processes of their own."""

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from gatlas.config import Options
from gatlas.errors import GatlasError
from gatlas.systems.contract import Preset, SampleSet, System


@dataclass(frozen=True)
class ToyConfig(Options):
    width: int = 8
    scale: float = 1.0


class ToyScenes(SampleSet):
    """Points whose last value is to be told from the others; sample `broken` cannot be read."""

    def __init__(self, size=10, broken=None, seen=None):
        self.values = torch.randn(size, 5, generator=torch.Generator().manual_seed(0))
        self.broken, self.seen = broken, seen

    def __len__(self):
        return len(self.values)

    def __getitem__(self, index):
        if index == self.broken:
            raise GatlasError(f"scene-{index}.npz: damaged")
        if self.seen is not None:
            with Path(f"{self.seen}-{os.environ.get('RANK', '0')}").open("a") as file:
                file.write(f"{index}\n")
        return self.values[index]

    def collate(self, items):
        return torch.stack(items)

    def identity(self):
        return {"points": self.values.tolist()}


class ToySystem(System):
    name, part = "toy", "net"

    def __init__(self, config=None, *, seed=0, poison=None):
        self.config = config or ToyConfig()
        self.poison = poison  # step whose loss is not a number
        torch.manual_seed(seed)
        width = self.config.width
        self.network = nn.Sequential(
            nn.Linear(4, width), nn.SiLU(), nn.BatchNorm1d(width, momentum=None), nn.Linear(width, 1)
        )
        self.network[2].requires_grad_(False)

    def dataset(self, sources):
        sources.refuse("lpips_weights", reason="toy does not measure LPIPS")
        broken = os.environ.get("TOY_BROKEN")
        return ToyScenes(int(sources.inputs[0]), broken=None if broken is None else int(broken), seen=sources.captions)

    def loss(self, network, batch, generator, *, step, steps):
        noise = torch.randn(batch.shape, generator=generator, device=batch.device)
        batch = batch + 0.1 * self.config.scale * noise
        squared = (network(batch[:, :4])[:, 0] - batch[:, 4]).square().mean()
        if step == self.poison:
            squared = squared * torch.nan
        return {"loss": squared * 2, "squared": squared}

    def diagnose(self, network, batch, generator):
        assert not network.training
        return {"size": float(len(batch)), "undefined": float("nan")}

    def preview(self, network, generator):
        return torch.rand(4, 6, 3, generator=generator, device=generator.device).cpu().numpy()

    def save_frozen(self, folder):
        Path(folder, "gatlas.json").write_text(json.dumps({"format": 1, "system": self.name, "config": {}}))

    def save_network(self, folder, weights):
        save_file(dict(weights), f"{folder}/weights.safetensors")

    def sample(self, request, network=None):
        raise NotImplementedError


TRAINING = "learns points, as many as the INPUT says."
PRESETS = {"small": Preset(ToyConfig(), {"steps": 40, "lr": 1e-2, "warmup": 0}), "paper": Preset(ToyConfig(width=16))}


made = []


def create(config, *, base, stats, seed):
    made.append(ToySystem(config, seed=seed))
    return made[-1]


def load(folder, *, device, dtype, settings=None):
    stored = json.loads(Path(folder, "training.json").read_text())["config"]
    return create(ToyConfig(**stored), base=None, stats=None, seed=1)


def tensors_of(run, step):
    """All tensors of a checkpoint, as numpy arrays."""
    from gatlas.io.runs.train_run import find_checkpoint, load_tensors

    return {name: value.numpy() for name, value in load_tensors(find_checkpoint(run, str(step))).items()}


if __name__ == "__main__":  # gatlas with the toy system among its own
    import gatlas.systems
    from gatlas.cli import main

    gatlas.systems.SYSTEMS["toy"] = "toy_system"
    torch.set_num_threads(1)
    sys.modules["toy_system"] = sys.modules["__main__"]
    if "TOY_BLOCK" in os.environ:  # weights that are divided together over processes: the layers apart
        import gatlas.train.sharding

        gatlas.train.sharding.BLOCK = int(os.environ["TOY_BLOCK"])
    if "HOLD_AT" in os.environ:
        sys.path.insert(0, str(Path(__file__).parents[2]))
        from tests.helpers.held_gatlas import hold_where_asked

        hold_where_asked()
    try:
        main()
    finally:
        if made and "TOY_WEIGHTS" in os.environ:
            save_file(made[-1].network.state_dict(), f"{os.environ['TOY_WEIGHTS']}-{os.environ['RANK']}")
