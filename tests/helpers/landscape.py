"""A scene with a far background: textured boxes and balls on a ground, and hills around them, far away."""

import numpy as np

from gatlas.geometry.cameras import intrinsics, look_at
from gatlas.meshes.render import render_mesh
from gatlas.types import Cameras, Views
from tests.helpers.room import ball, box, grid, joined

FAR = 60.0  # radius of the sphere that the background is on; the cameras stand within 3 of the middle


def landscape(seed=0, far=FAR):
    rng = np.random.default_rng(seed)
    ground = grid(lambda uvs: np.insert(4 * (2 * uvs - 1), 1, -1.0, axis=1), 1)
    parts = [ground]
    parts += list(box(np.array([0.0, -0.6, 0.0]), np.array([0.5, 0.4, 0.4])))
    parts += ball(np.array([0.1, 0.05, 0.1]), 0.25)
    parts += ball(np.array([-1.2, -0.7, 0.5]), 0.3)
    parts += ball(np.zeros(3), far)
    return joined(parts, rng)


def photograph_landscape(count, width, height, seed=0, far=FAR):
    """`count` opaque photos from two thirds of a circle, that look over the objects to the horizon."""
    rng = np.random.default_rng(seed)
    angle = np.radians(np.linspace(0, 240, count) + rng.uniform(-3, 3, count))
    distance, up = rng.uniform(2.2, 2.8, count), rng.uniform(-0.3, 0.4, count)
    eyes = np.stack([distance * np.sin(angle), up, distance * np.cos(angle)], axis=1)
    targets = np.array([0.0, 0.1, 0.0]) + rng.normal(scale=0.12, size=(count, 3))
    viewmats = np.stack([look_at(eye[None], target)[0] for eye, target in zip(eyes, targets, strict=True)])
    cameras = Cameras(
        viewmats.astype(np.float32),
        np.tile(intrinsics(width, height, fov=58.0), (count, 1, 1)).astype(np.float32),
        width,
        height,
    )
    views = render_mesh(landscape(seed, far), cameras, supersample=3, shading="unlit")
    return Views(views.images[..., :3], cameras)
