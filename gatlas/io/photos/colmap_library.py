"""pycolmap, loaded on first use, and its databases of features and matches."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from gatlas.errors import GatlasError


def load_pycolmap() -> Any:
    """Return the package; a GatlasError where it is not installed.

    Its C++ code takes SIGTERM, to print a stack trace: it is given back. Its log shows errors only.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM)
    os.environ.setdefault("GLOG_minloglevel", "3")
    try:
        import pycolmap
    except ImportError:
        raise GatlasError(
            "photos without cameras need pycolmap: pip install 'gatlas[photos]', or run COLMAP on them and put its "
            "model into sparse/0"
        ) from None
    if in_main_thread and before is not None:
        signal.signal(signal.SIGTERM, before)
    pycolmap.logging.minloglevel = 3
    return pycolmap


def opened_database(path: Path) -> AbstractContextManager[Any]:
    """Return a database of COLMAP's, open until the end of the block; it is made where there is none."""
    opened: AbstractContextManager[Any] = load_pycolmap().Database.open(path)
    return opened
