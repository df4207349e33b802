"""A cache that others can write is not used: what lies in it is run as code, or taken for what was computed."""

import os
import subprocess
import sys
import warnings

import numpy as np
import pytest

from gatlas import jit
from gatlas.io.atlases import plane_cache
from gatlas.trust import foreign_writer

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a file to somebody else")


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "cache"
    path.mkdir(mode=0o755)
    (path / "kernel.nbi").touch(mode=0o644)
    return path


def test_a_folder_of_our_own_has_no_foreign_writer(folder):
    assert foreign_writer(folder) is None
    assert foreign_writer(folder / "new") is None


@pytest.mark.parametrize("what", ["", "kernel.nbi"])
def test_what_everyone_can_write_is_named(folder, what):
    (folder / what).chmod(0o777)
    assert foreign_writer(folder) == f"{(folder / what)} is writable by everyone"


def test_a_folder_above_in_which_anyone_may_rename_is_named_and_one_like_tmp_is_not(folder):
    folder.parent.chmod(0o777)
    assert foreign_writer(folder) == f"{folder.parent} is writable by everyone"
    folder.parent.chmod(0o1777)
    assert foreign_writer(folder) is None


def test_a_group_that_others_are_in_is_named(folder, monkeypatch):
    monkeypatch.setattr("gatlas.trust.is_own_group", lambda number: False)
    folder.chmod(0o775)
    assert foreign_writer(folder) == f"{folder} is writable by its group"


@as_root
@pytest.mark.parametrize("what", ["", "kernel.nbi"])
def test_what_belongs_to_somebody_else_is_named(folder, what):
    os.chown(folder / what, 12345, 12345)
    assert foreign_writer(folder) == f"{(folder / what)} belongs to user 12345"


def test_a_link_counts_as_what_it_leads_to(folder, tmp_path):
    (tmp_path / "link").symlink_to(folder)
    folder.chmod(0o777)
    assert foreign_writer(tmp_path / "link") == f"{folder} is writable by everyone"


# The kernels


PROGRAM = """
import gatlas.cli
from gatlas.raster import weight_kernels
from numba import config
print(config.CACHE_DIR)
"""


def cache_of_kernels(tmp_path, named):
    """Return the folder for kernels that a process uses where NUMBA_CACHE_DIR names another, and its messages."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(named), "HOME": str(tmp_path), "XDG_CACHE_HOME": ""}
    words = [sys.executable, "-c", PROGRAM]
    run = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    return run.stdout.strip(), run.stderr


def test_kernels_are_kept_in_the_folder_that_is_named_where_it_is_ours(tmp_path, folder):
    assert cache_of_kernels(tmp_path, folder) == (str(folder), "")


def test_kernels_that_others_can_write_are_not_loaded_and_a_folder_of_our_own_is_used(tmp_path, folder):
    folder.chmod(0o777)
    used, said = cache_of_kernels(tmp_path, folder)
    assert used == str(tmp_path / ".cache/gatlas/numba")
    assert f"{folder} is writable by everyone: {used} is used instead" in said
    assert os.listdir(folder) == ["kernel.nbi"]


def test_without_any_safe_folder_nothing_is_kept(folder, monkeypatch):
    monkeypatch.setattr(jit.numba.config, "CACHE_DIR", str(folder))
    folder.chmod(0o777)
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    with pytest.warns(UserWarning, match="every process compiles for itself"):
        assert not jit.choose_cache()
    monkeypatch.setattr(jit, "has_safe_cache", False)

    @jit.njit(cache=True)
    def double(x):
        return 2 * x

    assert double(2) == 4
    assert os.listdir(folder) == ["kernel.nbi"]


# The planes


def test_a_cached_plane_that_others_can_write_is_computed_again(tmp_path, monkeypatch):
    monkeypatch.setenv("GATLAS_CACHE", str(tmp_path))
    cells = np.random.default_rng(0).permutation(9).astype(np.int32)
    plane_cache.save_permutation(cells, 3, "made-up")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.array_equal(plane_cache.load_permutation(3, "made-up"), cells)
    (path,) = (each for each in tmp_path.rglob("*") if each.is_file())
    path.chmod(0o666)
    with pytest.warns(UserWarning, match="is writable by everyone: computing it again"):
        assert plane_cache.load_permutation(3, "made-up") is None
