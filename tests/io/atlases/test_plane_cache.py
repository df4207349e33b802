"""The permutations that are shipped, and the cache of the others."""

import numpy as np
import pytest

from gatlas.atlas import plane
from gatlas.io.atlases import plane_cache as cache
from gatlas.transport import PROJECTIONS, compute_plane_permutation


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("GATLAS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def forbid_computing(monkeypatch):
    def fail(*_):
        raise AssertionError("computed")

    monkeypatch.setattr(plane, "compute_plane_permutation", fail)


@pytest.mark.parametrize("projection", PROJECTIONS)
@pytest.mark.parametrize("size", plane.SHIPPED_SIZES)
def test_common_sizes_are_shipped(monkeypatch, folder, projection, size):
    forbid_computing(monkeypatch)
    assert (np.sort(plane.plane_permutation(size, projection)) == np.arange(size * size)).all()
    assert not folder.exists()


@pytest.mark.parametrize("projection", PROJECTIONS)
@pytest.mark.parametrize(
    "size", [64, pytest.param(128, marks=pytest.mark.slow), pytest.param(192, marks=pytest.mark.slow)]
)
def test_a_shipped_plane_is_what_the_code_computes(projection, size):
    assert (cache.load_permutation(size, projection) == compute_plane_permutation(size, projection)).all()


def test_another_size_is_computed_once(monkeypatch, folder):
    first = plane.plane_permutation(9)
    assert [path.name for path in folder.iterdir()] == ["plane-v1-equirect-9.npz"]
    forbid_computing(monkeypatch)
    second = plane.plane_permutation(9)
    assert (first == second).all()
    assert second.dtype == np.int32


def spoil_truncate(path):
    path.write_bytes(path.read_bytes()[:-40])


def spoil_text(path):
    path.write_text("not an archive")


def spoil_empty(path):
    path.write_bytes(b"")


def spoil_name(path):
    np.savez(path, other=np.arange(81))


def spoil_repeated(path):
    np.savez(path, cells=np.zeros(81, np.uint16))


def spoil_floats(path):
    np.savez(path, cells=np.arange(81.0))


def spoil_flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


SPOILERS = [spoil_truncate, spoil_text, spoil_empty, spoil_name, spoil_repeated, spoil_floats, spoil_flip]


@pytest.mark.parametrize("spoil", SPOILERS)
def test_a_damaged_cache_file_is_replaced(folder, spoil):
    good = plane.plane_permutation(9)
    path = folder / "plane-v1-equirect-9.npz"
    spoil(path)
    with pytest.warns(UserWarning, match="plane-v1-equirect-9.npz.* computing it again"):
        assert (plane.plane_permutation(9) == good).all()
    assert (cache.load_permutation(9, "equirect") == good).all()


def test_a_cache_that_cannot_be_written_is_a_warning(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GATLAS_CACHE", str(tmp_path / "file" / "below"))
    with pytest.warns(UserWarning, match="cannot be"):
        assert len(plane.plane_permutation(5)) == 25


def test_the_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.delenv("GATLAS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache.cache_folder() == tmp_path / "xdg" / "gatlas"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.cache_folder() == tmp_path / ".cache" / "gatlas"


def test_what_is_not_a_permutation_is_not_saved():
    with pytest.raises(ValueError, match="cells must be a permutation of 4 cells"):
        cache.save_permutation(np.zeros(4, np.int32), 2, "equirect")


def test_unknown_projections_and_sizes_are_refused():
    with pytest.raises(ValueError, match="projection must be one of equirect, octahedral, got 'mercator'"):
        plane.plane_permutation(8, "mercator")
    with pytest.raises(ValueError, match="size must be >= 1, got 0"):
        plane.plane_permutation(0)
