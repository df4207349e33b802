"""VQA score (Lin et al. 2024) by the package t2v_metrics.

It is no extra: its releases pin a transformers or an imageio that gatlas cannot have, so pip refuses both together.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gatlas.errors import GatlasError
from gatlas.io.nouns import save_image
from gatlas.io.sets.scratch import temporary_folder

if TYPE_CHECKING:
    from jaxtyping import Float

    VqaScore = Callable[[Float[np.ndarray, "v h w 3"], str], float]

NO_VQA = (
    "no model: pip install --no-deps t2v-metrics and what it then misses, and name with --vqa the folder that holds "
    "clip-flant5-xxl (44 GB; https://huggingface.co/zhiqiulin/clip-flant5-xxl), or a smaller one with --vqa-model"
)


@lru_cache(maxsize=1)
def load_vqa(folder: str, model: str) -> VqaScore:
    """Return a function of pictures and a prompt: the mean probability of yes to "Does this figure show ...?".

    A package or a folder that is missing is a GatlasError.
    """
    if not Path(folder).is_dir():
        raise GatlasError(f"{folder}: there is no such folder: {NO_VQA}")
    try:
        import t2v_metrics
    except ImportError:
        raise GatlasError(f"--vqa needs t2v_metrics: {NO_VQA}") from None
    network = t2v_metrics.VQAScore(model=model, cache_dir=folder)

    def score(images: Float[np.ndarray, "v h w 3"], prompt: str) -> float:
        with temporary_folder() as scratch:  # it takes names of files
            paths = [str(scratch / f"{i}.png") for i in range(len(images))]
            for path, image in zip(paths, images, strict=True):
                save_image(path, image)
            found = network(images=paths, texts=[prompt])
        return float(np.mean([float(each) for each in np.asarray(found).reshape(-1)]))

    return score
