"""glTF accessors to arrays: strides, normalized integers and sparse values. glTF 2.0.1, section 3.6.2."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float, Int, Shaped

    from gatlas.io.meshes.gltf_document import Document, Json

_COMPONENTS = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_SHAPES = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}
_MOST = 100_000_000  # elements; more cannot be meant


def read_accessor(document: Document, index: int, widths: tuple[int, ...]) -> Float[np.ndarray, "n w"]:
    """An accessor as float64 [n w], normalized integers in [0, 1] or [-1, 1]; w must be one of `widths`."""
    accessor = document.item("accessors", index)
    return _as_float(accessor, _read(document, accessor, index, widths))


def fill_accessor(
    document: Document, index: int, widths: tuple[int, ...], stored: Shaped[np.ndarray, "n w"]
) -> Float[np.ndarray, "n w"]:
    """As `read_accessor`, of an accessor whose values another place has stored, such as a Draco stream."""
    accessor = document.item("accessors", index)
    width = _SHAPES.get(document.get(accessor, "type", str), 0)
    if width not in widths or stored.ndim != 2 or stored.shape[1] != width:
        raise document.error(f"damaged glTF: accessor {index} has the wrong type for its use")
    integers = _dtype(document, accessor, index).kind in "iu"
    return _as_float(accessor, stored.astype(_dtype(document, accessor, index)) if integers else stored)


def _as_float(accessor: Json, values: Shaped[np.ndarray, "n w"]) -> Float[np.ndarray, "n w"]:
    if accessor.get("normalized") is True and values.dtype.kind in "iu":
        # Section 3.6.2.2: max(c / 127, -1) for signed bytes, and so on.
        return np.maximum(values / np.iinfo(values.dtype).max, -1.0)
    return values.astype(np.float64)


def read_indices(document: Document, index: int) -> Int[np.ndarray, " n"]:
    """An accessor of unsigned integers as int64."""
    accessor = document.item("accessors", index)
    values = _read(document, accessor, index, (1,))
    if values.dtype.kind != "u":
        raise document.error(f"damaged glTF: accessor {index} must hold unsigned integers")
    return values[:, 0].astype(np.int64)


def _read(document: Document, accessor: Json, index: int, widths: tuple[int, ...]) -> Shaped[np.ndarray, "n w"]:
    dtype = _dtype(document, accessor, index)
    width = _SHAPES.get(document.get(accessor, "type", str), 0)
    if width not in widths:
        raise document.error(f"damaged glTF: accessor {index} has the wrong type for its use")
    count = document.index(accessor, "count")
    if count > _MOST:
        raise document.error(f"damaged glTF: accessor {index} claims {count:,} elements")
    view = document.index(accessor, "bufferView", None)
    if view is None:
        values = np.zeros((count, width), dtype=dtype)
    else:
        offset = document.index(accessor, "byteOffset", 0)
        stride = document.index(document.item("bufferViews", view), "byteStride", 0)
        values = _strided(document, view, offset, stride, count, width, dtype)
    sparse = document.get(accessor, "sparse", dict, None)
    return values if sparse is None else _with_sparse(document, sparse, values)


def _dtype(document: Document, owner: Json, index: int) -> np.dtype:
    component = document.index(owner, "componentType")
    if component not in _COMPONENTS:
        raise document.error(f"damaged glTF: accessor {index} has the unknown component type {component}")
    return np.dtype(_COMPONENTS[component])


def _strided(
    document: Document, view: int, offset: int, stride: int, count: int, width: int, dtype: np.dtype
) -> Shaped[np.ndarray, "n w"]:
    content = document.view(view)
    size = width * dtype.itemsize
    stride = stride or size
    if stride < size or (count and offset + (count - 1) * stride + size > len(content)):
        raise document.error("damaged glTF: an accessor reaches beyond its buffer view")
    return (
        np.ndarray((count, width), dtype, content, offset, (stride, dtype.itemsize))
        if count
        else np.zeros((0, width), dtype)
    )


def _with_sparse(document: Document, sparse: Json, values: Shaped[np.ndarray, "n w"]) -> Shaped[np.ndarray, "n w"]:
    """The values with some of them replaced."""
    count = document.index(sparse, "count")
    places, news = document.get(sparse, "indices", dict), document.get(sparse, "values", dict)
    where = _strided(
        document,
        document.index(places, "bufferView"),
        document.index(places, "byteOffset", 0),
        0,
        count,
        1,
        _dtype(document, places, -1),
    )[:, 0]
    if where.dtype.kind != "u" or (count and where.max() >= len(values)):
        raise document.error("damaged glTF: a sparse accessor replaces elements that do not exist")
    replaced = np.array(values)
    replaced[where] = _strided(
        document,
        document.index(news, "bufferView"),
        document.index(news, "byteOffset", 0),
        0,
        count,
        values.shape[1],
        values.dtype,
    )
    return replaced
