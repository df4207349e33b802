"""Samplers against distributions whose denoiser is known in closed form."""

import math

import pytest
import torch

from gatlas.diffusion.guidance import dynamic_threshold
from gatlas.diffusion.samplers import (
    CONTINUOUS_SAMPLERS,
    SAMPLERS,
    Known,
    ddim_step,
    posterior,
    sample_continuous,
    sample_latents,
)
from gatlas.diffusion.schedules import STABLE_DIFFUSION_NOISE, CosineLogSnr, add_noise, noise_schedule
from tests.helpers.noise import tensors, velocity_schedule


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
@pytest.mark.parametrize("scheduler", SAMPLERS)
def test_a_gaussian_is_sampled_to_its_mean_and_deviation(scheduler, prediction):
    schedule = noise_schedule(
        STABLE_DIFFUSION_NOISE, zero_terminal_snr=prediction == "v_prediction", prediction_type=prediction
    )
    noise = torch.randn(64, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    noise = (noise - noise.mean()) / noise.std()
    mean, std = 0.7, 0.5
    x = sample_latents(gaussian_denoiser(schedule, mean, std), noise, schedule, steps=100, scheduler=scheduler)
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
    x = sample_latents(gaussian_denoiser(schedule, -0.3, 0.8), noise, schedule)
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
        x = sample_latents(denoise, torch.ones(2, 1, 1, 1), schedule, steps=steps)
        assert len(calls) == steps
        assert calls[0] == ([999, 999], [True, True])
        assert calls[-1][0][0] >= 0
        assert bool(x.isfinite().all())


@pytest.mark.parametrize("scheduler", SAMPLERS)
def test_a_network_that_knows_the_answer_gives_it_after_any_number_of_steps(scheduler):
    schedule = velocity_schedule()
    noise, answer = (torch.randn(1, 4, 2, 2, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))

    def denoise(x, t, conditional):
        a = schedule.alphas_cumprod[t[0]]
        return ((a.sqrt() * x - answer) / (1 - a).sqrt()).float()

    for steps in (1, 3, 7, 20, 150, 501):  # also such as do not divide the 1000 timesteps
        x = sample_latents(denoise, noise, schedule, steps=steps, scheduler=scheduler)
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
    guided = sample_latents(denoise, noise, schedule, steps=4, guidance=3.5)
    assert set(map(str, seen)) == {str((6, [True] * 3 + [False] * 3))}
    # 1 + 3.5 (2 - 1)
    torch.testing.assert_close(guided, sample_latents(constant(4.5), noise, schedule, steps=4))


@pytest.mark.parametrize("scheduler", SAMPLERS)
def test_no_sample_depends_on_its_batch(scheduler):
    schedule = velocity_schedule()
    layer = torch.nn.Conv2d(4, 4, 3, padding=1)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(layer.weight.shape, generator=torch.Generator().manual_seed(0)) * 0.1)
    noise = torch.randn(5, 4, 6, 6, generator=torch.Generator().manual_seed(2))
    options = {"steps": 8, "guidance": 2.0, "scheduler": scheduler}

    def denoise(x, t, conditional):
        return layer(x) * (1 + conditional.view(-1, 1, 1, 1))

    together = sample_latents(denoise, noise, schedule, **options)
    for i in range(5):
        alone = sample_latents(denoise, noise[i : i + 1], schedule, **options)
        torch.testing.assert_close(alone[0], together[i], atol=1e-5, rtol=1e-5)


def test_sampling_leaves_the_noise_and_the_random_state_alone():
    noise = torch.randn(1, 4, 2, 2, generator=torch.Generator().manual_seed(2))
    before, state = noise.clone(), torch.get_rng_state()
    sample_latents(lambda x, t, c: x * 0.1, noise, velocity_schedule(), steps=3)
    assert torch.equal(noise, before)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_sampler_of_no_known_name_and_a_wrong_number_of_steps_are_refused():
    noise = torch.zeros(1, 4, 2, 2)
    with pytest.raises(ValueError, match=r"dpm\+\+"):
        sample_latents(lambda x, t, c: x, noise, velocity_schedule(), scheduler="magic")
    for steps in (0, 1001):
        with pytest.raises(ValueError, match="steps"):
            sample_latents(lambda x, t, c: x, noise, velocity_schedule(), steps=steps)


@pytest.mark.parametrize("scheduler", SAMPLERS)
def test_a_variation_of_full_strength_is_a_plain_sample_and_one_of_none_the_start_itself(scheduler):
    schedule = velocity_schedule()
    noise, start = (torch.randn(2, 4, 2, 2, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    options = {"steps": 5, "scheduler": scheduler}

    def denoise(x, t, conditional):
        return x * 0.1

    plain = sample_latents(denoise, noise, schedule, **options)
    assert torch.equal(sample_latents(denoise, noise, schedule, start=start, strength=1, **options), plain)
    same = sample_latents(denoise, noise, schedule, start=start[:1], strength=0, **options)
    assert torch.equal(same, start[:1].expand(2, -1, -1, -1))


@pytest.mark.parametrize(
    ("strength", "steps", "taken", "first"),
    [(0.6, 20, 12, 599), (0.5, 4, 2, 499), (0.01, 20, 1, 49), (0.99, 20, 20, 999), (0.25, 1000, 250, 249)],
)
def test_a_variation_takes_its_share_of_the_steps_from_that_share_of_the_timesteps(strength, steps, taken, first):
    schedule = velocity_schedule()
    seen = []

    def denoise(x, t, conditional):
        seen.append((int(t[0]), x.clone()))
        return torch.zeros_like(x)

    noise, start = torch.full((1, 1, 1, 1), 3.0), torch.full((1, 1, 1, 1), -2.0)
    sample_latents(denoise, noise, schedule, steps=steps, start=start, strength=strength)
    assert (len(seen), seen[0][0]) == (taken, first)
    a = float(schedule.alphas_cumprod[first])
    assert float(seen[0][1]) == pytest.approx(a**0.5 * -2 + (1 - a) ** 0.5 * 3, abs=3e-3)


@pytest.mark.parametrize("prediction", ["v_prediction", "epsilon"])
@pytest.mark.parametrize("scheduler", SAMPLERS)
def test_a_variation_of_a_sample_of_a_gaussian_is_another_sample_of_it(scheduler, prediction):
    schedule = noise_schedule(
        STABLE_DIFFUSION_NOISE, zero_terminal_snr=prediction == "v_prediction", prediction_type=prediction
    )
    noise, start = (torch.randn(64, 4, 4, 4, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))
    mean, std = 0.7, 0.5
    start = mean + std * start
    x = sample_latents(
        gaussian_denoiser(schedule, mean, std),
        noise,
        schedule,
        steps=50,
        scheduler=scheduler,
        start=start,
        strength=0.3,
    )
    assert float(x.mean()) == pytest.approx(mean, abs=0.03)
    assert float(x.std()) == pytest.approx(std, rel=0.1)
    # Of the variance at timestep 299 the share a std^2 / (a std^2 + 1 - a) is the start's.
    a = float(schedule.alphas_cumprod[299])
    share = a * std**2 / (a * std**2 + 1 - a)
    assert float(torch.corrcoef(torch.stack([x.flatten(), start.flatten()]))[0, 1]) == pytest.approx(
        share**0.5, abs=0.03
    )


@pytest.mark.parametrize("repeats", [0, 2])
@pytest.mark.parametrize("prediction", ["v_prediction", "epsilon"])
@pytest.mark.parametrize("scheduler", SAMPLERS)
def test_what_is_known_comes_back_and_what_is_not_is_sampled(scheduler, prediction, repeats):
    schedule = noise_schedule(
        STABLE_DIFFUSION_NOISE, zero_terminal_snr=prediction == "v_prediction", prediction_type=prediction
    )
    noise, x0 = (torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    where = torch.zeros(1, 1, 4, 4, dtype=torch.bool)
    where[..., :2] = True
    known = Known(x0[:1], where, seeded(1, 2), repeats)
    x = sample_latents(
        gaussian_denoiser(schedule, 0.7, 1e-3), noise, schedule, steps=6, scheduler=scheduler, known=known
    )
    torch.testing.assert_close(x[..., :2], x0[:1, ..., :2].expand(2, -1, -1, -1), atol=2e-3, rtol=0)
    torch.testing.assert_close(x[..., 2:].float(), torch.full((2, 3, 4, 2), 0.7), atol=0.02, rtol=0)


def pair_denoiser(schedule, mean, correlation):
    """The exact velocity for two entries with these means, variance 1 and this correlation."""
    covariance = torch.tensor([[1.0, correlation], [correlation, 1.0]], dtype=torch.float64)

    def denoise(x, t, conditional):
        a = schedule.alphas_cumprod[t[0]]
        flat = x.double().flatten(1)
        gain = a.sqrt() * covariance @ torch.linalg.inv(a * covariance + (1 - a) * torch.eye(2))
        x0 = mean + (flat - a.sqrt() * mean) @ gain.T
        return ((a.sqrt() * flat - x0) / (1 - a).sqrt()).view(x.shape)

    return denoise


@pytest.mark.parametrize("known_value", [1.3, -1.7])
def test_a_completion_has_the_conditional_mean_of_a_gaussian_the_better_the_more_steps_are_repeated(known_value):
    schedule, correlation = velocity_schedule(), 0.9
    mean = torch.tensor([0.3, -0.5], dtype=torch.float64)
    noise = torch.randn(500, 2, 1, 1, generator=torch.Generator().manual_seed(0))
    x0 = torch.tensor([known_value, 9.0]).view(1, 2, 1, 1)
    where = torch.tensor([True, False]).view(1, 2, 1, 1)
    expected = float(mean[1]) + correlation * (known_value - float(mean[0]))
    errors = []
    for repeats in (0, 2, 8):
        known = Known(x0, where, seeded(*range(500)), repeats)
        x = sample_latents(pair_denoiser(schedule, mean, correlation), noise, schedule, known=known)
        errors.append(abs(float(x[:, 1].mean()) - expected))
    moved = abs(correlation * (known_value - float(mean[0])))
    assert errors[0] < 0.65 * moved  # a part of the way, by replacement alone
    assert errors[1] < 0.65 * errors[0]
    assert errors[2] < 0.15 * moved
    assert float(x[:, 1].std()) == pytest.approx((1 - correlation**2) ** 0.5, rel=0.4)


def test_a_strength_without_a_start_or_out_of_range_is_refused():
    noise = torch.zeros(1, 4, 2, 2)
    for options in ({"strength": 0.5}, {"strength": -0.1, "start": noise}, {"strength": 1.1, "start": noise}):
        with pytest.raises(ValueError, match="strength"):
            sample_latents(lambda x, t, c: x, noise, velocity_schedule(), **options)


def seeded(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def times(*values):
    return torch.tensor(values, dtype=torch.float64)


def test_the_posterior_is_that_of_two_gaussian_factors():
    schedule = CosineLogSnr()
    x0, x = tensors(torch.float64)
    for t, s in ((1.0, 0.99), (0.9, 0.1), (0.5, 0.49), (0.02, 0.0)):
        (alpha_t, sigma_t), (alpha_s, sigma_s) = (schedule.alpha_sigma(times(each)) for each in (t, s))
        # q(x_s | x_t, x_0) is the product of q(x_t | x_s), as a function of x_s, and q(x_s | x_0).
        forward = alpha_t / alpha_s
        forward_variance = sigma_t**2 - forward**2 * sigma_s**2
        precision = 1 / sigma_s**2 + forward**2 / forward_variance
        expected = (alpha_s * x0 / sigma_s**2 + forward * x / forward_variance) / precision
        mean, deviation = posterior(schedule, x, x0, times(t), times(s))
        torch.testing.assert_close(mean, expected, rtol=1e-8, atol=1e-12)
        torch.testing.assert_close(deviation.flatten(), precision.rsqrt(), rtol=1e-8, atol=0)


def best_denoiser(schedule, mean, std):
    """The exact prediction for x_0 ~ N(mean, std^2), entry by entry: see `x0_line`."""

    def denoise(x, t, conditional, chosen):
        assert len(x) == len(t) == len(conditional) == len(chosen)
        alpha, sigma = schedule.alpha_sigma(t[:1])
        gain, offset = x0_line(schedule, t[:1], mean, std)
        x0 = gain * x.double() + offset
        if schedule.prediction_type == "epsilon":
            return (x - alpha * x0) / sigma
        return (alpha * x - x0) / sigma

    return denoise


def x0_line(schedule, t, mean, std):
    """Gain and offset of the posterior mean of x_0 ~ N(mean, std^2), which is linear in x_t."""
    alpha, sigma = schedule.alpha_sigma(t)
    gain = alpha * std**2 / (alpha**2 * std**2 + sigma**2)
    return gain, (1 - gain * alpha) * mean


@pytest.mark.parametrize("prediction", ["v_prediction", "epsilon"])
@pytest.mark.parametrize("steps", [4, 256])
@pytest.mark.parametrize("sampler", CONTINUOUS_SAMPLERS)
def test_a_gaussian_is_sampled_in_continuous_time_as_the_recursion_of_its_moments_says(sampler, steps, prediction):
    schedule = CosineLogSnr(prediction)
    mean, std = 0.7, 0.5
    shape = (4, 32, 32)
    x = sample_continuous(
        best_denoiser(schedule, mean, std), shape, schedule, seeded(0, 1, 2, 3), steps=steps, sampler=sampler
    )
    # Every step is linear in x and in fresh noise, so that mean and variance follow from those of the step before.
    at, variance = 0.0, 1.0
    for k in range(steps):
        t, s = times(1 - k / steps), times(1 - (k + 1) / steps)
        gain, offset = x0_line(schedule, t, mean, std)
        (alpha_t, sigma_t), (alpha_s, sigma_s) = schedule.alpha_sigma(t), schedule.alpha_sigma(s)
        fresh = 0.0
        if sampler == "ddim":
            kept, added = sigma_s / sigma_t, alpha_s - sigma_s * alpha_t / sigma_t
        else:
            ratio = (alpha_t * sigma_s / (alpha_s * sigma_t)) ** 2
            kept, added = ratio * alpha_s / alpha_t, (1 - ratio) * alpha_s
            fresh = (1 - ratio) * sigma_s**2 if k + 1 < steps else 0.0
        at = kept * at + added * (gain * at + offset)
        variance = (kept + added * gain) ** 2 * variance + fresh
    entries = x.numel()
    assert float(x.mean()) == pytest.approx(float(at), abs=5 * std / math.sqrt(entries))
    assert float(x.std()) == pytest.approx(float(variance) ** 0.5, rel=5 / math.sqrt(2 * entries))
    if steps == 256:
        assert float(at) == pytest.approx(mean, abs=1e-3)
        # The ancestral variance is that for x_0 known: too small by a term that falls with the step.
        assert float(variance) ** 0.5 == pytest.approx(std, rel=0.02)


def test_ddim_moves_a_noised_sample_along_its_own_noise():
    schedule = CosineLogSnr()
    x0, noise = tensors(torch.float64)
    t, s = times(0.8), times(0.3)
    moved = ddim_step(schedule, add_noise(schedule, x0, noise, t), x0, t, s)
    torch.testing.assert_close(moved, add_noise(schedule, x0, noise, s), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("steps", [1, 7, 50])
@pytest.mark.parametrize("sampler", CONTINUOUS_SAMPLERS)
def test_a_network_that_knows_the_answer_gives_it_in_continuous_time(sampler, steps):
    schedule = CosineLogSnr("v_prediction")
    answer = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))

    def denoise(x, t, conditional, chosen):
        alpha, sigma = schedule.alpha_sigma(t[:1])
        return (alpha * x - answer) / sigma

    x = sample_continuous(denoise, (3, 4, 4), schedule, seeded(1, 2), steps=steps, sampler=sampler)
    torch.testing.assert_close(x, answer, atol=1e-3, rtol=0)  # sigma = 4.5e-5 of noise is left at t = 0


def pointwise(x, t, conditional, chosen):
    """A network of sums and products, which round alike in batches of every size."""
    scale = torch.tensor([1.0 if each is None else float(each) for each in chosen])
    return x * (0.5 + 0.1 * conditional + 0.01 * scale).view(-1, 1, 1) + t.float().view(-1, 1, 1)


def draw_one_of_nine(i, generator):
    return int(torch.randint(9, (), generator=generator))


@pytest.mark.parametrize("sampler", CONTINUOUS_SAMPLERS)
def test_a_sample_alone_is_bit_for_bit_that_of_a_batch(sampler):
    options = {"steps": 6, "guidance": 2.5, "sampler": sampler, "choose": draw_one_of_nine}
    options["limit"] = lambda x0: x0.clamp(-1, 1)
    together = sample_continuous(pointwise, (5, 7), CosineLogSnr(), seeded(3, 1, 4, 15, 9), **options)
    for i, seed in enumerate((3, 1, 4, 15, 9)):
        alone = sample_continuous(pointwise, (5, 7), CosineLogSnr(), seeded(seed), **options)
        assert torch.equal(alone[0], together[i])
    assert len({row.numpy().tobytes() for row in together}) == 5


def test_the_same_generators_give_the_same_bytes_and_the_global_one_is_left_alone():
    state = torch.get_rng_state()
    first, second = (sample_continuous(pointwise, (3, 3), CosineLogSnr(), seeded(0, 1), steps=5) for _ in range(2))
    assert first.numpy().tobytes() == second.numpy().tobytes()
    assert torch.equal(torch.get_rng_state(), state)


def test_a_condition_is_chosen_for_every_sample_at_every_step():
    calls, seen = [], []

    def choose(i, generator):
        calls.append(i)
        return (i, draw_one_of_nine(i, generator))

    def denoise(x, t, conditional, chosen):
        seen.append((float(t[0]), conditional.tolist(), list(chosen)))
        return torch.zeros_like(x)

    sample_continuous(denoise, (2, 2), CosineLogSnr(), seeded(5, 6), steps=40, guidance=2.0, choose=choose)
    assert calls == [0, 1] * 40
    assert [t for t, _, _ in seen] == pytest.approx([1 - k / 40 for k in range(40)])
    for _, conditional, chosen in seen:
        assert conditional == [True, True, False, False]
        assert [i for i, _ in chosen] == [0, 1, 0, 1]
        assert chosen[:2] == chosen[2:]
    assert {view for _, _, chosen in seen for _, view in chosen} == set(range(9))


@pytest.mark.parametrize("sampler", CONTINUOUS_SAMPLERS)
def test_choosing_from_one_equals_choosing_nothing_bit_for_bit(sampler):
    def choose(i, generator):
        return int(torch.randint(1, (), generator=generator)) + 1

    options = {"steps": 5, "sampler": sampler}
    drawn = sample_continuous(pointwise, (3, 3), CosineLogSnr(), seeded(2), choose=choose, **options)
    assert torch.equal(drawn, sample_continuous(pointwise, (3, 3), CosineLogSnr(), seeded(2), **options))


@pytest.mark.parametrize("limit", [lambda x0: x0.clamp(-1, 1), dynamic_threshold])
@pytest.mark.parametrize("sampler", CONTINUOUS_SAMPLERS)
def test_a_limit_holds_samples_of_a_wild_network_in_range(sampler, limit):
    def denoise(x, t, conditional, chosen):
        return 30 * x.roll(1, dims=-1)

    x = sample_continuous(denoise, (8, 8), CosineLogSnr(), seeded(0, 1), steps=64, sampler=sampler, limit=limit)
    assert float(x.abs().max()) <= 1.01
    wild = sample_continuous(denoise, (8, 8), CosineLogSnr(), seeded(0, 1), steps=64, sampler=sampler)
    assert float(wild.abs().max()) > 100


def test_guidance_in_continuous_time_pulls_the_predictions_apart():
    def denoise(x, t, conditional, chosen):
        return torch.where(conditional.view(-1, 1, 1), 0.2, 0.1) * torch.ones_like(x)

    def constant(value):
        return lambda x, t, conditional, chosen: torch.full_like(x, value)

    options = {"steps": 4, "limit": lambda x0: x0.clamp(-1, 1)}
    guided = sample_continuous(denoise, (2, 2), CosineLogSnr(), seeded(0, 1), guidance=3.5, **options)
    expected = sample_continuous(constant(0.45), (2, 2), CosineLogSnr(), seeded(0, 1), **options)  # 0.1 + 3.5 x 0.1
    torch.testing.assert_close(guided, expected)
    plain = sample_continuous(denoise, (2, 2), CosineLogSnr(), seeded(0, 1), **options)
    assert torch.equal(plain, sample_continuous(constant(0.2), (2, 2), CosineLogSnr(), seeded(0, 1), **options))


def test_a_continuous_sampler_of_no_known_name_and_no_steps_are_refused():
    with pytest.raises(ValueError, match="ancestral, ddim"):
        sample_continuous(pointwise, (2, 2), CosineLogSnr(), seeded(0), sampler="magic")
    with pytest.raises(ValueError, match="steps"):
        sample_continuous(pointwise, (2, 2), CosineLogSnr(), seeded(0), steps=0)
