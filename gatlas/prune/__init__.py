"""Fewer Gaussians: ranking by what is seen, and a few steps that make up for the loss."""

from typing import TYPE_CHECKING

from gatlas.lazy import lazy_names

if TYPE_CHECKING:
    from gatlas.prune.options import PruneOptions
    from gatlas.prune.pruning import measure_pruning, prune
    from gatlas.prune.ranking import drop_faint, keep_highest, rank

__all__ = ["PruneOptions", "drop_faint", "keep_highest", "measure_pruning", "prune", "rank"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "PruneOptions": "gatlas.prune.options",
        "drop_faint": "gatlas.prune.ranking",
        "keep_highest": "gatlas.prune.ranking",
        "measure_pruning": "gatlas.prune.pruning",
        "prune": "gatlas.prune.pruning",
        "rank": "gatlas.prune.ranking",
    },
)
