"""CPU seconds and peak memory of one task of an array that is run again when all is done, over the number of objects.

    python tests/benchmarks/bench_scale.py [--objects 1000 10000 205737] [--shards 64] [--work DIR]

Objects, results and manifests are made up: as many files as there are objects, in folders of 1,286, with nothing of
worth in them. The figures are of the whole process, with the start of Python. --work keeps what was made for the
next call.
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

VERB = "atlas-encode"
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


def keys_of(count):
    return [f"{i // FOLDER:03d}-{i // FOLDER:03d}/{hashlib.md5(b'%d' % i).hexdigest()}" for i in range(count)]


def make_finished_batch(work, keys, shards):
    """Write objects, results, and the manifests of a batch of them that is done."""
    fingerprint = BatchWork(VERB.replace("-", "_"), print, EncodeOptions(), VERBS[VERB].batch).fingerprint
    for folder in {os.path.dirname(key) for key in keys}:
        (work / "splats" / folder).mkdir(parents=True, exist_ok=True)
        (work / "atlases" / folder).mkdir(parents=True, exist_ok=True)
    ordered = sorted(keys)
    digest = hashlib.sha256(b"x").hexdigest()
    for index in range(shards):
        lines = []
        for key in ordered[index::shards]:
            source, output = f"splats/{key}.ply", f"atlases/{key}.npz"
            for path in (source, output):
                with open(work / path, "wb") as file:
                    file.write(b"x")
            line = {"id": key, "status": "ok", "verb": "atlas_encode", "input": source}
            line |= {"input_stamp": io.stamp(work / source), "options": fingerprint, "version": __version__}
            line |= {"ended": round(time.time(), 3), "seed": 0, "seconds": 1.234, "input_sha256": digest}
            line |= {"count": 16_384, "gap": 0.00123, "output_sha256": digest, "files": {}, "output": output}
            line |= {"output_stamp": io.stamp(work / output), "bytes": 1, "shard": f"{index}/{shards}"}
            lines.append(json.dumps(line) + "\n")
        (work / f"atlases/manifest-{index}-of-{shards}.jsonl").write_text("".join(lines))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, nargs="+", default=[1_000, 10_000, 205_737])
    parser.add_argument("--shards", type=int, default=64)
    parser.add_argument("--work", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        print(f"one of {arguments.shards} tasks of a finished batch again: objects, CPU s, peak MB")
        for count in arguments.objects:
            work = (arguments.work or Path(temporary)).resolve() / str(count)
            if not work.exists():
                make_finished_batch(work, keys_of(count), arguments.shards)
            words = [VERB, "splats", "-o", "atlases/", "--shard", f"{min(3, arguments.shards - 1)}/{arguments.shards}"]
            seconds, peak, said = measured(words, work)
            print(f"  {count:9,} {seconds:8.2f} {peak:8.1f}   {said}")


if __name__ == "__main__":
    main()
