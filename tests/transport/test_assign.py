"""The exact assignment against scipy's, and what it promises."""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from gatlas.transport import assign, fibonacci_sphere
from gatlas.transport.auction import quantize


def best_cost(sources, targets):
    costs = np.square(sources[:, None] - targets[None]).sum(axis=-1)
    rows, columns = linear_sum_assignment(costs)
    return costs[rows, columns].mean()


def check_exact(sources, targets):
    """One-to-one, proven, and as cheap as scipy's for the coordinates that the proof is about."""
    result = assign(sources, targets)
    assert (np.sort(result.targets) == np.arange(len(sources))).all()
    assert result.gap == 0.0
    assert result.min_slack == 0.0
    x, y = quantize(sources)[0], quantize(targets)[0]
    assert np.square(x - y[result.targets]).sum(axis=1).mean() == pytest.approx(best_cost(x, y), rel=1e-14)
    assert result.cost == pytest.approx(np.square(sources - targets[result.targets]).sum(axis=1).mean(), rel=1e-14)
    return result


def cloud(kind, n, d, rng):
    if kind == "uniform":
        return rng.random((n, d))
    if kind == "ties":
        return rng.integers(0, 4, (n, d)).astype(float)
    if kind == "line":
        return np.outer(rng.random(n), np.arange(1, d + 1))
    if kind == "equal":
        return np.full((n, d), 0.7)
    if kind == "half equal":
        return np.where(np.arange(n)[:, None] % 2, rng.random((n, d)), 0.3)
    if kind == "clusters":
        return rng.normal(size=(n, d)) * 1e-3 + rng.integers(0, 3, (n, 1))
    if kind == "nearly equal":
        return np.where(np.arange(n)[:, None] % 2, rng.random((n, d)), 0.3 + 1e-6 * rng.random((n, d)))
    return rng.standard_t(1, size=(n, d))  # "outliers"


KINDS = ["uniform", "ties", "line", "equal", "half equal", "clusters", "nearly equal", "outliers"]


@pytest.mark.fuzz
@settings(max_examples=60)
@given(
    st.sampled_from(KINDS), st.sampled_from(KINDS), st.integers(1, 300), st.integers(1, 3), st.integers(0, 2**32 - 1)
)
@example("uniform", "uniform", 1, 1, 0)
@example("uniform", "ties", 2, 2, 0)
@example("half equal", "half equal", 300, 3, 0)
@example("line", "ties", 257, 2, 0)
def test_cost_is_scipys_on_clouds_of_every_kind(left, right, n, d, seed):
    rng = np.random.default_rng(seed)
    check_exact(cloud(left, n, d, rng), cloud(right, n, d, rng))


@pytest.mark.parametrize("kind", KINDS)
def test_cost_is_scipys_on_the_sphere_across_levels(kind):
    check_exact(cloud(kind, 1100, 3, np.random.default_rng(1)), fibonacci_sphere(1100))


@pytest.mark.parametrize("kind", KINDS)
def test_equal_targets_are_matched_exactly(kind):
    check_exact(fibonacci_sphere(600), cloud(kind, 600, 3, np.random.default_rng(2)))


def test_a_case_worked_by_hand():
    sources = np.array([[0.0], [1.0], [5.0]])
    targets = np.array([[6.0], [0.5], [2.0]])  # in one dimension the optimum keeps the order
    result = assign(sources, targets)
    assert result.targets.tolist() == [1, 2, 0]
    assert result.cost == pytest.approx((0.25 + 1.0 + 1.0) / 3)


def test_a_single_pair():
    result = assign(np.array([[1.0, 2.0, 3.0]]), np.array([[1.0, 2.0, 5.0]]))
    assert (result.targets.tolist(), result.cost, result.gap) == ([0], 4.0, 0.0)


def test_a_set_moves_onto_itself_at_no_cost():
    points = fibonacci_sphere(500)
    shuffle = np.random.default_rng(3).permutation(500)
    result = assign(points[shuffle], points)
    assert result.cost == 0.0
    assert (result.targets == shuffle).all()


def test_many_equal_points_are_quick_and_exact():
    rng = np.random.default_rng(4)
    sources = rng.normal(size=(4096, 3))
    sources[rng.permutation(4096)[:2048]] = sources[0]
    result = assign(sources, fibonacci_sphere(4096))
    assert (result.gap, result.min_slack) == (0.0, 0.0)


def test_pot_finds_the_same_cost():
    sources = np.random.default_rng(5).normal(size=(300, 3))
    ours, theirs = (assign(sources, fibonacci_sphere(300), solver=solver) for solver in ("auction", "emd"))
    assert (ours.targets == theirs.targets).all()
    assert theirs.cost == ours.cost
    assert 0.0 <= theirs.gap < 1e-12


def test_shuffled_points_keep_their_targets():
    rng = np.random.default_rng(6)
    sources, targets = rng.normal(size=(700, 3)), fibonacci_sphere(700)
    p, q = rng.permutation(700), rng.permutation(700)
    plain, shuffled = assign(sources, targets), assign(sources[p], targets[q])
    assert (q[shuffled.targets] == plain.targets[p]).all()


def test_neither_threads_nor_repetition_change_the_matching():
    rng = np.random.default_rng(7)
    sources = np.rint(rng.normal(size=(1500, 3)) * 4)  # full of ties
    results = [assign(sources, fibonacci_sphere(1500), threads=threads).targets for threads in (None, 1, 2, 3)]
    assert all((result == results[0]).all() for result in results)


@pytest.mark.parametrize("shift", [(1e3, -2e3, 5.0), (1e-9, 0.0, 0.0)])
def test_moving_and_scaling_the_sources_keeps_the_matching(shift):
    sources = np.random.default_rng(8).integers(-500, 500, (400, 3)).astype(float)
    moved = assign(sources * 3.0 + np.array(shift), fibonacci_sphere(400))
    assert moved.targets.tolist() == assign(sources, fibonacci_sphere(400)).targets.tolist()


@pytest.mark.usefixtures("no_shape_checks")
@pytest.mark.parametrize(
    ("sources", "targets", "message"),
    [
        (np.zeros((0, 3)), np.zeros((0, 3)), "at least one point, got none"),
        (np.zeros((2, 3)), np.zeros((3, 3)), r"same shape, got \[2, 3\] and \[3, 3\]"),
        (np.zeros((2, 3)), np.zeros((2, 2)), r"same shape, got \[2, 3\] and \[2, 2\]"),
        (np.zeros((2, 4)), np.zeros((2, 4)), r"d = 1, 2 or 3, got shape \[2, 4\]"),
        (np.zeros(3), np.zeros(3), r"got shape \[3\]"),
        ([[0.0, np.nan]], [[0.0, 0.0]], r"sources must be finite, got \[0.0, nan\] in row 0"),
        ([[0.0], [0.0]], [[0.0], [np.inf]], r"targets must be finite, got \[inf\] in row 1"),
        ([[1e200]], [[0.0]], "at most 1e.150 in magnitude"),
    ],
)
def test_what_cannot_be_matched_is_refused(sources, targets, message):
    with pytest.raises(ValueError, match=message):
        assign(sources, targets)


@pytest.mark.usefixtures("no_shape_checks")
def test_unknown_solvers_and_thread_counts_are_refused():
    with pytest.raises(ValueError, match="solver must be one of auction, emd, got 'sinkhorn'"):
        assign([[0.0]], [[0.0]], solver="sinkhorn")
    with pytest.raises(ValueError, match="threads must be >= 1, got 0"):
        assign([[0.0]], [[0.0]], threads=0)


@pytest.mark.parametrize("solver", ["auction", "emd"])
def test_torch_stays_unloaded(solver):
    program = f"""
import sys, gatlas.transport
assert "numpy" not in sys.modules, "importing the package must cost nothing"
gatlas.transport.assign([[0.0], [1.0]], [[1.0], [0.0]], solver={solver!r})
assert "torch" not in sys.modules
"""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("POT_")}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment)
