"""Photos before one color: --background."""

import numpy as np
import pytest

from gatlas.errors import GatlasError
from gatlas.fit import FitOptions, fit
from gatlas.fit.backgrounds import PhotoBackgrounds, measure_over
from gatlas.fit.fitting import check_fit
from gatlas.raster import rasterize
from gatlas.raster.rendering import Rendering
from gatlas.types import Views
from tests.helpers.textured import ellipsoid
from tests.helpers.view_sets import textured_views

BLUE = np.array([0.2, 0.4, 0.7], dtype=np.float32)
FIT = {"count": 300, "iterations": 40, "resolution": 48, "exposure": "off", "init": "random"}


def over(views, colors):
    """Opaque photos of views before colors."""
    colors = np.broadcast_to(colors, (len(views), 3))[:, None, None]
    alpha = views.images[..., 3:]
    return Views((views.images[..., :3] * alpha + colors * (1 - alpha)).astype(np.float32), views.cameras)


@pytest.fixture(scope="module")
def views():
    return textured_views(count=8, side=48)


def test_the_color_behind_all_photos_begins_at_their_border(views):
    found = PhotoBackgrounds(over(views, BLUE), shared=True)
    assert found.plain
    np.testing.assert_allclose(found.found(8), np.tile(BLUE, (8, 1)), atol=1e-6)


def test_the_color_is_solved_from_the_pixels_that_the_gaussians_leave_open(views):
    import torch

    photos = over(views, BLUE)
    backgrounds = PhotoBackgrounds(photos, shared=False)
    begin = BLUE + np.float32(0.1)
    backgrounds.values[:] = torch.from_numpy(begin)
    drawn = rasterize(ellipsoid(count=3000), views.cameras[0], background=begin)
    tensors = Rendering(*(torch.from_numpy(np.asarray(each)) for each in drawn))
    for _ in range(12):
        color = backgrounds.values[0].numpy()
        open_share = (1 - drawn.alphas) * (color - begin)
        shown = tensors._replace(colors=torch.from_numpy(drawn.colors + open_share.astype(np.float32)))
        backgrounds.update(0, shown, torch.from_numpy(photos.images[:1]))
    np.testing.assert_allclose(backgrounds.values[0], BLUE, atol=0.02)
    np.testing.assert_allclose(backgrounds.values[1], begin)


def test_the_color_of_a_scene_is_fitted_and_the_splat_leaves_it_out(views):
    result = fit(over(views, BLUE), FitOptions(background="scene", **FIT))
    assert result.background.shared
    np.testing.assert_allclose(result.background.colors, np.tile(BLUE, (8, 1)), atol=0.03)
    plain = fit(over(views, BLUE), FitOptions(**FIT))
    assert result.psnr > plain.psnr
    reach = [np.quantile(np.linalg.norm(each.gaussians.means, axis=1), 0.97) for each in (result, plain)]
    assert reach[0] < reach[1], "nothing begins behind the object"


def test_each_photo_may_have_a_color_of_its_own(views):
    colors = np.linspace(0.2, 0.8, 8)[:, None] * np.ones(3)
    result = fit(over(views, colors), FitOptions(background="view", **FIT))
    np.testing.assert_allclose(result.background.colors, colors, atol=0.05)  # that of the held-out photo, too


def test_pictures_are_measured_over_their_own_colors(views):
    gaussians = ellipsoid(count=3000)
    colors = np.tile(BLUE.astype(np.float64), (8, 1))
    assert measure_over(gaussians, over(views, BLUE), colors)[0] > 45
    assert measure_over(gaussians, over(views, BLUE), 1 - colors)[0] < 15


def test_photos_without_one_color_behind_and_cut_out_ones_are_refused(views):
    rng = np.random.default_rng(0)
    noise = Views(rng.random((8, 48, 48, 3)).astype(np.float32), views.cameras)
    with pytest.raises(GatlasError, match="the photos have no one color behind what they show"):
        fit(noise, FitOptions(background="scene", **FIT))
    with pytest.raises(GatlasError, match="--background is for photos that show it: these have transparency"):
        fit(views, FitOptions(background="scene", **FIT))
    with pytest.raises(GatlasError, match="--background scene is for photos that show it: the input is a mesh"):
        check_fit(FitOptions(background="scene"), photos=False)
    with pytest.raises(GatlasError, match="--masks cuts it away"):
        check_fit(FitOptions(background="view", masks="masks"), photos=True)
