"""Make eight small coloured objects as GLB files, and captions.json that says what each one is.

Some captions share words, such as "red", "blue" and "white": a model has to read the whole caption. Light is baked into
the colours, so that a picture shows the shape. Run: python examples/make_objects.py FOLDER
"""

from __future__ import annotations

import json
import struct
import sys
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

STEPS = 48  # around an object, and along its profile
LIGHT = np.array([0.4, 0.75, 0.55]) / np.linalg.norm([0.4, 0.75, 0.55])  # from above, right and front
AMBIENT, DIFFUSE = 0.45, 0.55

RED, WHITE, NAVY, SKY = (0.86, 0.1, 0.1), (0.95, 0.94, 0.9), (0.1, 0.16, 0.6), (0.45, 0.78, 0.95)
GREEN, BROWN, YELLOW, BLACK, ORANGE = (0.13, 0.6, 0.2), (0.42, 0.25, 0.12), (0.98, 0.83, 0.1), (0.1, 0.1, 0.12), (
    0.95, 0.45, 0.05,
)  # fmt: skip


class Part(NamedTuple):
    """A closed surface over a grid, in one colour for each row."""

    points: np.ndarray  # [rows columns 3], y up; counter-clockwise from outside goes down a row, then along it
    colors: np.ndarray  # [rows 3], sRGB


def lathe(profile: list[tuple[float, float]], colors: list[tuple[float, float, float]]) -> Part:
    """A surface of revolution about y: (radius, height) from the top down, a colour between each and the next."""
    radii, heights, rows = [], [], []
    lengths = [np.hypot(b[0] - a[0], b[1] - a[1]) for a, b in pairwise(profile)]
    for (start, end), color, length in zip(pairwise(profile), colors, lengths, strict=True):
        pieces = max(2, round(STEPS * length / sum(lengths)))
        along = np.arange(pieces + 1) / pieces
        radii += list(start[0] + (end[0] - start[0]) * along)
        heights += list(start[1] + (end[1] - start[1]) * along)
        rows += [color] * (pieces + 1)
    angles = 2 * np.pi * np.arange(STEPS + 1) / STEPS
    radius, height = np.array(radii)[:, None], np.array(heights)[:, None]
    points = np.stack([radius * np.sin(angles), height + 0 * angles, radius * np.cos(angles)], axis=2)
    return Part(points, np.array(rows))


def arc(center: float, radius: float, start: float, end: float, squash: float = 1.0) -> list[tuple[float, float]]:
    """A piece of a circle about (0, center) as a profile; angles in degrees from the top."""
    angles = np.radians(np.linspace(start, end, 17))
    return [(float(radius * np.sin(a)), float(center + squash * radius * np.cos(a))) for a in angles]


def puffed(outline: np.ndarray, thickness: float, color: tuple[float, float, float]) -> Part:
    """A cushion: a closed outline [n 2] in the xy plane, seen from the origin, thickest in the middle."""
    rise = np.linspace(np.pi / 2, -np.pi / 2, STEPS // 2 + 1)
    closed = np.concatenate([outline, outline[:1]])
    flat = np.cos(rise)[:, None, None] * closed[None]  # [rows n + 1 2]
    depth = np.broadcast_to(thickness * np.sin(rise)[:, None, None], (*flat.shape[:2], 1))
    return Part(np.concatenate([flat, depth], axis=2), np.tile(color, (len(rise), 1)))


def ring(radius: float, thickness: float, color: tuple[float, float, float]) -> Part:
    """A torus about z: it stands, and its hole shows from the front."""
    around = 2 * np.pi * np.arange(STEPS + 1) / STEPS
    distance = radius + thickness * np.sin(around)[:, None]
    depth = thickness * np.cos(around)[:, None]
    points = np.stack([distance * np.cos(around), distance * np.sin(around), depth + 0 * around], axis=2)
    return Part(points, np.tile(color, (STEPS + 1, 1)))


def rounded_cube(power: float, color: tuple[float, float, float]) -> Part:
    """A ball in the norm of a high power: a cube with soft edges."""
    polar = np.pi * np.arange(STEPS + 1) / STEPS
    around = 2 * np.pi * np.arange(2 * STEPS + 1) / (2 * STEPS)
    directions = np.stack(
        [np.outer(np.sin(polar), np.sin(around)), np.outer(np.cos(polar), np.ones_like(around)),
         np.outer(np.sin(polar), np.cos(around))], axis=2,
    )  # fmt: skip
    lengths = (np.abs(directions) ** power).sum(axis=2, keepdims=True) ** (-1 / power)
    return Part(directions * lengths, np.tile(color, (STEPS + 1, 1)))


def star(points: int, inner: float) -> np.ndarray:
    """The outline of a star with straight sides [n 2]."""
    corners = np.arange(2 * points + 1)
    reach = np.where(corners % 2 == 0, 1.0, inner)
    angles = np.pi * corners / points
    tips = np.stack([-reach * np.sin(angles), reach * np.cos(angles)], axis=1)
    along = np.arange(6)[None, :, None] / 6
    return (tips[:-1, None] * (1 - along) + tips[1:, None] * along).reshape(-1, 2)


def heart() -> np.ndarray:
    """The well-known outline [n 2]."""
    t = -2 * np.pi * np.arange(64) / 64
    x = 16 * np.sin(t) ** 3
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return np.stack([x, y + 2], axis=1) / 16


def objects() -> dict[str, tuple[str, list[Part]]]:
    """Name -> caption and parts."""
    cap = arc(0.1, 0.9, 0, 90, squash=0.75)
    stem = [(0.9, 0.1), (0.27, 0.02), (0.25, -0.5), (0.36, -0.85), (0.0, -0.85)]
    tree = [(0.0, 1.0), (0.58, -0.42), (0.13, -0.42), (0.13, -0.95), (0.0, -0.95)]
    vase = [(0.0, 0.75), (0.2, 0.75), (0.32, 0.9), (0.3, 0.8), (0.17, 0.55), (0.2, 0.42), (0.42, 0.2), (0.55, -0.08),
            (0.56, -0.3), (0.46, -0.6), (0.3, -0.82), (0.28, -0.9), (0.0, -0.9)]  # fmt: skip
    body = arc(-0.42, 0.53, 0, 180)
    head = arc(0.3, 0.34, 0, 180)
    hat = [(0.0, 1.0), (0.24, 1.0), (0.24, 0.6), (0.42, 0.6), (0.42, 0.52), (0.0, 0.52)]
    return {
        "cube": ("an orange cube", [rounded_cube(8, ORANGE)]),
        "heart": ("a red heart", [puffed(heart(), 0.45, RED)]),
        "mushroom": (
            "a red mushroom with a white stem",
            [lathe(cap + stem[1:], [RED] * len(cap) + [WHITE] * (len(stem) - 2))],
        ),
        "ring": ("a dark blue ring", [ring(0.72, 0.26, NAVY)]),
        "snowman": (
            "a white snowman with a black hat",
            [lathe(body, [WHITE] * 16), lathe(head, [WHITE] * 16), lathe(hat, [BLACK] * 5)],
        ),
        "star": ("a yellow star", [puffed(star(5, 0.45), 0.32, YELLOW)]),
        "tree": ("a green tree with a brown trunk", [lathe(tree, [GREEN, GREEN, BROWN, BROWN])]),
        "vase": ("a light blue vase", [lathe(vase, [SKY] * (len(vase) - 1))]),
    }


def facets(part: Part) -> tuple[np.ndarray, np.ndarray]:
    """The flat pieces of a part: corners [f 4 3] and their colour in linear light [f 3], with the light on them."""
    points = part.points
    corners = np.stack([points[:-1, :-1], points[1:, :-1], points[1:, 1:], points[:-1, 1:]], axis=2).reshape(-1, 4, 3)
    normals = np.cross(corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1])
    lengths = np.linalg.norm(normals, axis=1)
    kept = lengths > 1e-9
    light = AMBIENT + DIFFUSE * (1 + normals[kept] / lengths[kept, None] @ LIGHT) / 2
    colors = np.repeat(part.colors[:-1], points.shape[1] - 1, axis=0)[kept]
    return corners[kept], colors**2.2 * light[:, None]


def build(name: str, parts: list[Part]) -> bytes:
    """The GLB of an object."""
    pieces = [facets(part) for part in parts]
    corners = np.concatenate([piece[0] for piece in pieces])
    positions = corners.reshape(-1, 3).round(4).astype("<f4")
    colors = np.repeat(np.concatenate([piece[1] for piece in pieces]), 4, axis=0).round(4).astype("<f4")
    triangles = (4 * np.arange(len(corners))[:, None] + np.array([0, 1, 2, 0, 2, 3])).astype("<u4")
    blocks = [positions.tobytes(), colors.tobytes(), triangles.tobytes()]
    starts = np.cumsum([0, *map(len, blocks)]).tolist()
    bounds = {"min": positions.min(axis=0).tolist(), "max": positions.max(axis=0).tolist()}
    document = {
        "asset": {"version": "2.0", "generator": "gatlas examples/make_objects.py"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"name": name, "mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0, "COLOR_0": 1}, "indices": 2}]}],
        "accessors": [
            {"bufferView": 0, "componentType": 5126, "count": len(positions), "type": "VEC3", **bounds},
            {"bufferView": 1, "componentType": 5126, "count": len(positions), "type": "VEC3"},
            {"bufferView": 2, "componentType": 5125, "count": int(triangles.size), "type": "SCALAR"},
        ],
        "bufferViews": [
            {"buffer": 0, "byteOffset": start, "byteLength": len(block)}
            for start, block in zip(starts, blocks, strict=False)
        ],
        "buffers": [{"byteLength": starts[-1]}],
    }
    text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<II", len(text), 0x4E4F534A) + text + struct.pack("<II", starts[-1], 0x004E4942)
    body = chunks + b"".join(blocks)
    return struct.pack("<4sII", b"glTF", 2, 12 + len(body)) + body


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    captions = {}
    for name, (caption, parts) in objects().items():
        (folder / f"{name}.glb").write_bytes(build(name, parts))
        captions[name] = caption
    (folder / "captions.json").write_text(json.dumps(captions, indent=2) + "\n")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("Usage: python examples/make_objects.py FOLDER")
    main(Path(sys.argv[1]))
