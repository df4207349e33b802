"""The certificate proves what is optimal and nothing else."""

import numpy as np
import pytest

from gatlas.transport import auction
from gatlas.transport.certificate import matched_slack, row_minima


def integers(rng, *shape):
    return rng.integers(-(2**20), 2**20, shape).astype(float)


@pytest.mark.parametrize(("g", "m", "threads"), [(1, 1, 1), (63, 5, 1), (65, 130, 2), (200, 64, 3)])
def test_row_minima_are_those_of_the_full_matrix(g, m, threads):
    rng = np.random.default_rng(0)
    x, y, w = integers(rng, g, 3), integers(rng, 3, m), integers(rng, m) * 2**20
    assert (row_minima(x, y, w, threads) == (w - 2 * x @ y).min(axis=1)).all()


@pytest.fixture
def solved():
    rng = np.random.default_rng(1)
    x, y = integers(rng, 300, 3), integers(rng, 300, 3)
    matched, w, _ = auction.solve_levels(x, y, 1)
    return x, y, w, matched


def mean_slack(x, y, w, matched):
    return matched_slack(x, y.T, w, matched, row_minima(x, np.ascontiguousarray(y.T), w, 1)).mean()


def test_the_optimum_is_proven(solved):
    assert mean_slack(*solved) == 0.0


def test_a_wrong_matching_has_a_gap_of_at_least_what_it_costs_too_much(solved):
    x, y, w, matched = solved
    rng = np.random.default_rng(2)
    best = np.square(x - y[matched]).sum(axis=1).mean()
    for _ in range(50):
        a, b = rng.choice(300, 2, replace=False)
        wrong = matched.copy()
        wrong[[a, b]] = wrong[[b, a]]
        excess = np.square(x - y[wrong]).sum(axis=1).mean() - best
        assert excess > 0
        assert mean_slack(x, y, w, wrong) >= excess * (1 - 1e-12)


def test_wrong_prices_prove_nothing(solved):
    x, y, w, matched = solved
    assert mean_slack(x, y, w + np.random.default_rng(3).integers(0, 2**40, 300), matched) > 0.0


def test_a_solver_that_errs_is_found_out(monkeypatch):
    exact = auction.solve_levels

    def swapped(x, y, threads):
        matched, w, u = exact(x, y, threads)
        matched[[0, 200]] = matched[[200, 0]]
        return matched, w, u

    monkeypatch.setattr(auction, "solve_levels", swapped)
    rng = np.random.default_rng(4)
    from gatlas.transport import assign

    assert assign(rng.random((300, 3)), rng.random((300, 3))).gap > 0.0
