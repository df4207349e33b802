"""Options of `gatlas convert`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from gatlas.config import Options, option
from gatlas.errors import GatlasError
from gatlas.io.splats.options import drop_invalid_option, up_option

Vector = tuple[float, float, float]

REGIONS = "box:X,Y,Z,X,Y,Z or sphere:X,Y,Z,R"


class Crop(NamedTuple):
    """A part of space: a box between two corners, or a ball."""

    kind: str  # "box" or "sphere"
    numbers: tuple[float, ...]  # x y z x y z, or x y z radius


@dataclass(frozen=True)
class ConvertOptions(Options):
    """Read splats of any format and write them in the format of the output's suffix.

    Read are splat PLY, compressed PLY, .splat, SPZ, SOG, KSPLAT, glTF and atlases; written .ply, .compressed.ply,
    .splat, .spz, .sog, .glb, .gltf and, with the extra usd, .usd, .usdc, .usda and .usdz. What a format has no room
    for is reported.

    The Gaussians are scaled, then turned, then moved, and then cropped, in the object's own axes, y up. One that is
    scaled, turned or moved is no longer in the frame of its source: it is in the units that result.

    Many inputs give one output each; -o 'DIR/{stem}.spz' names their format. With --merge they give one together.

    Example: gatlas convert obj.ply -o obj.spz
    """

    scale: float = option(1.0, above=0, metavar="FACTOR", help="Multiply positions and sizes by FACTOR.")
    rotate: str | None = option(None, metavar="X,Y,Z", help="Turn by degrees about x, then about y, then about z.")
    translate: str | None = option(None, metavar="X,Y,Z", help="Move by X,Y,Z.")
    up: Literal["x", "y", "z", "-x", "-y", "-z"] | None = up_option()
    crop: str | None = option(
        None,
        metavar="box:X,Y,Z,X,Y,Z|sphere:X,Y,Z,R",
        help="Keep the Gaussians whose centers are in a box between two corners, or in a sphere.",
    )
    sh_degree: int | None = option(
        None, min=0, max=3, metavar="DEGREE", help="Highest degree of the spherical harmonics to keep."
    )
    drop_invalid: bool = drop_invalid_option()
    denormalize: bool = option(False, help="First return to the units and place of the source.")
    merge: bool = option(False, help="Join all inputs to one splat.")
    spz_version: int = option(4, min=3, max=4, metavar="3|4", help="Version of an .spz.")

    def validate(self) -> None:
        """Refuse numbers that cannot be read."""
        self.vector("rotate"), self.vector("translate"), self.crop_region()

    def vector(self, name: str) -> Vector | None:
        """Return the three numbers of an option; None where it is not given."""
        text = getattr(self, name)
        return None if text is None else _numbers(text, 3, f"--{name} {text}: needs X,Y,Z")  # type: ignore[return-value]

    def crop_region(self) -> Crop | None:
        """Return the part of space that is kept; None for all of it."""
        return None if self.crop is None else parse_region(self.crop, f"--crop {self.crop}: needs {REGIONS}")


def parse_region(text: str, rule: str) -> Crop:
    """Return the part of space that a text of the form `REGIONS` names; another text is a GatlasError, `rule`."""
    kind, _, numbers = text.partition(":")
    if kind not in ("box", "sphere"):
        raise GatlasError(rule)
    return Crop(kind, _numbers(numbers, 6 if kind == "box" else 4, rule))


def _numbers(text: str, count: int, rule: str) -> tuple[float, ...]:
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise GatlasError(rule) from None
    if len(values) != count or not all(abs(value) < 1e30 for value in values):
        raise GatlasError(rule)
    return values
