"""Surfaces of splats, step by step of the recipe: python tests/benchmarks/bench_mesh.py SPLAT [--reference MESH]

Each line leaves one step out or changes it. IoU of silhouettes against the splat and, with a reference, F-score,
precision and recall at 1 % of the radius, as `gatlas mesh --report` measures them; CPU seconds of the geometry alone,
all threads, and the peak of the process's memory until then.
"""

import argparse
import resource
import time

import numpy as np

from gatlas import io
from gatlas.meshes import MeshOptions
from gatlas.meshes.depth_maps import render_pixel_depth_maps
from gatlas.meshes.extract import finish_surface
from gatlas.meshes.fusion import fuse
from gatlas.meshes.object_frame import enter_frame, find_frame, views_around
from gatlas.meshes.watertight import is_watertight
from gatlas.render.mesh_quality import measure_mesh
from gatlas.types import Material, Mesh

# Of each line: how depths are taken, views, cells, two sheets, rounds of smoothing.
STEPS = {
    "recipe": ("met", 1.0, 1.0, True, 10),
    "median depth": ("median", 1.0, 1.0, True, 10),
    "expected depth": ("expected", 1.0, 1.0, True, 10),
    "one sheet": ("met", 1.0, 1.0, False, 10),
    "half the views": ("met", 0.5, 1.0, True, 10),
    "half as many views more": ("met", 1.5, 1.0, True, 10),
    "a coarser grid": ("met", 1.0, 0.75, True, 10),
    "a finer grid": ("met", 1.0, 1.25, True, 10),
    "not smoothed": ("met", 1.0, 1.0, True, 0),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("splats", nargs="+")
    parser.add_argument("--reference", help="mesh that the splat was fitted to")
    parser.add_argument("--views", type=int, default=MeshOptions().views)
    parser.add_argument("--resolution", type=int, default=MeshOptions().resolution)
    parser.add_argument("--grid", type=int, default=MeshOptions().grid)
    parser.add_argument("--triangles", type=int, default=MeshOptions().triangles)
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=list(STEPS))
    options = parser.parse_args()
    reference = None if options.reference is None else io.load_mesh(io.as_blob(options.reference))
    print(f"{'splat':20} {'step':24} {'IoU':>6} {'F':>6} {'prec.':>6} {'recall':>6} closed {'CPU s':>6} {'MB':>6}")
    for path in options.splats:
        gaussians = io.load_gaussians(path)
        extracted(gaussians, options, *STEPS["recipe"])  # compiles
        for name in options.steps:
            started = time.process_time()
            mesh = extracted(gaussians, options, *STEPS[name])
            seconds = time.process_time() - started
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            found = measure_mesh(mesh, gaussians, reference)
            against = found.get("reference", {})
            scores = [against.get(key, np.nan) for key in ("f_score", "precision", "recall")]
            words = " ".join(f"{value:6.3f}" for value in (found["splat"]["iou"], *scores))
            closed = "yes" if is_watertight(mesh.faces) else "no"
            title = gaussians.origin.name[:20]
            print(f"{title:20} {name:24} {words} {closed:>6} {seconds:6.1f} {peak:6.0f}", flush=True)


def extracted(gaussians, options, depth, views, cells, two_sheets, smooth):
    """The mesh, in the splat's own units and without colors."""
    frame = find_frame(gaussians)
    inside = enter_frame(gaussians, frame)
    cameras, eps2d = views_around(inside, round(views * options.views), options.resolution)
    if depth == "met":
        maps = render_depth_maps(inside, cameras, eps2d)
    else:
        maps = render_pixel_depth_maps(inside, cameras, eps2d, depth)
    grid = fuse(maps, round(cells * options.grid), two_sheets=two_sheets)
    vertices, triangles = finish_surface(grid, smooth, options.triangles)
    count, origin = len(vertices), gaussians.origin
    own = frame.leave(vertices) * origin.scale + np.asarray(origin.center)
    white = np.ones((count, 4))
    return Mesh(own, triangles, np.zeros(len(triangles), dtype=int), np.zeros((count, 2)), white, (Material(),))


if __name__ == "__main__":
    main()
