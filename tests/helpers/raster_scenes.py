"""Small seeded scenes on which the rasterisers must agree."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gatlas.geometry.cameras import look_at, orbit
from gatlas.geometry.sh import rgb_to_dc
from gatlas.types import Cameras, Gaussians

NEAR_PLANE = 0.01  # the default
FIELDS = ("means", "quats", "scales", "opacities", "sh")


def gaussians(count: int, seed: int, *, spread: float = 0.5, size: float = 0.05, degree: int = 0) -> Gaussians:
    """A cloud: every field drawn at random, quaternions not normalised."""
    rng = np.random.default_rng(seed)
    fields = {
        "means": rng.normal(0, spread, (count, 3)),
        "quats": rng.normal(size=(count, 4)),
        "scales": size * np.exp(rng.normal(0, 0.5, (count, 3))),
        "opacities": rng.uniform(0.1, 0.95, count),
        "sh": rng.normal(0, 0.3, (count, (degree + 1) ** 2, 3)),
    }
    fields["sh"][:, 0] = rgb_to_dc(rng.uniform(0, 1, (count, 3)))
    return Gaussians(**{name: array.astype(np.float32) for name, array in fields.items()})


def torus(count: int = 2000, seed: int = 0) -> Gaussians:
    """Gaussians on a torus of radii 0.68 and 0.30 that cover it."""
    rng = np.random.default_rng(seed)
    around, across = rng.uniform(0, 2 * np.pi, (2, count))
    ring = 0.68 + 0.30 * np.cos(across)
    means = np.stack([ring * np.cos(around), 0.30 * np.sin(across), ring * np.sin(around)], axis=-1)
    cloud = gaussians(count, seed + 1, size=0.04)
    return replace(cloud, means=means.astype(np.float32))


def camera(eye: tuple[float, float, float], width: int, height: int, focal: float) -> Cameras:
    """One camera at `eye` that looks at the origin; its principal point is off the centre."""
    K = np.array([[focal, 0, 0.5 * width + 1.3], [0, 1.1 * focal, 0.5 * height - 0.7], [0, 0, 1]])
    return Cameras(
        look_at(np.array([eye], dtype=np.float64)).astype(np.float32), K[None].astype(np.float32), width, height
    )


def scenes() -> dict[str, tuple[Gaussians, Cameras]]:
    one = gaussians(1, 3, spread=0.1, size=0.1)
    needles = gaussians(120, 4)
    needles.scales[:] = np.float32(0.3) * np.array([1.0, 1e-4, 1e-4], dtype=np.float32)
    short_needles = gaussians(120, 4)
    short_needles.scales[:] = np.float32(0.1) * np.array([1.0, 0.1, 0.1], dtype=np.float32)
    saturated = gaussians(60, 5, size=0.15)
    saturated.opacities[:] = 1.0
    near = gaussians(40, 15, spread=0.2, size=0.02)
    near.means[:, 2] = 3.0 - NEAR_PLANE * np.repeat([-2.0, 0.0, 0.999, 1.0, 1.001, 1.5, 4.0, 40.0], 5)
    near.means[:, :2] *= 0.02 + (3.0 - near.means[:, 2:])
    faint = gaussians(50, 6)
    faint.opacities[::2] = 0.0039  # just below 1/255
    return {
        "torus": (torus(), camera((0.8, 1.2, 2.6), 64, 64, 75.0)),
        "close-up with clamped Jacobians": (gaussians(150, 7, size=0.2), camera((0.2, 0.1, 0.9), 64, 64, 30.0)),
        "ragged picture": (gaussians(500, 8), camera((1.0, -0.5, 2.0), 50, 37, 45.0)),
        "all culled": (gaussians(20, 9, spread=0.1), replace_view(camera((0, 0, 3), 20, 20, 30.0), shift=-9.0)),
        "one": (one, camera((0.0, 0.5, 2.0), 33, 31, 40.0)),
        "saturated": (saturated, camera((0.0, 0.5, 2.5), 48, 48, 50.0)),
        "needles": (needles, camera((0.5, 0.5, 2.5), 64, 64, 75.0)),
        "short needles": (short_needles, camera((0.5, 0.5, 2.5), 64, 64, 75.0)),
        "behind, on and beyond the near plane": (near, camera((0.0, 0.0, 3.0), 48, 40, 40.0)),
        "around the camera": (gaussians(400, 10, spread=1.0), camera((0.3, 0.2, 0.5), 48, 40, 40.0)),
        "half of them too faint": (faint, camera((0.3, 0.2, 2.5), 40, 40, 40.0)),
        "two cameras": (gaussians(200, 11), orbit(2, 40, 48, distance=2.5)),
        "degree 1": (gaussians(60, 13, degree=1), orbit(1, 40, 40, distance=2.0, azimuth=70)),
        "degree 2": (gaussians(60, 14, degree=2), orbit(1, 40, 40, distance=2.0, azimuth=110)),
        "degree 3": (gaussians(200, 12, degree=3), orbit(2, 48, 40, distance=2.0, azimuth=30)),
        "one pixel": (gaussians(30, 13, size=0.3), camera((0.3, 0.2, 2.5), 1, 1, 2.0)),
        "none": (gaussians(0, 14), camera((0.3, 0.2, 2.5), 20, 10, 20.0)),
    }


def replace_view(cameras: Cameras, shift: float) -> Cameras:
    """The cameras moved along their own axes, so that the origin's depth grows by `shift`."""
    viewmats = cameras.viewmats.copy()
    viewmats[:, 2, 3] += np.float32(shift)
    return replace(cameras, viewmats=viewmats)


def nudged(scene: Gaussians, seed: int) -> Gaussians:
    """The Gaussians with their places and shapes one float up or down: another rounding of the same scene."""
    rng = np.random.default_rng(seed)
    fields = {name: getattr(scene, name) for name in ("means", "quats", "scales")}
    aims = {name: np.where(rng.random(array.shape) < 0.5, -np.inf, np.inf) for name, array in fields.items()}
    return replace(scene, **{name: np.nextafter(fields[name], aims[name].astype(np.float32)) for name in fields})


SCENES = scenes()
# gsplat computes determinants of 2D covariances in float32, and those of needles 10,000 times as long as wide cancel:
# one float up or down in the input changes the pictures more than the tolerance, so that no two roundings agree.
ILL_CONDITIONED_FOR_GSPLAT = {"needles"}
