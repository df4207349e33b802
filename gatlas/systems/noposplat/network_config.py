"""Sizes of the NoPoSplat network, and how a fresh one starts.

The parts that have no counterpart in the published network serve training from scratch: photometric training of
Gaussians that start in one point, or in none, does not come alive. A fresh network therefore predicts Gaussians that a
renderer sees: `start_depth` in front of the first camera, `start_scale` wide and of opacity `start_opacity`. With
`residual` the network predicts the difference from what the pixels themselves tell: the point at `start_depth` on the
pixel's own ray (as if all cameras were the first one) and the pixel's own colour. It adds no weights.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from gatlas.errors import GatlasError


@dataclass(frozen=True)
class NoPoSplatConfig:
    """The defaults are the published network's (Ye et al. 2024)."""

    patch: int = 16  # pixels a side
    encoder_dim: int = 1024
    encoder_depth: int = 24
    encoder_heads: int = 16
    decoder_dim: int = 768
    decoder_depth: int = 12
    decoder_heads: int = 12
    mlp_ratio: int = 4
    hooks: tuple[int, ...] = (0, 6, 9, 12)  # what the heads read: 0 is the encoder, k the decoder's layer k
    head_dim: int = 256  # channels of the DPT heads
    level_dims: tuple[int, ...] = (96, 192, 384, 768)  # channels of their four levels, finest first
    sh_degree: int = 4  # predicted; what is given out has degree 3 at most, as no rasterizer evaluates more
    dropout: float = 0.1  # before the last layer of the Gaussian heads, in training

    scale_unit: float = 0.001  # scale = min(scale_unit * softplus(x), scale_max), world units
    scale_max: float = 0.3

    residual: bool = False
    start_depth: float = 2.0  # world units
    start_scale: float = 0.008  # world units: a pixel at start_depth in a picture of 256 with a field of view of 55 deg
    start_opacity: float = 0.3

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            kinds = {"int": (int,), "float": (int, float), "bool": (bool,)}.get(str(field.type), (tuple,))
            items = value if isinstance(value, tuple) else (value,)
            right = isinstance(value, kinds) and all(type(item) in (int, float, bool) for item in items)
            right = right and (isinstance(value, bool) == (kinds == (bool,)))
            _require(right, field.name, f"must be of type {field.type}", value)
        for name in ("encoder_dim", "encoder_depth", "decoder_dim", "decoder_depth", "mlp_ratio", "head_dim"):
            _require(getattr(self, name) >= 1, name, "must be at least 1", getattr(self, name))
        _require(self.head_dim % 2 == 0, "head_dim", "must be even", self.head_dim)
        _require(self.patch >= 4, "patch", "must be at least 4", self.patch)
        for part in ("encoder", "decoder"):
            heads = getattr(self, f"{part}_heads")
            _require(
                heads >= 1 and getattr(self, f"{part}_dim") % (4 * heads) == 0,
                f"{part}_heads",
                f"must divide {part}_dim = {getattr(self, f'{part}_dim')} into heads of a multiple of 4",
                heads,
            )
        rising = all(type(hook) is int for hook in self.hooks) and list(self.hooks) == sorted(set(self.hooks))
        _require(
            rising and len(self.hooks) == 4 and self.hooks[0] >= 0 and self.hooks[-1] <= self.decoder_depth,
            "hooks",
            f"must be four rising layers from 0 to {self.decoder_depth}",
            self.hooks,
        )
        levels = len(self.level_dims) == 4 and all(type(dim) is int and dim >= 1 for dim in self.level_dims)
        _require(levels, "level_dims", "must be four numbers of at least 1", self.level_dims)
        _require(0 <= self.sh_degree <= 4, "sh_degree", "must be in 0 .. 4", self.sh_degree)
        _require(0 <= self.dropout < 1, "dropout", "must be in [0, 1)", self.dropout)
        for name in ("scale_unit", "scale_max", "start_depth", "start_scale"):
            _require(0 < getattr(self, name) < math.inf, name, "must be greater than 0", getattr(self, name))
        _require(self.start_scale < self.scale_max, "start_scale", f"must be below {self.scale_max}", self.start_scale)
        _require(0 < self.start_opacity < 1, "start_opacity", "must be in (0, 1)", self.start_opacity)

    @property
    def coefficients(self) -> int:
        """Spherical harmonics that are predicted for each colour."""
        return (self.sh_degree + 1) ** 2

    def as_json(self) -> dict[str, Any]:
        """What `from_json` reads."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> NoPoSplatConfig:
        """The config of a model folder: what is left out has its default, and an unknown name is a GatlasError."""
        unknown = sorted(set(values) - {field.name for field in fields(cls)})
        if unknown:
            raise GatlasError(f"'{unknown[0]}' is no setting of the NoPoSplat network")
        settings: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**settings)


def _require(holds: bool, name: str, rule: str, value: Any) -> None:
    if not holds:
        raise GatlasError(f"{name} {rule}, got {value}")


BASE = NoPoSplatConfig()

TINY = NoPoSplatConfig(  # for 64 x 64 pixels on a CPU
    patch=8,
    encoder_dim=128,
    encoder_depth=4,
    encoder_heads=4,
    decoder_dim=128,
    decoder_depth=4,
    decoder_heads=4,
    hooks=(0, 2, 3, 4),
    head_dim=64,
    level_dims=(24, 48, 96, 192),
    sh_degree=1,
    dropout=0.0,
    scale_unit=0.02,
    residual=True,
    start_scale=0.03,
)
