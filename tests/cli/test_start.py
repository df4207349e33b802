"""What a verb imports, asserted on modules in a fresh interpreter and not on milliseconds."""

import json
import subprocess
import sys

import pytest


def modules_after(words, cwd, stdin=b""):
    """Top-level modules that `gatlas WORDS` has imported when it ends."""
    program = (
        "import json, sys\n"
        "from gatlas.cli import main\n"
        f"sys.argv = {['gatlas', *map(str, words)]!r}\n"
        "try:\n    main()\n"
        "except SystemExit as end:\n    assert not end.code, end.code\n"
        "finally:\n    print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})), file=sys.stderr)\n"
    )
    run = subprocess.run([sys.executable, "-c", program], input=stdin, capture_output=True, cwd=cwd, check=False)
    assert run.returncode == 0, run.stderr.decode()
    return set(json.loads(run.stderr.decode().splitlines()[-1]))


HEAVY = {"torch", "numpy", "rich", "diffusers", "numba", "scipy", "trimesh", "ot", "gsplat", "kornia"}


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["fit", "--help"], ["render", "--help"], ["man", "fit"]])
def test_help_imports_nothing_heavy(words, tmp_path):
    assert not modules_after(words, tmp_path) & HEAVY


def test_verbs_that_do_not_learn_never_import_torch(splat, tmp_path):
    assert "torch" not in modules_after(["atlas-encode", splat, "--size", 8, "-o", "ball.npz"], tmp_path)
    assert "torch" not in modules_after(["atlas-decode", "ball.npz", "-o", "back.ply"], tmp_path)
    assert "torch" not in modules_after(["normalize-stats", "ball.npz", "-o", "stats.npz"], tmp_path)
    assert "torch" not in modules_after(["render", splat, "--width", 32, "-o", "ball.png"], tmp_path)
    few = ["prune", splat, "-n", 50, "--views", 2, "--resolution", 32, "-o", "few.ply"]
    assert "torch" not in modules_after(few, tmp_path)
