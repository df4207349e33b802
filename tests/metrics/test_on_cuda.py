"""SSIM and LPIPS of pictures on a pretended CUDA device, and their gradients, against the CPU's."""

import numpy as np
import pytest
import torch

from gatlas.metrics.lpips import Lpips
from gatlas.metrics.ssim import ssim
from tests.metrics.test_lpips import random_state

pytestmark = pytest.mark.usefixtures("cuda_device", "one_thread")


def pictures(seed, side=40):
    """Two pictures that are alike, black at their border, where the devices' SSIM differs."""
    rng = np.random.default_rng(seed)
    images = rng.random((2, side, side, 3), dtype=np.float32)
    images[:, :12] = images[:, -12:] = images[:, :, :12] = images[:, :, -12:] = 0.0
    brighter = images + np.float32(0.1) * rng.random(images.shape, dtype=np.float32)
    return images, np.where(images > 0, brighter.clip(0, 1), images)


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy, lambda each: torch.from_numpy(each).cuda()])
def test_ssim_is_that_of_the_cpu_inside_a_black_border(kind):
    one, other = pictures(0)
    found, expected = torch.tensor(one, device="cuda", requires_grad=True), torch.tensor(one, requires_grad=True)
    value, wanted = ssim(found, kind(other)), ssim(expected, torch.from_numpy(other))
    assert value.is_cuda
    assert value.item() == pytest.approx(wanted.item(), abs=1e-4)
    value.backward()
    wanted.backward()
    torch.testing.assert_close(found.grad.cpu(), expected.grad, rtol=1e-2, atol=1e-6)


def test_lpips_and_its_gradient_are_those_of_the_cpu():
    network = Lpips("alexnet", random_state("alexnet"))
    one, other = pictures(1)
    results = []
    for device in ("cpu", "cuda"):
        network.to(device)
        leaf = torch.tensor(one, device=device, requires_grad=True)
        distance = network(leaf, torch.tensor(other, device=device))
        distance.sum().backward()
        results.append((distance.detach().cpu(), leaf.grad.cpu()))
    torch.testing.assert_close(*results)
