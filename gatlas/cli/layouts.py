"""What the two atlas verbs share: the layouts they write and the check they print."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gatlas.cli.options import Layout

if TYPE_CHECKING:
    from gatlas.atlas.check import AtlasCheck
    from gatlas.types import Atlas


def fills_folder(options: dict[str, Any]) -> bool:
    """Whether the result of one object is a folder."""
    return options["layout"] is Layout.gaussianverse


def check_layout_output(output: str, layout: Layout, *, suffix: str, what: str, force: bool) -> None:
    """Refuse an output that could not be written in the end."""
    from gatlas import io
    from gatlas.errors import GatlasError

    if layout is Layout.gatlas:
        io.check_output(output, force=force, suffix=suffix, what=what)
        return
    if output == "-":
        raise GatlasError("the layout gaussianverse is a folder of three files: name it with -o DIR/")
    io.check_output(output, force=force, folder=True)


def save_layout(output: str, layout: Layout, atlas: Atlas, *, force: bool) -> None:
    """Write an atlas NPZ, or GaussianVerse's folder."""
    from gatlas import io

    if layout is Layout.gatlas:
        io.save_atlas(output, atlas, force=force)
        return
    from gatlas.atlas.gaussianverse import to_published

    io.save_published(output, *to_published(atlas), force=force)


def say_check(check: AtlasCheck, report: str | None, force: bool) -> None:
    """Print what was measured, write it to `report`, and fail where something is wrong."""
    from gatlas import io
    from gatlas.cli.terminal import say
    from gatlas.errors import GatlasError

    say(
        f"bijection {'yes' if check.bijection else 'NO'}; permutation {check.direction}; "
        f"grid neighbours {check.neighbour_distance:.4f} apart, random pairs {check.random_distance:.4f}; "
        + (
            ""
            if check.smoothness_recovered is None
            else f"{check.smoothness_recovered:.1%} of the colour smoothness of 3D neighbours; "
        )
        + f"transport gap {check.gap:.1e}"
        + ("" if check.round_trip is None else f"; round-trip error {check.round_trip:.1e}")
    )
    if report is not None:
        io.save_json(report, check.as_dict(), force=force)
    if check.problems:
        raise GatlasError("the check failed: " + "; ".join(check.problems))
