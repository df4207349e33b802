"""Random numbers of the host for a training step: the caption and the picture that each object is trained with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from gatlas.datasets.atlases import AtlasBatch

TEXT_ALONE, PICTURE_ALONE = 0.3, 0.4  # shares of the samples that are trained with a condition; the others have both


class HostDraws(NamedTuple):
    """Random numbers that the host needs for a step."""

    texts: list[list[float]]  # two of each object, in [0, 1)
    pictures: list[float]  # one of each object, in [0, 1); [] without pictures
    seeds: list[int]  # of each object's views; [] without rendered terms


def host_draws(count: int, generator: torch.Generator, *, pictures: bool, seeds: bool) -> HostDraws:
    """Return the draws of `count` objects.

    A GPU is not waited for: its draws are made on the host from the generator's seed, and by itself, unread, so that
    what it draws next is what the CPU would. So this comes first after the generator was seeded.
    """

    def draw(source: torch.Generator) -> list[Tensor]:
        options: dict[str, Any] = {"generator": source, "device": source.device}
        uniform = [torch.rand((count, 2), **options), torch.rand(count if pictures else 0, **options)]
        return [*uniform, torch.randint(2**62, (count if seeds else 0,), **options)]

    drawn = draw(generator)
    if generator.device.type != "cpu":
        drawn = draw(torch.Generator().manual_seed(generator.initial_seed()))
    return HostDraws(*(values.tolist() for values in drawn))


def drawn_conditions(
    batch: AtlasBatch, draws: HostDraws, *, text_dropout: float, device: torch.device
) -> tuple[list[str], dict[str, Tensor]]:
    """Return one caption per object, or "" for those that are trained without text; and the pictures.

    These are arguments of the network, {} where it has no encoder of pictures.
    """
    texts = [
        texts[int(which * len(texts))] if texts and dropped >= text_dropout else ""
        for texts, (dropped, which) in zip(batch.captions, draws.texts, strict=True)
    ]
    if batch.pictures is None:
        return texts, {}
    shown = []
    for i, draw in enumerate(draws.pictures):
        with_picture = not batch.captions[i] or draw >= TEXT_ALONE
        shown.append(with_picture and draws.texts[i][0] >= text_dropout)
        if shown[i] and draw >= 1 - PICTURE_ALONE:
            texts[i] = ""
    return texts, {"pictures": batch.pictures.to(device), "shown": torch.tensor(shown, device=device)}
