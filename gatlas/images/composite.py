"""Pictures with alpha: laid over a background, and straight from premultiplied."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float

    Array = Any  # a numpy array or a torch tensor


def composite(rgba: Float[Array, "*n 4"], background: Float[Array, "*#n 3"] | float) -> Float[Array, "*n 3"]:
    """Return straight RGBA over a background, blended in sRGB as Gaussians are."""
    return rgba[..., :3] * rgba[..., 3:] + background * (1 - rgba[..., 3:])


def straight_alpha(colors: Float[np.ndarray, "*n 3"], alphas: Float[np.ndarray, "*n 1"]) -> Float[np.ndarray, "*n 4"]:
    """Return straight RGBA of colors that are weighed by alpha; black where alpha is 0."""
    import numpy as np

    straight = np.divide(colors, alphas, out=np.zeros_like(colors), where=alphas > 0)
    return np.concatenate([straight, alphas], axis=-1)
