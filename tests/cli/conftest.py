"""The command line, run as its users run it, or inside the test's own process."""

import io
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "rocket.glb"


@pytest.fixture
def gatlas(tmp_path):
    """Run `gatlas WORDS...` in an empty folder; the result has returncode, stdout and stderr (bytes and str)."""

    def run(*words, stdin=b"", code=0):
        process = subprocess.run(
            [sys.executable, "-m", "gatlas", *map(str, words)],
            input=stdin,
            capture_output=True,
            cwd=tmp_path,
            check=False,
        )
        process.stderr = process.stderr.decode()
        assert process.returncode == code, process.stderr
        assert "Traceback" not in process.stderr
        return process

    return run


@pytest.fixture
def gatlas_in_process(tmp_path, monkeypatch, capfdbinary):
    """Run `gatlas WORDS...` as the fixture `gatlas` does, inside the test's own process: for what needs no other."""
    from gatlas.cli import main
    from gatlas.raster.threads import set_num_threads

    handlers = {number: signal.getsignal(number) for number in (signal.SIGPIPE, signal.SIGTERM, signal.SIGUSR1)}

    def run(*words, stdin=b"", code=0):
        words = [str(word) for word in words]
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["gatlas", *words])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capfdbinary.readouterr()
        with pytest.raises(SystemExit) as exit_:
            main(words)
        captured = capfdbinary.readouterr()
        result = SimpleNamespace(returncode=exit_.value.code or 0, stdout=captured.out, stderr=captured.err.decode())
        assert result.returncode == code, result.stderr
        return result

    with warnings.catch_warnings():
        yield run
    set_num_threads(None)
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def example():
    return EXAMPLE


@pytest.fixture(scope="session")
def splat_bytes(tmp_path_factory):
    """A splat PLY of 100 Gaussians on a ball."""
    return write_ball(tmp_path_factory.mktemp("splat") / "ball.ply", 100)


@pytest.fixture(scope="session")
def heavy_splat_bytes(tmp_path_factory):
    """A splat PLY of 1,024 Gaussians on a ball: an object that takes some time to encode."""
    return write_ball(tmp_path_factory.mktemp("splat") / "ball.ply", 1024)


def write_ball(path, count):
    from gatlas import io
    from gatlas.geometry.sh import rgb_to_dc
    from gatlas.types import Gaussians, Origin

    rng = np.random.default_rng(0)
    means = rng.normal(size=(count, 3))
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    gaussians = Gaussians(
        means=means.astype(np.float32),
        quats=np.tile(np.float32([1, 0, 0, 0]), (count, 1)),
        scales=np.full((count, 3), 0.1, dtype=np.float32),
        opacities=np.linspace(0.2, 0.9, count, dtype=np.float32),
        sh=rgb_to_dc(means[:, None] * 0.5 + 0.5).astype(np.float32),
        origin=Origin(name="ball", normalized=True),
    )
    io.save_gaussians(str(path), gaussians)
    return path.read_bytes()


@pytest.fixture
def splat(tmp_path, splat_bytes):
    path = tmp_path / "ball.ply"
    path.write_bytes(splat_bytes)
    return path
