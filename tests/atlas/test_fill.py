import numpy as np
import pytest

from gatlas.atlas.fill import fill, split_largest
from gatlas.geometry.cameras import orbit
from gatlas.geometry.sh import rgb_to_dc
from gatlas.metrics import psnr
from gatlas.raster import rasterize
from gatlas.types import Gaussians


def ball(n=600, seed=0, opacity=0.9):
    """Coloured discs on a ball."""
    from gatlas.geometry.rotations import quats_from_normals

    rng = np.random.default_rng(seed)
    normals = rng.normal(size=(n, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    size = rng.uniform(0.5, 1.5, (n, 1)) * np.sqrt(4 * np.pi / n)
    return Gaussians(
        means=(0.9 * normals).astype(np.float32),
        quats=quats_from_normals(normals).astype(np.float32),
        scales=(size * [0.6, 0.4, 0.05]).astype(np.float32),
        opacities=np.full(n, opacity, dtype=np.float32),
        sh=rgb_to_dc(normals[:, None] / 2 + 0.5).astype(np.float32),
    )


@pytest.mark.parametrize("count", [601, 700, 1200, 3000])
def test_split_gives_the_exact_count(count):
    assert len(split_largest(ball(), count)) == count


def test_split_keeps_what_is_not_cut():
    gaussians = ball()
    cut = split_largest(gaussians, 610)
    untouched = (cut.means[:600] == gaussians.means).all(axis=1)
    assert untouched.sum() == 590
    assert gaussians.scales.max(axis=1)[~untouched].min() >= gaussians.scales.max(axis=1)[untouched].max()


@pytest.mark.parametrize("opacity", [0.05, 0.5, 0.9, 1.0])
def test_split_keeps_the_look(opacity):
    """Halving every Gaussian once changes the picture far less than dropping a tenth of them does."""
    gaussians = ball(opacity=opacity)
    cameras = orbit(2, 96, 96)
    before = rasterize(gaussians, cameras, background=np.ones(3, np.float32)).colors
    after = rasterize(split_largest(gaussians, 1200), cameras, background=np.ones(3, np.float32)).colors
    assert psnr(after, before).min() > 36


def test_one_cut_keeps_the_mass_of_a_faint_gaussian():
    """Where alphas add up, two halves hold as much as the whole: opacity x sigma, and sigma^2 about the old mean."""
    one = ball(1, opacity=0.01)
    two = split_largest(one, 2)
    axis = one.scales[0].argmax()
    mass = (two.opacities * two.scales[:, axis]).sum() / (one.opacities[0] * one.scales[0, axis])
    assert mass == pytest.approx(1.0, abs=0.02)
    spread = two.scales[0, axis] ** 2 + (np.linalg.norm(two.means[0] - two.means[1]) / 2) ** 2
    assert spread == pytest.approx(one.scales[0, axis] ** 2, rel=0.03)
    assert np.allclose(two.means.mean(axis=0), one.means[0], atol=1e-6)


def test_fill_says_what_it_did():
    assert fill(ball(), 700).padding.sum() == 100
    assert fill(ball(), 700, "split")[2:] == (0, 100)
    assert fill(ball(), 500)[2:] == (100, 0)
    with pytest.raises(ValueError, match="duplicate, split"):
        fill(ball(), 700, "nothing")
