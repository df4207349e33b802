"""Exact assignment to the Fibonacci sphere: ours against ot.emd, scipy and lapx.

Run: python tests/benchmarks/bench_transport.py (after `pip install lapx`, which is in no extra, with lapx too)

One core; every figure comes from a process of its own. CPU seconds exclude imports and, for ours, compiling the
kernels (printed last); peak memory is that of the whole process. Clouds: (a) a bumpy, noisy closed surface, (b) a thin
torus and a box, (c) 80 % of the points in three balls that fill 5 % of the unit ball; and c with half of the points at
one place.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time

import numpy as np

SOLVERS = ["auction", "emd", "scipy", "lapx"]


def directions(n, rng):
    points = rng.normal(size=(n, 3))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def bumpy_surface(n, rng):
    unit = directions(n, rng)
    x, y, z = unit.T
    radius = 0.75 + 0.12 * np.sin(5 * x + 1) * np.cos(4 * y) + 0.08 * np.sin(9 * z) + 0.01 * rng.normal(size=n)
    return unit * radius[:, None]


def torus_and_box(n, rng):
    half = n // 2
    u, v = rng.random((2, half)) * 2 * np.pi
    ring = 0.75 + 0.06 * np.cos(v)
    torus = np.stack([ring * np.cos(u), ring * np.sin(u), 0.06 * np.sin(v)], axis=1)
    box = rng.random((n - half, 3)) * 2 - 1
    box[np.arange(n - half), rng.integers(0, 3, n - half)] = rng.choice([-1.0, 1.0], n - half)
    return np.concatenate([torus, box * [0.2, 0.15, 0.35]])


def three_balls(n, rng):
    inside = int(0.8 * n)
    points = directions(n, rng) * np.cbrt(rng.random(n))[:, None]
    centers = np.array([[0.4, 0.2, 0.0], [-0.3, 0.4, 0.3], [0.0, -0.5, -0.2]])
    points[:inside] = points[:inside] * np.cbrt(0.05 / 3) + centers[rng.integers(0, 3, inside)]
    return points


CLOUDS = {"a": bumpy_surface, "b": torus_and_box, "c": three_balls}


def half_equal(n, rng):
    points = three_balls(n, rng)
    points[rng.permutation(n)[: n // 2]] = points[0]
    return points


CASES = CLOUDS | {"half equal": half_equal}


def solve(solver, sources, targets):
    """CPU seconds, cost and gap (None where the solver does not tell)."""
    from gatlas.transport import assign

    if solver == "auction":
        started = time.process_time()
        assign(sources[:1000], targets[:1000])  # loads the kernels, or compiles them
        loading = time.process_time() - started
        started = time.process_time()
        result = assign(sources, targets)
        return {"cpu": time.process_time() - started, "cost": result.cost, "gap": result.gap, "loading": loading}
    if solver == "emd":
        assign(sources[:10], targets[:10], solver="emd")
        started = time.process_time()
        result = assign(sources, targets, solver="emd")
        return {"cpu": time.process_time() - started, "cost": result.cost, "gap": result.gap}
    if solver == "scipy":
        from scipy.optimize import linear_sum_assignment as matcher
    else:
        try:
            from lap import lapjv
        except ImportError:
            return {"missing": True}

        def matcher(costs):
            return np.arange(len(costs)), lapjv(costs)[1]

    started = time.process_time()
    costs = np.square(sources[:, None] - targets[None]).sum(axis=-1)
    rows, columns = matcher(costs)
    return {"cpu": time.process_time() - started, "cost": float(costs[rows, columns].mean()), "gap": None}


def run_one(solver, case, n):
    from gatlas.transport import fibonacci_sphere

    result = solve(solver, CASES[case](n, np.random.default_rng(0)), fibonacci_sphere(n))
    result["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps(result))


def measure(solver, case, n):
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    command = [sys.executable, __file__, "--one", solver, case, str(n)]
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, env={**os.environ, **one_thread})
    return json.loads(answer.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--one", nargs=3, metavar=("SOLVER", "CASE", "N"), help="measure one, print JSON")
    parser.add_argument(
        "--peers", type=int, default=4096, help="points at which the peers are measured (0: not at all)"
    )
    parser.add_argument("--counts", type=int, nargs="*", default=[16_384, 36_864], help="points of ours alone")
    arguments = parser.parse_args()
    if arguments.one:
        solver, case, n = arguments.one
        run_one(solver, case, int(n))
        return
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    plan = [(solver, case, arguments.peers) for case in CLOUDS for solver in SOLVERS if arguments.peers]
    plan += [("auction", case, n) for n in arguments.counts for case in CASES]
    print(f"{'n':>6} {'cloud':10} {'solver':8} {'CPU s':>8} {'x ours':>7} {'peak GB':>8}  {'mean sq. distance':22} gap")
    ours = loading = 0.0
    for solver, case, n in plan:
        result = measure(solver, case, n)
        if result.get("missing"):
            print(f"{n:6} {case:10} {solver:8} not installed")
            continue
        if solver == "auction":
            ours, loading = result["cpu"], max(loading, result["loading"])
        gap = "-" if result["gap"] is None else f"{result['gap']:.1e}"
        line = f"{n:6} {case:10} {solver:8} {result['cpu']:8.2f} {result['cpu'] / ours:7.1f} {result['peak']:8.2f}"
        print(f"{line}  {result['cost']:<22.16g} {gap}", flush=True)
    print(f"loading (or compiling) the kernels and solving 1,000 points: at most {loading:.2f} CPU s")


if __name__ == "__main__":
    main()
