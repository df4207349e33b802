"""Find the cameras of renders of meshes in splats of them: python tests/benchmarks/bench_pose.py MESH SPLAT ...

The splats are `gatlas fit MESH -o SPLAT`. Queries are renders of the mesh at 256^2: azimuth uniform, elevation within
60 degrees, roll within 20, distance 2.6 within 20 %, the eye moved by up to 0.1. A query is right within 0.5 degrees
and 1 % of the distance. `--clutter` puts noise of all sizes behind the object and gives no mask, `--behind PHOTO ...`
pieces of photos, whichever are named; `--refine` refines what was found, as `gatlas pose-pnp` does. Seconds are of the
CPU, on one thread.
"""

import argparse
import time

import numpy as np
from scipy.ndimage import gaussian_filter

from gatlas import io
from gatlas.geometry.cameras import intrinsics, look_at
from gatlas.images.composite import composite
from gatlas.meshes.edits import normalize_mesh
from gatlas.meshes.render import render_mesh
from gatlas.metrics.pose_errors import center_errors, recall_area, rotation_errors
from gatlas.pose.bank import make_feature_bank
from gatlas.pose.locate import CONFIDENT_INLIERS, locate
from gatlas.pose.results import NotFound
from gatlas.raster.threads import set_num_threads
from gatlas.types import Cameras

SIDE = 256
K = intrinsics(SIDE, SIDE)


def query_cameras(count, rng):
    viewmats = []
    for _ in range(count):
        azimuth, elevation = rng.uniform(0, 2 * np.pi), np.radians(rng.uniform(-60, 60))
        roll, distance = np.radians(rng.uniform(-20, 20)), 2.6 * rng.uniform(0.8, 1.2)
        ring = np.cos(elevation)
        eye = distance * np.array([ring * np.sin(azimuth), np.sin(elevation), ring * np.cos(azimuth)])
        turn = np.eye(4)
        turn[:2, :2] = [[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]]
        viewmats.append(turn @ look_at((eye + rng.uniform(-0.1, 0.1, 3))[None])[0])
    return np.stack(viewmats)


def noise(rng):
    """Colours with as much contrast at each size."""
    picture = np.zeros((SIDE, SIDE, 3))
    for sigma in (1, 2, 4, 8, 16, 32):
        layer = gaussian_filter(rng.normal(size=picture.shape), (sigma, sigma, 0))
        picture += layer / layer.std() * sigma**0.5
    return np.clip(picture / picture.std() * 0.25 + 0.5, 0, 1).astype(np.float32)


def crop(picture, rng):
    """A square of the queries' size, from around the photo's middle, where its object is."""
    spare = np.array(picture.shape[:2]) - SIDE
    top, left = rng.integers(spare // 4, spare - spare // 4 + 1)
    return picture[top : top + SIDE, left : left + SIDE]


def find(bank, photo, refined):
    """The camera, NaN where there is none, and the CPU seconds of finding and of refining it."""
    start = time.process_time()
    found = locate(bank, photo, K)
    located = time.process_time()
    if isinstance(found, NotFound):
        return np.full((4, 4), np.nan), located - start, 0.0
    viewmat = found.viewmat
    if refined:
        from gatlas.pose.refinement import MATCHED_START, RefineOptions, refine

        better = refine(bank.gaussians, photo, viewmat, K, options=MATCHED_START if found.inliers else RefineOptions())
        if not better.failure or found.inliers < CONFIDENT_INLIERS:
            viewmat = better.viewmat  # NaN where the picture does not bear it out
    return viewmat, located - start, time.process_time() - located


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", nargs="+", metavar="MESH SPLAT")
    parser.add_argument("--queries", type=int, default=30)
    parser.add_argument("--clutter", action="store_true")
    parser.add_argument("--behind", nargs="+", default=(), metavar="PHOTO")
    parser.add_argument("--refine", action="store_true")
    options = parser.parse_args()
    if len(options.pairs) % 2:
        parser.error("each mesh needs its splat")
    set_num_threads(1)
    import cv2

    cv2.setNumThreads(1)
    columns = ("right %", "none", "wrong", "med deg", "med %", "AUC@5", "bank s", "find s", "refine s")
    print(f"{'object':16}" + "".join(f"{name:>9}" for name in columns))
    for path, splat in zip(options.pairs[::2], options.pairs[1::2], strict=True):
        mesh, gaussians = normalize_mesh(io.load_mesh(path)), io.load_gaussians(splat)
        rng = np.random.default_rng(1)
        truths = query_cameras(options.queries, rng)
        cameras = Cameras(truths, np.tile(K, (len(truths), 1, 1)), SIDE, SIDE)
        photos = render_mesh(mesh, cameras, supersample=4).images
        if options.clutter:
            photos = [composite(photo, noise(rng)) for photo in photos]
        elif options.behind:
            pictures = [io.load_image(path)[..., :3] for path in options.behind]
            photos = [composite(photo, crop(pictures[i % len(pictures)], rng)) for i, photo in enumerate(photos)]
        make_feature_bank(gaussians, K, SIDE, SIDE, views=1)  # compiles
        start = time.process_time()
        bank = make_feature_bank(gaussians, K, SIDE, SIDE)
        bank_seconds = time.process_time() - start
        results = [find(bank, photo, options.refine) for photo in photos]
        viewmats = np.stack([result[0] for result in results])
        degrees, percent = rotation_errors(viewmats, truths), center_errors(viewmats, truths)
        right, none = (degrees < 0.5) & (percent < 1), np.isnan(degrees)
        numbers = (
            f"{100 * right.mean():9.0f}{none.sum():9}{(~right & ~none).sum():9}{np.nanmedian(degrees):9.3f}"
            f"{np.nanmedian(percent):9.3f}{100 * recall_area(np.maximum(degrees, percent), 5):9.1f}{bank_seconds:9.2f}"
            f"{np.mean([result[1] for result in results]):9.2f}{np.mean([result[2] for result in results]):9.2f}"
        )
        print(f"{mesh.origin.name[:16]:16}{numbers}", flush=True)


if __name__ == "__main__":
    main()
