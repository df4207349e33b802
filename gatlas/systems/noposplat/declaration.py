"""Names, presets and inputs of the NoPoSplat system, without loading it."""

from __future__ import annotations

from gatlas.systems.contract import ANY_NUMBER, Preset, Takes
from gatlas.systems.noposplat.config import RE10K, SCRATCH, TINY_SCENES

NAME = "noposplat"
TAKES = Takes(photos=range(2, ANY_NUMBER))
TRAINING = (
    "learns scenes from photos: the inputs are folders of posed photos (transforms.json or COLMAP), a folder of such "
    "folders, or RealEstate10K's chunks."
)
PRESETS = {
    "tiny": Preset(
        TINY_SCENES,
        {
            "steps": 1_000,
            "batch": 4,
            "lr": 1e-3,
            "betas": (0.9, 0.95),
            "weight_decay": 0.05,
            "schedule": "cosine",
            "warmup": 50,
            "clip": 0.5,
            "ema_power": 0.75,
            "checkpoint_every": 200,
            "sample_every": 200,
            "diagnose_every": 50,
        },
        help="pictures of 64 x 64; minutes on a CPU",
    ),
    # The published numbers for pretrained weights, with --base: 128 samples per step are eight processes of 16.
    "re10k": Preset(
        RE10K,
        {
            "steps": 18_751,
            "batch": 16,
            "lr": 2e-4,
            "betas": (0.9, 0.95),
            "weight_decay": 0.05,
            "schedule": "cosine",
            "lr_end": 2e-5,
            "warmup": 125,
            "clip": 0.5,
        },
        with_base=True,
        help="the published numbers for pretrained weights",
    ),
    # The published size from random weights, with which the published training never begins: it converges by the ray
    # term and the pixel's own color and ray.
    "base": Preset(
        SCRATCH,
        {
            "steps": 300_001,
            "batch": 8,
            "lr": 1e-4,
            "betas": (0.9, 0.95),
            "weight_decay": 0.05,
            "schedule": "cosine",
            "warmup": 2_000,
            "clip": 0.5,
        },
        help="the published size from random weights",
    ),
}


def recognizes(path: str) -> bool:
    """Return True for a published checkpoint: a file of torch."""
    from gatlas.io.models.torch_file import is_torch_file

    return is_torch_file(path)
