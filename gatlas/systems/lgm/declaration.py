"""Names, presets and inputs of the LGM system, without loading it."""

from __future__ import annotations

from gatlas.systems.contract import ANY_NUMBER, Orbit, Preset, Takes
from gatlas.systems.lgm.config import BIG, CPU, SMALL, TINY

NAME = "lgm"
TAKES = Takes(
    photos=range(1, ANY_NUMBER),
    posed=True,
    keys=("legacy_rot",),
    orbit=Orbit((0.0, 90.0, 180.0, 270.0), BIG.distance, BIG.view_fov),
    weights="model_fp16_fixrot.safetensors of huggingface.co/ashawkey/LGM",
)
TRAINING = (
    "learns objects from views: the inputs are folders of views with transparency (render MESH --orbit N --sphere M -o "
    "FOLDER/), a folder of such folders, or tars of them."
)
# 30 epochs of 80,000 objects in steps of 256: 32 processes of 8 (Tang et al. 2024).
_PUBLISHED = {
    "steps": 9_375,
    "batch": 8,
    "lr": 4e-4,
    "betas": (0.9, 0.95),
    "weight_decay": 0.05,
    "schedule": "onecycle",
    "warmup": 3_000,
    "clip": 1.0,
    "ema_decay": 0.0,
}
_CPU = {
    "steps": 14_000,
    "batch": 1,
    "lr": 2e-3,
    "betas": (0.9, 0.95),
    "weight_decay": 0.05,
    "schedule": "cosine",
    "warmup": 100,
    "clip": 1.0,
    "ema_decay": 0.999,
    "checkpoint_every": 1_000,
    "sample_every": 1_000,
    "log_every": 50,
    "diagnose_every": 250,
}
PRESETS = {
    "cpu": Preset(CPU, _CPU, help="pictures of 64 x 64; three quarters of an hour on one core"),
    "big": Preset(BIG, _PUBLISHED, with_base=True, help="the published network: 128 x 128 Gaussians per view"),
    "small": Preset(SMALL, _PUBLISHED, help="as big, with 64 x 64 Gaussians per view"),
    "tiny": Preset(TINY, _PUBLISHED, help="the published network of 60 million weights"),
}
# One weight of every network of this kind: what tells a published file.
MARK, MARK_SHAPE = "conv.weight", (14, 14, 1, 1)


def recognizes(path: str) -> bool:
    """Return True for safetensors of an LGM network."""
    from gatlas.io.models.tensors import tensor_shapes

    return tensor_shapes(path).get(MARK) == MARK_SHAPE
