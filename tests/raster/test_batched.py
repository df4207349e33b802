"""Pictures of several objects, against those of one after another."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from gatlas.geometry.cameras import orbit
from gatlas.raster import rasterize
from gatlas.raster.batched import rasterize_batch
from gatlas.types import Gaussians

FIELDS = ("means", "quats", "scales", "opacities", "sh")


def objects_of(device, sizes=(40, 40, 40), degree=0, antialiased=False):
    """Random Gaussians in the unit ball; each field requires a gradient."""
    found = []
    for seed, count in enumerate(sizes):
        rng = np.random.default_rng(seed)
        values = (
            rng.uniform(-0.5, 0.5, (count, 3)),
            rng.normal(size=(count, 4)),
            rng.uniform(0.03, 0.2, (count, 3)),
            rng.uniform(0.2, 0.95, count),
            rng.normal(size=(count, (degree + 1) ** 2, 3)),
        )
        fields = [torch.tensor(each, dtype=torch.float32).to(device).requires_grad_() for each in values]
        made = Gaussians(**dict(zip(FIELDS, fields, strict=True)))
        found.append(replace(made, origin=replace(made.origin, antialiased=antialiased)))
    return found


def cameras_of(objects, count=2):
    """Other cameras for each object."""
    every = orbit(count * len(objects), 24, 20)
    return [every[i * count : (i + 1) * count] for i in range(len(objects))]


def gradients_of(pictures, objects):
    generator = torch.Generator().manual_seed(0)
    noise = [torch.randn(each.shape, generator=generator).to(each.device) for each in pictures]
    total = sum((each * one).sum() for each, one in zip(pictures, noise, strict=True))
    leaves = [getattr(each, name) for each in objects for name in FIELDS]
    return [each.cpu() for each in torch.autograd.grad(total, leaves)]


def check(objects):
    """Pictures and gradients of all at once are those of one after another."""
    cameras = cameras_of(objects)
    batch = rasterize_batch(objects, cameras, background=0.5)
    light = torch.full((3,), 0.5, device=objects[0].means.device)
    each = [rasterize(one, views, background=light) for one, views in zip(objects, cameras, strict=True)]
    expected = [torch.stack([one.colors for one in each]), torch.stack([one.alphas for one in each])]
    for found, wanted in zip(batch, expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)
    assert 0.05 < batch.alphas.mean() < 0.95
    for found, wanted in zip(gradients_of(batch, objects), gradients_of(expected, objects), strict=True):
        assert (found - wanted).norm() <= 1e-4 * wanted.norm()


@pytest.fixture
def calls(monkeypatch):
    """The shapes of the centers in each call of gsplat."""
    import gsplat

    found, real = [], gsplat.rasterization

    def recorded(**options):
        found.append(tuple(options["means"].shape))
        return real(**options)

    monkeypatch.setattr(gsplat, "rasterization", recorded)
    return found


@pytest.mark.parametrize("antialiased", [False, True])
@pytest.mark.parametrize("degree", [0, 2])
def test_gsplat_renders_all_objects_in_one_call(cuda_device, calls, degree, antialiased):
    objects = objects_of("cuda", degree=degree, antialiased=antialiased)
    rasterize_batch(objects, cameras_of(objects))
    assert [shape for shape in calls if shape != (1, 3)] == [(3, 40, 3)]  # (1, 3) is the trial whether gsplat runs
    check(objects)


def test_objects_of_few_gaussians_are_rendered_one_by_one(cuda_device, calls):
    objects = objects_of("cuda", sizes=(12, 12))
    rasterize_batch(objects, cameras_of(objects))
    assert [shape for shape in calls if shape != (1, 3)] == [(12, 3), (12, 3)]
    check(objects)


@pytest.mark.gpu
@pytest.mark.parametrize("count", [12, 40, 1000])
@pytest.mark.parametrize("antialiased", [False, True])
def test_a_gpu_renders_all_objects_as_one_after_another(antialiased, count):
    check(objects_of("cuda", sizes=(count,) * 5, degree=1, antialiased=antialiased))


def test_on_the_cpu_the_pictures_are_those_of_each():
    check(objects_of("cpu", sizes=(20, 20)))
