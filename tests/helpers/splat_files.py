"""Splat PLYs for the tests: ours, and foreign ones as another program, plyfile, writes them."""

import io as stdio

import numpy as np
from plyfile import PlyData, PlyElement

from gatlas import io
from gatlas.io.splats.ply import encode_ply
from gatlas.types import Gaussians, Origin

NAMES = ["x", "y", "z", "f_dc_0", "f_dc_1", "f_dc_2", "opacity", "scale_0", "scale_1", "scale_2"]
NAMES += ["rot_0", "rot_1", "rot_2", "rot_3"]


def gaussians_of(n=5, degree=0, seed=0, origin=None):
    rng = np.random.default_rng(seed)
    quats = rng.normal(size=(n, 4))
    quats[quats[:, 0] < 0] *= -1
    return Gaussians(
        means=rng.normal(size=(n, 3)).astype(np.float32),
        quats=(quats / np.linalg.norm(quats, axis=1, keepdims=True)).astype(np.float32),
        scales=rng.uniform(0.01, 0.5, size=(n, 3)).astype(np.float32),
        opacities=rng.uniform(0.01, 0.99, size=n).astype(np.float32),
        sh=rng.normal(size=(n, (degree + 1) ** 2, 3)).astype(np.float32),
        origin=origin or Origin(),
    )


def table(n=3, names=NAMES, dtype="f4", **columns):
    """Vertices in a foreign file: zeros, the unit quaternion, and what the test sets."""
    vertices = np.zeros(n, dtype=[(name, dtype) for name in names])
    if "rot_0" in names:
        vertices["rot_0"] = 1
    for name, values in columns.items():
        vertices[name] = values
    return vertices


def foreign(vertices, *, before=(), after=(), text=False, byte_order="<", comments=()):
    """A PLY as another program, plyfile, writes it."""
    elements = [*before, PlyElement.describe(vertices, "vertex"), *after]
    payload = stdio.BytesIO()
    PlyData(elements, text=text, byte_order=byte_order, comments=list(comments)).write(payload)
    return payload.getvalue()


def load(data, name="x.ply"):
    return io.load_gaussians(io.Blob(name, data))


def dump(gaussians, frame="y-down"):
    header, body = encode_ply(gaussians, frame)
    return header + body.tobytes()


def one_gaussian(name=""):
    return Gaussians(
        means=np.zeros((1, 3), np.float32),
        quats=np.float32([[1, 0, 0, 0]]),
        scales=np.ones((1, 3), np.float32),
        opacities=np.float32([0.5]),
        sh=np.zeros((1, 1, 3), np.float32),
        origin=Origin(name),
    )
