"""Training of a denoising network: timesteps, targets of the prediction, and weights of further terms."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from gatlas.diffusion.schedules import coefficients

if TYPE_CHECKING:
    from jaxtyping import Float, Int, Num
    from torch import Tensor

    from gatlas.diffusion.schedules import Schedule


def stratified_timesteps(n: int, T: int, generator: torch.Generator) -> Int[Tensor, " n"]:
    """Return n timesteps in [0, T), one in each of n equal strata, in random order; each alone is uniform."""
    device = generator.device
    stratum = torch.randperm(n, generator=generator, device=device)
    within = torch.rand(n, generator=generator, device=device, dtype=torch.float64)
    return ((stratum + within) * (T / n)).long().clamp(max=T - 1)


def target(
    schedule: Schedule, x0: Float[Tensor, "b ..."], noise: Float[Tensor, "b ..."], t: Num[Tensor, " b"]
) -> Float[Tensor, "b ..."]:
    """Return the tensor that the network should predict: v, or the noise itself."""
    return v_target(schedule, x0, noise, t) if schedule.prediction_type == "v_prediction" else noise


def v_target(
    schedule: Schedule, x0: Float[Tensor, "b ..."], noise: Float[Tensor, "b ..."], t: Num[Tensor, " b"]
) -> Float[Tensor, "b ..."]:
    """Return v = alpha_t noise - sigma_t x_0 (Salimans & Ho 2022, app. D)."""
    alpha, sigma = coefficients(schedule, t, x0)
    return (alpha * noise - sigma * x0).to(x0.dtype)


def min_snr_weight(schedule: Schedule, t: Num[Tensor, " b"], *, ceiling: float = 5.0) -> Float[Tensor, " b"]:
    """Return min(SNR, ceiling) / ceiling, in [0, 1]: the reliability of the denoised x_0 (after Hang et al. 2023)."""
    return schedule.snr(t).clamp(max=ceiling) / ceiling
