"""Lens distortion, undone by resampling: a photo becomes the picture of a pinhole."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gatlas.errors import GatlasError

if TYPE_CHECKING:
    from jaxtyping import Float

MOST_ZOOM = 4.0  # a lens that would need more to fill the picture is a mistake in the file
HALVINGS = 60  # of the interval that holds a ray's radius: all of a float64's digits
NEWTON_STEPS = 20  # from the radial part's inverse; measured: 3 within a real lens, up to 20 near a fold
CLOSE = 1e-13  # of a ray that is found, bent again, from the one that was given


class Lens(NamedTuple):
    """Radial and tangential coefficients on normalised coordinates (Brown 1966), as OpenCV orders them."""

    k1: float = 0.0
    k2: float = 0.0
    k3: float = 0.0
    k4: float = 0.0
    p1: float = 0.0
    p2: float = 0.0

    @property
    def bends(self) -> bool:
        """Whether the lens does anything at all."""
        return any(self)

    def __str__(self) -> str:
        return ", ".join(f"{name} = {value:g}" for name, value in self._asdict().items() if value)


def distort(lens: Lens, points: Float[np.ndarray, "*n 2"]) -> Float[np.ndarray, "*n 2"]:
    """Where the lens puts the rays (x, y, 1): normalised coordinates in, normalised coordinates out."""
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


def straighten(lens: Lens, points: Float[np.ndarray, "*n 2"]) -> Float[np.ndarray, "*n 2"]:
    """The rays that the lens puts at `points`: the inverse of `distort`; NaN where the lens puts none.

    Beyond the radius at which the lens folds the picture over, a second ray meets some points: it is never the answer.
    """
    points = np.asarray(points, dtype=np.float64)
    with np.errstate(all="ignore"):
        rays = _radially_straight(lens, points)
        for _ in range(NEWTON_STEPS):
            xx, xy, yy = _slopes(lens, rays)
            off = distort(lens, rays) - points
            step = np.stack([yy * off[..., 0] - xy * off[..., 1], xx * off[..., 1] - xy * off[..., 0]], axis=-1)
            rays = rays - step / (xx * yy - xy * xy)[..., None]
        off = np.linalg.norm(distort(lens, rays) - points, axis=-1)
        xx, xy, yy = _slopes(lens, rays)
        found = off <= CLOSE * (1 + np.linalg.norm(points, axis=-1))
        found &= (xx * yy > xy * xy) & (np.linalg.norm(rays, axis=-1) <= _fold(lens))
    return np.where(found[..., None], rays, np.nan)


def pinhole(name: str, K: Float[np.ndarray, "3 3"], lens: Lens, width: int, height: int) -> Float[np.ndarray, "3 3"]:
    """K of the undistorted picture of the same size: K itself, or the least zoom that leaves no pixel without a source.

    A pixel without a source would be transparent, and a fit would take it for empty space. `name` begins the
    GatlasError for coefficients that no lens has.
    """
    if not lens.bends:
        return K
    # Beyond the radius at which the distorted radius stops growing, two rays would share one pixel of the photo.
    # The zoom only ever shrinks the field, so the field before it is what the coefficients were measured on.
    corner = float(np.linalg.norm(_rays(K, _border(width, height)), axis=-1).max())
    radii = np.linspace(0.0, corner, 257)
    bent = distort(Lens(*lens[:4]), np.stack([radii, np.zeros_like(radii)], axis=-1))[:, 0]
    if not (np.diff(bent) > 0).all():
        raise GatlasError(f"{name}: the lens distortion ({lens}) folds the picture over: check the coefficients")
    if _covered(K, K, lens, width, height):
        return K
    low, high = 1.0, MOST_ZOOM
    if not _covered(K, _zoomed(K, high), lens, width, height):
        raise GatlasError(f"{name}: the lens distortion ({lens}) is too strong to be undone: check the coefficients")
    for _ in range(30):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if _covered(K, _zoomed(K, middle), lens, width, height) else (middle, high)
    return _zoomed(K, high)


def undistort_points(
    pixels: Float[np.ndarray, "*n 2"], K: Float[np.ndarray, "3 3"], lens: Lens, target: Float[np.ndarray, "3 3"]
) -> Float[np.ndarray, "*n 2"]:
    """Where the picture that `undistort` makes shows what the photo shows at `pixels`; NaN where the lens puts no ray.

    Pixels are (x, y), and the first one's centre is (0.5, 0.5). They may lie outside either picture.
    """
    return _project(target, straighten(lens, _rays(K, np.asarray(pixels, dtype=np.float64))))


def undistort(
    picture: Float[np.ndarray, "h w d"], K: Float[np.ndarray, "3 3"], lens: Lens, target: Float[np.ndarray, "3 3"]
) -> Float[np.ndarray, "h w d"]:
    """The picture that the pinhole `target` would have taken, bilinear; straight RGBA is weighed by its alpha.

    Pictures of one and three channels have no alpha.
    """
    from scipy.ndimage import map_coordinates

    height, width = picture.shape[:2]
    pixels = np.stack(np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5), axis=-1)
    source = _project(K, distort(lens, _rays(target, pixels)))
    rows_columns = np.stack([source[..., 1], source[..., 0]]) - 0.5

    def sampled(channel: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
        return np.asarray(map_coordinates(channel, rows_columns, order=1, mode="nearest"), dtype=np.float32)

    if picture.shape[2] != 4:
        return np.stack([sampled(picture[..., i]) for i in range(picture.shape[2])], axis=-1)
    alpha = sampled(picture[..., 3])
    weighed = [sampled(picture[..., i] * picture[..., 3]) for i in range(3)]
    straight = [np.divide(each, alpha, out=np.zeros_like(each), where=alpha > 0) for each in weighed]
    return np.stack([*straight, alpha], axis=-1)


def _radial(lens: Lens, squared: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    return 1 + squared * (lens.k1 + squared * (lens.k2 + squared * (lens.k3 + squared * lens.k4)))


def _fold(lens: Lens) -> float:
    """The radius at which the distorted radius stops growing, the tangential part apart; infinite where it never does.

    The derivative of r (1 + k1 r^2 + k2 r^4 + k3 r^6 + k4 r^8) is a polynomial in r^2.
    """
    roots = np.roots([9 * lens.k4, 7 * lens.k3, 5 * lens.k2, 3 * lens.k1, 1.0])
    positive = roots.real[(np.abs(roots.imag) <= 1e-9 * np.abs(roots)) & (roots.real > 0)]
    return float(np.sqrt(positive.min())) if len(positive) else np.inf


def _radially_straight(lens: Lens, points: Float[np.ndarray, "*n 2"]) -> Float[np.ndarray, "*n 2"]:
    """The rays that the radial part of the lens puts at `points`, by bisection within the fold.

    Newton's method alone would leave the fold where the coefficients have several signs.
    """
    bent, fold = np.linalg.norm(points, axis=-1), _fold(lens)
    high = np.minimum(bent, fold)
    while (near := (high < fold) & (high * _radial(lens, high * high) < bent)).any():
        high = np.where(near, np.minimum(2 * high, fold), high)
    low = np.zeros_like(bent)
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        short = middle * _radial(lens, middle * middle) < bent
        low, high = np.where(short, middle, low), np.where(short, high, middle)
    return points * np.divide(low, bent, out=np.ones_like(bent), where=bent > 0)[..., None]


def _slopes(
    lens: Lens, rays: Float[np.ndarray, "*n 2"]
) -> tuple[Float[np.ndarray, "*n"], Float[np.ndarray, "*n"], Float[np.ndarray, "*n"]]:
    """The derivatives of `distort`, which are symmetric: x by x, x by y (and y by x), y by y."""
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
    """The field of view narrowed about the picture's principal point."""
    return K * np.array([[zoom, zoom, 1.0], [zoom, zoom, 1.0], [1.0, 1.0, 1.0]])


def _covered(
    K: Float[np.ndarray, "3 3"], target: Float[np.ndarray, "3 3"], lens: Lens, width: int, height: int
) -> bool:
    """Whether every pixel of the undistorted picture has its centre's source inside the photo."""
    source = _project(K, distort(lens, _rays(target, _border(width, height))))
    return bool(((source >= 0) & (source <= [width, height])).all())


def _border(width: int, height: int) -> Float[np.ndarray, "n 2"]:
    """The centres of the outermost pixels."""
    columns, rows = np.arange(width) + 0.5, np.arange(height) + 0.5
    sides = [(columns, np.full(width, row)) for row in (0.5, height - 0.5)]
    sides += [(np.full(height, column), rows) for column in (0.5, width - 0.5)]
    return np.concatenate([np.stack(side, axis=-1) for side in sides])


def _rays(K: Float[np.ndarray, "3 3"], pixels: Float[np.ndarray, "*n 2"]) -> Float[np.ndarray, "*n 2"]:
    return (pixels - K[:2, 2]) / np.array([K[0, 0], K[1, 1]])


def _project(K: Float[np.ndarray, "3 3"], points: Float[np.ndarray, "*n 2"]) -> Float[np.ndarray, "*n 2"]:
    return points * np.array([K[0, 0], K[1, 1]]) + K[:2, 2]
