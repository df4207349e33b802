"""The noise process against diffusers' own, and sampling against a distribution whose denoiser is known."""

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler, DPMSolverMultistepScheduler
from diffusers.schedulers.scheduling_ddim import rescale_zero_terminal_snr
from diffusers.training_utils import compute_snr

from gatlas.diffusion import schedules as diffusion
from gatlas.diffusion.schedules import STABLE_DIFFUSION_NOISE, noise_schedule

SHAPE = (5, 4, 3, 3)
TIMES = torch.tensor([0, 1, 321, 998, 999])


def tensors(dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(SHAPE, generator=generator, dtype=torch.float64).to(dtype) for _ in range(2)]


def velocity_schedule(**changes):
    return noise_schedule({**STABLE_DIFFUSION_NOISE, **changes}, zero_terminal_snr=True, prediction_type="v_prediction")


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
        diffusion.add_noise(schedule, x0, noise, TIMES), theirs().add_noise(x0, noise, TIMES), atol=1e-5, rtol=1e-4
    )
    torch.testing.assert_close(
        diffusion.v_target(schedule, x0, noise, TIMES), theirs().get_velocity(x0, noise, TIMES), atol=1e-5, rtol=1e-4
    )


def test_snr_is_that_of_diffusers():
    schedule = noise_schedule(STABLE_DIFFUSION_NOISE)
    expected = compute_snr(theirs(), torch.arange(1000))
    torch.testing.assert_close(diffusion.snr(schedule, torch.arange(1000)), expected, rtol=1e-3, atol=0)
    assert diffusion.snr(velocity_schedule(), torch.tensor([999])) == 0.0


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_x0_follows_from_the_velocity_even_where_there_is_only_noise(dtype):
    x0, noise = tensors(dtype)
    schedule = velocity_schedule()
    x = diffusion.add_noise(schedule, x0, noise, TIMES)
    found = diffusion.denoised(schedule, x, diffusion.target(schedule, x0, noise, TIMES), TIMES)
    assert found.dtype == dtype
    tolerance = {torch.float64: 1e-7, torch.float32: 1e-5, torch.bfloat16: 0.05}[dtype]
    torch.testing.assert_close(found, x0, atol=tolerance, rtol=0)
    torch.testing.assert_close(x[-1], noise[-1])


def test_x0_follows_from_epsilon():
    x0, noise = tensors(torch.float64)
    schedule = noise_schedule(STABLE_DIFFUSION_NOISE)
    x = diffusion.add_noise(schedule, x0, noise, TIMES)
    assert diffusion.target(schedule, x0, noise, TIMES) is noise
    torch.testing.assert_close(diffusion.denoised(schedule, x, noise, TIMES), x0)


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
        diffusion.x0_from_epsilon(velocity_schedule(), x0, noise, TIMES)


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


def test_the_weight_of_denoised_values_rises_with_the_signal_up_to_one():
    schedule = velocity_schedule()
    weight = diffusion.min_snr_weight(schedule, torch.arange(1000))
    assert weight[0] == 1.0
    assert weight[-1] == 0.0
    assert bool((weight.diff() <= 0).all())
    t = int((diffusion.snr(schedule, torch.arange(1000)) < 5).int().argmax())
    assert weight[t] == pytest.approx(float(diffusion.snr(schedule, torch.tensor([t]))) / 5)


def test_stratified_timesteps_take_one_of_each_stratum():
    generator = torch.Generator().manual_seed(3)
    times = diffusion.stratified_timesteps(8, 1000, generator)
    assert sorted((times // 125).tolist()) == list(range(8))
    assert times.tolist() != sorted(times.tolist())
    again = diffusion.stratified_timesteps(8, 1000, torch.Generator().manual_seed(3))
    assert torch.equal(times, again)


def test_every_stratified_timestep_is_uniform_by_itself():
    generator = torch.Generator().manual_seed(0)
    first = torch.stack([diffusion.stratified_timesteps(4, 10, generator) for _ in range(4000)])[:, 0]
    counts = torch.bincount(first, minlength=10)
    assert len(counts) == 10
    assert bool(((counts - 400).abs() < 100).all())  # five standard deviations


def gaussian_denoiser(schedule, mean, std):
    """The exact velocity for x_0 ~ N(mean, std^2), entry by entry: the posterior mean of x_0 in closed form."""

    def denoise(x, t, conditional):
        a = schedule.alphas_cumprod[t].view(-1, 1, 1, 1)
        x = x.double()
        x0 = mean + std**2 * a.sqrt() / (a * std**2 + 1 - a) * (x - a.sqrt() * mean)
        if schedule.prediction_type == "epsilon":
            return (x - a.sqrt() * x0) / (1 - a).sqrt()
        # v = (sqrt(a) x - x_0) / sqrt(1 - a)
        return (a.sqrt() * x - x0) / (1 - a).sqrt()

    return denoise


@pytest.mark.parametrize("prediction", ["v_prediction", "epsilon"])
@pytest.mark.parametrize("scheduler", diffusion.SAMPLERS)
def test_a_gaussian_is_sampled_to_its_mean_and_deviation(scheduler, prediction):
    schedule = noise_schedule(
        STABLE_DIFFUSION_NOISE, zero_terminal_snr=prediction == "v_prediction", prediction_type=prediction
    )
    noise = torch.randn(64, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    noise = (noise - noise.mean()) / noise.std()
    mean, std = 0.7, 0.5
    x = diffusion.sample_latents(
        gaussian_denoiser(schedule, mean, std), noise, schedule, steps=100, scheduler=scheduler
    )
    # The flow maps deviations of x_T to deviations of x_0. Where x_T holds signal (epsilon), starting from pure noise
    # is off by what the mean leaves there.
    last = float(schedule.alphas_cumprod[-1])
    reached = mean - std * last**0.5 * mean / (last * std**2 + 1 - last) ** 0.5
    assert float(x.mean()) == pytest.approx(reached, abs=2e-3)
    second_order = scheduler in ("dpm++", "unipc")
    assert float(x.std()) == pytest.approx(std, rel=0.02 if second_order else 0.05)
    # The flow of a Gaussian is a straight map: the noise decides the sample.
    assert float(torch.corrcoef(torch.stack([x.flatten(), noise.flatten()]))[0, 1]) > 0.999


def test_twenty_steps_of_the_default_sampler_suffice_for_a_gaussian():
    schedule = velocity_schedule()
    noise = torch.randn(64, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    noise = (noise - noise.mean()) / noise.std()
    x = diffusion.sample_latents(gaussian_denoiser(schedule, -0.3, 0.8), noise, schedule)
    assert float(x.mean()) == pytest.approx(-0.3, abs=0.02)
    assert float(x.std()) == pytest.approx(0.8, rel=0.05)


def test_sampling_starts_at_pure_noise_and_takes_the_steps_it_is_asked_for():
    schedule = velocity_schedule()
    calls = []

    def denoise(x, t, conditional):
        calls.append((t.tolist(), conditional.tolist()))
        return torch.zeros_like(x)

    for steps in (1, 3, 20, 61, 999, 1000):  # diffusers itself takes 62 steps for 61
        calls.clear()
        x = diffusion.sample_latents(denoise, torch.ones(2, 1, 1, 1), schedule, steps=steps)
        assert len(calls) == steps
        assert calls[0] == ([999, 999], [True, True])
        assert calls[-1][0][0] >= 0
        assert bool(x.isfinite().all())


@pytest.mark.parametrize("scheduler", diffusion.SAMPLERS)
def test_a_network_that_knows_the_answer_gives_it_after_any_number_of_steps(scheduler):
    schedule = velocity_schedule()
    noise, answer = (torch.randn(1, 4, 2, 2, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))

    def denoise(x, t, conditional):
        a = schedule.alphas_cumprod[t[0]]
        return ((a.sqrt() * x - answer) / (1 - a).sqrt()).float()

    for steps in (1, 3, 7, 20, 150, 501):  # also such as do not divide the 1000 timesteps
        x = diffusion.sample_latents(denoise, noise, schedule, steps=steps, scheduler=scheduler)
        torch.testing.assert_close(x, answer, atol=1e-3, rtol=0)


def test_guidance_asks_for_both_predictions_in_one_call_and_pulls_them_apart():
    schedule = velocity_schedule()
    seen = []

    def denoise(x, t, conditional):
        seen.append((len(x), conditional.tolist()))
        return torch.where(conditional.view(-1, 1, 1, 1), 2.0, 1.0) * torch.ones_like(x)

    def constant(value):
        return lambda x, t, conditional: torch.full_like(x, value)

    noise = torch.randn(3, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    guided = diffusion.sample_latents(denoise, noise, schedule, steps=4, guidance=3.5)
    assert set(map(str, seen)) == {str((6, [True] * 3 + [False] * 3))}
    # 1 + 3.5 (2 - 1)
    torch.testing.assert_close(guided, diffusion.sample_latents(constant(4.5), noise, schedule, steps=4))
    torch.testing.assert_close(diffusion.guide(torch.tensor(2.0), torch.tensor(1.0), 3.5), torch.tensor(4.5))


@pytest.mark.parametrize("scheduler", diffusion.SAMPLERS)
def test_no_sample_depends_on_its_batch(scheduler):
    schedule = velocity_schedule()
    layer = torch.nn.Conv2d(4, 4, 3, padding=1)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(layer.weight.shape, generator=torch.Generator().manual_seed(0)) * 0.1)
    noise = torch.randn(5, 4, 6, 6, generator=torch.Generator().manual_seed(2))
    options = {"steps": 8, "guidance": 2.0, "scheduler": scheduler}

    def denoise(x, t, conditional):
        return layer(x) * (1 + conditional.view(-1, 1, 1, 1))

    together = diffusion.sample_latents(denoise, noise, schedule, **options)
    for i in range(5):
        alone = diffusion.sample_latents(denoise, noise[i : i + 1], schedule, **options)
        torch.testing.assert_close(alone[0], together[i], atol=1e-5, rtol=1e-5)


def test_sampling_leaves_the_noise_and_the_random_state_alone():
    noise = torch.randn(1, 4, 2, 2, generator=torch.Generator().manual_seed(2))
    before, state = noise.clone(), torch.get_rng_state()
    diffusion.sample_latents(lambda x, t, c: x * 0.1, noise, velocity_schedule(), steps=3)
    assert torch.equal(noise, before)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_sampler_of_no_known_name_and_a_wrong_number_of_steps_are_refused():
    noise = torch.zeros(1, 4, 2, 2)
    with pytest.raises(ValueError, match=r"dpm\+\+"):
        diffusion.sample_latents(lambda x, t, c: x, noise, velocity_schedule(), scheduler="magic")
    for steps in (0, 1001):
        with pytest.raises(ValueError, match="steps"):
            diffusion.sample_latents(lambda x, t, c: x, noise, velocity_schedule(), steps=steps)
