"""A rectangle of a picture, at another size; outside the picture there is nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gatlas.images.composite import straight_alpha

if TYPE_CHECKING:
    from jaxtyping import Float, Float32


def window(
    picture: Float[np.ndarray, "h w d"], box: tuple[float, float, float, float], width: int, height: int
) -> Float32[np.ndarray, "height width 4"]:
    """Return what a picture shows inside a box, straight RGBA of `width` x `height` pixels.

    `box` is left, top, right and bottom in pixels of the picture, which it may exceed: that part is transparent. Each
    pixel is the mean of the area that it covers, colors weighed by alpha; where the picture is enlarged it is
    interpolated between the centers of its pixels.
    """
    left, top, right, bottom = box
    if not (right > left and bottom > top):
        raise ValueError(f"box must have right > left and bottom > top, got {box}")
    rows = _weights(picture.shape[0], top, bottom, height)
    columns = _weights(picture.shape[1], left, right, width)
    colors = np.asarray(picture, dtype=np.float64)
    alpha = colors[..., 3:] if picture.shape[-1] == 4 else np.ones_like(colors[..., :1])
    weighed = np.concatenate([colors[..., :3] * alpha, alpha], axis=-1)
    mean = np.stack([rows @ weighed[..., i] @ columns.T for i in range(4)], axis=-1)
    return np.clip(straight_alpha(mean[..., :3], mean[..., 3:]), 0.0, 1.0).astype(np.float32)


def _weights(count: int, start: float, stop: float, after: int) -> Float[np.ndarray, "after count"]:
    """Return the share of each of `count` old pixels in each new one; a row sums to 1 inside the picture."""
    step = (stop - start) / after
    index = np.arange(count)
    edges = start + step * np.arange(after)[:, None]
    if step >= 1:
        overlap = np.minimum(edges + step, index + 1) - np.maximum(edges, index)
        return np.maximum(overlap, 0.0) / step
    weights = np.maximum(1 - np.abs(edges + step / 2 - (index + 0.5)), 0.0)
    centers = edges + step / 2
    weights[:, 0] += np.where((centers >= 0) & (centers < 0.5), 0.5 - centers, 0.0)[:, 0]  # the edge itself has no
    weights[:, -1] += np.where((centers > count - 0.5) & (centers <= count), centers - count + 0.5, 0.0)[:, 0]  # inside
    return weights
