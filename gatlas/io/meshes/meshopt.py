"""Buffer views compressed by EXT_meshopt_compression and KHR_meshopt_compression, to plain bytes.

Written from the specification: Khronos Group, KHR_meshopt_compression, appendices A (bitstream) and B (filters). The
EXT one is its version 0, without the filter COLOR.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gatlas.jit import njit

if TYPE_CHECKING:
    from jaxtyping import Int32, Shaped, UInt8, UInt32

MODES = ("ATTRIBUTES", "TRIANGLES", "INDICES")
FILTERS = {"NONE": (), "OCTAHEDRAL": (4, 8), "QUATERNION": (8,), "EXPONENTIAL": range(4, 257, 4), "COLOR": (4, 8)}
_MOST = 1 << 31  # bytes of one view; more cannot be meant

_ATTRIBUTES_HEAD, _TRIANGLES_HEAD, _INDICES_HEAD = 0xA0, 0xE1, 0xD1
# Bits of a delta in each of a group's four modes: version 0, and version 1 with the control modes 0 and 1.
_BITS = np.array([[0, 2, 4, 8], [0, 1, 2, 4], [1, 2, 4, 8]], dtype=np.int64)
_GROUP = 16  # elements
_ZEROS, _LITERAL = 2, 3  # control modes
_SHORT, _DAMAGED = "its meshopt stream is cut short or too long", "its meshopt stream is damaged"


def decompress(content: bytes, *, mode: str, count: int, stride: int, filter_name: str = "NONE") -> bytes:
    """The count * stride bytes that a compressed view stands for. What is damaged is a ValueError that says how."""
    data = np.frombuffer(content, dtype=np.uint8)
    if mode not in MODES or filter_name not in FILTERS:
        raise ValueError(f"there is no meshopt mode {mode!r} with the filter {filter_name!r}")
    if mode != "ATTRIBUTES":
        if stride not in (2, 4) or filter_name != "NONE" or (mode == "TRIANGLES" and count % 3):
            raise ValueError(f"meshopt {mode} cannot have {count} elements of {stride} bytes, filter {filter_name}")
        indices = _triangles(data, count) if mode == "TRIANGLES" else _indices(data, count)
        return indices.astype("<u2" if stride == 2 else "<u4").tobytes()
    if not 4 <= stride <= 256 or stride % 4 or (filter_name != "NONE" and stride not in FILTERS[filter_name]):
        raise ValueError(f"meshopt elements cannot be {stride} bytes with the filter {filter_name}")
    elements = _attributes(data, count, stride)
    return _unfilter(elements, filter_name).tobytes()


def _attributes(data: UInt8[np.ndarray, " b"], count: int, stride: int) -> UInt8[np.ndarray, "n stride"]:
    """Appendix A, mode 0."""
    if len(data) == 0 or data[0] & 0xFE != _ATTRIBUTES_HEAD:
        raise ValueError("its meshopt attributes have the wrong header")
    version = int(data[0] & 1)
    tail = max(stride + stride // 4, 24) if version else max(stride, 32)
    blocks = -(-count // _block_elements(stride))
    # Every block has control or header bytes: a count that they cannot stand for would only fill the memory.
    if len(data) < 1 + blocks * stride // 4 + tail or count * stride > _MOST:
        raise ValueError(_SHORT)
    deltas = np.zeros((count, stride), dtype=np.uint8)
    if not _unpack_deltas(data, version, len(data) - tail, _block_elements(stride), deltas):
        raise ValueError(_SHORT)
    ends = data[len(data) - stride - (stride // 4 if version else 0) :]
    baseline = ends[:stride]
    channels = ends[stride:] if version else np.zeros(stride // 4, dtype=np.uint8)
    for channel, code in enumerate(channels):
        columns = slice(4 * channel, 4 * channel + 4)
        deltas[:, columns] = _undo_deltas(np.ascontiguousarray(deltas[:, columns]), baseline[columns], int(code))
    return deltas


def _block_elements(stride: int) -> int:
    return min((8192 // stride) & ~15, 256)


def _undo_deltas(
    deltas: UInt8[np.ndarray, "n 4"], baseline: UInt8[np.ndarray, " 4"], code: int
) -> UInt8[np.ndarray, "n 4"]:
    """Values of one channel, by its mode: sums of zigzag bytes or 16-bit words, or XORs of rotated 32-bit words."""
    mode, rotation = code & 15, code >> 4
    if mode > 2 or (mode < 2 and rotation):
        raise ValueError(f"its meshopt stream has the unknown channel mode {code}")
    dtype = np.dtype(("<u1", "<u2", "<u4")[mode])
    words, first = deltas.view(dtype), baseline.copy().view(dtype)
    if mode < 2:
        steps = (words >> 1) ^ (-(words & 1).astype(np.int64)).astype(dtype)
        return (np.cumsum(steps, axis=0, dtype=dtype) + first).astype(dtype).view(np.uint8)
    if rotation:  # the encoder turned the words to the left
        words = (words >> dtype.type(rotation)) | (words << dtype.type(32 - rotation))
    return (np.bitwise_xor.accumulate(words, axis=0) ^ first).astype(dtype).view(np.uint8)


@njit(cache=True, nogil=True)
def _unpack_deltas(data, version, end, most, deltas):  # type: ignore[no-untyped-def]
    """Fill deltas [n stride] from the blocks in data[1:end]; False where they do not end there."""
    count, stride = deltas.shape
    at = 1
    for start in range(0, count, most):
        size = min(most, count - start)
        groups = (size + _GROUP - 1) // _GROUP
        controls = at
        if version == 1:
            at += stride // 4
        if at > end:
            return False
        for byte in range(stride):
            table = 0
            if version == 1:
                control = (data[controls + byte // 4] >> (2 * (byte % 4))) & 3
                if control == _ZEROS:
                    continue
                if control == _LITERAL:
                    if at + size > end:
                        return False
                    deltas[start : start + size, byte] = data[at : at + size]
                    at += size
                    continue
                table = 1 + control
            heads = at
            at += (groups + 3) // 4
            if at > end:
                return False
            for group in range(groups):
                bits = _BITS[table, (data[heads + group // 4] >> (2 * (group % 4))) & 3]
                first = start + _GROUP * group
                at = _unpack_group(data, at, end, bits, deltas, first, min(_GROUP, start + size - first), byte)
                if at < 0:
                    return False
    return at == end


@njit(cache=True, nogil=True)
def _unpack_group(data, at, end, bits, deltas, first, size, byte):  # type: ignore[no-untyped-def]
    """Fill deltas[first : first + size, byte]; where the next group begins, or -1 where the data ends before."""
    if bits == 0:
        return at
    explicit = at + 2 * bits  # deltas that do not fit into the bits follow as whole bytes
    if explicit > end:
        return -1
    sentinel = (1 << bits) - 1
    for k in range(_GROUP):
        packed = data[at + k * bits // 8]
        if bits == 1:
            delta = (packed >> (k % 8)) & 1
        else:
            delta = (packed >> (8 - bits - (k * bits) % 8)) & sentinel
        if bits < 8 and delta == sentinel:
            if explicit >= end:
                return -1
            delta = data[explicit]
            explicit += 1
        if k < size:
            deltas[first + k, byte] = delta
    return explicit


def _triangles(data: UInt8[np.ndarray, " b"], count: int) -> UInt32[np.ndarray, " n"]:
    """Appendix A, mode 1."""
    if len(data) == 0 or data[0] != _TRIANGLES_HEAD:
        raise ValueError("its meshopt triangles have the wrong header")
    if len(data) < 1 + count // 3 + 16:
        raise ValueError(_SHORT)
    indices = np.zeros(count, dtype=np.uint32)
    if not _unpack_triangles(data, indices):
        raise ValueError(_DAMAGED)
    return indices


def _indices(data: UInt8[np.ndarray, " b"], count: int) -> UInt32[np.ndarray, " n"]:
    """Appendix A, mode 2."""
    if len(data) == 0 or data[0] != _INDICES_HEAD:
        raise ValueError("its meshopt indices have the wrong header")
    if len(data) < 1 + count + 4:
        raise ValueError(_SHORT)
    indices = np.zeros(count, dtype=np.uint32)
    if not _unpack_indices(data, indices):
        raise ValueError(_DAMAGED)
    return indices


@njit(cache=True, nogil=True)
def _varint(data, at, end):  # type: ignore[no-untyped-def]
    """A number of up to five bytes with seven bits each, and where it ends: -1 where the data ends before."""
    value = 0
    for k in range(5):
        if at >= end:
            return 0, -1
        byte = np.int64(data[at])
        at += 1
        value |= (byte & 127) << (7 * k)
        if byte < 128:
            return value & 0xFFFFFFFF, at
    return 0, -1


@njit(cache=True, nogil=True)
def _zigzag(value):  # type: ignore[no-untyped-def]
    return ~(value >> 1) if value & 1 else value >> 1


@njit(cache=True, nogil=True)
def _unpack_indices(data, indices):  # type: ignore[no-untyped-def]
    """False where the deltas do not end where the tail begins."""
    end = len(data) - 4
    last = np.zeros(2, dtype=np.int64)
    at = 1
    for i in range(len(indices)):
        value, at = _varint(data, at, end)
        if at < 0:
            return False
        baseline = value & 1
        last[baseline] = (last[baseline] + _zigzag(value >> 1)) & 0xFFFFFFFF
        indices[i] = last[baseline]
    return at == end


@njit(cache=True, nogil=True)
def _unpack_triangles(data, indices):  # type: ignore[no-untyped-def]
    """False where the stream refers to what has not been, or does not end where the tail begins."""
    faces = len(indices) // 3
    end = len(data) - 16
    at = 1 + faces
    edges = np.full((16, 2), -1, dtype=np.int64)  # rings: the most recent entry is at the count minus one
    vertices = np.full(16, -1, dtype=np.int64)
    edge_count, vertex_count = 0, 0
    following, last = 0, 0
    corners = np.zeros(3, dtype=np.int64)
    fresh = np.zeros(3, dtype=np.bool_)  # which corners are vertices that the ring does not have
    for face in range(faces):
        code = np.int64(data[1 + face])
        high, low = code >> 4, code & 15

        # An edge of the ring and one corner
        if high < 15:
            edge = edges[(edge_count - 1 - high) & 15]
            corners[0], corners[1] = edge[0], edge[1]
            fresh[0], fresh[1], fresh[2] = False, False, low == 0 or low >= 13
            if low == 0:
                corners[2] = following
                following = (following + 1) & 0xFFFFFFFF
            elif low < 13:
                corners[2] = vertices[(vertex_count - 1 - low) & 15]
            else:
                step = -1 if low == 13 else 1
                if low == 15:
                    value, at = _varint(data, at, end)
                    if at < 0:
                        return False
                    step = _zigzag(value)
                last = (last + step) & 0xFFFFFFFF
                corners[2] = last

        # Three corners
        else:
            fields = np.int64(0)  # per corner a nibble: 0 the following vertex, 15 explicit, else one of the ring
            if low < 14:
                fields = np.int64(data[end + low])
                if fields >> 4 == 15 or fields & 15 == 15:
                    return False
            else:
                if at >= end:
                    return False
                fields = np.int64(data[at])
                at += 1
                if fields == 0:
                    following = 0
                if low == 15:
                    fields |= 15 << 8
            # The ring must not change before all three corners are read.
            for k in range(3):
                field = (fields >> (4 * (2 - k))) & 15
                fresh[k] = field == 0 or field == 15
                if field == 0:
                    corners[k] = following
                    following = (following + 1) & 0xFFFFFFFF
                elif field < 15:
                    corners[k] = vertices[(vertex_count - field) & 15]
                else:
                    value, at = _varint(data, at, end)
                    if at < 0:
                        return False
                    last = (last + _zigzag(value)) & 0xFFFFFFFF
                    corners[k] = last

        # The triangle, and the rings that the next ones refer to
        a, b, c = corners[0], corners[1], corners[2]
        if a < 0 or b < 0 or c < 0:
            return False
        indices[3 * face], indices[3 * face + 1], indices[3 * face + 2] = a, b, c
        if high == 15:
            edges[edge_count & 15, 0], edges[edge_count & 15, 1] = b, a
            edge_count += 1
        edges[edge_count & 15, 0], edges[edge_count & 15, 1] = c, b
        edges[(edge_count + 1) & 15, 0], edges[(edge_count + 1) & 15, 1] = a, c
        edge_count += 2
        for k in range(3):
            if fresh[k]:
                vertices[vertex_count & 15] = corners[k]
                vertex_count += 1
    return at == end


def _unfilter(elements: UInt8[np.ndarray, "n stride"], name: str) -> Shaped[np.ndarray, "n k"]:
    """Appendix B."""
    if name == "NONE" or len(elements) == 0:
        return elements
    if name == "EXPONENTIAL":
        return _exponential(elements.view("<i4"))
    words = elements.view("<i1" if elements.shape[1] == 4 else "<i2")
    with np.errstate(all="ignore"):  # damaged vectors of no length: what comes of them is unspecified
        return {"OCTAHEDRAL": _octahedral, "QUATERNION": _quaternion, "COLOR": _color}[name](words)


def _exponential(words: Int32[np.ndarray, "n k"]) -> Shaped[np.ndarray, "n k"]:
    """2^e m of 8 bits of exponent and 24 bits of mantissa, both signed."""
    with np.errstate(over="ignore"):
        return np.ldexp(((words << 8) >> 8).astype(np.float64), words >> 24).astype("<f4")


def _octahedral(words: Shaped[np.ndarray, "n 4"]) -> Shaped[np.ndarray, "n 4"]:
    values = words.astype(np.float64)
    x, y = values[:, 0] / values[:, 2], values[:, 1] / values[:, 2]
    z = 1 - np.abs(x) - np.abs(y)
    below = np.minimum(z, 0)
    vectors = np.stack([x - np.copysign(below, x), y - np.copysign(below, y), z], axis=1)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.concatenate([_rounded(vectors, words.dtype), words[:, 3:]], axis=1)


def _quaternion(words: Shaped[np.ndarray, "n 4"]) -> Shaped[np.ndarray, "n 4"]:
    one = (words[:, 3:] | 3).astype(np.float64)
    small = words[:, :3] / one / np.sqrt(2)
    largest = np.sqrt(np.maximum(0, 1 - (small**2).sum(axis=1, keepdims=True)))
    # The index of the largest gives the rotation of the components in their cycle.
    order = (np.arange(4) - (words[:, 3:] & 3)) % 4
    return _rounded(np.take_along_axis(np.concatenate([largest, small], axis=1), order, axis=1), words.dtype)


def _color(words: Shaped[np.ndarray, "n 4"]) -> Shaped[np.ndarray, "n 4"]:
    unsigned = np.dtype("<u1" if words.dtype.itemsize == 1 else "<u2")
    luma, alpha = words[:, 0].view(unsigned).astype(np.int64), words[:, 3].view(unsigned).astype(np.int64)
    orange, green = words[:, 1].astype(np.int64), words[:, 2].astype(np.int64)
    # The highest bit of alpha gives the number of bits of all.
    top = (1 << np.frexp(alpha.astype(np.float64))[1].astype(np.int64)) - 1
    alpha &= top >> 1
    alpha = (alpha << 1) | (alpha & 1)
    colors = np.stack([luma + orange - green, luma + green, luma - orange - green, alpha], axis=1)
    return _rounded(colors / np.maximum(top, 1)[:, None], unsigned)


def _rounded(values: Shaped[np.ndarray, "n k"], dtype: np.dtype) -> Shaped[np.ndarray, "n k"]:
    """Normalized integers of values in [-1, 1] or [0, 1]; halves go away from zero."""
    most = np.iinfo(dtype).max
    scaled = np.nan_to_num(values) * most
    return np.clip(np.trunc(scaled + np.copysign(0.5, scaled)), np.iinfo(dtype).min, most).astype(dtype)
