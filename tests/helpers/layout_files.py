"""Writers of the layouts of other programs, from their formats' descriptions; rotations by scipy."""

import json

import numpy as np
from PIL import Image

XYZ = np.array([[0.25, -0.5, 0.125], [0.0, 1.0, 2.0]])
RGB = np.array([[255, 0, 51], [0, 102, 255]])
FLIP = np.diag([1.0, -1.0, -1.0])  # between OpenCV's camera axes and OpenGL's


def save_pictures(folder, names, size, **options):
    folder.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(names):
        Image.new("RGB", size, (51 * i, 0, 255)).save(folder / name, **options)


def rotation_of(matrix):
    from scipy.spatial.transform import Rotation

    return Rotation.from_matrix(matrix)


def write_opensfm(folder, cameras, names, **more):
    """`more` are entries of the camera, in place of a perspective's."""
    width, height, side = cameras.width, cameras.height, max(cameras.width, cameras.height)
    K = cameras.Ks[0].astype(float)
    lens = {"projection_type": "perspective", "focal": K[0, 0] / side, "k1": 0.0, "k2": 0.0}
    shots = {
        name: {
            "rotation": rotation_of(viewmat[:3, :3]).as_rotvec().tolist(),
            "translation": viewmat[:3, 3].astype(float).tolist(),
            "camera": "v2 phone",
            "orientation": 1,
        }
        for name, viewmat in zip(names, cameras.viewmats, strict=True)
    }
    points = {
        str(i): {"coordinates": p.tolist(), "color": c.tolist()} for i, (p, c) in enumerate(zip(XYZ, RGB, strict=True))
    }
    found = {
        "cameras": {"v2 phone": {"width": width, "height": height, **(more or lens)}},
        "shots": shots,
        "points": points,
    }
    other = {"cameras": {}, "shots": {}, "points": {}}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "reconstruction.json").write_text(json.dumps([other, found]))
    save_pictures(folder / "images", names, (width, height))


def camera_to_world(viewmat):
    """The rotation and the position of a camera, with OpenGL axes."""
    rotation = viewmat[:3, :3].astype(float).T
    return rotation @ FLIP, -rotation @ viewmat[:3, 3].astype(float)


def write_polycam(folder, cameras, names, part="corrected_"):
    place = folder / "keyframes" / f"{part}cameras"
    place.mkdir(parents=True, exist_ok=True)
    for name, viewmat, K in zip(names, cameras.viewmats, cameras.Ks, strict=True):
        rotation, position = camera_to_world(viewmat)
        rows = np.column_stack([rotation, position])
        entry = {f"t_{i}{j}": float(rows[i, j]) for i in range(3) for j in range(4)}
        entry |= {"fx": float(K[0, 0]), "fy": float(K[1, 1]), "cx": float(K[0, 2]), "cy": float(K[1, 2])}
        entry |= {"width": cameras.width, "height": cameras.height, "blur_score": 100.0}
        (place / name).with_suffix(".json").write_text(json.dumps(entry))
    save_pictures(folder / "keyframes" / f"{part}images", names, (cameras.width, cameras.height))


def write_record3d(folder, cameras, each=False, place="rgb", suffix="jpg"):
    """`each` gives every picture intrinsics of its own."""
    poses = []
    for viewmat in cameras.viewmats:
        rotation, position = camera_to_world(viewmat)
        poses.append([*rotation_of(rotation).as_quat().tolist(), *position.tolist()])
    document = {"w": cameras.width, "h": cameras.height, "fps": 60, "poses": poses}
    document["K"] = cameras.Ks[0].astype(float).T.ravel().tolist()
    if each:
        document["perFrameIntrinsicCoeffs"] = [
            [float(K[0, 0]), float(K[1, 1]), float(K[0, 2]), float(K[1, 2])] for K in cameras.Ks
        ]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metadata.json").write_text(json.dumps(document))
    names = [f"{i}.{suffix}" for i in range(len(cameras))]
    save_pictures(folder / place, names, (cameras.width, cameras.height))


def write_bundler(folder, cameras, names, k1=0.0, k2=0.0, unregistered=1, place="bundle"):
    """The last `unregistered` names have cameras of zeros."""
    spell = lambda values: " ".join(repr(float(value)) for value in values)  # noqa: E731
    lines = ["# Bundle file v0.3", f"{len(names)} {len(XYZ)}"]
    for viewmat, K in list(zip(cameras.viewmats, cameras.Ks, strict=True))[: len(names) - unregistered]:
        R, t = FLIP @ viewmat[:3, :3], FLIP @ viewmat[:3, 3]
        lines += [spell([K[0, 0], k1, k2]), *(spell(row) for row in R), spell(t)]
    lines += ["0 0 0"] * 5 * unregistered
    for xyz, rgb in zip(XYZ, RGB, strict=True):
        lines += [spell(xyz), " ".join(map(str, rgb)), "2 0 17 -1.5 2.5 1 18 3 4"]
    (folder / place).mkdir(parents=True, exist_ok=True)
    (folder / place / "bundle.out").write_text("\n".join(lines) + "\n")
    (folder / "list.txt").write_text("".join(f"./{name} 0 500.0\n" for name in names))
    save_pictures(folder, names, (cameras.width, cameras.height))
