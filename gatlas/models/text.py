"""Text encodings: CLIP encodings of prompts, and a small frozen encoder for training without a base.

The small encoder has the classes and the files of Stable Diffusion's, so that a model folder looks the same with
either. Its weights are random: it distinguishes captions, and does not know their meaning.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor
    from transformers import CLIPTextModel, CLIPTokenizer

START, END = "<|startoftext|>", "<|endoftext|>"
WORD_END = "</w>"
LENGTH = 208  # tokens of the small encoder, with those of start and end; a letter is one, a space none

_WORD = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


@torch.no_grad()
def encode_prompts(
    tokenizer: CLIPTokenizer,
    text_encoder: CLIPTextModel,
    prompts: Sequence[str],
    *,
    batch: int = 64,
    max_length: int | None = None,
) -> tuple[Float[Tensor, "n l d"], Float[Tensor, "n d"]]:
    """Return the hidden states of the prompts and the one at the end of each, on the encoder's device, in its dtype.

    Prompts are padded and cut to the length that the encoder knows, or to `max_length` tokens if that is less. The
    unconditional encoding is zeros, not "".
    """
    if not prompts:
        raise ValueError("there must be at least one prompt")
    length = prompt_length(tokenizer, text_encoder)
    length = length if max_length is None else min(length, max_length)
    hidden, pooled = [], []
    for start in range(0, len(prompts), batch):
        ids = _token_ids(tokenizer, prompts[start : start + batch], length).to(text_encoder.device)
        # Without an attention mask, as Stable Diffusion was trained.
        states = text_encoder(input_ids=ids).last_hidden_state
        # CLIP pools at the first end token. Older configs name it wrongly, so it is looked up by the tokenizer's id.
        ends = (ids == tokenizer.eos_token_id).int().argmax(dim=-1)
        hidden.append(states)
        pooled.append(states[torch.arange(len(ids), device=ids.device), ends])
    return torch.cat(hidden), torch.cat(pooled)


def prompt_length(tokenizer: CLIPTokenizer, text_encoder: CLIPTextModel) -> int:
    """Return the number of tokens of a prompt that are read, with those of start and end."""
    return min(int(tokenizer.model_max_length), int(text_encoder.config.max_position_embeddings))


class TruncatedPrompts(NamedTuple):
    """Prompts that are longer than the encoder reads."""

    prompts: list[str]
    ambiguous: int  # number of them that are read like another prompt


def find_truncated(
    tokenizer: CLIPTokenizer, prompts: Iterable[str], length: int, *, batch: int = 1024
) -> TruncatedPrompts:
    """Return the prompts, each counted once, that are cut to `length` tokens."""
    # A token stands for a byte or more: a shorter prompt of plain letters is not cut, nor read as one that is.
    long = [prompt for prompt in dict.fromkeys(prompts) if not prompt.isascii() or len(prompt) >= length - 2]
    whole: dict[str, tuple[int, ...]] = {}
    for start in range(0, len(long), batch):
        group = long[start : start + batch]
        for prompt, ids in zip(group, tokenizer(group, verbose=False)["input_ids"], strict=True):
            if len(ids) >= length:
                whole[prompt] = tuple(ids)
    readings: dict[tuple[int, ...], set[tuple[int, ...]]] = {}
    for ids in whole.values():
        readings.setdefault(ids[: length - 1], set()).add(ids)
    cut = [prompt for prompt, ids in whole.items() if len(ids) > length]
    return TruncatedPrompts(cut, sum(len(readings[whole[prompt][: length - 1]]) > 1 for prompt in cut))


def _token_ids(tokenizer: CLIPTokenizer, prompts: Sequence[str], length: int) -> Int[Tensor, "n l"]:
    encoded = tokenizer(list(prompts), padding="max_length", truncation=True, max_length=length, return_tensors="pt")
    return encoded["input_ids"]


def byte_tokenizer(length: int = LENGTH) -> CLIPTokenizer:
    """Return CLIP's tokenizer with a vocabulary of single bytes: it knows every caption and needs no file."""
    alphabet = byte_alphabet()
    tokens = [*alphabet, *(letter + WORD_END for letter in alphabet), START, END]
    return clip_tokenizer({token: i for i, token in enumerate(tokens)}, [], length)


def clip_tokenizer(vocab: dict[str, int], merges: Sequence[tuple[str, str]], length: int) -> CLIPTokenizer:
    """Return CLIP's tokenizer with a vocabulary and the merges that lead to it, the first of which come first."""
    from transformers import CLIPTokenizer

    if "vocab" in inspect.signature(CLIPTokenizer.__init__).parameters:  # transformers 5
        pairs: Any = [*merges]  # annotated as strings there
        return CLIPTokenizer(vocab=vocab, merges=pairs, model_max_length=length)
    from transformers import CLIPTokenizerFast  # type: ignore[attr-defined]

    return CLIPTokenizerFast(tokenizer_object=clip_backend(vocab, merges), model_max_length=length)


def byte_alphabet() -> list[str]:
    """Return the 256 characters of the bytes in GPT-2's and CLIP's vocabularies: printable ones are themselves."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    return [chr(byte) for byte in printable] + [chr(256 + i) for i in range(256 - len(printable))]


def clip_backend(vocab: dict[str, int], merges: Sequence[tuple[str, str]]) -> Any:
    """Return CLIP's pipeline of normalizing, splitting and joining, which transformers 4 builds from files only."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    backend = Tokenizer(
        models.BPE(vocab, [*merges], unk_token=END, end_of_word_suffix=WORD_END, continuing_subword_prefix="")
    )
    backend.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(_WORD), "removed", invert=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    backend.decoder = decoders.ByteLevel()
    backend.post_processor = processors.RobertaProcessing(
        (END, vocab[END]), (START, vocab[START]), trim_offsets=False, add_prefix_space=False
    )
    return backend


def small_text_encoder(
    tokenizer: CLIPTokenizer, *, dim: int = 128, layers: int = 2, heads: int = 4, seed: int = 0
) -> CLIPTextModel:
    """Return a frozen CLIP text model of random weights (float32), the same on every machine for a seed.

    The weights are larger than those that training starts from, and the last normalization is fitted to captions of
    random letters: so different captions are far apart, around zero, with entries of about unit variance.
    """
    length = min(int(tokenizer.model_max_length), LENGTH)
    model, named = frozen_clip(tokenizer, length, dim=dim, inner=4 * dim, layers=layers, heads=heads)
    generator = torch.Generator().manual_seed(seed)
    for name in sorted(named):
        _fill(name, named[name], generator)
    embedding = named["embeddings.token_embedding.weight"]
    embedding[[tokenizer.bos_token_id, tokenizer.eos_token_id]] *= 0.1  # these are alike in every caption
    _center(named, tokenizer, model, generator)
    return model


def frozen_clip(
    tokenizer: CLIPTokenizer, length: int, *, dim: int, inner: int, layers: int, heads: int
) -> tuple[CLIPTextModel, dict[str, Tensor]]:
    """Return a frozen CLIP text model of that shape, and its weights by name, all of which are still to be set.

    `length` is that of the prompts in tokens, `inner` the width between the two layers of each perceptron.
    """
    from transformers import CLIPTextConfig, CLIPTextModel

    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=dim,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        max_position_embeddings=length,
        projection_dim=dim,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):  # what transformers draws is overwritten
        model = CLIPTextModel(config).eval().requires_grad_(False)
    # transformers 4 names all weights "text_model.…".
    return model, {name.removeprefix("text_model."): weight for name, weight in model.named_parameters()}


def _fill(name: str, weight: Tensor, generator: torch.Generator) -> None:
    if weight.ndim == 1:
        weight.fill_(1.0 if "norm" in name and name.endswith("weight") else 0.0)
        return
    scale = 1.0 if "embedding" in name else weight.shape[1] ** -0.5
    if "v_proj" in name or "out_proj" in name:
        scale *= 3.0  # attention to many tokens averages them: this keeps the average large
    weight.copy_(torch.randn(weight.shape, generator=generator) * scale)


def _center(
    named: dict[str, Tensor], tokenizer: CLIPTokenizer, model: CLIPTextModel, generator: torch.Generator
) -> None:
    """Set the last normalization so that the pooled states of captions have mean 0 and variance 1, entry by entry."""
    captions = []
    for length in torch.randint(2, 6, (256,), generator=generator).tolist():
        sizes = torch.randint(1, 9, (length,), generator=generator).tolist()
        words = [torch.randint(97, 123, (size,), generator=generator).tolist() for size in sizes]
        captions.append(" ".join("".join(map(chr, word)) for word in words))
    _, pooled = encode_prompts(tokenizer, model, captions, max_length=64)  # they have 42 tokens or fewer
    spread = pooled.std(dim=0)
    named["final_layer_norm.weight"].copy_(1.0 / spread)
    named["final_layer_norm.bias"].copy_(-pooled.mean(dim=0) / spread)
