"""Fixtures that every test folder may use."""

import os
import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.helpers import shape_checks

shape_checks.install()  # before anything of gatlas is imported

# The same examples in every run, however slow the machine is.
settings.register_profile("gatlas", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("gatlas")

if "PYTEST_XDIST_WORKER" in os.environ:  # one of several test processes: threads of each would wait for a processor
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# The tools that tests start hear nothing of the queue or the launcher that runs the tests, nor of the user's language.
for name in list(os.environ):
    if name.startswith(("SLURM_", "SBATCH_", "MASTER_")) or name in ("WORLD_SIZE", "RANK", "LOCAL_RANK"):
        del os.environ[name]
os.environ["LC_ALL"] = "C.UTF-8"

# A shell starts what runs in its background with SIGINT ignored, and the tools that tests start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module")
def one_thread():
    """Torch on one thread until the module's end: its sums then have one order, and small work does not wait."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def no_shape_checks():
    """Arrays of wrong shapes reach the function under test, which refuses them itself."""
    with shape_checks.switched_off():
        yield


@pytest.fixture(scope="session")
def shared_data():
    """The folder of real meshes, photos and splats: $GATLAS_SHARED_DATA, else beside the checkout. Else skip."""
    folder = Path(os.environ.get("GATLAS_SHARED_DATA") or Path(__file__).parents[2] / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no folder of real files at {folder}: set GATLAS_SHARED_DATA")
    return folder


@pytest.fixture
def cuda_device():
    """A pretended CUDA device, with torch twins of gsplat's kernels: see `tests.helpers.pretended_cuda`."""
    from tests.helpers.gsplat_twins import gsplat_twins
    from tests.helpers.pretended_cuda import pretended_cuda

    with pretended_cuda(), gsplat_twins():
        yield
