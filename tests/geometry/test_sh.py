"""Spherical harmonics against scipy's complex ones."""

import numpy as np
import pytest
from scipy.special import sph_harm_y

from gatlas.geometry import sh


def real_harmonics(directions):
    """The 16 real spherical harmonics up to degree 3, with the Condon-Shortley phase (as 3DGS has it) [n 16]."""
    x, y, z = directions.T
    polar, azimuth = np.arccos(z), np.arctan2(y, x)
    columns = []
    for degree in range(4):
        for order in range(-degree, degree + 1):
            value = sph_harm_y(degree, abs(order), polar, azimuth)
            if order == 0:
                columns.append(value.real)
            else:
                columns.append(np.sqrt(2) * (value.real if order > 0 else value.imag))
    return np.stack(columns, axis=1)


@pytest.fixture
def directions():
    d = np.random.default_rng(0).normal(size=(100, 3))
    return d / np.linalg.norm(d, axis=1, keepdims=True)


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_colors_equal_scipys_harmonics(directions, degree):
    count = (degree + 1) ** 2
    coefficients = np.random.default_rng(degree).normal(size=(100, count, 3))
    expected = np.einsum("nk,nkc->nc", real_harmonics(directions)[:, :count], coefficients) + 0.5
    assert np.allclose(sh.eval_sh(coefficients, directions), expected, atol=1e-12)


@pytest.mark.parametrize(("axis", "signs"), [("x", [1, -1, -1]), ("z", [-1, -1, 1])])
def test_a_half_turn_moves_the_colors(directions, axis, signs):
    coefficients = np.random.default_rng(3).normal(size=(100, 16, 3))
    turned = sh.half_turn_sh(coefficients, axis)
    assert np.allclose(sh.eval_sh(turned, directions * signs), sh.eval_sh(coefficients, directions))


def test_rgb_round_trip():
    rgb = np.array([[0.0, 0.5, 1.0]])
    assert np.allclose(sh.dc_to_rgb(sh.rgb_to_dc(rgb)), rgb)
    assert np.allclose(sh.rgb_to_dc(np.array([1.0])), 0.5 / 0.28209479177387814)


def test_a_wrong_number_of_coefficients_is_refused():
    with pytest.raises(ValueError, match="1, 4, 9 or 16"):
        sh.eval_sh(np.zeros((1, 5, 3)), np.zeros((1, 3)))


def test_torch_gives_the_same_numbers(directions):
    torch = pytest.importorskip("torch")
    coefficients = np.random.default_rng(3).normal(size=(100, 16, 3))
    result = sh.eval_sh(torch.from_numpy(coefficients), torch.from_numpy(directions))
    assert np.allclose(result.numpy(), sh.eval_sh(coefficients, directions), atol=1e-12)
