"""The tokenizer of the captions' words and its frozen encoder."""

import math

import pytest
import torch
from tokenizers import pre_tokenizers

from gatlas.models.text import byte_tokenizer, encode_prompts, small_text_encoder
from gatlas.models.words import (
    CONTEXT,
    LEAST,
    RARE,
    unknown_words,
    with_new_words,
    word_encoder,
    word_tokenizer,
    word_weights,
)
from tests.helpers.encodings import centred_cosines

COLORS, SHAPES = ("red", "blue", "turquoise"), ("cube", "vase", "mushroom")
CAPTIONS = [f"a {color} {shape}" for color in COLORS for shape in SHAPES]


@pytest.fixture(scope="module")
def tokenizer():
    return word_tokenizer(CAPTIONS)


@pytest.fixture(scope="module")
def encoder(tokenizer):
    return word_encoder(tokenizer, CAPTIONS)


def tokens(tokenizer, text):
    return tokenizer.convert_ids_to_tokens(tokenizer(text)["input_ids"])[1:-1]


def test_each_word_of_the_captions_is_one_token(tokenizer):
    assert tokens(tokenizer, "A turquoise  MUSHROOM") == ["a</w>", "turquoise</w>", "mushroom</w>"]


@pytest.mark.parametrize("word", ["vases", "crimson", "würfel", "立方", "🙂"])
def test_other_words_are_read_in_pieces(tokenizer, encoder, word):
    pieces = tokens(tokenizer, word)
    assert len(pieces) > 1
    as_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str(word)
    assert "".join(pieces) == as_bytes[0][0] + "</w>"
    assert bool(encode_prompts(tokenizer, encoder, [word])[0].isfinite().all())


def test_neither_order_nor_repetition_of_the_captions_changes_it(tokenizer):
    assert word_tokenizer([*reversed(CAPTIONS), *CAPTIONS]).get_vocab() == tokenizer.get_vocab()


def test_a_small_vocabulary_keeps_the_common_words():
    captions = [*CAPTIONS, *(f"a red {'x' * i}y" for i in range(1, 60))]
    tokenizer = word_tokenizer(captions, size=540)
    assert len(tokenizer) <= 540
    assert tokens(tokenizer, "red") == ["red</w>"]


def test_a_set_without_captions_has_a_tokenizer_of_bytes():
    assert tokens(word_tokenizer([]), "red") == ["r", "e", "d</w>"]


def test_a_state_is_the_sum_of_its_own_code_its_place_and_the_weighted_mean_of_those_before(tokenizer, encoder):
    named = {name.removeprefix("text_model."): weight for name, weight in encoder.named_parameters()}
    codes, places = (named[f"embeddings.{kind}_embedding.weight"] for kind in ("token", "position"))
    weights = word_weights(tokenizer, CAPTIONS)
    ids = tokenizer("a red cube")["input_ids"]
    sums = codes[ids] + places[: len(ids)]
    unit = torch.nn.functional.layer_norm(sums, sums.shape[-1:])
    of_tokens = unit[:, -1].double().exp()  # the last entry is the logarithm of the weight
    assert torch.allclose(of_tokens[1:-1], weights[ids[1:-1]], rtol=0.1)  # the place changes the normalization a little
    assert float(of_tokens[[0, -1]].max()) < 1e-4  # START and END
    mean = CONTEXT * (of_tokens @ unit[:, :-1].double() / of_tokens.sum()).float()
    expected = sums[-1].clone()
    expected[:-1] += mean
    expected = torch.nn.functional.layer_norm(expected, expected.shape)
    hidden, pooled = encode_prompts(tokenizer, encoder, ["a red cube"])
    torch.testing.assert_close(pooled[0, :-1], expected[:-1], atol=1e-5, rtol=1e-5)
    assert torch.equal(hidden[..., -1], torch.zeros_like(hidden[..., -1]))


def test_a_word_weighs_by_the_share_of_captions_that_have_it(tokenizer):
    weights = word_weights(tokenizer, CAPTIONS)
    of = {token: float(weights[i]) for token, i in tokenizer.get_vocab().items()}
    assert of["a</w>"] == LEAST
    assert of["red</w>"] == pytest.approx(math.log(1 / 3) / math.log(RARE))
    assert of["c"] == of["r</w>"] == 0.0
    rare = word_weights(tokenizer, ["a cube"] * 30 + ["a red vase"])
    assert float(rare[tokenizer.get_vocab()["red</w>"]]) == 1.0
    assert bool((word_weights(tokenizer, []) == 1).all())


@pytest.mark.parametrize("other", ["red vase", "the vase is red", "A shiny red vase!"])
def test_words_that_no_caption_has_change_little(tokenizer, encoder, other):
    _, known = encode_prompts(tokenizer, encoder, CAPTIONS)
    _, pooled = encode_prompts(tokenizer, encoder, ["a red vase", other])
    own, same = pooled - known.mean(dim=0)
    assert float(torch.cosine_similarity(own, same, dim=0)) > 0.95


def test_words_of_unknown_letters_alone_say_nothing(tokenizer, encoder):
    _, known = encode_prompts(tokenizer, encoder, CAPTIONS)
    _, pooled = encode_prompts(tokenizer, encoder, ["flurb"])
    cosines = torch.cosine_similarity(pooled - known.mean(dim=0), known - known.mean(dim=0), dim=1)
    assert float(cosines.abs().max()) < 4 / 128**0.5  # of random directions


def test_words_that_mean_nothing_are_named(tokenizer, encoder):
    prompts = ["A crimson vase, 2 RED cubes", "the crimson mushroom"]
    assert unknown_words(tokenizer, encoder, prompts) == ["crimson", "2", "cubes", "the"]
    letters = byte_tokenizer()
    assert unknown_words(letters, small_text_encoder(letters), prompts) == []


def test_new_words_get_tokens_and_codes_and_the_others_keep_theirs(tokenizer, encoder):
    wider, larger = with_new_words(tokenizer, encoder, ["a crimson cube", "the vase"])
    assert tokens(wider, "a crimson vase") == ["a</w>", "crimson</w>", "vase</w>"]
    assert unknown_words(wider, larger, ["the crimson teapot"]) == ["teapot"]
    known = [encode_prompts(*pair, CAPTIONS) for pair in ((tokenizer, encoder), (wider, larger))]
    assert all(torch.equal(a, b) for a, b in zip(*known, strict=True))
    red, crimson = encode_prompts(wider, larger, ["a red cube", "a crimson cube"])[1] - known[0][1].mean(dim=0)
    assert float(torch.cosine_similarity(red, crimson, dim=0)) < 0.8


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("a cube", "sofa"),  # ends with the token of "a"
        ("a cube", "redcube"),
        ("an armchair", "chair"),  # may be a piece of the other
        ("a cube", "b"),
        ("a cube 3", "cubes 7"),
        ("a cube", "bababa"),  # pieces that repeat
        ("a cube", "chair highchair armchair armchairs chairs"),
    ],
)
def test_every_new_word_has_one_token_and_a_code_of_its_own(old, new):
    known = word_tokenizer([old])
    trained = word_encoder(known, [old])
    words = new.split()
    assert unknown_words(known, trained, [new]) == words
    wider, larger = with_new_words(known, trained, [new])
    assert tokens(wider, new) == [f"{word}</w>" for word in words]
    assert unknown_words(wider, larger, [new, old]) == []
    before, after = (encode_prompts(*pair, [old])[0] for pair in ((known, trained), (wider, larger)))
    assert torch.equal(before, after)
    pooled = encode_prompts(wider, larger, [*words, *old.split()])[1]
    assert len(pooled.unique(dim=0)) == len(pooled)


def test_contracted_endings_are_no_words_of_their_own():
    captions = ["a bird's nest", "a cat's house"]
    tokenizer = word_tokenizer(captions)
    assert unknown_words(tokenizer, word_encoder(tokenizer, captions), ["the bird's house isn't"]) == ["the", "isn"]


def test_without_new_words_nothing_is_made_anew(tokenizer, encoder):
    assert with_new_words(tokenizer, encoder, CAPTIONS) == (tokenizer, encoder)


def test_a_word_changes_the_pooled_text_alike_in_every_caption(tokenizer, encoder):
    pooled = encode_prompts(tokenizer, encoder, CAPTIONS)[1].reshape(len(COLORS), len(SHAPES), -1)
    changes = pooled[0] - pooled[1]  # red in place of blue, for each shape
    for i in range(1, len(SHAPES)):
        assert float(torch.cosine_similarity(changes[0], changes[i], dim=0)) > 0.97


def test_captions_of_one_different_word_lie_far_apart(tokenizer, encoder):
    _, pooled = encode_prompts(tokenizer, encoder, CAPTIONS)
    assert float(centred_cosines(pooled).max()) < 0.8


def test_it_is_frozen_and_its_seed_decides_it(tokenizer):
    state = torch.get_rng_state()
    first, same, other = (word_encoder(tokenizer, seed=seed) for seed in (5, 5, 6))
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(weight.requires_grad for weight in first.parameters())
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), same.parameters(), strict=True))
    assert not torch.equal(encode_prompts(tokenizer, first, ["x"])[1], encode_prompts(tokenizer, other, ["x"])[1])
