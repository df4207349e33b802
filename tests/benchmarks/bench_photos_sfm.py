"""Cameras of photos from the photos alone: python tests/benchmarks/bench_photos_sfm.py SPLAT_OR_MESH

Renders of an object over white, from three rings around it, are saved as JPEG; `gatlas.sfm` finds their cameras.
Printed are the share of cameras found, the medians of their errors after a similarity (degrees; per cent of the
distance to the object), and CPU seconds and peak memory of each stage. With --photos FOLDER --truth FOLDER it is photos
that lie there, and a folder with the same photos and a transforms.json. With --fit SIDE, the held-out PSNR of fits of
the default profile with the cameras found, and with the true ones, at SIDE pixels.
"""

import argparse
import json
import resource
import shutil
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from PIL import Image

from gatlas import io
from gatlas.errors import GatlasError
from gatlas.fit import FitOptions, fit
from gatlas.fit.photo_budget import with_count
from gatlas.geometry.cameras import camera_centers, intrinsics, look_at
from gatlas.geometry.optical_axes import meeting_point
from gatlas.images.composite import composite
from gatlas.io.photos.transforms import camera_entry, read_posed_photos
from gatlas.meshes.edits import normalize_mesh
from gatlas.meshes.render import render_mesh
from gatlas.metrics.pose_errors import center_errors, rotation_errors
from gatlas.metrics.trajectories import umeyama
from gatlas.raster import rasterize, straight_rgba
from gatlas.sfm import SfmOptions, recover_cameras
from gatlas.types import Cameras

ELEVATIONS = (5.0, 25.0, 45.0)  # of the rings, degrees
DISTANCE, FOV = 3.2, 42.0
STAGES = ("features", "matches", "cameras")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("object", nargs="?")
    parser.add_argument("--counts", default="20,60,120")
    parser.add_argument("--width", type=int, default=1000, help="of the renders, in pixels")
    parser.add_argument("--photos", help="folder of photos instead of renders")
    parser.add_argument("--truth", help="folder with these photos and a transforms.json")
    parser.add_argument("--principal-point", metavar="X,Y", help="of all photos")
    parser.add_argument("--fit", type=int, metavar="SIDE", help="two fits, of pictures of so many pixels")
    options = parser.parse_args()
    print(f"{'photos':>6} {'found':>6} {'degrees':>8} {'position':>9}", end="")
    print("".join(f"{f'{stage} s':>12}{'MB':>6}" for stage in STAGES), flush=True)
    with tempfile.TemporaryDirectory(prefix="gatlas-sfm-") as scratch:
        if options.photos is not None:
            measure(Path(options.photos), Path(options.truth), Path(scratch) / "cameras", options)
            return
        for count in map(int, options.counts.split(",")):
            folder, truth = Path(scratch) / str(count), Path(scratch) / f"{count}-true"
            save_renders(folder, truth, options.object, count, options.width)
            measure(folder, truth, folder / "cameras", options)


def save_renders(folder, truth, source, count, width):
    """Write the photos, and into the folder `truth` the same with their cameras."""
    rings = np.array_split(np.arange(count), len(ELEVATIONS))
    eyes = []
    for ring, elevation in zip(rings, np.radians(ELEVATIONS), strict=True):
        azimuth = 2 * np.pi * np.arange(len(ring)) / max(1, len(ring)) + elevation
        level = np.full(len(ring), np.sin(elevation))
        eyes += [np.stack([np.cos(elevation) * np.sin(azimuth), level, np.cos(elevation) * np.cos(azimuth)], axis=1)]
    viewmats = look_at(DISTANCE * np.concatenate(eyes)).astype(np.float32)
    K = intrinsics(width, width, FOV).astype(np.float32)
    try:
        gaussians = io.load_gaussians(source)
    except GatlasError:
        gaussians, mesh = None, normalize_mesh(io.load_mesh(io.as_blob(source)))
    folder.mkdir(parents=True)
    for i, viewmat in enumerate(viewmats):
        camera = Cameras(viewmat[None], K[None], width, width)
        images = render_mesh(mesh, camera).images if gaussians is None else straight_rgba(rasterize(gaussians, camera))
        pixels = np.rint(255 * composite(np.asarray(images[0]), 1.0)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:03d}.jpg", quality=92, subsampling=0)
    shutil.copytree(folder, truth)
    frames = [{"file_path": f"{i:03d}.jpg", **camera_entry(each, K, width, width)} for i, each in enumerate(viewmats)]
    (truth / "transforms.json").write_text(json.dumps({"frames": frames}))


def measure(folder, known, out, options):
    _, posed = read_posed_photos(known)
    truth = {Path(photo.name).stem: photo.viewmat for photo in posed}
    spent, peak = dict.fromkeys(STAGES, 0.0), dict.fromkeys(STAGES, 0.0)

    @contextmanager
    def measured(title, total):
        began = time.process_time()
        reset_peak()
        try:
            yield lambda: None
        finally:
            spent[title] += time.process_time() - began
            peak[title] = max(peak[title], peak_mb())

    try:
        found = recover_cameras(folder, SfmOptions(principal_point=options.principal_point), out=str(out), bar=measured)
    except GatlasError as error:
        print(f"{len(truth):6} not found: {error}", flush=True)
        return
    model = str(found.folder)
    names = [Path(name).stem for name in io.photo_names(folder, model_dir=model)]
    viewmats = io.load_cameras(model).viewmats.astype(np.float64)
    true = np.stack([truth[name] for name in names]).astype(np.float64)
    moved = umeyama(camera_centers(viewmats), camera_centers(true))
    placed = moved.apply_to_cameras(viewmats)
    target = meeting_point(true, 1e-3)
    degrees, position = rotation_errors(placed, true), center_errors(placed, true, target)
    print(
        f"{len(truth):6} {len(names) / len(truth):6.1%} {np.median(degrees):8.3f} {np.median(position):8.3f}%", end=""
    )
    print("".join(f"{spent[stage]:12.1f}{peak[stage]:6.0f}" for stage in STAGES), flush=True)
    if options.fit is not None:
        compare_fits(folder, model, known, options.fit)


def compare_fits(folder, model, known, side):
    """Print the held-out PSNR of fits with the cameras found and with the true ones."""
    psnr = []
    for photos, model_dir in ((folder, model), (known, None)):
        views = io.load_views(photos, side=side, model_dir=model_dir)
        chosen = with_count(FitOptions(resolution=side, lambda_lpips=0.0), views, lambda _: None)
        began = time.process_time()
        found = fit(views, chosen, points=io.load_points(photos, model_dir=model_dir))
        psnr.append(f"{found.psnr:.2f} dB ({len(found.gaussians)} Gaussians, {time.process_time() - began:.0f} CPU s)")
    print(f"       held-out PSNR with the cameras found {psnr[0]}, the true ones {psnr[1]}", flush=True)


def reset_peak():
    """Have Linux begin a new peak of this process's memory; elsewhere it is that since the start."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_mb():
    with suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
