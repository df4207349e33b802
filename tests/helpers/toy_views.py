"""A system from photos with cameras to views of other cameras, all in this file: tests register it by its name.

A view is one color plus noise. As in 3DiM it follows from one view that is drawn from the photos and the views before.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from gatlas import io
from gatlas.config import Options, option
from gatlas.errors import GatlasError
from gatlas.geometry.cameras import camera_centers
from gatlas.io.models.pipeline import read_description
from gatlas.systems.contract import Preset, SampleSet, System, Takes
from gatlas.types import Views

NAME = "toy-views"
TAKES = Takes(photos=range(1, 5), posed=True, target_cameras=True, noise=True, keys=("noise",))
TRAINING = "learns the color of a view from folders of views."


@dataclass(frozen=True)
class ToyViewsConfig(Options):
    hidden: int = option(8, min=1, help="Hidden units.")
    side: int = option(6, min=1, help="Pixels per side of the views.")
    noise: float = option(0.1, min=0, help="Standard deviation of the noise.")


PRESETS = {
    "tiny": Preset(
        ToyViewsConfig(),
        {
            "steps": 4,
            "batch": 2,
            "warmup": 0,
            "lr": 0.01,
            "checkpoint_every": 2,
            "sample_every": 2,
            "diagnose_every": 0,
        },
        help="for tests",
    ),
    "wide": Preset(ToyViewsConfig(hidden=16), {"steps": 4}, with_base=True),
}


class FolderSet(SampleSet):
    """Folders of views: the color of one view and the center of its camera, and those of another."""

    def __init__(self, folders):
        self.folders = folders
        self.views = [io.load_views(folder) for folder in folders]

    def __len__(self):
        return len(self.views)

    def __getitem__(self, index):
        return self.draw(index, seed=index)

    def draw(self, index, *, seed, step=None):
        views = self.views[index]
        first, second = np.random.default_rng(seed).permutation(len(views))[:2]
        centers = camera_centers(views.cameras.viewmats)
        colors = color_of(views.images)
        return torch.from_numpy(np.concatenate([colors[first], centers[second], colors[second]]).astype(np.float32))

    def collate(self, items):
        return torch.stack(items)

    def identity(self):
        return {"folders": self.folders}


def color_of(images):
    return np.asarray(images)[..., :3].mean(axis=(-3, -2))


class ToyViews(System):
    name, part = NAME, "net"
    takes, gives = TAKES, Views

    def __init__(self, config, seed=0):
        self.config = config
        torch.manual_seed(seed)
        self.network = nn.Sequential(nn.Linear(6, config.hidden), nn.SiLU(), nn.Linear(config.hidden, 3), nn.Sigmoid())

    def dataset(self, sources):
        sources.refuse("captions", "views", "stats", "lpips_weights", reason=f"{NAME} learns from folders alone")
        return FolderSet(sources.inputs)

    def loss(self, network, batch, generator, *, step, steps):
        return {"loss": (network(batch[:, :6]) - batch[:, 6:]).square().mean()}

    def check(self, request):
        if request.cameras is None:
            raise GatlasError(f"{NAME} needs the cameras of the views: --cameras FILE")
        if any(photo.viewmat is None for condition in request.conditions for photo in condition.photos):
            raise GatlasError(f"{NAME} needs the cameras of the photos: name a folder of views")
        return [f"{len(request.cameras)} views of {len(request.conditions)} objects"]

    def output_cameras(self, request):
        cameras, side = request.cameras, self.config.side
        factors = np.float32([[side / cameras.width], [side / cameras.height], [1.0]])
        return replace(cameras, Ks=cameras.Ks * factors, width=side, height=side)

    @torch.no_grad()
    def sample(self, request, network=None):
        network, cameras = network or self.network, self.output_cameras(request)
        centers = camera_centers(cameras.viewmats).astype(np.float32)
        for sample in request.samples:
            begun = request.begun.get(sample.name)
            colors = [color_of(photo.image) for photo in sample.condition.photos]
            colors += [] if begun is None else list(color_of(begun.images))
            for number in range(0 if begun is None else len(begun), len(cameras)):
                generator = torch.Generator().manual_seed(sample.seed(request.seed, number))
                chosen = colors[int(torch.randint(len(colors), (), generator=generator))]
                color = network(torch.from_numpy(np.concatenate([chosen, centers[number]]).astype(np.float32)[None]))
                noise = self.config.noise * torch.randn(1, *[self.config.side] * 2, 3, generator=generator)
                image = (color + noise).clamp(0, 1).numpy()
                image = np.rint(image * 255).astype(np.float32) / 255  # equal to the file that a later run reads
                colors.append(color_of(image[0]))
                yield Views(image, cameras[number])

    def save_frozen(self, folder):
        description = {"format": 1, "system": NAME, "config": self.config.to_json()}
        Path(folder, "gatlas.json").write_text(json.dumps(description))

    def save_network(self, folder, weights):
        save_file(dict(weights), f"{folder}/weights.safetensors")


SYSTEM = ToyViews


def create(config, *, base=None, stats=None, seed=0):
    return ToyViews(config, seed)


def load(model, *, device="cpu", dtype=None, settings=None):
    published = Path(model).is_file()
    config = ToyViewsConfig() if published else ToyViewsConfig.from_json(read_description(model)["config"], model)
    system = ToyViews(replace(config, **(settings or {})))
    system.network.load_state_dict(load_file(model if published else f"{model}/{ToyViews.part}/weights.safetensors"))
    return system


def recognizes(path):
    return path.endswith(".toy")
