"""Files of every kind in a few lines: their content, and faults with their remedies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatlas.lazy import lazy_names

if TYPE_CHECKING:
    from gatlas.inspection.findings import Finding, Inspection
    from gatlas.inspection.kinds import inspect
    from gatlas.inspection.options import InspectOptions

__all__ = ["Finding", "InspectOptions", "Inspection", "inspect"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Finding": "gatlas.inspection.findings",
        "Inspection": "gatlas.inspection.findings",
        "inspect": "gatlas.inspection.kinds",
        "InspectOptions": "gatlas.inspection.options",
    },
)
