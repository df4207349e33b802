"""Samplers: those of diffusers over discrete timesteps, and ancestral and DDIM sampling in continuous time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from gatlas.diffusion.guidance import guided
from gatlas.diffusion.schedules import (
    DPM_SOLVER,
    STABLE_DIFFUSION_NOISE,
    CosineLogSnr,
    NoiseSchedule,
    broadcast,
    coefficients,
    denoised,
    epsilon_from_x0,
    prediction_of,
)

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Tensor

    # Of noisy latents [m c h w], their timesteps [m] and a flag per row: True with its text; a row without has zeros.
    Denoiser = Callable[[Float[Tensor, "m c h w"], Int[Tensor, " m"], Bool[Tensor, " m"]], Float[Tensor, "m c h w"]]

    # Of noisy samples [m ...], their times in [0, 1] (float64), a flag per row: True with its condition, and the
    # condition that `choose` drew for each row.
    ContinuousDenoiser = Callable[
        [Float[Tensor, "m ..."], Float[Tensor, " m"], Bool[Tensor, " m"], Sequence[Any]], Float[Tensor, "m ..."]
    ]
    Choose = Callable[[int, torch.Generator], Any]  # of a sample's number and a generator of its own

# diffusers' samplers by our names. All are deterministic: the starting noise decides the sample.
SAMPLERS: dict[str, tuple[str, dict[str, Any]]] = {
    "dpm++": ("DPMSolverMultistepScheduler", DPM_SOLVER),
    # DDIM is DPM-Solver++ of order 1 (Lu et al. 2022). diffusers' own DDIM goes to another noise level than that of the
    # next trailing step unless the steps divide T, and then ends before all noise is gone.
    "ddim": ("DPMSolverMultistepScheduler", {**DPM_SOLVER, "solver_order": 1}),
    "euler": ("EulerDiscreteScheduler", {}),
    "unipc": ("UniPCMultistepScheduler", {"solver_order": 2}),
}


CONTINUOUS_SAMPLERS = ("ancestral", "ddim")


@torch.no_grad()
def sample_latents(
    denoise: Denoiser,
    noise: Float[Tensor, "n c h w"],
    schedule: NoiseSchedule,
    *,
    steps: int = 20,
    guidance: float = 1.0,
    scheduler: str = "dpm++",
    start: Float[Tensor, "#n c h w"] | None = None,
    strength: float = 1.0,
    known: Known | None = None,
) -> Float[Tensor, "n c h w"]:
    """Return the x_0 that the network makes of unit-variance noise (float32), with trailing timesteps.

    `scheduler` is one of SAMPLERS. They draw nothing at random, and no sample depends on another. `denoise` is called
    once per step, for all samples; see `gatlas.diffusion.guidance.guided`.

    With a `strength` below 1, `start` is noised to that share of the timesteps, and that share of the steps is taken
    from there, to the nearest whole step and at least one (Meng et al. 2022, SDEdit); 0 returns `start`. Where entries
    are `known`, the others are sampled to fit them; the caller puts the known ones, which come back to rounding, in
    their place.
    """
    if scheduler not in SAMPLERS:
        raise ValueError(f"scheduler must be one of {', '.join(SAMPLERS)}, got {scheduler!r}")
    if not 1 <= steps <= len(schedule):
        raise ValueError(f"steps must be in 1 .. {len(schedule)}, got {steps}")
    if not 0 <= strength <= 1 or (strength < 1 and start is None):
        raise ValueError(f"strength must be in [0, 1], and 1 without a start, got {strength}")
    noise = noise.float()
    if start is not None and strength == 0:
        return start.float().expand_as(noise).clone()
    solver = _solver(schedule, scheduler, steps, noise.device)
    x = noise * float(solver.init_noise_sigma)
    times = solver.timesteps
    if start is not None and strength < 1:
        begin = steps - max(1, round(steps * strength))
        times = times[begin:]
        solver.set_begin_index(begin)
        x = solver.add_noise(start.float().expand_as(noise), noise, times[:1].expand(len(noise)))

    def predict(x: Tensor, t: Tensor) -> Tensor:
        def rows(x: Tensor, conditional: Tensor) -> Tensor:
            return denoise(x, t.long().expand(len(x)), conditional)

        prediction = guided(rows, x, guidance)
        return prediction if known is None else known.put_into(prediction, schedule, x, t.long())

    for i, t in enumerate(times):
        if known is not None and i > 0:  # before the first step there is nothing but noise to fit
            factor = solver.scale_model_input(torch.ones((), device=x.device), t)  # that of the noise's scale is 1
            later = times[i + 1] if i + 1 < len(times) else None
            x = _fitted(predict, x * factor, schedule, t, later, known) / factor
        x = solver.step(predict(solver.scale_model_input(x, t), t), t, x, return_dict=False)[0]
    return x


class Known(NamedTuple):
    """The entries of x_0 that are known when the others are sampled."""

    x0: Float[Tensor, "#n c h w"]
    where: Bool[Tensor, "#n #c h w"]
    generators: Sequence[torch.Generator] = ()  # one per sample, for the noise of the repeats
    repeats: int = 0  # of each step

    def put_into(
        self, prediction: Float[Tensor, "n c h w"], schedule: NoiseSchedule, x: Float[Tensor, "n c h w"], t: Tensor
    ) -> Float[Tensor, "n c h w"]:
        """Return a prediction for x at timestep t that says what is known, where it is known.

        A solver then keeps those entries on the line from their noise to x_0: they have each step's noise level.
        """
        return torch.where(self.where, prediction_of(schedule, x, self.x0.expand_as(x), t.view(1)), prediction)


def _fitted(
    predict: Callable[[Tensor, Tensor], Tensor],
    x: Float[Tensor, "n c h w"],
    schedule: NoiseSchedule,
    t: Tensor,
    later: Tensor | None,
    known: Known,
) -> Float[Tensor, "n c h w"]:
    """Return x_t with what is known under new noise of that level, after `known.repeats` steps to x_s and back.

    Lugmayr et al. 2022, RePaint, sec. 4, with jumps of one step. s is `later`, the next timestep; None is x_0.
    """
    t = t.long().view(1)
    alpha, sigma = coefficients(schedule, t, x)
    alpha_s, sigma_s = coefficients(schedule, later.long().view(1), x) if later is not None else (1.0, 0.0)

    def noised() -> Tensor:
        fresh = alpha * known.x0 + sigma * _draw(x.shape[1:], known.generators, x.device)
        return torch.where(known.where, fresh, x)

    x = noised()
    for _ in range(known.repeats):
        x0 = denoised(schedule, x, predict(x, t[0]), t)
        less_noisy = alpha_s * x0 + sigma_s * epsilon_from_x0(schedule, x, x0, t)
        kept = alpha / alpha_s
        draw = _draw(x.shape[1:], known.generators, x.device)
        x = kept * less_noisy + (sigma**2 - (kept * sigma_s) ** 2).sqrt() * draw
        x = noised()
    return x


def _solver(schedule: NoiseSchedule, name: str, steps: int, device: torch.device) -> Any:
    """Return diffusers' sampler for the schedule, ready for its first step."""
    import diffusers

    kind, options = SAMPLERS[name]
    shared = (*STABLE_DIFFUSION_NOISE, "trained_betas", "prediction_type", "rescale_betas_zero_snr", "timestep_spacing")
    noise = {key: schedule.config[key] for key in shared if key in schedule.config}
    solver = getattr(diffusers, kind)(**noise, **options)
    solver.set_timesteps(steps, device=device)
    if len(solver.timesteps) > steps:
        # For 61 and other numbers of steps, diffusers' trailing spacing rounds to one timestep too many: -1.
        solver.timesteps = solver.timesteps[:steps]
        solver.num_inference_steps = steps
        if hasattr(solver, "sigmas"):
            solver.sigmas = torch.cat([solver.sigmas[:steps], solver.sigmas[-1:]])
    return solver


@torch.no_grad()
def sample_continuous(
    denoise: ContinuousDenoiser,
    shape: Sequence[int],
    schedule: CosineLogSnr,
    generators: Sequence[torch.Generator],
    *,
    steps: int = 256,
    guidance: float = 1.0,
    sampler: str = "ancestral",
    limit: Callable[[Float[Tensor, "n ..."]], Float[Tensor, "n ..."]] | None = None,
    choose: Choose | None = None,
    device: torch.device | str = "cpu",
) -> Float[Tensor, "n ..."]:
    """Return one sample of `shape` per generator (float32), by steps of equal length from t = 1 to t = 0.

    A sample draws from its own generator only, so it does not depend on its batch. "ddim" draws the starting noise
    alone. `limit` is applied to each estimate of x_0, for example a clamp to [-1, 1] or `dynamic_threshold`.

    `choose(i, generator)` is called before each step for each sample i, and its results are passed to `denoise`: 3DiM
    draws the conditioning view here (stochastic conditioning). Its generator is seeded once, from the sample's own, so
    that the noise is the same for every way of choosing.
    """
    if sampler not in CONTINUOUS_SAMPLERS:
        raise ValueError(f"sampler must be one of {', '.join(CONTINUOUS_SAMPLERS)}, got {sampler!r}")
    if steps < 1:
        raise ValueError(f"steps must be >= 1, got {steps}")
    choosers = [_child(generator) for generator in generators]
    x = _draw(shape, generators, device)
    # One time for all samples: vectorized functions of a longer tensor may round differently.
    times = torch.linspace(1, 0, steps + 1, dtype=torch.float64, device=device).view(-1, 1)
    for t, s in pairwise(times):
        chosen = [None if choose is None else choose(i, generator) for i, generator in enumerate(choosers)]

        def predict(rows: Tensor, conditional: Tensor, t: Tensor = t, chosen: list[Any] = chosen) -> Tensor:
            return denoise(rows, t.expand(len(rows)), conditional, chosen * (len(rows) // len(chosen)))

        x0 = denoised(schedule, x, guided(predict, x, guidance), t)
        if limit is not None:
            x0 = limit(x0)
        if sampler == "ddim":
            x = ddim_step(schedule, x, x0, t, s)
        else:
            x, deviation = posterior(schedule, x, x0, t, s)
            if s > 0:
                x = x + deviation * _draw(shape, generators, device)
    return x


def posterior(
    schedule: CosineLogSnr,
    x: Float[Tensor, "n ..."],
    x0: Float[Tensor, "n ..."],
    t: Float[Tensor, " b"],
    s: Float[Tensor, " b"],
) -> tuple[Float[Tensor, "n ..."], Float[Tensor, "b ..."]]:
    """Return mean and standard deviation of x_s given x_t = x and x_0, for s < t (Ho & Salimans 2022, eq. 3)."""
    (alpha_t, _), (alpha_s, sigma_s) = schedule.alpha_sigma(t), schedule.alpha_sigma(s)
    difference = schedule.log_snr(t) - schedule.log_snr(s)  # < 0
    kept, c = difference.exp(), -torch.expm1(difference)
    mean = broadcast(kept * alpha_s / alpha_t, x) * x + broadcast(c * alpha_s, x) * x0  # eq. 3, mean
    return mean, broadcast(c.sqrt() * sigma_s, x)  # eq. 3, variance c sigma_s^2


def ddim_step(
    schedule: CosineLogSnr,
    x: Float[Tensor, "n ..."],
    x0: Float[Tensor, "n ..."],
    t: Float[Tensor, " b"],
    s: Float[Tensor, " b"],
) -> Float[Tensor, "n ..."]:
    """Return x_s with the noise that x_t = x holds beside x_0 (Song et al. 2021, eq. 12 with sigma = 0)."""
    alpha, sigma = coefficients(schedule, s, x)
    return alpha * x0 + sigma * epsilon_from_x0(schedule, x, x0, t)  # eq. 12


def _draw(shape: Sequence[int], generators: Sequence[torch.Generator], device: torch.device | str) -> Tensor:
    """Return unit-variance noise [n *shape], each sample's from its own generator."""
    return torch.stack([torch.randn(*shape, generator=each, device=each.device).to(device) for each in generators])


def _child(generator: torch.Generator) -> torch.Generator:
    """Return a generator whose seed is drawn from another."""
    seed = torch.randint(2**62, (), generator=generator, device=generator.device)
    return torch.Generator(generator.device).manual_seed(int(seed))
