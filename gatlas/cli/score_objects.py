"""Generated objects and their prompts, as the measures of `gatlas score` read them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from gatlas import io
from gatlas.atlas import decode
from gatlas.cli.terminal import about, message
from gatlas.errors import GatlasError
from gatlas.io.registry import suffixes
from gatlas.score.scored_object import in_ball

if TYPE_CHECKING:
    from gatlas.types import Gaussians


class LoadedObject(NamedTuple):
    """Gaussians in the unit ball, and the prompt that their file holds."""

    name: str
    gaussians: Gaussians
    prompt: str | None


def list_objects(inputs: Sequence[str]) -> list[io.Item]:
    """Return the splats and atlases that the inputs name; none is a GatlasError."""
    found = io.list_items(inputs, suffixes("atlas", "splat"))
    if not found:
        raise GatlasError(f"{', '.join(inputs)}: there are no splats or atlases")
    return found


def load_object(blob: io.Blob, name: str, *, drop_invalid: bool) -> LoadedObject:
    """Return a splat or an atlas in the unit ball."""
    if blob.kind == "atlas":
        atlas = io.load_atlas(blob)
        sample = atlas.meta.get("sample")
        prompt = sample.get("prompt") if isinstance(sample, dict) else None
        with about(blob):
            return LoadedObject(name, in_ball(decode(atlas)), prompt if isinstance(prompt, str) else None)
    gaussians = io.load_gaussians(blob, drop_invalid=drop_invalid, report=message)
    with about(blob):
        return LoadedObject(name, in_ball(gaussians), None)
