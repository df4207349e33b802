"""A small colored object and its photos, for the tests of poses."""

import numpy as np

from gatlas.geometry.cameras import intrinsics, look_at
from gatlas.geometry.rotations import so3_exp, so3_log
from gatlas.geometry.sh import SH_C0
from gatlas.pose import compare
from gatlas.raster import rasterize, straight_rgba
from gatlas.types import Cameras, Gaussians

SIDE = 96
K = intrinsics(SIDE, SIDE)


def lump(count=600, seed=0, degree=0):
    """Flat Gaussians on an uneven ball, with colors that vary smoothly and differ on every side."""
    rng = np.random.default_rng(seed)
    normals = rng.normal(size=(count, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    means = normals * [0.8, 0.55, 0.65] * (1 + 0.2 * np.sin(3 * normals[:, :1] + 2 * normals[:, 1:2]))
    waves = rng.normal(size=(3, 3)) * 2.5
    colors = 0.5 + 0.4 * np.sin(normals @ waves + rng.uniform(0, 6, 3))
    sh = np.zeros((count, (degree + 1) ** 2, 3))
    sh[:, 0] = (colors - 0.5) / SH_C0
    sh[:, 1:] = 0.1 * rng.normal(size=(1, (degree + 1) ** 2 - 1, 3))
    quats = rng.normal(size=(count, 4))
    return Gaussians(
        means.astype(np.float32),
        (quats / np.linalg.norm(quats, axis=1, keepdims=True)).astype(np.float32),
        np.full((count, 3), 0.07, dtype=np.float32),
        np.full(count, 0.9, dtype=np.float32),
        sh.astype(np.float32),
    )


def camera_at(azimuth, elevation=20.0, distance=2.6):
    a, e = np.radians([azimuth, elevation])
    eye = distance * np.array([np.cos(e) * np.sin(a), np.sin(e), np.cos(e) * np.cos(a)])
    return look_at(eye[None])[0]


def photo_of(gaussians, viewmat, matrix=K, side=SIDE):
    """Straight RGBA."""
    return straight_rgba(rasterize(gaussians, Cameras(viewmat[None], matrix[None], side, side)))[0]


def perturbed(viewmat, degrees, percent, rng):
    """The object turned about the origin and moved by a share of its distance."""
    turn, shift = rng.normal(size=(2, 3))
    moved = viewmat.copy()
    moved[:3, :3] = viewmat[:3, :3] @ so3_exp(turn / np.linalg.norm(turn) * np.radians(degrees))
    moved[:3, 3] += shift / np.linalg.norm(shift) * np.linalg.norm(viewmat[:3, 3]) * percent / 100
    return moved


def errors(viewmat, truth):
    """Degrees, and percent of the distance."""
    turn = np.degrees(np.linalg.norm(so3_log(viewmat[:3, :3] @ truth[:3, :3].T)))
    eye, true_eye = (-each[:3, :3].T @ each[:3, 3] for each in (viewmat, truth))
    return turn, 100 * np.linalg.norm(eye - true_eye) / np.linalg.norm(true_eye)


class Counted:
    """The pictures that are rendered to be compared, from now on."""

    def __init__(self, monkeypatch):
        self.pictures = []
        render = compare.rasterize

        def rendered(gaussians, cameras, *, eps2d):
            kept = (gaussians.sh.tobytes(), cameras.viewmats.tobytes(), cameras.Ks.tobytes(), cameras.width, eps2d)
            self.pictures.append(kept)
            return render(gaussians, cameras, eps2d=eps2d)

        monkeypatch.setattr(compare, "rasterize", rendered)

    def again(self):
        """How many of them had been rendered before."""
        return len(self.pictures) - len(set(self.pictures))
