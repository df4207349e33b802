"""Levels of detail: prefixes of one fit that each show the whole object."""

from dataclasses import replace

import numpy as np
import pytest

from gatlas.errors import GatlasError
from gatlas.fit import FitOptions, fit
from gatlas.fit.lod import FULL_SHARES, in_levels, shown_at
from gatlas.fit.mesh import measure
from gatlas.fit.optimize import Interrupted, optimize
from gatlas.fit.relocate import Relocator
from gatlas.fit.start import surface_gaussians
from gatlas.geometry.cameras import fibonacci_views
from gatlas.meshes.edits import normalize_mesh
from gatlas.meshes.render import render_mesh
from gatlas.types import Gaussians
from tests.fit.test_fit import textured_box

ARRAYS = ("means", "quats", "scales", "opacities", "sh")
LEVELS = (30, 90, 300)
OPTIONS = FitOptions(count=300, lod="30,90,300", iterations=80, views=8, resolution=40, supersample=2, lambda_lpips=0.0)


@pytest.fixture(scope="module")
def mesh():
    return textured_box()


@pytest.fixture(scope="module")
def held_out(mesh):
    return render_mesh(normalize_mesh(mesh), fibonacci_views(6, 40, 40, phase=0.5), supersample=2)


@pytest.fixture(scope="module")
def fitted(mesh):
    return fit(mesh, OPTIONS)


def grid_of_discs(side):
    """Equal discs at the points of a square grid, in random order."""
    places = np.stack(np.meshgrid(np.arange(side), np.arange(side)), axis=-1).reshape(-1, 2) / side
    places = np.random.default_rng(0).permutation(places)
    count = len(places)
    return Gaussians(
        means=np.concatenate([places, np.zeros((count, 1))], axis=1).astype(np.float32),
        quats=np.tile(np.float32([1, 0, 0, 0]), (count, 1)),
        scales=np.tile(np.float32([0.5, 0.5, 0.05]) / side, (count, 1)),
        opacities=np.ones(count, dtype=np.float32),
        sh=np.zeros((count, 1, 3), dtype=np.float32),
    )


def test_every_level_is_better_than_as_many_gaussians_at_random(fitted, held_out):
    rng = np.random.default_rng(0)
    assert [level.number for level in fitted.levels] == list(LEVELS)
    for level in fitted.levels[:-1]:
        random = fitted.gaussians[np.sort(rng.choice(300, size=level.number, replace=False))]
        assert level.psnr > measure(random, held_out)[0] + 2


def test_every_level_improves_on_its_start(mesh, fitted):
    start = fit(mesh, replace(OPTIONS, iterations=0))
    for before, after in zip(start.levels, fitted.levels, strict=True):
        assert after.ssim > before.ssim + 0.05
    assert fitted.psnr > start.psnr + 2


def test_the_report_is_of_the_first_gaussians(mesh, fitted):
    assert fitted.gaussians.origin.levels == LEVELS
    held_out = render_mesh(normalize_mesh(mesh), fibonacci_views(20, 40, 40, phase=0.5), supersample=2)
    for level in fitted.levels:
        first = Gaussians(*(getattr(fitted.gaussians, name)[: level.number] for name in ARRAYS))
        assert measure(first, held_out) == (level.psnr, level.ssim)
    assert fitted.levels[-1] == (300, fitted.psnr, fitted.ssim)


def test_a_resumed_fit_of_levels_is_the_undisturbed_one(mesh, fitted):
    asked = iter([False] * 37 + [True])
    with pytest.raises(Interrupted) as stopped:
        fit(mesh, OPTIONS, should_stop=lambda: next(asked))
    again = fit(mesh, OPTIONS, resume=stopped.value.snapshot)
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(again.gaussians, name), getattr(fitted.gaussians, name))


def test_photos_have_levels_too(mesh):
    views = render_mesh(normalize_mesh(mesh), fibonacci_views(8, 32, 32), supersample=2)
    options = FitOptions(count=60, lod="20,60", iterations=110, resolution=32, lambda_lpips=0.0)
    result = fit(views, options)
    assert result.gaussians.origin.levels == (20, 60)
    assert result.levels[0].psnr > measure(result.gaussians[40:], views)[0] + 1  # as many of those that were added


def test_the_levels_of_a_start_are_spread_out_and_as_large_as_their_spacing():
    start = grid_of_discs(16)
    ordered = in_levels(start, (16, 64, 256))
    np.testing.assert_array_equal(np.sort(ordered.means, axis=0), np.sort(start.means, axis=0))
    np.testing.assert_allclose(ordered.scales[:16], 4 * start.scales[:16], rtol=1e-6)
    np.testing.assert_allclose(ordered.scales[16:64], 2 * start.scales[16:64], rtol=1e-6)
    np.testing.assert_array_equal(ordered.scales[64:], start.scales[64:])
    for count in (16, 64):
        apart = np.linalg.norm(ordered.means[:count, None] - ordered.means[None, :count], axis=-1)
        np.fill_diagonal(apart, np.inf)
        assert apart.min() > 0.6 / count**0.5  # a square grid of so many would have 1


@pytest.mark.parametrize("levels", [(5,), (5, 9), (5, 9, 20), (1, 2, 3, 4, 5)])
def test_the_steps_of_each_half_are_shared_out_over_the_levels(levels):
    steps = np.array([shown_at(step, 1000, levels).number for step in range(1000)])
    for half, full in zip((steps[:500], steps[500:]), FULL_SHARES, strict=True):
        shares = [(1 - full) / (len(levels) - 1)] * (len(levels) - 1) + [full] if len(levels) > 1 else [1.0]
        np.testing.assert_allclose([(half == level).mean() for level in levels], shares, atol=0.01)


def test_levels_that_grow_are_shown_larger_and_begin_smaller():
    start = grid_of_discs(16)
    assert shown_at(0, 1000, (64, 256), growth=0.5) == (64, 2.0)
    assert shown_at(1, 1000, (64, 256), growth=0.5) == (64, 2.0)
    assert shown_at(999, 1000, (64, 256), growth=0.5) == (256, 1.0)
    np.testing.assert_allclose(in_levels(start, (16, 256), 0.25).scales[:16], 2 * start.scales[:16], rtol=1e-6)
    np.testing.assert_array_equal(in_levels(start, (16, 256), 0.5).scales, start.scales)


def test_a_fit_whose_levels_grow_measures_them_as_they_are_taken(mesh):
    result = fit(mesh, replace(OPTIONS, lod_growth=0.3))
    held_out = render_mesh(normalize_mesh(mesh), fibonacci_views(20, 40, 40, phase=0.5), supersample=2)
    small = result.gaussians.level(90)
    np.testing.assert_array_equal(small.means, result.gaussians.means[:90])
    np.testing.assert_allclose(small.scales, result.gaussians.scales[:90] * (300 / 90) ** 0.3, rtol=1e-6)
    assert result.levels[1] == (90, *measure(small, held_out))
    assert result.levels[1].psnr > measure(result.gaussians[:90], held_out)[0] + 0.5
    again, direct = small.level(30), result.gaussians.level(30)
    np.testing.assert_allclose(again.scales, direct.scales, rtol=1e-6)
    assert again.origin == direct.origin


def test_relocation_leaves_the_smaller_levels_where_they_are(mesh):
    views = render_mesh(normalize_mesh(mesh), fibonacci_views(6, 32, 32), supersample=2)
    start = surface_gaussians(normalize_mesh(mesh), views, 40, np.random.default_rng(0))
    start = replace(start, opacities=np.full(40, 1e-3, dtype=np.float32))  # all of them are dead

    def moved(step, parameters, adam):
        means = parameters["means"].detach().numpy().copy()
        Relocator(views, 1000, np.random.default_rng(0), first=25)(100, parameters, adam)
        changed.append((parameters["means"].detach().numpy() != means).any(axis=1))

    changed = []
    optimize(start, views, 1, np.random.default_rng(0), on_parameters=moved)
    assert not changed[0][:25].any()
    assert changed[0][25:].any()


@pytest.mark.parametrize("lod", ["", "300", "30,30,300", "90,30,300", "0,300", "-1,300", "a,300", "30,,300", "30,301"])
def test_levels_that_do_not_ascend_to_the_count_are_refused(lod):
    with pytest.raises(GatlasError, match="lod must "):
        FitOptions(count=300, lod=lod)


@pytest.mark.parametrize(
    "wrong", [{"model": "scaffold"}, {"init": "start.ply"}, {"profile": "instant", "iterations": None}]
)
def test_what_does_not_go_with_levels_is_refused(mesh, wrong):
    with pytest.raises(GatlasError, match="does not go with --"):
        fit(mesh, replace(OPTIONS, **wrong))


def test_levels_take_half_as_many_steps_again_unless_their_number_is_given():
    assert FitOptions(lod="1024,16384", profile="quick").budget.iterations == 300
    assert FitOptions(lod="1024,16384", profile="quick", iterations=7).budget.iterations == 7
