"""Figures of the field, measured on the files that the other verbs write."""
# ruff: noqa: F401

from typing import TYPE_CHECKING

from gatlas.lazy import lazy_names

if TYPE_CHECKING:
    from gatlas.score.consistency import ConsistencyScore, score_consistency
    from gatlas.score.fidelity import Fidelity, score_fidelity
    from gatlas.score.options import ConsistencyOptions, FidelityOptions, PosesOptions
    from gatlas.score.poses import PoseScore, score_poses

_HOMES = {
    "ConsistencyOptions": "gatlas.score.options",
    "ConsistencyScore": "gatlas.score.consistency",
    "Fidelity": "gatlas.score.fidelity",
    "FidelityOptions": "gatlas.score.options",
    "PoseScore": "gatlas.score.poses",
    "PosesOptions": "gatlas.score.options",
    "score_consistency": "gatlas.score.consistency",
    "score_fidelity": "gatlas.score.fidelity",
    "score_poses": "gatlas.score.poses",
}

__all__ = list(_HOMES)
__getattr__, __dir__ = lazy_names(__name__, _HOMES)
