"""numba's compiler, with a cache on disk that only this user can write: what is read from it runs as code."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import numba

from gatlas.trust import foreign_writer


def njit(*arguments: Any, **options: Any) -> Any:
    """Compile as `numba.njit` does; where no folder is safe to keep the code in, every process compiles for itself."""
    if not has_safe_cache:
        options.pop("cache", None)
    return numba.njit(*arguments, **options)


def choose_cache() -> bool:
    """Have numba keep its code where others cannot write, and return True; False where there is no such folder.

    A folder that others can write is not used, with one warning: then a folder of this user's own takes its place.
    """
    config: Any = numba.config
    asked = config.CACHE_DIR
    folders = [asked] if asked and _can_be_made(asked) else [*_beside_kernels(), _user_cache("numba")]
    fault = next((fault for folder in folders if (fault := foreign_writer(folder))), None)
    if fault is None:
        return True
    own = _user_cache("gatlas", "numba")
    safe = _can_be_made(own) and foreign_writer(own) is None
    instead = f"{own} is used" if safe else "every process compiles for itself"
    warnings.warn(
        f"compiled kernels are code, and {fault}: {instead} instead; name a folder of your own in NUMBA_CACHE_DIR",
        stacklevel=2,
    )
    config.CACHE_DIR = own if safe else ""
    return safe


def _can_be_made(folder: str) -> bool:
    """Return True for a folder that this process can write into, or make."""
    real = Path(os.path.realpath(folder))
    nearest = next((path for path in (real, *real.parents) if path.exists()), real)
    return nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)


def _beside_kernels() -> list[str]:
    """Return the folders beside the modules with kernels, which numba takes where they can be written.

    None where others can write the modules themselves, as in a checkout of somebody else's.
    """
    package = Path(__file__).parent
    if foreign_writer(package, contents=False) is not None:
        return []
    folders = ("raster", "meshes", "transport", "metrics", "io/meshes", "fit", "sfm")
    return [f"{package / folder / '__pycache__'}" for folder in folders if os.access(package / folder, os.W_OK)]


def _user_cache(*names: str) -> str:
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(base, *names)


has_safe_cache = choose_cache()
