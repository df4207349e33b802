"""The colors that cameras see, for numpy arrays and torch tensors alike."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from gatlas.geometry.cameras import camera_centers
from gatlas.geometry.sh import eval_sh

if TYPE_CHECKING:
    from jaxtyping import Float

    from gatlas.types import Gaussians

    Array = Any  # a numpy array or a torch tensor

# Keeps the direction, and its gradient, finite for a Gaussian in the camera's center, which the near plane leaves out.
TINY_SQUARED_DISTANCE = 1e-24


def seen_colors(gaussians: Gaussians, viewmats: Float[Array, "c 4 4"]) -> Iterator[Float[Array, "n 3"]]:
    """For one camera after another, the colors of all Gaussians from where it stands, >= 0 (gsplat clamps as well)."""
    if gaussians.sh.shape[1] == 1:
        constant = eval_sh(gaussians.sh, gaussians.means).clip(min=0.0)
        for _ in range(len(viewmats)):
            yield constant
        return
    for viewmat in viewmats:
        offsets = gaussians.means - camera_centers(viewmat)
        distances = ((offsets**2).sum(-1)[:, None] + TINY_SQUARED_DISTANCE) ** 0.5
        yield eval_sh(gaussians.sh, offsets / distances).clip(min=0.0)
