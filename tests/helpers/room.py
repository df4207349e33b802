"""A scene with a background: textured boxes and balls in a room with patterned walls, photographed from within."""

import numpy as np
from scipy.ndimage import gaussian_filter

from gatlas.geometry.cameras import intrinsics, look_at
from gatlas.meshes.render import render_mesh
from gatlas.types import Cameras, Material, Mesh, Texture, Views

HALF = np.array([3.0, 1.6, 3.0])  # of the room


def pattern(rng, side=256):
    """A picture with structure of all sizes around a color of its own."""
    noise = sum(
        gaussian_filter(rng.normal(size=(side, side, 3)), (sigma, sigma, 0), mode="wrap") * sigma
        for sigma in (2, 5, 14)
    )
    pixels = np.clip(rng.uniform(0.25, 0.75, 3) + 0.16 * noise, 0, 1)
    rgba = np.concatenate([pixels, np.ones((side, side, 1))], axis=2)
    return Texture(np.round(rgba * 255).astype(np.uint8))


def grid(point, count):
    """A square of the unit (u, v) plane, its corners moved by `point`: vertices, uvs and faces."""
    v, u = np.divmod(np.arange((count + 1) ** 2), count + 1)
    uvs = np.stack([u, v], axis=1) / count
    first = (np.arange(count)[:, None] * (count + 1) + np.arange(count)).ravel()
    faces = np.stack([first, first + 1, first + count + 2, first, first + count + 2, first + count + 1], axis=1)
    return point(uvs), uvs, faces.reshape(-1, 3)


def box(center, half):
    for axis in range(3):
        for side in (-1, 1):

            def point(uvs, axis=axis, side=side):
                corners = np.insert(2 * uvs - 1, axis, side, axis=1)
                return center + half * corners

            yield grid(point, 1)


def ball(center, radius):
    def point(uvs):
        longitude, latitude = 2 * np.pi * uvs[:, 0], np.pi * uvs[:, 1]
        ring = np.sin(latitude)
        return center + radius * np.stack(
            [ring * np.cos(longitude), np.cos(latitude), ring * np.sin(longitude)], axis=1
        )

    yield grid(point, 24)


def joined(parts, rng):
    """One mesh of corners, texture coordinates and triangles, each part with a random texture of its own."""
    vertices, uvs, faces, start = [], [], [], 0
    for corners, places, triangles in parts:
        vertices.append(corners)
        uvs.append(places)
        faces.append(triangles + start)
        start += len(corners)
    owner = np.repeat(np.arange(len(parts)), [len(each) for each in faces]).astype(np.int32)
    return Mesh(
        np.concatenate(vertices).astype(np.float32),
        np.concatenate(faces).astype(np.int32),
        owner,
        np.concatenate(uvs).astype(np.float32),
        np.ones((start, 4), dtype=np.float32),
        tuple(Material(texture=number) for number in range(len(parts))),
        tuple(pattern(rng) for _ in parts),
    )


def room(seed=0, closed=True):
    """The mesh of the room; one that is not closed has a floor and two walls, x and z are least there."""
    rng = np.random.default_rng(seed)
    walls = list(box(np.zeros(3), HALF))  # -x, x, -y, y, -z, z
    squares = walls if closed else walls[::2]
    squares += box(np.array([0.0, -1.1, 0.0]), np.array([0.6, 0.5, 0.4]))
    squares += box(np.array([1.3, -1.2, -1.1]), np.array([0.3, 0.4, 0.3]))
    squares += ball(np.array([0.1, -0.3, 0.1]), 0.32)
    squares += ball(np.array([-1.2, -1.2, 0.8]), 0.4)
    return joined(squares, rng)


def photograph(count, width, height, seed=0, closed=True):
    """`count` opaque photos around the middle of the room: on two thirds of a circle, or before its open sides."""
    rng = np.random.default_rng(seed)
    angle = np.radians(np.linspace(0, 240 if closed else 90, count) + rng.uniform(-3, 3, count))
    distance, up = rng.uniform(1.9, 2.4, count), rng.uniform(-0.5, 0.9, count)
    eyes = np.stack([distance * np.sin(angle), up, distance * np.cos(angle)], axis=1)
    targets = np.array([0.0, -0.7, 0.0]) + rng.normal(scale=0.12, size=(count, 3))
    viewmats = np.stack([look_at(eye[None], target)[0] for eye, target in zip(eyes, targets, strict=True)])
    K = intrinsics(width, height, fov=58.0)
    cameras = Cameras(viewmats.astype(np.float32), np.tile(K, (count, 1, 1)).astype(np.float32), width, height)
    views = render_mesh(room(seed, closed), cameras, supersample=3, shading="unlit")
    return Views(views.images[..., :3], cameras)
