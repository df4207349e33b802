"""Make examples/rocket.glb: a small textured toy rocket that looks different from every side.

The bytes are the same on every machine: the picture is stored without compression, the positions are rounded.
Run: python examples/make_example.py [OUTPUT]
"""

from __future__ import annotations

import json
import struct
import sys
import zlib
from pathlib import Path

import numpy as np

SEGMENTS = 24  # around the body
SIDE = 64  # pixels of the texture: the body above, four swatches of 16 pixels below
BODY_ROWS = 48

PALETTE = np.array(
    [
        [242, 240, 232], [214, 48, 42], [40, 52, 84], [120, 200, 238], [250, 200, 40], [60, 62, 70],
        [42, 150, 92], [200, 198, 190], [232, 120, 40], [255, 255, 255],
    ],
    dtype=np.uint8,
)  # fmt: skip
CREAM, RED, NAVY, SKY, YELLOW, GREY, GREEN, SHADE, ORANGE, WHITE = range(len(PALETTE))
SWATCHES = (RED, YELLOW, GREY, ORANGE)

LETTER = ["01110", "10001", "10000", "10111", "10001", "10001", "01110"]  # G

# Height and radius of the body from the tip down; the last ring is the mouth of the nozzle.
PROFILE = [
    (1.0, 0.0), (0.92, 0.075), (0.8, 0.15), (0.64, 0.222), (0.45, 0.285), (0.22, 0.33), (-0.05, 0.345),
    (-0.3, 0.325), (-0.52, 0.275), (-0.68, 0.215),
]  # fmt: skip
NOZZLE = [(-0.68, 0.215), (-0.68, 0.13), (-0.8, 0.19), (-0.8, 0.0)]
FIN = [(0.27, -0.32), (0.62, -0.72), (0.62, -0.95), (0.2, -0.66)]  # distance from the axis, height
FIN_THICKNESS = 0.035


def paint() -> np.ndarray:
    """Palette indices of the texture [64 64]. Column 32 is the front of the body, column 0 its back."""
    pixels = np.full((SIDE, SIDE), CREAM, dtype=np.uint8)
    rows, columns = np.mgrid[:BODY_ROWS, :SIDE]
    body = pixels[:BODY_ROWS]
    body[rows < 13] = RED
    body[rows == 13] = NAVY
    body[(rows >= 36) & (rows < 40) & ((columns // 4 + rows // 2) % 2 == 0)] = NAVY
    body[rows >= 44] = SHADE
    for center, radius, color in ((32, 6.2, NAVY), (32, 4.4, SKY)):  # a window in front
        body[np.hypot(columns + 0.5 - center, rows + 0.5 - 22) < radius] = color
    body[19:21, 29:31] = WHITE
    body[17:34, 5:12] = GREEN  # a door at the back, on the left
    body[25:27, 10:11] = YELLOW
    for row, bits in enumerate(LETTER):  # a letter on the right
        for column, bit in enumerate(bits):
            if bit == "1":
                body[18 + 2 * row : 20 + 2 * row, 46 + column] = RED
    for k, color in enumerate(SWATCHES):
        pixels[BODY_ROWS:, 16 * k : 16 * (k + 1)] = color
    return pixels


def png(pixels: np.ndarray) -> bytes:
    """A PNG of palette indices, 4 bits a pixel, in one stored (not compressed) block."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    packed = (pixels[:, ::2] << 4 | pixels[:, 1::2]).astype(np.uint8)
    raw = b"".join(b"\0" + row.tobytes() for row in packed)
    stored = (
        b"\x78\x01\x01" + struct.pack("<HH", len(raw), len(raw) ^ 0xFFFF) + raw + struct.pack(">I", zlib.adler32(raw))
    )
    head = struct.pack(">IIBBBBB", SIDE, SIDE, 4, 3, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        [chunk(b"IHDR", head), chunk(b"PLTE", PALETTE.tobytes()), chunk(b"IDAT", stored), chunk(b"IEND", b"")]
    )


def lathe(profile: list[tuple[float, float]], rows: tuple[float, float] | None, swatch: int = 0):
    """A surface of revolution: positions, uvs, triangles. `rows` is the part of the texture it takes, or None."""
    turns = np.arange(SEGMENTS + 1) / SEGMENTS
    angles = 2 * np.pi * (turns - 0.5)  # 0 is the front, +z; a quarter is the right, +x
    positions, uvs = [], []
    for k, (height, radius) in enumerate(profile):
        ring = [radius * np.sin(angles), np.full_like(angles, height), radius * np.cos(angles)]
        positions.append(np.stack(ring, axis=1))
        if rows is None:
            uvs.append(np.tile([(16 * swatch + 8) / SIDE, (BODY_ROWS + 8) / SIDE], (SEGMENTS + 1, 1)))
        else:
            along = rows[0] + (rows[1] - rows[0]) * k / (len(profile) - 1)
            uvs.append(np.stack([turns, np.full_like(turns, along / SIDE)], axis=1))
    triangles = []
    for k in range(len(profile) - 1):
        for i in range(SEGMENTS):
            a, b = k * (SEGMENTS + 1) + i, (k + 1) * (SEGMENTS + 1) + i
            if profile[k][1] > 0:
                triangles.append([a, b + 1, a + 1])
            if profile[k + 1][1] > 0:
                triangles.append([a, b, b + 1])
    return np.concatenate(positions), np.concatenate(uvs), np.array(triangles)


def fin(angle: float, swatch: int):
    """A flat fin that stands out at an angle from the front: positions, uvs, triangles."""
    outward = np.array([np.sin(angle), 0.0, np.cos(angle)])
    sideways = np.array([np.cos(angle), 0.0, -np.sin(angle)]) * FIN_THICKNESS / 2
    outline = np.array([distance * outward + [0.0, height, 0.0] for distance, height in FIN])
    positions = np.concatenate([outline + sideways, outline - sideways])
    triangles = [[0, 1, 3], [1, 2, 3], [4, 7, 5], [5, 7, 6]]
    for k in range(4):
        m = (k + 1) % 4
        triangles += [[k, k + 4, m], [m, k + 4, m + 4]]
    uvs = np.tile([(16 * swatch + 8) / SIDE, (BODY_ROWS + 8) / SIDE], (8, 1))
    return positions, uvs, np.array(triangles)


def build() -> bytes:
    """The whole GLB."""
    pieces = [lathe(PROFILE, (0.0, BODY_ROWS - 0.5)), lathe(NOZZLE, None, swatch=2)]
    for k, swatch in enumerate((0, 1, 0)):  # the fin to the right is yellow
        pieces.append(fin(np.radians((-60, 60, 180)[k]), swatch))
    starts = np.cumsum([0, *(len(piece[0]) for piece in pieces)])
    positions = np.concatenate([piece[0] for piece in pieces]).round(4).astype("<f4")
    uvs = np.concatenate([piece[1] for piece in pieces]).round(6).astype("<f4")
    triangles = np.concatenate([piece[2] + start for piece, start in zip(pieces, starts, strict=False)]).astype("<u2")

    blocks = [positions.tobytes(), uvs.tobytes(), triangles.tobytes(), png(paint())]
    binary, views = b"", []
    for block in blocks:
        views.append({"buffer": 0, "byteOffset": len(binary), "byteLength": len(block)})
        binary += block + bytes(-len(block) % 4)
    bounds = {"min": positions.min(axis=0).tolist(), "max": positions.max(axis=0).tolist()}
    count = len(positions)
    document = {
        "asset": {"version": "2.0", "generator": "gatlas examples/make_example.py"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"name": "rocket", "mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0, "TEXCOORD_0": 1}, "indices": 2, "material": 0}]}],
        "materials": [
            {
                "name": "paint",
                "pbrMetallicRoughness": {"baseColorTexture": {"index": 0}, "metallicFactor": 0, "roughnessFactor": 0.6},
            }
        ],
        "textures": [{"source": 0, "sampler": 0}],
        "samplers": [{"wrapS": 10497, "wrapT": 33071}],
        "images": [{"bufferView": 3, "mimeType": "image/png"}],
        "accessors": [
            {"bufferView": 0, "componentType": 5126, "count": count, "type": "VEC3", **bounds},
            {"bufferView": 1, "componentType": 5126, "count": count, "type": "VEC2"},
            {"bufferView": 2, "componentType": 5123, "count": int(triangles.size), "type": "SCALAR"},
        ],
        "bufferViews": views,
        "buffers": [{"byteLength": len(binary)}],
    }
    text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    total = 12 + 8 + len(text) + 8 + len(binary)
    return (
        struct.pack("<4sII", b"glTF", 2, total)
        + struct.pack("<II", len(text), 0x4E4F534A) + text
        + struct.pack("<II", len(binary), 0x004E4942) + binary
    )  # fmt: skip


if __name__ == "__main__":
    output = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("rocket.glb")
    output.write_bytes(build())
