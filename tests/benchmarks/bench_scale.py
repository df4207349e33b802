"""CPU seconds and peak memory of large sets, over the number of objects: a task of an array that is run again when all
is done, and the set that a training begins with.

    python tests/benchmarks/bench_scale.py [--objects 1000 10000 205737] [--shards 64] [--work DIR]
        [--part batch|among|set]

Objects, results, manifests and shards are made up: as many as there are objects, with nothing of worth in them. A batch
reads folders of 1,286 files, and its figures are of the whole process; "among" has the results in the folders that are
read. A set is in tars of 1,000 atlases with their captions, and beside the figures of the process stand those of its
imports alone. --work keeps what was made for the next call.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from gatlas import __version__, io
from gatlas.atlas.options import EncodeOptions
from gatlas.batch.work import BatchWork
from gatlas.cli.verbs import VERBS
from gatlas.io.sets.shards import ShardWriter
from gatlas.prune.options import PruneOptions

ENCODE = ("atlas-encode", EncodeOptions(), "atlases/{stem}.npz")  # verb, options, output
PRUNE = ("prune", PruneOptions(), "splats/{stem}-small.ply")
FOLDER = 1_286  # objects in one folder, as in Objaverse


def measured(words, cwd):
    """Return CPU seconds, peak MB and standard error of a gatlas command."""
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen([sys.executable, "-m", "gatlas", *map(str, words)], cwd=cwd, stderr=errors)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        errors.seek(0)
        text = errors.read().decode()
    if process.returncode:
        raise SystemExit(text)
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, text.strip().splitlines()[-1]


START = """
import resource, sys
from gatlas.datasets.atlases import atlas_set
from gatlas.train.identity import set_digests
import numpy as np
from gatlas.types import AtlasStats
def used():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024
before = used()
found = atlas_set(sys.argv[1:], AtlasStats(np.zeros((2, 2, 14)), np.zeros((2, 2, 14)), 1, {}))
after = used()
set_digests(found)
print(len(found), *before, *after, used()[0], sum(found.captions_of(i) != () for i in range(len(found))))
"""


def make_shards(work, keys):
    """Write tars of 1,000 atlases each, of one byte, with a caption of an atlas."""
    work.mkdir(parents=True)
    for number in range(0, len(keys), 1_000):
        with ShardWriter(work / f"set-{number // 1_000:06d}.tar") as shard:
            for key in sorted(keys[number : number + 1_000]):
                shard.add(key, ".npz", b"x")
                shard.add(
                    key, ".txt", f"a chair with four legs, a round back and a cushion, number {key[-9:]}".encode()
                )


def bench_set(work, count):
    """Print CPU s and peak MB of a set's start: the first time, without indexes, and again."""
    if not work.exists():
        make_shards(work, keys_of(count))
    for index in work.glob(".*.index"):
        index.unlink()
    for title in ("first", "again"):
        words = [sys.executable, "-c", START, str(work)]
        run = subprocess.run(words, capture_output=True, text=True, check=True)
        found, imported, least, listed, peak, digested, captions = map(float, run.stdout.split())
        times = f"{listed - imported:8.2f} {digested - listed:8.2f} {peak - least:8.1f}"
        print(
            f"  {count:9,} {title} {times}   imports {imported:.2f} s, {least:.0f} MB; {captions:,.0f} of {found:,.0f}"
        )


def keys_of(count):
    return [f"{i // FOLDER:03d}-{i // FOLDER:03d}/{hashlib.md5(b'%d' % i).hexdigest()}" for i in range(count)]


def make_finished_batch(work, keys, shards, verb, options, template):
    """Write objects, results, and the manifests of a batch of them that is done."""
    name = verb.replace("-", "_")
    fingerprint = BatchWork(name, print, options, VERBS[verb].batch).fingerprint
    results = template.partition("/")[0]
    for folder in {os.path.dirname(key) for key in keys}:
        (work / "splats" / folder).mkdir(parents=True, exist_ok=True)
        (work / results / folder).mkdir(parents=True, exist_ok=True)
    ordered = sorted(keys)
    digest = hashlib.sha256(b"x").hexdigest()
    for index in range(shards):
        lines = []
        for key in ordered[index::shards]:
            source, output = f"splats/{key}.ply", template.replace("{stem}", key)
            for path in (source, output):
                with open(work / path, "wb") as file:
                    file.write(b"x")
            line = {"id": key, "status": "ok", "verb": name, "input": source}
            line |= {"input_stamp": io.stamp(work / source), "options": fingerprint, "version": __version__}
            line |= {"ended": round(time.time(), 3), "seed": 0, "seconds": 1.234, "input_sha256": digest}
            line |= {"count": 16_384, "gap": 0.00123, "output_sha256": digest, "files": {}, "output": output}
            line |= {"output_stamp": io.stamp(work / output), "bytes": 1, "shard": f"{index}/{shards}"}
            lines.append(json.dumps(line) + "\n")
        (work / results / f"manifest-{index}-of-{shards}.jsonl").write_text("".join(lines))


def bench_batch(work, count, shards, verb, options, template):
    """Print CPU s and peak MB of one task of a batch that is done."""
    if not work.exists():
        make_finished_batch(work, keys_of(count), shards, verb, options, template)
    words = [verb, "splats", "-o", template, "--shard", f"{min(3, shards - 1)}/{shards}"]
    seconds, peak, said = measured(words, work)
    print(f"  {count:9,} {seconds:8.2f} {peak:8.1f}   {said}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, nargs="+", default=[1_000, 10_000, 205_737])
    parser.add_argument("--shards", type=int, default=64)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--part", choices=["batch", "among", "set"])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = (arguments.work or Path(temporary)).resolve()
        for part, title, batch in (("batch", "", ENCODE), ("among", ", results among the inputs", PRUNE)):
            if arguments.part in (None, part):
                print(f"one of {arguments.shards} tasks of a finished batch again{title}: objects, CPU s, peak MB")
                for count in arguments.objects:
                    bench_batch(root / f"{part}-{count}", count, arguments.shards, *batch)
        if arguments.part in (None, "set"):
            print("the set of a training: objects, CPU s to list and to identify it, MB above the imports")
            for count in arguments.objects:
                bench_set(root / f"set-{count}", count)


if __name__ == "__main__":
    main()
