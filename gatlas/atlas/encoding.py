"""Gaussians to atlas."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gatlas import __version__
from gatlas.atlas.fill import fill as fill_cells
from gatlas.atlas.options import EncodeOptions
from gatlas.atlas.plane import plane_permutation
from gatlas.atlas.spaces import FORMAT, SPACES, clamp_to_spaces, clamping_psnr
from gatlas.errors import GatlasError
from gatlas.geometry.frames import into_unit_ball
from gatlas.geometry.sh import dc_to_rgb
from gatlas.raster.flat_color import view_dependent, with_flat_color
from gatlas.raster.threads import available_cpus
from gatlas.transport import SPHERE_NAME, assign, fibonacci_sphere
from gatlas.types import Atlas, Gaussians

if TYPE_CHECKING:
    from jaxtyping import Bool, Int


def encode(gaussians: Gaussians, options: EncodeOptions | None = None) -> Atlas:
    """Return the Gaussians laid out as an atlas of `options.size` x `options.size` cells (numpy).

    Fewer or more Gaussians than cells: see `gatlas.atlas.fill`. Gaussians in their own units are normalized into the
    unit ball first, and `decode` undoes it. What was padded, dropped and clamped, the transport's mean squared distance
    and its certified gap are in `meta`. Neither the order of the Gaussians nor the threads change the result. For
    published index maps see `gatlas.atlas.from_published`; files that the options name are not read here.

    Xiang et al. 2025, sec. 4.1-4.2; padding and dropping follow the authors' published converter.
    """
    options = options or EncodeOptions()
    cells, solver = options.size**2, options.solver
    prepared = prepare(gaussians, cells, options.fill)
    threads = None if options.threads is None else min(options.threads, available_cpus())
    transport = assign(prepared.gaussians.means, fibonacci_sphere(cells), solver=solver, threads=threads)
    on_sphere = np.empty(cells, dtype=np.int64)
    on_sphere[transport.targets] = np.arange(cells)
    record = {"solver": solver, "cost": float(transport.cost), "gap": float(transport.gap)}
    return lay_out(prepared, on_sphere, options.projection, {"transport": record})


class Prepared(NamedTuple):
    """As many Gaussians as cells, inside the atlas's spaces, in an order that the file they came from does not set."""

    gaussians: Gaussians  # sorted by x, then y, then z; padding after what it copies
    padding: Bool[np.ndarray, " cells"]
    order: Int[np.ndarray, " cells"]  # place in the filled set, which is the given one where the count is right
    meta: dict[str, Any]  # what was done to them


def prepare(gaussians: Gaussians, cells: int, fill: str) -> Prepared:
    """Normalize, give each one color, clamp, fill and sort."""
    if len(gaussians) == 0:
        raise GatlasError("there are no Gaussians to lay out")
    unit, center, scale = into_unit_ball(gaussians)
    clamped = clamp_to_spaces(with_flat_color(unit))
    filled = fill_cells(clamped.gaussians, cells, fill)
    order = np.lexsort((filled.padding, *filled.gaussians.means.T[::-1]))
    meta = {
        "count": len(gaussians),
        "padded": int(filled.padding.sum()),
        "dropped": filled.dropped,
        "split": filled.split,
        "clamped": {
            "scales": clamped.scales,
            "colors": clamped.colors,
            "view_dependent": int(view_dependent(gaussians).sum()),
        },
        "normalization": {"center": list(center), "scale": scale},
        "origin": gaussians.origin.as_record(),
    }
    return Prepared(filled.gaussians[order], filled.padding[order], order, meta)


def lay_out(prepared: Prepared, on_sphere: Int[np.ndarray, " cells"], projection: str, meta: dict[str, Any]) -> Atlas:
    """The atlas in which sphere point i holds Gaussian `on_sphere[i]`."""
    size = round(len(on_sphere) ** 0.5)
    cells = plane_permutation(size, projection)  # cell -> sphere point
    laid = prepared.gaussians[on_sphere[cells]]
    padded = prepared.padding[on_sphere[cells]]
    offset = laid.means.astype(np.float64) - fibonacci_sphere(size * size)[cells]
    side = (size, size)
    return Atlas(
        offset=offset.astype(np.float32).reshape(*side, 3),
        color=np.clip(dc_to_rgb(laid.sh[:, 0]), 0.0, 1.0).astype(np.float32).reshape(*side, 3),
        opacity=np.where(padded, 0.0, laid.opacities).astype(np.float32).reshape(*side, 1),
        scale=np.log(laid.scales.astype(np.float64)).astype(np.float32).reshape(*side, 3),
        rotation=laid.quats.astype(np.float32).reshape(*side, 4),
        meta={
            "gatlas_atlas": FORMAT,
            "version": __version__,
            "spaces": dict(SPACES),
            "sphere": SPHERE_NAME,
            "projection": projection,
            "size": size,
            **prepared.meta,
            **meta,
        },
    )


# PSNR in dB of pictures that differ as 8-bit pictures do by rounding; clamping that leaves more is not mentioned.
VISIBLE = 20 * math.log10(255 * math.sqrt(12))


def _beyond(clamped: dict[str, int]) -> str:
    parts = {
        f"{clamped['scales']:,} Gaussians with scales outside {SPACES['scale'].rpartition(', ')[2]} (natural log; the "
        "object has radius 1): split or remove the largest": clamped["scales"],
        f"{clamped['colors']:,} with colors outside 0..1": clamped["colors"],
    }
    return ", ".join(part for part, count in parts.items() if count)


def summary(atlas: Atlas, gaussians: Gaussians) -> str:
    """Return what became of the Gaussians that an atlas was encoded of, in one line.

    What was clamped to the spaces is mentioned where pictures show it.
    """
    meta = atlas.meta
    clamped, transport = meta["clamped"], meta["transport"]
    psnr = clamping_psnr(gaussians) if clamped["scales"] or clamped["colors"] else math.inf
    notes = {
        f"{meta['padded']:,} cells padded with copies at opacity 0": meta["padded"],
        f"{meta['split']:,} cells filled by cutting the largest in two": meta["split"],
        f"the {meta['dropped']:,} smallest dropped": meta["dropped"],
        f"{clamped['view_dependent']:,} got the mean of their view-dependent color, as each is seen": clamped[
            "view_dependent"
        ],
        f"pictures show what the atlas cannot hold (PSNR {psnr:.1f} dB): {_beyond(clamped)}": psnr < VISIBLE,
    }
    gap = "published" if transport["gap"] is None else f"certified gap {transport['gap']:.1e}"
    return "; ".join(
        [
            f"{meta['count']:,} Gaussians on {meta['size']} x {meta['size']} cells",
            *(note for note, happened in notes.items() if happened),
            f"transport cost {transport['cost']:.6f}, {gap}",
        ]
    )
