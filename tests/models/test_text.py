"""The encoder of prompts against the libraries' own, and the small frozen encoder."""

import pytest
import torch
from tokenizers import pre_tokenizers
from transformers import CLIPTextModel, CLIPTokenizer

from gatlas.models.text import LENGTH, byte_tokenizer, encode_prompts, find_truncated, small_text_encoder
from tests.helpers.encodings import centred_cosines
from tests.helpers.pipeline_files import write_pipeline

CAPTIONS = [
    "a red cube", "a blue cube", "a red ball", "a blue ball", "a green cone", "a yellow torus", "a purple cylinder",
    "a white cross",
]  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer():
    return byte_tokenizer()


@pytest.fixture(scope="module")
def encoder(tokenizer):
    return small_text_encoder(tokenizer)


def test_a_published_pipeline_is_encoded_as_its_libraries_do(tmp_path):
    folder = write_pipeline(tmp_path / "base")
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    encoder = CLIPTextModel.from_pretrained(folder / "text_encoder").eval()
    prompts = ["a red cube", "", "Red!", "a very long caption " * 20]
    ids = tokenizer(prompts, padding="max_length", max_length=77, truncation=True, return_tensors="pt").input_ids
    with torch.no_grad():
        expected = encoder(ids)
    hidden, pooled = encode_prompts(tokenizer, encoder, prompts, batch=3)
    torch.testing.assert_close(hidden, expected.last_hidden_state)
    torch.testing.assert_close(pooled, expected.pooler_output)
    assert hidden.shape == (4, 77, 32)
    assert not hidden.requires_grad


def test_the_bytes_are_numbered_as_in_clip(tokenizer):
    vocab = tokenizer.get_vocab()
    assert len(vocab) == 514
    assert set(pre_tokenizers.ByteLevel.alphabet()) == {token for token, i in vocab.items() if i < 256}
    # In CLIP's published vocabulary "!" is 0, "a" is 64, "a</w>" is 320.
    assert [vocab[token] for token in ("!", "a", "a</w>")] == [0, 64, 320]
    assert tokenizer("A b")["input_ids"] == [512, 320, 321, 513]


@pytest.mark.parametrize("caption", ["ein grüner Würfel", "红色立方体", "🙂 e\u0301", "don't!! 12", "\t a \n b ", ""])
def test_every_caption_has_tokens(tokenizer, encoder, caption):
    ids = tokenizer(caption)["input_ids"]
    assert max(ids[1:-1], default=0) < 512
    hidden, pooled = encode_prompts(tokenizer, encoder, [caption])
    assert bool(hidden.isfinite().all())
    assert bool(pooled.isfinite().all())


def test_captions_are_cut_at_the_models_length(tokenizer, encoder):
    most = LENGTH - 2
    hidden, _ = encode_prompts(tokenizer, encoder, ["x" * 300, "x" * most, "x" * (most - 1)])
    assert hidden.shape == (3, LENGTH, 128)
    assert torch.equal(hidden[0, 1:200], hidden[1, 1:200])  # causal: the same letters give the same states
    assert not torch.equal(hidden[1], hidden[2])


def test_captions_of_200_letters_that_differ_in_the_last_word_are_told_apart(tokenizer, encoder):
    captions = ["a low and small wooden house " * 8 + last for last in ("red", "blue")]
    hidden, pooled = encode_prompts(tokenizer, encoder, captions)
    assert len("".join(captions[0].split())) > 180
    assert float((hidden[0] - hidden[1]).abs().max()) > 0.5
    assert float((pooled[0] - pooled[1]).abs().max()) > 0.5
    assert find_truncated(tokenizer, captions, LENGTH) == ([], 0)


def test_cut_prompts_are_counted_and_those_that_are_alike_by_it():
    tokenizer = byte_tokenizer(10)  # eight of a prompt
    whole = ["", "a b", "a b c d e f g h", "abcdefgh", "éééé"]
    alike = ["a b c d e f g h i", "a b c d e f g h j k"]  # both begin as the third one does
    alone = ["z b c d e f g h i", "Z b c d e f g h i", "ééééé"]  # capitals are not told apart, cut or whole
    cut = find_truncated(tokenizer, [*whole, *alike, *alone, alike[0]], 10, batch=2)
    assert sorted(cut.prompts) == sorted([*alike, *alone])
    assert cut.ambiguous == 2
    encoder = small_text_encoder(tokenizer, dim=16, heads=2)
    read = encode_prompts(tokenizer, encoder, [whole[2], *alike, *alone])[0]
    assert [bool(torch.equal(each, read[0])) for each in read] == [True, True, True, False, False, False]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_captions_of_one_different_word_lie_far_apart(tokenizer, seed):
    hidden, pooled = encode_prompts(tokenizer, small_text_encoder(tokenizer, seed=seed), CAPTIONS)
    assert float(centred_cosines(pooled).max()) < 0.8
    assert float(centred_cosines(hidden).max()) < 0.9
    distances = torch.pdist(pooled) / pooled.norm(dim=1).mean()
    assert float(distances.min()) > 0.4


def test_the_order_of_words_and_letters_matters(tokenizer, encoder):
    _, pooled = encode_prompts(tokenizer, encoder, ["red on blue", "blue on red", "a cat", "a act"])
    assert float(torch.cosine_similarity(pooled[0], pooled[1], dim=0)) < 0.8
    assert float(torch.cosine_similarity(pooled[2], pooled[3], dim=0)) < 0.95


def test_encodings_have_about_unit_variance_and_lie_around_zero(tokenizer, encoder):
    hidden, pooled = encode_prompts(tokenizer, encoder, CAPTIONS)
    assert float(pooled.std()) == pytest.approx(1.0, abs=0.2)
    assert float(hidden.std()) == pytest.approx(1.0, abs=0.3)
    assert abs(float(pooled.mean())) < 0.1
    assert float(hidden.abs().max()) < 10


def test_the_encoding_of_a_caption_does_not_depend_on_the_others(tokenizer, encoder):
    together, _ = encode_prompts(tokenizer, encoder, CAPTIONS)
    alone = torch.cat([encode_prompts(tokenizer, encoder, [caption])[0] for caption in CAPTIONS])
    torch.testing.assert_close(alone, together, atol=1e-4, rtol=1e-4)


def test_the_encoder_is_frozen_and_its_seed_decides_it(tokenizer):
    state = torch.get_rng_state()
    first, same, other = (small_text_encoder(tokenizer, seed=seed) for seed in (5, 5, 6))
    assert torch.equal(torch.get_rng_state(), state)
    assert not first.training
    assert not any(weight.requires_grad for weight in first.parameters())
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), same.parameters(), strict=True))
    assert not torch.equal(encode_prompts(tokenizer, first, ["x"])[1], encode_prompts(tokenizer, other, ["x"])[1])


def test_half_precision_keeps_the_captions_apart(tokenizer):
    encoder = small_text_encoder(tokenizer).to(torch.bfloat16)
    hidden, pooled = encode_prompts(tokenizer, encoder, CAPTIONS)
    assert hidden.dtype == pooled.dtype == torch.bfloat16
    assert float(centred_cosines(pooled.float()).max()) < 0.8


def test_no_prompt_is_refused(tokenizer, encoder):
    with pytest.raises(ValueError, match="at least one"):
        encode_prompts(tokenizer, encoder, [])
