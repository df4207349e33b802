"""Sets in a cloud, by fsspec: `s3://bucket/set-{000..205}.tar`, `gs://…`, `hf://datasets/…`.

Files are copied once into the user's cache and read there as all others are, out of order and by many processes. A copy
counts while the store says that the file is as it was.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import warnings
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from gatlas.errors import GatlasError
from gatlas.io.caches import cache_folder
from gatlas.io.leftovers import scratch_name
from gatlas.locks import exclusive

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]+://")
_BLOCK = 1 << 20  # bytes copied at once


def is_remote(given: str) -> bool:
    """Return True for a name with a scheme, as s3://bucket/x.tar."""
    return _SCHEME.match(given) is not None


def local_copies(given: str, suffixes: tuple[str, ...]) -> list[Path]:
    """Return the copies of what a remote name means: a file, a pattern, or the files in a folder with these suffixes.

    The last parts of their names are as they are there. What cannot be had is a GatlasError.
    """
    system, path = _opened(given)
    try:
        found = _list(system, path, suffixes)
    except Exception as error:  # each store has errors of its own
        raise _fault(given, error) from None
    if not found:
        raise GatlasError(f"{given}: there is no such file, or none that ends in {' or '.join(suffixes)}")
    if any(".." in each.split("/") for each in found):
        raise GatlasError(f"{given}: a name in it would lie outside its folder")
    root = cache_folder() / "remote" / _digest(given)
    above = os.path.commonpath([os.path.dirname(each) for each in found])
    return [_copy(given, system, each, root / os.path.relpath(each, above)) for each in found]


def _opened(given: str) -> tuple[Any, str]:
    try:
        import fsspec
    except ImportError:
        raise GatlasError(f"{given}: names with a scheme need fsspec: pip install fsspec") from None
    try:
        system, path = fsspec.core.url_to_fs(given)
    except ImportError as error:
        raise GatlasError(f"{given}: {' '.join(str(error).split())}: pip install it beside gatlas") from None
    except Exception as error:
        raise _fault(given, error) from None
    return system, str(path)


def _list(system: Any, path: str, suffixes: tuple[str, ...]) -> list[str]:
    if any(mark in path for mark in "*?["):
        return sorted(each for each in system.glob(path) if not system.isdir(each))
    if system.isdir(path):
        return sorted(each for each in system.find(path) if each.lower().endswith(suffixes))
    return [path] if system.exists(path) else []


def _copy(given: str, system: Any, path: str, place: Path) -> Path:
    """Return the copy of a file, which is made where there is none of the file as it is now."""
    mark = place.with_name(f".{place.name}.source")
    try:
        version = f"{system.ukey(path)} {system.size(path)}"
        with exclusive(str(cache_folder() / "locks" / f"remote-{_digest(str(place))}.lock"), lambda: None):
            with suppress(OSError):
                if place.exists() and mark.read_text() == version:
                    return place
            _say_once(given, str(place.parent))
            place.parent.mkdir(parents=True, exist_ok=True)
            scratch = place.with_name(scratch_name())
            try:
                with system.open(path, "rb") as source, scratch.open("wb") as target:
                    shutil.copyfileobj(source, target, _BLOCK)
                mark.unlink(missing_ok=True)
                os.replace(scratch, place)
            finally:
                scratch.unlink(missing_ok=True)
            mark.write_text(version)
    except Exception as error:
        raise _fault(f"{given}: {path}", error) from None
    return place


def _fault(given: str, error: Exception) -> GatlasError:
    return GatlasError(f"{given}: {' '.join(str(error).split())[:200] or type(error).__name__}")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:24]


@cache
def _say_once(given: str, folder: str) -> None:
    warnings.warn(f"{given}: is copied into {folder}", stacklevel=2)
