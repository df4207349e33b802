"""Networks of background removal in ONNX files, as rembg runs them: a picture in, the opacity of its object out.

Two kinds are known by the side of the picture that they take: up to 512 pixels that of U2-Net (u2net, u2netp, silueta:
320), and beyond that of IS-Net (isnet-general-use, bria-rmbg: 1,024) or, where what comes out is not in [0, 1], that of
BiRefNet, which gives logits. Pictures are normalized for each as rembg does.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gatlas.errors import GatlasError
from gatlas.io.streams import read

if TYPE_CHECKING:
    from jaxtyping import Float

IMAGENET = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])  # mean, standard deviation
CENTERED = np.array([0.5, 0.5, 0.5]), np.array([1.0, 1.0, 1.0])
SMALL = 512  # pixels a side, of networks that are U2-Net's kin
FREE_SIDE = 1024  # of networks that take any size
MOST = 4096  # pixels a side
FLAT = 1e-6  # range of what comes out that holds no object apart from its background


class MattingModel:
    """A network of background removal."""

    def __init__(self, path: str | Path) -> None:
        """Load a network on the CPU. A file that is none is a GatlasError, as is onnxruntime that is not installed."""
        self._name = str(path)
        try:
            import onnxruntime
        except ImportError:
            raise GatlasError(f"--matting {path}: needs onnxruntime: pip install 'gatlas[matting]'") from None
        settings = onnxruntime.SessionOptions()
        settings.log_severity_level = 4  # errors are raised
        blob = read(path)
        try:
            self._session = onnxruntime.InferenceSession(blob.data, settings, providers=["CPUExecutionProvider"])
        except Exception as error:  # of classes that onnxruntime does not share
            raise GatlasError(f"{path}: no ONNX network: {_line(error)}") from None
        self._input, self._size = self._check_inputs()

    def _check_inputs(self) -> tuple[str, tuple[int, int]]:
        """Return the name of the input, and the height and width that it takes."""
        inputs = self._session.get_inputs()
        shape = inputs[0].shape if len(inputs) == 1 else []
        if len(shape) != 4 or shape[1] not in (3, "3") or inputs[0].type != "tensor(float)":
            raise GatlasError(
                f"{self._name}: not a network of background removal: it must take a picture [1 3 h w] of floats"
            )
        height, width = (side if isinstance(side, int) and side > 0 else FREE_SIDE for side in shape[2:])
        if max(height, width) > MOST:
            raise GatlasError(f"{self._name}: takes pictures of {width} x {height}, more than {MOST} a side")
        return inputs[0].name, (height, width)

    def mask(self, picture: Float[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h w"]:
        """Return the opacity of what a picture shows before its background, in [0, 1]."""
        if max(self._size) <= SMALL:
            found = self._run(picture, *IMAGENET)
        else:
            found = self._run(picture, *CENTERED)
            if found.min() < -FLAT or found.max() > 1 + FLAT:
                found = 1 / (1 + np.exp(-np.clip(self._run(picture, *IMAGENET), -50, 50)))
        low, high = float(found.min()), float(found.max())
        if high - low < FLAT:
            found = np.full_like(found, float(high > 0.5))
        else:
            found = (found - low) / (high - low)
        return np.clip(_resized(found, picture.shape[1], picture.shape[0]), 0, 1)

    def _run(
        self, picture: Float[np.ndarray, "h w 3"], mean: Float[np.ndarray, " 3"], deviation: Float[np.ndarray, " 3"]
    ) -> Float[np.ndarray, "_ _"]:
        height, width = self._size
        small = _resized(picture, width, height)
        batch = ((small / max(float(small.max()), 1e-6) - mean) / deviation).transpose(2, 0, 1)[None]
        try:
            found: Any = self._session.run(None, {self._input: np.ascontiguousarray(batch, dtype=np.float32)})[0]
        except Exception as error:
            raise GatlasError(f"{self._name}: the network fails: {_line(error)}") from None
        found = np.asarray(found, dtype=np.float32)
        if found.ndim < 2 or found[..., 0, 0].size != 1 or not np.isfinite(found).all():
            raise GatlasError(f"{self._name}: gives {list(found.shape)}, not the opacity of one picture [1 1 h w]")
        return found.reshape(found.shape[-2:])


def _resized(picture: Float[np.ndarray, "h w *d"], width: int, height: int) -> Float[np.ndarray, "_ _ *d"]:
    import cv2

    shrinks = width * height < picture.shape[0] * picture.shape[1]
    resized: Float[np.ndarray, "_ _ *d"] = cv2.resize(
        np.ascontiguousarray(picture, dtype=np.float32),
        (width, height),
        interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR,
    )
    return resized


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
