"""Agreement of pictures with prompts in CLIP's space."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float


class TextScore(NamedTuple):
    """Agreement of an object's pictures with its prompt."""

    clip_score: float  # 100 x cosine, at least 0, the mean over the pictures (Hessel et al. 2021)
    rank: int  # of the own prompt among all, by the mean cosine; 1 is the nearest

    @property
    def retrieved(self) -> float:
        """1 where the own prompt is the nearest of all, else 0: its mean over samples is R-precision."""
        return float(self.rank == 1)


def score_text(pictures: Float[np.ndarray, "v d"], prompts: Float[np.ndarray, "p d"], own: int) -> TextScore:
    """Return the agreement of pictures with the prompt number `own` of all, from unit features.

    Another prompt that is as near counts as nearer: features that tell nothing are right by no luck.
    """
    cosines = np.asarray(pictures, dtype=np.float64) @ np.asarray(prompts, dtype=np.float64).T
    means = cosines.mean(axis=0)
    rank = 1 + int((np.delete(means, own) >= means[own]).sum())
    return TextScore(100.0 * float(np.maximum(cosines[:, own], 0.0).mean()), rank)
