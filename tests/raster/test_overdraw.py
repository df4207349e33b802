"""Overdraw: by hand, and against the reference's alphas."""

import numpy as np
import pytest

from gatlas.geometry.scene_unit import scene_unit
from gatlas.raster import overdraw
from gatlas.raster.rendering import ProjectionOptions
from gatlas.raster.threads import set_num_threads
from gatlas.types import Cameras, Gaussians
from tests.helpers.raster_scenes import FIELDS, SCENES
from tests.raster.test_median import on_the_axis


def middle_of(opacities, depths):
    K = np.array([[10.0, 0, 1.5], [0, 10.0, 1.5], [0, 0, 1]])
    return int(overdraw(on_the_axis(np.array(depths), opacities), Cameras(np.eye(4)[None], K[None], 3, 3))[0, 1, 1])


@pytest.mark.parametrize(
    ("opacities", "count"),
    [
        ([0.6, 0.9, 0.9], 3),  # 0.4, 0.04 and 0.004 of the light are left
        ([0.003, 0.5], 1),  # below 1/255 it is not drawn
        ([0.99, 0.985, 0.9, 0.9], 2),  # 0.01, 1.5e-4; the third would leave less than 1e-4 and ends the pixel
        ([0.5] * 13, 13),  # 2^-13 = 1.2e-4
        ([0.5] * 20, 13),
    ],
)
def test_it_counts_the_gaussians_that_are_blended(opacities, count):
    assert middle_of(opacities, np.linspace(2.0, 3.0, len(opacities))) == count


def test_nothing_is_counted_where_nothing_is():
    scene, cameras = SCENES["ragged picture"]
    far = Gaussians(scene.means + 1e6, scene.quats, scene.scales, scene.opacities, scene.sh)
    assert not overdraw(far, cameras).any()


def counted(projection, width, height):
    """The count for each pixel, Gaussian after Gaussian over the whole picture."""
    columns, rows = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    light, ended, counts = np.ones((height, width)), np.zeros((height, width), bool), np.zeros((height, width), int)
    for i in np.argsort(projection.depths.float().numpy(), kind="stable"):
        if projection.visible[i]:
            (x, y), (xx, xy, yy) = projection.means2d[i].numpy(), projection.conics[i].numpy()
            sigma = 0.5 * (xx * (columns - x) ** 2 + yy * (rows - y) ** 2) + xy * (columns - x) * (rows - y)
            alpha = np.minimum(0.999, float(projection.opacities[i]) * np.exp(-sigma))
            drawn = (alpha >= 1 / 255) & ~ended
            ended |= drawn & (light * (1 - alpha) <= 1e-4)
            drawn &= ~ended
            light[drawn] *= 1 - alpha[drawn]
            counts += drawn
    return counts


@pytest.mark.parametrize("name", SCENES)
def test_it_agrees_with_a_count_over_whole_pictures(name):
    torch = pytest.importorskip("torch")
    from gatlas.raster.reference import project

    scene, cameras = SCENES[name]
    found = overdraw(scene, cameras, rasterize_mode="classic")
    assert found.dtype == np.int32
    options = ProjectionOptions(near_plane=0.01 * scene_unit(scene))
    tensors = Gaussians(**{field: torch.tensor(getattr(scene, field), dtype=torch.float64) for field in FIELDS})
    for i in range(len(cameras)):
        views, Ks = (torch.tensor(getattr(cameras, each)[[i]], dtype=torch.float64) for each in ("viewmats", "Ks"))
        projection = project(tensors, Cameras(views, Ks, cameras.width, cameras.height), options)
        counts = counted(projection, cameras.width, cameras.height)
        assert (found[i] != counts).mean() <= 2e-3  # an alpha that rounds to the other side of 1/255
        assert np.abs(found[i] - counts).max() <= 2


def test_threads_do_not_change_it():
    scene, cameras = SCENES["torus"]
    whole = overdraw(scene, cameras)
    try:
        set_num_threads(1)
        np.testing.assert_array_equal(overdraw(scene, cameras), whole)
    finally:
        set_num_threads(None)
