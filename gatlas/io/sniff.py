"""What a stream of bytes holds, told by its content: a pipe carries no file name to go by."""

from __future__ import annotations

import io
import json
import re
import zipfile
import zlib
from pathlib import Path

_SPLAT = {b"opacity", b"scale_0", b"rot_0"}  # vertex properties that no mesh and no scan has
_OBJ_STARTS = (b"#", b"mtllib", b"o ", b"g ", b"v ", b"vn ", b"vt ", b"usemtl ", b"s ")
_OBJ_VERTEX = re.compile(rb"^v[ \t]+[-+.0-9eE]+[ \t]+[-+.0-9eE]+[ \t]+[-+.0-9eE]+", re.MULTILINE)


def kind_of(data: bytes, path: Path | None = None) -> str:
    """The kind of a whole file's bytes.

    "splat", "compressed-splat", "mesh", "points", "atlas", "stats", "npz", "png", "jpeg", "webp", "transforms",
    "json" or "unknown". The name decides only for OBJ and .splat, formats without a signature.
    """
    if re.match(rb"ply\r?\n", data):
        return _kind_of_ply(data)
    if data.startswith(b"PK\x03\x04"):
        return _kind_of_zip(data)
    if data.startswith(b"glTF"):
        return "mesh"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if data.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "webp"
    if _is_spz(data):
        return "compressed-splat"
    if data[:64].removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"["):
        return _kind_of_json(data)
    if path is not None and path.suffix.lower() == ".splat":
        return "compressed-splat"
    if _is_obj(data, path):
        return "mesh"
    return "unknown"


def _kind_of_ply(data: bytes) -> str:
    """By the header alone; a header that is not whole is the PLY reader's to complain about."""
    header = re.match(rb"(.*?)^end_header", data[: 1 << 20], re.DOTALL | re.MULTILINE)
    lines = [line.split() for line in (header[1] if header else data[: 1 << 20]).splitlines()]
    element, vertex, faces = b"", set(), False
    for words in lines:
        if words[:1] == [b"element"] and len(words) == 3:
            element = words[1]
            faces |= element in (b"face", b"tristrips") and words[2] != b"0"
        elif words[:1] == [b"property"] and element == b"vertex":
            vertex.add(words[-1])
    if b"packed_position" in vertex:
        return "compressed-splat"
    if vertex >= _SPLAT:
        return "splat"
    if faces:
        return "mesh"
    return "points" if vertex >= {b"x", b"y", b"z"} else "unknown"


def _kind_of_zip(data: bytes) -> str:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = set(archive.namelist())
    except (zipfile.BadZipFile, NotImplementedError, ValueError):
        return "npz"  # cut short or damaged: the NPZ reader says so
    if {"offset.npy", "rotation.npy"} <= names:
        return "atlas"
    if {"mean.npy", "m2.npy"} <= names:
        return "stats"
    if "meta.json" in names and any(name.endswith(".webp") for name in names):
        return "compressed-splat"  # SOG
    return "npz" if any(name.endswith(".npy") for name in names) else "unknown"


def _is_spz(data: bytes) -> bool:
    if data.startswith(b"NGSP"):
        return True
    if not data.startswith(b"\x1f\x8b"):
        return False
    try:
        return zlib.decompressobj(wbits=31).decompress(data[:4096], 4) == b"NGSP"
    except zlib.error:
        return False


def _kind_of_json(data: bytes) -> str:
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        return "json"  # damaged: the reader that wants it says where
    if isinstance(content, dict) and "asset" in content:
        return "mesh"  # glTF
    if isinstance(content, dict) and "frames" in content:
        return "transforms"
    return "json"


def _is_obj(data: bytes, path: Path | None) -> bool:
    named = path is not None and path.suffix.lower() == ".obj"
    return (named or data.lstrip().startswith(_OBJ_STARTS)) and _OBJ_VERTEX.search(data) is not None
