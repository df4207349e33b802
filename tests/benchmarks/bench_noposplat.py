"""From nothing to poses: python tests/benchmarks/bench_noposplat.py [--steps 400 --scenes 256 --held 16 --model RUN]

Trains the preset `tiny` of noposplat on made scenes of textured boxes, by the one loop and on one thread of the CPU.
Then, on scenes that it has not seen: the PSNR of views between two photos, beside a picture of the mean colour, the
better of the two photos itself and the untrained network; and the pose of the second photo by PnP on the pixel grid of
the splat that `sample` made of both, written and read as a PLY. No pose is given to it.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from gatlas import io
from gatlas.datasets.posed_views import posed_view_set
from gatlas.geometry.rotations import nearest_rotation
from gatlas.metrics import psnr
from gatlas.metrics.pose_errors import direction_errors, recall_area, rotation_errors
from gatlas.raster.threads import set_num_threads
from gatlas.systems import load_system
from gatlas.systems.contract import Condition, Photo, SampleRequest, Sources
from gatlas.systems.noposplat import PRESETS, create
from gatlas.systems.noposplat.splat import FIRST_VIEWMAT, crop_photos, locate_photos
from gatlas.train import TrainOptions, train
from tests.helpers.scene_files import write_scenes

HELD_FROM = 100_000  # seeds of scenes that are not trained on


def pairs(folder, config, draws=2):
    """Samples of scenes: two photos and the views between them."""
    scenes = posed_view_set([str(folder)], config.sampling)
    return scenes, [scenes.draw(i, seed=HELD_FROM + 100 * k + i) for i in range(len(scenes)) for k in range(draws)]


def view_quality(system, scenes, samples):
    """Mean PSNR of the target views (dB), and that of a picture of the mean colour."""
    found = [system.diagnose(system.network, scenes.collate([sample]), torch.Generator()) for sample in samples]
    return tuple(float(np.mean([each[name] for each in found])) for name in ("psnr", "psnr_mean_color"))


def nearer_photo(samples):
    """Mean PSNR of the better one of the two photos itself as the target view."""
    best = []
    for sample in samples:
        context, targets = (torch.from_numpy(x).float() / 255 for x in (sample.context, sample.targets))
        best += [float(max(psnr(photo, target) for photo in context)) for target in targets]
    return float(np.mean(best))


def pose_errors(system, samples, folder):
    """Rotation, direction of the way, and centre (of the distance between the photos) of each second photo."""
    rows = []
    for sample in samples:
        height, width = sample.context.shape[1:3]
        Ks = sample.context_intrinsics * np.array([[width], [height], [1.0]])
        photos = [Photo(f"photo-{i}", image / np.float32(255), Ks[i]) for i, image in enumerate(sample.context)]
        (gaussians,) = system.sample(SampleRequest((Condition("scene", photos=tuple(photos)),)))
        path = Path(folder) / "scene.ply"
        io.save_gaussians(path, gaussians, force=True)
        located = locate_photos(io.load_gaussians(path), *crop_photos(photos, width, height))
        if located.lost:
            rows.append((np.inf, np.inf, np.inf))
            continue
        found = located.views.cameras.viewmats[1].astype(np.float64) @ FIRST_VIEWMAT
        truth = sample.context_viewmats[1].astype(np.float64)
        centers = [-m[:3, :3].T @ m[:3, 3] for m in (found, truth)]
        angles = [float(error(found[None], truth[None])[0]) for error in (rotation_errors, direction_errors)]
        rows.append((*angles, 100 * np.linalg.norm(centers[0] - centers[1])))
    return np.array(rows)


def mean_pose_errors(samples):
    """The same for a guess that looks at no picture: the mean pose of all second photos."""
    truths = np.stack([sample.context_viewmats[1] for sample in samples]).astype(np.float64)
    guess = np.eye(4)
    guess[:3, :3] = nearest_rotation(truths[:, :3, :3].mean(axis=0))
    guess[:3, 3] = -guess[:3, :3] @ np.mean([-m[:3, :3].T @ m[:3, 3] for m in truths], axis=0)
    guesses = np.tile(guess, (len(truths), 1, 1))
    return [np.median(error(guesses, truths)) for error in (rotation_errors, direction_errors)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--scenes", type=int, default=256)
    parser.add_argument("--held", type=int, default=16)
    parser.add_argument("--model", help="a run that is trained already")
    wish = parser.parse_args()
    torch.set_num_threads(1)
    set_num_threads(1)
    config = PRESETS["tiny"].config
    with tempfile.TemporaryDirectory() as folder:
        held = write_scenes(Path(folder) / "held", range(HELD_FROM, HELD_FROM + wish.held))
        run = wish.model or f"{folder}/run"
        if wish.model is None:
            system = create(config)
            scenes = system.dataset(Sources((str(write_scenes(Path(folder) / "train", range(wish.scenes))),)))
            options = TrainOptions(
                **{**PRESETS["tiny"].training, "steps": wish.steps, "warmup": 20, "checkpoint_every": wish.steps}
            )
            began = time.process_time()
            train(system, scenes, options, run, device="cpu")
            spent = (time.process_time() - began) / 60
            print(f"{wish.steps} steps of {options.batch} samples, {wish.scenes} scenes: {spent:.1f} CPU minutes")
        system = load_system(run)
        scenes, samples = pairs(held, config)
        quality, flat = view_quality(system, scenes, samples)
        untrained, _ = view_quality(create(config), scenes, samples)
        print(
            f"held-out views ({wish.held} scenes): {quality:.2f} dB; mean colour {flat:.2f} dB (+{quality - flat:.2f});"
        )
        print(f"  untrained network {untrained:.2f} dB; the better photo itself {nearer_photo(samples):.2f} dB")
        rows = pose_errors(system, samples, folder)
        found = np.isfinite(rows[:, 0])
        print(f"poses of second photos found: {found.sum()} of {len(rows)}; median rotation, direction, centre:")
        medians = np.median(rows, axis=0)
        print(f"  {medians[0]:.2f} deg, {medians[1]:.2f} deg, {medians[2]:.1f} % of the distance between the photos")
        turn, way = mean_pose_errors(samples)
        print(f"  (their mean pose, without a look at the photos: {turn:.2f} deg, {way:.2f} deg)")
        areas = [recall_area(rows[:, :2].max(axis=1), limit) for limit in (5, 10, 20)]
        print("  AUC@5/10/20 of the greater angle: " + " / ".join(f"{area:.2f}" for area in areas))


if __name__ == "__main__":
    main()
