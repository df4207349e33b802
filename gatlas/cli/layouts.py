"""Layouts and checks shared by the verbs that encode and decode atlases."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatlas import io
from gatlas.atlas.gaussianverse import to_published
from gatlas.cli.terminal import check_outputs, message
from gatlas.errors import GatlasError

if TYPE_CHECKING:
    from gatlas.atlas import DecodeOptions, EncodeOptions
    from gatlas.atlas.check import AtlasCheck
    from gatlas.types import Atlas


def check_layout_outputs(output: str, options: EncodeOptions | DecodeOptions, *, noun: str, force: bool) -> None:
    """Raise a GatlasError, before any work, where an output could not be written."""
    if options.layout == "gaussianverse" and output == "-":
        raise GatlasError("the layout gaussianverse is a folder of three files: name it with -o DIR/")
    check_outputs(output, options, noun=None if options.layout == "gaussianverse" else noun, force=force)


def names_sog(output: str) -> bool:
    """Return True where an output is a SOG."""
    return output.lower().endswith(".sog")


def save_gaussianverse(output: str, atlas: Atlas, *, force: bool) -> None:
    """Write GaussianVerse's folder of an atlas."""
    io.save_published(output, *to_published(atlas), force=force)


def report_check(check: AtlasCheck, report: str | None, force: bool) -> None:
    """Print what was measured, write it to `report`, and raise a GatlasError where something is wrong."""
    smoothness = check.smoothness_recovered
    parts = [
        f"bijection {'yes' if check.bijection else 'NO'}",
        f"permutation {check.direction}",
        f"grid neighbors {check.neighbor_distance:.4f} apart, random pairs {check.random_distance:.4f}",
        *([] if smoothness is None else [f"{smoothness:.1%} of the color smoothness of 3D neighbors"]),
        f"transport gap {check.gap:.1e}",
        *([] if check.round_trip is None else [f"round-trip error {check.round_trip:.1e}"]),
    ]
    message("; ".join(parts))
    if report is not None:
        io.save_json(report, check.as_dict(), force=force)
    if check.problems:
        raise GatlasError("the check failed: " + "; ".join(check.problems))
