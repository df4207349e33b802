"""normalize-stats against plain reading of the same files.

Run: python tests/benchmarks/bench_statistics.py [--count 1000] [--folder DIR]

Writes COUNT atlases of 128 x 128 (random values; hard links after the first 50, so that the disk holds few), and a tar
shard of the first 50. Then, in processes of their own: `cat` of all files, the verb over the folder, over the shard and
over a pipe. Prints MB/s, CPU seconds and the peak memory of each.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from gatlas import io
from gatlas.atlas.spaces import SPACES
from gatlas.io.sets.shards import ShardWriter
from gatlas.transport import SPHERE_NAME
from gatlas.types import Atlas

SIZE = 128
DISTINCT = 50


def random_atlas(rng):
    plane = (SIZE, SIZE)
    quats = rng.normal(size=(*plane, 4)).astype(np.float32)
    quats /= np.linalg.norm(quats, axis=-1, keepdims=True)
    return Atlas(
        offset=rng.normal(0, 0.3, (*plane, 3)).astype(np.float32),
        color=rng.random((*plane, 3), dtype=np.float32),
        opacity=rng.random((*plane, 1), dtype=np.float32),
        scale=rng.uniform(-9, -1.5, (*plane, 3)).astype(np.float32),
        rotation=np.where(quats[..., :1] < 0, -quats, quats),
        meta={
            "gatlas_atlas": 1,
            "size": SIZE,
            "sphere": SPHERE_NAME,
            "projection": "equirect",
            "spaces": dict(SPACES),
        },
    )


def run(what, command, megabytes, count, stdin=None):
    """Wall time, CPU time and peak memory of a process."""
    started = time.perf_counter()
    with open(os.devnull, "wb") as nowhere:
        process = subprocess.Popen(command, stdin=stdin, stdout=nowhere, stderr=subprocess.DEVNULL)
        _, status, used = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    if status:
        raise SystemExit(f"{what}: exit status {os.waitstatus_to_exitcode(status)}")
    cpu = used.ru_utime + used.ru_stime
    print(
        f"{what:34s} {megabytes / wall:7.0f} MB/s  {wall:6.2f} s wall  {cpu:6.2f} s CPU  "
        f"{1e3 * cpu / count:5.2f} ms CPU an atlas  {used.ru_maxrss / 1024:5.0f} MB"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--folder", help="where to write the atlases (a file system to measure)")
    args = parser.parse_args()
    verb = [sys.executable, "-m", "gatlas", "normalize-stats"]
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory(dir=args.folder) as scratch:
        folder = Path(scratch) / "atlases"
        folder.mkdir()
        for i in range(args.count):
            path = folder / f"{i:06d}.npz"
            if i < DISTINCT:
                io.save_atlas(path, random_atlas(rng))
            else:
                os.link(folder / f"{i % DISTINCT:06d}.npz", path)
        files = sorted(folder.iterdir())
        shard = Path(scratch) / "set-000000.tar"
        with ShardWriter(shard) as writer:
            for path in files[:DISTINCT]:
                writer.add(path.stem, ".npz", path.read_bytes())
        one = files[0].stat().st_size / 1e6
        shown = min(args.count, DISTINCT)
        total = one * args.count
        print(f"{args.count:,} atlases of {SIZE} x {SIZE}, {total:,.0f} MB")
        run("cat of the files", ["cat", *map(str, files)], total, args.count)
        run("normalize-stats FOLDER", [*verb, str(folder)], total, args.count)
        run(f"normalize-stats SHARD ({shown} atlases)", [*verb, str(shard)], one * shown, shown)
        tar = subprocess.Popen(["tar", "--hard-dereference", "-cC", str(folder), "."], stdout=subprocess.PIPE)
        run("tar c FOLDER | normalize-stats", verb, total, args.count, stdin=tar.stdout)
        tar.stdout.close()
        if tar.wait():
            raise SystemExit("tar failed")


if __name__ == "__main__":
    main()
