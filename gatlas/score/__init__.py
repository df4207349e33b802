"""Figures of the field, measured on the files that the other verbs write."""
# ruff: noqa: F401

from typing import TYPE_CHECKING

from gatlas.lazy import lazy_names

if TYPE_CHECKING:
    from gatlas.score.consistency import ConsistencyScore, score_consistency
    from gatlas.score.distribution import DistributionScore, score_distribution
    from gatlas.score.fidelity import Fidelity, score_fidelity
    from gatlas.score.options import (
        ConsistencyOptions,
        DistributionOptions,
        FidelityOptions,
        PosesOptions,
        TextOptions,
    )
    from gatlas.score.poses import PoseScore, score_poses
    from gatlas.score.retrieval import Retrieved, retrieve
    from gatlas.score.scored_object import ScoredObject, describe_object
    from gatlas.score.text import TextScore, score_text

_HOMES = {
    "ConsistencyOptions": "gatlas.score.options",
    "ConsistencyScore": "gatlas.score.consistency",
    "DistributionOptions": "gatlas.score.options",
    "DistributionScore": "gatlas.score.distribution",
    "Fidelity": "gatlas.score.fidelity",
    "FidelityOptions": "gatlas.score.options",
    "PoseScore": "gatlas.score.poses",
    "PosesOptions": "gatlas.score.options",
    "Retrieved": "gatlas.score.retrieval",
    "ScoredObject": "gatlas.score.scored_object",
    "TextOptions": "gatlas.score.options",
    "TextScore": "gatlas.score.text",
    "describe_object": "gatlas.score.scored_object",
    "retrieve": "gatlas.score.retrieval",
    "score_consistency": "gatlas.score.consistency",
    "score_distribution": "gatlas.score.distribution",
    "score_fidelity": "gatlas.score.fidelity",
    "score_poses": "gatlas.score.poses",
    "score_text": "gatlas.score.text",
}

__all__ = list(_HOMES)
__getattr__, __dir__ = lazy_names(__name__, _HOMES)
