"""gatlas render --show MAP, --compare OTHER and -o x.npz"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gatlas import io
from gatlas.cli.render_inputs import load_other, load_subject
from gatlas.cli.render_outputs import check_picture_output, save_picture
from gatlas.cli.terminal import message
from gatlas.cli.verb import Input
from gatlas.errors import GatlasError
from gatlas.images.colors import parse_background
from gatlas.io.registry import written_suffixes
from gatlas.render import RenderOptions, compare, render, render_maps
from gatlas.render.comparison import comparison_sheet
from gatlas.render.maps import map_pictures, map_sheet
from gatlas.render.views import cameras_for_file, views_for_file
from gatlas.types import MixedCameras, MixedViews, Views

if TYPE_CHECKING:
    from gatlas.render.comparison import PictureComparison
    from gatlas.render.maps import Maps
    from gatlas.types import AnyCameras, AnyViews, Gaussians, Mesh, Origin


def names_arrays(output: str) -> bool:
    """Return True where the suffix of an output is that of arrays."""
    return Path(output).suffix.lower() in written_suffixes("npz")


def run_maps(source: Input, output: str, options: RenderOptions, *, force: bool) -> dict[str, Any]:
    """Draw maps of one splat or mesh, or compare it with another, or write the values of a map."""
    folder, arrays = io.is_folder(output), names_arrays(output)
    check_picture_output(output, options, noun="npz" if arrays else "image", force=force)
    if options.compare is not None and (folder or arrays):
        raise GatlasError("--compare draws one picture: name the output x.png")
    options = replace(options, background=options.background or ("transparent" if folder else "white"))
    background = parse_background(str(options.background))
    blob = io.as_blob(source)
    subject, options = load_subject(blob, options, "maps")
    name = subject.origin.name
    cameras = None if options.camera is None else io.load_cameras(options.camera)
    record: dict[str, Any] = {}
    if options.other is not None:
        found = compare(subject, load_other(options.other, options), options, cameras, report=message)
        record = {"psnr": found.psnr}
        message(_agreement(found, options.other))
        if options.compare is not None:
            sheet = comparison_sheet(found, (os.path.basename(blob.name), os.path.basename(options.other.rstrip("/"))))
            save_picture(output, sheet, options, force=force, name=name)
            return {"views": len(found.images), **record}
        maps = found.errors
    else:
        maps = render_maps(subject, options, cameras, report=message)
    if arrays:
        io.save_arrays(output, _arrays(maps, subject.origin), force=force, name=name)
    elif folder:
        _save_folder(output, maps, subject, options, cameras, force=force)
        message(f"{len(maps.values)} pictures in {output}")
    else:
        save_picture(output, map_sheet(maps, background), options, force=force, name=name)
    return {"views": len(maps.values), **record}


def _agreement(found: PictureComparison, other: str) -> str:
    count = len(found.images)
    over = f"over {count} pictures" if count > 1 else "over one picture"
    return f"PSNR {found.psnr:.2f} dB against {os.path.basename(other.rstrip('/'))}, {over}"


def _arrays(maps: Maps, origin: Origin) -> dict[str, np.ndarray]:
    """Return the values of all cameras and these, in the coordinates of the file."""
    cameras = cameras_for_file(maps.cameras, origin)
    if isinstance(cameras, MixedCameras):
        raise GatlasError("the cameras have pictures of several sizes, which one array cannot hold")
    return {
        maps.show: np.stack(maps.values),
        "viewmats": np.asarray(cameras.viewmats),
        "Ks": np.asarray(cameras.Ks),
    }


def _save_folder(
    output: str,
    maps: Maps,
    subject: Gaussians | Mesh,
    options: RenderOptions,
    cameras: AnyCameras | None,
    *,
    force: bool,
) -> None:
    """Write a PNG per camera and the transforms.json; depths as 16 bits, beside the pictures."""
    if maps.show == "depth":
        views = views_for_file(render(subject, replace(options, show="color"), cameras), subject.origin)
        io.save_views(output, views, depths=maps.values, force=force)
        return
    pictures = map_pictures(maps, parse_background(str(options.background)))
    held = cameras_for_file(maps.cameras, subject.origin)
    shown: AnyViews = (
        MixedViews(tuple(pictures), held) if isinstance(held, MixedCameras) else Views(np.stack(pictures), held)
    )
    io.save_views(output, shown, force=force)
