"""A glTF 2.0 file as checked JSON and buffers: whatever is asked of it is there and of the right type, or an error.

Specification: Khronos Group, glTF 2.0.1, sections 3 and 4.
"""

from __future__ import annotations

import base64
import binascii
import math
import struct
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, unquote_to_bytes

from gatlas.errors import GatlasError
from gatlas.io.json_reader import JsonError, parse_json
from gatlas.io.meshes.neighbors import Neighbors, shown
from gatlas.io.visible import visible

if TYPE_CHECKING:
    from gatlas.io.streams import Blob

    Json = dict[str, Any]

_JSON_CHUNK, _BIN_CHUNK = 0x4E4F534A, 0x004E4942
_MAX_PADDING = 3  # bytes after a chunk
_REQUIRED = object()
MESHOPT = ("EXT_meshopt_compression", "KHR_meshopt_compression")


class Document:
    """The JSON of a glTF file and the bytes that it refers to."""

    def __init__(self, blob: Blob) -> None:
        self.blob = blob
        self.neighbors = Neighbors(blob)
        self.taken: dict[str, None] = {}  # what is shown though the file does not say it as glTF does, in order
        self.left_out: dict[str, None] = {}  # what the file holds and no picture shows, in order
        text, self._binary = _split_glb(blob) if blob.data.startswith(b"glTF") else (blob.data, None)
        try:
            root = parse_json(text)
        except JsonError as error:
            raise self.error(f"its JSON is damaged ({error})") from None
        if not isinstance(root, dict):
            raise self.error("not glTF: its JSON is not an object")
        self.root: Json = root
        self._buffers: dict[int, bytes] = {}
        self._decompressed: dict[int, bytes] = {}
        version = self.get(self.get(root, "asset", dict, {}), "version", str, "2.0")
        if not version.startswith("2."):
            raise self.error(f"is glTF {version}: gatlas reads glTF 2")

    def error(self, what: str) -> GatlasError:
        """An error in this file."""
        return GatlasError(f"{self.blob.name}: {visible(what)}")

    def get(self, owner: Json, key: str, kind: type | tuple[type, ...], default: Any = _REQUIRED) -> Any:
        """owner[key], which must be of `kind`; `default` where it is left out."""
        value = owner.get(key)
        if value is None:
            if default is _REQUIRED:
                raise self.error(f"damaged glTF: '{key}' is missing")
            return default
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise self.error(f"damaged glTF: '{key}' has the wrong type")
        return value

    def number(self, owner: Json, key: str, default: float) -> float:
        """A finite number."""
        return self._finite(key, self.get(owner, key, (int, float), default))

    def numbers(self, owner: Json, key: str, count: int, default: list[float]) -> list[float]:
        """A list of `count` finite numbers."""
        values = self.get(owner, key, list, default)
        if len(values) != count:
            raise self.error(f"damaged glTF: '{key}' must have {count} numbers")
        return [self._finite(key, value) for value in values]

    def _finite(self, key: str, value: Any) -> float:
        # An integer may be too large for a float; what JSON's NaN and Infinity become is refused as well.
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not -1e300 < value < 1e300:
            raise self.error(f"damaged glTF: '{key}' is not a finite number")
        return float(value) if math.isfinite(value) else 0.0

    def index(self, owner: Json, key: str, default: Any = _REQUIRED) -> int:
        """A number that counts or points: an integer >= 0."""
        value = self.get(owner, key, (int, float), default)
        if value is default:
            return value
        if value != value or not 0 <= value < 2**53 or value != int(value):
            raise self.error(f"damaged glTF: '{key}' must be a whole number >= 0")
        return int(value)

    def indices(self, owner: Json, key: str) -> list[int]:
        """A list of integers >= 0; empty where it is left out."""
        values = self.get(owner, key, list, [])
        return [self.index({key: value}, key) for value in values]

    def item(self, collection: str, index: int) -> Json:
        """The object at `index` of a list at the root, such as "meshes"."""
        items = self.get(self.root, collection, list, [])
        if not index < len(items) or not isinstance(items[index], dict):
            raise self.error(f"damaged glTF: there is no '{collection}' number {index}")
        return items[index]

    def objects(self, owner: Json, key: str) -> list[Json]:
        """A list of objects; empty where it is left out."""
        items = self.get(owner, key, list, [])
        if not all(isinstance(item, dict) for item in items):
            raise self.error(f"damaged glTF: '{key}' must be a list of objects")
        return items

    def extension(self, owner: Json, name: str) -> Json | None:
        """An extension of an object, or None."""
        return self.get(self.get(owner, "extensions", dict, {}), name, dict, None)

    def view(self, index: int) -> bytes:
        """The bytes of a buffer view, decompressed."""
        view = self.item("bufferViews", index)
        for name in MESHOPT:
            compressed = self.extension(view, name)
            if compressed is not None:
                if index not in self._decompressed:
                    self._decompressed[index] = self._decompress(compressed, self.index(view, "byteLength"))
                return self._decompressed[index]
        return self._slice(view)

    def _decompress(self, compressed: Json, size: int) -> bytes:
        from gatlas.io.meshes.meshopt import decompress  # numba takes a moment to load

        count, stride = self.index(compressed, "count"), self.index(compressed, "byteStride")
        if size != count * stride:
            raise self.error(f"damaged glTF: {count} elements of {stride} bytes are no buffer view of {size} bytes")
        mode = self.get(compressed, "mode", str)
        filter_name = self.get(compressed, "filter", str, "NONE")
        try:
            return decompress(self._slice(compressed), mode=mode, count=count, stride=stride, filter_name=filter_name)
        except ValueError as error:
            raise self.error(f"damaged glTF: {error}") from None

    def _slice(self, place: Json) -> bytes:
        """The bytes at a buffer, byteOffset and byteLength."""
        start, size = self.index(place, "byteOffset", 0), self.index(place, "byteLength")
        content = self.buffer(self.index(place, "buffer"))
        if start + size > len(content):
            raise self.error(f"is cut short: its buffers hold {len(content):,} bytes, {start + size:,} are referred to")
        return content[start : start + size]

    def buffer(self, index: int) -> bytes:
        """The bytes of a buffer: the binary chunk of a GLB, a data: URI, or a file next to this one."""
        if index not in self._buffers:
            buffer = self.item("buffers", index)
            uri = self.get(buffer, "uri", str, None)
            if uri is not None:
                self._buffers[index] = self._fetch_buffer(uri)
            elif index == 0 and self._binary is not None:
                self._buffers[index] = self._binary
            else:
                raise self.error("damaged glTF: a buffer has no content")
        return self._buffers[index]

    def _fetch_buffer(self, uri: str) -> bytes:
        content = self.fetch(uri)
        if content is None:
            why = self.neighbors.why_missing(uri)
            raise self.error(f"its buffer {short_name(uri)} is missing{f': {why}' if why else ''}")
        return content

    def fetch(self, uri: str) -> bytes | None:
        """Return the content of a URI, a data: URI or a file next to this one; None if the file is missing."""
        if uri[:5].lower() == "data:":
            header, _, content = uri.partition(",")
            try:
                return base64.b64decode(content) if header.endswith(";base64") else unquote_to_bytes(content)
            except (binascii.Error, ValueError):
                raise self.error("damaged glTF: a data: URI is not base64") from None
        return self.neighbors.read(uri, uri=True)  # names with a bare % or # occur in files from careless exporters


def short_name(uri: str) -> str:
    """A URI for a message."""
    return "in a data: URI" if uri[:5].lower() == "data:" else shown(unquote(uri))


def _split_glb(blob: Blob) -> tuple[bytes, bytes | None]:
    """The JSON chunk, without padding, and the binary chunk of a GLB: glTF 2.0.1, section 4.

    Chunks that are not padded to four bytes, or padded with NUL, are read; a file is cut short where a chunk is.
    """
    content = blob.data
    if len(content) < 20:
        raise GatlasError(f"{blob.name}: is cut short: {len(content)} bytes are no GLB file")
    version, total = struct.unpack_from("<II", content, 4)
    if version != 2:
        raise GatlasError(f"{blob.name}: is a GLB of version {version}: gatlas reads version 2")
    chunks: dict[int, bytes] = {}
    position = 12
    while position + 8 <= len(content):
        size, kind = struct.unpack_from("<II", content, position)
        if position >= total and kind not in (_JSON_CHUNK, _BIN_CHUNK):
            break  # something else follows the file
        start, stop = position + 8, position + 8 + size
        if stop > len(content) + _MAX_PADDING:  # padding that is counted and not there
            raise GatlasError(f"{blob.name}: is cut short or damaged: a chunk of {size:,} bytes is not all there")
        chunks.setdefault(kind, content[start:stop])
        position = _next_chunk(content, start, stop)
    if (
        total > len(content) and _BIN_CHUNK not in chunks
    ):  # a length that is wrong is no harm where all chunks are there
        raise GatlasError(f"{blob.name}: is cut short: {len(content):,} of {total:,} bytes")
    if _JSON_CHUNK not in chunks:
        raise GatlasError(f"{blob.name}: damaged GLB: it has no JSON")
    return chunks[_JSON_CHUNK].rstrip(b"\0 \t\r\n"), chunks.get(_BIN_CHUNK)


def _next_chunk(content: bytes, start: int, stop: int) -> int:
    """The position of the chunk after [start, stop): behind its padding, unless that is missing or counts otherwise."""
    padded = stop + (start - stop) % 4
    for position in (padded, stop + -stop % 4, stop):
        kind = int.from_bytes(content[position + 4 : position + 8], "little")
        if kind in (_JSON_CHUNK, _BIN_CHUNK):
            return position
    return padded
