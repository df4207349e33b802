"""Schedules, clean samples and noise that the tests of diffusion share."""

import torch

from gatlas.diffusion.schedules import STABLE_DIFFUSION_NOISE, noise_schedule

SHAPE = (5, 4, 3, 3)
TIMES = torch.tensor([0, 1, 321, 998, 999])


def tensors(dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(SHAPE, generator=generator, dtype=torch.float64).to(dtype) for _ in range(2)]


def velocity_schedule(**changes):
    return noise_schedule({**STABLE_DIFFUSION_NOISE, **changes}, zero_terminal_snr=True, prediction_type="v_prediction")
