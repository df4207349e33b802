"""Folders of pictures with a transforms.json: the NeRF and Blender convention.

A frame's `transform_matrix` is camera -> world with OpenGL axes (x right, y up, z backwards); in memory the cameras
are world -> camera with OpenCV axes. The world's axes are left as they are: files of ours have y up.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gatlas.errors import GatlasError
from gatlas.io import streams
from gatlas.io.arrays import host_array
from gatlas.io.images import decode_image, encode_png
from gatlas.io.streams import Blob
from gatlas.types import Cameras, Views

if TYPE_CHECKING:
    from jaxtyping import Float

INDEX = "transforms.json"
_INDEXES = (INDEX, "transforms_train.json")
_SUFFIXES = ("", ".png", ".jpg", ".jpeg", ".webp")  # Blender's files leave it out
_DISTORTIONS = ("k1", "k2", "k3", "k4", "p1", "p2")
_FLIP = np.diag([1.0, -1.0, -1.0, 1.0])  # OpenGL <-> OpenCV camera axes


def read_cameras(source: str | Path | Blob) -> Cameras:
    """The cameras of a transforms.json, or of the folder that holds it.

    A file that does not give the pictures' size takes it from the first picture, which then must be there.
    """
    blob, document = _read_index(source)
    size = _size(blob, document, document["frames"][0])
    if size is None:
        first = _picture(blob, document["frames"][0])
        if first is None:
            raise GatlasError(
                f"{blob.name}: no picture size: it has no 'w' and 'h', and its first picture is not there"
            )
        height, width = decode_image(streams.read(first)).shape[:2]
        size = (width, height)
    return _cameras(blob, document, *size)


def read_views(folder: str | Path) -> Views:
    """The pictures and cameras of a folder with a transforms.json, or of that file itself.

    All pictures must have one size. Where some have transparency, the others become opaque RGBA.
    """
    blob, document = _read_index(folder)
    frames = document["frames"]
    paths = [_picture(blob, frame) for frame in frames]
    missing = [str(frame.get("file_path")) for frame, path in zip(frames, paths, strict=True) if path is None]
    if missing:
        named = ", ".join(missing[:3]) + (", …" if len(missing) > 3 else "")
        raise GatlasError(f"{blob.name}: {len(missing)} of its {len(frames)} pictures are missing: {named}")
    pictures = [decode_image(streams.read(path)) for path in paths if path is not None]
    height, width = pictures[0].shape[:2]
    for path, picture in zip(paths, pictures, strict=True):
        if picture.shape[:2] != (height, width):
            raise GatlasError(
                f"{path}: the picture has {picture.shape[1]} x {picture.shape[0]} pixels, "
                f"{paths[0]} has {width} x {height}: all must have one size"
            )
    stated = _size(blob, document, frames[0])
    if stated is not None and stated != (width, height):
        raise GatlasError(
            f"{blob.name}: it says {stated[0]} x {stated[1]} pixels, the pictures have {width} x {height}"
        )
    depth = max(picture.shape[2] for picture in pictures)
    images = np.ones((len(pictures), height, width, depth), dtype=np.float32)
    for image, picture in zip(images, pictures, strict=True):
        image[:, :, : picture.shape[2]] = picture
    return Views(images, _cameras(blob, document, width, height))


def write_views(folder: str | Path, views: Views, *, force: bool) -> None:
    """Write `images/000.png` … and, last, the transforms.json that names them.

    A folder that was not there appears whole or not at all.
    """
    cameras = views.cameras
    images = host_array(views.images)
    digits = max(3, len(str(len(views) - 1)))
    names = [f"images/{i:0{digits}d}.png" for i in range(len(views))]
    index = json.dumps(_document(cameras, names), indent=2, allow_nan=False) + "\n"
    with streams.filling_folder(folder, force=force) as target:
        (target / INDEX).unlink(missing_ok=True)
        (target / "images").mkdir(exist_ok=True)
        for name, image in zip(names, images, strict=True):
            streams.write(target / name, [encode_png(image)], force=True, suffix=".png", what="a picture")
        streams.write(target / INDEX, [index.encode()], force=True, suffix=".json", what="cameras")


def _document(cameras: Cameras, names: list[str]) -> dict[str, Any]:
    """Intrinsics stand once where all cameras share them, else in every frame."""
    if len(cameras) == 0:
        raise GatlasError("there are no views to write")
    Ks = host_array(cameras.Ks).astype(np.float64)
    poses = np.linalg.inv(host_array(cameras.viewmats).astype(np.float64)) @ _FLIP
    if not (np.isfinite(poses).all() and np.isfinite(Ks).all()):
        raise GatlasError("not written: a camera has values that are NaN or infinite")
    if np.any(Ks[:, 0, 1]) or np.any(Ks[:, 1, 0]):
        raise ValueError("a transforms.json cannot hold cameras with skew")
    intrinsics = [_intrinsics(K, cameras.width) for K in Ks]
    shared = all(each == intrinsics[0] for each in intrinsics)
    frames = [
        {"file_path": name, **({} if shared else own), "transform_matrix": pose.tolist()}
        for name, own, pose in zip(names, intrinsics, poses, strict=True)
    ]
    return {**(intrinsics[0] if shared else {}), "w": cameras.width, "h": cameras.height, "frames": frames}


def _intrinsics(K: Float[np.ndarray, "3 3"], width: int) -> dict[str, float]:
    return {
        "camera_angle_x": 2 * math.atan(0.5 * width / K[0, 0]),
        "fl_x": float(K[0, 0]),
        "fl_y": float(K[1, 1]),
        "cx": float(K[0, 2]),
        "cy": float(K[1, 2]),
    }


def _read_index(source: str | Path | Blob) -> tuple[Blob, dict[str, Any]]:
    """The bytes and the checked content of a transforms.json."""
    if not isinstance(source, Blob):
        if streams.is_folder(source):
            folder = Path(source)
            found = [folder / name for name in _INDEXES if (folder / name).is_file()]
            if not found:
                raise GatlasError(f"{folder}: there is no {INDEX} in this folder")
            source = found[0]
        source = streams.read(source)
    try:
        document = json.loads(source.data)
    except ValueError as error:
        raise GatlasError(f"{source.name}: not a {INDEX}: it is no JSON: {error}") from None
    frames = document.get("frames") if isinstance(document, dict) else None
    if not isinstance(frames, list) or not frames or not all(isinstance(frame, dict) for frame in frames):
        raise GatlasError(f"{source.name}: not a {INDEX}: it has no list of 'frames'")
    return source, document


def _picture(blob: Blob, frame: dict[str, Any]) -> Path | None:
    """Where a frame's picture lies; None where it does not."""
    name = frame.get("file_path")
    if not isinstance(name, str) or not name:
        return None
    path = (blob.path.parent if blob.path is not None else Path()) / name
    candidates = (path.with_name(path.name + suffix) for suffix in _SUFFIXES)
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def _number(blob: Blob, document: dict[str, Any], frame: dict[str, Any], key: str) -> float | None:
    """A frame's own value, else the file's, else None."""
    value = frame.get(key, document.get(key))
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise GatlasError(f"{blob.name}: '{key}' must be a number, got {value!r}")
    return float(value)


def _size(blob: Blob, document: dict[str, Any], frame: dict[str, Any]) -> tuple[int, int] | None:
    """Width and height in pixels; None where the file does not say."""
    width, height = (_number(blob, document, frame, key) for key in ("w", "h"))
    if width is None or height is None:
        return None
    if width < 1 or height < 1 or width != int(width) or height != int(height):
        raise GatlasError(f"{blob.name}: the picture size {width:g} x {height:g} is no whole number of pixels")
    return int(width), int(height)


def _cameras(blob: Blob, document: dict[str, Any], width: int, height: int) -> Cameras:
    frames = document["frames"]
    viewmats, Ks = np.empty((len(frames), 4, 4)), np.zeros((len(frames), 3, 3))
    for i, frame in enumerate(frames):
        _check_lens(blob, document, frame)
        if _size(blob, document, frame) not in (None, (width, height)):
            raise GatlasError(f"{blob.name}: its frames have pictures of several sizes: all must have one size")
        viewmats[i] = np.linalg.inv(_pose(blob, frame, i) @ _FLIP)
        Ks[i] = _projection(blob, document, frame, width, height)
    return Cameras(viewmats.astype(np.float32), Ks.astype(np.float32), width, height)


def _projection(
    blob: Blob, document: dict[str, Any], frame: dict[str, Any], width: int, height: int
) -> Float[np.ndarray, "3 3"]:
    fx, fy, cx, cy, angle_x, angle_y = (
        _number(blob, document, frame, key) for key in ("fl_x", "fl_y", "cx", "cy", "camera_angle_x", "camera_angle_y")
    )
    if fx is None and angle_x is not None and 0 < angle_x < math.pi:
        fx = 0.5 * width / math.tan(0.5 * angle_x)
    if fy is None and angle_y is not None and 0 < angle_y < math.pi:
        fy = 0.5 * height / math.tan(0.5 * angle_y)
    fx, fy = (fy if fx is None else fx), (fx if fy is None else fy)
    if fx is None or fy is None or fx <= 0 or fy <= 0:
        raise GatlasError(f"{blob.name}: no focal length: it needs 'fl_x' in pixels or 'camera_angle_x' in radians")
    cx, cy = (0.5 * width if cx is None else cx), (0.5 * height if cy is None else cy)
    return np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])


def _check_lens(blob: Blob, document: dict[str, Any], frame: dict[str, Any]) -> None:
    """Pinholes only: a lens that bends the picture would give a fit that is wrong without a word."""
    for key in _DISTORTIONS:
        value = _number(blob, document, frame, key)
        if value:
            raise GatlasError(f"{blob.name}: lens distortion ({key} = {value:g}) is not read: undistort the pictures")
    model = frame.get("camera_model", document.get("camera_model", "PINHOLE"))
    if model not in ("PINHOLE", "SIMPLE_PINHOLE", "OPENCV", "RADIAL", "SIMPLE_RADIAL"):
        raise GatlasError(f"{blob.name}: the camera model {model!r} is not read: undistort the pictures to pinholes")


def _pose(blob: Blob, frame: dict[str, Any], i: int) -> Float[np.ndarray, "4 4"]:
    """A frame's camera -> world matrix, which must be a rigid motion."""
    try:
        matrix = np.array(frame.get("transform_matrix"), dtype=np.float64)
    except (TypeError, ValueError):
        matrix = np.empty(0)
    if matrix.shape not in ((4, 4), (3, 4)) or not np.isfinite(matrix).all():
        raise GatlasError(f"{blob.name}: frame {i}: 'transform_matrix' must be 4 x 4 numbers")
    rotation = matrix[:3, :3]
    if np.abs(rotation.T @ rotation - np.eye(3)).max() > 1e-2 or np.linalg.det(rotation) < 0:
        raise GatlasError(f"{blob.name}: frame {i}: 'transform_matrix' is not a rotation and a position")
    pose = np.eye(4)
    pose[:3] = matrix[:3]
    return pose
