"""Surfaces of flat Gaussians."""

import numpy as np

from gatlas.types import Gaussians

RADIUS = 0.7  # of the ball


def discs(means, normals, size, opacity=0.9):
    """Flat Gaussians on a surface."""
    count = len(means)
    z = np.array([0.0, 0.0, 1.0])
    axis = np.cross(np.broadcast_to(z, normals.shape), normals)
    quats = np.concatenate([1 + normals[:, 2:], axis], axis=1)
    quats[np.linalg.norm(quats, axis=1) < 1e-6] = (0, 1, 0, 0)
    quats /= np.linalg.norm(quats, axis=1, keepdims=True)
    scales = np.tile([size, size, size / 10], (count, 1))
    arrays = (means, quats, scales, np.full(count, opacity), np.zeros((count, 1, 3)))
    return Gaussians(*(array.astype(np.float32) for array in arrays))


def ball(count=1500):
    index = np.arange(count)
    y, angle = 1 - (2 * index + 1) / count, index * np.pi * (3 - np.sqrt(5))
    ring = np.sqrt(1 - y * y)
    normals = np.stack([ring * np.sin(angle), y, ring * np.cos(angle)], axis=1)
    return discs(RADIUS * normals, normals, 0.04)


def plate(side=40):
    """A square without thickness."""
    x, y = np.meshgrid(*[np.linspace(-0.6, 0.6, side)] * 2)
    means = np.stack([x.ravel(), y.ravel(), np.zeros(side * side)], axis=1)
    return discs(means, np.tile([0.0, 0.0, 1.0], (len(means), 1)), 0.03)
