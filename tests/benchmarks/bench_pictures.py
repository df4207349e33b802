"""Pictures to 3D: python tests/benchmarks/bench_pictures.py [--steps 2400] [--objects DIR --atlases DIR] [--keep DIR]

The small network learns 96 combinations of twelve shapes and ten colors (examples/make_objects.py --set compose) from
captions and pictures of random sides of the fits. It is then shown a picture of each object that was held back and of
every fourth that was learned: of the mesh, from a side that was drawn for it. Samples of the picture alone, of it and
its caption, and of the caption alone are judged as examples/judge_compose.py does. The sheet has in each row the
picture, two sides of the sample and the same of the object; what is wrong has a red frame.
"""

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from gatlas import io
from gatlas.atlas import decode
from gatlas.atlas.statistics import Accumulator
from gatlas.config import ignore
from gatlas.geometry.cameras import orbit
from gatlas.images.composite import composite
from gatlas.images.resize import reduce_picture
from gatlas.meshes.edits import normalize_mesh
from gatlas.meshes.render import render_mesh
from gatlas.raster import rasterize
from gatlas.raster.threads import set_num_threads
from gatlas.systems import load_system
from gatlas.systems.contract import Condition, Picture, SampleRequest, Sources
from gatlas.systems.gaussian_atlas import PRESETS, create
from gatlas.train import TrainOptions, train
from tests.benchmarks.bench_compose import judgement, make_objects, write_atlases

ASKED = ("picture", "picture and text", "text")
SIDE = 96  # of the sheet's pictures


def read_statistics(atlases):
    """Statistics of the atlases to learn."""
    learned = Accumulator()
    for path in sorted((atlases / "learned").glob("*.npz")):
        learned.add(io.load_atlas(path), path.stem)
    return learned.stats()


def trained(run, wish, objects, atlases, stats):
    """The system of a run, which is made unless it is there, and its steps and CPU minutes."""
    captions = str(objects / "learned" / "captions.json")
    if (run / "minutes.json").exists():
        return load_system(str(run)), json.loads((run / "minutes.json").read_text())
    preset = PRESETS["small"]
    config = replace(preset.config, pictures=wish.side, text_dropout=wish.dropout, basis=wish.basis)
    system = create(config, stats=stats, seed=wish.seed)
    examples = system.dataset(Sources((str(atlases / "learned"),), captions=captions, views=wish.views))
    lengths = {"steps": wish.steps, "schedule_steps": wish.steps, "warmup": min(20, wish.steps), "sample_every": 0}
    options = TrainOptions(**{**preset.training, **lengths, "seed": wish.seed})
    began = time.process_time()
    train(system, examples, options, str(run), device="cpu", report=ignore)
    minutes = (time.process_time() - began) / 60
    (run / "minutes.json").write_text(json.dumps(minutes))
    return load_system(str(run)), minutes


def pictures_of(objects, captions, seed):
    """A picture of each object that is asked for, by its caption: of the mesh, from a random side."""
    rng = np.random.default_rng(seed)
    found = {"held-back": {}, "learned": {}}
    for part, some in found.items():
        names = list(captions[part])[:: 1 if part == "held-back" else judgement["EVERY"]]
        for name in names:
            cameras = orbit(1, 256, 256, azimuth=rng.uniform(0, 360), elevation=rng.uniform(-10, 45))
            mesh = normalize_mesh(io.load_mesh(objects / part / f"{name}.glb"))
            some[captions[part][name]] = Picture(name, render_mesh(mesh, cameras).images[0])
    return {**found["held-back"], **found["learned"]}


def condition(asked, prompt, picture):
    """What a system is asked for."""
    if asked == "text":
        return Condition(prompt=prompt)
    return Condition(picture.name, prompt if "text" in asked else None, picture=picture)


def sides(gaussians, count):
    """Pictures of Gaussians from the sides."""
    cameras = orbit(count, SIDE, SIDE, azimuth=25.0)
    return np.clip(rasterize(gaussians, cameras, background=np.ones(3, np.float32), backend="cpu").colors, 0, 1)


def framed(picture, right):
    """A picture, with a red frame where it is of a wrong object."""
    if not right:
        picture = picture.copy()
        picture[[0, 1, -2, -1]] = picture[:, [0, 1, -2, -1]] = (0.85, 0.0, 0.0)
    return picture


def sheet(judged, samples, pictures, fits):
    """For each sample the picture, two sides of the sample, and of the object; two samples to a row."""
    strips = []
    for each in judged:
        shown = composite(reduce_picture(pictures[each.prompt].image, SIDE, SIDE), 1.0)
        made = [framed(side, each.shape and each.color) for side in sides(samples[each.prompt], 2)]
        strips.append(np.concatenate([shown, *made, *sides(fits[each.prompt], 2)], axis=1))
    strips += [np.ones_like(strips[0])] * (len(strips) % 2)
    return np.concatenate([np.concatenate(pair, axis=1) for pair in zip(strips[::2], strips[1::2], strict=True)])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=2400)
    parser.add_argument("--side", type=int, default=64, help="pixels of the pictures")
    parser.add_argument("--dropout", type=float, default=PRESETS["small"].config.text_dropout)
    parser.add_argument("--views", help="folders of views of the objects to learn; else they are rendered")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sides", type=int, default=0, help="seed of the sides that the pictures are taken from")
    parser.add_argument("--sampler-steps", type=int, default=PRESETS["small"].config.sampler_steps)
    parser.add_argument("--basis", type=int, default=PRESETS["small"].config.basis, help="components")
    parser.add_argument("--guidance", type=float)
    parser.add_argument("--iterations", type=int, default=60, help="of the fits")
    parser.add_argument("--only", default="*", help="objects, such as '*-ring'")
    parser.add_argument("--objects", help="the set where it was made already, with --atlases")
    parser.add_argument("--atlases", help="its atlases, learned/ and held-back/")
    parser.add_argument("--keep", help="a folder that keeps the run, for other questions, and the sheet")
    wish = parser.parse_args()
    if wish.keep:
        Path(wish.keep).mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    set_num_threads(1)
    with TemporaryDirectory() as scratch:
        objects, atlases = Path(wish.objects or f"{scratch}/objects"), Path(wish.atlases or f"{scratch}/atlases")
        if wish.objects is None:
            make_objects(objects, compose=True)
            for path in objects.glob("*/*.glb"):
                if not path.match(f"{wish.only}.glb"):
                    path.unlink()
        made = wish.atlases is not None
        stats = read_statistics(atlases) if made else write_atlases(objects, atlases, "even", wish.iterations)
        captions = judgement["read_captions"](objects)
        run = Path(wish.keep or scratch) / f"pictures-{wish.seed}"
        system, minutes = trained(run, wish, objects, atlases, stats)
        pictures = pictures_of(objects, captions, wish.sides)
        print(f"{wish.steps} steps, {minutes:.1f} CPU minutes")
        for asked in ASKED:
            conditions = tuple(condition(asked, *each) for each in pictures.items())
            request = SampleRequest(conditions, steps=wish.sampler_steps, guidance=wish.guidance)
            samples = dict(zip(pictures, map(decode, system.sample(request)), strict=True))
            judged = judgement["judge"](objects, atlases, samples, captions)
            print(asked)
            print("\n".join(f"  {line}" for line in judgement["table"](judged)), flush=True)
            if wish.keep and asked == "picture":
                held = [each for each in judged if each.group == "held-back"]
                fits = {
                    prompt: decode(io.load_atlas(atlases / "held-back" / f"{name}.npz"))
                    for name, prompt in captions["held-back"].items()
                }
                io.save_image(Path(wish.keep) / "sheet.png", sheet(held, samples, pictures, fits), force=True)


if __name__ == "__main__":
    main()
