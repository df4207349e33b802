"""Tests of a file's first bytes: containers such as PLY and NPZ, and the formats inside them.

Each test takes a blob and returns a bool. `gatlas.io.registry` combines them into the table of formats. Libraries are
imported when a test runs, as the table is imported for its suffixes alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gatlas.io.streams import Blob

    Test = Callable[[Blob], bool]

SPLAT = "KHR_gaussian_splatting"  # glTF's extension for splats, and the beginning of those for compressed ones
_HEADER = 1 << 20  # bytes of a file that are searched for the end of a PLY header
_KSPLAT_HEADER, _KSPLAT_SECTION = 4096, 1024  # bytes of the header, and of that of each section
_OBJ_STARTS = (b"#", b"mtllib", b"o ", b"g ", b"v ", b"vn ", b"vt ", b"usemtl ", b"s ")
_OBJ_VERTEX = re.compile(rb"^v[ \t]+[-+.0-9eE]+[ \t]+[-+.0-9eE]+[ \t]+[-+.0-9eE]+", re.MULTILINE)


def begins(*starts: bytes) -> Test:
    """Return the test for a file that begins with one of these bytes."""
    return lambda blob: blob.data.startswith(starts)


def is_webp(blob: Blob) -> bool:
    """Return whether a file is a WebP picture."""
    return blob.data.startswith(b"RIFF") and blob.data[8:12] == b"WEBP"


def is_spz(blob: Blob) -> bool:
    """Return whether a file is an SPZ splat, plain or in a gzip."""
    if blob.data.startswith(b"NGSP"):
        return True
    if not blob.data.startswith(b"\x1f\x8b"):
        return False
    import zlib

    try:
        return zlib.decompressobj(wbits=31).decompress(blob.data[:4096], 4) == b"NGSP"
    except zlib.error:
        return False


def is_ply(blob: Blob) -> bool:
    """Return whether a file is a PLY, of whatever content."""
    return re.match(rb"ply\r?\n", blob.data) is not None


def ply_has(*properties: str) -> Test:
    """Return the test for a PLY whose vertices have these properties. A header that is cut short counts as it is."""
    wanted = {name.encode() for name in properties}
    return lambda blob: _ply_header(blob.data)[0] >= wanted


def ply_has_faces(blob: Blob) -> bool:
    """Return whether a PLY has faces."""
    return _ply_header(blob.data)[1]


def _ply_header(data: bytes) -> tuple[set[bytes], bool]:
    """Return the properties of the vertices, and whether there are faces."""
    header = re.match(rb"(.*?)^end_header", data[:_HEADER], re.DOTALL | re.MULTILINE)
    lines = [line.split() for line in (header[1] if header else data[:_HEADER]).splitlines()]
    element, vertex, faces = b"", set(), False
    for words in lines:
        if words[:1] == [b"element"] and len(words) == 3:
            element = words[1]
            faces |= element in (b"face", b"tristrips") and words[2] != b"0"
        elif words[:1] == [b"property"] and element == b"vertex":
            vertex.add(words[-1])
    return vertex, faces


def is_zip(blob: Blob) -> bool:
    """Return whether a file is a zip, as an NPZ is."""
    return blob.data.startswith(b"PK\x03\x04")


def zip_has(*names: str) -> Test:
    """Return the test for a zip with these members; "*.x" stands for any member with that suffix."""
    return lambda blob: all(_has_member(_zip_names(blob.data) or set(), name) for name in names)


def is_usdz(blob: Blob) -> bool:
    """Return whether a zip holds a USD scene and no arrays."""
    names = _zip_names(blob.data) or set()
    return any(_has_member(names, f"*.{kind}") for kind in ("usdc", "usda", "usd")) and not is_npz(blob)


def is_npz(blob: Blob) -> bool:
    """Return whether a zip holds arrays, or is damaged, which the NPZ reader reports."""
    names = _zip_names(blob.data)
    return names is None or _has_member(names, "*.npy")


def _has_member(names: set[str], wanted: str) -> bool:
    return wanted in names or (wanted.startswith("*") and any(name.endswith(wanted[1:]) for name in names))


def _zip_names(data: bytes) -> set[str] | None:
    from gatlas.io.array_reader import zip_names

    return zip_names(data)


def is_gltf_splat(blob: Blob) -> bool:
    """Return whether a GLB or glTF file holds Gaussians (KHR_gaussian_splatting) and no triangles."""
    data = blob.data
    if data.startswith(b"glTF"):
        data = data[20 : 20 + int.from_bytes(data[12:16], "little")].rstrip(b"\0 \t\r\n")
    if SPLAT.encode() not in data:
        return False
    meshes = _json_object(data).get("meshes")
    primitives = [
        primitive
        for mesh in (meshes if isinstance(meshes, list) else [])
        for primitive in _list(mesh, "primitives")
        if isinstance(primitive, dict)
    ]
    splats = [any(str(name).startswith(SPLAT) for name in _list(p, "extensions")) for p in primitives]
    return any(splats) and all(splat or p.get("mode") in range(4) for p, splat in zip(primitives, splats, strict=True))


def _list(owner: Any, key: str) -> list[Any]:
    """The list, or the keys of the object, at a key of JSON; empty where there is none."""
    value = owner.get(key) if isinstance(owner, dict) else None
    return list(value) if isinstance(value, (list, dict)) else []


def is_json(blob: Blob) -> bool:
    """Return whether a file begins like JSON."""
    return _first_character(blob.data) in (b"{", b"[")


def is_json_object(blob: Blob) -> bool:
    """Return whether a file begins like a JSON object."""
    return _first_character(blob.data) == b"{"


def json_has(*keys: str) -> Test:
    """Return the test for a JSON object with these keys; damaged JSON has none."""
    return lambda blob: _json_object(blob.data).keys() >= set(keys)


def is_sog(blob: Blob) -> bool:
    """Return whether a JSON object is the meta.json of a SOG splat, of version 1 or 2: its means are in pictures."""
    means = _json_object(blob.data).get("means")
    files = means.get("files") if isinstance(means, dict) else None
    return isinstance(files, list) and any(str(name).lower().endswith(".webp") for name in files)


def is_lcc(blob: Blob) -> bool:
    """Return whether a JSON object describes an LCC splat (XGRIDS), of format 1 or 2."""
    names = {name.lower().replace("_", "") for name in _json_object(blob.data)}
    return "totalsplats" in names and bool(names & {"totallevel", "totallevels"})


def is_ksplat(blob: Blob) -> bool:
    """Return whether a file is a KSPLAT (GaussianSplats3D): without a magic number, its header agrees with itself."""
    if len(blob.data) < _KSPLAT_HEADER + _KSPLAT_SECTION or blob.data[0] != 0 or not 1 <= blob.data[1] < 32:
        return False
    most_sections, sections, most, count = (int.from_bytes(blob.data[at : at + 4], "little") for at in (4, 8, 12, 16))
    compression = int.from_bytes(blob.data[20:22], "little")
    if most_sections == 0 or sections > most_sections or count == 0 or 0 < most < count or compression > 2:
        return False  # some writers leave the second and third number 0
    smallest = count * (44, 24, 24)[compression]  # bytes of a Gaussian without harmonics
    return len(blob.data) >= _KSPLAT_HEADER + most_sections * _KSPLAT_SECTION + smallest


def _first_character(data: bytes) -> bytes:
    return data[:64].removeprefix(b"\xef\xbb\xbf").lstrip()[:1]


def _json_object(data: bytes) -> dict[str, Any]:
    from gatlas.io.json_reader import JsonError, parse_json

    try:
        content = parse_json(data)
    except JsonError:
        return {}
    return content if isinstance(content, dict) else {}


def is_obj_like(blob: Blob) -> bool:
    """Return whether a file is a text with a line "v", as every OBJ has."""
    text = b"\0" not in blob.data[:4096] and not is_ply(blob)
    return text and re.search(rb"^[ \t]*v[ \t]", blob.data, re.MULTILINE) is not None


def is_obj(blob: Blob) -> bool:
    """Return whether a text is an OBJ: it is named so or begins like one, and has a vertex."""
    named = blob.suffix == ".obj" or blob.data.lstrip().startswith(_OBJ_STARTS)
    return named and _OBJ_VERTEX.search(blob.data) is not None
