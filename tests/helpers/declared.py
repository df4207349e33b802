"""What pyproject.toml declares."""

import sys
from functools import cache
from pathlib import Path

from packaging.requirements import Requirement

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pytest needs it there

PROJECT = Path(__file__).parents[2] / "pyproject.toml"


@cache
def requirements() -> dict[str, list[Requirement]]:
    """Return the requirements of each extra; of the base under ""."""
    project = tomllib.loads(PROJECT.read_text())["project"]
    listed = {"": project["dependencies"], **project["optional-dependencies"]}
    return {extra: [Requirement(each) for each in names] for extra, names in listed.items()}
