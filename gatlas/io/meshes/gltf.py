"""glTF 2.0 and GLB to a `Mesh`: the triangles of the default scene in world units, at rest.

Read by our own code, not trimesh, which leaves out skins, morph weights, texture transforms, second texture coordinates
and quantized attributes without a word. What is not read here is a GatlasError that names it.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gatlas.io.meshes.draco import EXTENSION, decode_primitive
from gatlas.io.meshes.gltf_accessors import fill_accessor, read_accessor, read_indices
from gatlas.io.meshes.gltf_document import MESHOPT, Document
from gatlas.io.meshes.gltf_materials import Materials
from gatlas.io.meshes.gltf_scene import Scene
from gatlas.io.meshes.neighbors import listed, printable
from gatlas.io.meshes.parts import Part, join_parts
from gatlas.io.registry import refusal
from gatlas.io.sniff import SPLAT, is_gltf_splat

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from gatlas.io.meshes.draco import DracoPrimitive
    from gatlas.io.meshes.gltf_document import Json
    from gatlas.io.meshes.gltf_materials import Mapping
    from gatlas.io.streams import Blob
    from gatlas.types import Mesh

# Required extensions that are read, or that change nothing about the base color of the surface.
_HANDLED = {
    "EXT_mesh_gpu_instancing", "EXT_texture_webp", "KHR_animation_pointer", "KHR_lights_punctual",
    "KHR_mesh_quantization", "KHR_node_visibility", "KHR_texture_transform", "KHR_xmp", "KHR_xmp_json_ld", EXTENSION,
    *MESHOPT,
}  # fmt: skip
_TRIANGLES, _STRIP, _FAN = 4, 5, 6
_COLOR_LIKE = re.compile(r"_?(vertex_?)?(colou?r|rgba?)(_?\d+)?", re.IGNORECASE)
_MAX_SETS = 8  # sets of four joints and weights


class Influences(NamedTuple):
    """The joints that each vertex of a skinned primitive hangs on; s is a multiple of four."""

    joints: Int[np.ndarray, "v s"]
    weights: Float[np.ndarray, "v s"]


class Primitive(NamedTuple):
    """One primitive in its mesh's frame, with its morph targets blended in."""

    vertices: Float[np.ndarray, "v 3"]
    faces: Int[np.ndarray, "f 3"]
    uvs: Float[np.ndarray, "v 2"] | None
    colors: Float[np.ndarray, "v 4"] | None
    material: int
    influences: Influences | None
    emissive_uvs: Float[np.ndarray, "v 2"] | None


@np.errstate(all="ignore")  # damaged numbers are found in what comes of them
def gltf_mesh(blob: Blob) -> Mesh:
    """The mesh of a GLB or glTF file; see `gatlas.io.load_mesh`."""
    document = Document(blob)
    if is_gltf_splat(blob):
        raise refusal(blob, "mesh")
    _check_required(document)
    scene, materials = Scene(document), Materials(document)
    known: dict[tuple[int, tuple[float, ...]], list[Primitive]] = {}
    parts: list[Part] = []
    for index, node in scene.shown():
        mesh_index = document.index(node, "mesh", None)
        if mesh_index is None:
            continue
        weights = _morph_weights(document, node, document.item("meshes", mesh_index))
        if (mesh_index, weights) not in known:
            known[mesh_index, weights] = list(_primitives(document, materials, mesh_index, weights))
        skin = document.index(node, "skin", None)
        for primitive in known[mesh_index, weights]:
            if skin is not None and primitive.influences is not None:
                parts.append(_skinned(document, primitive, primitive.influences, scene.joint_matrices(skin)))
            else:
                parts += [_placed(primitive, scene.matrices[index] @ copy) for copy in scene.instances(node)]
    if not parts and scene.hides:
        document.left_out["nodes that the file hides (KHR_node_visibility)"] = None
    if not parts and document.left_out:
        raise document.error(
            f"has no triangles to show: {printable(', '.join(document.left_out))}, which are not shown"
        )
    mesh = join_parts(blob, parts, materials.materials, materials.textures)
    document.neighbors.warn_moved()
    if document.taken:
        warnings.warn(f"{blob.name}: taken: {printable(', '.join(document.taken))}", stacklevel=2)
    if document.left_out:
        warnings.warn(f"{blob.name}: not shown: {listed(document.left_out)}", stacklevel=2)
    return mesh


def _check_required(document: Document) -> None:
    required = document.get(document.root, "extensionsRequired", list, [])
    for name in required:
        if not isinstance(name, str):
            raise document.error("damaged glTF: 'extensionsRequired' must be a list of names")
        if name not in _HANDLED and not name.startswith("KHR_materials_"):
            raise document.error(f"needs {printable(name)}, which gatlas does not read: export the mesh without it")


def _morph_weights(document: Document, node: Json, mesh: Json) -> tuple[float, ...]:
    """Weights of the morph targets at rest: the node's, else the mesh's, else none."""
    owner = node if node.get("weights") is not None else mesh
    values = document.get(owner, "weights", list, [])
    return tuple(document.numbers(owner, "weights", len(values), []))


def _primitives(
    document: Document, materials: Materials, index: int, weights: tuple[float, ...]
) -> Iterator[Primitive]:
    for source in document.objects(document.item("meshes", index), "primitives"):
        mode = document.index(source, "mode", _TRIANGLES)
        if mode > _FAN:
            raise document.error(f"damaged glTF: there is no primitive mode {mode}")
        if document.extension(source, SPLAT) is not None:
            document.left_out[f"Gaussians ({SPLAT})"] = None
        elif mode < _TRIANGLES:
            document.left_out["points and lines"] = None
        else:
            yield _primitive(document, materials, source, mode, weights)


def _primitive(
    document: Document, materials: Materials, source: Json, mode: int, weights: tuple[float, ...]
) -> Primitive:
    attributes = document.get(source, "attributes", dict)
    draco = _draco(document, source, attributes)
    targets = document.objects(source, "targets")

    def read(name: str, widths: tuple[int, ...]) -> Any:  # float64 [v w], or None where there is no such attribute
        accessor = document.index(attributes, name, None)
        if accessor is None:
            return None
        if draco is not None and name in draco.attributes:
            values = fill_accessor(document, accessor, widths, draco.attributes[name])
        else:
            values = read_accessor(document, accessor, widths)
        if len(values) != count:
            raise document.error(f"damaged glTF: {name} has {len(values)} values for {count} vertices")
        for weight, target in zip(weights, targets, strict=False):
            if weight != 0.0 and (delta := document.index(target, name, None)) is not None:
                values = values + weight * _same_shape(document, read_accessor(document, delta, widths), values)
        return values

    count = document.index(document.item("accessors", document.index(attributes, "POSITION")), "count")
    vertices = read("POSITION", (3,))
    indices = document.index(source, "indices", None)
    if draco is not None:
        order, mode = draco.faces.reshape(-1), _TRIANGLES  # a strip is stored as its triangles
    else:
        order = np.arange(count) if indices is None else read_indices(document, indices)
    if len(order) and not 0 <= order.min() <= order.max() < count:
        raise document.error(f"damaged glTF: a triangle refers to vertex {order.max()} of {count}")

    def mapped(mapping: Mapping | None) -> Any:  # float64 [v 2], or None
        if mapping is None or (raw := read(f"TEXCOORD_{mapping.channel}", (2,))) is None:
            return None
        return raw @ mapping.matrix[:, :2].T + mapping.matrix[:, 2]

    material, base, emissive = materials.resolve(document.index(source, "material", None))
    uvs, emissive_uvs = mapped(base), mapped(emissive)
    if base is None or emissive is None or _equal(base, emissive):  # one of them serves both
        uvs, emissive_uvs = (emissive_uvs if base is None else uvs), None
    elif emissive_uvs is None:
        emissive_uvs = np.zeros((count, 2))
    colors = None
    if (name := _color_name(document, attributes, textured=base is not None)) is not None:
        colors = read(name, (3, 4))
        colors = colors / _full(document, document.index(attributes, name))
        if colors.shape[1] == 3:
            colors = np.concatenate([colors, np.ones((count, 1))], axis=1)
    influences = _influences(document, attributes, read)
    return Primitive(vertices, _triangles(order, mode), uvs, colors, material, influences, emissive_uvs)


def _color_name(document: Document, attributes: Json, *, textured: bool) -> str | None:
    """The attribute that holds the vertex colors, or None. Where COLOR_0 is not there, one named like it is, and said.

    Such an attribute may mean something else, a mask for instance; next to a texture it is left out, and said too.
    """
    if "COLOR_0" in attributes:
        return "COLOR_0"
    name = next((name for name in attributes if _COLOR_LIKE.fullmatch(name)), None)
    if name is None:
        return None
    if textured:
        document.left_out[f"vertex colors {name}"] = None
        return None
    document.taken[f"{name} as the vertex colors: there is no COLOR_0"] = None
    return name


def _full(document: Document, accessor: int) -> float:
    """The number in a color that is 1: integers that are not marked as normalized are meant so all the same."""
    source = document.item("accessors", accessor)
    if document.get(source, "normalized", bool, False):
        return 1.0
    return {5121: 255.0, 5123: 65535.0}.get(document.index(source, "componentType"), 1.0)


def _equal(one: Mapping, other: Mapping) -> bool:
    return one.channel == other.channel and np.array_equal(one.matrix, other.matrix)


def _draco(document: Document, source: Json, attributes: Json) -> DracoPrimitive | None:
    """The Draco content of a primitive, unless the file repeats it plainly, as it must where Draco is not required."""
    compressed = document.extension(source, EXTENSION)
    position = document.item("accessors", document.index(attributes, "POSITION"))
    if compressed is None or document.index(position, "bufferView", None) is not None:
        return None
    return decode_primitive(document, compressed)


def _same_shape(
    document: Document, delta: Float[np.ndarray, "v w"], values: Float[np.ndarray, "v w"]
) -> Float[np.ndarray, "v w"]:
    if delta.shape != values.shape:
        raise document.error("damaged glTF: a morph target does not have its mesh's vertices")
    return delta


def _influences(document: Document, attributes: Json, read: Callable[..., Any]) -> Influences | None:
    joints, weights = [], []
    for k in range(_MAX_SETS):
        if f"JOINTS_{k}" in attributes:
            joints.append(read(f"JOINTS_{k}", (4,)))
            weights.append(read(f"WEIGHTS_{k}", (4,)))
            if joints[-1] is None or weights[-1] is None:
                raise document.error(f"damaged glTF: it has JOINTS_{k} without WEIGHTS_{k}")
    if not joints:
        return None
    # A damaged number becomes a joint that does not exist.
    whole = np.clip(np.nan_to_num(np.concatenate(joints, axis=1), nan=-1.0), -1, 1 << 30).astype(np.int64)
    return Influences(whole, np.concatenate(weights, axis=1))


def _triangles(order: Int[np.ndarray, " n"], mode: int) -> Int[np.ndarray, "f 3"]:
    """Corners of each triangle: glTF 2.0.1, section 3.7.2.1."""
    if mode == _TRIANGLES:
        return order[: len(order) // 3 * 3].reshape(-1, 3)
    i = np.arange(max(len(order) - 2, 0))
    if mode == _STRIP:
        return np.stack([order[i], order[i + 1 + i % 2], order[i + 2 - i % 2]], axis=1)
    return np.stack([order[i + 1], order[i + 2], order[np.zeros_like(i)]], axis=1)


def _placed(primitive: Primitive, matrix: Float[np.ndarray, "4 4"]) -> Part:
    """A primitive where its node stands; a mirrored one is wound the other way round."""
    faces = primitive.faces[:, ::-1] if np.linalg.det(matrix[:3, :3]) < 0 else primitive.faces
    vertices = primitive.vertices @ matrix[:3, :3].T + matrix[:3, 3]
    return Part(vertices, faces, primitive.uvs, primitive.colors, primitive.material, primitive.emissive_uvs)


def _skinned(
    document: Document, primitive: Primitive, influences: Influences, joint_matrices: Float[np.ndarray, "j 4 4"]
) -> Part:
    """A primitive bent by its skin; where its own node stands does not count (section 3.7.3.3)."""
    joints, weights = influences
    exist = (joints >= 0) & (joints < len(joint_matrices))
    if (weights[~exist] > 0).any():
        raise document.error(f"damaged glTF: a vertex hangs on a joint that does not exist ({joints.max()})")
    joints = np.where(exist, joints, 0)
    total = weights.sum(axis=1, keepdims=True)
    weights = np.where(total > 0, weights / np.where(total > 0, total, 1), np.eye(1, weights.shape[1]))
    homogeneous = np.concatenate([primitive.vertices, np.ones((len(joints), 1))], axis=1)
    vertices = np.zeros((len(joints), 3))
    for k in range(joints.shape[1]):
        vertices += weights[:, k : k + 1] * np.einsum("vij,vj->vi", joint_matrices[joints[:, k], :3], homogeneous)
    mirrored = np.sign(np.linalg.det(joint_matrices[np.unique(joints[weights > 0]), :3, :3])).sum() < 0
    faces = primitive.faces[:, ::-1] if mirrored else primitive.faces
    return Part(vertices, faces, primitive.uvs, primitive.colors, primitive.material, primitive.emissive_uvs)
