"""How much faster a batch is than single calls, and statistics over tar shards against files.

    python tests/benchmarks/bench_batch.py [--objects 100] [--gaussians 1024] [--atlases 10000]

The figures in docs/figures.md are of --gaussians 4096. Everything is made in a temporary folder. Ratios of wall time
within one run; the machine should be idle.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from gatlas import io
from gatlas.atlas import EncodeOptions, encode
from gatlas.types import Gaussians, Origin

GATLAS = [sys.executable, "-m", "gatlas"]


def random_splat(count, seed):
    rng = np.random.default_rng(seed)
    means = rng.normal(size=(count, 3))
    means /= np.linalg.norm(means, axis=1, keepdims=True) * rng.uniform(1, 2, (count, 1))
    quats = rng.normal(size=(count, 4))
    return Gaussians(
        means=means.astype(np.float32),
        quats=(quats / np.linalg.norm(quats, axis=1, keepdims=True)).astype(np.float32),
        scales=np.full((count, 3), 0.03, np.float32),
        opacities=np.ones(count, np.float32),
        sh=rng.normal(size=(count, 1, 3)).astype(np.float32),
        origin=Origin(name=f"object{seed}", normalized=True),
    )


def timed(words, cwd):
    started = time.perf_counter()
    subprocess.run([*GATLAS, *map(str, words)], cwd=cwd, check=True, capture_output=True)
    return time.perf_counter() - started


def bench_encode(work, objects, count):
    splats = work / "splats"
    splats.mkdir()
    for seed in range(objects):
        io.save_gaussians(splats / f"o{seed:05d}.ply", random_splat(count, seed))
    size = round(count**0.5)
    single = ["atlas-encode", "--size", size]
    timed([*single, splats / "o00000.ply", "-o", "warm.npz"], work)  # the kernels are compiled
    (work / "one").mkdir()
    few = min(objects, 10)
    one = sum(timed([*single, splats / f"o{i:05d}.ply", "-o", f"one/{i}.npz"], work) for i in range(few))
    one *= objects / few
    batch = timed([*single, splats, "-o", "batch1/"], work)
    pair = timed([*single, splats, "--jobs", 2, "-o", "batch2/"], work)
    print(f"{objects} splats of {count:,} Gaussians through atlas-encode, s of wall time")
    print(f"  single calls ({few} timed)   {one:7.2f}")
    print(f"  one batch, --jobs 1      {batch:7.2f}   {one / batch:5.1f} x single calls")
    print(f"  one batch, --jobs 2      {pair:7.2f}   {one / pair:5.1f} x single calls, {batch / pair:.2f} x --jobs 1")


def bench_statistics(work, count):
    folder = work / "atlases"
    folder.mkdir()
    atlases = [io.atlas_bytes(encode(random_splat(64, seed), EncodeOptions(size=8))) for seed in range(50)]
    for number in range(count):
        (folder / f"a{number:06d}.npz").write_bytes(atlases[number % 50])
    for shard in range(10):
        with io.ShardWriter(work / f"shard-{shard:06d}.tar") as writer:
            for number in range(shard * count // 10, (shard + 1) * count // 10):
                writer.add(f"a{number:06d}", ".npz", atlases[number % 50])
    files = timed(["normalize-stats", folder, "-o", "files.npz"], work)
    shards = timed(["normalize-stats", *sorted(work.glob("shard-*.tar")), "-o", "shards.npz"], work)
    same = (work / "files.npz").read_bytes() == (work / "shards.npz").read_bytes()
    print(f"{count:,} atlases of 8 x 8 through normalize-stats, s of wall time")
    print(f"  from files               {files:7.2f}")
    print(f"  from 10 tar shards       {shards:7.2f}   {files / shards:.2f} x files; same bytes: {same}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=100)
    parser.add_argument("--gaussians", type=int, default=1024)
    parser.add_argument("--atlases", type=int, default=10_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bench_encode(Path(folder), arguments.objects, arguments.gaussians)
        bench_statistics(Path(folder), arguments.atlases)


if __name__ == "__main__":
    main()
