"""Fits of color that depends on the direction."""

from dataclasses import replace

import numpy as np
import pytest

from gatlas import io
from gatlas.errors import GatlasError
from gatlas.fit import FitOptions, fit
from gatlas.fit.fitting import check_fit
from gatlas.fit.mesh import measure
from gatlas.fit.optimize import optimize
from gatlas.fit.photos import fit_photos
from gatlas.fit.quality import reference_views
from gatlas.geometry.cameras import fibonacci_views
from gatlas.geometry.sh import with_degree
from gatlas.raster.flat_color import view_dependent, with_flat_color
from tests.helpers.meshes import textured_tetrahedron
from tests.helpers.shiny_ball import shiny_ball

TINY = FitOptions(count=40, iterations=20, views=4, resolution=32, held_out=2, device="cpu")


def test_a_glossy_ball_gains_from_degree_1_where_the_directions_are_new():
    ball = shiny_ball(200)
    training, held_out = (reference_views(ball, fibonacci_views(16, 32, 32, phase=each)) for each in (0.0, 0.5))
    start = with_flat_color(ball)
    shiny, flat = (
        optimize(replace(start, sh=with_degree(start.sh, degree)), training, 160, np.random.default_rng(0))
        for degree in (1, 0)
    )
    assert measure(shiny, held_out)[0] > measure(flat, held_out)[0] + 0.6


def test_a_degree_begins_a_tenth_of_the_steps_after_the_one_below():
    ball, seen = with_flat_color(shiny_ball(50)), {}
    views = reference_views(shiny_ball(50), fibonacci_views(4, 24, 24))

    def look(step, parameters, adam):
        rest = parameters["sh_rest"].detach().numpy()
        seen[step] = sum(bool((rest[:, d * d - 1 : (d + 1) ** 2 - 1] != 0).any()) for d in (1, 2, 3))

    padded = replace(ball, sh=with_degree(ball.sh, 3))
    optimize(padded, views, 20, np.random.default_rng(0), on_parameters=look)
    assert [seen[step] for step in (1, 2, 3, 4, 5, 6, 7, 20)] == [0, 0, 1, 1, 2, 2, 3, 3]


def test_a_mesh_and_photos_are_fitted_with_the_degree_that_is_asked_for_and_written(tmp_path):
    mesh = fit(textured_tetrahedron(), replace(TINY, sh_degree=2))
    photos = fit_photos(mesh.views, replace(TINY, sh_degree=3))
    assert mesh.gaussians.sh.shape == (40, 9, 3)
    assert photos.gaussians.sh.shape == (40, 16, 3)
    assert view_dependent(photos.gaussians).any()
    io.save_gaussians(tmp_path / "x.ply", photos.gaussians)
    np.testing.assert_allclose(io.load_gaussians(tmp_path / "x.ply").sh, photos.gaussians.sh, atol=1e-6)


def test_a_start_keeps_its_view_dependent_color_where_it_is_asked_for():
    ball = shiny_ball(40)
    views = reference_views(ball, fibonacci_views(4, 24, 24))
    untouched = replace(TINY, iterations=0)
    kept = fit_photos(views, replace(untouched, sh_degree=2), init=ball).gaussians
    np.testing.assert_array_equal(kept.sh[:, 1:4], ball.sh[:, 1:])
    assert (kept.sh[:, 4:] == 0).all()
    assert fit_photos(views, untouched, init=ball).gaussians.sh.shape == (40, 1, 3)


def test_the_scaffold_refuses_view_dependent_color():
    with pytest.raises(GatlasError, match="--model scaffold has no view-dependent color"):
        check_fit(FitOptions(model="scaffold", sh_degree=1), photos=True)
