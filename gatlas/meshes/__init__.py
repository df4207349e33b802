"""Meshes as pictures, and meshes of Gaussians: rendering, surface colors and sampling, extraction and textures."""

from typing import TYPE_CHECKING

from gatlas.lazy import lazy_names

if TYPE_CHECKING:
    from gatlas.meshes.meshing import mesh
    from gatlas.meshes.options import MeshOptions

__all__ = ["MeshOptions", "mesh"]

__getattr__, __dir__ = lazy_names(__name__, {"MeshOptions": "gatlas.meshes.options", "mesh": "gatlas.meshes.meshing"})
