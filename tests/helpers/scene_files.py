"""Scenes of a few textured boxes before a wall, as folders of photos that a camera took on its way."""

from pathlib import Path

import numpy as np

from gatlas import io
from gatlas.geometry.cameras import intrinsics, look_at
from gatlas.meshes.render import render_mesh
from gatlas.types import Cameras, Material, Mesh, Texture, Views

_CORNERS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype=np.float64)
_SIDES = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
_UVS = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], dtype=np.float32)


def box_scene(seed: int, boxes: int = 4) -> Mesh:
    """Boxes about the origin, z towards the viewer, before a wall at z = -1.5 and on a floor at y = -1."""
    rng = np.random.default_rng(seed)
    sides = [
        np.array([[-6, -4, -1.5], [6, -4, -1.5], [6, 4, -1.5], [-6, 4, -1.5]], dtype=np.float64),
        np.array([[-6, -1, -6], [-6, -1, 6], [6, -1, 6], [6, -1, -6]], dtype=np.float64),
    ]
    for _ in range(boxes):
        turn = rng.uniform(0, 2 * np.pi)
        rotation = np.array([[np.cos(turn), 0, np.sin(turn)], [0, 1, 0], [-np.sin(turn), 0, np.cos(turn)]])
        size = rng.uniform(0.2, 0.45, 3)
        center = np.array([rng.uniform(-1, 1), -1 + size[1] + rng.uniform(0, 0.6), rng.uniform(-0.9, 0.6)])
        corners = (_CORNERS * size) @ rotation.T + center
        sides += [corners[list(side)] for side in _SIDES]
    vertices = np.concatenate(sides)
    first = 4 * np.arange(len(sides))
    faces = np.stack([np.stack([first, first + 1, first + 2], 1), np.stack([first, first + 2, first + 3], 1)], 1)
    materials = [0, 1] + [2 + i // 6 for i in range(len(sides) - 2)]
    textures = tuple(_texture(rng) for _ in range(2 + boxes))
    return Mesh(
        vertices=vertices.astype(np.float32),
        faces=faces.reshape(-1, 3),
        face_materials=np.repeat(materials, 2),
        uvs=np.tile(_UVS, (len(sides), 1)),
        colors=np.ones((len(vertices), 4), dtype=np.float32),
        materials=tuple(Material(texture=i) for i in range(len(textures))),
        textures=textures,
    )


def _texture(rng: np.random.Generator) -> Texture:
    """Patches of two colours and what lies between them."""
    low, high = rng.uniform(0, 255, (2, 3))
    pattern = rng.random((6, 6, 1))
    pixels = np.full((48, 48, 4), 255, dtype=np.uint8)
    pixels[..., :3] = np.kron(low + pattern * (high - low), np.ones((8, 8, 1)))
    return Texture(pixels)


def walk(seed: int, count: int, side: int, width: int | None = None) -> Cameras:
    """Cameras on a gentle arc before the scene, about 0.1 apart."""
    rng = np.random.default_rng([seed, 1])
    start, angle = rng.uniform(-0.5, 0.1, 2), rng.uniform(-0.6, 0.6)
    along = 0.1 * np.arange(count)
    eyes = np.stack(
        [start[0] + along * np.cos(angle), start[1] + along * np.sin(angle), 2.6 + 0.1 * np.sin(along + start[0])], 1
    )
    eyes += rng.normal(scale=0.01, size=eyes.shape)
    targets = np.stack([0.5 * eyes[:, 0], 0.3 * eyes[:, 1] - 0.2, np.zeros(count)], 1)
    Ks = np.tile(intrinsics(width or side, side, 50.0), (count, 1, 1))
    return Cameras(look_at(eyes, targets).astype(np.float32), Ks.astype(np.float32), width or side, side)


def box_views(seed: int, count: int = 12, side: int = 64, width: int | None = None) -> Views:
    """Photos of one scene, RGB."""
    views = render_mesh(box_scene(seed), walk(seed, count, side, width), shading="unlit")
    return Views(np.ascontiguousarray(views.images[..., :3] * views.images[..., 3:]), views.cameras)


def write_scenes(folder: Path, seeds: range, count: int = 12, side: int = 64) -> Path:
    """A folder of scene folders."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        io.save_views(folder / f"scene-{seed:04d}", box_views(seed, count, side))
    return folder


def write_chunk(path: Path, scenes: dict[str, Views]) -> None:
    """A chunk of RealEstate10K's kind."""
    import io as streams

    import torch
    from PIL import Image

    records = []
    for key, views in scenes.items():
        images = []
        for picture in views.images:
            file = streams.BytesIO()
            Image.fromarray(np.rint(picture * 255).astype(np.uint8)).save(file, "JPEG", quality=95, subsampling=0)
            images.append(torch.frombuffer(bytearray(file.getvalue()), dtype=torch.uint8))
        K = views.cameras.Ks / np.array([[views.cameras.width], [views.cameras.height], [1.0]])
        cameras = np.zeros((len(views), 18))
        cameras[:, :4] = np.stack([K[:, 0, 0], K[:, 1, 1], K[:, 0, 2], K[:, 1, 2]], 1)
        cameras[:, 6:] = views.cameras.viewmats[:, :3].reshape(len(views), 12)
        records.append({"key": key, "images": images, "cameras": torch.tensor(cameras, dtype=torch.float32)})
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(records, path)
