"""`gatlas fit` of photos: python tests/benchmarks/bench_photos.py [--photos FOLDER...] [--exposed] [--sheet x.png]

Without --photos, of 60 JPEG photos of the room of tests/benchmarks/room.py. Each fit is a process of its own, whose CPU
seconds count with start-up, without LPIPS. PSNR and SSIM are those of the report: held-out photos as they are; the last
column is the PSNR with a gain and an offset per held-out photo and channel, solved. --exposed fits the photos once more
after each was multiplied by 0.7 to 1.3; its last column is against the unchanged photos. --sheet shows three held-out
photos of the first folder, their fit under their exposure, and the error times 4.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import imageio.v3 as iio
import numpy as np

from gatlas import io
from gatlas.fit.exposure import corrected_psnr, solve_exposure
from gatlas.fit.options import PROFILES
from gatlas.fit.photos import held_out_indices, rgba_views
from gatlas.fit.scene_frame import SceneFrame, views_into_frame
from gatlas.images.composite import composite
from gatlas.images.resize import resize_views
from gatlas.images.sheets import contact_sheet
from gatlas.raster import rasterize
from gatlas.types import MixedViews, Views

SHOWN = 3  # photos of the sheet
ERROR = 4  # factor of the errors that it shows
GAINS = (0.7, 1.3)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, nargs="+", help="folders with transforms.json or a COLMAP model")
    parser.add_argument("--room", type=int, default=60, help="photos of the room, where no folder is given")
    parser.add_argument("--width", type=int, default=960, help="of the room's photos")
    parser.add_argument("--profile", default="default")
    parser.add_argument("--resolution", type=int)
    parser.add_argument("--count", type=int, help="default by the photos")
    parser.add_argument("--sh-degree", type=int, nargs="+", default=[0])
    parser.add_argument("--exposed", action="store_true")
    parser.add_argument("--sheet", type=Path)
    options = parser.parse_args()
    words = ["--profile", options.profile, "--lambda-lpips", "0"]
    words += ["-n", str(options.count)] if options.count else []
    words += ["--resolution", str(options.resolution)] if options.resolution else []
    side = options.resolution or PROFILES[options.profile].resolution
    names = [f"{name:>9}" for name in ("degree", "number", "Gaussians", "CPU s", "PSNR", "SSIM", "exposed")]
    print(f"{'photos':24} " + " ".join(names), flush=True)
    with tempfile.TemporaryDirectory() as made:
        for folder in options.photos or [photographed(Path(made) / "room", options)]:
            views = rgba_views(resize_views(io.load_views(str(folder), side=side), side))
            inputs = {folder.name: folder}
            if options.exposed:
                inputs[f"{folder.name} x {GAINS[0]}-{GAINS[1]}"] = multiplied(
                    Path(made) / f"{folder.name}-exposed", views
                )
            for name, source in inputs.items():
                for degree in options.sh_degree:
                    gaussians, quality, seconds = fitted(source, [*words, "--sh-degree", str(degree)], Path(made))
                    judged = held_out(views, gaussians)
                    exposed = corrected_psnr(gaussians, judged, solve_exposure(gaussians, judged))
                    figures = f"{seconds:9.1f} {quality['psnr']:9.2f} {quality['ssim']:9.4f} {exposed:9.2f}"
                    print(f"{name[:24]:24} {degree:9} {len(views):9} {len(gaussians):9,} {figures}", flush=True)
                    if options.sheet and not options.sheet.exists():
                        iio.imwrite(options.sheet, sheet(gaussians, judged))


def photographed(folder, options):
    """A folder of JPEG photos of the room."""
    script = Path(__file__).parent / "room.py"
    size = ["--photos", str(options.room), "--width", str(options.width), "--height", str(options.width * 3 // 4)]
    subprocess.run([sys.executable, script, folder, *size], check=True)
    return folder


def multiplied(folder, views):
    """A folder of the photos, each times a factor, as 8 bits hold them."""
    gains = np.random.default_rng(0).uniform(*GAINS, len(views))
    images = [
        np.concatenate([np.clip(image[..., :3] * gain, 0, 1), image[..., 3:]], axis=-1)
        for image, gain in zip(views.images, gains, strict=True)
    ]
    kind, images = (MixedViews, tuple(images)) if isinstance(views, MixedViews) else (Views, np.stack(images))
    io.save_views(str(folder), kind(images, views.cameras))
    return folder


def fitted(folder, words, made):
    """The Gaussians of `gatlas fit`, its figures and its CPU seconds."""
    report, splat = made / "report.json", made / "splat.ply"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    words = [folder, *words, "--report", report, "-o", splat, "--force"]
    run = subprocess.run([sys.executable, "-m", "gatlas", "fit", *words], capture_output=True, text=True, check=False)
    if run.returncode:
        sys.exit(run.stderr.strip())
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return io.load_gaussians(str(splat)), json.loads(report.read_text())["held_out"], seconds


def held_out(views, gaussians):
    """The photos that were not trained on, in the units of the Gaussians."""
    frame = SceneFrame(np.array(gaussians.origin.center), gaussians.origin.scale)
    return views_into_frame(views[held_out_indices(len(views))], frame)


def sheet(gaussians, views):
    """Photo, fit and error of some views, a row each (8 bits)."""
    pictures = []
    for index in np.unique(np.linspace(0, len(views) - 1, SHOWN).astype(int)):
        photo = views[[index]]
        gains, offsets = solve_exposure(gaussians, photo)
        rendered = rasterize(gaussians, photo.cameras[0])
        fit = rendered.colors[0] * gains[0] + rendered.alphas[0] * (offsets[0] - 1) + 1
        truth = composite(np.asarray(photo.images[0]), 1.0)
        pictures += [truth, fit, ERROR * np.abs(truth - fit)]
    return (contact_sheet([np.clip(picture, 0, 1) for picture in pictures]) * 255).round().astype(np.uint8)


if __name__ == "__main__":
    main()
