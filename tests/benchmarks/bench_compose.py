"""What makes text compose: python tests/benchmarks/bench_compose.py [--minutes 10] [--rows words-even ...] [--runs DIR]

Twelve shapes in ten colors (examples/make_objects.py --set compose): a small network learns 96 combinations, each row
in equal CPU time, and is asked for all words, also in the 24 combinations that it never saw. Rows differ in the text
encoder (letters or words), in the start of the fits (surface or even), in the prediction (v, the noise itself, or the
velocity of rectified flow), in the network (UNet or DiT), and in whether it refines a first estimate, a weighted sum of
learned atlases (basis). gatlas has what the table shows to be better; the others are in atlas_variants.py. What is made
is judged as examples/judge_compose.py does, for each number of sampling steps, and so are completions of halves.
"""

import argparse
import runpy
import sys
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from gatlas import io
from gatlas.atlas import EncodeOptions, decode, encode
from gatlas.atlas.statistics import Accumulator
from gatlas.config import ignore
from gatlas.fit import FitOptions, fit
from gatlas.raster.threads import set_num_threads
from gatlas.systems import load_system
from gatlas.systems.contract import Condition, Edit, SampleRequest, Sources
from gatlas.systems.edits import read_cells
from gatlas.systems.gaussian_atlas import PRESETS, create
from gatlas.train import TrainOptions, train
from tests.benchmarks.atlas_variants import FlowSystem, TransformerSystem, variant

EXAMPLES = Path(__file__).parents[2] / "examples"
PLAIN = {"basis": 0, "guidance": 1.5}  # the denoiser alone
LETTERS = {"text": "letters", **PLAIN}
EPSILON = {"prediction": "epsilon", "zero_terminal_snr": False, **PLAIN}
ROWS = {  # start of the fits, what the config changes, and the system if it is not that of gatlas
    "letters-surface": ("surface", LETTERS, None),
    "words-surface": ("surface", PLAIN, None),
    "letters-even": ("even", LETTERS, None),
    "words-even": ("even", PLAIN, None),
    "words-even-epsilon": ("even", EPSILON, None),
    "words-even-flow": ("even", PLAIN, FlowSystem),
    "words-even-dit": ("even", PLAIN, TransformerSystem),
    "basis-surface": ("surface", {}, None),
    "basis-even": ("even", {}, None),
}
EDIT_STEPS = 10  # of sampling, for completions
TIMED = 8  # steps that a row's pace is measured by, after as many others
make_objects = runpy.run_path(str(EXAMPLES / "make_objects.py"))["main"]
judgement = runpy.run_path(str(EXAMPLES / "judge_compose.py"))


def write_atlases(objects, folder, start, iterations):
    """Atlases of all objects, and the statistics of those to learn."""
    options = FitOptions(
        count=1024, profile="quick", iterations=iterations, views=32, resolution=128, lambda_lpips=0.0, init=start
    )
    learned = Accumulator()
    for path in sorted(objects.glob("*/*.glb")):
        made = folder / path.parent.name / f"{path.stem}.npz"
        if made.exists():  # of an earlier run into the same folder
            atlas = io.load_atlas(made)
        else:
            atlas = encode(fit(io.load_mesh(path), options).gaussians, EncodeOptions(size=32, projection="octahedral"))
            made.parent.mkdir(parents=True, exist_ok=True)
            io.save_atlas(made, atlas)
        if path.parent.name == "learned":
            learned.add(atlas, path.stem)
    return learned.stats()


def trained(run, changes, kind, atlases, stats, captions, minutes, seed):
    """A run of about so many minutes of the CPU: its system, steps, and the minutes that its training took."""
    preset = PRESETS["small"]
    config = replace(preset.config, **changes)

    def trained_for(steps, folder):
        system = variant(kind, config, stats, seed) if kind else create(config, stats=stats, seed=seed)
        examples = system.dataset(Sources((str(atlases / "learned"),), captions=str(captions)))
        lengths = {"steps": steps, "schedule_steps": steps, "warmup": min(20, steps), "sample_every": 0, "seed": seed}
        options = TrainOptions(**{**preset.training, **lengths})
        began = time.process_time()
        train(system, examples, options, str(folder), device="cpu", report=ignore)
        return system, time.process_time() - began

    with TemporaryDirectory() as scratch:
        few, more = (trained_for(steps, Path(scratch) / str(steps))[1] for steps in (1, 1 + TIMED))
    steps = max(1, round(60 * minutes * TIMED / (more - few)))
    system, spent = trained_for(steps, run)
    return system.averaged() if kind else load_system(str(run)), steps, spent / 60


def sampled(system, prompts, steps):
    """The samples by their prompts, and the CPU seconds of one."""
    began = time.process_time()
    request = SampleRequest(tuple(Condition(prompt=prompt) for prompt in prompts), steps=steps)
    samples = {str(atlas.meta["sample"]["prompt"]): decode(atlas) for atlas in system.sample(request)}
    return samples, (time.process_time() - began) / len(prompts)


def completed(system, atlases, captions):
    """Completions of what was held back, by its prompts: of each atlas one half is kept, bit for bit."""
    samples = {}
    for name, caption in captions.items():
        atlas = io.load_atlas(atlases / "held-back" / f"{name}.npz")
        anew = read_cells("box:0,-2,-2,2,2,2", atlas, name)
        request = SampleRequest((Condition(prompt=caption),), steps=EDIT_STEPS, edit=Edit(name, atlas, 1.0, anew))
        (whole,) = system.sample(request)
        for kind in ("offset", "color", "opacity", "scale", "rotation"):
            np.testing.assert_array_equal(getattr(whole, kind)[~anew], getattr(atlas, kind)[~anew])
        samples[caption] = decode(whole)
    return samples


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--minutes", type=float, default=10.0, help="of the CPU for each training")
    parser.add_argument("--sampler-steps", type=int, nargs="+", default=[20, 8, 4])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--iterations", type=int, default=60, help="of the fits")
    parser.add_argument("--only", default="*", help="objects, such as '*-ring'")
    parser.add_argument("--runs", help="a folder that keeps atlases, runs and sheets")
    wish = parser.parse_args()
    torch.set_num_threads(1)
    set_num_threads(1)
    with TemporaryDirectory() as scratch:
        folder = Path(wish.runs or scratch)
        if not (folder / "objects").exists():
            make_objects(folder / "objects", compose=True)
        for path in (folder / "objects").glob("*/*.glb"):
            if not path.match(f"{wish.only}.glb"):
                path.unlink()
        parts = judgement["read_captions"](folder / "objects")
        prompts = judgement["prompts_of"](parts)
        stats = {}
        for row in wish.rows:
            start, changes, kind = ROWS[row]
            atlases = folder / start
            if start not in stats:
                stats[start] = write_atlases(folder / "objects", atlases, start, wish.iterations)
            run = folder / f"{row}-{wish.seed}"
            captions = folder / "objects" / "learned" / "captions.json"
            system, steps, minutes = trained(
                run, changes, kind, atlases, stats[start], captions, wish.minutes, wish.seed
            )
            for number in wish.sampler_steps:
                samples, seconds = sampled(system, prompts, number)
                judged = judgement["judge"](folder / "objects", atlases, samples, parts)
                print(f"{row}: {steps} steps, {minutes:.1f} minutes; {number} sampling steps, {seconds:.2f} s a sample")
                print("\n".join(f"  {line}" for line in judgement["table"](judged)), flush=True)
                if wish.runs:
                    judgement["sheet"](judged, samples).save(Path(wish.runs) / f"{row}-{wish.seed}-{number}.png")
            judged = judgement["judge"](
                folder / "objects", atlases, completed(system, atlases, parts["held-back"]), parts
            )
            print(f"{row}: halves completed, {EDIT_STEPS} sampling steps")
            print("\n".join(f"  {line}" for line in judgement["table"](judged)), flush=True)


if __name__ == "__main__":
    main()
