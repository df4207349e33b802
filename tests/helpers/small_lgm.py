"""A small LGM network, files of the published layout, and views of an object, for tests."""

from dataclasses import replace

import numpy as np
import torch
from safetensors.torch import save_file

from gatlas import io
from gatlas.geometry.cameras import orbit
from gatlas.models.lgm import fresh_network
from gatlas.systems.lgm.config import CPU
from gatlas.types import Views

CONFIG = replace(
    CPU, down_channels=(4, 8, 8), up_channels=(8, 8), attention_levels=2, groups=2, heads=2, side=16, targets=4
)  # fmt: skip


TINIEST = replace(CONFIG, down_channels=(4,), up_channels=(4,), attention_levels=0)


def write_published(path, config=CONFIG, change=lambda weights: weights):
    """Write random weights in half precision, as the published files hold them."""
    weights = fresh_network(config, torch.Generator().manual_seed(0)).state_dict()
    save_file(change({name: weight.half() for name, weight in weights.items()}), path)
    return path


def disc_views(count=4, side=32, *, elevation=0.0, distance=1.5, fov=49.1):
    """Views of an orbit: each a disc of its own color, slightly right of the middle, on nothing."""
    cameras = orbit(count, side, side, elevation=elevation, distance=distance, fov=fov)
    y, x = np.mgrid[:side, :side] + 0.5
    inside = np.hypot(x - 0.55 * side, y - 0.5 * side) < 0.3 * side
    colors = np.random.default_rng(0).random((count, 1, 1, 3))
    images = np.zeros((count, side, side, 4), np.float32)
    images[..., :3] = colors
    images[..., 3] = inside
    return Views(images, cameras)


def write_orbits(folder, count, side=64, views=9):
    """Write a folder of views for each of `count` discs: four of an orbit, and others on all sides."""
    for number in range(count):
        level = disc_views(4, side)
        others = disc_views(views - 4, side, elevation=40.0 - 60.0 * number)
        cameras = replace(
            level.cameras,
            viewmats=np.concatenate([level.cameras.viewmats, others.cameras.viewmats]),
            Ks=np.concatenate([level.cameras.Ks, others.cameras.Ks]),
        )
        io.save_views(folder / f"disc-{number}", Views(np.concatenate([level.images, others.images]), cameras))
    return folder
