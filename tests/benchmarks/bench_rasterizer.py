"""How long the CPU rasteriser and the SSIM take. Run: python tests/benchmarks/bench_rasterizer.py [--threads N]

The scene is a torus of surface-like Gaussians seen by one camera; times are the fastest and the median of several runs,
in milliseconds of CPU and of wall time. The loss is on colours and alphas, gradients go to every parameter.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from scipy.spatial import cKDTree

from gatlas.cameras import orbit
from gatlas.raster import rasterize
from gatlas.raster.ssim import ssim
from gatlas.raster.threads import set_num_threads
from gatlas.sh import rgb_to_dc
from gatlas.types import Cameras, Gaussians

MAJOR, MINOR = 0.68, 0.30


def torus(count: int, seed: int = 0) -> Gaussians:
    """Gaussians on a torus, each as large as the distance to its neighbours."""
    rng = np.random.default_rng(seed)
    around, across = rng.uniform(0, 2 * np.pi, (2, 2 * count))
    keep = rng.uniform(0, MAJOR + MINOR, 2 * count) < MAJOR + MINOR * np.cos(across)  # uniform by area
    around, across = around[keep][:count], across[keep][:count]
    ring = MAJOR + MINOR * np.cos(across)
    means = np.stack([ring * np.cos(around), MINOR * np.sin(across), ring * np.sin(around)], axis=-1)
    distances, _ = cKDTree(means).query(means, k=4)
    spacing = np.sqrt((distances[:, 1:] ** 2).mean(axis=1))
    fields = {
        "means": means,
        "quats": rng.normal(size=(len(means), 4)),
        "scales": spacing[:, None] * np.exp(rng.normal(0, 0.25, (len(means), 3))),
        "opacities": rng.uniform(0.5, 0.95, len(means)),
        "sh": rgb_to_dc(rng.uniform(0, 1, (len(means), 1, 3))),
    }
    return Gaussians(**{name: array.astype(np.float32) for name, array in fields.items()})


def timed(step: Callable[[], object], repeats: int) -> str:
    step()
    cpu, wall = [], []
    for _ in range(repeats):
        start_cpu, start_wall = time.process_time(), time.perf_counter()
        step()
        cpu.append(1e3 * (time.process_time() - start_cpu))
        wall.append(1e3 * (time.perf_counter() - start_wall))
    return (
        f"cpu {min(cpu):7.1f} / {statistics.median(cpu):7.1f}   wall {min(wall):7.1f} / {statistics.median(wall):7.1f}"
    )


def forward(gaussians: Gaussians, cameras: Cameras) -> None:
    rasterize(gaussians, cameras, background=np.ones(3, dtype=np.float32))


def forward_backward(gaussians: Gaussians, cameras: Cameras, depths: bool) -> None:
    names = ("means", "quats", "scales", "opacities", "sh")
    leaves = {name: torch.from_numpy(getattr(gaussians, name)).requires_grad_() for name in names}
    rendering = rasterize(Gaussians(**leaves), cameras, background=torch.ones(3))
    loss = rendering.colors.sum() + rendering.alphas.sum()
    if depths:
        loss = loss + rendering.depths.sum()
    torch.autograd.grad(loss, list(leaves.values()))


def ssim_step(first: torch.Tensor, second: torch.Tensor) -> None:
    torch.autograd.grad(ssim(first, second), first)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--counts", type=int, nargs="+", default=[16_384, 36_864])
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 256, 512])
    options = parser.parse_args()
    set_num_threads(options.threads)
    torch.set_num_threads(1)
    print(f"{options.threads} thread(s); fastest / median of {options.repeats}, ms")
    for count in options.counts:
        gaussians = torus(count)
        for size in options.sizes:
            cameras = orbit(1, size, size, elevation=30, distance=3.0, fov=40)
            label = f"{len(gaussians):6d} Gaussians {size:4d} px "
            print(label + "forward           ", timed(lambda g=gaussians, c=cameras: forward(g, c), options.repeats))
            for depths in (False, True):
                name = "fwd+bwd with depth" if depths else "forward+backward  "
                step = lambda g=gaussians, c=cameras, d=depths: forward_backward(g, c, d)  # noqa: E731
                print(label + name, timed(step, options.repeats))
    for size in options.sizes:
        generator = torch.Generator().manual_seed(0)
        first, second = torch.rand((2, 1, size, size, 3), generator=generator)
        first.requires_grad_()
        label = f"ssim              {size:4d} px forward+backward  "
        print(label, timed(lambda a=first, b=second: ssim_step(a, b), options.repeats))


if __name__ == "__main__":
    main()
