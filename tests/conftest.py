"""Fixtures that every test folder may use."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data():
    """The folder of real meshes, photos and splats: $GATLAS_SHARED_DATA, else beside the checkout. Else skip."""
    folder = Path(os.environ.get("GATLAS_SHARED_DATA") or Path(__file__).parents[2] / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no folder of real files at {folder}: set GATLAS_SHARED_DATA")
    return folder
