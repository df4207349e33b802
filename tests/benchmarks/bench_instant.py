"""`--profile instant` beside quick, and quick's start: python tests/benchmarks/bench_instant.py MESH... [--count 16384]

All meshes are fitted in one process, as in a batch; its start-up and the compilation of kernels, which a first instant
fit of the first mesh does, are not counted. CPU seconds are of reading, fitting, measuring and writing.
PSNR is of 8 held-out views at 256 and 512 pixels a side, with the blur that the header asks for.
"""

import argparse
import tempfile
import time
from pathlib import Path

from gatlas import io
from gatlas.cli.fit import run
from gatlas.fit import FitOptions
from gatlas.fit.mesh import measure
from gatlas.geometry.cameras import fibonacci_views
from gatlas.meshes.edits import normalize_mesh
from gatlas.meshes.render import render_mesh
from gatlas.meshes.shading import choose_shading

SIZES = (256, 512)
VIEWS = 8


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("meshes", nargs="+")
    parser.add_argument("--count", type=int, default=16_384)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    options = parser.parse_args()
    kinds = {
        "instant": {"profile": "instant"},
        "quick, 0 steps": {"profile": "quick", "iterations": 0, "lambda_lpips": 0.0},
        "quick": {"profile": "quick", "lambda_lpips": 0.0},
    }
    with tempfile.TemporaryDirectory() as folder:
        fit(options.meshes[0], Path(folder), FitOptions(count=options.count, profile="instant"))
        print(
            f"{'mesh':24} {'profile':16} {'CPU s':>6} " + " ".join(f"{f'dB at {side}':>10}" for side in options.sizes)
        )
        for path in options.meshes:
            references = [rendered(path, side) for side in options.sizes]
            for name, given in kinds.items():
                gaussians, seconds = fit(path, Path(folder), FitOptions(count=options.count, **given))
                figures = " ".join(f"{measure(gaussians, views)[0]:10.2f}" for views in references)
                print(f"{Path(path).stem[:24]:24} {name:16} {seconds:6.2f} {figures}", flush=True)


def fit(path, folder, options):
    """The Gaussians of `gatlas fit` and its CPU seconds."""
    splat = folder / "splat.ply"
    started = time.process_time()
    run(str(path), str(splat), options, force=True)
    seconds = time.process_time() - started
    return io.load_gaussians(str(splat)), seconds


def rendered(path, side):
    """Held-out pictures of a mesh."""
    mesh = io.load_mesh(io.as_blob(str(path)))
    shading = choose_shading(mesh, "auto")
    cameras = fibonacci_views(VIEWS, side, side, phase=0.5)
    return render_mesh(normalize_mesh(mesh), cameras, shading=shading)


if __name__ == "__main__":
    main()
