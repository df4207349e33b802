"""From the name of a file or folder to what is in it."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from gatlas import io
from gatlas.errors import GatlasError
from gatlas.inspection.findings import Inspection, noting
from gatlas.inspection.splats import file_in_commands, inspect_splat
from gatlas.io.film_facts import FilmFacts, gif_facts, names_video, video_facts
from gatlas.io.json_reader import JsonError, parse_json, read_json_object
from gatlas.io.registry import refusal
from gatlas.io.splats.ply_chunks import splat_ply_chunks
from gatlas.io.streams import os_errors

_MANIFEST = re.compile(r"(.*\.)?manifest(-\d+-of-\d+)?\.jsonl")
_LISTED = 3  # names in a finding
_PROPERTIES = 32  # of an element of a PLY


def inspect(name: str) -> Inspection:
    """Return facts and faults of a file, a folder or standard input ("-").

    A file that is damaged or of no known kind is unreadable, with the reason as its fault; one that is not there is a
    GatlasError.
    """
    path = Path(name)
    if name != "-" and not io.exists(name):
        raise GatlasError(f"{name}: there is no such file or folder")
    found = Inspection("standard input" if name == "-" else name, "unreadable", "unreadable")
    try:
        with noting(found), os_errors(name):
            if name != "-" and io.is_folder(name):
                _folder(found, path)
            else:
                _file(found, name)
    except GatlasError as error:
        found.kind = "unreadable"
        found.find(str(error).replace("\n", " ").removeprefix(f"{found.name}: "))
    return found


def _file(found: Inspection, name: str) -> None:
    chunks = splat_ply_chunks(Path(name)) if name != "-" and Path(name).is_file() else None
    if chunks is not None:
        found.kind, found.format = "splat", "a splat PLY"
        found.facts["bytes"] = Path(name).stat().st_size
        inspect_splat(found, chunks, found.facts["bytes"] // 56, file_in_commands(name))
        return
    if name != "-" and names_video(name):
        found.kind, found.format = "film", "a film"
        found.facts["bytes"] = Path(name).stat().st_size
        _film(found, video_facts(name))
        return
    blob = io.as_blob(name)
    if _MANIFEST.fullmatch(Path(name).name):
        _manifest(found, blob.data)
        return
    form = blob.format
    if form is None:
        raise refusal(blob, "splat")
    found.kind, found.format = form.noun, form.title
    found.facts["bytes"] = len(blob.data)
    look = _KINDS.get(form.noun)
    if look is None or (form.remedy and look is not _gif):
        raise refusal(blob, "splat")
    look(found, blob)


def _splat(found: Inspection, blob: io.Blob) -> None:
    file = file_in_commands(blob.name) if blob.path is not None else "-"
    if blob.format is not None and blob.format.name != "SPZ":  # of which a note says how it was read
        with suppress(GatlasError):  # another axis points up, which a note says
            found.facts["axes of the file"] = io.stored_frame(blob)
    if (meta := io.sog_atlas_meta(blob)) is not None:
        found.facts["its pixels"] = f"the cells of an atlas, {meta.get('size')} a side"
    inspect_splat(found, [blob], len(blob.data) // 8, file)
    found.facts["bytes per Gaussian"] = round(len(blob.data) / max(found.facts["Gaussians"], 1), 2)


def _mesh(found: Inspection, blob: io.Blob) -> None:
    mesh = io.load_mesh(blob)
    found.facts |= {"triangles": len(mesh.faces), "vertices": len(mesh.vertices), "materials": len(mesh.materials)}
    found.facts["textures"] = [f"{each.pixels.shape[1]}x{each.pixels.shape[0]}" for each in mesh.textures] or "none"
    used = mesh.vertices[np.unique(mesh.faces)]
    found.facts["bounds"] = {"from": used.min(axis=0).tolist(), "to": used.max(axis=0).tolist()}
    corners = mesh.vertices[mesh.faces].astype(np.float64)
    areas = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    if (empty := int(np.count_nonzero(areas == 0))) > len(areas) // 10:
        found.find(f"{empty:,} of its {len(areas):,} triangles have no area", "they are never seen; export it again")


def _atlas(found: Inspection, blob: io.Blob) -> None:
    from gatlas.atlas.survey import FAULTS, summarize_atlas

    atlas = io.load_atlas(blob)
    size = atlas.offset.shape[0]
    cells, empty = size * size, int(np.count_nonzero(atlas.opacity == 0))
    found.facts |= {"size": [size, size], "Gaussians": cells - empty, "padding": round(empty / cells, 4)}
    for key in ("projection", "sphere", "count", "dropped", "split"):
        if key in atlas.meta:
            found.facts[key] = atlas.meta[key]
    origin = atlas.meta.get("origin")
    if isinstance(origin, dict):
        found.facts["name"] = str(origin.get("name", ""))
    if isinstance(transport := atlas.meta.get("transport"), dict) and "gap" in transport:
        found.facts["transport gap"] = transport["gap"]
    for fault, count in summarize_atlas(atlas, blob.name).faults.items():
        found.find(f"{FAULTS[fault]}: {count:,} cells", "encode it again with gatlas atlas-encode")
    if empty > cells // 2:
        found.find(f"{empty / cells:.0%} of its cells are padding", "a smaller --size of atlas-encode holds it")


def _stats(found: Inspection, blob: io.Blob) -> None:
    from gatlas.atlas.survey import constant_channels

    stats = io.load_stats(blob)
    found.facts |= {"atlases": int(stats.count), "size": list(stats.mean.shape[:2])}
    for fault in constant_channels(stats):
        found.find(fault, "look at the set: gatlas normalize-stats --report")


def _image(found: Inspection, blob: io.Blob) -> None:
    from gatlas.io.images import read_header

    image, header = io.load_image(blob), read_header(blob)
    found.facts |= {"size": list(header.turned_size), "channels": image.shape[2]}
    if header.orientation != 1:
        found.facts["turned by its EXIF tag"] = header.orientation


def _points(found: Inspection, blob: io.Blob) -> None:
    """Any PLY with places that is no splat and no mesh."""
    from gatlas.io.ply_facts import ply_facts

    elements = ply_facts(blob)
    for element in elements:
        noun = "points" if element.name == "vertex" else element.name
        found.facts[noun] = element.rows
        for each in element.properties[:_PROPERTIES]:
            name = each.name if element.name == "vertex" else f"{element.name}.{each.name}"
            span = "" if each.range is None else f", {each.range[0]:.6g} to {each.range[1]:.6g}"
            found.facts[name] = f"{each.type}{span}"
        if len(element.properties) > _PROPERTIES:
            found.facts[f"more properties of {noun}"] = len(element.properties) - _PROPERTIES


def _gif(found: Inspection, blob: io.Blob) -> None:
    if not blob.data.startswith(b"GIF8"):
        raise refusal(blob, "splat")
    _film(found, gif_facts(blob))


def _film(found: Inspection, facts: FilmFacts) -> None:
    found.facts |= {"size": [facts.width, facts.height], "codec": facts.codec}
    for name, value in (("frames", facts.frames), ("seconds", facts.seconds), ("frames per second", facts.fps)):
        if value is not None:
            found.facts[name] = round(value, 3)


def _cameras(found: Inspection, blob: io.Blob) -> None:
    _camera_facts(found, blob.name)


def _camera_facts(found: Inspection, source: str) -> None:
    cameras = io.load_cameras(source)
    found.facts["cameras"] = len(cameras)
    sizes = sorted(set(cameras.sizes))
    found.facts["sizes"] = [f"{width}x{height}" for width, height in sizes[:_LISTED]]
    places = np.linalg.inv(cameras.viewmats)[:, :3, 3]
    found.facts["places"] = {"from": places.min(axis=0).tolist(), "to": places.max(axis=0).tolist()}


def _folder(found: Inspection, path: Path) -> None:
    if (path / "checkpoints").is_dir() or (path / "log.jsonl").is_file():
        found.kind, found.format = "run", "a run of gatlas train"
        _description(found, path)
    elif (path / "gatlas.json").is_file():
        found.kind, found.format = "model", "a model folder"
        _description(found, path)
    elif manifests := sorted(each for each in path.iterdir() if _MANIFEST.fullmatch(each.name)):
        _manifest(found, b"".join(io.read(each).data for each in manifests))
        found.format = "a folder of results with manifests"
    elif (path / "transforms.json").is_file():
        found.kind, found.format = "views", "a folder of views"
        _camera_facts(found, str(path))
        _find_missing(found, path)
    else:
        raise GatlasError("a folder without transforms.json, gatlas.json or a manifest: name the files in it")


def _description(found: Inspection, path: Path) -> None:
    described = read_json_object(io.read(path / "gatlas.json"))
    for key in ("system", "format", "version", "gatlas"):
        if isinstance(described.get(key), (str, int)):
            found.facts[key] = described[key]
    if isinstance(config := described.get("config"), dict):
        found.facts["config"] = {key: value for key, value in config.items() if isinstance(value, (str, int, float))}
    log = path / "log.jsonl"
    if log.is_file():
        steps = [line.get("step") for line in _json_lines(io.read(log).data)]
        found.facts["steps logged"] = max((step for step in steps if isinstance(step, int)), default=0)
    weights = list(path.rglob("*.safetensors"))
    found.facts["weights"] = {"files": len(weights), "bytes": sum(each.stat().st_size for each in weights)}
    if not weights:
        found.find("it has no weights (*.safetensors)", "copy the folder again, or resume the training")


def _find_missing(found: Inspection, path: Path) -> None:
    frames = read_json_object(io.read(path / "transforms.json")).get("frames")
    names = [frame.get("file_path") for frame in frames if isinstance(frame, dict)] if isinstance(frames, list) else []
    here = {each.stem for each in path.rglob("*") if each.suffix.lower() in (".png", ".jpg", ".jpeg", ".webp")}
    missing = [str(name) for name in names if Path(str(name).replace("\\", "/")).stem not in here]
    if missing:
        more = " …" if len(missing) > _LISTED else ""
        first = ", ".join(missing[:_LISTED])
        found.find(f"{len(missing):,} of {len(names):,} pictures are missing: {first}{more}", "put them in the folder")


def _json_lines(data: bytes) -> list[dict[str, Any]]:
    """The objects of a file of lines; a line that was cut short is left out."""
    lines = []
    for line in data.splitlines():
        try:
            value = parse_json(line, finite=False)
        except JsonError:
            continue
        lines += [value] if isinstance(value, dict) else []
    return lines


def _manifest(found: Inspection, data: bytes) -> None:
    """The newest line of each object counts."""
    found.kind, found.format = "manifest", "a manifest of a batch"
    newest = {str(line.get("key", line.get("input"))): line for line in _json_lines(data) if "status" in line}
    states = [str(line["status"]) for line in newest.values()]
    found.facts["objects"] = len(newest)
    found.facts["status"] = {state: states.count(state) for state in sorted(set(states))}
    failed = {key: line for key, line in newest.items() if line["status"] == "failed"}
    if failed:
        first = "; ".join(f"{key}: {str(line.get('error', ''))[:100]}" for key, line in list(failed.items())[:_LISTED])
        found.find(f"{len(failed):,} objects failed ({first})", "--retry-failed tries them again")


_KINDS = {
    "splat": _splat,
    "mesh": _mesh,
    "atlas": _atlas,
    "stats": _stats,
    "points": _points,
    "image": _image,
    "film": _gif,
    "cameras": _cameras,
}
