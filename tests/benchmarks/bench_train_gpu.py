"""What fine-tuning costs on a GPU: python tests/benchmarks/bench_train_gpu.py [--batch 8 --steps 20]

Trains a UNet of the shape of Stable Diffusion 2.1 (866 M parameters, random weights) on 16 x 128 x 128 atlases of noise
with the loop, the loss and the sampler of `gatlas train` and `gatlas sample`, in bf16 where the device is CUDA. Nothing
is saved. A step's FLOP are three forward passes', counted by torch; recomputation by --checkpointing is not among
them. The peak is that of dense bf16 matrix products. `--small --device cpu` tries the script out.
"""

import argparse
import contextlib
import tempfile
import time

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from torch.utils.flop_counter import FlopCounterMode

from gatlas.atlas.spaces import FORMAT, SPACES
from gatlas.datasets.atlases import AtlasBatch
from gatlas.diffusion.schedules import STABLE_DIFFUSION_NOISE
from gatlas.io.models.pipeline import Pipeline
from gatlas.models.text import byte_tokenizer, small_text_encoder
from gatlas.systems.contract import Condition, SampleRequest, SampleSet
from gatlas.systems.gaussian_atlas.config import GaussianAtlasConfig
from gatlas.systems.gaussian_atlas.system import GaussianAtlasSystem
from gatlas.train import TrainOptions, train
from gatlas.transport import SPHERE_NAME
from gatlas.types import AtlasStats

PEAKS = {"H200": 989, "H100": 989, "A100": 312, "L40S": 362, "4090": 165}  # TFLOP/s
WARM = 3  # steps before the clock starts


def new_unet(small, size):
    width = 64 if small else 320
    text = 64 if small else 1024
    return UNet2DConditionModel(
        sample_size=size,
        in_channels=16,
        out_channels=16,
        block_out_channels=(width, 2 * width, 4 * width, 4 * width),
        attention_head_dim=tuple(width * factor // 64 for factor in (1, 2, 4, 4)),
        cross_attention_dim=text,
        use_linear_projection=True,
    )


def flop_of_forward(small, size):
    """Of one sample."""
    with torch.device("meta"):
        unet = new_unet(small, size)
        text = torch.empty(1, 77, unet.config.cross_attention_dim)
        inputs = torch.empty(1, 16, size, size), torch.empty(1, dtype=torch.long), text
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        unet(*inputs)
    return counter.get_total_flops()


def new_system(small, size):
    tokenizer = byte_tokenizer(77)
    unet = new_unet(small, size)
    text = small_text_encoder(tokenizer, dim=unet.config.cross_attention_dim)
    scheduler = {**STABLE_DIFFUSION_NOISE, "prediction_type": "v_prediction"}
    meta = {"gatlas_atlas": FORMAT, "spaces": dict(SPACES), "sphere": SPHERE_NAME, "projection": "equirect"}
    stats = AtlasStats(np.zeros((size, size, 14)), np.full((size, size, 14), 100.0), 100, {**meta, "size": size})
    config = GaussianAtlasConfig(size=size, rgb=0.0, mask=0.0, lpips=0.0)
    return GaussianAtlasSystem(config, Pipeline(unet, scheduler, text, tokenizer), stats)


class Scenes(SampleSet):
    """Atlases of noise, each with a caption."""

    def __init__(self, size):
        self.planes = torch.randn(64, size, size, 14, generator=torch.Generator().manual_seed(1))

    def __len__(self):
        return len(self.planes)

    def __getitem__(self, index):
        return index

    def collate(self, items):
        captions = [(f"thing number {index}",) for index in items]
        return AtlasBatch([str(index) for index in items], self.planes[items], captions, [None] * len(items))

    def identity(self):
        return {}


class DoneError(Exception):
    """Enough steps are measured. Ending the loop by it leaves no checkpoint, of which one has 17 GB."""


class Clock:
    """Seconds of the steps after the first few; the GPU is waited for at both ends only."""

    def __init__(self, steps, device):
        self.steps, self.device, self.calls, self.seconds = steps, device, 0, 0.0

    def __call__(self):
        self.calls += 1
        if self.calls == WARM + 1:
            self.start = now(self.device)
        if self.calls == WARM + self.steps + 1:
            self.seconds = now(self.device) - self.start
            raise DoneError
        return False


def now(device):
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--sample-steps", type=int, default=20)
    parser.add_argument("--checkpointing", action="store_true", help="of gradients")
    parser.add_argument("--peak", type=float, help="of the device, TFLOP/s")
    parser.add_argument("--small", action="store_true", help="a network of the same shape and a twentieth of the size")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    arguments = parser.parse_args()
    device, batch = arguments.device, arguments.batch
    cuda = device == "cuda"
    name = torch.cuda.get_device_name() if cuda else "CPU"
    peak = arguments.peak or next((value for key, value in PEAKS.items() if key in name), None)
    flop = flop_of_forward(arguments.small, arguments.size) / 1e12
    system = new_system(arguments.small, arguments.size)
    count = sum(weight.numel() for weight in system.network.parameters()) / 1e6
    print(
        f"{name}: {count:.1f} M parameters, {batch} x 16 x {arguments.size} x {arguments.size}, {flop:.3f} TFLOP each"
    )

    def share(seconds, work):
        rate = work / seconds
        return f"{rate:.1f} TFLOP/s" + (f", {rate / peak:.1%} of {peak:g}" if peak else "")

    options = TrainOptions(
        steps=1_000_000,
        batch=batch,
        checkpoint_every=1_000_000,
        sample_every=0,
        diagnose_every=0,
        log_every=10,
        gradient_checkpointing=arguments.checkpointing,
    )
    clock = Clock(arguments.steps, device)
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(DoneError):
        train(system, Scenes(arguments.size), options, f"{folder}/run", device=device, should_stop=clock)
    seconds = clock.seconds / arguments.steps
    print(f"training: {1 / seconds:.3f} steps/s, {batch / seconds:.2f} samples/s, {share(seconds, 3 * batch * flop)}")
    if cuda:
        print(f"memory: {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB")

    system.network.zero_grad(set_to_none=True)
    system.network.to(dtype=torch.bfloat16 if cuda else torch.float32).eval()
    work = 2 * arguments.sample_steps * flop
    for attempt in ("first", "second"):
        start = now(device)
        next(system.sample(SampleRequest((Condition(prompt="a chair"),), steps=arguments.sample_steps, guidance=3.5)))
        seconds = now(device) - start
        print(f"{attempt} sample, {arguments.sample_steps} guided steps: {seconds:.2f} s, {share(seconds, work)}")


if __name__ == "__main__":
    main()
