"""The rendered loss of one object after another: the slow twin of `gatlas.systems.gaussian_atlas.rendered_loss`."""

from typing import NamedTuple

import numpy as np
import torch

from gatlas.geometry.cameras import random_views
from gatlas.images.composite import composite
from gatlas.raster import rasterize

WHITE = torch.ones(3)


class ObjectReference(NamedTuple):
    """Reference pictures of an object."""

    colors: torch.Tensor
    alphas: torch.Tensor
    cameras: object


def from_gaussians(gaussians, count, side, seed):
    """Renders of Gaussians in the unit ball from random cameras."""
    cameras = random_views(count, side, side, np.random.default_rng(seed))
    with torch.no_grad():
        rendering = rasterize(gaussians, cameras, background=WHITE.to(gaussians.means.device))
    return ObjectReference(rendering.colors, rendering.alphas, cameras)


def from_views(views):
    """The object's own pictures (RGBA)."""
    images = torch.from_numpy(views.images)
    return ObjectReference(composite(images, 1.0), images[..., 3:], views.cameras)


def compare(gaussians, reference, lpips=None):
    """Mean absolute differences of colors and alphas, and the mean LPIPS."""
    rendering = rasterize(gaussians, reference.cameras, background=WHITE.to(gaussians.means.device))
    colors, alphas = (picture.to(rendering.colors.device) for picture in reference[:2])
    terms = {"rgb": (rendering.colors - colors).abs().mean(), "mask": (rendering.alphas - alphas).abs().mean()}
    if lpips is not None:
        terms["lpips"] = lpips(rendering.colors.clamp(0.0, 1.0), colors).mean()
    return terms


def one_by_one(gaussians, references, weights, lpips=None):
    """The terms of a batch: those of each object times its weight, averaged over the batch."""
    totals = {}
    for each, reference, weight in zip(gaussians, references, weights.tolist(), strict=True):
        for name, term in compare(each, reference, lpips).items():
            totals[name] = totals.get(name, 0.0) + weight * term / len(weights)
    return totals
