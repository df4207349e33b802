"""What each pruning score costs: python tests/benchmarks/bench_prune.py MESH... [--count 16384 --keep 8192]

Every mesh is fitted once, for 600 steps at 256 x 256, then pruned by each score, and finetuned for 150 steps; PSNR
against the mesh, held out.
"""

import argparse

import numpy as np

from gatlas import io
from gatlas.fit import FitOptions, fit_mesh
from gatlas.fit.finetune import finetune
from gatlas.fit.quality import picture_quality
from gatlas.prune.ranking import SCORES, keep_highest, rank


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("meshes", nargs="+")
    parser.add_argument("--count", type=int, default=16_384)
    parser.add_argument("--keep", type=int, default=8_192)
    parser.add_argument("--iterations", type=int, default=600, help="steps of the fit")
    parser.add_argument("--finetune", type=int, default=150, help="steps of the finetuning")
    options = parser.parse_args()
    print(f"{'mesh':20} {'score':16} {'before':>7} {'after':>7} {'finetuned':>9}")
    for path in options.meshes:
        mesh = io.load_mesh(path)
        fit = fit_mesh(mesh, FitOptions(count=options.count, iterations=options.iterations, resolution=256)).gaussians
        before = picture_quality(fit, mesh)[0]
        for score in (*SCORES, "random"):
            rng = np.random.default_rng(0)
            scores = rng.random(len(fit)) if score == "random" else rank(fit, score, rng)
            kept = keep_highest(fit, scores, options.keep)
            after = picture_quality(kept, mesh)[0]
            tuned = picture_quality(finetune(kept, mesh, options.finetune, rng), mesh)[0]
            print(f"{mesh.origin.name[:20]:20} {score:16} {before:7.2f} {after:7.2f} {tuned:9.2f}", flush=True)


if __name__ == "__main__":
    main()
