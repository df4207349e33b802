"""Noise schedules: discrete timesteps as diffusers counts them, and continuous time by its log-SNR.

x_t = alpha_t x_0 + sigma_t noise with alpha_t^2 + sigma_t^2 = 1. A discrete t runs from 0 (clean) to T - 1 (noise), a
continuous one from 0 to 1. Everything is a pure function of tensors. Coefficients are float64, products are at least
float32, and results have the dtype of the input.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import torch

if TYPE_CHECKING:
    from jaxtyping import Float, Num
    from torch import Tensor

PREDICTION_TYPES = ("v_prediction", "epsilon")  # what the network predicts, under diffusers' names
BETA_SCHEDULES = ("linear", "scaled_linear", "squaredcos_cap_v2")

# The noise of Stable Diffusion, for a network that starts from random weights.
STABLE_DIFFUSION_NOISE = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
}

DPM_SOLVER: dict[str, Any] = {"algorithm_type": "dpmsolver++", "solver_order": 2}  # of the scheduler in a model folder


class Schedule(Protocol):
    """Signal and noise at each time, and what the network predicts."""

    @property
    def prediction_type(self) -> str:
        """One of PREDICTION_TYPES."""

    @property
    def zero_terminal_snr(self) -> bool:
        """True if the last time is pure noise."""

    def alpha_sigma(self, t: Num[Tensor, " #b"]) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
        """Return alpha_t and sigma_t (float64, on the device of t)."""

    def snr(self, t: Num[Tensor, " #b"]) -> Float[Tensor, " b"]:
        """Return the signal-to-noise ratio alpha_t^2 / sigma_t^2 (float32)."""


@dataclass(frozen=True, eq=False)
class NoiseSchedule:
    """A schedule of T discrete timesteps."""

    alphas_cumprod: Float[Tensor, " t"]  # float64, on the CPU; alpha_t^2, the signal's share of the variance, falling
    prediction_type: str  # "v_prediction" or "epsilon"
    zero_terminal_snr: bool  # the last timestep is pure noise
    config: Mapping[str, Any]  # of diffusers' DPMSolverMultistepScheduler, for the model folder
    _on: dict[Any, Tensor] = field(default_factory=dict, init=False, repr=False)  # the table, on each device

    def __len__(self) -> int:
        return int(self.alphas_cumprod.shape[0])

    def alpha_sigma(self, t: Num[Tensor, " #b"]) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
        """Return sqrt(a_t) and sqrt(1 - a_t), where a_t is `alphas_cumprod`."""
        alphas = self._table(t.device)[t]
        return alphas.sqrt(), (1.0 - alphas).sqrt()

    def snr(self, t: Num[Tensor, " #b"]) -> Float[Tensor, " b"]:
        """Return a_t / (1 - a_t)."""
        alphas = self._table(t.device)[t]
        return (alphas / (1.0 - alphas)).float()

    def _table(self, device: Any) -> Float[Tensor, " t"]:
        """Return `alphas_cumprod` on a device, to which it is copied once."""
        if device not in self._on:
            self._on[device] = self.alphas_cumprod.to(device)
        return self._on[device]


@dataclass(frozen=True)
class CosineLogSnr:
    """The cosine schedule of continuous time: log-SNR falls from `highest` at t = 0 to `lowest` at t = 1.

    The defaults are those of 3DiM (Watson et al. 2023).
    """

    prediction_type: str = "epsilon"
    highest: float = 20.0
    lowest: float = -20.0
    zero_terminal_snr = False

    def __post_init__(self) -> None:
        _require_known(self.prediction_type)
        if not self.highest > self.lowest:
            raise ValueError(f"highest must be > lowest, got {self.highest} and {self.lowest}")

    def log_snr(self, t: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
        """Return lambda_t = log(alpha_t^2 / sigma_t^2), float64."""
        b = math.atan(math.exp(-self.highest / 2))
        a = math.atan(math.exp(-self.lowest / 2)) - b
        return -2 * torch.log(torch.tan(a * t.double() + b))  # Ho & Salimans 2022, sec. 2

    def alpha_sigma(self, t: Float[Tensor, " b"]) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
        """Return alpha_t and sigma_t (float64)."""
        log_snr = self.log_snr(t)
        return torch.sigmoid(log_snr).sqrt(), torch.sigmoid(-log_snr).sqrt()  # Ho & Salimans 2022, eq. 1

    def snr(self, t: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
        """Return exp(lambda_t)."""
        return self.log_snr(t).exp().float()


def noise_schedule(
    config: Mapping[str, Any], *, zero_terminal_snr: bool | None = None, prediction_type: str | None = None
) -> NoiseSchedule:
    """Return the schedule of a diffusers scheduler's config; arguments override the config.

    With `zero_terminal_snr` the betas are rescaled so that the last timestep holds no signal (Lin et al. 2024, alg. 1).
    x_0 does not follow from the noise there, so "epsilon" is then a ValueError, as is an unknown beta schedule.
    """
    if zero_terminal_snr is None:
        zero_terminal_snr = bool(config.get("rescale_betas_zero_snr", False))
    prediction_type = prediction_type or str(config.get("prediction_type", "epsilon"))
    _require_known(prediction_type)
    if zero_terminal_snr and prediction_type == "epsilon":
        raise ValueError("zero terminal SNR needs prediction_type 'v_prediction': epsilon cannot be inverted there")
    kept = {name: config[name] for name in (*STABLE_DIFFUSION_NOISE, "trained_betas") if config.get(name) is not None}
    alphas_cumprod = torch.cumprod(1.0 - _betas(config), dim=0)
    if zero_terminal_snr:
        root = alphas_cumprod.sqrt()
        alphas_cumprod = ((root - root[-1]) * (root[0] / (root[0] - root[-1]))) ** 2
    described = {
        **kept,
        "_class_name": "DPMSolverMultistepScheduler",
        "num_train_timesteps": len(alphas_cumprod),
        "prediction_type": prediction_type,
        "rescale_betas_zero_snr": zero_terminal_snr,
        "timestep_spacing": "trailing",
        "steps_offset": 1,  # without effect on trailing steps; diffusers' pipeline warns of any other
        **DPM_SOLVER,
    }
    return NoiseSchedule(alphas_cumprod, prediction_type, zero_terminal_snr, described)


def _require_known(prediction_type: str) -> None:
    if prediction_type not in PREDICTION_TYPES:
        raise ValueError(f"prediction_type must be one of {', '.join(PREDICTION_TYPES)}, got {prediction_type!r}")


def _betas(config: Mapping[str, Any]) -> Float[Tensor, " t"]:
    """Return the variance that each timestep adds (float64), equal to that of diffusers' schedulers."""
    if config.get("trained_betas") is not None:
        betas = torch.tensor(config["trained_betas"], dtype=torch.float64)
    else:
        T, kind = int(config.get("num_train_timesteps", 1000)), config.get("beta_schedule", "linear")
        if T < 2:
            raise ValueError(f"num_train_timesteps must be >= 2, got {T}")
        start, end = float(config.get("beta_start", 1e-4)), float(config.get("beta_end", 0.02))
        if kind == "linear":
            betas = torch.linspace(start, end, T, dtype=torch.float64)
        elif kind == "scaled_linear":
            betas = torch.linspace(start**0.5, end**0.5, T, dtype=torch.float64) ** 2
        elif kind == "squaredcos_cap_v2":  # Nichol & Dhariwal 2021, eq. 17
            time = torch.arange(T + 1, dtype=torch.float64) / T
            bar = torch.cos((time + 0.008) / 1.008 * (torch.pi / 2)) ** 2
            betas = (1 - bar[1:] / bar[:-1]).clamp(max=0.999)
        else:
            raise ValueError(f"beta_schedule must be one of {', '.join(BETA_SCHEDULES)}, got {kind!r}")
    if betas.ndim != 1 or len(betas) < 2 or not bool(((betas > 0) & (betas < 1)).all()):
        raise ValueError("the betas must be two or more numbers between 0 and 1")
    return betas


def add_noise(
    schedule: Schedule, x0: Float[Tensor, "b ..."], noise: Float[Tensor, "b ..."], t: Num[Tensor, " #b"]
) -> Float[Tensor, "b ..."]:
    """Return x_t = alpha_t x_0 + sigma_t noise."""
    alpha, sigma = coefficients(schedule, t, x0)
    return (alpha * x0 + sigma * noise).to(x0.dtype)


def x0_from_v(
    schedule: Schedule, x: Float[Tensor, "b ..."], v: Float[Tensor, "b ..."], t: Num[Tensor, " #b"]
) -> Float[Tensor, "b ..."]:
    """Return x_0 = alpha_t x_t - sigma_t v (Salimans & Ho 2022, app. D)."""
    alpha, sigma = coefficients(schedule, t, x)
    return (alpha * x - sigma * v).to(x.dtype)


def x0_from_epsilon(
    schedule: Schedule, x: Float[Tensor, "b ..."], epsilon: Float[Tensor, "b ..."], t: Num[Tensor, " #b"]
) -> Float[Tensor, "b ..."]:
    """Return x_0 = (x_t - sigma_t epsilon) / alpha_t. With zero terminal SNR it has no value: ValueError."""
    if schedule.zero_terminal_snr:
        raise ValueError("x_0 does not follow from epsilon in a schedule of zero terminal SNR")
    alpha, sigma = coefficients(schedule, t, x)
    return ((x - sigma * epsilon) / alpha).to(x.dtype)


def epsilon_from_x0(
    schedule: Schedule, x: Float[Tensor, "b ..."], x0: Float[Tensor, "b ..."], t: Num[Tensor, " #b"]
) -> Float[Tensor, "b ..."]:
    """Return the noise (x_t - alpha_t x_0) / sigma_t."""
    alpha, sigma = coefficients(schedule, t, x)
    return ((x - alpha * x0) / sigma).to(x.dtype)


def denoised(
    schedule: Schedule, x: Float[Tensor, "b ..."], prediction: Float[Tensor, "b ..."], t: Num[Tensor, " #b"]
) -> Float[Tensor, "b ..."]:
    """Return the x_0 that a prediction of the network implies: the inverse of `gatlas.diffusion.losses.target`."""
    invert = x0_from_v if schedule.prediction_type == "v_prediction" else x0_from_epsilon
    return invert(schedule, x, prediction, t)


def prediction_of(
    schedule: Schedule, x: Float[Tensor, "b ..."], x0: Float[Tensor, "b ..."], t: Num[Tensor, " #b"]
) -> Float[Tensor, "b ..."]:
    """Return the prediction that implies x_0: the inverse of `denoised`."""
    if schedule.prediction_type == "epsilon":
        return epsilon_from_x0(schedule, x, x0, t)
    alpha, sigma = coefficients(schedule, t, x)
    return ((alpha * x - x0) / sigma).to(x.dtype)


def coefficients(
    schedule: Schedule, t: Num[Tensor, " #b"], x: Float[Tensor, "b ..."]
) -> tuple[Float[Tensor, "#b ..."], Float[Tensor, "#b ..."]]:
    """Return alpha_t and sigma_t, shaped to multiply x, in float32 or in x's wider dtype."""
    alpha, sigma = schedule.alpha_sigma(t)
    return broadcast(alpha, x), broadcast(sigma, x)


def broadcast(coefficient: Float[Tensor, " n"], x: Float[Tensor, "b ..."]) -> Float[Tensor, "n ..."]:
    """Return a coefficient per sample, shaped to multiply x, in float32 or in x's wider dtype."""
    dtype = torch.promote_types(x.dtype, torch.float32)
    return coefficient.to(x.device, dtype).view(-1, *[1] * (x.ndim - 1))
