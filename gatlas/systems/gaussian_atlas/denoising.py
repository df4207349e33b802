"""From the noise and the conditions of some samples to their planes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from gatlas.datasets.object_pictures import shown_picture
from gatlas.diffusion.samplers import Known, sample_latents
from gatlas.models.atlas_unet import CHANNELS, unpack
from gatlas.systems.gaussian_atlas.edited import edit_latents

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor, nn

    from gatlas.atlas.statistics import Whitening
    from gatlas.diffusion.schedules import NoiseSchedule
    from gatlas.systems.contract import Edit, SampleRequest, SampleSpec
    from gatlas.systems.gaussian_atlas.config import GaussianAtlasConfig
    from gatlas.systems.gaussian_atlas.prompts import Prompts


class DenoisingOptions(NamedTuple):
    """The options of the sampler."""

    steps: int
    guidance: float
    scheduler: str


@torch.no_grad()
def sampled_planes(
    network: nn.Module,
    samples: Sequence[SampleSpec],
    request: SampleRequest,
    options: DenoisingOptions,
    prompts: Prompts,
    schedule: NoiseSchedule,
    whitening: Whitening,
    config: GaussianAtlasConfig,
) -> Float[np.ndarray, "n h h 14"]:
    """Return the raw planes of some samples of a request. Their noise is made on the CPU, the same for every device."""
    device = whitening.mean.device
    generators = [torch.Generator().manual_seed(sample.seed(request.seed)) for sample in samples]
    noise = torch.stack([torch.randn(CHANNELS, config.size, config.size, generator=each) for each in generators])
    words = [sample.condition.prompt or "" for sample in samples]
    text, pooled = prompts.encode(words)
    shown = _shown_pictures(samples, config.pictures, device)

    def denoise(x: Tensor, t: Tensor, conditional: Tensor) -> Tensor:
        copies = len(x) // len(samples)
        keep = conditional.to(text.dtype)
        hidden = text.repeat(copies, 1, 1) * keep[:, None, None]
        seen = {name: value.repeat(copies, *[1] * (value.ndim - 1)) for name, value in shown.items()}
        if seen:
            seen["shown"] &= conditional
        prediction: Tensor = network(x, t, hidden, pooled.repeat(copies, 1) * keep[:, None], **seen)
        return prediction

    latents = sample_latents(
        denoise,
        noise.to(device),
        schedule,
        steps=options.steps,
        guidance=options.guidance if any(words) or shown else 1.0,
        scheduler=options.scheduler,
        **_edit_options(request.edit, generators, whitening),
    )
    planes: np.ndarray = whitening.unwhiten(unpack(latents)).cpu().numpy()
    return planes


def _shown_pictures(samples: Sequence[SampleSpec], side: int, device: torch.device) -> dict[str, Tensor]:
    """Return the pictures of samples and which of them have one, as arguments of the network; {} where none has."""
    found = [sample.condition.picture for sample in samples]
    if not any(found):
        return {}
    white = np.ones((side, side, 3), dtype=np.float32)
    pictures = np.stack([white if each is None else shown_picture(each.image, side) for each in found])
    shown = torch.tensor([each is not None for each in found], device=device)
    return {"pictures": torch.from_numpy(pictures).to(device), "shown": shown}


def _edit_options(edit: Edit | None, generators: Sequence[torch.Generator], whitening: Whitening) -> dict[str, Any]:
    """Return the options of `sample_latents` for an edit."""
    if edit is None:
        return {}
    start = edit_latents(edit, whitening, whitening.mean.device)
    options: dict[str, Any] = {"start": start, "strength": edit.strength}
    if edit.anew is not None:
        kept = torch.from_numpy(~edit.anew).to(start.device)[None, None]
        options["known"] = Known(start, kept, generators, edit.repeats)
    return options
