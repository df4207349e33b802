"""Small details that a fit must keep: dark holes of a few pixels, and faint lines without colored outlines."""

import numpy as np
import pytest
from scipy.ndimage import center_of_mass, label

from gatlas.fit import FitOptions, fit_mesh
from gatlas.geometry.cameras import fibonacci_views
from gatlas.images.composite import composite
from gatlas.meshes.render import render_mesh
from gatlas.raster import rasterize
from gatlas.types import Material, Mesh, Texture

PLATE, LINE, HOLE = 187, 180, 20  # gray
SIDE = 256  # pixels of the pictures
SMALLEST = 12  # pixels of a hole that is looked at: 4 across


def plates():
    """A cube of gray plates: on each face 16 dark holes, about 6 pixels across in a picture, and faint lines."""
    rows, columns = np.indices((512, 512))
    gray = np.full((512, 512), PLATE)
    for middle in range(64, 512, 128):
        gray[np.abs(rows - middle + 64) < 3] = LINE
        gray[:, np.abs(np.arange(512) - middle + 64) < 3] = LINE
    for y in range(64, 512, 128):
        for x in range(64, 512, 128):
            gray[(rows - y) ** 2 + (columns - x) ** 2 <= 13**2] = HOLE
    pixels = np.repeat(gray[..., None], 4, axis=2).astype(np.uint8)
    pixels[..., 3] = 255
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
    quads = [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
    return Mesh(
        vertices=np.concatenate([corners[quad] for quad in quads]).astype(np.float32),
        faces=np.concatenate([[[4 * i, 4 * i + 1, 4 * i + 2], [4 * i, 4 * i + 2, 4 * i + 3]] for i in range(6)]),
        face_materials=np.zeros(12, dtype=np.int32),
        uvs=np.tile(np.float32([[0, 0], [1, 0], [1, 1], [0, 1]]), (6, 1)),
        colors=np.ones((24, 4), dtype=np.float32),
        materials=(Material(texture=0),),
        textures=(Texture(pixels),),
    )


@pytest.mark.slow
def test_holes_of_six_pixels_stay_dark_and_faint_lines_stay_gray():
    mesh = plates()
    fitted = fit_mesh(mesh, FitOptions(count=8192, iterations=400, resolution=SIDE, views=48, shading="unlit"))
    cameras = fibonacci_views(12, SIDE, SIDE, phase=0.5)
    truth = render_mesh(fitted.mesh, cameras, supersample=4, shading="unlit")
    white = np.ones(3, np.float32)
    seen, lost, outline = 0, 0, 0.0
    for i in range(len(cameras)):
        wanted = composite(truth.images[i], 1.0)
        shown = rasterize(fitted.gaussians, cameras[i], background=white).colors[0].clip(0, 1)
        dark = wanted.mean(axis=-1) < 0.4
        holes, number = label(dark)
        sizes = np.bincount(holes.ravel())[1:]
        centers = np.array(center_of_mass(dark, holes, range(1, number + 1)))[sizes >= SMALLEST].round().astype(int)
        seen += len(centers)
        lost += int((shown[centers[:, 0], centers[:, 1]].mean(axis=-1) > (PLATE + HOLE) / 2 / 255).sum())
        outline = max(outline, float(np.percentile(np.ptp(shown - wanted, axis=-1), 99.9)))
    assert seen > 200
    assert lost == 0
    assert outline < 0.02  # of the channels' range: the object is gray everywhere
