"""The kernels of `gatlas.meshes.baking` once more, pixel by pixel and in plain numpy."""

import numpy as np

from gatlas.meshes.baking import DOUBTFUL, LEAST_ALPHA, LEVELS, SOUND_ALPHA, STEPS, Samples


def samples_of_picture(pictures, depths, hit_faces, hit_places, hit_depths, normals, rays, tolerance):
    height, width = depths.shape
    alphas = pictures[..., 3] / LEVELS
    there = (hit_faces >= 0) & (alphas >= LEAST_ALPHA)
    padded = np.pad(hit_depths, 1, mode="edge")
    around = np.stack([padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]])
    with np.errstate(invalid="ignore"):
        smooth = (np.abs(around - hit_depths) <= tolerance).all(axis=0)
        sound = (alphas >= SOUND_ALPHA) & (np.abs(depths - hit_depths) <= tolerance) & smooth
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    directions = np.stack([x, y, np.ones_like(x)], axis=-1) @ rays.T
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    squares = (directions * normals[np.maximum(hit_faces, 0)]).sum(axis=-1) ** 2
    weights = np.maximum(squares, 1e-6) * np.where(sound, 1.0, DOUBTFUL)
    return Samples(hit_faces[there], hit_places[there] * STEPS, pictures[there][:, :3], weights[there])


def taps_of(unknowns, faces, places):
    """Unknowns [n k] of each sample and their shares."""
    b = places / STEPS
    b = np.concatenate([b, np.maximum(1 - b[:, :1] - b[:, 1:], 0)], axis=1)
    if unknowns.width == 0:
        return unknowns.faces[faces], b
    at = np.einsum("nk,nkd->nd", b, unknowns.corners[faces].reshape(-1, 3, 2).astype(np.float64)) - 0.5
    low = np.floor(at).astype(int)
    taps, shares = [], []
    for dy in (0, 1):
        for dx in (0, 1):
            column = np.clip(low[:, 0] + dx, 0, unknowns.width - 1)
            row = np.clip(low[:, 1] + dy, 0, unknowns.height - 1)
            taps.append(row * unknowns.width + column)
            shares.append(np.prod(1 - np.abs(at - low - [dx, dy]), axis=1))
    return np.stack(taps, axis=1), np.stack(shares, axis=1)


def residuals(samples, unknowns, values):
    """The sums [t 4] that `add_residuals` adds."""
    taps, shares = taps_of(unknowns, samples.faces, samples.places)
    differences = samples.colors / LEVELS - np.einsum("nk,nkc->nc", shares, values[taps])
    sums = np.zeros((len(values), 4))
    weights = shares * samples.weights[:, None]
    np.add.at(sums[:, 3], taps, weights)
    for channel in range(3):
        np.add.at(sums[:, channel], taps, weights * differences[:, None, channel])
    return sums
