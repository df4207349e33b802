"""The kernels on other machines: older vector units, a package that cannot be written to, fewer processors."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import gatlas

HERE = Path(__file__).parent

RENDER = """
import sys
import numpy as np
from gatlas.raster import projection_kernels, rasterize, tile_kernels
from gatlas.types import Cameras, Gaussians
one = np.ones(1, dtype=np.float32)
scene = Gaussians(np.array([[0, 0, 1.0]]), np.array([[1.0, 0, 0, 0]]), np.ones((1, 3)), one, np.ones((1, 1, 3)))
cameras = Cameras(np.eye(4)[None], np.eye(3)[None], 2, 2)
rasterize(scene, cameras)
misses = sum(tile_kernels.blend.stats.cache_misses.values())
unused = sum(map(len, (tile_kernels.blend_backward.signatures, projection_kernels.project_backward.signatures)))
print(misses, unused)
"""


def render_once(environment, folder):
    """How often the first rendering of a new process compiled `blend`, and its standard error."""
    environment = {**os.environ, "PYTHONPATH": str(folder), **environment}
    run = [sys.executable, "-c", RENDER]
    done = subprocess.run(run, env=environment, cwd=folder, capture_output=True, text=True, check=True)
    misses, unused = done.stdout.split()
    assert unused == "0"  # the first rendering waits for nothing that it does not need
    return int(misses), done.stderr


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32" or os.uname().machine != "x86_64", reason="names processors of x86")
@pytest.mark.parametrize(("cpu", "features"), [("haswell", ""), ("x86-64", "+sse2")])
def test_kernels_agree_with_the_reference_without_avx512_and_without_avx(cpu, features, tmp_path):
    environment = {
        **os.environ,
        "NUMBA_CPU_NAME": cpu,
        "NUMBA_CPU_FEATURES": features,
        "NUMBA_CACHE_DIR": str(tmp_path),
    }
    wanted = "float64_reference or absolute or visibility or plain_convolution"
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-k", wanted]
    files = [str(HERE / name) for name in ("test_autograd.py", "test_cpu.py", "../metrics/test_ssim.py")]
    done = subprocess.run([*command, *files], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("chosen", [True, False], ids=["NUMBA_CACHE_DIR", "the user's cache"])
def test_compiled_kernels_are_kept_where_the_package_cannot_be_written_to(chosen, tmp_path, monkeypatch):
    package = tmp_path / "site-packages" / "gatlas"
    shutil.copytree(Path(gatlas.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    # A file in the place of the folder: permissions would not stop a test that runs as root.
    (package / "raster" / "__pycache__").write_text("")
    cache = tmp_path / "cache"
    environment = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(cache), "PYTHONDONTWRITEBYTECODE": "1"}
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    if chosen:
        environment["NUMBA_CACHE_DIR"] = str(cache)
    misses, message = render_once(environment, package.parent)
    assert misses == 1
    assert message == "gatlas: compiling kernels (once) ...\n"
    assert list(cache.rglob("*.nbi"))
    misses, message = render_once(environment, package.parent)
    assert misses == 0
    assert message == ""


def test_the_number_of_threads_is_that_of_the_affinity_or_of_the_environment_or_what_was_set():
    code = """
import os
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    from gatlas.raster.threads import available_cpus, get_num_threads, set_num_threads
    assert available_cpus() == get_num_threads() == 1
from gatlas.raster.threads import get_num_threads, set_num_threads
assert get_num_threads() == 1
set_num_threads(3)
assert get_num_threads() == 3
set_num_threads(None)
assert get_num_threads() == 1
"""
    subprocess.run([sys.executable, "-c", code], env={**os.environ, "NUMBA_NUM_THREADS": "1"}, check=True)
