"""A writer of COLMAP models for tests, from the format's description."""

import struct

import numpy as np

NUMBERS = {"SIMPLE_PINHOLE": 0, "PINHOLE": 1, "SIMPLE_RADIAL": 2, "RADIAL": 3, "OPENCV": 4, "OPENCV_FISHEYE": 5}


def quat_of(rotation):
    """wxyz of a rotation matrix, by scipy."""
    from scipy.spatial.transform import Rotation

    x, y, z, w = Rotation.from_matrix(rotation).as_quat()
    return [w, x, y, z]


def rows_of(cameras, names, model="PINHOLE", distortion=()):
    """One camera and one image per view; images in the reverse order of their names, ids from 7 on."""
    rows = []
    for i, (viewmat, K) in enumerate(zip(cameras.viewmats, cameras.Ks, strict=True)):
        focal = [K[0, 0], K[1, 1]] if model in ("PINHOLE", "OPENCV", "OPENCV_FISHEYE") else [K[0, 0]]
        parameters = [*focal, K[0, 2], K[1, 2], *distortion]
        pose = [*quat_of(viewmat[:3, :3]), *viewmat[:3, 3]]
        rows.append((7 + i, model, cameras.width, cameras.height, parameters, pose, names[i]))
    return rows[::-1]


def write_text(folder, rows, xyz=(), rgb=(), seen="1.5 2.5 -1"):
    folder.mkdir(parents=True, exist_ok=True)
    spell = lambda values: " ".join(repr(float(value)) for value in values)  # noqa: E731
    cameras = [f"{i} {model} {w} {h} {spell(p)}" for i, model, w, h, p, _, _ in rows]
    (folder / "cameras.txt").write_text("# Camera list\n" + "\n".join(cameras) + "\n")
    images = [f"{i} {spell(pose)} {i} {name}\n{seen}" for i, _, _, _, _, pose, name in rows]
    (folder / "images.txt").write_text("# Image list\n" + "\n".join(images) + "\n")
    points = [f"{i} {spell(p)} {c[0]} {c[1]} {c[2]} 0.5 1 0 2 0" for i, (p, c) in enumerate(zip(xyz, rgb, strict=True))]
    (folder / "points3D.txt").write_text("# Points\n" + "\n".join(points) + "\n")


def write_binary(folder, rows, xyz=(), rgb=(), seen=2):
    folder.mkdir(parents=True, exist_ok=True)
    cameras = struct.pack("<Q", len(rows))
    images = struct.pack("<Q", len(rows))
    for i, model, w, h, parameters, pose, name in rows:
        cameras += struct.pack(f"<iiQQ{len(parameters)}d", i, NUMBERS[model], w, h, *parameters)
        images += struct.pack("<i7di", i, *pose, i) + name.encode() + b"\0"
        images += struct.pack("<Q", seen) + struct.pack("<ddq", 1.5, 2.5, -1) * seen
    points = struct.pack("<Q", len(xyz))
    for i, (p, c) in enumerate(zip(xyz, rgb, strict=True)):
        points += struct.pack("<Q3d3BdQ", i, *p, *(int(v) for v in c), 0.5, 2) + struct.pack("<iiii", 1, 0, 2, 0)
    for name, payload in (("cameras", cameras), ("images", images), ("points3D", points)):
        (folder / f"{name}.bin").write_bytes(payload)


def project(cameras, i, xyz):
    """Pixels of world points in camera i."""
    local = np.asarray(xyz) @ cameras.viewmats[i, :3, :3].T + cameras.viewmats[i, :3, 3]
    pixels = local @ cameras.Ks[i].T
    return pixels[:, :2] / pixels[:, 2:]
