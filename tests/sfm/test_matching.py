"""Matches in COLMAP's database, against those that COLMAP itself writes there."""

import re
import shutil
import sqlite3
import sys

import pytest

from gatlas.errors import GatlasError
from gatlas.io.photos.unposed_photos import list_photos
from gatlas.sfm import SfmOptions
from gatlas.sfm.features import write_features
from gatlas.sfm.matching import write_matches
from tests.helpers.corner_photos import save_corner

pycolmap = pytest.importorskip("pycolmap")
COUNT = 5


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    """A database of the features of photos, without matches."""
    folder = tmp_path_factory.mktemp("corner")
    save_corner(folder / "photos", COUNT)
    write_features(list_photos(folder / "photos", None), folder / "database.db", SfmOptions(), threads=1)
    return folder / "database.db"


def copy_of(features, folder):
    folder.mkdir()
    return shutil.copy(features, folder / "database.db")


def tables(database, fewest=0):
    """The rows of matches and of geometries with so many matches or more, by pairs."""
    with sqlite3.connect(database) as held:
        return [
            held.execute(f"select * from {table} where rows >= ? order by pair_id", (fewest,)).fetchall()
            for table in ("matches", "two_view_geometries")
        ]


@pytest.mark.parametrize("threads", [1, 3])
def test_matches_and_geometries_are_those_of_colmap(features, tmp_path, threads):
    ours, theirs = copy_of(features, tmp_path / "ours"), copy_of(features, tmp_path / "theirs")
    write_matches(COUNT, ours, SfmOptions(), threads=threads)
    matching = pycolmap.FeatureMatchingOptions()
    matching.num_threads = 1
    matching.sift.cpu_brute_force_matcher = True
    verification = pycolmap.TwoViewGeometryOptions()
    verification.ransac.random_seed = SfmOptions().seed
    pycolmap.match_exhaustive(theirs, matching, pycolmap.ExhaustivePairingOptions(), verification, pycolmap.Device.cpu)
    enough = verification.min_num_inliers  # of fewer COLMAP keeps none
    assert tables(ours, enough) == tables(theirs, enough)
    matches, geometries = tables(ours)
    assert len(matches) == len(geometries) == COUNT * (COUNT - 1) // 2
    assert sum(rows for _, rows, *_ in geometries) > 500


def test_pairs_that_are_there_stay(features, tmp_path):
    database = copy_of(features, tmp_path / "all")
    write_matches(COUNT, database, SfmOptions(), threads=1)
    whole = tables(database)
    with sqlite3.connect(database) as held:
        pairs = [pair for pair, *_ in whole[1]]
        held.execute("update two_view_geometries set config = 7 where pair_id = ?", pairs[:1])
        for table in ("matches", "two_view_geometries"):
            held.execute(f"delete from {table} where pair_id = ?", pairs[1:2])
    write_matches(COUNT, database, SfmOptions(), threads=1)
    matches, geometries = tables(database)
    assert matches == whole[0]
    assert geometries[1:] == whole[1][1:]
    assert geometries[0] != whole[1][0]


def test_a_pair_whose_geometry_is_missing_is_matched_again(features, tmp_path):
    database = copy_of(features, tmp_path / "all")
    write_matches(COUNT, database, SfmOptions(), threads=1)
    whole = tables(database)
    with sqlite3.connect(database) as held:
        held.execute("delete from two_view_geometries where pair_id = ?", whole[1][3][:1])
    write_matches(COUNT, database, SfmOptions(), threads=1)
    assert tables(database) == whole


def test_without_threadpoolctl_the_extra_is_named(features, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    with pytest.raises(GatlasError, match=re.escape("pip install 'gatlas[photos]'")):
        write_matches(COUNT, copy_of(features, tmp_path / "all"), SfmOptions(), threads=1)
