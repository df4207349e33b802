import subprocess
import sys

import pytest

from gatlas.errors import GatlasError
from gatlas.raster.devices import choose_device

torch = pytest.importorskip("torch")


def test_auto_is_the_cpu_where_there_is_no_gpu():
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    assert choose_device("auto") == "cpu"


def test_a_gpu_that_is_not_there_is_refused_by_its_reason():
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(GatlasError, match="no CUDA device"):
        choose_device("cuda")


def test_a_gpu_without_gsplat_is_a_warning(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr("gatlas.raster.cuda.why_unusable", lambda: "no compiler")
    with pytest.warns(UserWarning, match="no compiler"):
        assert choose_device("auto") == "cpu"


def test_a_gpu_that_works_is_taken(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr("gatlas.raster.cuda.why_unusable", lambda: None)
    assert choose_device("auto") == "cuda"


def test_a_network_needs_no_gsplat(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr("gatlas.raster.cuda.why_unusable", lambda: "no compiler")
    assert choose_device("auto", gsplat=False) == choose_device("cuda", gsplat=False) == "cuda"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto", gsplat=False) == "cpu"
    with pytest.raises(GatlasError, match="torch finds no CUDA device"):
        choose_device("cuda", gsplat=False)


def test_the_cpu_is_chosen_without_torch():
    program = (
        "import sys; from gatlas.raster.devices import choose_device\n"
        "choose_device('cpu'); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_an_unknown_device_is_refused():
    with pytest.raises(ValueError, match="auto, cpu, cuda"):
        choose_device("tpu")
