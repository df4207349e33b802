"""Each way of installing, from the built wheel and sdist into a fresh environment, on the oldest Python and the newest.

Needs uv and pipx (in the folder $GATLAS_INSTALLERS, or on PATH) and a package index.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gatlas import io
from tests.helpers.doc_pages import ROOT
from tests.helpers.splat_files import gaussians_of

pytestmark = pytest.mark.slow

OLDEST = (3, 10)
INSTALLERS = os.environ.get("GATLAS_INSTALLERS", "")


def program(name):
    found = shutil.which(name, path=os.pathsep.join(filter(None, (INSTALLERS, os.environ.get("PATH")))))
    if found is None:
        pytest.skip(f"{name} is not installed: name its folder with GATLAS_INSTALLERS")
    return found


def run(*command, environment, timeout=900):
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=timeout)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def pythons():
    """Programs of Python by their versions: of this machine's PATH, and of pyenv."""
    names = [f"python3.{minor}" for minor in range(OLDEST[1], 20)]
    folders = [Path(folder) for folder in os.environ["PATH"].split(os.pathsep)]
    folders += sorted((Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions").glob("*/bin"))
    found = {}
    for path in (folder / name for folder in folders for name in names):
        if os.access(path, os.X_OK):
            code = "import sys; print(*sys.version_info[:2])"
            done = subprocess.run([path, "-c", code], capture_output=True, text=True)
            if done.returncode == 0:
                found.setdefault(tuple(map(int, done.stdout.split())), str(path))
    return {version: path for version, path in found.items() if version >= OLDEST}


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """Nothing of the environment that the tests run in reaches the new ones, which have their own folders."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    home = tmp_path_factory.mktemp("tools")
    kept |= {"UV_TOOL_DIR": str(home / "uv"), "UV_TOOL_BIN_DIR": str(home / "bin"), "UV_PYTHON_DOWNLOADS": "never"}
    kept |= {"PIPX_HOME": str(home / "pipx"), "PIPX_BIN_DIR": str(home / "bin"), "UV_NO_PROGRESS": "1"}
    # What pip is told of where to look and of what to leave out holds for uv, too.
    for name in ("CONSTRAINT", "FIND_LINKS", "INDEX_URL"):
        if f"PIP_{name}" in os.environ:
            kept.setdefault(f"UV_{name}", os.environ[f"PIP_{name}"])
    return kept


@pytest.fixture(scope="module")
def distributions(tmp_path_factory, environment):
    """The wheel and the sdist of this checkout, of a copy without what builds have left in it."""
    copy, out = tmp_path_factory.mktemp("checkout") / "gatlas", tmp_path_factory.mktemp("dist")
    left_out = shutil.ignore_patterns(".*_cache", ".git", ".venv", "build", "*.egg-info", "__pycache__", "out")
    shutil.copytree(ROOT, copy, ignore=left_out)
    run(program("uv"), "build", "--quiet", "--out-dir", str(out), str(copy), environment=environment)
    (wheel,), (sdist,) = out.glob("*.whl"), out.glob("*.tar.gz")
    return {"wheel": str(wheel), "sdist": str(sdist)}


def check(gatlas, environment, tmp_path):
    """Run what reads a mesh, what reads the manual pages, and what converts with compiled libraries."""
    assert run(*gatlas, "--version", environment=environment).startswith("gatlas ")
    assert "GATLAS-FIT(1)" in run(*gatlas, "man", "fit", environment=environment | {"MANPAGER": "cat", "PAGER": "cat"})
    (found,) = json.loads(run(*gatlas, "info", "--json", str(ROOT / "examples/rocket.glb"), environment=environment))
    assert found["kind"] == "mesh"
    first, second = tmp_path / "a.ply", tmp_path / "b.spz"
    io.save_gaussians(first, gaussians_of(20))
    run(*gatlas, "convert", str(first), "-o", str(second), environment=environment)
    assert len(io.load_gaussians(second)) == 20


def oldest_and_newest():
    found = pythons()
    if OLDEST not in found:
        pytest.skip("there is no Python 3.10")
    return [found[OLDEST], found[max(found)]]


@pytest.mark.parametrize("number", [0, 1], ids=["oldest", "newest"])
def test_uv_tool_install_of_the_wheel_runs_on_the_oldest_and_the_newest_python(
    distributions, environment, tmp_path, number
):
    python = oldest_and_newest()[number]
    run(program("uv"), "tool", "install", "--quiet", "--force", "--python", python, distributions["wheel"],
        environment=environment)  # fmt: skip
    check([str(Path(environment["UV_TOOL_BIN_DIR"]) / "gatlas")], environment, tmp_path)
    run(program("uv"), "tool", "uninstall", "--quiet", "gatlas", environment=environment)


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_uvx_from_a_file_runs(distributions, environment, tmp_path, kind):
    gatlas = [
        program("uv"),
        "tool",
        "run",
        "--quiet",
        "--python",
        sys.executable,
        "--from",
        distributions[kind],
        "gatlas",
    ]
    check(gatlas, environment, tmp_path)


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_pipx_installs(distributions, environment, tmp_path, kind):
    run(program("pipx"), "install", "--force", "--python", sys.executable, distributions[kind], environment=environment)
    check([str(Path(environment["PIPX_BIN_DIR"]) / "gatlas")], environment, tmp_path)
    run(program("pipx"), "uninstall", "gatlas", environment=environment)


def test_the_sdist_has_all_that_the_wheel_is_built_from_and_the_manual_pages(distributions):
    import tarfile
    import zipfile

    with zipfile.ZipFile(distributions["wheel"]) as archive:
        wheel = {name for name in archive.namelist() if name.startswith("gatlas/")}
    with tarfile.open(distributions["sdist"]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert wheel <= names
    tracked = {str(path.relative_to(ROOT)) for path in (ROOT / "gatlas").rglob("*.*") if "__pycache__" not in str(path)}
    assert tracked - {name for name in tracked if name.endswith(".pyc")} <= wheel
    assert {f"man/{path.name}" for path in (ROOT / "man").glob("*.1")} <= names
