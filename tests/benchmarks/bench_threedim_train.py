"""What the loop costs 3DiM beside a plain one: python tests/benchmarks/bench_threedim_train.py [--steps 12 --rounds 3]

As bench_lgm_train.py, with the preset `cpu` of threedim: the same loss on the same pairs of views of random objects.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from gatlas.raster.threads import set_num_threads
from gatlas.systems.threedim import PRESETS, create
from tests.benchmarks.bench_lgm_train import compare
from tests.benchmarks.bench_threedim import write_training_views


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--objects", type=int, default=8)
    wish = parser.parse_args()
    torch.set_num_threads(1)
    set_num_threads(1)
    preset = PRESETS["cpu"]
    with tempfile.TemporaryDirectory() as folder:
        views = write_training_views(folder, wish.objects, preset.config.side)
        compare(lambda: create(preset.config), preset, views, wish.steps, wish.rounds)


if __name__ == "__main__":
    main()
