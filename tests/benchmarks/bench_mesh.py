"""Meshes of splats, step by step of the recipe: python tests/benchmarks/bench_mesh.py SPLAT... [--references MESH...]

Each line leaves one step out or changes it. As `gatlas mesh --report` measures them: IoU of silhouettes and PSNR
against the splat, and with a reference PSNR against it and F-score, precision and recall at 1 % of the radius. CPU
seconds of all threads, of the geometry and with the texture, and the peak of the process's memory until then. Of
several splats the last line is the median of the first step.
"""

import argparse
import resource
import time
from dataclasses import replace
from itertools import zip_longest

import numpy as np

from gatlas import io
from gatlas.meshes import MeshOptions
from gatlas.meshes.depth_maps import render_pixel_depth_maps
from gatlas.meshes.extract import finish_surface
from gatlas.meshes.fusion import CELLS, fuse
from gatlas.meshes.object_frame import enter_frame, find_frame, views_around
from gatlas.meshes.outlines import ROUNDS, fit_outlines
from gatlas.meshes.splat_views import see_splat
from gatlas.meshes.texture import colored
from gatlas.render.mesh_quality import measure_mesh

# Of each line: how depths are taken, views, cells, two sheets, rounds of smoothing, of outlines and of the texture.
STEPS = {
    "recipe": ("met", 1.0, 1.0, True, 10, ROUNDS, 1),
    "median depth": ("median", 1.0, 1.0, True, 10, ROUNDS, 1),
    "expected depth": ("expected", 1.0, 1.0, True, 10, ROUNDS, 1),
    "one sheet": ("met", 1.0, 1.0, False, 10, ROUNDS, 1),
    "half the views": ("met", 0.5, 1.0, True, 10, ROUNDS, 1),
    "half as many views more": ("met", 1.5, 1.0, True, 10, ROUNDS, 1),
    "a coarser grid": ("met", 1.0, 0.8, True, 10, ROUNDS, 1),
    "a finer grid": ("met", 1.0, 1.25, True, 10, ROUNDS, 1),
    "not smoothed": ("met", 1.0, 1.0, True, 0, ROUNDS, 1),
    "outlines left": ("met", 1.0, 1.0, True, 10, 0, 1),
    "outlines twice as often": ("met", 1.0, 1.0, True, 10, 2 * ROUNDS, 1),
    "texture not corrected": ("met", 1.0, 1.0, True, 10, ROUNDS, 0),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("splats", nargs="+")
    parser.add_argument("--references", nargs="+", default=[], help="meshes that the splats were fitted to, in order")
    for name in ("views", "resolution", "grid", "triangles", "texture"):
        parser.add_argument(f"--{name}", type=int, default=getattr(MeshOptions(), name))
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=list(STEPS))
    options = parser.parse_args()
    titles = "".join(f"{title:>7}" for title in ("IoU", "PSNR", "PSNR_m", "F", "prec.", "recall"))
    print(f"{'splat':20} {'step':24}{titles} closed   geom.  all s     MB")
    firsts = []
    for path, reference in zip_longest(options.splats, options.references):
        gaussians = io.load_gaussians(path)
        source = None if reference is None else io.load_mesh(io.as_blob(reference))
        if not firsts:
            extracted(gaussians, options, *STEPS["recipe"])  # compiles
        for name in options.steps:
            mesh, *seconds = extracted(gaussians, options, *STEPS[name])
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            found = measure_mesh(mesh, gaussians, source)
            against = found.get("reference", {})
            scores = [found["splat"]["iou"], found["splat"]["psnr"]]
            scores += [against.get(key, np.nan) for key in ("psnr", "f_score", "precision", "recall")]
            closed = "yes" if found["watertight"] else "no"
            show(gaussians.origin.name, name, [*scores, *seconds, peak], closed)
            if name == options.steps[0]:
                firsts.append([*scores, *seconds, peak])
    if len(firsts) > 1:
        known = [[each for each in column if not np.isnan(each)] for column in zip(*firsts, strict=True)]
        show("median", options.steps[0], [np.median(column) if column else np.nan for column in known], "")


def show(splat, step, numbers, closed):
    iou, psnr, psnr_m, f_score, precision, recall, geometry, whole, peak = numbers
    shown = f"{iou:7.3f}{psnr:7.2f}{psnr_m:7.2f}{f_score:7.3f}{precision:7.3f}{recall:7.3f}"
    print(f"{splat[:20]:20} {step:24}{shown} {closed:>6}{geometry:8.1f}{whole:7.1f}{peak:7.0f}", flush=True)


def extracted(gaussians, options, depth, views, cells, two_sheets, smooth, outlines, corrections):
    """The mesh in the splat's own units, and the seconds of its geometry and of all."""
    started = time.process_time()
    frame = find_frame(gaussians)
    inside = enter_frame(gaussians, frame)
    cameras, eps2d = views_around(inside, round(views * options.views), options.resolution)
    seen = see_splat(inside, cameras, eps2d)
    maps = seen.maps if depth == "met" else render_pixel_depth_maps(inside, cameras, eps2d, depth)
    count = None if options.grid is None and cells == 1.0 else round(cells * (options.grid or CELLS))
    grid = fuse(maps, count, two_sheets=two_sheets)
    del maps
    seen = seen.without_normals()
    vertices, triangles = finish_surface(grid, smooth, options.triangles)
    vertices = fit_outlines(vertices, triangles, seen, rounds=outlines)
    geometry = time.process_time() - started
    mesh = colored(vertices, triangles, seen, size=options.texture, rounds=corrections)
    own = frame.leave(np.asarray(mesh.vertices)) * gaussians.origin.scale + np.asarray(gaussians.origin.center)
    return replace(mesh, vertices=own), geometry, time.process_time() - started


if __name__ == "__main__":
    main()
