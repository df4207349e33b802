"""The verbs of the command line on damaged inputs, run in the child itself.

The input's folder is the current one; the output is `out` beside it, and what is left there is read back.
"""

from __future__ import annotations

import io as stdio
import json
import os
import re
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from gatlas import io
from gatlas.errors import GatlasError
from gatlas.io.atlases.npz import atlas_bytes
from tests.fuzz import seeds
from tests.fuzz.damage import Files
from tests.fuzz.verdicts import unplain
from tests.helpers.atlas_sets import random_atlas
from tests.helpers.command_line import run_here

FIT = "--count 8 --iterations 2 --views 2 --resolution 16 --lambda-lpips 0"
_BEGIN = re.compile(r"gatlas [a-z-]+: ")
STATUS = {0: "done", 1: "refused", 2: "usage", 3: "some failed", 75: "stopped"}


class BadRunError(Exception):
    """A run of the command line that no user should see."""


def verb(words: str) -> Callable[[Path], Any]:
    """Return a reader that runs a command line; {out} stands for the name of the output without its suffix."""

    def run(folder: Path) -> Any:
        out = folder.parent / "out"
        shutil.rmtree(out, ignore_errors=True)
        if "{out}" in words:
            out.mkdir()
        run = run_here(words.replace("{out}", str(out / "x")).split(), folder)
        return _judged(run, out, folder)

    return run


def _judged(run: Any, out: Path, folder: Path) -> Any:
    if "Traceback" in run.stderr:
        raise BadRunError(run.stderr[-1500:])
    if run.returncode not in STATUS:
        raise BadRunError(f"status {run.returncode}: {run.stderr[-500:]}")
    lines = run.stderr.splitlines()
    if strange := [line for line in lines if (fault := unplain(line)) is not None and "empty" not in fault]:
        raise BadRunError(f"{unplain(strange[0])}: {strange[0]!a}")
    left = [path.name for path in out.rglob("*") if path.name.endswith((".tmp", ".partial"))] if out.exists() else []
    if left:
        raise BadRunError(f"left behind: {left}")
    if run.returncode == 1:
        first = max((i for i, line in enumerate(lines) if _BEGIN.match(line)), default=None)
        if first is None:
            raise BadRunError(f"status 1 and the words {run.stderr!a}")
        raise GatlasError("\n".join(lines[first:]))
    if run.returncode == 2:
        raise GatlasError(f"{folder}/: usage")
    return [_read_back(path) for path in sorted(out.rglob("*")) if path.is_file()] if out.exists() else None


def _read_back(path: Path) -> Any:
    match path.suffix:
        case ".ply":
            return io.load_gaussians(path)
        case ".npz":
            return io.load_atlas(path) if b"offset.npy" in path.read_bytes() else io.load_stats(path)
        case ".png":
            return io.load_image(path)
        case ".json":
            return json.loads(path.read_text())
    return None


def batch_again(folder: Path) -> Any:
    """Run a batch in a folder that has a manifest already."""
    run = run_here(["atlas-encode", "in", "--size", "2", "-o", "made/"], folder)
    return _judged(run, folder / "made", folder)


@cache
def batches() -> list[Files]:
    """A folder of splats, the atlases of them and their manifest."""

    def make(folder: Path) -> None:
        for name in "ab":
            (folder / "in").mkdir(exist_ok=True)
            (folder / "in" / f"{name}.ply").write_bytes(seeds.splat_plys()[0]["a.ply"])
        assert run_here(["atlas-encode", "in", "--size", "2", "-o", "made/"], folder).returncode == 0

    return [made_in_a_child(make)]


@cache
def stopped_fits() -> list[Files]:
    """A mesh and the checkpoint of its fit."""

    def make(folder: Path) -> None:
        (folder / "a.obj").write_bytes(seeds.objs()[0]["a.obj"])
        words = [
            "fit",
            "a.obj",
            *FIT.split(),
            "--iterations",
            "40",
            "--time-limit",
            "1e-9",
            "--resume",
            "s.npz",
            "-o",
            "x.ply",
        ]
        assert run_here(words, folder).returncode == 75

    return [made_in_a_child(make)]


TRAIN = "--preset small --set widths=32,32 --set schedule_steps=4 --batch 2 --workers 0 --device cpu -o run"


@cache
def stopped_trainings() -> list[Files]:
    """Atlases, and the run of a training that has done one step of them."""

    def make(folder: Path) -> None:
        (folder / "in").mkdir()
        for name in "ab":
            (folder / "in" / f"{name}.npz").write_bytes(atlas_bytes(random_atlas(seed=ord(name), size=8)))
            (folder / "in" / f"{name}.txt").write_text("a red ball")
        (folder / "stats.npz").write_bytes(seeds.statistics(8))
        words = f"train in --stats stats.npz --steps 1 {TRAIN}"
        assert run_here(words.split(), folder).returncode == 0

    files = made_in_a_child(make)
    return [{name: content for name, content in files.items() if not name.startswith("run/unet/")}]


def made_in_a_child(make: Callable[[Path], None]) -> Files:
    """Return the files that a function makes, run in a process of its own: kernels start threads, which do not fork."""
    from tests.fuzz.model_seeds import files_in

    with TemporaryDirectory() as name:
        child = os.fork()
        if child == 0:
            try:
                make(Path(name))
                os._exit(0)
            finally:
                os._exit(1)
        if os.waitpid(child, 0)[1] != 0:
            raise RuntimeError("the inputs could not be made")
        return files_in(Path(name))


def cameras_seeds() -> list[Files]:
    return [
        {"a.ply": seeds.splat_plys()[0]["a.ply"], "c.json": files["transforms.json"]}
        for files in seeds.transforms()[:1]
    ]


def matched_photos() -> list[Files]:
    """A photo, and points of a scene with the pixels that a camera at z = -4 sees them at."""
    points = np.random.default_rng(7).uniform(-1, 1, (30, 3))
    focal = 16 / np.tan(np.radians(25))
    pixels = 16 + focal * points[:, :2] / (points[:, 2:] + 4)
    payload = stdio.BytesIO()
    np.savez(payload, points=points, pixels=pixels)
    splat = seeds.splat_plys()[0]["a.ply"]
    return [{"a.ply": splat, "p.png": seeds.picture(32), "m.npz": payload.getvalue()}]


def atlas_sets() -> list[Files]:
    members = {f"{name}.npz": seeds.atlases()[0]["a.npz"] for name in "ab"}
    return [{"a.tar": seeds.tar_of(members)}]


def many_objects() -> list[Files]:
    return [{"list.txt": b"a.ply\n", "a.ply": seeds.splat_plys()[0]["a.ply"]}]


fit_again = verb(f"fit a.obj {FIT} --iterations 40 --resume s.npz -o {{out}}.ply")
