"""Read and write the nouns in any format of `gatlas.io.registry`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gatlas.config import ignore
from gatlas.geometry.frames import UPRIGHT
from gatlas.io import registry
from gatlas.io.outputs import check_output, is_streamed, write, write_together
from gatlas.io.streams import Blob, as_blob

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    from jaxtyping import Float

    from gatlas.config import Report
    from gatlas.io.films import Film
    from gatlas.io.viewer.page import Page
    from gatlas.types import Atlas, AtlasStats, Gaussians, Mesh

    Source = str | Path | Blob


def load_gaussians(
    source: Source,
    *,
    as_stored: bool = False,
    up: str | None = None,
    drop_invalid: bool = False,
    report: Report = ignore,
) -> Gaussians:
    """Return the Gaussians of a splat (float32), in the object's own frame, y up.

    `up` is the axis of the file that points up ("x", "y", "z", "-x", "-y" or "-z"); None is what the file says, or what
    its format means. `as_stored` keeps the axes of the file, for index maps that were made on them. Gaussians that
    cannot be shown (NaN, infinite, a zero quaternion) are a GatlasError, or left out and counted with `drop_invalid`.
    `report` takes a line about what was decided.
    """
    if up not in (None, *UPRIGHT):
        raise ValueError(f"up must be None or one of {', '.join(UPRIGHT)}, got {up!r}")
    asked = {"as_stored": as_stored, "up": up, "drop_invalid": drop_invalid, "report": report}
    unasked = {"up": None, "drop_invalid": False, "report": ignore}  # a format need not know what nobody asks
    found: Gaussians = _load(
        "splat", source, **{name: value for name, value in asked.items() if value != unasked.get(name, ...)}
    )
    return found


def save_gaussians(
    out: str | Path,
    gaussians: Gaussians,
    *,
    force: bool = False,
    spz_version: int | None = None,
    atlas: Mapping[str, Any] | None = None,
) -> None:
    """Write a splat in the format of the output's suffix, by default the 3DGS PLY that every viewer reads.

    `spz_version` is 3 or 4 (None) and for an .spz alone; `atlas` is for a .sog, the meta of the atlas whose cells the
    Gaussians are. What a format has no room for is a warning.
    """
    options = {name: value for name, value in (("spz_version", spz_version), ("atlas", atlas)) if value is not None}
    _save("splat", out, gaussians, force, gaussians.origin.name, **options)


def load_mesh(source: Source) -> Mesh:
    """Return the mesh of a file, in its axes and units, float64.

    Files that it names (buffers, textures, material libraries) are searched for next to it. A texture that is missing
    or damaged is a warning, and its surface shows its plain base color. Everything else that cannot be read as the file
    means it is a GatlasError: no triangles, values that are not finite, damage, compression.
    """
    found: Mesh = _load("mesh", source)
    return found


def save_mesh(out: str | Path, mesh: Mesh, *, force: bool = False) -> None:
    """Write a mesh: GLB, or by the suffix OBJ with its .mtl and textures beside it, or PLY with vertex colors.

    The same mesh gives the same bytes. What a format cannot hold is a GatlasError.
    """
    _save("mesh", out, mesh, force, mesh.origin.name)


def load_atlas(source: Source) -> Atlas:
    """Return the planes (float32, raw) and the meta of an atlas."""
    found: Atlas = _load("atlas", source)
    return found


def save_atlas(out: str | Path, atlas: Atlas, *, force: bool = False) -> None:
    """Write an atlas; the same atlas gives the same bytes."""
    origin = atlas.meta.get("origin")
    _save("atlas", out, atlas, force, str(origin.get("name", "")) if isinstance(origin, dict) else "")


def load_stats(source: Source) -> AtlasStats:
    """Return the statistics of atlases (float64, raw units)."""
    found: AtlasStats = _load("stats", source)
    return found


def save_stats(out: str | Path, stats: AtlasStats, *, force: bool = False) -> None:
    """Write statistics; the same statistics give the same bytes."""
    _save("stats", out, stats, force, "stats")


def load_image(source: Source) -> Float[np.ndarray, "h w d"]:
    """Return an RGB or straight RGBA picture, sRGB-encoded float32 in [0, 1], upright by its EXIF tag."""
    found: Float[np.ndarray, "h w d"] = _load("image", source)
    return found


def save_image(out: str | Path, image: Float[np.ndarray, "h w d"], *, force: bool = False, name: str = "") -> None:
    """Write an RGB or RGBA picture in [0, 1]. `name` names the file where the output is a terminal."""
    _save("image", out, image, force, name)


def save_film(out: str | Path, film: Film, *, force: bool = False, name: str = "") -> None:
    """Write a film: MP4, GIF or WebP by the suffix. `name` names the file where the output is a terminal."""
    from gatlas.io.films import check_size

    check_size(out, film.width, film.height)
    _save("film", out, film, force, name)


def save_page(out: str | Path, page: Page, *, force: bool = False) -> None:
    """Write the HTML file that shows splats in a browser."""
    _save("page", out, page, force, page.title)


def save_arrays(out: str | Path, arrays: Mapping[str, np.ndarray], *, force: bool = False, name: str = "") -> None:
    """Write an NPZ of arrays; the same arrays give the same bytes."""
    _save("npz", out, arrays, force, name)


def _load(noun: str, source: Source, **options: Any) -> Any:
    return registry.decode(noun, as_blob(source), **options)


def _save(noun: str, out: str | Path, value: Any, force: bool, name: str, **options: Any) -> None:
    check_output(out, force=force, noun=noun)  # before the work of encoding
    if not is_streamed(out) and registry.written_format(noun, out).beside:
        write_together(out, registry.encode_together(noun, value, out), force=force)
        return
    write(out, registry.encode(noun, value, out, **options), force=force, noun=noun, name=name)
