"""Levenberg-Marquardt on colour residuals of blurred pictures: the camera that shows the Gaussians as the photo does.

The Jacobian is by finite differences of renders, or from the picture's gradient and the flow that a motion of the
camera gives each pixel at its rendered depth (Malis 2004: the mean of both pictures' gradients converges faster).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gatlas.pose.compare import (
    AS_IT_IS,
    Camera,
    Exposure,
    Seen,
    Shot,
    Target,
    blurred,
    fit_exposure,
    predict,
    see,
    shoot,
)
from gatlas.pose.motion import Pivot

if TYPE_CHECKING:
    from typing import Literal

    from jaxtyping import Float, Float32

    from gatlas.types import Gaussians

HUBER = 0.1  # colour difference from which a residual counts linearly
STEP = 0.002  # of finite differences, in the pivot's units
DAMPING = (1e-3, 1e-7, 1e4)  # first, least and most, relative to the diagonal
CONVERGED = 1e-5  # pivot's units
LEAST_LEFT = 0.5  # of the pixels that are compared: a step that uncovers more is none
TRIES = 4  # larger dampings before an iteration gives up


class Level(NamedTuple):
    """One size of the pictures."""

    side: int  # pixels of the longer side
    iterations: int
    blur: float = 1.0  # pixels
    jacobian: Literal["gradient", "finite"] = "gradient"


class Normal(NamedTuple):
    """One linearised comparison: H step = g lowers the cost."""

    H: Float[np.ndarray, "k k"]
    g: Float[np.ndarray, " k"]
    cost: float
    weights: Float32[np.ndarray, "h w"]
    exposure: Exposure


class Found(NamedTuple):
    """Where the iterations ended."""

    shot: Shot
    exposure: Exposure
    steps: int


def levenberg(
    gaussians: Gaussians,
    target: Target,
    camera: Camera,
    pivot: Pivot,
    level: Level,
    *,
    focal: bool = False,
    exposure: Exposure | None = AS_IT_IS,
    known: Iterable[Shot] = (),
) -> Found | None:
    """The camera after at most `level.iterations` steps, each of which lowers the cost; None where nothing is in view.

    `exposure` is refitted before every step; None leaves the colours alone. `known` is as in `shoot`.
    """
    shot = shoot(gaussians, camera, target, known)
    smooth = blurred(target.picture, level.blur)
    damping = DAMPING[0]
    current = exposure or AS_IT_IS
    for step_count in range(level.iterations):
        normal = linearize(gaussians, shot, smooth, pivot, level, focal, current, exposure is not None)
        if normal is None or not np.isfinite(normal.g).all():
            return None
        current = normal.exposure
        for _ in range(TRIES):
            step = solve(normal, damping)
            cost, tried = cost_of(gaussians, target, smooth, shot.camera.stepped(pivot, step), level, normal)
            if tried is not None and cost < normal.cost:
                break
            damping = min(damping * 10, DAMPING[2])
        else:
            return Found(shot, current, step_count)
        shot, damping = tried, max(damping / 10, DAMPING[1])
        if np.abs(step).max() < CONVERGED:
            break
    return Found(shot, current, level.iterations)


def solve(normal: Normal, damping: float) -> Float[np.ndarray, " k"]:
    """The damped step (Marquardt's scaling by the diagonal)."""
    diagonal = np.diag(normal.H)
    floor = 1e-9 * max(float(diagonal.max()), 1e-30)
    return np.linalg.solve(normal.H + np.diag(damping * diagonal + floor), normal.g)


def linearize(
    gaussians: Gaussians,
    shot: Shot,
    smooth: Float32[np.ndarray, "h w 3"],
    pivot: Pivot,
    level: Level,
    focal: bool,
    exposure: Exposure,
    refit: bool,
) -> Normal | None:
    """The normal equations at a camera, with the weights of its pixels and its exposure; None where nothing is in view.

    `smooth` is the target's picture under the level's blur.
    """
    camera, target, seen, weights = shot.camera, shot.target, shot.seen, shot.weights
    if weights is None:
        return None
    if refit:
        exposure = fit_exposure(target, seen, weights, HUBER, exposure)
    image = blurred(predict(target, seen, exposure), level.blur)
    residual = smooth - image
    cost, trust = _huber(residual, weights, _counted(target, seen, weights))
    if level.jacobian == "finite":
        jacobian = finite_jacobian(gaussians, target, camera, pivot, level, focal, exposure, image)
        weighed = jacobian * trust
        H = np.einsum("ihwc,jhwc->ij", jacobian, weighed, optimize=True)
        g = np.einsum("ihwc,hwc->i", weighed, residual, optimize=True)
    else:
        H, g = _flow_normal(target, camera, pivot, focal, seen, (image, smooth), residual, trust)
    return Normal(H.astype(np.float64), g.astype(np.float64), cost, weights, exposure)


def cost_of(
    gaussians: Gaussians,
    target: Target,
    smooth: Float32[np.ndarray, "h w 3"],
    camera: Camera,
    level: Level,
    normal: Normal,
) -> tuple[float, Shot | None]:
    """The cost at another camera, with the weights and exposure of the linearisation, and what it shows.

    Infinite where it is no number; nothing is shown where the camera is none.
    """
    if not (np.isfinite(camera.viewmat).all() and np.isfinite(camera.K).all()):
        return float("inf"), None
    shot = shoot(gaussians, camera, target)
    counted = _counted(target, shot.seen, normal.weights)
    if counted < LEAST_LEFT * normal.weights.sum():
        return float("inf"), shot
    image = blurred(predict(target, shot.seen, normal.exposure), level.blur)
    cost = _huber(smooth - image, normal.weights, counted)[0]
    return (cost if np.isfinite(cost) else float("inf")), shot


def _counted(target: Target, seen: Seen, weights: Float32[np.ndarray, "h w"]) -> float:
    """By how many pixels a cost is divided: where the background is not known, those that the Gaussians still cover.

    Else to leave the pixels that are compared would cost nothing.
    """
    covered = weights if target.background is not None else weights * seen.alphas[..., 0]
    return float(covered.sum())


def finite_jacobian(
    gaussians: Gaussians,
    target: Target,
    camera: Camera,
    pivot: Pivot,
    level: Level,
    focal: bool,
    exposure: Exposure,
    image: Float32[np.ndarray, "h w 3"],
) -> Float32[np.ndarray, "k h w 3"]:
    """Derivatives of the blurred prediction `image` to each variable, by one further render each."""
    columns = []
    for i in range(7 if focal else 6):
        moved = camera.stepped(pivot, STEP * np.eye(7 if focal else 6)[i])
        seen = see(gaussians, moved, target)
        columns.append((blurred(predict(target, seen, exposure), level.blur) - image) / STEP)
    return np.stack(columns)


def flow(target: Target, camera: Camera, pivot: Pivot, focal: bool, seen: Seen) -> Float32[np.ndarray, "k 2 h w"]:
    """How far, in pixels, what each pixel shows moves to the right and down for each variable.

    Pixels at the rim take the mean depth around them, those that show nothing the pivot's.
    """
    height, width = target.picture.shape[:2]
    K = target.stretch * camera.K
    fx, fy = K[0, 0], K[1, 1]
    nearby = blurred(np.concatenate([seen.depths * seen.alphas, seen.alphas], axis=-1), 2.0)
    center = camera.viewmat[:3, :3] @ pivot.point + camera.viewmat[:3, 3]
    tiny = 1e-3
    z = (nearby[..., 0] + tiny * center[2]) / (nearby[..., 1] + tiny)
    x = (np.arange(width) + 0.5 - K[0, 2]) / fx  # per unit of depth
    y = ((np.arange(height) + 0.5 - K[1, 2]) / fy)[:, None]
    ax, ay, az = x * z - center[0], y * z - center[1], z - center[2]  # arms from the pivot
    # Of a point that moves by (dx, dy, dz): fx (dx - x dz) / z to the right, fy (dy - y dz) / z down. A turn w moves it
    # by w x arm. Most terms are zero: to work them out as well took three times as long.
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
    """Central differences to the right and down, per pixel."""
    down, right = np.gradient(picture, axis=(0, 1))
    return np.stack([right, down])


def _flow_normal(
    target: Target,
    camera: Camera,
    pivot: Pivot,
    focal: bool,
    seen: Seen,
    pictures: tuple[Float32[np.ndarray, "h w 3"], Float32[np.ndarray, "h w 3"]],
    residual: Float32[np.ndarray, "h w 3"],
    trust: Float32[np.ndarray, "h w 3"],
) -> tuple[Float[np.ndarray, "k k"], Float[np.ndarray, " k"]]:
    """H and g without the Jacobian itself: its colour channels share one flow."""
    gradient = picture_gradient(0.5 * (pictures[0] + pictures[1]))
    weighed = gradient * trust
    tensor = np.einsum("ahwc,bhwc->abhw", gradient, weighed)
    force = -np.einsum("ahwc,hwc->ahw", weighed, residual)  # the picture at a pixel falls as its gradient moves over it
    moves = flow(target, camera, pivot, focal, seen)
    k = len(moves)
    pulled = np.einsum("abhw,kbhw->kahw", tensor, moves)
    return moves.reshape(k, -1) @ pulled.reshape(k, -1).T, moves.reshape(k, -1) @ force.ravel()


def _huber(
    residual: Float32[np.ndarray, "h w 3"], weights: Float32[np.ndarray, "h w"], counted: float
) -> tuple[float, Float32[np.ndarray, "h w 3"]]:
    """Huber cost per channel of `counted` pixels, and each residual's weight in the normal equations."""
    size = np.abs(residual)
    far = size > HUBER
    each = np.where(far, HUBER * (2 * size - HUBER), size * size)
    total = float(np.einsum("hw,hwc->", weights, each, dtype=np.float64))
    trust = np.where(far, HUBER / np.maximum(size, HUBER), 1.0) * weights[..., None]
    return total / max(3 * counted, 1.0), trust.astype(np.float32)
