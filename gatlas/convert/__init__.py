"""Splats moved, turned, scaled, cropped and merged, for any other format."""
# ruff: noqa: F401

from __future__ import annotations

from typing import TYPE_CHECKING

from gatlas.lazy import lazy_names

if TYPE_CHECKING:
    from gatlas.convert.converting import convert, merge
    from gatlas.convert.options import ConvertOptions

_HOMES = {
    "convert": "gatlas.convert.converting",
    "merge": "gatlas.convert.converting",
    "ConvertOptions": "gatlas.convert.options",
}
__all__ = list(_HOMES)
__getattr__, __dir__ = lazy_names(__name__, _HOMES)
