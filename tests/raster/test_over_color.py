"""Pictures over one color, against plain numpy and torch."""

import numpy as np
import pytest
import torch

from gatlas.images.composite import composite
from gatlas.raster.over_color import over_color
from gatlas.raster.threads import set_num_threads


@pytest.mark.parametrize("threads", [1, 3])
def test_it_is_the_composite_to_the_bit_for_any_number_of_threads(threads):
    rng = np.random.default_rng(0)
    rgba, color = rng.random((2, 13, 7, 4), dtype=np.float32), rng.random(3, dtype=np.float32)
    rgba[0, :4, :, 3] = 0.0
    rgba[1, 4:, :, 3] = 1.0
    rgba.flags.writeable = False
    set_num_threads(threads)
    try:
        over = over_color(rgba, color)
    finally:
        set_num_threads(None)
    np.testing.assert_array_equal(over, composite(rgba, color))
    np.testing.assert_array_equal(over, composite(torch.from_numpy(rgba.copy()), torch.from_numpy(color)).numpy())
    assert (over[0, :4] == color).all()
