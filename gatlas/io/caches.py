"""The user's cache folder: $GATLAS_CACHE, else $XDG_CACHE_HOME/gatlas, else ~/.cache/gatlas."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return the user's cache folder, which need not exist yet."""
    if chosen := os.environ.get("GATLAS_CACHE"):
        return Path(chosen)
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base) / "gatlas"
    return Path(os.path.expanduser("~")) / ".cache" / "gatlas"
