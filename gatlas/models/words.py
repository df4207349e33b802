"""Text encodings by words, for training without a base: a tokenizer of the captions' words and a frozen encoder.

Each word has a random code of its own, nearly orthogonal to all others: what it means is learned by the first layers
that the network applies to the text. An encoder that mixes letters tells captions apart, and a network that learns from
it knows whole captions only: what it saw in other combinations it does not recognize.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch

from gatlas.models.text import END, START, WORD_END, byte_alphabet, clip_backend, clip_tokenizer, frozen_clip

if TYPE_CHECKING:
    from transformers import CLIPTextModel, CLIPTokenizer

VOCABULARY = 8_192  # tokens: the commonest words of more captions, and pieces of the others
LENGTH = 77  # tokens of a prompt, with those of start and end: as of CLIP
CONTEXT = 2.0  # weight of the mean of the words before, beside the word's own code
PLACE = 0.3  # standard deviation of the codes of places, to 1 of those of words


def word_tokenizer(captions: Iterable[str], *, size: int = VOCABULARY, length: int = LENGTH) -> CLIPTokenizer:
    """Return CLIP's tokenizer with a vocabulary of the captions' words, the same for the same captions.

    The byte pairs of the captions are merged until each word is one token or there are `size` tokens. Words that no
    caption has are read in pieces, of single bytes where nothing else fits.
    """
    from tokenizers import Tokenizer, models, trainers

    alphabet = byte_alphabet()
    learned = Tokenizer(models.BPE(end_of_word_suffix=WORD_END, continuing_subword_prefix=""))
    rules = clip_backend({token: i for i, token in enumerate([*alphabet, START, END])}, [])
    learned.normalizer, learned.pre_tokenizer = rules.normalizer, rules.pre_tokenizer
    trainer = trainers.BpeTrainer(
        vocab_size=max(size - 2 - len(alphabet), 0),  # those of all bytes that end words are added below
        min_frequency=1,
        show_progress=False,
        end_of_word_suffix=WORD_END,
        initial_alphabet=alphabet,
    )
    learned.train_from_iterator(sorted(set(captions)), trainer)
    found = json.loads(learned.to_str())["model"]
    merges = [
        (str(a), str(b)) for a, b in (pair.split(" ") if isinstance(pair, str) else pair for pair in found["merges"])
    ]
    tokens = [*alphabet, *(letter + WORD_END for letter in alphabet), *(a + b for a, b in merges), START, END]
    return clip_tokenizer({token: i for i, token in enumerate(dict.fromkeys(tokens))}, merges, length)


@torch.no_grad()
def word_encoder(tokenizer: CLIPTokenizer, *, dim: int = 128, seed: int = 0) -> CLIPTextModel:
    """Return a frozen CLIP text model (float32) whose states are codes of words, the same everywhere for a seed.

    The state of a token is the normalized sum of its own code, that of its place, and CONTEXT times the mean of those
    up to it; so the last one, which is the pooled text, holds all words.
    """
    model, named = frozen_clip(tokenizer, int(tokenizer.model_max_length), dim=dim, inner=1, layers=1, heads=1)
    generator = torch.Generator().manual_seed(seed)
    for name, weight in named.items():
        weight.fill_(1.0 if "norm" in name and name.endswith("weight") else 0.0)
    words, places = (named[f"embeddings.{kind}_embedding.weight"] for kind in ("token", "position"))
    words.copy_(torch.randn(words.shape, generator=generator))
    words[[tokenizer.bos_token_id, tokenizer.eos_token_id]] *= 0.1  # these are alike in every caption
    places.copy_(PLACE * torch.randn(places.shape, generator=generator))
    # Queries and keys of 0 attend to all tokens up to each alike.
    named["encoder.layers.0.self_attn.v_proj.weight"].copy_(torch.eye(dim))
    named["encoder.layers.0.self_attn.out_proj.weight"].copy_(CONTEXT * torch.eye(dim))
    return model
