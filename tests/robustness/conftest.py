"""The inputs of all scenarios, made once per module."""

import pytest

from tests.robustness.scenarios import prepare


@pytest.fixture(scope="module")
def inputs(tmp_path_factory, one_thread):
    """A folder with the inputs; torch is on one thread and knows the toy system until the module's end."""
    from gatlas.systems import SYSTEMS

    before = dict(SYSTEMS)
    folder = tmp_path_factory.mktemp("robustness")
    prepare(folder)
    yield folder
    SYSTEMS.clear()
    SYSTEMS.update(before)
