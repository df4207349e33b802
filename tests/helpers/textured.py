"""An object that a photo can be found of: a patchwork ellipsoid of five thousand Gaussians."""

import numpy as np

from gatlas.geometry.cameras import intrinsics, look_at
from gatlas.geometry.rotations import quats_from_normals
from gatlas.geometry.sh import rgb_to_dc
from gatlas.raster import rasterize, straight_rgba
from gatlas.types import Cameras, Gaussians, Origin

SIDE = 160
AXES = np.array([0.9, 0.6, 0.45])
K = intrinsics(SIDE, SIDE)


def ellipsoid(seed=0, count=5000, plain=False, repeated=False):
    """Discs that cover an ellipsoid with patches of random colors; `plain` has none that SIFT finds.

    `repeated` looks the same after half a turn about y.
    """
    rng = np.random.default_rng(seed)
    index = np.arange(count) + 0.5
    y = 1 - 2 * index / count
    angle = index * np.pi * (3 - np.sqrt(5))
    ball = np.stack([np.sqrt(1 - y * y) * np.sin(angle), y, np.sqrt(1 - y * y) * np.cos(angle)], axis=1)
    seeds = rng.normal(size=(700, 3))
    if repeated:
        ball = ball[ball[:, 0] > 0]
        count = 2 * len(ball)
    patch = np.argmax(ball @ (seeds / np.linalg.norm(seeds, axis=1, keepdims=True)).T, axis=1)
    colors = 0.35 + 0.3 * ball if plain else rng.random((700, 3))[patch]
    if repeated:
        ball, colors = np.concatenate([ball, ball * (-1, 1, -1)]), np.tile(colors, (2, 1))
    normals = ball / AXES
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return Gaussians(
        (ball * AXES).astype(np.float32),
        quats_from_normals(normals.astype(np.float32)),
        np.tile(np.float32([0.029, 0.029, 0.003]), (count, 1)),
        np.full(count, 0.99, dtype=np.float32),
        rgb_to_dc(colors)[:, None].astype(np.float32),
        Origin(normalized=True),
    )


def camera(azimuth, elevation, distance=2.6, roll=0.0):
    a, e, r = np.radians([azimuth, elevation, roll])
    eye = distance * np.array([np.cos(e) * np.sin(a), np.sin(e), np.cos(e) * np.cos(a)])
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(r), -np.sin(r)], [np.sin(r), np.cos(r)]]
    return turn @ look_at(eye[None])[0]


def photo(gaussians, viewmat):
    """Straight RGBA [h w 4]."""
    return straight_rgba(rasterize(gaussians, Cameras(viewmat[None], K[None], SIDE, SIDE)))[0]


def correspondences(viewmat, wrong, seed=0):
    """Sixty points near the object's middle and where a camera sees them; the first `wrong` are seen anywhere."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(-0.5, 0.5, (60, 3))
    seen = (points @ viewmat[:3, :3].T + viewmat[:3, 3]) @ K.T
    pixels = seen[:, :2] / seen[:, 2:]
    pixels[:wrong] = rng.uniform(0, SIDE, (wrong, 2))
    return points, pixels
