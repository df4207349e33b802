"""Four views of an object to Gaussians: python tests/benchmarks/bench_lgm.py [--model RUN --held 20 --sheet FILE.png]

Trains the preset `cpu` of lgm on random objects of examples/make_objects.py, or takes a run. Then, on objects that it
has not seen: the PSNR (over white, 64 x 64) of views between the four of an orbit, beside a picture of their mean
color, the nearest of the four views itself, and the visual hull of the four, colored from them. Once at elevation 0,
and once at elevation 20, whose poses are given. The sheet shows for each object the four views, renders and the truth.
"""

import argparse
import runpy
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt

sys.path.insert(0, str(Path(__file__).parents[2]))

from gatlas import io
from gatlas.config import ignore
from gatlas.fit.hull import carve_hull, hull_surface
from gatlas.fit.scene_frame import SceneFrame
from gatlas.geometry.cameras import camera_centers, orbit
from gatlas.geometry.rotations import quats_from_normals
from gatlas.geometry.sh import rgb_to_dc
from gatlas.images.composite import composite
from gatlas.metrics import psnr
from gatlas.raster import rasterize
from gatlas.raster.threads import set_num_threads
from gatlas.render import RenderOptions, render
from gatlas.render.views import take_views
from gatlas.systems import load_system
from gatlas.systems.contract import Condition, Photo, SampleRequest, Sources
from gatlas.systems.lgm import PRESETS, create
from gatlas.train import TrainOptions, train
from gatlas.types import Gaussians, Views

HELD_SEED = 1_000  # of objects that are not trained on
SIDE = 64
COUNT, EVERY = 16, 4  # views of an orbit; every fourth is an input
ELEVATIONS = (0.0, 20.0)
HULL_POINTS = 20_000
INSET = 0.055  # of the points, unit balls: with it the hull's renders of the input views are nearest to these
WHITE = np.ones(3, dtype=np.float32)
make_objects = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "make_objects.py"))["main"]


def held_views(folder, count, seed=HELD_SEED):
    """Views of each held object from orbits, straight RGBA: [elevation][object]."""
    make_objects(Path(folder), count, seed)
    meshes = [io.load_mesh(path) for path in sorted(Path(folder).glob("*.glb"))]
    orbits = [orbit(COUNT, SIDE, SIDE, elevation=elevation) for elevation in ELEVATIONS]
    return [[take_views(mesh, cameras) for mesh in meshes] for cameras in orbits]


def write_training_views(folder, count):
    """A folder of views of each of `count` random objects: an orbit, and all sides."""
    make_objects(Path(folder) / "objects", count)
    (Path(folder) / "views").mkdir()
    options = RenderOptions(orbit=12, sphere=24, elevation=10.0, width=SIDE, background="transparent")
    for path in sorted((Path(folder) / "objects").glob("*.glb")):
        io.save_views(Path(folder) / "views" / path.stem, render(io.load_mesh(path), options))
    return str(Path(folder) / "views")


def parted(views):
    """The input views and the others."""
    seen = np.arange(0, COUNT, EVERY)
    others = np.setdiff1d(np.arange(COUNT), seen)
    return tuple(Views(views.images[chosen], views.cameras[chosen]) for chosen in (seen, others))


def over_white(images):
    return composite(images, WHITE)


def sampled(system, views):
    """The splat that the system makes of views with cameras."""
    arrays = zip(views.images, views.cameras.Ks, views.cameras.viewmats, strict=True)
    photos = tuple(Photo(f"{i}", *each) for i, each in enumerate(arrays))
    (gaussians,) = system.sample(SampleRequest((Condition("object", photos=photos),)))
    return gaussians


def rendered(gaussians, cameras):
    return np.clip(rasterize(gaussians, cameras, background=WHITE).colors, 0, 1)


def mean_color(truth):
    """Each true view's own mean color in all of its pixels."""
    return np.broadcast_to(truth.mean(axis=(1, 2), keepdims=True), truth.shape)


def nearest_view(seen, cameras):
    """The input view whose camera is nearest."""
    eyes, wanted = camera_centers(seen.cameras.viewmats), camera_centers(cameras.viewmats)
    nearest = np.linalg.norm(wanted[:, None] - eyes[None], axis=-1).argmin(axis=1)
    return over_white(seen.images[nearest])


def hull_splat(seen):
    """The surface of the visual hull of the input views, in the colors of those that see it most from the front."""
    hull = carve_hull(seen, SceneFrame(np.zeros(3), 0.7))
    cells = np.argwhere(hull.filled)
    outside = np.linalg.norm(hull.centers(cells), axis=1) > 1  # all objects are in the unit ball
    hull.filled[tuple(cells[outside].T)] = False
    surface = hull_surface(hull, HULL_POINTS, np.random.default_rng(0))
    spacing = np.sqrt(surface.area / HULL_POINTS)
    scales = np.tile(np.float32([0.6 * spacing, 0.6 * spacing, 0.1 * spacing]), (HULL_POINTS, 1))
    points = surface.points - INSET * surface.normals
    arrays = points.astype(np.float32), quats_from_normals(surface.normals).astype(np.float32), scales
    black = np.zeros((HULL_POINTS, 1, 3), dtype=np.float32)
    depths = rasterize(Gaussians(*arrays, np.full(HULL_POINTS, 0.95, np.float32), black), seen.cameras).depths
    total, weights = np.zeros((HULL_POINTS, 3)), np.full((HULL_POINTS, 1), 1e-9)
    pictures = [_without_edge(image) for image in seen.images]
    for picture, depth, viewmat, K in zip(pictures, depths, seen.cameras.viewmats, seen.cameras.Ks, strict=True):
        local = points @ viewmat[:3, :3].T + viewmat[:3, 3]
        pixels = (local @ K.T)[:, :2] / local[:, 2:]
        columns, rows = np.clip(pixels.astype(int), 0, SIDE - 1).T
        facing = -(surface.normals @ viewmat[:3, :3].T * local).sum(axis=1) / np.linalg.norm(local, axis=1)
        visible = local[:, 2] < depth[rows, columns, 0] + 0.08
        weight = (np.clip(facing, 1e-3, 1) ** 4 * np.where(visible, 1.0, 1e-4))[:, None]
        total += weight * picture[rows, columns]
        weights += weight
    sh = rgb_to_dc(total / weights)[:, None].astype(np.float32)
    return Gaussians(*arrays, np.full(HULL_POINTS, 0.95, np.float32), sh)


def _without_edge(image):
    """RGB, with the color of the nearest opaque pixel where a pixel is not opaque."""
    nearest = distance_transform_edt(image[..., 3] < 0.99, return_distances=False, return_indices=True)
    return image[tuple(nearest)][..., :3]


def judge(system, objects):
    """PSNR (dB) of each object's other views, by method; and rows of pictures."""
    table, rows = [], []
    for views in objects:
        seen, others = parted(views)
        truth = over_white(others.images)
        made = rendered(sampled(system, seen), others.cameras)
        methods = {
            "lgm": made,
            "mean color": mean_color(truth),
            "nearest input view": nearest_view(seen, others.cameras),
            "colored hull of the inputs": rendered(hull_splat(seen), others.cameras),
        }
        table.append({name: psnr(pictures, truth).mean() for name, pictures in methods.items()})
        chosen = np.arange(1, len(truth), EVERY - 1)  # halfway between two inputs
        rows.append(np.concatenate([over_white(seen.images), made[chosen], truth[chosen]]))
    return {name: float(np.mean([each[name] for each in table])) for name in table[0]}, rows


def print_judgement(system, held, report=print):
    """The figures of both orbits; the pictures of the first."""
    found = []
    for elevation, objects in zip(ELEVATIONS, held, strict=True):
        figures, rows = judge(system, objects)
        found.append((figures, rows))
        best = max(figures["nearest input view"], figures["colored hull of the inputs"])
        report(f"{len(objects)} objects, elevation {elevation:g}:")
        for name, value in figures.items():
            report(f"  {name:27} {value:6.2f} dB")
        report(f"  lgm - mean color {figures['lgm'] - figures['mean color']:+.2f} dB; - best of the other two "
               f"{figures['lgm'] - best:+.2f} dB")  # fmt: skip
    report(f"from elevation {ELEVATIONS[0]:g} to {ELEVATIONS[1]:g}: {found[1][0]['lgm'] - found[0][0]['lgm']:+.2f} dB")
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a run that is trained already")
    parser.add_argument("--steps", type=int, help="of the training, instead of the preset's")
    parser.add_argument("--objects", type=int, default=220)
    parser.add_argument("--held", type=int, default=20)
    parser.add_argument("--held-seed", type=int, default=HELD_SEED, help="of the objects that are kept back")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--sheet", help="a PNG: input views, renders and truth of each held object")
    wish = parser.parse_args()
    torch.set_num_threads(wish.threads)
    set_num_threads(wish.threads)
    with tempfile.TemporaryDirectory() as folder:
        run = wish.model or f"{folder}/run"
        if wish.model is None:
            preset = PRESETS["cpu"]
            system = create(preset.config)
            objects = system.dataset(Sources((write_training_views(folder, wish.objects),)))
            steps = {} if wish.steps is None else {"steps": wish.steps, "warmup": min(20, wish.steps // 2)}
            options = TrainOptions(**{**preset.training, **steps})
            began, spent = time.perf_counter(), time.process_time()
            train(system, objects, options, run, device="cpu", report=ignore)
            minutes = [(time.perf_counter() - began) / 60, (time.process_time() - spent) / 60]
            title = f"{options.steps} steps of {options.batch} of {wish.objects} objects"
            print(f"{title}: {minutes[0]:.1f} minutes, {minutes[1]:.1f} of the CPU")
        found = print_judgement(load_system(run), held_views(f"{folder}/held", wish.held, wish.held_seed))
        if wish.sheet:
            rows = [np.concatenate(list(pictures), axis=1) for pictures in found[0][1]]
            io.save_image(wish.sheet, np.concatenate(rows), force=True)


if __name__ == "__main__":
    main()
