"""The facade is a table of names: each is loaded on first use, and type checkers see where it comes from."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from gatlas import io


def test_every_name_is_loaded_from_where_type_checkers_see_it():
    (block,) = (node for node in ast.parse(Path(io.__file__).read_text()).body if isinstance(node, ast.If))
    seen = {alias.name: node.module for node in block.body for alias in node.names}
    assert sorted(seen) == sorted(io.__all__)
    for name, module in seen.items():
        assert getattr(io, name).__module__ == module
    with pytest.raises(AttributeError, match=r"module 'gatlas\.io' has no attribute 'load_nothing'"):
        _ = io.load_nothing


def test_importing_it_loads_no_reader():
    code = (
        "import sys, gatlas.io; sys.exit(any(name.startswith('gatlas.io.') or name == 'numpy' for name in sys.modules))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
