"""Views of a textured object from an orbit, and what spoils their consistency."""

from functools import cache

import numpy as np

from gatlas.geometry.cameras import orbit
from gatlas.geometry.rotations import so3_exp
from gatlas.raster import rasterize, straight_rgba
from gatlas.types import Cameras, Views
from tests.helpers.textured import ellipsoid


@cache
def textured_views(count=16, side=64, seed=0, elevation=20.0):
    """Straight RGBA views of an ellipsoid whose patches follow from the seed."""
    cameras = orbit(count, side, side, elevation=elevation)
    gaussians = ellipsoid(seed, count=3000)
    images = np.concatenate([straight_rgba(rasterize(gaussians, camera)) for camera in cameras])
    return Views(images.clip(0, 1).astype(np.float32), cameras)


def over_white(views):
    """The views over white, opaque."""
    images = views.images
    return Views(images[..., :3] * images[..., 3:] + 1 - images[..., 3:], views.cameras)


def one_replaced(views, other, index=5):
    """The views, one of them by that of another object from the same camera."""
    images = views.images.copy()
    images[index] = other.images[index]
    return Views(images, views.cameras)


def turned(views, degrees, seed=0):
    """The views with cameras that are turned about the origin by an angle, each around an axis of its own."""
    rng, viewmats = np.random.default_rng(seed), np.array(views.cameras.viewmats, dtype=np.float64)
    for viewmat in viewmats:
        axis = rng.normal(size=3)
        viewmat[:3, :3] = viewmat[:3, :3] @ so3_exp(axis * np.radians(degrees) / np.linalg.norm(axis))
    return Views(views.images, Cameras(viewmats, views.cameras.Ks, views.cameras.width, views.cameras.height))


def shuffled(views, seed=0):
    """The views in another order than their cameras."""
    return Views(views.images[np.random.default_rng(seed).permutation(len(views))], views.cameras)


def of_many_objects(count=16, side=64):
    """A view of another object from each camera."""
    sets = [textured_views(count, side, seed) for seed in range(4)]
    return Views(np.stack([sets[i % 4].images[i] for i in range(count)]), sets[0].cameras)


def noise_views(count=16, side=64, seed=0):
    """Noise from every camera."""
    images = np.random.default_rng(seed).random((count, side, side, 3), dtype=np.float32)
    return Views(images, orbit(count, side, side, elevation=20.0))


def blank_views(count=16, side=64):
    """White from every camera."""
    return Views(np.ones((count, side, side, 3), dtype=np.float32), orbit(count, side, side, elevation=20.0))
