"""examples/views_to_3d.sh with little work: from random objects to a model of views, its splats and their judgement."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gatlas import io

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_random_objects_become_a_model_whose_splats_of_other_objects_are_judged(tmp_path):
    program = tmp_path / "bin/gatlas"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m gatlas "$@"\n')
    program.chmod(0o755)
    made = tmp_path / "made"
    work = {"OUT": str(made), "COUNT": "2", "HELD": "2", "TRAIN": "--steps 2 --set warmup=1"}
    done = subprocess.run(
        [ROOT / "examples/views_to_3d.sh"],
        env={**os.environ, **work, "PATH": f"{program.parent}:{os.environ['PATH']}"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    splats = sorted((made / "splats").glob("*.ply"))
    assert [path.stem for path in splats] == ["object-0000", "object-0001"]
    assert all(0 < len(io.load_gaussians(path)) <= 4 * 32 * 32 for path in splats)
    for method in ("lgm", "mean color", "nearest input view", "colored hull of the inputs"):
        assert done.stdout.count(f"  {method} ") >= 2, done.stdout  # at both elevations
    assert sorted(path.name for path in (made / "meshes").glob("*.glb")) == ["object-0000.glb", "object-0001.glb"]
    assert io.load_image(made / "sheet.png").shape[:2] == (2 * 64, (4 + 4 + 4) * 64)
