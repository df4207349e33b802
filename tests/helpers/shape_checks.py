"""jaxtyping's import hook over gatlas: shapes and dtypes of annotated arrays are checked while tests run.

Only annotations that hold an array type are checked; the others are left to mypy. Array types are imported for type
checkers only, so their names are looked up here. Kernels that numba compiles cannot be wrapped: modules of kernels
are left out.
"""

import builtins
import dataclasses
import importlib.util
import inspect
import re
import typing
from contextlib import contextmanager
from pathlib import Path

import jaxtyping
from beartype import BeartypeConf, beartype

KERNEL = re.compile(r"^@(numba\.)?(njit|jit|kernel|intrinsic|overload)\b", re.MULTILINE)
ARRAY_TYPES = {name: kind for name, kind in vars(jaxtyping).items() if isinstance(kind, type)}
HOLDS_ARRAY = re.compile(rf"\b({'|'.join(ARRAY_TYPES)})\[")

check = beartype(conf=BeartypeConf(is_pep484_tower=True))  # an int is a float


def install():
    """Install the hook; modules of gatlas that are imported afterwards check the arrays of their functions."""
    jaxtyped = jaxtyping.jaxtyped

    def check_arrays(*, typechecker):
        def decorate(thing):
            function = thing.__init__ if inspect.isclass(thing) and dataclasses.is_dataclass(thing) else thing
            annotations = getattr(function, "__annotations__", {})
            if inspect.isclass(function) or not any(map(_holds_array, annotations.values())):
                return thing
            names = _Names(function.__globals__)
            function.__annotations__ = {name: _evaluated(each, names) for name, each in annotations.items()}
            return jaxtyped(thing, typechecker=typechecker)

        return decorate

    jaxtyping.jaxtyped = check_arrays  # the decorator that the hook puts before functions and classes
    jaxtyping.install_import_hook(list(_checked_modules()), f"{__name__}.check")


@contextmanager
def switched_off():
    """Check nothing inside the block: for tests of what a function says of wrong shapes itself."""
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


class _AnythingType(type):
    def __instancecheck__(cls, value):
        return True

    def __getitem__(cls, item):
        return cls


class _Anything(metaclass=_AnythingType):
    """A type that every value has."""


class _Names(dict):
    """Names in annotations of a module; one that is imported for type checkers only and is no array is anything."""

    def __init__(self, module):
        super().__init__({**vars(builtins), **ARRAY_TYPES, "Array": typing.Any, **module})

    def __missing__(self, name):
        if name == "np":
            return importlib.import_module("numpy")
        if name in ("torch", "Tensor"):
            torch = importlib.import_module("torch")
            return torch if name == "torch" else torch.Tensor
        return _Anything


def _holds_array(annotation):
    return isinstance(annotation, str) and HOLDS_ARRAY.search(annotation) is not None


def _evaluated(annotation, names):
    return eval(annotation, {}, names) if _holds_array(annotation) else typing.Any


def _checked_modules():
    """Yield the names of the modules without kernels. A package stands for all that is in it: only leaves are named."""
    package = Path(importlib.util.find_spec("gatlas").origin).parent
    for path in sorted(package.rglob("*.py")):
        if path.stem not in ("__init__", "__main__") and not KERNEL.search(path.read_text()):
            yield ".".join(("gatlas", *path.relative_to(package).with_suffix("").parts))
