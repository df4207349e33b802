"""The optimization of a fixed number of Gaussians against views."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from gatlas.fit.adam import MOMENTS, Adam
from gatlas.fit.exposure import BEGIN, SATURATED
from gatlas.fit.losses import DIRECT_WEIGHTS, ErrorKind, LossWeights, foreground_window, picture_loss
from gatlas.fit.schedule import TrainingViews, as_arrays, cosine_decay, one_torch_thread, over_random_color
from gatlas.fit.snapshot import Interrupted, Snapshot
from gatlas.geometry.sh import SH_C0, dc_to_rgb, degree_of, rgb_to_dc
from gatlas.metrics.psnr import decibels
from gatlas.raster import rasterize
from gatlas.types import LOG_SCALE_RANGE, Gaussians

if TYPE_CHECKING:
    from gatlas.fit.backgrounds import PhotoBackgrounds
    from gatlas.fit.exposure import PhotoExposures
    from gatlas.fit.lod import ShownLevel
    from gatlas.metrics.lpips import Lpips
    from gatlas.types import AnyViews, Origin

# Adam's learning rates; world units of an object of radius 1. Positions move a thirtieth of a pixel of a 256^2 view.
LEARNING_RATES = {"means": 3.3e-4, "quats": 8e-3, "log_scales": 4e-2, "logits": 5e-2, "rgb": 1e-2}
LEARNING_RATES["sh_rest"] = LEARNING_RATES["rgb"] / SH_C0 / 20  # Kerbl et al. 2023: a twentieth of degree 0
DEGREE_EVERY = 0.1  # of the steps: a start without view-dependent color gets another degree

_State = dict[str, tuple[torch.Tensor, Adam | None]]  # all that changes, and the Adam that changes it

OnStep = Callable[[int, float], None]  # (steps done, PSNR of the last training picture in dB, or the loss)

# Called between steps with (steps done, parameters by name, Adam): it may change rows of both in place, not add any.
OnParameters = Callable[[int, dict[str, torch.Tensor], Adam], None]


class LateError(NamedTuple):
    """The error that counts from a share of the steps on."""

    kind: ErrorKind
    since: float


def optimize(
    gaussians: Gaussians,
    views: AnyViews,
    iterations: int,
    rng: np.random.Generator,
    *,
    coarse: tuple[AnyViews, int] | None = None,
    late: LateError | None = None,
    shown: Callable[[int], ShownLevel] | None = None,
    rate: float = 1.0,
    betas: tuple[float, float] = (0.9, 0.999),
    weights: LossWeights = DIRECT_WEIGHTS,
    lpips: Lpips | None = None,
    exposures: PhotoExposures | None = None,
    backgrounds: PhotoBackgrounds | None = None,
    device: str = "cpu",
    on_step: OnStep | None = None,
    on_loss: OnStep | None = None,
    on_parameters: OnParameters | None = None,
    should_stop: Callable[[], bool] | None = None,
    resume: Snapshot | None = None,
) -> Gaussians:
    """Return the Gaussians after `iterations` steps of Adam, one RGBA view per step (numpy, the same number).

    `rate` scales the learning rates, `betas` are Adam's; `device` is "cpu" or "cuda", where `lpips` must be. With
    `coarse`, the first so many of the steps take other, usually smaller, pictures, of which the rasterizer's blur is as
    wide on the object as of the full ones. `late` is the error in place of L1 from a share of the steps on.
    `shown` says which Gaussians a step, from 0, renders; None: all. When `should_stop` returns True, the optimization
    ends with `Interrupted`; its snapshot, given as `resume` to the same call, resumes it.

    Loss: `gatlas.fit.losses.picture_loss`, both pictures over the same random background. Colors stay in [0, 1] and
    scales in LOG_SCALE_RANGE, or, of Gaussians that begin larger, up to where they begin. The scene must have about
    radius 1. Blur and mode of the rasterizer are those of the Gaussians' origin. `exposures` are solved in place: the
    pictures of the Gaussians are compared as each photo was exposed. With `backgrounds`, which are solved in place,
    both pictures are over the color behind the photo instead of a random one. Spherical harmonics keep the degree of
    `gaussians`; where they are 0 beyond degree 0, one degree more is optimized every DEGREE_EVERY of the steps.
    """
    training = TrainingViews(views, coarse, iterations)
    with one_torch_thread():
        parameters = _parameters(gaussians, device)
        groups: list[dict[str, Any]] = [{"params": [value], "name": name} for name, value in parameters.items()]
        adam = Adam(groups, betas, eps=1e-15)
        state: _State = {name: (parameter, adam) for name, parameter in parameters.items()}
        if exposures is not None:
            state["exposure"] = exposures.values, None
        if backgrounds is not None:
            state["background"] = backgrounds.values, None
        largest = parameters["log_scales"].detach().amax(dim=1, keepdim=True).clamp(min=LOG_SCALE_RANGE[1])
        degrees = _degrees(gaussians, iterations)
        if resume is None:
            first, order = 0, training.order(rng)
        else:
            if not 0 <= resume.step <= iterations:
                raise ValueError(f"the snapshot is of step {resume.step} of {iterations}")
            first, order = resume.step, _restore(resume, state, rng)
            if not training.is_order(order):
                raise ValueError("the snapshot's order of the views is of other views or steps")
        for step in range(first, iterations):
            if should_stop is not None and should_stop():
                raise Interrupted(_snapshot(step, order, state, rng))
            decay = cosine_decay(step, iterations)
            for group in adam.param_groups:
                group["lr"] = rate * LEARNING_RATES[group["name"]] * decay
            view = training.at(step)[int(order[step])]
            behind = None if backgrounds is None else backgrounds.color(int(order[step]))
            target, background = over_random_color(view, rng, device, color=behind)
            rendered = parameters if shown is None else _first(parameters, *shown(step))
            drawn = _activated(rendered, gaussians.origin, degrees(step))
            if exposures is not None:
                drawn = exposures.of(drawn, int(order[step]))
            rendering = rasterize(drawn, view.cameras, background=background, eps2d=training.blur(step))
            image = rendering.colors
            if backgrounds is not None:
                backgrounds.update(int(order[step]), rendering, target)
            if exposures is not None:
                if step >= BEGIN * iterations:
                    exposures.update(int(order[step]), rendering, target, background)
                image = torch.where((target >= SATURATED) & (image > target), target, image)
            window = None if lpips is None else foreground_window(view.images[0, ..., 3], rng)
            error: ErrorKind = "absolute" if late is None or step < late.since * iterations else late.kind
            loss, mse = picture_loss(image, target, weights, lpips, window, error=error)
            if weights.scales:
                loss = loss + weights.scales * parameters["log_scales"].exp().prod(dim=1).mean()
            adam.zero_grad()
            loss.backward()
            for parameter in parameters.values():
                if parameter.grad is None:  # a degree that has not begun: Adam would count its steps apart
                    parameter.grad = torch.zeros_like(parameter)
            adam.step()
            with torch.no_grad():
                if "sh_rest" not in parameters:  # else degree 0 is the mean over directions that nobody may see
                    parameters["rgb"].clamp_(0.0, 1.0)
                log_scales = parameters["log_scales"]
                torch.minimum(log_scales.clamp_(min=LOG_SCALE_RANGE[0]), largest, out=log_scales)
            if on_parameters is not None:
                on_parameters(step + 1, parameters, adam)
            if on_step is not None:
                on_step(step + 1, decibels(float(mse), limit=120.0))
            if on_loss is not None:
                on_loss(step + 1, float(loss.detach()))
    return as_gaussians(parameters, gaussians.origin)


def in_turn(*hooks: OnParameters | None) -> OnParameters:
    """Return an `on_parameters` that calls these one after another; None is left out."""
    given = [hook for hook in hooks if hook is not None]

    def call(step: int, parameters: dict[str, torch.Tensor], adam: Adam) -> None:
        for hook in given:
            hook(step, parameters, adam)

    return call


def as_gaussians(parameters: dict[str, torch.Tensor], origin: Origin) -> Gaussians:
    """The Gaussians (numpy) that an optimization's parameters stand for."""
    detached = {name: parameter.detach().cpu() for name, parameter in parameters.items()}
    return as_arrays(_activated(detached, origin), origin)


def _degrees(gaussians: Gaussians, iterations: int) -> Callable[[int], int]:
    """Return the degree of the spherical harmonics that each step, from 0, optimizes."""
    degree = degree_of(gaussians.sh.shape[1])
    if (gaussians.sh[:, 1:] != 0).any():
        return lambda step: degree
    every = max(1, round(DEGREE_EVERY * iterations))
    return lambda step: min(degree, step // every)


def _snapshot(step: int, order: np.ndarray, state: _State, rng: np.random.Generator) -> Snapshot:
    arrays = {"order": order}
    for name, (parameter, adam) in state.items():
        arrays[name] = parameter.detach().cpu().numpy().copy()
        for moment in MOMENTS:
            if adam is not None and parameter in adam.state:
                arrays[f"{name}.{moment}"] = adam.state[parameter][moment].cpu().numpy().copy()
    return Snapshot(step, arrays, dict(rng.bit_generator.state))


def _restore(snapshot: Snapshot, state: _State, rng: np.random.Generator) -> np.ndarray:
    """Put a snapshot's values where they were, and return the order of the views."""
    try:
        rng.bit_generator.state = snapshot.rng
    except Exception as error:  # numpy's, of any kind, where it is not the state of such a generator
        raise ValueError(f"the snapshot's state of the random numbers is none: {error}") from None
    for name, (parameter, adam) in state.items():
        parameter.data.copy_(_stored(snapshot, name, parameter))
        if snapshot.step and adam is not None:
            moments = {m: _stored(snapshot, f"{name}.{m}", parameter).to(parameter.device) for m in MOMENTS}
            adam.state[parameter] = {
                "step": torch.tensor(float(snapshot.step), device=parameter.device),
                **moments,
            }
    return snapshot.arrays["order"]


def _stored(snapshot: Snapshot, name: str, parameter: torch.Tensor) -> torch.Tensor:
    """Return a copy of a snapshot's array that belongs to a parameter."""
    if name not in snapshot.arrays:
        raise ValueError(f"the snapshot has no {name}: it is of another version or of other options")
    array = snapshot.arrays[name]
    if array.dtype != np.float32 or array.shape != tuple(parameter.shape) or not np.isfinite(array).all():
        raise ValueError(
            f"the snapshot's {name} must be {list(parameter.shape)} finite values of float32, "
            f"got {list(array.shape)} of {array.dtype}"
        )
    return torch.from_numpy(array.copy())


def _parameters(gaussians: Gaussians, device: str) -> dict[str, torch.Tensor]:
    opacities = np.clip(gaussians.opacities, 1e-4, 1 - 1e-4)
    raw = {
        "means": gaussians.means,
        "quats": gaussians.quats,
        "log_scales": np.log(gaussians.scales),
        "logits": np.log(opacities / (1 - opacities)),
        "rgb": dc_to_rgb(gaussians.sh[:, 0]),
    }
    if gaussians.sh.shape[1] > 1:
        raw["sh_rest"] = gaussians.sh[:, 1:]
    return {
        name: torch.tensor(value, dtype=torch.float32, device=device, requires_grad=True) for name, value in raw.items()
    }


def _first(parameters: dict[str, torch.Tensor], count: int, growth: float) -> dict[str, torch.Tensor]:
    first = {name: parameter[:count] for name, parameter in parameters.items()}
    if growth != 1.0:
        first["log_scales"] = first["log_scales"] + math.log(growth)
    return first


def _activated(parameters: dict[str, torch.Tensor], origin: Origin, degree: int = 3) -> Gaussians:
    """The Gaussians of the parameters, with spherical harmonics up to a degree."""
    sh = rgb_to_dc(parameters["rgb"])[:, None]
    if "sh_rest" in parameters and degree > 0:
        sh = torch.cat([sh, parameters["sh_rest"][:, : (degree + 1) ** 2 - 1]], dim=1)
    return Gaussians(
        means=parameters["means"],
        quats=parameters["quats"],
        scales=parameters["log_scales"].exp(),
        opacities=parameters["logits"].sigmoid(),
        sh=sh,
        origin=origin,
    )
