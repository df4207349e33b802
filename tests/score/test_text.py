"""CLIP scores against transformers' CLIPModel, with small random weights in the published layout."""

import numpy as np
import pytest
import torch

from gatlas.errors import GatlasError
from gatlas.score.embedders import ClipEmbedder
from gatlas.score.text import score_text
from tests.helpers.clip_folder import write_clip

pytestmark = pytest.mark.usefixtures("one_thread")
PROMPTS = ["a red cube", "a blue ball", "a chair"]


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip")
    return write_clip(folder), folder


def pictures(count=3, side=48):
    coarse = np.random.default_rng(0).random((count, 6, 6, 3)).astype(np.float32)
    return np.kron(coarse, np.ones((1, side // 6, side // 6, 1), dtype=np.float32))


def test_scores_are_those_of_transformers(clip):
    from transformers import CLIPTokenizer

    model, folder = clip
    processors = pytest.importorskip("transformers.models.clip.image_processing_pil_clip", exc_type=ImportError)
    images = pictures()
    processor = processors.CLIPImageProcessorPil.from_pretrained(str(folder))
    pixels = processor(list((images * 255 + 0.5).astype(np.uint8)), return_tensors="pt")["pixel_values"]
    tokenizer = CLIPTokenizer.from_pretrained(str(folder))
    words = tokenizer(PROMPTS, padding="max_length", max_length=16, truncation=True, return_tensors="pt")
    with torch.no_grad():
        output = model(pixel_values=pixels, **words)
        expected = output.logits_per_image / model.logit_scale.exp()  # cosines
    embedder = ClipEmbedder(str(folder))
    features, texts = embedder(images), embedder.of_prompts(PROMPTS)
    np.testing.assert_allclose(features @ texts.T, expected.numpy(), atol=2e-4)
    found = score_text(features, texts, 1)
    assert found.clip_score == pytest.approx(100 * float(expected[:, 1].clamp(min=0).mean()), abs=0.02)


def test_rank_counts_the_prompts_that_are_nearer():
    pictures = np.array([[1.0, 0.0], [0.8, 0.6]])
    prompts = np.array([[0.6, 0.8], [1.0, 0.0], [0.0, 1.0]])
    assert score_text(pictures, prompts, 1).rank == 1
    assert score_text(pictures, prompts, 1).retrieved == 1
    assert score_text(pictures, prompts, 2).rank == 3
    assert score_text(pictures, prompts, 1).clip_score == pytest.approx(90)
    assert score_text(pictures, np.repeat(prompts[:1], 2, axis=0), 0).retrieved == 0


def test_the_right_prompt_falls_as_pictures_turn_into_noise(clip):
    embedder = ClipEmbedder(str(clip[1]))
    images = pictures()
    clean = embedder(images)
    noise = np.random.default_rng(1).random(images.shape, dtype=np.float32)
    own = clean.mean(axis=0, keepdims=True) / np.linalg.norm(clean.mean(axis=0))
    found = [score_text(embedder((1 - a) * images + a * noise), own, 0).clip_score for a in (0.0, 0.3, 0.6, 1.0)]
    assert (np.diff(found) < 0).all(), found


def test_a_folder_that_is_not_clip_is_one_line(tmp_path):
    with pytest.raises(GatlasError, match=r"no config\.json.*605 MB"):
        ClipEmbedder(str(tmp_path))
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(GatlasError, match="'bert' and not CLIP"):
        ClipEmbedder(str(tmp_path))
