"""The shared folder of inputs that once made a reader fail: each is refused in one line, or read right."""

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from gatlas import io
from gatlas.errors import GatlasError

ROOT = Path(os.environ.get("GATLAS_SHARED_DATA") or Path(__file__).parents[3] / "shared" / "data") / "fuzz"
NAMES = sorted(path.name for path in ROOT.iterdir()) if ROOT.is_dir() else []
READ = {
    "colmap_bin_nonfinite_",
    "colmap_text_exc_OSError_colmap.py_145",
}  # points or photos are left out with a warning
READ |= {name for name in NAMES if name.startswith("perm_")}  # a warning, and the permutation is computed again
CHECKPOINTS = sorted((ROOT / "resume_cli").glob("*.npz"))
RUNS = [name for name in NAMES if name.startswith("run_")]

pytestmark = [pytest.mark.shared, pytest.mark.fuzz]


@cache
def replayed():
    """Outcome and message of every input with a file that names its reader, each read in a child with limits."""
    command = [sys.executable, "-m", "tests.fuzz", "--replay", str(ROOT)]
    run = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    lines = (line.split(maxsplit=3) for line in run.stdout.splitlines()[:-1])
    return {name.rstrip(":"): (verdict, outcome) for verdict, name, outcome, *_ in lines}


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NAMES if (ROOT / name / "WHY.txt").is_file()])
def test_an_input_that_failed_is_refused_in_one_line_or_read(name, shared_data):
    verdict, outcome = replayed()[name]
    assert verdict == "good"
    assert outcome == ("ok" if name in READ else "refused")


def one_line(call):
    with pytest.raises(GatlasError) as error:
        call()
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("path", sorted(ROOT.glob("stats_nonfinite_/*.npz")), ids=lambda path: path.stem)
def test_statistics_that_no_atlases_have_are_refused(path, shared_data):
    assert "damaged statistics" in one_line(lambda: io.load_stats(path))


def test_a_tar_of_negative_sizes_ends(shared_data):
    from gatlas.io.sets.shards import list_members

    path = ROOT / "tar_negative_size" / "neg.tar"
    assert "a size of -512 bytes" in one_line(lambda: list(io.stream_members(path)))
    assert "a size of -512 bytes" in one_line(lambda: list_members(path))


def test_a_textured_ply_is_read_without_a_word_of_a_library(shared_data, capfd):
    mesh = io.load_mesh(ROOT / "mesh_ply_textured" / "q.ply")
    assert len(mesh.textures) == 1
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", RUNS)
def test_parts_of_the_right_names_and_wrong_kinds_are_refused(name, shared_data):
    import torch

    from gatlas.io.models.pipeline_parts import read_text_encoder, read_tokenizer

    folder = ROOT / name / "r"
    if "tensors" in name:
        said = one_line(lambda: read_text_encoder(folder / "text_encoder", torch.float32))
        assert "its config.json asks for torch.float32" in said
    else:
        assert "tokenizer_config.json" in one_line(lambda: read_tokenizer(folder / "tokenizer"))


@pytest.mark.parametrize("path", CHECKPOINTS, ids=lambda path: path.stem)
def test_a_checkpoint_that_holds_something_else_is_refused(path, shared_data):
    from gatlas.fit.optimize import Snapshot, optimize
    from gatlas.geometry.cameras import orbit
    from gatlas.types import Gaussians, Views

    rng = np.random.default_rng(0)
    means, quats = rng.normal(size=(64, 3)).astype("f4"), np.tile(np.array([1, 0, 0, 0], "f4"), (64, 1))
    scales, opacities = np.full((64, 3), 0.1, "f4"), np.full(64, 0.5, "f4")
    start = Gaussians(means, quats, scales, opacities, np.zeros((64, 1, 3), "f4"))
    views = Views(np.ones((40, 16, 16, 4), "f4"), orbit(40, 16, 16))

    def resume():
        arrays, meta = io.load_checkpoint(path)
        return optimize(start, views, 200, rng, resume=Snapshot(meta["step"], arrays, meta["rng"]))

    with pytest.raises((GatlasError, ValueError), match=r"snapshot|array 'means' has 192 values that are NaN"):
        resume()
