"""A small 3DiM network whose prediction is not 0, and requests of views, for tests."""

from dataclasses import replace

import numpy as np
import torch

from gatlas.models.xunet import fresh_network
from gatlas.systems.contract import Condition, Photo, SampleRequest
from gatlas.systems.targets import orbit_of
from gatlas.systems.threedim.config import CPU
from gatlas.systems.threedim.system import ThreeDimSystem
from tests.helpers.small_lgm import disc_views

CONFIG = replace(
    CPU,
    side=8,
    channels=8,
    multiples=(1, 2),
    embedding=16,
    attention_levels=1,
    heads=2,
    groups=4,
    position_embedding=False,
    prediction="epsilon",
    noise_power=1.0,
    epipolar_points=0,
    open_start=False,
    guidance=1.0,
    sampler="ancestral",
    sampler_steps=3,
)


def small_system(config=CONFIG, seed=0):
    """A system whose network depends on all of its inputs."""
    network = fresh_network(config, torch.Generator().manual_seed(seed)).eval()
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for weight in network.parameters():
            if not weight.any():
                weight.normal_(std=0.2, generator=generator)
    return ThreeDimSystem(config, network)


def photos_of(views, count=1):
    """The first views of an object as photos with cameras."""
    cameras = views.cameras
    arrays = zip(views.images[:count], cameras.Ks, cameras.viewmats.astype(np.float64), strict=False)
    return tuple(Photo(f"{i}.png", *each) for i, each in enumerate(arrays))


def asked(count=2, *, photos=1, names=("object",), **options):
    """A request of `count` views around each of some objects."""
    known = photos_of(disc_views(side=16, elevation=20, distance=2.6), photos)
    conditions = tuple(Condition(name, photos=known) for name in names)
    return SampleRequest(conditions, orbit_of(known[0], count), **options)


def images_of(system, request):
    """The views that a system makes, [n h w 3]."""
    return np.concatenate([views.images for views in system.sample(request)])
