"""A photo is resampled where the lens puts its pixels."""

import numpy as np

from gatlas.geometry.lens import Lens, undistort_points, undistorted_intrinsics
from gatlas.images.undistort import undistort

K = np.array([[100.0, 0, 50], [0, 110, 40], [0, 0, 1]])
LENS = Lens(k1=0.2, k2=-0.05, p1=0.01)
TARGET = undistorted_intrinsics("k.json", K, LENS, 100, 80)


def test_pixels_go_where_the_undistorted_picture_shows_them():
    ramp = np.stack(np.meshgrid(np.arange(100) + 0.5, np.arange(80) + 0.5), axis=-1)  # shows its own pixels
    shown = undistort(ramp, K, LENS, TARGET)
    assert TARGET[0, 0] > 1.01 * K[0, 0]
    assert np.abs(undistort_points(shown[5:-5, 5:-5], K, LENS, TARGET) - ramp[5:-5, 5:-5]).max() < 1e-3


def test_transparent_pixels_lend_their_neighbors_no_color():
    photo = np.zeros((80, 100, 4), dtype=np.float32)
    photo[:, :50] = (1, 0.5, 0.25, 1)
    photo[:, 50:, 1] = 0.9  # a color that nobody may see
    shown = undistort(photo, K, LENS, TARGET)
    some = shown[..., 3] > 0
    assert 0 < ((shown[..., 3] > 0) & (shown[..., 3] < 1)).sum() < 400
    np.testing.assert_allclose(shown[some][:, :3], np.broadcast_to([1, 0.5, 0.25], (some.sum(), 3)), atol=1e-5)
