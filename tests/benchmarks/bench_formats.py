"""Sizes, CPU seconds and fidelity of splat formats: python tests/benchmarks/bench_formats.py SPLAT... [--counts 500000]

Each splat as it is and, for each of --counts, drawn with repetition to that number, a little apart, with harmonics of
--degree. PSNR is the least of 8 views against the splat itself. Where GATLAS_NODE_MODULES names a folder with
splat-transform, its sizes and CPU seconds (one call, with the reading of a PLY) stand beside.
"""

import argparse
import os
import resource
import subprocess
import time
import warnings
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from gatlas import io
from gatlas.geometry.cameras import around, orbit
from gatlas.geometry.sh import with_degree
from gatlas.metrics.psnr import psnr
from gatlas.raster import rasterize
from gatlas.types import Origin

NAMES = ("x.ply", "x.compressed.ply", "x.splat", "x.spz", "x3.spz", "x.sog", "x.glb")
OPTIONS = {"x3.spz": {"spz_version": 3}}
WORDS = {"x3.spz": ["--spz-version", "3"], "x.sog": ["-g", "cpu"]}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("splats", nargs="+")
    parser.add_argument("--counts", type=int, nargs="*", default=[])
    parser.add_argument("--degree", type=int, default=0)
    parser.add_argument("--size", type=int, default=256, help="of the views, in pixels")
    options = parser.parse_args()
    print(f"{'splat':20} {'count':>8} {'format':17} {'bytes':>11} {'write s':>8} {'read s':>7} {'PSNR':>7}"
          f" {'theirs':>11} {'their s':>8}", flush=True)  # fmt: skip
    for path in options.splats:
        own = io.load_gaussians(path)
        sets = [own] + [enlarged(own, count, options.degree) for count in options.counts]
        for gaussians in sets:
            with TemporaryDirectory() as folder:
                for name in NAMES:
                    row = figures(gaussians, Path(folder), name, options)
                    print(f"{Path(path).stem[:20]:20} {len(gaussians):>8} {row}", flush=True)


def enlarged(gaussians, count, degree):
    """More Gaussians of the same kind, with coefficients as small as those of fits."""
    rng = np.random.default_rng(0)
    chosen = gaussians[rng.integers(0, len(gaussians), count)]
    sh = with_degree(chosen.sh, degree).copy()
    sh[:, 1:] += rng.normal(scale=0.05, size=sh[:, 1:].shape)
    means = chosen.means + rng.normal(scale=0.2, size=(count, 3)) * chosen.scales
    return replace(chosen, means=means.astype(np.float32), sh=sh.astype(np.float32), origin=Origin())


def figures(gaussians, folder, name, options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        started = time.process_time()
        io.save_gaussians(folder / name, gaussians, **OPTIONS.get(name, {}))
        written = time.process_time()
        back = io.load_gaussians(folder / name)
        seconds = written - started, time.process_time() - written
    back = replace(back, origin=gaussians.origin)
    fidelity = float(psnr(pictures(back, gaussians, options.size), pictures(gaussians, gaussians, options.size)).min())
    theirs = judged(folder, name)
    size = (folder / name).stat().st_size
    kind = io.read(folder / name).format.name + (" 3" if name == "x3.spz" else "")
    return f"{kind:17} {size:>11} {seconds[0]:8.2f} {seconds[1]:7.2f} {fidelity:7.1f} {theirs}"


def pictures(gaussians, framed, side):
    cameras = around(framed, orbit(8, width=side, height=side))
    return np.asarray(rasterize(gaussians, cameras, background=np.ones(3, np.float32)).colors)


def judged(folder, name):
    """Bytes and CPU seconds of splat-transform."""
    modules = Path(os.environ.get("GATLAS_NODE_MODULES", ""))
    program, node = modules / "@playcanvas/splat-transform/bin/cli.mjs", modules / "node/bin/node"
    if not program.exists() or name in ("x.ply", "x.splat"):
        return f"{'':11} {'':8}"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [node, program, "-q", "-w", *WORDS.get(name, []), folder / "x.ply", folder / f"their-{name}"]
    run = subprocess.run(list(map(str, command)), capture_output=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if run.returncode:
        return f"{'failed':>11} {'':8}"
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return f"{(folder / f'their-{name}').stat().st_size:>11} {spent:8.2f}"


if __name__ == "__main__":
    main()
