import numpy as np
import pytest

from gatlas.geometry.cameras import orbit
from gatlas.images.pyramid import halve
from gatlas.types import Views


def test_transparent_pixels_do_not_bleed_into_the_colour():
    image = np.zeros((1, 2, 4, 4), dtype=np.float32)
    image[0, :, :2] = [[1.0, 0.0, 0.0, 1.0], [0.0, 1.0, 0.0, 0.0]]  # opaque red beside transparent green
    half = halve(Views(image, orbit(1, 4, 2)))
    assert half.images[0, 0].tolist() == [[1.0, 0.0, 0.0, 0.5], [0.0, 0.0, 0.0, 0.0]]


def test_the_cameras_see_the_same():
    cameras = orbit(2, 8, 6)
    half = halve(Views(np.ones((2, 6, 8, 4), dtype=np.float32), cameras)).cameras
    assert (half.width, half.height) == (4, 3)
    assert np.allclose(half.Ks[:, :2], cameras.Ks[:, :2] / 2)


def test_odd_sizes_are_refused():
    with pytest.raises(ValueError, match="even"):
        halve(Views(np.ones((1, 3, 4, 4), dtype=np.float32), orbit(1, 4, 3)))
