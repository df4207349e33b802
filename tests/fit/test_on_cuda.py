"""Fits on a pretended CUDA device, which refuses what CUDA refuses, against the same fits on the CPU."""

from dataclasses import replace

import numpy as np
import pytest

from gatlas.fit import FitOptions, fit, offset, relocate, scaffold
from gatlas.fit.finetune import finetune
from gatlas.fit.mesh import measure
from gatlas.fit.optimize import Interrupted
from gatlas.fit.preview import Preview
from gatlas.geometry.cameras import fibonacci_views
from gatlas.meshes.edits import normalize_mesh
from gatlas.meshes.render import render_mesh
from gatlas.metrics.lpips import Lpips
from tests.helpers.meshes import textured_tetrahedron
from tests.metrics.test_lpips import random_state

pytestmark = pytest.mark.usefixtures("cuda_device")

# Without SSIM, whose border is another on CUDA.
OPTIONS = FitOptions(count=50, iterations=8, resolution=32, views=5, held_out=2, lambda_ssim=0.0, device="cuda")
MESH = textured_tetrahedron()


def on_cpu(options):
    return replace(options, device="cpu")


def assert_near(one, other, tolerance=1e-3):
    for name in ("means", "scales", "opacities", "sh"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), atol=tolerance, err_msg=name)


@pytest.fixture(scope="module")
def photos():
    return render_mesh(normalize_mesh(MESH), fibonacci_views(8, 32, 32), supersample=2)


def test_a_mesh():
    found, expected = fit(MESH, OPTIONS), fit(MESH, on_cpu(OPTIONS))
    assert_near(found.gaussians, expected.gaussians)
    assert found.psnr == pytest.approx(expected.psnr, abs=0.01)


def test_a_mesh_with_a_bound_on_the_offsets(monkeypatch):
    monkeypatch.setattr(offset, "EVERY", 2)
    options = replace(OPTIONS, max_offset=1e-3)
    assert_near(fit(MESH, options).gaussians, fit(MESH, on_cpu(options)).gaussians)


@pytest.mark.slow
def test_a_mesh_with_ssim_is_as_good():
    options = replace(OPTIONS, lambda_ssim=None)
    assert fit(MESH, options).ssim == pytest.approx(fit(MESH, on_cpu(options)).ssim, abs=0.01)


def test_photos_whose_gaussians_are_relocated(photos, monkeypatch):
    monkeypatch.setattr(relocate, "EVERY", 2)
    found, expected = fit(photos, OPTIONS), fit(photos, on_cpu(OPTIONS))
    assert len(found.gaussians) == OPTIONS.count
    assert found.psnr == pytest.approx(expected.psnr, abs=0.5)  # a draw may fall on the next pixel


def test_relocation_moves_the_rows_and_forgets_the_moments_that_it_does_on_the_cpu(photos):
    import torch

    start = fit(photos, on_cpu(replace(OPTIONS, iterations=0))).gaussians
    values = {"means": start.means, "quats": start.quats, "log_scales": np.log(start.scales)}
    values |= {"logits": np.linspace(-9.0, 2.0, len(start)), "rgb": np.full((len(start), 3), 0.5)}
    after = []
    for device in ("cuda", "cpu"):
        parameters = {
            name: torch.tensor(value, dtype=torch.float32, device=device, requires_grad=True)
            for name, value in values.items()
        }
        adam = torch.optim.Adam(parameters.values(), lr=1e-6, fused=True)
        sum((parameter**2).sum() for parameter in parameters.values()).backward()
        adam.step()
        relocate.Relocator(photos, 1000, np.random.default_rng(0))(relocate.EVERY, parameters, adam)
        after.append([parameter.detach().cpu() for parameter in parameters.values()])
        after[-1] += [adam.state[parameter]["exp_avg"].cpu() for parameter in parameters.values()]
    for one, other in zip(*after, strict=True):
        torch.testing.assert_close(one, other)
    assert (after[0][-1] == 0).all(dim=1).any()  # some moments were forgotten


@pytest.mark.parametrize("model", ["direct", pytest.param("scaffold", marks=pytest.mark.slow)])
def test_lpips_moves_to_the_device(model):
    options = replace(OPTIONS, model=model, lambda_lpips=0.5, iterations=3)
    network = Lpips("alexnet", random_state("alexnet"))
    expected = fit(MESH, on_cpu(options), lpips=network).gaussians
    assert_near(fit(MESH, options, lpips=network).gaussians, expected)


def test_a_scaffold_is_on_the_device_and_grows_there(monkeypatch):
    monkeypatch.setattr(scaffold, "GROW_EVERY", 3)
    devices, counts = set(), []
    grow = scaffold.grow

    def watched(model, *arguments):
        devices.update(tensor.device.type for _, tensors in model.parameters() for tensor in tensors)
        counts.append(grow(model, *arguments))
        return counts[-1]

    monkeypatch.setattr(scaffold, "grow", watched)
    options = replace(OPTIONS, model="scaffold", iterations=12)
    found = fit(MESH, options)
    assert devices == {"cuda"}
    assert counts[0] > 0
    grown = list(counts)
    expected = fit(MESH, on_cpu(options))
    assert grown == counts[len(grown) :]
    assert len(found.gaussians) == len(expected.gaussians)
    assert found.psnr == pytest.approx(expected.psnr, abs=0.1)


def test_a_fit_that_is_stopped_and_resumed_equals_one_without_a_break():
    whole = fit(MESH, OPTIONS).gaussians
    left = iter([False] * 3 + [True])
    with pytest.raises(Interrupted) as stopped:
        fit(MESH, OPTIONS, should_stop=lambda: next(left))
    assert stopped.value.snapshot.step == 3
    assert_near(fit(MESH, OPTIONS, resume=stopped.value.snapshot).gaussians, whole, tolerance=1e-6)


def test_a_preview_is_shown():
    pictures = []
    fit(MESH, replace(OPTIONS, iterations=1), on_parameters=Preview(pictures.append))
    assert len(pictures) == 1
    assert np.isfinite(pictures[0]).all()


@pytest.mark.slow
def test_finetuning_is_that_of_the_cpu(photos):
    start = fit(photos, on_cpu(replace(OPTIONS, iterations=2))).gaussians
    found, expected = (
        finetune(start, photos, 3, np.random.default_rng(0), device=device) for device in ("cuda", "cpu")
    )
    assert measure(found, photos)[0] == pytest.approx(measure(expected, photos)[0], abs=0.2)
