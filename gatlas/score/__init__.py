"""Figures of the field, measured on the files that the other verbs write."""

from typing import TYPE_CHECKING

from gatlas.lazy import lazy_names

if TYPE_CHECKING:
    from gatlas.score.consistency import ConsistencyScore, score_consistency
    from gatlas.score.options import ConsistencyOptions

__all__ = ["ConsistencyOptions", "ConsistencyScore", "score_consistency"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "ConsistencyOptions": "gatlas.score.options",
        "ConsistencyScore": "gatlas.score.consistency",
        "score_consistency": "gatlas.score.consistency",
    },
)
