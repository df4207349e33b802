"""Text encodings by words, for training without a base: a tokenizer of the captions' words and a frozen encoder.

Each word has a random code of its own, nearly orthogonal to all others: what it means is learned by the first layers
that the network applies to the text. An encoder that mixes letters tells captions apart, and a network that learns from
it knows whole captions only: what it saw in other combinations it does not recognize.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch

from gatlas.models.text import END, START, WORD_END, byte_alphabet, clip_backend, clip_tokenizer, frozen_clip

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor
    from transformers import CLIPTextModel, CLIPTokenizer

VOCABULARY = 8_192  # tokens: the commonest words of more captions, and pieces of the others
LENGTH = 77  # tokens of a prompt, with those of start and end: as of CLIP
CONTEXT = 2.0  # weight of the mean of the words before, beside the word's own code
PLACE = 0.1  # standard deviation of the codes of places, to 1 of those of words
LEAST = 0.01  # weight of words that all captions have
RARE = 0.05  # share of the captions: rarer words weigh 1
WORD = re.compile(r"'(?:s|t|re|ve|m|ll|d)|([^\W\d_]+|\d)")  # of CLIP's tokenizer: those endings and digits on their own
BATCH = 1_024  # captions that are read at once


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
    merges = _pairs(found["merges"])
    tokens = [*alphabet, *(letter + WORD_END for letter in alphabet), *(a + b for a, b in merges), START, END]
    return clip_tokenizer({token: i for i, token in enumerate(dict.fromkeys(tokens))}, merges, length)


@torch.no_grad()
def word_encoder(
    tokenizer: CLIPTokenizer, captions: Iterable[str] = (), *, dim: int = 128, seed: int = 0
) -> CLIPTextModel:
    """Return a frozen CLIP text model (float32) whose states are codes of words, the same everywhere for a seed.

    The state of a token is the normalized sum of its own code, that of its place, and CONTEXT times the mean of those
    up to it, weighted by `word_weights`; so the last one, which is the pooled text, holds all words that tell captions
    apart. A token of weight 0 has no code: it is as if it were not there. The last entry of all states is 0.
    """
    model, named = frozen_clip(tokenizer, int(tokenizer.model_max_length), dim=dim, inner=1, layers=1, heads=1)
    generator = torch.Generator().manual_seed(seed)
    for name, weight in named.items():
        weight.fill_(1.0 if "norm" in name and name.endswith("weight") else 0.0)
    weights = word_weights(tokenizer, captions)
    frame = torch.tensor([tokenizer.bos_token_id, tokenizer.eos_token_id])
    weights[frame] = 0.0
    words, places = (named[f"embeddings.{kind}_embedding.weight"] for kind in ("token", "position"))
    words.copy_(_codes(weights, dim, generator))
    words[frame, :-1] = 0.1 * _standardized(torch.randn(2, dim, generator=generator))[:, :-1]  # alike in every caption
    places.copy_(PLACE * _standardized(torch.randn(places.shape, generator=generator)))
    attention = "encoder.layers.0.self_attn"
    named[f"{attention}.q_proj.bias"][-1] = dim**0.5  # CLIP divides by it
    named[f"{attention}.k_proj.weight"][-1, -1] = 1.0
    kept = torch.eye(dim)
    kept[-1, -1] = 0.0
    named[f"{attention}.v_proj.weight"].copy_(kept)
    named[f"{attention}.out_proj.weight"].copy_(CONTEXT * kept)
    named["final_layer_norm.weight"][-1] = 0.0
    return model


@torch.no_grad()
def with_new_words(
    tokenizer: CLIPTokenizer, text_encoder: CLIPTextModel, captions: Iterable[str]
) -> tuple[CLIPTokenizer, CLIPTextModel]:
    """Return both with a token and a code for each word of the captions that they did not know as a whole.

    The encodings of other words are what they were. Both come back as they are if there is no new word, or if the
    encoder is not one of `word_encoder`.
    """
    texts = list(captions)
    new = unknown_words(tokenizer, text_encoder, texts)
    if not new:
        return tokenizer, text_encoder
    known = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    vocab, merges = dict(known["vocab"]), _pairs(known["merges"])
    ranks = {pair: rank for rank, pair in enumerate(merges)}
    for word in new:
        pieces = list(tokenizer.convert_ids_to_tokens(tokenizer(word, add_special_tokens=False)["input_ids"]))
        while len(pieces := _merged(pieces, ranks)) > 1:
            pair = pieces[0], pieces[1]
            ranks[pair] = len(ranks)
            merges.append(pair)
            vocab.setdefault(pieces[0] + pieces[1], len(vocab))
    wider = clip_tokenizer(vocab, merges, int(tokenizer.model_max_length))
    old = {name.removeprefix("text_model."): weight for name, weight in text_encoder.named_parameters()}
    codes = old["embeddings.token_embedding.weight"]
    model, named = frozen_clip(wider, int(tokenizer.model_max_length), dim=codes.shape[1], inner=1, layers=1, heads=1)
    weights = word_weights(wider, texts)
    generator = torch.Generator().manual_seed(len(codes))
    begun = _codes(weights, codes.shape[1], generator)
    kept = torch.zeros(len(wider), dtype=torch.bool)
    kept[: len(codes)] = ~(_silent(codes) & (weights[: len(codes)] > 0))  # pieces of other words that are words now
    kept[[wider.bos_token_id, wider.eos_token_id]] = True
    begun[kept] = codes[kept[: len(codes)]]
    for name, weight in named.items():
        if "token_embedding" in name:
            weight.copy_(begun)
        else:
            weight.copy_(old[name])
    return wider, model


def _codes(weights: Float[Tensor, " n"], dim: int, generator: torch.Generator) -> Float[Tensor, "n d"]:
    """Return the code of each token, whose last entry is for its weight in the mean; those of weight 0 are 0."""
    codes = _standardized(torch.randn(len(weights), dim, generator=generator))
    codes[weights == 0] = 0.0
    # The last entry holds the logarithm of the weight, which the normalization before the attention divides by the
    # standard deviation of all entries: that of the others is sqrt(1 + PLACE^2) for a word. -4 beside the small codes
    # of what has weight 0 comes out as -10 or less.
    log = weights.clamp(min=LEAST).log().double()
    scale = ((1 + PLACE**2) / (1 - log**2 / dim)).sqrt()
    codes[:, -1] = torch.where(weights > 0, log * scale, -4.0).float()
    return codes


def word_weights(tokenizer: CLIPTokenizer, captions: Iterable[str]) -> Float[Tensor, " v"]:
    """Return the weight of each token, in [0, 1] (float64), by the share of the captions that have it.

    It is 0 for a token that no caption has, LEAST for one that all have, and log(1 / share) / log(1 / RARE), at most 1,
    in between (inverse document frequency, Sparck Jones 1972). Without captions all tokens weigh 1.
    """
    texts = list(captions)
    if not texts:
        return torch.ones(len(tokenizer), dtype=torch.float64)
    found = torch.zeros(len(tokenizer), dtype=torch.float64)
    for start in range(0, len(texts), BATCH):
        for ids in tokenizer(texts[start : start + BATCH], truncation=True)["input_ids"]:
            found[list(set(ids))] += 1
    frequency = (found / len(texts)).clamp(min=1e-12)
    weights = (frequency.log() / math.log(RARE)).clamp(min=LEAST, max=1.0)
    return torch.where(found > 0, weights, 0.0)


def unknown_words(tokenizer: CLIPTokenizer, text_encoder: CLIPTextModel, prompts: Iterable[str]) -> list[str]:
    """Return the words and digits of prompts that an encoder of `word_encoder` does not know; of another encoder none.

    They change nothing, or mean what a word that ends like them means: "sofa" is read as "s", "o", "f" and "a".
    """
    codes: Any = text_encoder.get_input_embeddings().weight
    silent = _silent(codes).cpu()
    if not silent.any():  # another encoder
        return []
    words = dict.fromkeys(word for prompt in prompts for word in WORD.findall(prompt.lower()) if word)
    return [word for word in words if bool(silent[tokenizer(word, add_special_tokens=False)["input_ids"]].any())]


def _silent(codes: Float[Tensor, "v d"]) -> Bool[Tensor, " v"]:
    """Return which tokens have no code: no caption has them."""
    return (codes[:, :-1] == 0).all(dim=1)


def _merged(pieces: list[str], ranks: Mapping[tuple[str, str], int]) -> list[str]:
    """Return the pieces of a word after all merges that apply, those of the lowest rank first."""
    while len(pieces) > 1:
        pair = min(pairwise(pieces), key=lambda pair: ranks.get(pair, len(ranks)))
        if pair not in ranks:
            break
        joined: list[str] = []
        for piece in pieces:
            if joined and (joined[-1], piece) == pair:
                joined[-1] += piece
            else:
                joined.append(piece)
        pieces = joined
    return pieces


def _pairs(merges: Iterable[str | Iterable[str]]) -> list[tuple[str, str]]:
    """Return the merges of a tokenizer's JSON as pairs, which older versions join by a space."""
    split = (pair.split(" ") if isinstance(pair, str) else pair for pair in merges)
    return [(str(first), str(second)) for first, second in split]


def _standardized(codes: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """Return codes whose entries but the last have mean 0, and all together variance 1; the last is 0."""
    codes = codes.clone()
    codes[:, -1] = 0.0
    codes[:, :-1] -= codes[:, :-1].mean(dim=1, keepdim=True)
    return codes / codes.std(dim=1, keepdim=True, correction=0)
