"""Pages for the browser: python tests/benchmarks/bench_viewer.py SPLAT... [--splat-transform PROGRAM]

Of each splat the size of the page that `gatlas render -o x.html` writes and the seconds that it takes, a process from
its start to its end; and where Chromium is installed, the PSNR of what the page shows to `gatlas render` over the
object's box, and the seconds until it is drawn there, without a GPU. Beside it, with the program, the page of
PlayCanvas's splat-transform.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # of the tests' helpers

from gatlas import io
from gatlas.images.sheets import contact_sheet
from gatlas.render import RenderOptions, render
from tests.helpers.chromium import BrowserPage, chromium_program, running_chromium
from tests.helpers.likeness import likeness

SIDE = 512


def timed(words: list[str]) -> tuple[float, float]:
    """CPU and wall seconds of a program, which must succeed."""
    before, start = os.times(), time.perf_counter()
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{words[0]} failed: {done.stderr.strip()[-500:]}")
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return cpu, time.perf_counter() - start


def in_browser(browser, page: Path, splat: Path) -> tuple[float, float]:
    """PSNR to our rendering over the object's box, dB, and seconds from opening the page to its being drawn."""
    gaussians = io.load_gaussians(splat)
    wanted = contact_sheet(render(gaussians, RenderOptions(width=SIDE)).images)
    start = time.perf_counter()
    tab = BrowserPage(browser, page, SIDE, SIDE).drawn()
    seconds = time.perf_counter() - start
    shown = tab.picture()
    tab.close()
    return float(likeness(shown, wanted)), seconds


def bench(splat: Path, folder: Path, browser, program: str | None) -> None:
    page = folder / "page.html"
    cpu, wall = timed([sys.executable, "-m", "gatlas", "render", str(splat), "-o", str(page), "--force"])
    line = f"{splat.stem[:28]:28} {'gatlas':16} {page.stat().st_size / 1e3:9,.0f} {cpu:6.1f} {wall:6.1f}"
    if browser is not None:
        line += " {:6.1f} {:6.1f}".format(*in_browser(browser, page, splat))
    print(line, flush=True)
    if program is not None:
        other = folder / "other.html"
        cpu, wall = timed([program, "-w", str(splat), str(other)])
        size = other.stat().st_size / 1e3
        print(f"{'':28} {'splat-transform':16} {size:9,.0f} {cpu:6.1f} {wall:6.1f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("splats", nargs="+", type=Path)
    parser.add_argument("--splat-transform", metavar="PROGRAM")
    options = parser.parse_args()
    print(f"{'splat':28} {'page by':16} {'kB':>9} {'CPU s':>6} {'s':>6} {'dB':>6} {'drawn':>6}")
    program = chromium_program()
    with tempfile.TemporaryDirectory() as folder:
        if program is None:
            for splat in options.splats:
                bench(splat, Path(folder), None, options.splat_transform)
            return
        with running_chromium(program) as browser:
            for splat in options.splats:
                bench(splat, Path(folder), browser, options.splat_transform)


if __name__ == "__main__":
    main()
