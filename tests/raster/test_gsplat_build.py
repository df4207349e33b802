"""The build of gsplat's kernels: by one process at a time, and its failures in one line."""

import subprocess
import sys

import pytest

from gatlas.raster.gsplat_build import LOCK, describe_failure, exclusive_build, last_useful_line

torch = pytest.importorskip("torch")

BUILD_LOG = """Error building extension 'gsplat_cuda': [1/9] /usr/local/cuda/bin/nvcc -c Projection.cu
FAILED: Projection.cuda.o
/usr/include/c++/14/bits/std_function.h(435): error: parameter packs not expanded with '...'
1 error detected in the compilation of "Projection.cu".
ninja: build stopped: subcommand failed.
"""
ERROR = "/usr/include/c++/14/bits/std_function.h(435): error: parameter packs not expanded with '...'"
ALONE = """
import os, sys, time
from gatlas.raster.gsplat_build import exclusive_build
with exclusive_build():
    os.close(os.open(sys.argv[1], os.O_CREAT | os.O_EXCL))  # fails where another process is inside
    time.sleep(0.2)
    os.remove(sys.argv[1])
"""


@pytest.fixture
def gsplat_from_pypi(tmp_path, monkeypatch):
    """A gsplat without compiled kernels, and an empty folder of extensions."""
    (tmp_path / "path" / "gsplat").mkdir(parents=True)
    (tmp_path / "path" / "gsplat" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path / "path")
    before = _forget_gsplat()
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path / "extensions"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "path"), prepend=":")
    yield tmp_path
    _forget_gsplat()  # the tests after these import the real one
    sys.modules.update(before)


def _forget_gsplat():
    """Remove gsplat from the imported modules and return what was removed, by name."""
    return {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] == "gsplat"}


@pytest.mark.slow
def test_several_processes_build_one_after_the_other(gsplat_from_pypi):
    inside = gsplat_from_pypi / "inside"
    processes = [
        subprocess.Popen([sys.executable, "-c", ALONE, str(inside)], stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    for process in processes:
        _, errors = process.communicate()
        assert process.returncode == 0, errors


def test_compiled_kernels_are_not_waited_for(gsplat_from_pypi):
    (gsplat_from_pypi / "path" / "gsplat" / "csrc.py").touch()
    with exclusive_build():
        assert not (gsplat_from_pypi / "extensions" / LOCK).exists()


def test_a_folder_that_cannot_be_written_locks_nothing(gsplat_from_pypi, monkeypatch):
    (gsplat_from_pypi / "file").touch()
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(gsplat_from_pypi / "file" / "below"))
    with exclusive_build():
        pass


def test_the_line_with_the_error_of_a_build_is_reported_not_the_first_or_the_last():
    assert last_useful_line(BUILD_LOG) == ERROR
    assert last_useful_line("[1/2] c++ a.cpp\nkilled: out of memory\nninja: build stopped: subcommand failed.") == (
        "killed: out of memory"
    )
    assert last_useful_line("") == "no reason given"


def test_a_failed_build_is_found_behind_the_attempts_that_follow_it():
    error = ImportError("gsplat_cuda.so: cannot open shared object file")
    error.__context__ = RuntimeError(BUILD_LOG)
    reason = describe_failure(error)
    assert reason.startswith("its kernels could not be built with nvcc of ")
    assert reason.endswith(f": {ERROR}")


@pytest.mark.parametrize(
    "error",
    [
        AttributeError("'NoneType' object has no attribute 'projection_ewa_3dgs_fused_fwd'"),
        OSError("CUDA_HOME environment variable is not set. Please set it to your CUDA install root."),
    ],
)
def test_without_a_toolkit_it_is_said_what_to_install(error):
    reason = describe_failure(error)
    assert "there is no CUDA toolkit: install the one of CUDA" in reason
    assert "nvcc" in reason
    assert reason.endswith("python -m gatlas.cli.build_gsplat")


def test_kernels_of_another_gpu_are_said_to_be_built_again(monkeypatch):
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", "/data/extensions")
    error = RuntimeError("CUDA error: no kernel image is available for execution on the device\nCUDA kernel errors ...")
    reason = describe_failure(error)
    assert "delete the folder gsplat_cuda of /data/extensions" in reason
    assert "\n" not in reason


def test_any_other_failure_is_one_line():
    assert describe_failure(ValueError("driver too old\n")) == "ValueError: driver too old"
