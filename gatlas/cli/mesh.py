"""gatlas mesh"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gatlas import __version__, io
from gatlas.atlas import decode
from gatlas.cli.terminal import about, check_outputs, counting_bar, finite, message
from gatlas.cli.verb import Input
from gatlas.errors import GatlasError
from gatlas.io.registry import written_format
from gatlas.meshes import MeshOptions, mesh
from gatlas.meshes.edits import stand_up
from gatlas.meshes.meshing import count_steps
from gatlas.render.mesh_quality import measure_mesh

if TYPE_CHECKING:
    from gatlas.types import Gaussians, Mesh


def run(source: Input, output: str, options: MeshOptions, *, force: bool) -> dict[str, Any]:
    """Make a mesh of one splat or atlas."""
    started = time.perf_counter(), time.process_time()
    check_outputs(output, options, noun="mesh", force=force)
    if options.texture and output != "-" and written_format("mesh", output).name == "PLY":
        options = replace(options, texture=0)
        message("PLY holds vertex colors: no texture is made")
    reference = _load_reference(options)
    gaussians = _load(source, options)
    with about(source), counting_bar("mesh", count_steps(options)) as on_step:
        made = mesh(gaussians, options, report=message, on_step=on_step)
    summary = f"{len(made.faces):,} triangles, {_colors(options)}"
    record: dict[str, Any] = {"triangles": len(made.faces)}
    if options.report is not None or reference is not None:
        spent = {"seconds": time.perf_counter() - started[0], "cpu_seconds": time.process_time() - started[1]}
        with about(source):
            measured = measure_mesh(made, gaussians, reference)
        summary += ", watertight" if measured["watertight"] else ", NOT watertight"
        for against, name in (("splat", "the splat"), ("reference", str(options.reference))):
            if against in measured:
                summary += f"; against {name} {_shown(measured[against])}"
        record |= {"iou": measured["splat"]["iou"], "psnr": finite(measured["splat"]["psnr"])}
        if options.report is not None:
            io.save_json(options.report, _report(source, options, measured, spent), force=force)
    message(f"{summary}; {time.perf_counter() - started[0]:.1f} s")
    if options.lit:
        message("--lit: viewers add their light to colors that hold the light of the splat already")
    io.save_mesh(output, made, force=force)
    return record


def _load(source: Input, options: MeshOptions) -> Gaussians:
    """Return the Gaussians of a splat, or those that an atlas holds."""
    blob = io.as_blob(source)
    if blob.kind != "atlas":
        return io.load_gaussians(blob, up=options.up, drop_invalid=options.drop_invalid, report=message)
    if options.up is not None:
        raise GatlasError("--up is for splats: an atlas is upright")
    with about(source):
        return decode(io.load_atlas(blob))


def _load_reference(options: MeshOptions) -> Mesh | None:
    """Return the mesh to measure against, upright; None where there is none."""
    if options.reference is None:
        if options.reference_up is not None:
            raise GatlasError("--reference-up is the vertical axis of a mesh: give --reference MESH with it")
        return None
    return stand_up(io.load_mesh(options.reference), options.reference_up or "y")


def _colors(options: MeshOptions) -> str:
    return f"a texture of {options.texture} x {options.texture}" if options.texture else "vertex colors"


def _shown(measured: dict[str, float]) -> str:
    parts = [f"IoU {measured['iou']:.4f}", f"PSNR {measured['psnr']:.2f} dB"]
    if "f_score" in measured:
        parts += [f"chamfer {measured['chamfer']:.5f}", f"F-score {measured['f_score']:.4f}"]
    return ", ".join(parts)


def _report(source: Input, options: MeshOptions, measured: dict[str, Any], spent: dict[str, float]) -> dict[str, Any]:
    """Return what --report holds: JSON-able, null for what is infinite."""
    values = {
        name: {key: finite(each) for key, each in value.items()} if isinstance(value, dict) else value
        for name, value in measured.items()
    }
    path = source if isinstance(source, str) else source.name
    return {**values, **spent, "version": __version__, "arguments": {"input": path, **options.to_json()}}
