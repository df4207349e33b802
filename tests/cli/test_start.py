"""What verbs import, asserted on modules in a fresh interpreter and not on milliseconds."""

import json
import os
import subprocess
import sys

import pytest

PROGRAM = """
import json, sys
from gatlas.cli import main

for words in json.loads(sys.argv[1]):
    sys.argv = ["gatlas", *words]
    try:
        main()
    except SystemExit as end:
        assert not end.code, (words, end.code)
    print(json.dumps([words, sorted({name.split(".")[0] for name in sys.modules})]), file=sys.stderr)
"""


def assert_never_imported(names, lines, cwd):
    """Run command lines one after the other in one interpreter, after each of which none of the modules is there."""
    lines = [list(map(str, words)) for words in lines]
    command = [sys.executable, "-c", PROGRAM, json.dumps(lines)]
    run = subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)
    assert run.returncode == 0, run.stderr
    seen = [json.loads(line) for line in run.stderr.splitlines() if line.startswith("[")]
    assert [words for words, _ in seen] == lines
    assert [(words, names & set(modules)) for words, modules in seen] == [(words, set()) for words in lines]


def test_help_imports_nothing_heavy(tmp_path):
    heavy = {"torch", "numpy", "rich", "diffusers", "numba", "scipy", "trimesh", "ot", "gsplat", "kornia"}
    lines = [
        ["--help"],
        ["--version"],
        ["fit", "--help"],
        ["render", "--help"],
        ["mesh", "--help"],
        ["score", "consistency", "--help"],
        ["man", "fit"],
    ]
    assert_never_imported(heavy, lines, tmp_path)


@pytest.mark.parametrize(("chosen", "expected"), [({}, "PASSIVE"), ({"GOMP_SPINCOUNT": "9"}, "None")])
def test_idle_threads_of_torch_sleep_unless_the_user_has_set_how_they_wait(chosen, expected):
    """On a machine with other work, OpenMP's spinning threads take the core that they wait for."""
    program = (
        "import atexit, os; from gatlas.cli import main\n"
        "atexit.register(lambda: print(os.environ.get('OMP_WAIT_POLICY')))\n"
        "main(['--version'])"
    )
    unset = {name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "KMP_BLOCKTIME")}
    done = subprocess.run([sys.executable, "-c", program], env={**unset, **chosen}, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == expected


def test_verbs_that_do_not_learn_never_import_torch(splat, tmp_path):
    lines = [
        ["atlas-encode", splat, "--size", 8, "-o", "ball.npz"],
        ["atlas-decode", "ball.npz", "-o", "back.ply"],
        ["normalize-stats", "ball.npz", "-o", "stats.npz"],
        ["render", splat, "--width", 32, "-o", "ball.png"],
        ["mesh", splat, "--views", 8, "--resolution", 32, "--grid", 16, "--texture", 16, "-o", "ball.glb"],
        ["prune", splat, "-n", 50, "--views", 2, "--resolution", 32, "-o", "few.ply"],
    ]
    assert_never_imported({"torch"}, lines, tmp_path)


def test_a_verb_with_a_typing_error_is_suggested():
    done = subprocess.run([sys.executable, "-m", "gatlas", "prun"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Did you mean 'prune'" in done.stderr
