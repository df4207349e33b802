"""How long the rasterisers and the SSIM take. Run: python tests/benchmarks/bench_rasterizer.py [--help]

The scene is a torus of surface-like Gaussians seen by one camera; the loss is on colours and alphas, gradients go to
every parameter. What is compared is run in turns, so that other load on the machine meets all of it. Times are
milliseconds: the fastest of several runs, of CPU time for the CPU (all threads together) and of wall time.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import kornia
import numpy as np
import torch
from scipy.spatial import cKDTree

from gatlas import io
from gatlas.geometry.cameras import orbit
from gatlas.geometry.sh import rgb_to_dc
from gatlas.metrics.ssim import ssim
from gatlas.raster import rasterize
from gatlas.raster.threads import set_num_threads
from gatlas.types import Cameras, Gaussians

MAJOR, MINOR = 0.68, 0.30
FRAMES = 36
FIELDS = ("means", "quats", "scales", "opacities", "sh")


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


class Times(NamedTuple):
    """Of the fastest runs, milliseconds."""

    cpu: float
    wall: float

    def __str__(self) -> str:
        return f"{self.cpu:8.1f} cpu {self.wall:8.1f} wall"


def timed(steps: dict[str, Callable[[], object]], repeats: int) -> dict[str, Times]:
    """The steps in turns, after one run of each that is not counted."""
    for step in steps.values():
        step()
    best = {name: Times(np.inf, np.inf) for name in steps}
    for _ in range(repeats):
        for name, step in steps.items():
            cpu, wall = time.process_time(), time.perf_counter()
            step()
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
            best[name] = Times(min(best[name].cpu, 1e3 * cpu), min(best[name].wall, 1e3 * wall))
    return best


def forward(gaussians: Gaussians, cameras: Cameras, threads: int) -> None:
    set_num_threads(threads)
    rasterize(gaussians, cameras, background=np.ones(3, dtype=np.float32))


def forward_backward(
    gaussians: Gaussians,
    cameras: Cameras,
    depths: bool = False,
    *,
    threads: int = 1,
    backend: str = "cpu",
    mode: str = "classic",
) -> None:
    """One step of a fit; on the GPU where the backend is "cuda"."""
    set_num_threads(threads)
    device = "cuda" if backend == "cuda" else "cpu"
    leaves = {name: torch.from_numpy(getattr(gaussians, name)).to(device).requires_grad_() for name in FIELDS}
    background = torch.ones(3, device=device)
    rendering = rasterize(Gaussians(**leaves), cameras, background=background, backend=backend, rasterize_mode=mode)
    loss = rendering.colors.sum() + rendering.alphas.sum()
    if depths:
        loss = loss + rendering.depths.sum()
    torch.autograd.grad(loss, list(leaves.values()))
    if backend == "cuda":
        torch.cuda.synchronize()


def bench_rasterizers(options: argparse.Namespace) -> None:
    first = options.threads[0]
    for count in options.counts:
        gaussians = torus(count)
        for size in options.sizes:
            cameras = orbit(1, size, size, elevation=30, distance=3.0, fov=40)
            steps: dict[str, Callable[[], object]] = {}
            for threads in options.threads:
                share = f"{threads} thread{'s' if threads > 1 else ''}"
                steps[f"forward, {share}"] = lambda g=gaussians, c=cameras, t=threads: forward(g, c, t)
                steps[f"forward + backward, {share}"] = lambda g=gaussians, c=cameras, t=threads: forward_backward(
                    g, c, threads=t
                )
            for name, kind in (("with depth", {"depths": True}), ("antialiased", {"mode": "antialiased"})):
                steps[f"forward + backward, {name}"] = lambda g=gaussians, c=cameras, k=kind: forward_backward(
                    g, c, threads=first, **k
                )
            if torch.cuda.is_available():
                steps["forward + backward, gsplat"] = lambda g=gaussians, c=cameras: forward_backward(
                    g, c, backend="cuda"
                )
            times = timed(steps, options.repeats)
            if options.reference == "all" or (count, size) == (16_384, 256):
                times |= timed_reference(gaussians, cameras, options.reference)
            print(f"\n{len(gaussians)} Gaussians, {size} x {size}")
            ours = times[f"forward + backward, {first} thread{'s' if first > 1 else ''}"]
            for name, spent in times.items():
                print(f"  {name:40}{spent}", end="")
                if name.endswith("plain torch"):
                    print(f"   {spent.cpu / ours.cpu:.0f} x ours", end="")
                elif name.startswith("forward + backward") and name.endswith("threads"):
                    print(f"   {ours.wall / spent.wall:.2f} x as fast as {first}", end="")
                print(flush=True)


def timed_reference(gaussians: Gaussians, cameras: Cameras, wanted: str) -> dict[str, Times]:
    """The plain-torch rasteriser, once: it takes seconds, next to which its warming up is nothing."""
    if wanted == "none":
        return {}
    cpu, wall = time.process_time(), time.perf_counter()
    forward_backward(gaussians, cameras, backend="reference")
    spent = Times(1e3 * (time.process_time() - cpu), 1e3 * (time.perf_counter() - wall))
    return {"forward + backward, plain torch": spent}


def bench_ssim(options: argparse.Namespace) -> None:
    set_num_threads(options.threads[0])
    for size in options.sizes:
        generator = torch.Generator().manual_seed(0)
        first, second = torch.rand((2, 1, size, size, 3), generator=generator)
        first.requires_grad_()
        planes = [image.movedim(-1, 1).contiguous().detach() for image in (first, second)]
        planes[0].requires_grad_()

        def fused(a: torch.Tensor = first, b: torch.Tensor = second) -> None:
            torch.autograd.grad(ssim(a, b), a)

        def by_kornia(a: torch.Tensor = planes[0], b: torch.Tensor = planes[1]) -> None:
            torch.autograd.grad(kornia.metrics.ssim(a, b, 11).mean(), a)

        times = timed({"fused": fused, "kornia": by_kornia}, options.repeats)
        print(f"\nSSIM forward + backward, {size} x {size}")
        for name, spent in times.items():
            print(f"  {name:40}{spent}   {spent.cpu / times['fused'].cpu:.1f} x")


def bench_render() -> None:
    """`gatlas render`, a process from its start to its end, and the rasteriser's part alone."""
    gaussians = torus(16_384)
    unit = np.array([[1.0, 0.0, 0.0, 0.0]], dtype=np.float32)
    quats = gaussians.quats / np.linalg.norm(gaussians.quats, axis=1, keepdims=True)
    gaussians = replace(gaussians, quats=np.where(np.isfinite(quats), quats, unit))
    cameras = orbit(FRAMES, 512, 512)
    for threads in (1, None):
        set_num_threads(threads)
        spent = timed({"frames": lambda: rasterize(gaussians, cameras)}, 3)["frames"]
        share = "1 thread" if threads == 1 else "all threads"
        fps = 1e3 * FRAMES / spent.wall
        print(f"\nrasterize, {FRAMES} frames of 512 x 512, {share}: {fps:.0f} frames per second")
    with tempfile.TemporaryDirectory() as folder:
        splat, pictures = Path(folder, "torus.ply"), Path(folder, "pictures")
        io.save_gaussians(str(splat), gaussians)
        command = [sys.executable, "-m", "gatlas", "render", str(splat), "--orbit", str(FRAMES), "-o", f"{pictures}/"]
        start = time.perf_counter()
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
        spent_wall = time.perf_counter() - start
        assert len(list(pictures.glob("**/*.png"))) == FRAMES
    print(f"gatlas render, {FRAMES} PNGs of 512 x 512: {FRAMES / spent_wall:.1f} frames per second, {spent_wall:.1f} s")


FIRST_RENDER = """
import time
import numpy as np
from gatlas.raster import rasterize
from gatlas.types import Cameras, Gaussians
one = np.ones(1, dtype=np.float32)
scene = Gaussians(np.array([[0, 0, 1.0]]), np.array([[1.0, 0, 0, 0]]), np.ones((1, 3)), one, np.ones((1, 1, 3)))
start = time.process_time()
rasterize(scene, Cameras(np.eye(4)[None], np.eye(3)[None], 2, 2))
print(f"{time.process_time() - start:.2f}")
"""


def bench_start() -> None:
    """CPU seconds of the first rendering of a process: with nothing compiled yet, and with the kernels cached."""
    with tempfile.TemporaryDirectory() as cache:
        for label in ("compiling", "cached"):
            environment = {**os.environ, "NUMBA_CACHE_DIR": cache}
            run = [sys.executable, "-c", FIRST_RENDER]
            done = subprocess.run(run, env=environment, capture_output=True, text=True, check=True)
            print(f"first rendering of a process, {label}: {done.stdout.strip()} CPU s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--counts", type=int, nargs="+", default=[16_384, 36_864])
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 256, 512])
    parser.add_argument(
        "--reference", choices=["none", "one", "all"], default="one", help="time plain torch: 16,384 at 256 x 256 only"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(
        f"fastest of {options.repeats}, ms; {torch.cuda.get_device_name() if torch.cuda.is_available() else 'no GPU'}"
    )
    bench_rasterizers(options)
    bench_ssim(options)
    bench_render()
    bench_start()


if __name__ == "__main__":
    main()
