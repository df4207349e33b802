"""PSNR of fits at other picture sizes than theirs: python tests/benchmarks/bench_sizes.py MESH... [--resolution 512]

Each mesh is fitted in the classic and in the antialiased mode, without LPIPS; CPU seconds are of fit and its renders.
8 held-out views over white show each splat by gatlas, with the blur and the mode that the header asks for; by a plain
viewer, classic and with 0.3 square pixels; and by one that knows the antialiased mode, with 0.3 square pixels too.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from gatlas import io
from gatlas.fit import FitOptions, fit
from gatlas.fit.mesh import measure
from gatlas.geometry.cameras import fibonacci_views
from gatlas.meshes.edits import normalize_mesh
from gatlas.meshes.render import render_mesh
from gatlas.meshes.shading import choose_shading
from gatlas.types import Origin

SIZES = (128, 256, 384, 512, 768, 1024, 1536)
VIEWS = 8
VIEWERS = {"classic": ("plain",), "antialiased": ("mip", "plain")}  # of each mode of fits; others than gatlas


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("meshes", nargs="+")
    parser.add_argument("--count", type=int, default=16_384)
    parser.add_argument("--resolution", type=int, help="of the training views; default from the profile")
    parser.add_argument("--iterations", type=int, help="default from the profile")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    options = parser.parse_args()
    budget = {"count": options.count, "resolution": options.resolution, "iterations": options.iterations}
    heading = " ".join(f"{side:>6}" for side in options.sizes)
    print(f"{'mesh':24} {'fit':12} {'shown by':9} {'CPU s':>6} {heading}", flush=True)
    for path in options.meshes:
        mesh = io.load_mesh(io.as_blob(path))
        shown, seconds = {}, {}
        for mode in VIEWERS:
            started = time.process_time()
            chosen = FitOptions(antialiased=mode == "antialiased", lambda_lpips=0.0, **budget)
            gaussians = fit(mesh, chosen).gaussians
            seconds[mode] = time.process_time() - started
            shown[mode, "gatlas"] = gaussians
            for viewer in VIEWERS[mode]:
                shown[mode, viewer] = replace(gaussians, origin=Origin(antialiased=viewer == "mip"))
        figures = [decibels(mesh, side, list(shown.values())) for side in options.sizes]
        for (mode, viewer), row in zip(shown, np.transpose(figures), strict=True):
            words = " ".join(f"{value:6.2f}" for value in row)
            print(f"{Path(path).stem[:24]:24} {mode:12} {viewer:9} {seconds[mode]:6.1f} {words}", flush=True)


def decibels(mesh, side, splats):
    """The PSNR of each splat: mean over held-out views of the mesh, of which one at a time is in memory."""
    cameras = fibonacci_views(VIEWS, side, side, phase=0.5)
    shading = choose_shading(mesh, "auto")
    normalized = normalize_mesh(mesh)
    values = []
    for camera in cameras:
        view = render_mesh(normalized, camera, supersample=4, shading=shading)
        values.append([measure(splat, view)[0] for splat in splats])
    return np.mean(values, axis=0)


if __name__ == "__main__":
    main()
