from dataclasses import replace

import numpy as np
import pytest

from gatlas.geometry.frames import denormalized
from gatlas.render import RenderOptions, compare, render
from gatlas.render.comparison import comparison_sheet
from gatlas.types import Origin
from tests.helpers.flat_ball import ball, sphere_mesh

LOOK = RenderOptions(width=48, orbit=2)
MOVED = Origin(name="ball", center=(30.0, -20.0, 10.0), scale=5.0, normalized=True)


def darker(gaussians, share):
    return replace(gaussians, sh=(gaussians.sh + 1.7725) * (1 - share) - 1.7725)  # colors times that


def test_a_splat_equals_itself_in_the_unit_ball_and_in_its_own_units():
    inside = ball(300, MOVED)
    found = compare(inside, inside, LOOK)
    assert (found.psnr, found.errors.values[0].max()) == (100.0, 0.0)
    for one, other in ((inside, denormalized(inside)), (denormalized(inside), inside)):
        assert compare(one, other, LOOK).psnr > 50


def test_the_error_and_the_psnr_are_those_of_the_two_pictures():
    one, other = ball(300), darker(ball(300), 0.2)
    found = compare(one, other, LOOK)
    pictures, others = (render(each, LOOK).images for each in (one, other))
    np.testing.assert_array_equal(np.stack(found.images), pictures)
    np.testing.assert_array_equal(np.stack(found.others), others)
    squares = ((pictures.astype(float) - others) ** 2).mean(axis=-1)
    np.testing.assert_allclose(np.stack(found.errors.values), np.sqrt(squares), atol=1e-6)
    assert found.psnr == pytest.approx(np.mean(-10 * np.log10(squares.mean(axis=(1, 2)))), abs=1e-4)


def test_a_mesh_in_own_units_is_brought_to_the_frame_of_a_splat():
    mesh = sphere_mesh(radius=4.0, center=(30.0, -20.0, 10.0))  # 4 own units are 0.8 of the splat's ball
    splat = denormalized(ball(origin=MOVED))
    found = compare(splat, mesh, LOOK)
    for one, other in zip(found.images, found.others, strict=True):
        inside, outside = ((each < 0.6).any(axis=-1) for each in (one, other))
        assert (inside & outside).sum() > 0.85 * (inside | outside).sum()


@pytest.mark.parametrize("subject", [ball(300), sphere_mesh()], ids=["splat", "mesh"])
def test_views_are_compared_from_their_own_cameras(subject):
    views = render(subject, replace(LOOK, background="transparent"))
    found = compare(subject, views, RenderOptions())
    assert found.psnr > 60
    assert [image.shape for image in found.images] == [(48, 48, 3)] * 2


def test_a_sheet_has_a_row_of_both_and_the_error_for_each_camera():
    found = compare(ball(200), darker(ball(200), 0.5), LOOK)
    sheet = comparison_sheet(found, ("one.ply", "two.ply"))
    assert sheet.shape[1] == 3 * 48
    top = sheet.shape[0] - 2 * 48
    places = [at for at in range(top) if (sheet[at : at + 48, :48] == found.images[0]).all()]
    assert len(places) == 1, "the first picture stands below the captions"
    at = places[0] + 48
    np.testing.assert_array_equal(sheet[at : at + 48, 48:96], found.others[1])
