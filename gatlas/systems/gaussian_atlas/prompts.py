"""Encodings of prompts, in a cache of limited size."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import torch

from gatlas.datasets.atlases import shortlist
from gatlas.models.text import encode_prompts, find_truncated, prompt_length
from gatlas.models.words import unknown_words

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor
    from transformers import CLIPTextModel, CLIPTokenizer

CACHE_BYTES = 1 << 29
NAMED = 8  # unknown words of a message


class Prompts:
    """Encodings of prompts by a frozen text encoder, the last used cached; "" and spaces are no text: zeros."""

    def __init__(
        self, tokenizer: CLIPTokenizer, text_encoder: CLIPTextModel, *, cache_bytes: int = CACHE_BYTES
    ) -> None:
        self._tokenizer = tokenizer
        self._text_encoder = text_encoder
        self._cache_bytes = cache_bytes
        self._cache: OrderedDict[str, tuple[Tensor, Tensor]] = OrderedDict()
        self._length = prompt_length(tokenizer, text_encoder)
        self._width = int(text_encoder.config.hidden_size)

    def to(self, device: Any) -> None:
        """Encode on another device."""
        self._text_encoder.to(device)
        self._cache.clear()

    def describe_truncated(self, prompts: Iterable[str], noun: str) -> list[str]:
        """Return a message about prompts, called `noun`, that are longer than the encoder reads, or none."""
        every = dict.fromkeys(prompts)
        cut = find_truncated(self._tokenizer, every, self._length)
        if not cut.prompts:
            return []
        are, lose = ("is", "loses its end") if len(cut.prompts) == 1 else ("are", "lose their ends")
        return [
            f"{len(cut.prompts)} of {len(every)} {noun} {are} longer than the {self._length - 2} tokens that the text "
            f"encoder reads and {lose}, which makes {cut.ambiguous or 'none'} of them the same as another"
        ]

    def describe_unknown(self, prompts: Iterable[str]) -> list[str]:
        """Return a message about words that no training caption had, or none."""
        unknown = unknown_words(self._tokenizer, self._text_encoder, prompts)
        if not unknown:
            return []
        return [
            "no caption of the training set has these words, which change nothing or are read as one that ends like "
            f"them: {shortlist(unknown, NAMED)}"
        ]

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> tuple[Float[Tensor, "n l d"], Float[Tensor, "n d"]]:
        """Return hidden states and pooled state of each prompt, on the encoder's device, independent of the others."""
        prompts = [prompt if prompt.strip() else "" for prompt in prompts]
        wanted = dict.fromkeys(prompt for prompt in prompts if prompt)
        found = {prompt: self._cache[prompt] for prompt in wanted if prompt in self._cache}
        new = [prompt for prompt in wanted if prompt not in found]
        # One by one on the CPU: there the last bits of a row depend on how many rows are computed together, and a run
        # that is resumed, with an empty cache, must give the same bits as one that was not stopped.
        for group in [new] if new and self._text_encoder.device.type != "cpu" else [[prompt] for prompt in new]:
            hidden, pooled = encode_prompts(self._tokenizer, self._text_encoder, group)
            for prompt, states, state in zip(group, hidden, pooled, strict=True):
                found[prompt] = states.clone(), state.clone()  # a view would keep the whole group in memory
        for prompt in wanted:
            self._cache[prompt] = found[prompt]
            self._cache.move_to_end(prompt)
        empty = torch.zeros((), device=self._text_encoder.device, dtype=self._text_encoder.dtype)
        found[""] = empty.expand(self._length, self._width), empty.expand(self._width)
        entry = self._length * self._width * empty.element_size()
        while len(self._cache) * entry > self._cache_bytes:
            self._cache.popitem(last=False)
        return (
            torch.stack([found[prompt][0] for prompt in prompts]),
            torch.stack([found[prompt][1] for prompt in prompts]),
        )
