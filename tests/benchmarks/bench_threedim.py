"""One view of an object to an orbit: python tests/benchmarks/bench_threedim.py [--model RUN --sheet FILE.png]

Trains the preset `cpu` of threedim on random objects of examples/make_objects.py, or takes a run. Then, on objects that
it has not seen: the PSNR (over white, at the model's size) of the other views of an orbit, made from its first view;
with --targets sphere, of views from all sides, made from the first of the orbit; with --targets pairs, of views from
all sides, made from one of them, another side for each object, as in training.
Beside it: the same with that view alone as the known one (--condition-on first), and with the next object's view in its
place, which shows how much the known view counts; the first view itself; a picture of each true view's mean color; and
a run of Concat-UNet (--concat RUN, of --set network=concat). All methods are judged on equal views.
The sheet shows two rows for each object, made and true views of a third of the orbit, the input first.
"""

import argparse
import runpy
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from gatlas import io
from gatlas.config import ignore
from gatlas.geometry.cameras import fibonacci_views, orbit
from gatlas.images.composite import composite
from gatlas.metrics import psnr
from gatlas.raster.threads import set_num_threads
from gatlas.render import RenderOptions, render
from gatlas.render.views import take_views
from gatlas.systems import load_system
from gatlas.systems.contract import Condition, Photo, SampleRequest, Sources
from gatlas.systems.threedim import PRESETS, create
from gatlas.train import TrainOptions, train
from gatlas.types import Cameras

HELD_SEED = 1_000  # of objects that are not trained on
COUNT, ELEVATION = 24, 20.0  # views of an orbit, and degrees: what `gatlas render --orbit 24` takes
STRIDE = 5  # sides between the known views of one object and the next
SHOWN = 3  # every so manieth view is in the sheet
ENLARGED = 2  # pixels of the sheet for a pixel of a view
LIMIT = 60.0  # dB, of views that are equal
WHITE = np.ones(3, dtype=np.float32)
make_objects = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "make_objects.py"))["main"]


def write_training_views(folder, count, side):
    """A folder of views of each of `count` random objects: an orbit and all sides."""
    make_objects(Path(folder) / "objects", count)
    (Path(folder) / "views").mkdir()
    options = RenderOptions(orbit=12, elevation=10.0, sphere=24, width=side, background="transparent")
    for path in sorted((Path(folder) / "objects").glob("*.glb")):
        io.save_views(Path(folder) / "views" / path.stem, render(io.load_mesh(path), options))
    return str(Path(folder) / "views")


def held_views(folder, count, side, targets="orbit"):
    """Views of each of `count` objects that are not trained on, straight RGBA; the first is the known one."""
    make_objects(Path(folder), count, HELD_SEED)
    paths = sorted(Path(folder).glob("*.glb"))
    if targets == "pairs":
        cameras = fibonacci_views(COUNT, side, side)
        firsts = [STRIDE * number % COUNT for number in range(count)]
        orders = [[first, *(i for i in range(COUNT) if i != first)] for first in firsts]
        return [
            take_views(io.load_mesh(path), cameras[np.array(order)]) for path, order in zip(paths, orders, strict=True)
        ]
    cameras = orbit(COUNT, side, side, elevation=ELEVATION)
    if targets == "sphere":
        around = fibonacci_views(COUNT - 1, side, side)
        viewmats, Ks = (
            np.concatenate([ours[:1], theirs])
            for ours, theirs in ((cameras.viewmats, around.viewmats), (cameras.Ks, around.Ks))
        )
        cameras = Cameras(viewmats, Ks, side, side)
    return [take_views(io.load_mesh(path), cameras) for path in paths]


def made_views(system, held, known=None, **options):
    """The views of each object but the first, made from it, or from those of `known`: [object view h w 3]."""
    made = []
    for number, (views, first) in enumerate(zip(held, known or held, strict=True)):
        photo = Photo(
            f"object{number}", first.images[0], first.cameras.Ks[0], first.cameras.viewmats[0].astype(np.float64)
        )
        request = SampleRequest((Condition(photo.name, photos=(photo,)),), views.cameras[1:], **options)
        made.append(np.concatenate([each.images for each in system.sample(request)]))
    return np.stack(made)


def judge(system, held, concat=None, steps=None):
    """PSNR (dB) of the views beside the input, by method and object; the inputs, made and true views."""
    pictures = np.stack([composite(views.images, WHITE) for views in held])
    known, truth = pictures[:, :1], pictures[:, 1:]
    began, spent = time.perf_counter(), time.process_time()
    methods = {"threedim": made_views(system, held, steps=steps)}
    seconds = np.array([time.perf_counter() - began, time.process_time() - spent]) / truth.shape[0] / truth.shape[1]
    methods["always the first view"] = made_views(system, held, steps=steps, condition_on="first")
    methods["another object's view"] = made_views(system, held, held[1:] + held[:1], steps=steps)
    if concat is not None:
        methods["Concat-UNet"] = made_views(concat, held, steps=steps)
        methods["Concat, the first view"] = made_views(concat, held, steps=steps, condition_on="first")
    methods["copy of the input"] = np.broadcast_to(known, truth.shape)
    methods["mean color"] = np.broadcast_to(truth.mean(axis=(2, 3), keepdims=True), truth.shape)
    table = {name: psnr(images, truth, limit=LIMIT).mean(axis=1) for name, images in methods.items()}
    return table, (known, methods["threedim"], truth), seconds


def print_judgement(system, held, concat=None, steps=None, report=print):
    """The figures; the pictures."""
    table, pictures, seconds = judge(system, held, concat, steps)
    report(f"{len(held)} objects, {COUNT - 1} views each; {seconds[0]:.2f} s a view, {seconds[1]:.2f} s of the CPU")
    for name, values in table.items():
        each = " ".join(f"{value:4.1f}" for value in values[:10])
        report(f"  {name:22} {values.mean():6.2f} dB   {each}")
    means = {name: float(values.mean()) for name, values in table.items()}
    for ours in ("threedim", "always the first view"):
        others = [f"{name} {means[ours] - mean:+.2f} dB" for name, mean in means.items() if name != ours]
        report(f"  {ours} less each: {', '.join(others)}")
    return pictures


def sheet(known, made, truth):
    """Two rows for each object: made and true views, the input first."""
    rows = []
    for first, *both in zip(known, made, truth, strict=True):
        for views in both:
            row = np.concatenate([first, views])[::SHOWN]
            rows.append(np.concatenate(list(row), axis=1))
    return np.concatenate(rows).repeat(ENLARGED, axis=0).repeat(ENLARGED, axis=1)


def trained(folder, wish):
    """A new run of the preset."""
    preset = PRESETS["cpu"]
    system = create(preset.config)
    objects = system.dataset(Sources((write_training_views(folder, wish.objects, preset.config.side),)))
    steps = {} if wish.steps is None else {"steps": wish.steps, "warmup": min(20, wish.steps // 2)}
    options = TrainOptions(**{**preset.training, **steps})
    began, spent = time.perf_counter(), time.process_time()
    train(system, objects, options, f"{folder}/run", device="cpu", report=ignore)
    minutes = [(time.perf_counter() - began) / 60, (time.process_time() - spent) / 60]
    title = f"{options.steps} steps of {options.batch} of {wish.objects} objects"
    print(f"{title}: {minutes[0]:.1f} minutes, {minutes[1]:.1f} of the CPU")
    return f"{folder}/run"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a run that is trained already")
    parser.add_argument("--concat", help="a run of --set network=concat, to compare")
    parser.add_argument("--steps", type=int, help="of the training, instead of the preset's")
    parser.add_argument(
        "--targets", choices=["orbit", "sphere", "pairs"], default="orbit", help="the views that are made"
    )
    parser.add_argument("--sampler-steps", type=int, help="of each view, instead of the model's")
    parser.add_argument("--objects", type=int, default=400)
    parser.add_argument("--held", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--sheet", help="a PNG: made and true views of each held object")
    wish = parser.parse_args()
    torch.set_num_threads(wish.threads)
    set_num_threads(wish.threads)
    with tempfile.TemporaryDirectory() as folder:
        system = load_system(wish.model or trained(folder, wish))
        concat = None if wish.concat is None else load_system(wish.concat)
        held = held_views(f"{folder}/held", wish.held, system.config.side, wish.targets)
        pictures = print_judgement(system, held, concat, wish.sampler_steps)
        if wish.sheet:
            io.save_image(wish.sheet, sheet(*pictures), force=True)


if __name__ == "__main__":
    main()
