"""Timesteps and weights of training."""

import pytest
import torch

from gatlas.diffusion.losses import min_snr_weight, stratified_timesteps
from gatlas.diffusion.schedules import CosineLogSnr
from tests.helpers.noise import velocity_schedule


def test_the_weight_of_denoised_values_rises_with_the_signal_up_to_one():
    schedule = velocity_schedule()
    weight = min_snr_weight(schedule, torch.arange(1000))
    assert weight[0] == 1.0
    assert weight[-1] == 0.0
    assert bool((weight.diff() <= 0).all())
    t = int((schedule.snr(torch.arange(1000)) < 5).int().argmax())
    assert weight[t] == pytest.approx(float(schedule.snr(torch.tensor([t]))) / 5)


def test_the_weight_of_continuous_time_follows_its_log_snr():
    times = torch.tensor([0.0, 0.5, 1.0])
    assert min_snr_weight(CosineLogSnr(), times).tolist() == pytest.approx([1.0, 0.2, 0.0], abs=1e-8)


def test_stratified_timesteps_take_one_of_each_stratum():
    generator = torch.Generator().manual_seed(3)
    times = stratified_timesteps(8, 1000, generator)
    assert sorted((times // 125).tolist()) == list(range(8))
    assert times.tolist() != sorted(times.tolist())
    again = stratified_timesteps(8, 1000, torch.Generator().manual_seed(3))
    assert torch.equal(times, again)


def test_every_stratified_timestep_is_uniform_by_itself():
    generator = torch.Generator().manual_seed(0)
    first = torch.stack([stratified_timesteps(4, 10, generator) for _ in range(4000)])[:, 0]
    counts = torch.bincount(first, minlength=10)
    assert len(counts) == 10
    assert bool(((counts - 400).abs() < 100).all())  # five standard deviations
