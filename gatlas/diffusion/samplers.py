"""Samplers: those of diffusers over discrete timesteps, and ancestral and DDIM sampling in continuous time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

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
) -> Float[Tensor, "n c h w"]:
    """Return the x_0 that the network makes of unit-variance noise (float32), with trailing timesteps.

    `scheduler` is one of SAMPLERS. They draw nothing at random, and no sample depends on another. `denoise` is called
    once per step, for all samples; see `gatlas.diffusion.guidance.guided`.
    """
    if scheduler not in SAMPLERS:
        raise ValueError(f"scheduler must be one of {', '.join(SAMPLERS)}, got {scheduler!r}")
    if not 1 <= steps <= len(schedule):
        raise ValueError(f"steps must be in 1 .. {len(schedule)}, got {steps}")
    solver = _solver(schedule, scheduler, steps, noise.device)
    x = noise.float() * float(solver.init_noise_sigma)
    for t in solver.timesteps:

        def predict(rows: Tensor, conditional: Tensor, t: Tensor = t) -> Tensor:
            return denoise(rows, t.long().expand(len(rows)), conditional)

        prediction = guided(predict, solver.scale_model_input(x, t), guidance)
        x = solver.step(prediction, t, x, return_dict=False)[0]
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
