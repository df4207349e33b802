"""A ball of flat Gaussians, and the mesh that it stands for."""

import numpy as np
import trimesh

from gatlas.geometry.rotations import matrices_to_quats
from gatlas.geometry.sh import rgb_to_dc
from gatlas.types import Gaussians, Material, Mesh, Origin

RADIUS = 0.8


def ball(count=5000, origin=None):
    """Flat Gaussians on a sphere of RADIUS, each in its tangent plane, red where x is positive."""
    index = np.arange(count)
    z, angle = 1 - (2 * index + 1) / count, index * np.pi * (3 - 5**0.5)
    normals = np.stack([np.sqrt(1 - z * z) * np.cos(angle), np.sqrt(1 - z * z) * np.sin(angle), z], axis=1)
    side = np.cross(normals, np.where(np.abs(normals[:, :1]) < 0.9, [[1.0, 0, 0]], [[0, 1.0, 0]]))
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    frames = np.stack([side, np.cross(normals, side), normals], axis=2)
    colors = np.where(normals[:, :1] > 0, [[0.8, 0.2, 0.1]], [[0.1, 0.3, 0.8]])
    return Gaussians(
        (RADIUS * normals).astype(np.float32),
        matrices_to_quats(frames).astype(np.float32),
        np.tile(np.float32([0.03, 0.03, 0.001]), (count, 1)),
        np.full(count, 0.95, np.float32),
        rgb_to_dc(colors[:, None]).astype(np.float32),
        origin or Origin(name="ball", normalized=True),
    )


def sphere_mesh(radius=1.0, center=(0.0, 0.0, 0.0)):
    """A sphere of 5,120 triangles, gray."""
    made = trimesh.creation.icosphere(subdivisions=4)
    count = len(made.vertices)
    return Mesh(
        vertices=made.vertices * radius + np.asarray(center),
        faces=np.asarray(made.faces, dtype=np.int32),
        face_materials=np.zeros(len(made.faces), dtype=np.int32),
        uvs=np.zeros((count, 2), dtype=np.float32),
        colors=np.full((count, 4), [0.2, 0.2, 0.2, 1.0], dtype=np.float32),
        materials=(Material(),),
        origin=Origin(name="sphere"),
    )
