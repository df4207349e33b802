"""Levenberg-Marquardt on color residuals of blurred pictures, over the pose and the focal length of a camera.

The Jacobian is taken by finite differences of renders, or from the picture's gradient and the flow of each pixel, at
its rendered depth, under a motion of the camera (Malis 2004: the mean of both pictures' gradients converges faster).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gatlas.pose.compare import (
    IDENTITY_EXPOSURE,
    Camera,
    Comparison,
    Exposure,
    SingleRender,
    Target,
    blur,
    fit_exposure,
    predict_photo,
    render_at,
    render_comparison,
)
from gatlas.pose.motion import Pivot

if TYPE_CHECKING:
    from typing import Literal

    from jaxtyping import Float, Float32

    from gatlas.types import Gaussians

HUBER = 0.1  # color difference from which a residual counts linearly
DIFFERENCE_STEP = 0.002  # of finite differences, in the pivot's units
FIRST_DAMPING, MIN_DAMPING, MAX_DAMPING = 1e-3, 1e-7, 1e4  # relative to the diagonal
CONVERGED_STEP = 1e-5  # pivot's units
MIN_PIXELS_LEFT = 0.5  # share of the compared pixels that a step must leave covered
DAMPING_TRIES = 4  # larger dampings before the iterations end


class PyramidLevel(NamedTuple):
    """Settings of one level of the image pyramid."""

    side: int  # pixels of the longer side
    iterations: int
    blur: float = 1.0  # pixels
    jacobian: Literal["gradient", "finite"] = "gradient"


class NormalEquations(NamedTuple):
    """A linearized comparison: the step that solves H step = g lowers the cost."""

    H: Float[np.ndarray, "k k"]
    g: Float[np.ndarray, " k"]
    cost: float
    weights: Float32[np.ndarray, "h w"]
    exposure: Exposure


class LevenbergResult(NamedTuple):
    """The last camera of the iterations."""

    comparison: Comparison
    exposure: Exposure
    steps: int


def levenberg_marquardt(
    gaussians: Gaussians,
    target: Target,
    camera: Camera,
    pivot: Pivot,
    level: PyramidLevel,
    *,
    focal: bool = False,
    exposure: Exposure | None = IDENTITY_EXPOSURE,
    cached: Iterable[Comparison] = (),
) -> LevenbergResult | None:
    """Return the camera after at most `level.iterations` steps, each lowering the cost; None where nothing is in view.

    `exposure` is refitted before every step; None leaves the colors unchanged. `cached` is as in `render_comparison`.
    """
    comparison = render_comparison(gaussians, camera, target, cached)
    smooth = blur(target.picture, level.blur)
    damping = FIRST_DAMPING
    current = exposure or IDENTITY_EXPOSURE
    for step_count in range(level.iterations):
        normal = linearize(gaussians, comparison, smooth, pivot, level, focal, current, exposure is not None)
        if normal is None or not np.isfinite(normal.g).all():
            return None
        current = normal.exposure
        for _ in range(DAMPING_TRIES):
            step = damped_step(normal, damping)
            cost, tried = evaluate_step(gaussians, target, smooth, comparison.camera.moved(pivot, step), level, normal)
            if tried is not None and cost < normal.cost:
                break
            damping = min(damping * 10, MAX_DAMPING)
        else:
            return LevenbergResult(comparison, current, step_count)
        comparison, damping = tried, max(damping / 10, MIN_DAMPING)
        if np.abs(step).max() < CONVERGED_STEP:
            break
    return LevenbergResult(comparison, current, level.iterations)


def damped_step(normal: NormalEquations, damping: float) -> Float[np.ndarray, " k"]:
    """Return the step of the damped normal equations (Marquardt's scaling by the diagonal)."""
    diagonal = np.diag(normal.H)
    floor = 1e-9 * max(float(diagonal.max()), 1e-30)
    return np.linalg.solve(normal.H + np.diag(damping * diagonal + floor), normal.g)


def linearize(
    gaussians: Gaussians,
    comparison: Comparison,
    smooth: Float32[np.ndarray, "h w 3"],
    pivot: Pivot,
    level: PyramidLevel,
    focal: bool,
    exposure: Exposure,
    refit: bool,
) -> NormalEquations | None:
    """Return the normal equations at a camera; None where nothing is in view.

    `smooth` is the target's picture after the level's blur.
    """
    camera, target = comparison.camera, comparison.target
    render, weights = comparison.render, comparison.weights
    if weights is None:
        return None
    if refit:
        exposure = fit_exposure(target, render, weights, HUBER, exposure)
    image = blur(predict_photo(target, render, exposure), level.blur)
    residual = smooth - image
    cost, robust = _huber(residual, weights, _pixel_count(target, render, weights))
    if level.jacobian == "finite":
        jacobian = finite_jacobian(gaussians, target, camera, pivot, level, focal, exposure, image)
        weighted = jacobian * robust
        H = np.einsum("ihwc,jhwc->ij", jacobian, weighted, optimize=True)
        g = np.einsum("ihwc,hwc->i", weighted, residual, optimize=True)
    else:
        H, g = _flow_normal(target, camera, pivot, focal, render, (image, smooth), residual, robust)
    return NormalEquations(H.astype(np.float64), g.astype(np.float64), cost, weights, exposure)


def evaluate_step(
    gaussians: Gaussians,
    target: Target,
    smooth: Float32[np.ndarray, "h w 3"],
    camera: Camera,
    level: PyramidLevel,
    normal: NormalEquations,
) -> tuple[float, Comparison | None]:
    """Return the cost at another camera, with the weights and exposure of the linearization, and its comparison.

    The cost is infinite where it is not finite; the comparison is None where the camera is not finite.
    """
    if not (np.isfinite(camera.viewmat).all() and np.isfinite(camera.K).all()):
        return float("inf"), None
    comparison = render_comparison(gaussians, camera, target)
    count = _pixel_count(target, comparison.render, normal.weights)
    if count < MIN_PIXELS_LEFT * normal.weights.sum():
        return float("inf"), comparison
    image = blur(predict_photo(target, comparison.render, normal.exposure), level.blur)
    cost = _huber(smooth - image, normal.weights, count)[0]
    return (cost if np.isfinite(cost) else float("inf")), comparison


def _pixel_count(target: Target, render: SingleRender, weights: Float32[np.ndarray, "h w"]) -> float:
    """Return the number of pixels that divides a cost: with an unknown background, those still covered by Gaussians.

    Otherwise a camera could lower its cost by uncovering the pixels that are compared.
    """
    covered = weights if target.background is not None else weights * render.alphas[..., 0]
    return float(covered.sum())


def finite_jacobian(
    gaussians: Gaussians,
    target: Target,
    camera: Camera,
    pivot: Pivot,
    level: PyramidLevel,
    focal: bool,
    exposure: Exposure,
    image: Float32[np.ndarray, "h w 3"],
) -> Float32[np.ndarray, "k h w 3"]:
    """Return the derivatives of the blurred prediction `image` by each variable, from one further render each."""
    columns = []
    for i in range(7 if focal else 6):
        moved = camera.moved(pivot, DIFFERENCE_STEP * np.eye(7 if focal else 6)[i])
        render = render_at(gaussians, moved, target)
        columns.append((blur(predict_photo(target, render, exposure), level.blur) - image) / DIFFERENCE_STEP)
    return np.stack(columns)


def pixel_flow(
    target: Target, camera: Camera, pivot: Pivot, focal: bool, render: SingleRender
) -> Float32[np.ndarray, "k 2 h w"]:
    """Return the motion of each pixel's content to the right and down, in pixels per unit of each variable.

    Pixels at the rim have the mean depth around them, empty pixels the pivot's depth.
    """
    height, width = target.picture.shape[:2]
    K = target.stretch * camera.K
    fx, fy = K[0, 0], K[1, 1]
    nearby = blur(np.concatenate([render.depths * render.alphas, render.alphas], axis=-1), 2.0)
    center = camera.viewmat[:3, :3] @ pivot.point + camera.viewmat[:3, 3]
    tiny = 1e-3
    z = (nearby[..., 0] + tiny * center[2]) / (nearby[..., 1] + tiny)
    x = (np.arange(width) + 0.5 - K[0, 2]) / fx  # per unit of depth
    y = ((np.arange(height) + 0.5 - K[1, 2]) / fy)[:, None]
    ax, ay, az = x * z - center[0], y * z - center[1], z - center[2]  # arms from the pivot
    # A point that moves by (dx, dy, dz) moves by fx (dx - x dz) / z to the right and fy (dy - y dz) / z down; a
    # rotation w moves it by w x arm. Most terms are zero: computing them as well took three times as long.
    sideways: tuple[Float[np.ndarray, "h w"] | float, ...] = (1.0, 0.0, -x, -x * ay, az + x * ax, -ay)
    downwards: tuple[Float[np.ndarray, "h w"] | float, ...] = (0.0, 1.0, -y, -az - y * ay, y * ax, ax)
    moves = np.zeros((7 if focal else 6, 2, height, width), dtype=np.float32)
    for i, unit in enumerate(pivot.units):
        for axis, (focal_length, part) in enumerate(((fx, sideways[i]), (fy, downwards[i]))):
            if np.any(part):
                moves[i, axis] = focal_length * part / z * unit
    if focal:
        moves[6, 0], moves[6, 1] = fx * x, fy * y
    return moves


def picture_gradient(picture: Float32[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "2 h w 3"]:
    """Return central differences to the right and down, per pixel."""
    down, right = np.gradient(picture, axis=(0, 1))
    return np.stack([right, down])


def _flow_normal(
    target: Target,
    camera: Camera,
    pivot: Pivot,
    focal: bool,
    render: SingleRender,
    pictures: tuple[Float32[np.ndarray, "h w 3"], Float32[np.ndarray, "h w 3"]],
    residual: Float32[np.ndarray, "h w 3"],
    robust: Float32[np.ndarray, "h w 3"],
) -> tuple[Float[np.ndarray, "k k"], Float[np.ndarray, " k"]]:
    """Return H and g without computing the Jacobian: its color channels share one flow."""
    gradient = picture_gradient(0.5 * (pictures[0] + pictures[1]))
    weighted = gradient * robust
    tensor = np.einsum("ahwc,bhwc->abhw", gradient, weighted)
    force = -np.einsum(
        "ahwc,hwc->ahw", weighted, residual
    )  # the picture at a pixel falls as its gradient moves over it
    moves = pixel_flow(target, camera, pivot, focal, render)
    k = len(moves)
    pulled = np.einsum("abhw,kbhw->kahw", tensor, moves)
    return moves.reshape(k, -1) @ pulled.reshape(k, -1).T, moves.reshape(k, -1) @ force.ravel()


def _huber(
    residual: Float32[np.ndarray, "h w 3"], weights: Float32[np.ndarray, "h w"], count: float
) -> tuple[float, Float32[np.ndarray, "h w 3"]]:
    """Return the Huber cost per channel of `count` pixels, and each residual's weight in the normal equations."""
    size = np.abs(residual)
    far = size > HUBER
    each = np.where(far, HUBER * (2 * size - HUBER), size * size)
    total = float(np.einsum("hw,hwc->", weights, each, dtype=np.float64))
    robust = np.where(far, HUBER / np.maximum(size, HUBER), 1.0) * weights[..., None]
    return total / max(3 * count, 1.0), robust.astype(np.float32)
