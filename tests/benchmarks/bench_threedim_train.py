"""What the loop costs 3DiM beside a plain one: python tests/benchmarks/bench_threedim_train.py [--steps 12 --rounds 3]

As bench_lgm_train.py, with the preset `cpu` of threedim: the same loss on the same pairs of views of random objects.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from gatlas.systems.threedim import PRESETS, create
from tests.benchmarks.bench_lgm_train import run
from tests.benchmarks.bench_threedim import write_training_views

if __name__ == "__main__":
    preset = PRESETS["cpu"]
    run(__doc__, preset, create, lambda folder, count: write_training_views(folder, count, preset.config.side))
