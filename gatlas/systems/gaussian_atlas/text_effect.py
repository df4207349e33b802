"""Diagnosis of the text conditioning: the loss can look healthy while the network ignores the text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

CANDIDATES = 8  # captions of a retrieval, the sample's own included


def text_effect(
    predict: Callable[[Sequence[str]], Float[Tensor, "b c h w"]],
    wanted: Float[Tensor, "b c h w"],
    captions: Sequence[tuple[str, ...]],
    pool: Sequence[str],
    generator: torch.Generator,
) -> dict[str, float]:
    """Return the effect of the text on predictions for noisy samples with the target `wanted`.

    "text_effect" is rms(v_cond - v_uncond) / rms(v_cond); "retrieval" is the share of samples that are predicted
    strictly best with their own caption among CANDIDATES of the `pool`, 0 where the text changes nothing;
    "retrieval_chance" is that of chance. Fewer than two captions in the pool have no retrieval.
    """
    own = [texts[0] for texts in captions]
    with_text, without = predict(own), predict([""] * len(own))
    effect = ((with_text - without).square().mean() / with_text.square().mean().clamp(min=1e-12)).sqrt()
    numbers = {"text_effect": float(effect)}
    others = _others(captions, pool or list(dict.fromkeys(own)), generator)
    if others:
        error = (with_text - wanted).square().mean(dim=(1, 2, 3))
        least = torch.stack([(predict(texts) - wanted).square().mean(dim=(1, 2, 3)) for texts in others]).amin(dim=0)
        numbers |= {"retrieval": float((error < least).float().mean()), "retrieval_chance": 1 / (1 + len(others))}
    return numbers


def _others(captions: Sequence[tuple[str, ...]], pool: Sequence[str], generator: torch.Generator) -> list[list[str]]:
    """Return rounds of captions of the pool, one per sample and round, none twice and none the sample's own."""
    columns = []
    for texts in captions:
        order = torch.randperm(len(pool), generator=generator, device=generator.device)[: CANDIDATES + len(texts)]
        columns.append([pool[i] for i in order.tolist() if pool[i] not in texts][: CANDIDATES - 1])
    return [[column[k] for column in columns] for k in range(min(map(len, columns)))]
