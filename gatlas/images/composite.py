"""Pictures with alpha: over a background, straight from premultiplied, cut out by a mask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float, Float32

    Array = Any  # a numpy array or a torch tensor


def composite(image: Float[Array, "*n d"], background: Float[Array, "*#n 3"] | float) -> Float[Array, "*n 3"]:
    """Return straight RGBA over a background, blended in sRGB as Gaussians are; RGB as it is."""
    if image.shape[-1] == 3:
        return image
    return over(image[..., :3] * image[..., 3:], image[..., 3:], background)


def over(
    colors: Float[Array, "*n 3"], alphas: Float[Array, "*n 1"], background: Float[Array, "*#n 3"] | float
) -> Float[Array, "*n 3"]:
    """Return colors that are weighed by alpha, as those of a rendering, over a background."""
    return colors + background * (1 - alphas)


def straight_alpha(colors: Float[np.ndarray, "*n 3"], alphas: Float[np.ndarray, "*n 1"]) -> Float[np.ndarray, "*n 4"]:
    """Return straight RGBA of colors that are weighed by alpha; black where alpha is 0."""
    import numpy as np

    straight = np.divide(colors, alphas, out=np.zeros_like(colors), where=alphas > 0)
    return np.concatenate([straight, alphas], axis=-1)


def masked(image: Float[np.ndarray, "h w d"], mask: Float[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w 4"]:
    """Return RGB or straight RGBA with its alpha times the mask."""
    import numpy as np

    alpha = np.asarray(mask, dtype=np.float32)[..., None]
    if image.shape[-1] == 4:
        alpha = alpha * np.asarray(image[..., 3:], dtype=np.float32)
    return np.concatenate([np.asarray(image[..., :3], dtype=np.float32), alpha], axis=-1)


def coverage(image: Float[np.ndarray, "h w d"]) -> Float[np.ndarray, "h w"]:
    """Return the mask that an image, RGB or straight RGBA, is: how white it is; black where it is transparent."""
    white = image[..., :3].mean(axis=-1)
    return white * image[..., 3] if image.shape[-1] == 4 else white
