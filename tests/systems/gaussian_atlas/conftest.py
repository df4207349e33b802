"""A set of atlases with captions for the tests of a file."""

import pytest

from tests.helpers.atlas_sets import write_captions, write_set


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder for set/, a set of atlases, and captions.csv: `stats` writes both."""
    return tmp_path_factory.mktemp("atlases")


@pytest.fixture(scope="module")
def stats(folder):
    """The statistics of the set."""
    write_captions(folder / "captions.csv")
    return write_set(folder / "set")
