"""The command line inside the test's own process, and what it is run on."""

from pathlib import Path

import numpy as np
import pytest

from tests.helpers.command_line import expect, run_here

EXAMPLE = Path(__file__).parents[2] / "examples" / "rocket.glb"


@pytest.fixture
def gatlas(tmp_path):
    """Run `gatlas WORDS...` in an empty folder; the result has returncode, stdout and stderr (bytes and str)."""

    def run(*words, stdin=b"", code=0):
        return expect(run_here(words, tmp_path, stdin), code)

    return run


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


@pytest.fixture(scope="session")
def egg_bytes(tmp_path_factory):
    """A splat PLY of an ellipsoid that hides its inside."""
    from gatlas import io
    from tests.helpers.egg import ellipsoid

    path = tmp_path_factory.mktemp("egg") / "egg.ply"
    io.save_gaussians(path, ellipsoid())
    return path.read_bytes()
