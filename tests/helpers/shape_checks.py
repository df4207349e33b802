"""jaxtyping's import hook over gatlas: shapes and dtypes of annotated arrays are checked while tests run.

Array types are imported for type checkers only, so their names are looked up here; other annotations are left to mypy.
Kernels that numba compiles cannot be wrapped: modules of kernels are left out.
"""

import importlib.util
import inspect
import re
import typing
from contextlib import contextmanager
from pathlib import Path

import jaxtyping
from beartype import BeartypeConf, beartype
from jaxtyping import _decorator, install_import_hook

KERNEL = re.compile(r"^@(numba\.)?(njit|jit|kernel|intrinsic|overload)\b", re.MULTILINE)

check = beartype(conf=BeartypeConf(is_pep484_tower=True))  # an int is a float


def install():
    """Install the hook; modules of gatlas that are imported afterwards check the arrays of their functions."""
    names = {name: value for name, value in vars(jaxtyping).items() if isinstance(value, type)}
    resolve = _decorator.get_type_hints

    def array_hints(function, namespace, **settings):
        import numpy as np
        import torch

        known = {**names, "np": np, "torch": torch, "Tensor": torch.Tensor, "Array": typing.Any}
        hints = resolve(function, {**known, **namespace}, **settings)
        return {name: hint if _has_array(hint) else typing.Any for name, hint in hints.items()}

    _decorator.get_type_hints = array_hints
    install_import_hook(list(_checked_modules()), f"{__name__}.check")


@contextmanager
def switched_off():
    """Inside the block nothing is checked: for tests of what a function says of wrong shapes itself."""
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


def _has_array(hint):
    if inspect.isclass(hint) and issubclass(hint, jaxtyping.AbstractArray):
        return True
    return any(map(_has_array, typing.get_args(hint)))


def _checked_modules():
    """Names of the modules without kernels. A package stands for all that is in it, so only leaves are named."""
    package = Path(importlib.util.find_spec("gatlas").origin).parent
    for path in sorted(package.rglob("*.py")):
        if path.stem not in ("__init__", "__main__") and not KERNEL.search(path.read_text()):
            yield ".".join(("gatlas", *path.relative_to(package).with_suffix("").parts))
