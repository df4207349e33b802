"""Inputs of `gatlas render`: a splat or a mesh, and what it is compared with."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gatlas import io
from gatlas.cli.terminal import message
from gatlas.errors import GatlasError
from gatlas.meshes.edits import stand_up

if TYPE_CHECKING:
    from gatlas.io import Blob
    from gatlas.render import RenderOptions
    from gatlas.types import AnyViews, Gaussians, Mesh


def load_subject(blob: Blob, options: RenderOptions, drawn: str = "") -> tuple[Gaussians | Mesh, RenderOptions]:
    """Return what is shown, and the options that are left to do; an atlas is an error that names what is `drawn`."""
    if blob.kind == "atlas":
        raise GatlasError(f"an atlas is drawn as one picture of its planes; for {drawn} of it, run atlas-decode first")
    if blob.kind == "mesh":
        return io.load_mesh(blob), options
    gaussians = io.load_gaussians(blob, up=options.up, drop_invalid=options.drop_invalid, report=message)
    return gaussians, replace(options, up=None)


def load_other(path: str, options: RenderOptions) -> Gaussians | Mesh | AnyViews:
    """Return the splat, the mesh or the views that a subject is compared with."""
    if io.is_folder(path) or path.lower().endswith(".json"):
        if options.other_up is not None:
            raise GatlasError(f"--other-up is for meshes and splats: {path} holds views")
        for name in ("orbit", "sphere", "camera", "width", "height"):
            if getattr(options, name) is not None:
                raise GatlasError(f"--{name} is not for a comparison with views: their cameras are taken")
        return io.load_views(path)
    blob = io.read(path)
    if blob.kind == "mesh":
        return stand_up(io.load_mesh(blob), options.other_up or "y")
    return io.load_gaussians(blob, up=options.other_up, drop_invalid=options.drop_invalid, report=message)
