"""What the loop costs beside a plain one: python tests/benchmarks/bench_train.py [--steps 12 --rounds 3 --size 32]

The figures in docs/figures.md are of --rounds 4. Both train the same UNet2DConditionModel of 5 M parameters on the
same batches of noise-filled atlases, turn by turn in one process; seconds are of the CPU. The plain loop is diffusers'
example: noise, UNet, mean squared error, clipping, AdamW, learning-rate schedule and diffusers' own EMA. Ours saves no
checkpoint while it is measured.
"""

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from diffusers.optimization import get_constant_schedule_with_warmup
from diffusers.training_utils import EMAModel

from gatlas.config import Options
from gatlas.systems.contract import SampleSet, System
from gatlas.train import TrainOptions, train

CHANNELS, TEXT = 16, 64
NOISE = DDPMScheduler(prediction_type="v_prediction")


@dataclass(frozen=True)
class Config(Options):
    size: int


def new_unet(size):
    torch.manual_seed(0)
    return UNet2DConditionModel(
        sample_size=size,
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        block_out_channels=(32, 64, 128, 128),
        layers_per_block=1,
        attention_head_dim=4,
        cross_attention_dim=TEXT,
        norm_num_groups=8,
    )


def loss_of(network, planes, text, generator):
    noise = torch.randn(planes.shape, generator=generator)
    timesteps = torch.randint(0, NOISE.config.num_train_timesteps, (len(planes),), generator=generator)
    noisy = NOISE.add_noise(planes, noise, timesteps)
    predicted = network(noisy, timesteps, text).sample
    return torch.nn.functional.mse_loss(predicted, NOISE.get_velocity(planes, noise, timesteps))


class Scenes(SampleSet):
    """Random atlases with random text."""

    def __init__(self, size):
        generator = torch.Generator().manual_seed(1)
        self.planes = torch.randn(64, CHANNELS, size, size, generator=generator)
        self.text = torch.randn(64, 8, TEXT, generator=generator)

    def __len__(self):
        return len(self.planes)

    def __getitem__(self, index):
        return self.planes[index], self.text[index]

    def collate(self, items):
        return tuple(torch.stack(parts) for parts in zip(*items, strict=True))

    def identity(self):
        return {}


class Bench(System):
    """The same loss through our contract."""

    name, part = "bench", "unet"

    def __init__(self, size):
        self.network, self.config = new_unet(size), Config(size)

    def loss(self, network, batch, generator, *, step, steps):
        return {"loss": loss_of(network, *batch, generator)}

    def save_frozen(self, folder):
        Path(folder, "gatlas.json").write_text("{}")

    def save_network(self, folder, weights):
        pass

    def dataset(self, sources):
        raise NotImplementedError

    def sample(self, request, network=None):
        raise NotImplementedError


def plain_loop(size, batch, clock):
    """diffusers' example, step by step until the clock says so."""
    network, scenes, options = new_unet(size), Scenes(size), TrainOptions()
    optimizer = torch.optim.AdamW(network.parameters(), lr=options.lr, weight_decay=options.weight_decay)
    schedule = get_constant_schedule_with_warmup(optimizer, options.warmup)
    average = EMAModel(network.parameters(), decay=options.ema_decay, use_ema_warmup=True, power=options.ema_power)
    loader = torch.utils.data.DataLoader(scenes, batch_size=batch, shuffle=True, collate_fn=scenes.collate)
    generator = torch.Generator().manual_seed(0)
    while True:
        for planes, text in loader:
            if clock():
                return
            loss_of(network, planes, text, generator).backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), options.clip)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            average.step(network.parameters())


class Clock:
    """CPU seconds of each step after the first two; True when enough were done."""

    def __init__(self, steps):
        self.steps, self.times = steps, []

    def __call__(self):
        self.times.append(time.process_time())
        return len(self.times) > self.steps + 2

    @property
    def seconds(self):
        """The mean of the steps."""
        return (self.times[-1] - self.times[2]) / (len(self.times) - 3)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--batch", type=int, default=8)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    count = sum(weight.numel() for weight in new_unet(arguments.size).parameters())
    print(f"{count / 1e6:.1f} M parameters, batch {arguments.batch} at {arguments.size} x {arguments.size}")
    print(f"{'round':>5} {'plain s/step':>13} {'ours s/step':>12} {'ours/plain steps/s':>19}")
    totals = [0.0, 0.0]
    for number in range(arguments.rounds):
        plain, ours = Clock(arguments.steps), Clock(arguments.steps)
        plain_loop(arguments.size, arguments.batch, plain)
        options = TrainOptions(
            steps=1_000_000, batch=arguments.batch, checkpoint_every=1_000_000, sample_every=0, diagnose_every=0
        )
        with tempfile.TemporaryDirectory() as folder:
            train(
                Bench(arguments.size), Scenes(arguments.size), options, f"{folder}/run", device="cpu", should_stop=ours
            )
        totals = [totals[0] + plain.seconds, totals[1] + ours.seconds]
        print(f"{number:5} {plain.seconds:13.4f} {ours.seconds:12.4f} {plain.seconds / ours.seconds:19.3f}", flush=True)
    print(f"{'all':>5} {'':13} {'':12} {totals[0] / totals[1]:19.3f}")


if __name__ == "__main__":
    main()
