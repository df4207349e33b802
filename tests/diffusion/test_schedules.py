"""Discrete schedules against diffusers' own, and the cosine log-SNR schedule against its closed form."""

import math

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler, DPMSolverMultistepScheduler
from diffusers.schedulers.scheduling_ddim import rescale_zero_terminal_snr
from diffusers.training_utils import compute_snr

from gatlas.diffusion.losses import target, v_target
from gatlas.diffusion.schedules import (
    STABLE_DIFFUSION_NOISE,
    CosineLogSnr,
    add_noise,
    denoised,
    epsilon_from_x0,
    noise_schedule,
    x0_from_epsilon,
)
from tests.helpers.noise import SHAPE, TIMES, tensors, velocity_schedule

CONTINUOUS_TIMES = torch.tensor([0.0, 0.1, 0.5, 0.9, 1.0], dtype=torch.float64)


def theirs(config=STABLE_DIFFUSION_NOISE, **options):
    return DDPMScheduler(**config, **options)


@pytest.mark.parametrize(
    "config",
    [
        STABLE_DIFFUSION_NOISE,
        {"num_train_timesteps": 500, "beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02},
        {"num_train_timesteps": 1000, "beta_schedule": "squaredcos_cap_v2"},
        {"num_train_timesteps": 3, "trained_betas": [0.1, 0.2, 0.4]},
        {},
    ],
)
def test_the_schedule_is_that_of_diffusers(config):
    ours = noise_schedule(config).alphas_cumprod
    np.testing.assert_allclose(ours, DDPMScheduler(**config).alphas_cumprod, rtol=2e-4, atol=1e-9)
    assert ours.dtype == torch.float64


def test_zero_terminal_snr_is_that_of_diffusers():
    schedule = velocity_schedule()
    betas = rescale_zero_terminal_snr(theirs().betas.double())
    np.testing.assert_allclose(schedule.alphas_cumprod, torch.cumprod(1 - betas, dim=0), atol=1e-6)
    assert schedule.alphas_cumprod[-1] == 0.0
    assert schedule.alphas_cumprod[0] == pytest.approx(float(noise_schedule(STABLE_DIFFUSION_NOISE).alphas_cumprod[0]))


def test_noise_and_velocity_are_those_of_diffusers():
    x0, noise = tensors()
    schedule = noise_schedule(STABLE_DIFFUSION_NOISE)
    torch.testing.assert_close(
        add_noise(schedule, x0, noise, TIMES), theirs().add_noise(x0, noise, TIMES), atol=1e-5, rtol=1e-4
    )
    torch.testing.assert_close(
        v_target(schedule, x0, noise, TIMES), theirs().get_velocity(x0, noise, TIMES), atol=1e-5, rtol=1e-4
    )


def test_snr_is_that_of_diffusers():
    schedule = noise_schedule(STABLE_DIFFUSION_NOISE)
    expected = compute_snr(theirs(), torch.arange(1000))
    torch.testing.assert_close(schedule.snr(torch.arange(1000)), expected, rtol=1e-3, atol=0)
    assert velocity_schedule().snr(torch.tensor([999])) == 0.0


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_x0_follows_from_the_velocity_even_where_there_is_only_noise(dtype):
    x0, noise = tensors(dtype)
    schedule = velocity_schedule()
    x = add_noise(schedule, x0, noise, TIMES)
    found = denoised(schedule, x, target(schedule, x0, noise, TIMES), TIMES)
    assert found.dtype == dtype
    tolerance = {torch.float64: 1e-7, torch.float32: 1e-5, torch.bfloat16: 0.05}[dtype]
    torch.testing.assert_close(found, x0, atol=tolerance, rtol=0)
    torch.testing.assert_close(x[-1], noise[-1])


def test_x0_follows_from_epsilon():
    x0, noise = tensors(torch.float64)
    schedule = noise_schedule(STABLE_DIFFUSION_NOISE)
    x = add_noise(schedule, x0, noise, TIMES)
    assert target(schedule, x0, noise, TIMES) is noise
    torch.testing.assert_close(denoised(schedule, x, noise, TIMES), x0)


def test_the_config_decides_where_nothing_is_said():
    config = {**STABLE_DIFFUSION_NOISE, "prediction_type": "v_prediction", "rescale_betas_zero_snr": True}
    schedule = noise_schedule(config)
    assert (schedule.prediction_type, schedule.zero_terminal_snr) == ("v_prediction", True)
    plain = noise_schedule(STABLE_DIFFUSION_NOISE)
    assert (plain.prediction_type, plain.zero_terminal_snr) == ("epsilon", False)


def test_a_schedule_survives_its_own_config():
    schedule = velocity_schedule(num_train_timesteps=100)
    again = noise_schedule(schedule.config)
    assert torch.equal(again.alphas_cumprod, schedule.alphas_cumprod)
    assert again.config == schedule.config
    stock = DPMSolverMultistepScheduler.from_config(schedule.config).config
    assert (stock.prediction_type, stock.rescale_betas_zero_snr, stock.timestep_spacing) == (
        "v_prediction",
        True,
        "trailing",
    )


def test_epsilon_is_refused_with_zero_terminal_snr():
    with pytest.raises(ValueError, match="v_prediction"):
        noise_schedule(STABLE_DIFFUSION_NOISE, zero_terminal_snr=True, prediction_type="epsilon")
    x0, noise = tensors()
    with pytest.raises(ValueError, match="epsilon"):
        x0_from_epsilon(velocity_schedule(), x0, noise, TIMES)


@pytest.mark.parametrize(
    "config",
    [
        {"prediction_type": "sample"},
        {"beta_schedule": "sigmoid"},
        {"num_train_timesteps": 1},
        {"trained_betas": [0.1, 1.0]},
        {"beta_start": -0.1},
    ],
)
def test_a_schedule_of_no_known_kind_is_refused(config):
    with pytest.raises(ValueError, match=r"must be"):
        noise_schedule(config)


def test_the_log_snr_of_the_cosine_schedule_is_20_at_0_and_0_at_one_half_and_minus_20_at_1():
    times = torch.tensor([0, 0.25, 0.5, 0.75, 1], dtype=torch.float64)
    # tan(pi / 8) = sqrt(2) - 1 at a quarter, but for the 5e-5 that the ends are cut off.
    quarter = -2 * math.log(math.sqrt(2) - 1)
    found = CosineLogSnr().log_snr(times).tolist()
    assert found == pytest.approx([20, quarter, 0, -quarter, -20], abs=2e-4)
    assert found[::4] == pytest.approx([20, -20], abs=1e-8)


def test_signal_and_noise_of_the_cosine_schedule_are_cosine_and_sine():
    schedule = CosineLogSnr(highest=15, lowest=-10)
    times = torch.linspace(0, 1, 101, dtype=torch.float64)
    first, last = math.atan(math.exp(-7.5)), math.atan(math.exp(5))
    angle = first + times * (last - first)
    alpha, sigma = schedule.alpha_sigma(times)
    torch.testing.assert_close(alpha, angle.cos(), rtol=1e-9, atol=0)
    torch.testing.assert_close(sigma, angle.sin(), rtol=1e-9, atol=0)
    torch.testing.assert_close(alpha**2 + sigma**2, torch.ones_like(times), rtol=1e-14, atol=0)
    torch.testing.assert_close(schedule.snr(times), (alpha / sigma).square().float(), rtol=1e-5, atol=0)


def test_at_one_half_signal_and_noise_are_mixed_alike():
    one_half = torch.tensor([0.5], dtype=torch.float64)
    x = add_noise(CosineLogSnr(), torch.tensor([[3.0]]), torch.tensor([[1.0]]), one_half)
    assert x.item() == pytest.approx(4 / math.sqrt(2))
    v = v_target(CosineLogSnr(), torch.tensor([[3.0]]), torch.tensor([[1.0]]), one_half)
    assert v.item() == pytest.approx(-2 / math.sqrt(2))


@pytest.mark.parametrize("prediction", ["v_prediction", "epsilon"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_continuous_noise_is_undone_by_what_the_network_should_predict(prediction, dtype):
    x0, noise = tensors(dtype)
    schedule = CosineLogSnr(prediction)
    x = add_noise(schedule, x0, noise, CONTINUOUS_TIMES)
    assert x.shape == SHAPE
    found = denoised(schedule, x, target(schedule, x0, noise, CONTINUOUS_TIMES), CONTINUOUS_TIMES)
    assert found.dtype == dtype
    # With epsilon, rounding is divided by alpha = 4.5e-5 at the last time.
    torch.testing.assert_close(found, x0, atol=1e-9 if dtype == torch.float64 else 0.02, rtol=0)
    torch.testing.assert_close(found[:4], x0[:4], atol=1e-9 if dtype == torch.float64 else 1e-5, rtol=0)


def test_epsilon_follows_from_x0():
    x0, noise = tensors(torch.float64)
    for schedule, times in ((CosineLogSnr(), CONTINUOUS_TIMES), (velocity_schedule(), TIMES)):
        x = add_noise(schedule, x0, noise, times)
        torch.testing.assert_close(epsilon_from_x0(schedule, x, x0, times), noise, atol=1e-9, rtol=0)


@pytest.mark.parametrize("options", [{"prediction_type": "sample"}, {"highest": -20.0}])
def test_a_cosine_schedule_of_no_known_kind_is_refused(options):
    with pytest.raises(ValueError, match=r"must be"):
        CosineLogSnr(**options)
