"""The plane permutation, wherever it comes from: shipped with the package, cached, or computed now.

`python -c "from gatlas.atlas.plane import ship; ship()"` computes the shipped files afresh.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatlas.io.atlases.plane_cache import SHIPPED, load_permutation, save_permutation
from gatlas.transport import PROJECTIONS, compute_plane_permutation

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Int

SHIPPED_SIZES = (64, 128, 192)


def plane_permutation(size: int, projection: str = "equirect") -> Int[np.ndarray, " cells"]:
    """Return the index of the point of `fibonacci_sphere(size * size)` in each cell of the grid, row by row (int32).

    Fixed by size and projection (see `gatlas.transport.compute_plane_permutation`), so it is computed once for all.
    """
    if size < 1:
        raise ValueError(f"size must be >= 1, got {size}")
    if projection not in PROJECTIONS:
        raise ValueError(f"projection must be one of {', '.join(PROJECTIONS)}, got {projection!r}")
    cells = load_permutation(size, projection)
    if cells is None:
        cells = compute_plane_permutation(size, projection)
        save_permutation(cells, size, projection)
    return cells


def ship() -> None:
    """Write the permutations that the package ships."""
    for projection in PROJECTIONS:
        for size in SHIPPED_SIZES:
            save_permutation(compute_plane_permutation(size, projection), size, projection, folder=SHIPPED)
