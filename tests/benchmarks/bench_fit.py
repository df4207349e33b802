"""Fit meshes and print held-out quality and time: python tests/benchmarks/bench_fit.py MESH... [--profile default]

Each mesh is fitted in a process of its own, start-up included, as `gatlas fit MESH` does it: with LPIPS where its
weights are found. Those in docs/figures.md are without.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("meshes", nargs="+")
    parser.add_argument("--profile", default="default")
    parser.add_argument("--resolution")
    parser.add_argument("--count", default="16384")
    options = parser.parse_args()
    extra = ["--resolution", options.resolution] if options.resolution else []

    print(f"{'mesh':28} {'PSNR dB':>8} {'SSIM':>7} {'CPU s':>7} {'wall s':>7}")
    for mesh in options.meshes:
        with tempfile.TemporaryDirectory() as folder:
            report, splat = Path(folder) / "report.json", Path(folder) / "splat.ply"
            words = [mesh, "-n", options.count, "--profile", options.profile, *extra, "--report", report, "-o", splat]
            cpu, wall = children_seconds(), time.perf_counter()
            run = subprocess.run(
                [sys.executable, "-m", "gatlas", "fit", *words], capture_output=True, text=True, check=False
            )
            cpu, wall = children_seconds() - cpu, time.perf_counter() - wall
            if run.returncode:
                sys.exit(f"{Path(mesh).stem[:28]:28} {run.stderr.strip()}")
            quality = json.loads(report.read_text())["held_out"]
            name = Path(mesh).stem[:28]
            print(f"{name:28} {quality['psnr']:8.2f} {quality['ssim']:7.4f} {cpu:7.1f} {wall:7.1f}", flush=True)


def children_seconds():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
