"""Levels of detail beside other ways to fewer Gaussians: python tests/benchmarks/bench_lod.py MESH

PSNR against held-out views of the mesh over white, of: fits of each count alone; one `fit --lod`, whose levels are
exact prefixes, and one with --lod-growth; `prune` of the fit of the largest count; and, where splat-transform is on the
PATH or given, its --decimate of the same fit, on the CPU. All fits are without LPIPS. CPU seconds are of what makes all
counts from the mesh, with its renders; those of `prune` and --decimate come on top of one fit.
"""

import argparse
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from gatlas import io
from gatlas.fit import FitOptions, fit
from gatlas.fit.mesh import measure
from gatlas.geometry.cameras import fibonacci_views
from gatlas.meshes.edits import normalize_mesh
from gatlas.meshes.render import render_mesh
from gatlas.meshes.shading import choose_shading
from gatlas.prune import PruneOptions, prune

VIEWS = 8


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mesh")
    parser.add_argument("--levels", default="1024,4096,16384")
    parser.add_argument("--growth", type=float, default=0.3)
    parser.add_argument("--profile", default="default")
    parser.add_argument("--iterations", type=int, help="of fits of one count; levels have half as many again")
    parser.add_argument("--resolution", type=int, help="of the training views; default from the profile")
    parser.add_argument("--size", type=int, default=512, help="of the held-out views in pixels")
    parser.add_argument("--splat-transform", default=shutil.which("splat-transform"))
    options = parser.parse_args()
    counts = [int(word) for word in options.levels.split(",")]
    mesh = io.load_mesh(io.as_blob(options.mesh))
    cameras = fibonacci_views(VIEWS, options.size, options.size, phase=0.5)
    views = render_mesh(normalize_mesh(mesh), cameras, shading=choose_shading(mesh, "auto"))
    print(f"{'Gaussians':24}" + "".join(f"{n:>9,}" for n in counts) + f"{'CPU s':>9}", flush=True)

    def show(name, splats, seconds):
        print(f"{name:24}" + "".join(f"{measure(s, views)[0]:9.2f}" for s in splats) + f"{seconds:9.1f}", flush=True)

    given = {"profile": options.profile, "resolution": options.resolution, "lambda_lpips": 0.0}
    more = options.iterations and options.iterations * 3 // 2
    own, spent = zip(*(fitted(mesh, count=n, iterations=options.iterations, **given) for n in counts), strict=True)
    show("a fit each", own, sum(spent))
    for growth in (0.0, options.growth):
        ladder, seconds = fitted(
            mesh, count=counts[-1], lod=options.levels, lod_growth=growth, iterations=more, **given
        )
        name = f"--lod, growth {growth:g}" if growth else "--lod, exact prefixes"
        show(name, [ladder.level(n) for n in counts], seconds)
    started = time.process_time()
    pruned = [prune(own[-1], PruneOptions(count=n)) for n in counts]
    show("prune", pruned, time.process_time() - started)
    if options.splat_transform:
        show("splat-transform", *decimated(own[-1], counts, options.splat_transform))
    else:
        print("splat-transform: not on the PATH", file=sys.stderr)


def fitted(mesh, **given):
    """The Gaussians of a fit and its CPU seconds."""
    started = time.process_time()
    gaussians = fit(mesh, FitOptions(**given)).gaussians
    return gaussians, time.process_time() - started


def decimated(gaussians, counts, program):
    """The Gaussians of each count that splat-transform leaves, and its CPU seconds."""
    started = resource.getrusage(resource.RUSAGE_CHILDREN)
    left = []
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "whole.ply"
        io.save_gaussians(whole, gaussians)
        for count in counts:
            part = Path(folder) / f"{count}.ply"
            fewer = ["--decimate", str(count)] if count < len(gaussians) else []
            subprocess.run([program, "--quiet", "--gpu", "cpu", whole, *fewer, part], check=True)
            found = io.load_gaussians(str(part))
            assert len(found) == count, f"splat-transform left {len(found)} of {count} Gaussians"
            left.append(replace(found, origin=gaussians.origin))  # the blur that the fit was made with
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return left, ended.ru_utime + ended.ru_stime - started.ru_utime - started.ru_stime


if __name__ == "__main__":
    main()
