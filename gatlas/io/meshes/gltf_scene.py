"""The scene graph of a glTF file: where each mesh stands. glTF 2.0.1, sections 3.5 and 3.7.3."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from gatlas.io.meshes.gltf_accessors import read_accessor

if TYPE_CHECKING:
    from jaxtyping import Float

    from gatlas.io.meshes.gltf_document import Document, Json


class Scene:
    """World matrices of all nodes, and which of them the default scene shows."""

    def __init__(self, document: Document) -> None:
        self.document = document
        nodes = document.objects(document.root, "nodes")
        self._children = [document.indices(node, "children") for node in nodes]
        parents: list[int | None] = [None] * len(nodes)
        for parent, children in enumerate(self._children):
            for child in children:
                if child >= len(nodes):
                    raise document.error(f"damaged glTF: there is no node {child}")
                if parents[child] is not None or child == parent:
                    raise document.error(f"damaged glTF: node {child} has two parents")
                parents[child] = parent
        roots = [index for index, parent in enumerate(parents) if parent is None]
        self.matrices = np.tile(np.eye(4), (len(nodes), 1, 1))
        reached = 0
        for index in self._below(roots):
            parent_index = parents[index]
            above = np.eye(4) if parent_index is None else self.matrices[parent_index]
            self.matrices[index] = above @ self._local(nodes[index])
            reached += 1
        if reached < len(nodes):
            raise document.error("damaged glTF: its nodes form a loop")
        self._nodes, self._roots = nodes, roots
        self.hides = False  # whether `shown` met a node that the file hides

    def shown(self) -> Iterator[tuple[int, Json]]:
        """Nodes of the default scene, parents first. A file without scenes shows all its nodes.

        Nodes that KHR_node_visibility hides are left out, and all below them.
        """
        document = self.document
        if document.get(document.root, "scenes", list, []):
            scene = document.item("scenes", document.index(document.root, "scene", 0))
            roots = document.indices(scene, "nodes")
        else:
            roots = self._roots
        for index in self._below(roots, hidden=self._is_hidden):
            yield index, self._nodes[index]

    def _is_hidden(self, index: int) -> bool:
        visibility = self.document.extension(self._nodes[index], "KHR_node_visibility")
        if visibility is None or self.document.get(visibility, "visible", bool, True):
            return False
        self.hides = True
        return True

    def _below(self, roots: list[int], hidden: Callable[[int], bool] = lambda index: False) -> Iterator[int]:
        """Nodes and their descendants, each once, without what is hidden."""
        waiting, seen = list(reversed(roots)), set()
        while waiting:
            index = waiting.pop()
            if index >= len(self._children):
                raise self.document.error(f"damaged glTF: there is no node {index}")
            if index not in seen and not hidden(index):
                seen.add(index)
                yield index
                waiting += reversed(self._children[index])

    def _local(self, node: Json) -> Float[np.ndarray, "4 4"]:
        document = self.document
        if node.get("matrix") is not None:
            return np.array(document.numbers(node, "matrix", 16, [])).reshape(4, 4).T  # stored column by column
        return compose(
            np.array([document.numbers(node, "translation", 3, [0.0, 0.0, 0.0])]),
            np.array([document.numbers(node, "rotation", 4, [0.0, 0.0, 0.0, 1.0])]),
            np.array([document.numbers(node, "scale", 3, [1.0, 1.0, 1.0])]),
        )[0]

    def instances(self, node: Json) -> Float[np.ndarray, "i 4 4"]:
        """Copies of a node's mesh, in the node's frame: EXT_mesh_gpu_instancing, else the one."""
        document = self.document
        extension = document.extension(node, "EXT_mesh_gpu_instancing")
        if extension is None:
            return np.eye(4)[None]
        attributes = document.get(extension, "attributes", dict, {})
        defaults = {"TRANSLATION": (0.0, 0.0, 0.0), "ROTATION": (0.0, 0.0, 0.0, 1.0), "SCALE": (1.0, 1.0, 1.0)}
        found = {
            name: read_accessor(document, document.index(attributes, name), (len(default),))
            for name, default in defaults.items()
            if name in attributes
        }
        counts = {len(values) for values in found.values()}
        if len(counts) != 1:
            raise document.error("damaged glTF: EXT_mesh_gpu_instancing has attributes of different lengths")
        (count,) = counts
        return compose(*(found.get(name, np.tile(default, (count, 1))) for name, default in defaults.items()))

    def joint_matrices(self, index: int) -> Float[np.ndarray, "j 4 4"]:
        """Joint matrices of a skin in its rest pose: the joint's world matrix x its inverse bind matrix."""
        document = self.document
        skin = document.item("skins", index)
        joints = document.indices(skin, "joints")
        if not joints or max(joints) >= len(self.matrices):
            raise document.error(f"damaged glTF: skin {index} has no joints, or joints that do not exist")
        worlds = self.matrices[joints]
        accessor = document.index(skin, "inverseBindMatrices", None)
        if accessor is None:
            return worlds
        inverse = read_accessor(document, accessor, (16,))
        if len(inverse) < len(joints):
            raise document.error(f"damaged glTF: skin {index} has too few inverse bind matrices")
        return worlds @ inverse[: len(joints)].reshape(-1, 4, 4).transpose(0, 2, 1)


def compose(
    translations: Float[np.ndarray, "n 3"], rotations: Float[np.ndarray, "n 4"], scales: Float[np.ndarray, "n 3"]
) -> Float[np.ndarray, "n 4 4"]:
    """Matrices that scale, then rotate (xyzw, any length but 0), then translate."""
    norms = np.linalg.norm(rotations, axis=1, keepdims=True)
    x, y, z, w = np.where(norms > 0, rotations / np.where(norms > 0, norms, 1), [0.0, 0.0, 0.0, 1.0]).T
    rotation = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    ).transpose(2, 0, 1)
    matrices = np.tile(np.eye(4), (len(rotation), 1, 1))
    matrices[:, :3, :3] = rotation * scales[:, None, :]
    matrices[:, :3, 3] = translations
    return matrices
