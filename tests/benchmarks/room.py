"""Photograph a furnished room from within, as a phone would: python tests/benchmarks/room.py FOLDER [--models DIR]

Writes JPEG photos and their transforms.json. Boxes and balls stand on the floor, or with --models the meshes of a
folder, each as high as a quarter of the room, in a ring. `gatlas fit FOLDER` is measured on it.
"""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

import imageio.v3 as iio
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from gatlas import io
from gatlas.geometry.cameras import intrinsics, look_at
from gatlas.io.registry import names_a
from gatlas.meshes.edits import normalize_mesh
from gatlas.meshes.render import render_mesh
from gatlas.types import Cameras, Mesh, Views
from tests.helpers.room import HALF, photograph, room

QUALITY = 90  # of the JPEG files
OBJECT = 0.45  # radius of a model in the room


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--models", type=Path, help="folder of meshes that stand in the room")
    parser.add_argument("--photos", type=int, default=60)
    parser.add_argument("--width", type=int, default=960)
    parser.add_argument("--height", type=int, default=720)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    size = options.photos, options.width, options.height
    if options.models is None:
        views = photograph(*size, options.seed)
    else:
        paths = sorted(path for path in options.models.rglob("*") if names_a("mesh", str(path)))
        views = furnished(paths, *size, options.seed)
    save_as_jpeg(options.folder, views)


def furnished(paths, count, width, height, seed):
    """Photos from all around of the models, which stand in a ring on the floor of the closed room."""
    walls = room(seed, closed=True)
    parts = [without_furniture(walls)]
    for path, angle in zip(paths, np.linspace(0, 2 * np.pi, len(paths), endpoint=False), strict=True):
        mesh = normalize_mesh(io.load_mesh(str(path)))
        floor = -HALF[1] - OBJECT * mesh.vertices[:, 1].min()
        ring = 0.0 if len(paths) == 1 else 1.1 + 0.3 * (-1) ** len(parts)
        place = np.array([ring * np.sin(angle), floor, ring * np.cos(angle)])
        parts.append(replace(mesh, vertices=(OBJECT * mesh.vertices + place).astype(np.float32)))
    rng = np.random.default_rng(seed)
    angle = np.linspace(0, 4 * np.pi, count, endpoint=False) + rng.normal(scale=0.05, size=count)
    distance, up = rng.uniform(2.3, 2.8, count), rng.uniform(-0.9, 0.7, count)
    eyes = np.stack([distance * np.sin(angle), up, distance * np.cos(angle)], axis=1)
    targets = np.array([0.0, -1.2, 0.0]) + rng.normal(scale=0.25, size=(count, 3))
    viewmats = np.concatenate([look_at(eye[None], target) for eye, target in zip(eyes, targets, strict=True)])
    Ks = np.tile(intrinsics(width, height, fov=62.0), (count, 1, 1))
    cameras = Cameras(viewmats.astype(np.float32), Ks.astype(np.float32), width, height)
    views = render_mesh(joined(parts), cameras, supersample=2, shading="unlit")
    return Views(views.images[..., :3], cameras)


def without_furniture(mesh):
    kept = mesh.face_materials < 6  # the walls come first
    return replace(mesh, faces=mesh.faces[kept], face_materials=mesh.face_materials[kept])


def joined(meshes):
    """One mesh of several; their emission is left out."""
    corners, materials, textures, faces, owners = 0, [], [], [], []
    for mesh in meshes:
        faces.append(mesh.faces + corners)
        owners.append(mesh.face_materials + len(materials))
        for material in mesh.materials:
            texture = material.texture + len(textures) if material.texture >= 0 else -1
            materials.append(replace(material, texture=texture, emissive=(0.0, 0.0, 0.0), emissive_texture=-1))
        textures += mesh.textures
        corners += len(mesh.vertices)
    vertices, uvs, colors = (
        np.concatenate([getattr(mesh, f) for mesh in meshes]) for f in ("vertices", "uvs", "colors")
    )
    faces, owners = (np.concatenate(each).astype(np.int32) for each in (faces, owners))
    return Mesh(vertices, faces, owners, uvs, colors, tuple(materials), tuple(textures))


def save_as_jpeg(folder, views):
    io.save_views(str(folder), views)
    index = folder / "transforms.json"
    content = json.loads(index.read_text())
    for frame in content["frames"]:
        path = folder / frame["file_path"]
        iio.imwrite(path.with_suffix(".jpg"), iio.imread(path)[..., :3], quality=QUALITY)
        path.unlink()
        frame["file_path"] = str(Path(frame["file_path"]).with_suffix(".jpg"))
    index.write_text(json.dumps(content, indent=2))


if __name__ == "__main__":
    main()
