"""The noise process of a diffusion model: its schedule, what the network is trained to predict, and sampling.

x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) noise, where a_t is `alphas_cumprod` and t runs from 0 (clean) to T - 1 (noise).
Everything is a pure function of tensors. Coefficients are float64, products are at least float32, and results have
the dtype of what was given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Tensor

    # Of noisy latents [m c h w], their timesteps [m] and whether each row has its text; a row without has zeros.
    Denoiser = Callable[[Float[Tensor, "m c h w"], Int[Tensor, " m"], Bool[Tensor, " m"]], Float[Tensor, "m c h w"]]

PREDICTION_TYPES = ("v_prediction", "epsilon")  # what the network predicts, under diffusers' names
BETA_SCHEDULES = ("linear", "scaled_linear", "squaredcos_cap_v2")

# The noise of Stable Diffusion, for a network that starts from random weights.
STABLE_DIFFUSION_NOISE = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
}

# diffusers' samplers by our names. All are deterministic: the starting noise decides the sample.
SAMPLERS: dict[str, tuple[str, dict[str, Any]]] = {
    "dpm++": ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++", "solver_order": 2}),
    # DDIM is DPM-Solver++ of order 1 (Lu et al. 2022). diffusers' own DDIM goes to another noise level than that of the
    # next trailing step unless the steps divide T, and then ends before all noise is gone.
    "ddim": ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++", "solver_order": 1}),
    "euler": ("EulerDiscreteScheduler", {}),
    "unipc": ("UniPCMultistepScheduler", {"solver_order": 2}),
}


@dataclass(frozen=True, eq=False)
class NoiseSchedule:
    """How much noise each timestep holds, and what the network predicts."""

    alphas_cumprod: Float[Tensor, " t"]  # float64, on the CPU; share of the signal's variance, falling
    prediction_type: str  # "v_prediction" or "epsilon"
    zero_terminal_snr: bool  # the last timestep is pure noise
    config: Mapping[str, Any]  # of diffusers' DPMSolverMultistepScheduler, for the model folder

    def __len__(self) -> int:
        return int(self.alphas_cumprod.shape[0])


def noise_schedule(
    config: Mapping[str, Any], *, zero_terminal_snr: bool | None = None, prediction_type: str | None = None
) -> NoiseSchedule:
    """The schedule of a diffusers scheduler's config; what is not given is as the config says.

    With `zero_terminal_snr` the betas are rescaled so that the last timestep holds no signal (Lin et al. 2024, alg. 1).
    There the noise says nothing about x_0, so predicting it ("epsilon") is then a ValueError, as is a config whose
    betas are of no known kind.
    """
    if zero_terminal_snr is None:
        zero_terminal_snr = bool(config.get("rescale_betas_zero_snr", False))
    prediction_type = prediction_type or str(config.get("prediction_type", "epsilon"))
    if prediction_type not in PREDICTION_TYPES:
        raise ValueError(f"prediction_type must be one of {', '.join(PREDICTION_TYPES)}, got {prediction_type!r}")
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
        **SAMPLERS["dpm++"][1],
    }
    return NoiseSchedule(alphas_cumprod, prediction_type, zero_terminal_snr, described)


def _betas(config: Mapping[str, Any]) -> Float[Tensor, " t"]:
    """The variance that each timestep adds (float64), as diffusers' schedulers make it from the same config."""
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


def _coefficients(
    schedule: NoiseSchedule, t: Int[Tensor, " b"], x: Float[Tensor, "b ..."]
) -> tuple[Float[Tensor, "b ..."], Float[Tensor, "b ..."]]:
    """sqrt(a_t) and sqrt(1 - a_t), shaped to multiply x, in float32 or in x's wider dtype."""
    alphas = schedule.alphas_cumprod.to(t.device)[t]
    shape = (-1, *[1] * (x.ndim - 1))
    dtype = torch.promote_types(x.dtype, torch.float32)
    signal, noise = alphas.sqrt(), (1.0 - alphas).sqrt()
    return signal.to(x.device, dtype).view(shape), noise.to(x.device, dtype).view(shape)


def add_noise(
    schedule: NoiseSchedule, x0: Float[Tensor, "b ..."], noise: Float[Tensor, "b ..."], t: Int[Tensor, " b"]
) -> Float[Tensor, "b ..."]:
    """x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) noise."""
    signal, sigma = _coefficients(schedule, t, x0)
    return (signal * x0 + sigma * noise).to(x0.dtype)


def v_target(
    schedule: NoiseSchedule, x0: Float[Tensor, "b ..."], noise: Float[Tensor, "b ..."], t: Int[Tensor, " b"]
) -> Float[Tensor, "b ..."]:
    """v = sqrt(a_t) noise - sqrt(1 - a_t) x_0 (Salimans & Ho 2022, app. D)."""
    signal, sigma = _coefficients(schedule, t, x0)
    return (signal * noise - sigma * x0).to(x0.dtype)


def x0_from_v(
    schedule: NoiseSchedule, x: Float[Tensor, "b ..."], v: Float[Tensor, "b ..."], t: Int[Tensor, " b"]
) -> Float[Tensor, "b ..."]:
    """x_0 = sqrt(a_t) x_t - sqrt(1 - a_t) v."""
    signal, sigma = _coefficients(schedule, t, x)
    return (signal * x - sigma * v).to(x.dtype)


def x0_from_epsilon(
    schedule: NoiseSchedule, x: Float[Tensor, "b ..."], epsilon: Float[Tensor, "b ..."], t: Int[Tensor, " b"]
) -> Float[Tensor, "b ..."]:
    """x_0 = (x_t - sqrt(1 - a_t) epsilon) / sqrt(a_t). With zero terminal SNR this has no value: ValueError."""
    if schedule.zero_terminal_snr:
        raise ValueError("x_0 does not follow from epsilon in a schedule of zero terminal SNR")
    signal, sigma = _coefficients(schedule, t, x)
    return ((x - sigma * epsilon) / signal).to(x.dtype)


def target(
    schedule: NoiseSchedule, x0: Float[Tensor, "b ..."], noise: Float[Tensor, "b ..."], t: Int[Tensor, " b"]
) -> Float[Tensor, "b ..."]:
    """What the network should predict: v, or the noise itself."""
    return v_target(schedule, x0, noise, t) if schedule.prediction_type == "v_prediction" else noise


def denoised(
    schedule: NoiseSchedule, x: Float[Tensor, "b ..."], prediction: Float[Tensor, "b ..."], t: Int[Tensor, " b"]
) -> Float[Tensor, "b ..."]:
    """The x_0 that a prediction of the network stands for: the inverse of `target`."""
    invert = x0_from_v if schedule.prediction_type == "v_prediction" else x0_from_epsilon
    return invert(schedule, x, prediction, t)


def snr(schedule: NoiseSchedule, t: Int[Tensor, " b"]) -> Float[Tensor, " b"]:
    """Signal-to-noise ratio a_t / (1 - a_t) (float32)."""
    alphas = schedule.alphas_cumprod.to(t.device)[t]
    return (alphas / (1.0 - alphas)).float()


def min_snr_weight(schedule: NoiseSchedule, t: Int[Tensor, " b"], *, ceiling: float = 5.0) -> Float[Tensor, " b"]:
    """min(SNR, ceiling) / ceiling, in [0, 1]: how far the denoised x_0 can be trusted (after Hang et al. 2023)."""
    return snr(schedule, t).clamp(max=ceiling) / ceiling


def stratified_timesteps(n: int, T: int, generator: torch.Generator) -> Int[Tensor, " n"]:
    """n timesteps in [0, T), one in each of n equal strata, in random order; each of them is uniform by itself."""
    device = generator.device
    place = torch.randperm(n, generator=generator, device=device)
    within = torch.rand(n, generator=generator, device=device, dtype=torch.float64)
    return ((place + within) * (T / n)).long().clamp(max=T - 1)


def guide(conditional: Float[Tensor, ...], unconditional: Float[Tensor, ...], guidance: float) -> Float[Tensor, ...]:
    """Classifier-free guidance: unconditional + guidance (conditional - unconditional) (Ho & Salimans 2022)."""
    return unconditional + guidance * (conditional - unconditional)


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
    """The x_0 that the network makes of unit-variance noise (float32), by one of SAMPLERS with trailing timesteps.

    `denoise(x, t, conditional)` gets the n samples (all conditional), or with guidance other than 1 the n samples
    twice: first with their text, then without. The samplers draw nothing at random, and no sample sees another.
    """
    if scheduler not in SAMPLERS:
        raise ValueError(f"scheduler must be one of {', '.join(SAMPLERS)}, got {scheduler!r}")
    if not 1 <= steps <= len(schedule):
        raise ValueError(f"steps must be in 1 .. {len(schedule)}, got {steps}")
    solver = _solver(schedule, scheduler, steps, noise.device)
    count = len(noise)
    copies = 1 if guidance == 1.0 else 2
    conditional = torch.arange(copies * count, device=noise.device) < count
    x = noise.float() * float(solver.init_noise_sigma)
    for t in solver.timesteps:
        scaled = solver.scale_model_input(x, t).repeat(copies, 1, 1, 1)
        prediction = denoise(scaled, t.long().expand(len(scaled)), conditional).float()
        if copies == 2:
            prediction = guide(prediction[:count], prediction[count:], guidance)
        x = solver.step(prediction, t, x, return_dict=False)[0]
    return x


def _solver(schedule: NoiseSchedule, name: str, steps: int, device: torch.device) -> Any:
    """diffusers' sampler for the schedule, ready for its first step."""
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
