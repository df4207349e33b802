"""Scores of consistency of sets of views: python tests/benchmarks/bench_consistency.py [NAME=VIEWS ...] [--objects 2]

Views from an orbit of random objects of examples/make_objects.py that do not look the same from the front and the side;
the same with one view replaced by that of another object, with cameras turned about the object by 2 and 10 degrees, and
with the views shuffled; the first view in place of all; a view of another object from each camera; noise; blank views.
Means over the objects. Each NAME=VIEWS, a folder or tar of views, is another row: means over its objects.
"""

import argparse
import runpy
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from gatlas import io
from gatlas.geometry.cameras import orbit
from gatlas.geometry.rotations import so3_exp
from gatlas.images.composite import composite
from gatlas.io.photos.object_views import read_object_views
from gatlas.metrics import psnr
from gatlas.raster.threads import set_num_threads
from gatlas.render.views import take_views
from gatlas.score import ConsistencyOptions, score_consistency
from gatlas.types import Cameras, Views

SEED = 2_000  # of the objects
SYMMETRIC = 20.0  # dB between the front and the side
OTHERS = 11  # objects that views are replaced by
make_objects = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "make_objects.py"))["main"]


def turned(cameras, degrees, rng):
    """The cameras, each turned about the origin by an angle around a random axis."""
    viewmats = np.array(cameras.viewmats, dtype=np.float64)
    for viewmat in viewmats:
        axis = rng.normal(size=3)
        viewmat[:3, :3] = viewmat[:3, :3] @ so3_exp(axis * np.radians(degrees) / np.linalg.norm(axis))
    return Cameras(viewmats, cameras.Ks, cameras.width, cameras.height)


def damaged(views, others):
    """Name -> views that are ever less consistent; `others` are of other objects from the same cameras."""
    rng, images, cameras = np.random.default_rng(0), views.images, views.cameras
    replaced, count = images.copy(), len(views)
    replaced[count // 3] = others[0].images[count // 3]
    return {
        "truth": views,
        "one view replaced": Views(replaced, cameras),
        "poses turned by 2 degrees": Views(images, turned(cameras, 2, np.random.default_rng(1))),
        "poses turned by 10 degrees": Views(images, turned(cameras, 10, np.random.default_rng(1))),
        "shuffled": Views(images[rng.permutation(count)], cameras),
        "one view everywhere": Views(np.repeat(images[count // 8][None], count, axis=0), cameras),
        "different objects": Views(np.stack([others[i % len(others)].images[i] for i in range(count)]), cameras),
        "noise": Views(rng.random(images.shape, dtype=np.float32), cameras),
        "blank": Views(np.ones_like(images), cameras),
    }


def object_views(objects, count, side):
    """Views over white of as many objects as are asked for, and of OTHERS others."""
    with tempfile.TemporaryDirectory() as folder:
        make_objects(Path(folder), 4 * objects + OTHERS, SEED)
        meshes = [io.load_mesh(path) for path in sorted(Path(folder).glob("*.glb"))]
    cameras = orbit(count, side, side, elevation=20)
    taken = [take_views(mesh, cameras) for mesh in meshes]
    views = [Views(np.asarray(composite(each.images, 1.0), dtype=np.float32), cameras) for each in taken]
    quarter = count // 4
    uneven = [each for each in views[:-OTHERS] if psnr(each.images[0], each.images[quarter]) < SYMMETRIC][:objects]
    return uneven, views[-OTHERS:]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", nargs="*", metavar="NAME=VIEWS")
    parser.add_argument("--objects", type=int, default=2)
    parser.add_argument("--views", type=int, default=24)
    parser.add_argument("--sizes", type=int, nargs="*", default=[64, 128])
    parser.add_argument("--splits", type=int, default=4)
    parser.add_argument("--iterations", type=int, default=600)
    parser.add_argument("--measure", default="both")
    arguments = parser.parse_args()
    set_num_threads(1)
    options = ConsistencyOptions(
        measure=arguments.measure, splits=arguments.splits, iterations=arguments.iterations, device="cpu"
    )
    print("| views | pixels | field PSNR (dB) | field SSIM | epipolar | registered | CPU s |", flush=True)
    print("|---|---:|---:|---:|---:|---:|---:|", flush=True)

    def show(name, sets):
        started = time.process_time()
        scores = [score_consistency(each, options) for each in sets]
        seconds = (time.process_time() - started) / len(scores)
        cells = []
        for form, part, figure in (
            (".2f", "field", "psnr"),
            (".4f", "field", "ssim"),
            (".3f", "epipolar", "score"),
            (".0%", "epipolar", "registered"),
        ):
            parts = [getattr(score, part) for score in scores]
            cells.append("-" if parts[0] is None else format(np.mean([getattr(p, figure) for p in parts]), form))
        print(f"| {name} | {sets[0].cameras.width} | {' | '.join(cells)} | {seconds:.1f} |", flush=True)

    for side in arguments.sizes:
        objects, others = object_views(arguments.objects, arguments.views, side)
        sets = [damaged(each, others) for each in objects]
        for name in sets[0]:
            alike = name in ("different objects", "noise", "blank")  # of all objects
            show(name, [each[name] for each in (sets[:1] if alike else sets)])
    for row in arguments.rows:
        name, _, source = row.partition("=")
        show(name, [Views(found.images, found.cameras) for found in read_object_views(source)])


if __name__ == "__main__":
    main()
