"""sRGB against its definition, bytes by hand."""

import numpy as np

from gatlas.images.srgb import linear_to_srgb, srgb_to_linear, to_bytes


def test_linear_light_and_back():
    encoded = np.linspace(0, 1, 101)
    assert np.allclose(linear_to_srgb(srgb_to_linear(encoded)), encoded)
    assert np.allclose(srgb_to_linear(np.array([0.04045, 0.5, 1.0])), [0.0031308, 0.21404114, 1.0], atol=1e-7)


def test_bytes_are_rounded_and_clamped():
    assert to_bytes(np.array([-1.0, 0.0, 0.5 / 255 - 1e-9, 0.6 / 255, 1.0, 7.0])).tolist() == [0, 0, 0, 1, 255, 255]
