"""Small meshes in memory."""

import numpy as np

from gatlas.types import Material, Mesh, Texture


def textured_tetrahedron():
    """Four faces over one picture of coloured squares."""
    corners = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], dtype=np.float32)
    faces = np.array([[0, 1, 2], [0, 3, 1], [0, 2, 3], [1, 3, 2]])
    palette = np.array([[220, 60, 40, 255], [40, 90, 200, 255], [230, 200, 60, 255]], dtype=np.uint8)
    squares = palette[np.add.outer(np.arange(8), 2 * np.arange(8)) % 3]
    return Mesh(
        vertices=corners[faces].reshape(-1, 3),
        faces=np.arange(12, dtype=np.int32).reshape(4, 3),
        face_materials=np.zeros(4, dtype=np.int32),
        uvs=np.tile(np.array([[0, 0], [1, 0], [0.5, 1]], dtype=np.float32), (4, 1)),
        colors=np.ones((12, 4), dtype=np.float32),
        materials=(Material(texture=0),),
        textures=(Texture(np.kron(squares, np.ones((8, 8, 1), dtype=np.uint8))),),
    )
