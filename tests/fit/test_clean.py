"""Clean fits: what the report says of faint and far Gaussians, and the bound on their distance from the surface."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from gatlas.fit import FitOptions, Interrupted, fit
from gatlas.fit.cleanness import cleanness
from gatlas.fit.offset import EVERY, OffsetBound
from gatlas.meshes.closest import closest_points
from gatlas.meshes.edits import normalize_mesh
from gatlas.types import Gaussians, Origin
from tests.fit.test_fit import textured_box
from tests.helpers.command_line import expect, run_here

LIMIT = 0.001
TINY = FitOptions(count=60, iterations=24, views=4, resolution=32, held_out=1, device="cpu")
BOUND = replace(TINY, max_offset=LIMIT)


def gaussians_at(means, opacities=0.9, origin=Origin(normalized=True)):
    count = len(means)
    return Gaussians(
        means=np.asarray(means, dtype=np.float32),
        quats=np.tile(np.float32([1, 0, 0, 0]), (count, 1)),
        scales=np.full((count, 3), 0.05, dtype=np.float32),
        opacities=np.broadcast_to(np.float32(opacities), (count,)).copy(),
        sh=np.zeros((count, 1, 3), dtype=np.float32),
        origin=origin,
    )


def greatest_offset(mesh, gaussians):
    return closest_points(normalize_mesh(mesh), gaussians.means).distances.max()


def test_shares_and_distances_are_those_of_a_box():
    """A cube of half side 1/2: one center above its top, one inside, eight on it; three of the ten are faint."""
    box = textured_box((0.5, 0.5, 0.5))
    means = [[0, 0.75, 0], [0, 0, 0.375], *([[0.5, 0.1, 0.1]] * 8)]
    opacities = [0.9, 0.04, 0.01, 0.02, *([0.06] * 6)]
    origin = Origin(normalized=True, scale=10.0)
    measured = cleanness(gaussians_at(means, opacities, origin), box)
    assert measured["faint_share"] == pytest.approx(0.3)
    assert measured["far_share"] == pytest.approx(0.2)
    assert measured["offset_max"] == pytest.approx(0.25)
    assert measured["offset_max_own_units"] == pytest.approx(2.5)
    assert measured["offset_p99"] == pytest.approx(np.quantile([0.25, 0.125, *[0] * 8], 0.99))
    assert measured["offset_p99_own_units"] == pytest.approx(10 * measured["offset_p99"])


def test_without_a_surface_only_the_faint_are_measured():
    assert cleanness(gaussians_at(np.zeros((4, 3)), [0.01, 0.9, 0.9, 0.9])) == {"faint_share": 0.25}


def test_no_center_of_a_bound_fit_is_farther_than_the_bound():
    mesh = textured_box()
    free, bound = fit(mesh, TINY), fit(mesh, BOUND)
    assert greatest_offset(mesh, free.gaussians) > LIMIT  # else there is nothing to bound
    assert greatest_offset(mesh, bound.gaussians) <= LIMIT
    assert cleanness(bound.gaussians, bound.mesh)["offset_max"] <= LIMIT


@pytest.mark.parametrize("iterations", [0, 3])
def test_given_gaussians_come_within_the_bound(iterations):
    """Also from far away, from inside the body and from its very middle."""
    mesh = textured_box()
    far = np.random.default_rng(0).normal(size=(BOUND.count, 3)) * np.geomspace(1e-3, 1e4, BOUND.count)[:, None]
    far[0] = 0
    bound = fit(mesh, replace(BOUND, iterations=iterations), start=gaussians_at(far))
    assert greatest_offset(mesh, bound.gaussians) <= LIMIT


@pytest.mark.parametrize("limit", [1e-4, 0.0123, 0.3, 1.0])
def test_the_bound_holds_after_rounding_to_float32(limit):
    mesh = normalize_mesh(textured_box())
    means = np.random.default_rng(0).uniform(-3, 3, size=(3000, 3))
    placed = OffsetBound(mesh, limit).applied(gaussians_at(means)).means
    distances = closest_points(mesh, placed).distances
    assert placed.dtype == np.float32
    assert distances.max() <= limit
    assert distances.max() > limit * 0.98  # and no nearer than it must


def test_centers_within_the_bound_stay_where_they_are():
    mesh = normalize_mesh(textured_box())
    bound = OffsetBound(mesh, 0.05)
    gaussians = gaussians_at(np.random.default_rng(0).uniform(-1, 1, size=(500, 3)))
    within = closest_points(mesh, gaussians.means).distances <= 0.05
    assert 20 < within.sum() < 480
    np.testing.assert_array_equal(bound.applied(gaussians).means[within], gaussians.means[within])


def test_measuring_what_may_have_left_is_as_good_as_measuring_all():
    mesh = normalize_mesh(textured_box())
    remembers = OffsetBound(mesh, 0.02)
    rng = np.random.default_rng(0)
    start = torch.from_numpy(rng.uniform(-1, 1, size=(300, 3)).astype(np.float32))
    one, other = ({"means": start.clone().requires_grad_()} for _ in range(2))
    adam = torch.optim.Adam([start])
    for turn in range(1, 30):
        drift = torch.from_numpy(rng.normal(scale=0.003, size=(300, 3)).astype(np.float32))
        for parameters in (one, other):
            parameters["means"].data.add_(drift)
        remembers(turn * EVERY, one, adam)
        OffsetBound(mesh, 0.02)(turn * EVERY, other, adam)
        np.testing.assert_array_equal(one["means"].detach().numpy(), other["means"].detach().numpy())


@pytest.mark.parametrize("stop_at", [5, EVERY, EVERY + 3])
def test_a_bound_fit_that_is_resumed_is_the_undisturbed_one(stop_at):
    mesh = textured_box()
    done = []
    with pytest.raises(Interrupted) as stopped:
        fit(mesh, BOUND, on_step=lambda step, _: done.append(step), should_stop=lambda: len(done) == stop_at)
    resumed, whole = fit(mesh, BOUND, resume=stopped.value.snapshot), fit(mesh, BOUND)
    for name in ("means", "quats", "scales", "opacities", "sh"):
        np.testing.assert_array_equal(getattr(resumed.gaussians, name), getattr(whole.gaussians, name))


def test_a_preview_is_called_along_with_the_bound():
    steps = []
    fit(textured_box(), BOUND, on_parameters=lambda step, parameters, adam: steps.append(step))
    assert steps == list(range(1, TINY.iterations + 1))


WORDS = ("--iterations", 12, "-n", 40, "--views", 4, "--resolution", 32, "--lambda-lpips", 0)


def test_the_report_holds_what_was_measured(tmp_path):
    (tmp_path / "box.obj").write_text(
        "".join(f"v {x} {y} {z}\n" for x in (0, 6) for y in (0, 2) for z in (0, 3))
        + "f 1 2 4 3\nf 5 7 8 6\nf 1 5 6 2\nf 3 4 8 7\nf 1 3 7 5\nf 2 6 8 4\n"
    )
    words = ("fit", "box.obj", *WORDS, "--max-offset", 0.002, "--report", "r.json", "-o", "s.ply")
    expect(run_here(words, tmp_path), 0)
    clean = json.loads((tmp_path / "r.json").read_text())["clean"]
    assert clean["faint_share"] == 0
    assert 0 < clean["offset_p99"] <= clean["offset_max"] <= 0.002
    assert clean["offset_max_own_units"] == pytest.approx(3.5 * clean["offset_max"])  # the box's radius
