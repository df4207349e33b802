"""Pictures and prompts to features: Inception and CLIP with weights from local files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gatlas.io.models.score_networks import ClipFolder, load_clip, load_inception_state
from gatlas.io.sets.digests import sha256_of

if TYPE_CHECKING:
    from jaxtyping import Float, Float32

AT_ONCE = 16  # pictures or prompts


class InceptionEmbedder:
    """The 2,048 features of FID and KID."""

    def __init__(self, path: str) -> None:
        """Read the weights at `path`; what is wrong with them is a GatlasError."""
        from pathlib import Path

        from gatlas.models.inception import Inception

        self._network = Inception().eval().requires_grad_(False)
        shapes = {name: tuple(each.shape) for name, each in self._network.state_dict().items()}
        self._network.load_state_dict(load_inception_state(path, shapes), strict=False)
        self.weights: dict[str, Any] = {"files": {path: sha256_of(Path(path))}}

    def __call__(self, images: Float[np.ndarray, "n h w 3"]) -> Float32[np.ndarray, "n 2048"]:
        """Return the features of RGB pictures in [0, 1]."""
        import torch

        groups = (images[i : i + AT_ONCE] for i in range(0, len(images), AT_ONCE))
        return np.concatenate([self._network(torch.from_numpy(np.float32(each))).numpy() for each in groups])


class ClipEmbedder:
    """Unit features of pictures and of prompts in CLIP's common space."""

    def __init__(self, folder: str) -> None:
        """Read the folder, in transformers' format; what is wrong with it is a GatlasError."""
        self._clip: ClipFolder = load_clip(folder)
        self.weights: dict[str, Any] = {"files": self._clip.digests}

    def __call__(self, images: Float[np.ndarray, "n h w 3"]) -> Float32[np.ndarray, "n d"]:
        """Return the features of RGB pictures in [0, 1], of which the middle square is taken."""
        import torch

        found = []
        for i in range(0, len(images), AT_ONCE):
            pixels = torch.from_numpy(np.stack([self._prepared(each) for each in images[i : i + AT_ONCE]]))
            with torch.no_grad():
                pooled = self._clip.model.vision_model(pixel_values=pixels).pooler_output
                found.append(self._clip.model.visual_projection(pooled).numpy())
        return _unit(np.concatenate(found))

    def of_prompts(self, prompts: Sequence[str]) -> Float32[np.ndarray, "n d"]:
        """Return the features of prompts; longer ones than CLIP reads are cut."""
        import torch

        text: Any = self._clip.model.config.text_config
        found, length = [], int(text.max_position_embeddings)
        for i in range(0, len(prompts), AT_ONCE):
            group = list(prompts[i : i + AT_ONCE])
            tokens = self._clip.tokenizer(
                group, padding="max_length", truncation=True, max_length=length, return_tensors="pt"
            )
            with torch.no_grad():
                pooled = self._clip.model.text_model(**tokens).pooler_output
                found.append(self._clip.model.text_projection(pooled).numpy())
        return _unit(np.concatenate(found))

    def _prepared(self, image: Float[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "3 side side"]:
        """Return a picture as CLIP takes it: its shorter side resized (bicubic), the middle cut out, normalized."""
        from PIL import Image

        eight_bits = Image.fromarray((np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8))
        side, (width, height) = self._clip.side, eight_bits.size
        scale = side / min(width, height)
        size = (max(side, int(width * scale)), max(side, int(height * scale)))
        resized = np.asarray(eight_bits.resize(size, Image.Resampling.BICUBIC), dtype=np.float32) / 255
        top, left = (size[1] - side) // 2, (size[0] - side) // 2
        cut = resized[top : top + side, left : left + side]
        normalized = (cut - np.array(self._clip.mean, dtype=np.float32)) / np.array(
            self._clip.deviation, dtype=np.float32
        )
        return np.ascontiguousarray(normalized.transpose(2, 0, 1), dtype=np.float32)


def _unit(features: Float32[np.ndarray, "n d"]) -> Float32[np.ndarray, "n d"]:
    return np.asarray(features / np.linalg.norm(features, axis=1, keepdims=True), dtype=np.float32)
