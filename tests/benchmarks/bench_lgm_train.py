"""What the loop costs LGM beside a plain one: python tests/benchmarks/bench_lgm_train.py [--steps 12 --rounds 3]

Both train the preset `cpu` with the same loss on the same samples of random objects in the same order, turn by turn in
one process; seconds are of the CPU. The plain loop is torch's own: the loss, clipping, AdamW, a learning-rate schedule
and torch's averaged weights. Ours saves no checkpoint while it is measured.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from gatlas.raster.threads import set_num_threads
from gatlas.systems.contract import Sources
from gatlas.systems.lgm import PRESETS, create
from gatlas.train import TrainOptions, train
from gatlas.train.order import BatchOrder
from tests.benchmarks.bench_lgm import write_training_views
from tests.benchmarks.bench_train import Clock


def plain_loop(system, objects, options, clock):
    """Steps as anyone would write them, until the clock says so."""
    network = system.network.train()
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=options.lr, betas=options.betas, weight_decay=options.weight_decay, fused=True
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.steps)
    decay = torch.optim.swa_utils.get_ema_multi_avg_fn(options.ema_decay)
    average = torch.optim.swa_utils.AveragedModel(network, multi_avg_fn=decay)
    generator = torch.Generator().manual_seed(0)
    for step, chosen in enumerate(BatchOrder(len(objects), options, rank=0, processes=1)):
        if clock():
            return
        batch = objects.collate([objects.draw(each.sample, seed=each.seed, step=step) for each in chosen])
        system.loss(network, batch, generator, step=step + 1, steps=options.steps)["loss"].backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), options.clip)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        average.update_parameters(network)


def compare(new_system, preset, views, steps, rounds):
    """Prints the seconds of a step of both loops, round by round."""
    often = {"checkpoint_every": 1_000_000, "sample_every": 0, "diagnose_every": 0}
    options = TrainOptions(**{**preset.training, "steps": 1_000_000, **often})
    print(f"{'round':>5} {'plain s/step':>13} {'ours s/step':>12} {'ours/plain steps/s':>19}")
    totals = [0.0, 0.0]
    for number in range(rounds):
        clocks = Clock(steps), Clock(steps)
        for clock, loop in zip(clocks, (plain_loop, ours), strict=True):
            system = new_system()
            loop(system, system.dataset(Sources((views,))), options, clock)
        plain, mine = (clock.seconds for clock in clocks)
        totals = [totals[0] + plain, totals[1] + mine]
        print(f"{number:5} {plain:13.4f} {mine:12.4f} {plain / mine:19.3f}", flush=True)
    print(f"{'all':>5} {'':13} {'':12} {totals[0] / totals[1]:19.3f}")


def ours(system, objects, options, clock):
    with tempfile.TemporaryDirectory() as folder:
        train(system, objects, options, f"{folder}/run", device="cpu", should_stop=clock)


def run(description, preset, create, write_views):
    """Compare both loops of a preset on views of random objects, as the command line asks."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--objects", type=int, default=8)
    wish = parser.parse_args()
    torch.set_num_threads(1)
    set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        views = write_views(folder, wish.objects)
        compare(lambda: create(preset.config), preset, views, wish.steps, wish.rounds)


if __name__ == "__main__":
    run(__doc__, PRESETS["cpu"], create, write_training_views)
