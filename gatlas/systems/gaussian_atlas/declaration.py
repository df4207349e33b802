"""Names, presets and inputs of the Gaussian Atlas system, without loading it."""

from __future__ import annotations

from gatlas.systems.contract import Preset, Takes
from gatlas.systems.gaussian_atlas.config import GaussianAtlasConfig

NAME = "gaussian-atlas"
TAKES = Takes(text=True, picture=True, edit=True, noise=True)
TRAINING = (
    "learns atlases, with captions where there are any. Captions are a CSV (uid,caption, or with a header), a JSON map "
    "or list, or JSON lines; or key.txt next to key.npz, in a folder or a tar. An id is the atlas's name without "
    "suffix. Without --base a small network begins from random weights: preset small is for atlases of 32 x 32 (fit -n "
    "1024, atlas-encode --size 32), minutes on a CPU and hours at 128 x 128. finetune measures LPIPS: --lpips-weights, "
    "or --set lpips=0. A base that predicts epsilon needs --set prediction=epsilon --set zero_terminal_snr=false. "
    "With --set pictures=64 it learns from pictures of the objects too: those in --views, or renders."
)
PRESETS = {
    # Eight objects and their captions.
    "small": Preset(
        GaussianAtlasConfig(
            deviation="channel",
            positions=True,
            octaves=3,  # down to waves of a quarter of the sphere's diameter
            pooled=True,
            text="words",
            basis=32,
            # The first level must pass on the noise of 16 channels too: 32 are too few.
            widths=(64, 64, 96, 128),
            guidance=1.0,
            sampler_steps=4,
            rgb=0.0,
            mask=0.0,
            lpips=0.0,
            render_size=64,
        ),
        {
            "steps": 600,
            "batch": 8,
            "lr": 3e-3,
            "schedule": "cosine",
            "schedule_steps": 600,
            "warmup": 20,
            "checkpoint_every": 200,
            "sample_every": 200,
            "diagnose_every": 50,
        },
        help="a cosine schedule, a network of 6.4 M parameters from random weights; minutes on a laptop's "
        "CPU with atlases of 32 x 32 cells, hours with 128 x 128",
    ),
    # A Stable Diffusion as the base: the paper's numbers, the rendered terms weighted by the SNR and ramped.
    "finetune": Preset(
        GaussianAtlasConfig(),
        {
            "steps": 1_000_000,
            "batch": 8,
            "lr": 5e-5,
            "weight_decay": 0.0,
            "warmup": 1_000,
            "gradient_checkpointing": True,  # 23 GiB instead of 53
            "checkpoint_every": 5_000,
        },
        with_base=True,
        help="with rendered terms in the loss, of which LPIPS needs --lpips-weights FILE, or --set lpips=0",
    ),
    # The paper and, where it gives no value, GaussianCube: 64 samples per step are eight processes of 8.
    "paper": Preset(
        GaussianAtlasConfig(render_ramp=0.0, snr_cap=0.0),
        {
            "steps": 1_000_000,
            "batch": 8,
            "lr": 5e-5,
            "weight_decay": 0.0,
            "warmup": 0,
            "gradient_checkpointing": True,
            "checkpoint_every": 5_000,
        },
        with_base=True,
        help="as finetune, with the rendered terms unweighted and without a ramp, as published",
    ),
}


def recognizes(path: str) -> bool:
    """Return True for a published file of the system: there are none."""
    return False
