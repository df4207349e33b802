"""Lens distortion and its removal: a distorted photo is resampled to the picture of a pinhole camera."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gatlas.errors import GatlasError

if TYPE_CHECKING:
    from jaxtyping import Float

MAX_ZOOM = 4.0  # coefficients that need more zoom to fill the picture are taken for a mistake in the file
BISECTIONS = 60  # of the interval that holds a ray's radius: enough for all digits of a float64
NEWTON_STEPS = 20  # from the inverse of the radial part; measured: 3 within a real lens, up to 20 near a fold
RAY_TOLERANCE = 1e-13  # relative error of an undistorted ray when it is distorted again


class Lens(NamedTuple):
    """Radial and tangential coefficients on normalized coordinates (Brown 1966), in OpenCV's model."""

    k1: float = 0.0
    k2: float = 0.0
    k3: float = 0.0
    k4: float = 0.0
    p1: float = 0.0
    p2: float = 0.0

    @property
    def has_distortion(self) -> bool:
        """True where any coefficient is not 0."""
        return any(self)

    def __str__(self) -> str:
        return ", ".join(f"{name} = {value:g}" for name, value in self._asdict().items() if value)


def distort(lens: Lens, points: Float[np.ndarray, "*n 2"]) -> Float[np.ndarray, "*n 2"]:
    """Return the distorted normalized coordinates of the rays (x, y, 1)."""
    x, y = points[..., 0], points[..., 1]
    squared = x * x + y * y
    radial = _radial(lens, squared)
    return np.stack(
        [
            x * radial + 2 * lens.p1 * x * y + lens.p2 * (squared + 2 * x * x),
            y * radial + lens.p1 * (squared + 2 * y * y) + 2 * lens.p2 * x * y,
        ],
        axis=-1,
    )


def undistort_rays(lens: Lens, points: Float[np.ndarray, "*n 2"]) -> Float[np.ndarray, "*n 2"]:
    """Return the rays whose distorted coordinates are `points`: the inverse of `distort`; NaN where there is none.

    Beyond the radius at which the lens folds the picture over, a second ray has the same distorted coordinates; it is
    never returned.
    """
    points = np.asarray(points, dtype=np.float64)
    with np.errstate(all="ignore"):
        rays = _undistort_radially(lens, points)
        for _ in range(NEWTON_STEPS):
            xx, xy, yy = _jacobian(lens, rays)
            off = distort(lens, rays) - points
            step = np.stack([yy * off[..., 0] - xy * off[..., 1], xx * off[..., 1] - xy * off[..., 0]], axis=-1)
            rays = rays - step / (xx * yy - xy * xy)[..., None]
        off = np.linalg.norm(distort(lens, rays) - points, axis=-1)
        xx, xy, yy = _jacobian(lens, rays)
        found = off <= RAY_TOLERANCE * (1 + np.linalg.norm(points, axis=-1))
        found &= (xx * yy > xy * xy) & (np.linalg.norm(rays, axis=-1) <= _fold(lens))
    return np.where(found[..., None], rays, np.nan)


def undistorted_intrinsics(
    name: str, K: Float[np.ndarray, "3 3"], lens: Lens, width: int, height: int
) -> Float[np.ndarray, "3 3"]:
    """Return K of the undistorted picture of the same size: with the least zoom that leaves no pixel without a source.

    A pixel without a source would be transparent, and a fit would take it for empty space. Coefficients that no lens
    has are a GatlasError that begins with `name`.
    """
    if not lens.has_distortion:
        return K
    with np.errstate(over="ignore", invalid="ignore"):  # coefficients of any size are refused below
        return _least_zoomed(name, K, lens, width, height)


def _least_zoomed(
    name: str, K: Float[np.ndarray, "3 3"], lens: Lens, width: int, height: int
) -> Float[np.ndarray, "3 3"]:
    # Beyond the radius at which the distorted radius stops growing, two rays would share one pixel of the photo.
    # The zoom only narrows the field of view: the coefficients were measured on the field of view before it.
    corner = float(np.linalg.norm(_rays(K, _border(width, height)), axis=-1).max())
    radii = np.linspace(0.0, corner, 257)
    distorted = distort(Lens(*lens[:4]), np.stack([radii, np.zeros_like(radii)], axis=-1))[:, 0]
    if not (np.diff(distorted) > 0).all():
        raise GatlasError(f"{name}: the lens distortion ({lens}) folds the picture over: check the coefficients")
    if _covered(K, K, lens, width, height):
        return K
    low, high = 1.0, MAX_ZOOM
    if not _covered(K, _zoomed(K, high), lens, width, height):
        raise GatlasError(f"{name}: the lens distortion ({lens}) is too strong to be undone: check the coefficients")
    for _ in range(30):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if _covered(K, _zoomed(K, middle), lens, width, height) else (middle, high)
    return _zoomed(K, high)


def undistort_points(
    pixels: Float[np.ndarray, "*n 2"], K: Float[np.ndarray, "3 3"], lens: Lens, target: Float[np.ndarray, "3 3"]
) -> Float[np.ndarray, "*n 2"]:
    """Return the pixels of the undistorted picture that correspond to `pixels` of the photo; NaN where there is no ray.

    `target` is K of the undistorted picture. Pixels are (x, y), the center of the first one is (0.5, 0.5),
    and they may lie outside either picture.
    """
    return _project(target, undistort_rays(lens, _rays(K, np.asarray(pixels, dtype=np.float64))))


def distort_points(
    pixels: Float[np.ndarray, "*n 2"], K: Float[np.ndarray, "3 3"], lens: Lens, target: Float[np.ndarray, "3 3"]
) -> Float[np.ndarray, "*n 2"]:
    """Return the pixels of the photo that correspond to `pixels` of the undistorted picture, whose K is `target`."""
    return _project(K, distort(lens, _rays(target, np.asarray(pixels, dtype=np.float64))))


def zoom_lens(lens: Lens, factor: float) -> Lens:
    """Return the lens that distorts the same pixels in the same way where the focal length is `factor` times as long.

    The coefficients act on normalized coordinates, which are shorter by that factor.
    """
    powers = Lens(k1=2, k2=4, k3=6, k4=8, p1=1, p2=1)
    return Lens(*(value * factor**power for value, power in zip(lens, powers, strict=True)))


def _radial(lens: Lens, squared: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    return 1 + squared * (lens.k1 + squared * (lens.k2 + squared * (lens.k3 + squared * lens.k4)))


def _fold(lens: Lens) -> float:
    """Return the radius at which the distorted radius stops growing, without the tangential part; infinite if nowhere.

    The derivative of r (1 + k1 r^2 + k2 r^4 + k3 r^6 + k4 r^8) is a polynomial in r^2.
    """
    roots = np.roots([9 * lens.k4, 7 * lens.k3, 5 * lens.k2, 3 * lens.k1, 1.0])
    positive = roots.real[(np.abs(roots.imag) <= 1e-9 * np.abs(roots)) & (roots.real > 0)]
    return float(np.sqrt(positive.min())) if len(positive) else np.inf


def _undistort_radially(lens: Lens, points: Float[np.ndarray, "*n 2"]) -> Float[np.ndarray, "*n 2"]:
    """Return the rays of which `points` are the radially distorted coordinates, by bisection inside the fold.

    Newton's method alone would leave the fold where the coefficients have several signs.
    """
    distorted, fold = np.linalg.norm(points, axis=-1), _fold(lens)
    high = np.minimum(distorted, fold)
    while (inside := (high < fold) & (high * _radial(lens, high * high) < distorted)).any():
        high = np.where(inside, np.minimum(2 * high, fold), high)
    low = np.zeros_like(distorted)
    for _ in range(BISECTIONS):
        middle = 0.5 * (low + high)
        below = middle * _radial(lens, middle * middle) < distorted
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return points * np.divide(low, distorted, out=np.ones_like(distorted), where=distorted > 0)[..., None]


def _jacobian(
    lens: Lens, rays: Float[np.ndarray, "*n 2"]
) -> tuple[Float[np.ndarray, "*n"], Float[np.ndarray, "*n"], Float[np.ndarray, "*n"]]:
    """Return the entries of the Jacobian of `distort`, which is symmetric: dx/dx, dx/dy (= dy/dx), dy/dy."""
    x, y = rays[..., 0], rays[..., 1]
    squared = x * x + y * y
    radial = _radial(lens, squared)
    growth = 2 * (lens.k1 + squared * (2 * lens.k2 + squared * (3 * lens.k3 + squared * 4 * lens.k4)))
    return (
        radial + x * x * growth + 2 * lens.p1 * y + 6 * lens.p2 * x,
        x * y * growth + 2 * lens.p1 * x + 2 * lens.p2 * y,
        radial + y * y * growth + 6 * lens.p1 * y + 2 * lens.p2 * x,
    )


def _zoomed(K: Float[np.ndarray, "3 3"], zoom: float) -> Float[np.ndarray, "3 3"]:
    """Return K with a focal length `zoom` times as long."""
    return K * np.array([[zoom, zoom, 1.0], [zoom, zoom, 1.0], [1.0, 1.0, 1.0]])


def _covered(
    K: Float[np.ndarray, "3 3"], target: Float[np.ndarray, "3 3"], lens: Lens, width: int, height: int
) -> bool:
    """Return True where the centers of all pixels of the undistorted picture have their source inside the photo."""
    source = _project(K, distort(lens, _rays(target, _border(width, height))))
    return bool(((source >= 0) & (source <= [width, height])).all())


def _border(width: int, height: int) -> Float[np.ndarray, "n 2"]:
    """Return the centers of the outermost pixels."""
    columns, rows = np.arange(width) + 0.5, np.arange(height) + 0.5
    sides = [(columns, np.full(width, row)) for row in (0.5, height - 0.5)]
    sides += [(np.full(height, column), rows) for column in (0.5, width - 0.5)]
    return np.concatenate([np.stack(side, axis=-1) for side in sides])


def _rays(K: Float[np.ndarray, "3 3"], pixels: Float[np.ndarray, "*n 2"]) -> Float[np.ndarray, "*n 2"]:
    return (pixels - K[:2, 2]) / np.array([K[0, 0], K[1, 1]])


def _project(K: Float[np.ndarray, "3 3"], points: Float[np.ndarray, "*n 2"]) -> Float[np.ndarray, "*n 2"]:
    return points * np.array([K[0, 0], K[1, 1]]) + K[:2, 2]
