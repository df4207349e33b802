"""Names, presets and inputs of the 3DiM system, without loading it."""

from __future__ import annotations

from gatlas.geometry.default_camera import DEFAULT_DISTANCE, DEFAULT_FOV
from gatlas.systems.contract import ANY_NUMBER, Orbit, Preset, Takes
from gatlas.systems.threedim.config import BASE, CPU, MIDDLE

NAME = "threedim"
TAKES = Takes(
    photos=range(1, ANY_NUMBER),
    posed=True,
    target_cameras=True,
    relative=True,
    pool=True,
    noise=True,
    orbit=Orbit((0.0,), DEFAULT_DISTANCE, DEFAULT_FOV, assumed=False),
)
TRAINING = (
    "learns new views of objects from folders of views (render MESH --orbit N or --sphere N) or of SRN's "
    "data sets (rgb/, pose/, intrinsics/), with square pictures. "
    "With --set relative=true it takes photos whose place around their object is not known."
)
# Per step 128 samples: the warm-up is over 10 million samples, and the averages' half-life is 500,000.
_PUBLISHED = {"lr": 1e-4, "betas": (0.9, 0.99), "weight_decay": 0.0, "ema_decay": 0.99982}
PRESETS = {
    "cpu": Preset(
        CPU,
        {
            "steps": 14_000,
            "batch": 4,
            "lr": 2e-3,
            "schedule": "cosine",
            "betas": (0.9, 0.99),
            "weight_decay": 0.0,
            "ema_decay": 0.999,
        },
        help="pictures of 32 x 32, 1.4 M parameters; an hour on one core of a CPU",
    ),
    "base": Preset(
        BASE,
        {**_PUBLISHED, "steps": 1_000_000, "batch": 16, "warmup": 78_125},
        with_base=True,
        help="the published network: pictures of 128 x 128, 462 M parameters, with 128 samples per step: eight "
        "processes of 16",
    ),
    "64": Preset(
        MIDDLE,
        {**_PUBLISHED, "steps": 100_000, "batch": 128, "warmup": 10_000},
        help="pictures of 64 x 64, 132 M parameters",
    ),
}


def recognizes(path: str) -> bool:
    """Return True for a published file of the system: there are none."""
    return False
