"""Inception v3 as TensorFlow's of 2015-12-05 computes it, up to the pooled features that FID is measured on.

Names are those of the published conversions (pytorch-fid, torch-fidelity), so that their weights fit as they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

SIDE = 299
FEATURES = 2048
EPSILON = 1e-3  # of the batch normalizations

Layer = tuple[str, int, int | tuple[int, int], int]  # name, channels, kernel, stride
Branch = tuple["str | Layer | tuple[Layer, Layer]", ...]  # a text is a pool; a pair of layers splits


def _layer(name: str, channels: int, kernel: int | tuple[int, int] = 1, stride: int = 1) -> Layer:
    return name, channels, kernel, stride


def _block_a(pooled: int) -> tuple[Branch, ...]:
    double = (_layer("branch3x3dbl_1", 64), _layer("branch3x3dbl_2", 96, 3), _layer("branch3x3dbl_3", 96, 3))
    five = (_layer("branch5x5_1", 48), _layer("branch5x5_2", 64, 5))
    return (_layer("branch1x1", 64),), five, double, ("mean", _layer("branch_pool", pooled))


def _block_b() -> tuple[Branch, ...]:
    double = (_layer("branch3x3dbl_1", 64), _layer("branch3x3dbl_2", 96, 3), _layer("branch3x3dbl_3", 96, 3, 2))
    return (_layer("branch3x3", 384, 3, 2),), double, ("halve",)


def _block_c(inner: int) -> tuple[Branch, ...]:
    wide, high = (1, 7), (7, 1)
    seven = (_layer("branch7x7_1", inner), _layer("branch7x7_2", inner, wide), _layer("branch7x7_3", 192, high))
    kernels = ((1, 1), high, wide, high, wide)
    widths = (inner, inner, inner, inner, 192)
    double = tuple(_layer(f"branch7x7dbl_{i + 1}", widths[i], kernels[i]) for i in range(5))
    return (_layer("branch1x1", 192),), seven, double, ("mean", _layer("branch_pool", 192))


def _block_d() -> tuple[Branch, ...]:
    three = (_layer("branch3x3_1", 192), _layer("branch3x3_2", 320, 3, 2))
    kernels: tuple[int | tuple[int, int], ...] = (1, (1, 7), (7, 1), 3)
    seven = tuple(_layer(f"branch7x7x3_{i + 1}", 192, kernels[i], 1 if i < 3 else 2) for i in range(4))
    return three, seven, ("halve",)


def _block_e(pool: str) -> tuple[Branch, ...]:
    def split(name: str, letters: str = "ab") -> tuple[Layer, Layer]:
        return _layer(f"{name}{letters[0]}", 384, (1, 3)), _layer(f"{name}{letters[1]}", 384, (3, 1))

    three: Branch = (_layer("branch3x3_1", 384), split("branch3x3_2"))
    double: Branch = (_layer("branch3x3dbl_1", 448), _layer("branch3x3dbl_2", 384, 3), split("branch3x3dbl_3"))
    return (_layer("branch1x1", 320),), three, double, (pool, _layer("branch_pool", 192))


class _Convolution(nn.Module):
    """A convolution without bias, its normalization, and a ReLU. Of stride 1 it keeps the size, else pads nothing."""

    def __init__(self, inputs: int, outputs: int, kernel: int | tuple[int, int], stride: int, *, pad: bool) -> None:
        super().__init__()
        high, wide = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = (high // 2, wide // 2) if pad else (0, 0)
        self.conv = nn.Conv2d(inputs, outputs, (high, wide), stride=stride, padding=padding, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=EPSILON)

    def forward(self, values: Tensor) -> Tensor:
        return functional.relu(self.bn(self.conv(values)), inplace=True)


class _Block(nn.Module):
    """Branches side by side, their channels joined."""

    def __init__(self, inputs: int, branches: tuple[Branch, ...]) -> None:
        super().__init__()
        self.branches, self.channels = branches, 0
        for branch in branches:
            width = inputs
            for step in branch:
                layers = () if isinstance(step, str) else (step,) if isinstance(step[0], str) else step
                for name, outputs, kernel, stride in layers:
                    self.add_module(name, _Convolution(width, outputs, kernel, stride, pad=stride == 1))
                width = sum(layer[1] for layer in layers) or width
            self.channels += width

    def forward(self, values: Tensor) -> Tensor:
        outputs = []
        for branch in self.branches:
            found = values
            for step in branch:
                if isinstance(step, str):
                    found = _pool(found, step)
                elif isinstance(step[0], str):
                    found = self.get_submodule(step[0])(found)
                else:
                    found = torch.cat([self.get_submodule(layer[0])(found) for layer in step], dim=1)
            outputs.append(found)
        return torch.cat(outputs, dim=1)


def _pool(values: Tensor, kind: str) -> Tensor:
    if kind == "halve":
        return functional.max_pool2d(values, 3, stride=2)
    if kind == "max":  # of the last block only: so TensorFlow's network has it
        return functional.max_pool2d(values, 3, stride=1, padding=1)
    return functional.avg_pool2d(values, 3, stride=1, padding=1, count_include_pad=False)


class Inception(nn.Module):
    """Pictures to the 2,048 pooled features of FID."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = _Convolution(3, 32, 3, 2, pad=False)
        self.Conv2d_2a_3x3 = _Convolution(32, 32, 3, 1, pad=False)
        self.Conv2d_2b_3x3 = _Convolution(32, 64, 3, 1, pad=True)
        self.Conv2d_3b_1x1 = _Convolution(64, 80, 1, 1, pad=False)
        self.Conv2d_4a_3x3 = _Convolution(80, 192, 3, 1, pad=False)
        blocks = {"Mixed_5b": _block_a(32), "Mixed_5c": _block_a(64), "Mixed_5d": _block_a(64), "Mixed_6a": _block_b()}
        blocks |= {f"Mixed_6{letter}": _block_c(c) for letter, c in (("b", 128), ("c", 160), ("d", 160), ("e", 192))}
        blocks |= {"Mixed_7a": _block_d(), "Mixed_7b": _block_e("mean"), "Mixed_7c": _block_e("max")}
        self.blocks, width = tuple(blocks), 192
        for name, branches in blocks.items():
            block = _Block(width, branches)
            self.add_module(name, block)
            width = block.channels

    @torch.no_grad()
    def forward(self, images: Float[Tensor, "n h w 3"]) -> Float[Tensor, "n 2048"]:
        """Return the features of RGB pictures in [0, 1], which are rounded to 8 bits as files are."""
        values = (images.permute(0, 3, 1, 2) * 255 + 0.5).floor().clamp(0, 255)
        values = (resize_as_tensorflow(values, SIDE) - 128) / 128
        values = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(values)))
        values = functional.max_pool2d(values, 3, stride=2)
        values = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(values))
        values = functional.max_pool2d(values, 3, stride=2)
        for name in self.blocks:
            values = self.get_submodule(name)(values)
        return values.mean(dim=(2, 3))


def resize_as_tensorflow(images: Float[Tensor, "n d h w"], side: int) -> Float[Tensor, "n d side side"]:
    """Return pictures resized bilinearly as TensorFlow 1 does: pixel i lies at i * size / side; nothing is averaged."""
    for dim in (2, 3):
        size = images.shape[dim]
        places = torch.arange(side, dtype=torch.float32) * (size / side)
        low = places.floor().long().clamp(max=size - 1)
        shape = [1, 1, 1, 1]
        shape[dim] = side
        rest = (places - low).to(images.dtype).reshape(shape)
        first = images.index_select(dim, low)
        images = first + (images.index_select(dim, (low + 1).clamp(max=size - 1)) - first) * rest
    return images
