"""Splats in glTF and GLB, to `Gaussians`: KHR_gaussian_splatting, plain or compressed as SPZ. y points up.

Khronos Group, KHR_gaussian_splatting (release candidate, 2026). Drafts stored the logarithms of scales; negative values
tell them. An SPZ inside is in the axes of the glTF, as CesiumJS and other readers take it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gatlas.geometry.frames import turned
from gatlas.geometry.rotations import matrices_to_quats, quats_to_matrices
from gatlas.geometry.sh import SH_C0, rgb_to_dc, rotated_sh, with_degree
from gatlas.images.srgb import linear_to_srgb
from gatlas.io.meshes.gltf_accessors import read_accessor
from gatlas.io.meshes.gltf_document import MESHOPT, Document
from gatlas.io.meshes.gltf_scene import Scene
from gatlas.io.meshes.neighbors import printable
from gatlas.io.registry import refusal
from gatlas.io.sniff import SPLAT, is_gltf_splat
from gatlas.io.splats.decoded import SplatReading, checked_gaussians
from gatlas.io.splats.spz import unpack_spz
from gatlas.io.splats.stored import ORIGIN, StoredColumns, origin_of_record
from gatlas.io.splats.up_axis import Y_UP
from gatlas.io.streams import Blob

if TYPE_CHECKING:
    from jaxtyping import Float

    from gatlas.io.meshes.gltf_document import Json
    from gatlas.types import Gaussians, Origin

SPZ = (f"{SPLAT}_compression_spz", f"{SPLAT}_compression_spz_2")
SRGB, LINEAR = "srgb_rec709_display", "lin_rec709_display"
ELLIPSE = "ellipse"
_HANDLED = {SPLAT, *SPZ, *MESHOPT, "KHR_mesh_quantization", "KHR_node_visibility", "EXT_mesh_gpu_instancing"}
_COUNTS = (1, 3, 5, 7)  # coefficients of each degree
_SAME = 1e-6  # relative difference of lengths that a rotation may have


@np.errstate(all="ignore")  # damaged numbers are found in what comes of them
def decode_gltf_splats(blob: Blob, **asked: Any) -> Gaussians:
    """The Gaussians of the default scene of a glTF file, float32, in world units. Damage is a GatlasError.

    `asked` are the fields of `SplatReading`.
    """
    if not is_gltf_splat(blob):
        raise refusal(blob, "splat")
    reading = SplatReading(**asked)
    document = Document(blob)
    for name in document.get(document.root, "extensionsRequired", list, []):
        if name not in _HANDLED and not str(name).startswith("KHR_materials_"):
            raise document.error(f"needs {printable(str(name))}, which gatlas does not read: export it without")
    scene = Scene(document)
    known: dict[int, list[tuple[StoredColumns, Json]]] = {}
    parts, plain = [], True
    for index, node in scene.shown():
        mesh = document.index(node, "mesh", None)
        if mesh is None:
            continue
        if mesh not in known:
            known[mesh] = list(_primitives(document, mesh, reading))
        for columns, _ in known[mesh]:
            for copy in scene.instances(node):
                matrix = scene.matrices[index] @ copy
                plain = plain and bool((matrix == np.eye(4)).all())
                parts.append(_placed(columns, matrix))
    if not parts:
        raise document.error("its scene shows no Gaussians")
    degree = max(part.sh.shape[1] for part in parts)
    means, quats, scales, opacities = (np.concatenate([part[i] for part in parts]) for i in range(4))
    sh = np.concatenate([with_degree(part.sh, round(degree**0.5) - 1) for part in parts])
    whole = StoredColumns(means, quats, scales, opacities, sh)
    origin = _origin(blob, known, len(whole.means)) if plain and len(parts) == 1 else None
    return checked_gaussians(blob, *whole, reading, stated=Y_UP, origin=origin)


def _origin(blob: Blob, known: dict[int, list[tuple[StoredColumns, Json]]], count: int) -> Origin | None:
    ((_, primitive),) = next(iter(known.values()))
    extras = primitive.get("extras")
    record = extras.get(ORIGIN) if isinstance(extras, dict) else None
    return origin_of_record(record, blob.stem, count)


def _primitives(document: Document, index: int, reading: SplatReading) -> Any:
    """Yield columns, in the mesh's frame, and JSON of each primitive that holds Gaussians."""
    for source in document.objects(document.item("meshes", index), "primitives"):
        extension = document.extension(source, SPLAT)
        if extension is None:
            continue
        kernel = document.get(extension, "kernel", str, ELLIPSE)
        if kernel != ELLIPSE:
            reading.report(f"{document.blob.name}: its kernel {printable(kernel)!r} is shown as an ellipse")
        inner = next((found for name in SPZ if (found := document.extension(extension, name)) is not None), None)
        columns = _attributes(document, source) if inner is None else _compressed(document, inner, reading)
        space = document.get(extension, "colorSpace", str, SRGB)
        if space == LINEAR:
            if columns.sh.shape[1] > 1:
                raise document.error(f"its colors are linear ({LINEAR}), which gatlas reads of degree 0 alone")
            shown = linear_to_srgb(np.clip(columns.sh * SH_C0 + 0.5, 0, 1))
            columns = columns._replace(sh=rgb_to_dc(shown))
        elif space != SRGB:
            reading.report(f"{document.blob.name}: its color space {printable(space)!r} is taken as sRGB")
        yield columns, source


def _compressed(document: Document, extension: Json, reading: SplatReading) -> StoredColumns:
    content = document.view(document.index(extension, "bufferView"))
    unpacked = unpack_spz(Blob(document.blob.name, content), reading)
    return StoredColumns(*unpacked[:5])


def _attributes(document: Document, source: Json) -> StoredColumns:
    attributes = document.get(source, "attributes", dict)

    def read(name: str, widths: tuple[int, ...]) -> Any:  # float64 [n w], or None where there is no such attribute
        accessor = document.index(attributes, name, None)
        if accessor is None:
            return None
        if document.item("accessors", accessor).get("bufferView") is None:
            raise document.error(f"damaged glTF: {printable(name)} has no content")
        return read_accessor(document, accessor, widths)

    def needed(name: str, widths: tuple[int, ...]) -> Float[np.ndarray, "n w"]:
        values = read(name, widths)
        if values is None:
            raise document.error(f"damaged glTF: its Gaussians have no {name}")
        return values

    means, xyzw, scales = needed("POSITION", (3,)), needed(f"{SPLAT}:ROTATION", (4,)), needed(f"{SPLAT}:SCALE", (3,))
    color = read("COLOR_0", (3, 4))
    opacities = read(f"{SPLAT}:OPACITY", (1,))
    if opacities is None and color is not None and color.shape[1] == 4:
        opacities = color[:, 3:]
    coefficients = []
    for degree, count in enumerate(_COUNTS):
        band = [read(f"{SPLAT}:SH_DEGREE_{degree}_COEF_{i}", (3,)) for i in range(count)]
        if all(each is None for each in band):
            break
        if any(each is None for each in band):
            raise document.error(f"damaged glTF: it has a part of the coefficients of degree {degree}")
        coefficients += band
    if not coefficients and color is not None:
        coefficients = [rgb_to_dc(color[:, :3])]
    if opacities is None or not coefficients:
        raise document.error("damaged glTF: its Gaussians have no opacities or no colors")
    lengths = {len(values) for values in (means, xyzw, scales, opacities, *coefficients)}
    if len(lengths) != 1:
        raise document.error("damaged glTF: the attributes of its Gaussians have different lengths")
    logs = scales if (scales < 0).any() else np.log(scales)  # of a draft
    return StoredColumns(means, xyzw[:, [3, 0, 1, 2]], logs, opacities[:, 0], np.stack(coefficients, axis=1))


def _placed(columns: StoredColumns, matrix: Float[np.ndarray, "4 4"]) -> StoredColumns:
    """Gaussians where their node stands; what it shears or stretches becomes the ellipsoid that it is."""
    linear, shift = matrix[:3, :3], matrix[:3, 3]
    if (matrix == np.eye(4)).all():
        return columns
    if not np.isfinite(matrix).all() or abs(np.linalg.det(linear)) == 0:
        return columns._replace(means=np.full_like(columns.means, np.nan))  # found as such
    means = columns.means @ linear.T + shift
    left, stretch, right = np.linalg.svd(linear)
    if stretch[0] - stretch[2] <= _SAME * stretch[0]:
        rotation = left @ right
        _, quats, sh = turned(columns.means, columns.quats, columns.sh, rotation)
        return replace_columns(columns, means, quats, columns.log_scales + np.log(stretch.mean()), sh)
    norms = np.linalg.norm(columns.quats, axis=1)
    sound = (norms > 0) & np.isfinite(norms) & np.isfinite(columns.log_scales).all(axis=1)
    quats, log_scales = columns.quats.astype(np.float64).copy(), columns.log_scales.astype(np.float64).copy()
    shapes = linear @ quats_to_matrices(quats[sound]) * np.exp(log_scales[sound])[:, None, :]
    if not np.isfinite(shapes).all():
        return columns._replace(means=np.full_like(columns.means, np.nan))
    axes, lengths, _ = np.linalg.svd(shapes)
    quats[sound] = matrices_to_quats(axes * np.where(np.linalg.det(axes) < 0, -1.0, 1.0)[:, None, None])
    log_scales[sound] = np.log(np.maximum(lengths, np.finfo(np.float64).tiny))
    return replace_columns(columns, means, quats, log_scales, rotated_sh(columns.sh, left @ right))


def replace_columns(columns: StoredColumns, means: Any, quats: Any, log_scales: Any, sh: Any) -> StoredColumns:
    """Return columns with others in their place; the opacities stay."""
    return columns._replace(means=means, quats=quats, log_scales=log_scales, sh=sh)
