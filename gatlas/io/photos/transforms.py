"""Folders of pictures with a transforms.json: the NeRF and Blender convention.

A frame's `transform_matrix` is camera -> world with OpenGL axes (x right, y up, z backwards); in memory the cameras
are world -> camera with OpenCV axes. The world's axes are left as they are: files of ours have y up.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gatlas.errors import GatlasError
from gatlas.geometry.cameras import opengl_poses, viewmats_of_opengl
from gatlas.geometry.lens import Lens
from gatlas.io import outputs, registry, streams
from gatlas.io.arrays import host_array
from gatlas.io.images import encode_depth_png, encode_png, read_header
from gatlas.io.json_reader import read_json
from gatlas.io.photos.colmap_records import MOST_PIXELS
from gatlas.io.photos.exif_turns import KEY as EXIF_TURNED
from gatlas.io.photos.named_files import find_named
from gatlas.io.photos.points import ply_points
from gatlas.io.photos.posed_photos import PosedPhoto, cameras_of, orthonormalized, pinhole, views_of
from gatlas.io.streams import Blob

if TYPE_CHECKING:
    from jaxtyping import Float

    from gatlas.io.photos.points import Points
    from gatlas.types import AnyCameras, AnyViews

INDEX = "transforms.json"
_INDEXES = (INDEX, "transforms_train.json")
_FOCAL = ("fl_x", "fl_y", "camera_angle_x", "camera_angle_y")
_LENSES = ("PINHOLE", "SIMPLE_PINHOLE", "OPENCV", "RADIAL", "SIMPLE_RADIAL")


def read_cameras(source: str | Path | Blob) -> AnyCameras:
    """The cameras of a transforms.json, or of the folder that holds it: pinholes, once their lenses are undone.

    A frame without a size takes it from its picture, or else from the first that is there; one must be.
    """
    blob, document = _read_index(source)
    return cameras_of(blob.name, _posed_photos(blob, document), keep_single=True)


def read_views(
    folder: str | Path,
    *,
    side: int | None = None,
    pick: Callable[[int], Sequence[int]] | None = None,
    one_size: bool = False,
) -> AnyViews:
    """The pictures and cameras of a folder with a transforms.json, or of that file itself.

    Lens distortion is undone. A frame's `mask_path` names a grey picture that is white
    where the object is and black where the picture is to be empty. Where some pictures have a mask or transparency, the
    others become opaque RGBA. Pictures that are missing are left out with one warning. Pictures are reduced until their
    longer side is at most `side` pixels. `pick` chooses, from the number of pictures, which of them to read.
    With `one_size`, pictures of several sizes are a GatlasError.
    """
    blob, document = _read_index(folder)
    photos = _posed_photos(blob, document)
    sizes = sorted({photo.size for photo in photos})
    if one_size and len(sizes) > 1:
        named = ", ".join(f"{width} x {height}" for width, height in sizes[:3])
        raise GatlasError(f"{blob.name}: its pictures have several sizes ({named}), and one is needed here")
    if pick is not None:
        there = [photo for photo in photos if photo.picture is not None] or photos
        photos = [there[i] for i in pick(len(there))]
    return views_of(blob.name, photos, side)


def read_posed_photos(folder: str | Path | Blob) -> tuple[str, list[PosedPhoto]]:
    """Return the name of the index and its frames."""
    blob, document = _read_index(folder)
    return blob.name, _posed_photos(blob, document)


def read_points(source: str | Path | Blob) -> Points | None:
    """The point cloud that a nerfstudio file names as its `ply_file_path`; None where it names none."""
    blob, document = _read_index(source)
    name = document.get("ply_file_path")
    if name is None:
        return None
    if not isinstance(name, str) or not name:
        raise GatlasError(f"{blob.name}: 'ply_file_path' must be the name of a file, got {name!r:.200}")
    (path,) = find_named(blob.name, [_folder(blob)], [name], noun="point cloud")
    return ply_points(streams.read(path or _folder(blob) / name))


def has_index(folder: str | Path) -> bool:
    """Return True if the folder holds a transforms.json or one of its variants."""
    return any((Path(folder) / name).is_file() for name in _INDEXES)


def index_of(folder: str | Path) -> Path:
    """The transforms.json (or one of its kin) of a folder; a GatlasError where there is none."""
    found = next((Path(folder) / name for name in _INDEXES if (Path(folder) / name).is_file()), None)
    if found is None:
        suffix = picture_suffix(folder)
        hint = f": name its photos themselves, {Path(folder)}/*{suffix}" if suffix else ""
        raise GatlasError(f"{Path(folder)}: there is no {INDEX} in this folder{hint}")
    return found


def picture_suffix(folder: str | Path) -> str:
    """The suffix of the first picture in a folder; empty where there is none."""
    with streams.os_errors(folder):
        suffixes = [path.suffix for path in sorted(Path(folder).iterdir())] if Path(folder).is_dir() else []
    return next((suffix for suffix in suffixes if suffix.lower() in registry.suffixes("image")), "")


def has_pictures(folder: str | Path) -> bool:
    """Return True where pictures lie in a folder or in its images/ or input/."""
    return any(picture_suffix(Path(folder) / place) for place in ("", "images", "input"))


def save_views(
    folder: str | Path,
    views: AnyViews,
    *,
    depths: Sequence[Float[np.ndarray, "h w"]] | None = None,
    force: bool = False,
) -> None:
    """Write `images/000.png` … and, last, the transforms.json that names them.

    Depths (z in the camera, units of the cameras; 0 where none) go to 16-bit PNGs, `depths/000.png` …, all in the unit
    that the index calls "depth_unit_scale_factor". A folder that was not there appears whole or not at all.
    """
    unit = None if depths is None else max(float(each.max()) for each in depths) / 65535 or 1.0
    names, index = encode_index(views.cameras, depth_unit=unit)
    with outputs.filling_folder(folder, force=force) as target:
        (target / INDEX).unlink(missing_ok=True)
        (target / "images").mkdir(exist_ok=True)
        for name, image in zip(names, views.images, strict=True):
            outputs.write(target / name, [encode_png(host_array(image))], force=True)
        if depths is not None and unit is not None:
            (target / "depths").mkdir(exist_ok=True)
            for name, each in zip(names, depths, strict=True):
                outputs.write(target / depth_name(name), [encode_depth_png(each, unit)], force=True)
        outputs.write(target / INDEX, [index], force=True)


def depth_name(name: str) -> str:
    """Return the name of the depths beside a picture."""
    return name.replace("images/", "depths/")


def encode_index(cameras: AnyCameras, *, depth_unit: float | None = None, **entries: Any) -> tuple[list[str], bytes]:
    """Return the names of the pictures beside a transforms.json, and its bytes; `entries` are added at its top.

    With the unit of their depths the index names these too, as Nerfstudio reads them.
    """
    digits = max(3, len(str(len(cameras) - 1)))
    names = [f"images/{i:0{digits}d}.png" for i in range(len(cameras))]
    document = {**entries, **_document(cameras, names)}
    if depth_unit is not None:
        document = {"depth_unit_scale_factor": depth_unit, **document}
        for frame in document["frames"]:
            frame["depth_file_path"] = depth_name(frame["file_path"])
    return names, (json.dumps(document, indent=2, allow_nan=False) + "\n").encode()


def _document(cameras: AnyCameras, names: list[str]) -> dict[str, Any]:
    """Intrinsics and sizes stand once where all cameras share them, else in every frame."""
    if len(cameras) == 0:
        raise GatlasError("there are no views to write")
    Ks = host_array(cameras.Ks).astype(np.float64)
    poses = opengl_poses(host_array(cameras.viewmats))
    if not (np.isfinite(poses).all() and np.isfinite(Ks).all()):
        raise GatlasError("not written: a camera has values that are NaN or infinite")
    if np.any(Ks[:, 0, 1]) or np.any(Ks[:, 1, 0]):
        raise ValueError("a transforms.json cannot hold cameras with skew")
    intrinsics = [_intrinsics(K, width) for K, (width, _) in zip(Ks, cameras.sizes, strict=True)]
    sizes = [{"w": width, "h": height} for width, height in cameras.sizes]
    one_size = all(size == sizes[0] for size in sizes)
    shared = one_size and all(each == intrinsics[0] for each in intrinsics)
    frames = [
        {
            "file_path": name,
            **({} if shared else own),
            **({} if one_size else size),
            "transform_matrix": pose.tolist(),
        }
        for name, own, size, pose in zip(names, intrinsics, sizes, poses, strict=True)
    ]
    return {**(intrinsics[0] if shared else {}), **(sizes[0] if one_size else {}), "frames": frames}


def camera_entry(
    viewmat: Float[np.ndarray, "4 4"], K: Float[np.ndarray, "3 3"], width: int, height: int, lens: Lens | None = None
) -> dict[str, Any]:
    """Return the camera entries of a frame; K is that of the stored picture, before undistortion."""
    pose = opengl_poses(viewmat)
    bent = {} if lens is None else {name: value for name, value in lens._asdict().items() if value}
    return {**_intrinsics(K, width), **bent, "w": width, "h": height, "transform_matrix": pose.tolist()}


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
            source = index_of(source)
        source = streams.read(source)
    document = read_json(source, fault=f"not a {INDEX}")
    frames = document.get("frames") if isinstance(document, dict) else None
    if not isinstance(frames, list) or not all(isinstance(frame, dict) for frame in frames):
        registry.refuse_unread(source)
        raise GatlasError(f"{source.name}: not a {INDEX}: it has no list of 'frames'")
    if not frames:
        raise GatlasError(f"{source.name}: has no camera: its list of 'frames' is empty")
    return source, document


def pictures_of(blob: Blob, frames: Sequence[dict[str, Any]]) -> list[Path | None]:
    """Return the path of each frame's picture, or None if it is missing."""
    names = [name if isinstance(name := frame.get("file_path"), str) and name else None for frame in frames]
    suffixes = ("", *registry.suffixes("image"))  # Blender's files leave it out
    return find_named(blob.name, [_folder(blob)], names, noun="picture", suffixes=suffixes)


def masks_of(
    blob: Blob, frames: Sequence[dict[str, Any]], numbers: Sequence[int | None] | None = None
) -> list[Path | None]:
    """Return the path of each frame's mask, or None if it names none; a missing file is a GatlasError.

    With `numbers`, of those of the frames only, and None for a number that is None.
    """
    numbers = range(len(frames)) if numbers is None else numbers
    names = [None if number is None else frames[number].get("mask_path") for number in numbers]
    for i, name in zip(numbers, names, strict=True):
        if name is not None and (not isinstance(name, str) or not name):
            raise GatlasError(f"{blob.name}: frame {i}: 'mask_path' must be the name of a file, got {name!r:.200}")
    others = set(pictures_of(blob, frames)) if any(names) else ()  # by its last part a photo would be its own mask
    found = find_named(blob.name, [_folder(blob)], names, noun="mask", others=others)
    for i, name, path in zip(numbers, names, found, strict=True):
        if name is not None and path is None:
            raise GatlasError(f"{blob.name}: frame {i}: its mask {name!r:.200} is missing")
    return found


def _folder(blob: Blob) -> Path:
    return blob.path.parent if blob.path is not None else Path()


def _number(blob: Blob, document: dict[str, Any], frame: dict[str, Any], key: str) -> float | None:
    """A frame's own value, else the file's, else None."""
    value = frame.get(key, document.get(key))
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise GatlasError(f"{blob.name}: '{key}' must be a number, got {value!r:.200}")
    return float(value)


def picture_size(blob: Blob, document: dict[str, Any], frame: dict[str, Any]) -> tuple[int, int] | None:
    """Width and height in pixels; None if the file has none."""
    width, height = (_number(blob, document, frame, key) for key in ("w", "h"))
    if width is None or height is None:
        return None
    if width < 1 or height < 1 or width != int(width) or height != int(height):
        raise GatlasError(f"{blob.name}: the picture size {width:g} x {height:g} is no whole number of pixels")
    if max(width, height) > MOST_PIXELS:
        raise GatlasError(f"{blob.name}: no picture has {width:g} x {height:g} pixels: correct its 'w' and 'h'")
    return int(width), int(height)


def exif_turned(blob: Blob, document: dict[str, Any], frame: dict[str, Any]) -> bool | None:
    """Return True where a frame's camera is of the picture as its EXIF tag turns it; None if the file does not say."""
    value = frame.get(EXIF_TURNED, document.get(EXIF_TURNED))
    if value is not None and not isinstance(value, bool):
        raise GatlasError(f"{blob.name}: '{EXIF_TURNED}' must be true or false, got {value!r:.200}")
    return value


def _sizes(blob: Blob, document: dict[str, Any], pictures: list[Path | None]) -> list[tuple[tuple[int, int], bool]]:
    """Width and height of each picture, and whether the file states them; else they are those of the file.

    What has no picture either has the size of the first picture that is there.
    """
    frames = document["frames"]
    stated = [picture_size(blob, document, frame) for frame in frames]
    found: dict[Path, tuple[int, int]] = {}
    for frame, size, path in zip(frames, stated, pictures, strict=True):
        if size is None and path is not None and path not in found:
            header = read_header(path)
            found[path] = header.turned_size if exif_turned(blob, document, frame) else header.size
    first = next(iter(found.values()), None)
    if first is None:
        first = next((size for size in stated if size is not None), None)
    if first is None:
        raise GatlasError(f"{blob.name}: no picture size: it has no 'w' and 'h', and none of its pictures is there")
    sizes = [
        (size, True) if size is not None else (first if path is None else found[path], False)
        for size, path in zip(stated, pictures, strict=True)
    ]
    if len({size for size, _ in sizes}) > 1:
        _require_own_intrinsics(blob, frames, sizes)
    return sizes


def _require_own_intrinsics(
    blob: Blob, frames: Sequence[dict[str, Any]], sizes: Sequence[tuple[tuple[int, int], bool]]
) -> None:
    """Refuse pictures of several sizes that share intrinsics without a word on which size these are of."""
    for frame, ((width, height), is_stated) in zip(frames, sizes, strict=True):
        if not is_stated and not any(name in frame for name in _FOCAL):
            other = next(size for size, _ in sizes if size != (width, height))
            raise GatlasError(
                f"{blob.name}: its pictures have several sizes and share intrinsics: {frame.get('file_path')} has "
                f"{width} x {height}, others have {other[0]} x {other[1]}: write w, h and fl_x into each frame"
            )


def _posed_photos(blob: Blob, document: dict[str, Any]) -> list[PosedPhoto]:
    frames = document["frames"]
    poses = np.stack([_pose(blob, frame, i) for i, frame in enumerate(frames)])
    viewmats = viewmats_of_opengl(orthonormalized(poses, blob.name, "frame"))
    pictures, masks = pictures_of(blob, frames), masks_of(blob, frames)
    sizes = _sizes(blob, document, pictures)
    return [
        PosedPhoto(
            name=str(frame.get("file_path")),
            picture=pictures[i],
            mask=masks[i],
            viewmat=viewmats[i],
            K=projection(blob, document, frame, *sizes[i][0]),
            lens=lens_of(blob, document, frame),
            size=sizes[i][0],
            size_stated=sizes[i][1],
            exif_turned=exif_turned(blob, document, frame),
        )
        for i, frame in enumerate(frames)
    ]


def projection(
    blob: Blob, document: dict[str, Any], frame: dict[str, Any], width: int, height: int
) -> Float[np.ndarray, "3 3"]:
    """K of a frame's picture as it lies there, in pixels. A file without a focal length is a GatlasError."""
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
    return pinhole(blob.name, fx, fy, cx, cy)


def lens_of(blob: Blob, document: dict[str, Any], frame: dict[str, Any]) -> Lens:
    """The distortion of a frame's lens. A model that is not read is a GatlasError."""
    model = frame.get("camera_model", document.get("camera_model", "PINHOLE"))
    if frame.get("is_fisheye", document.get("is_fisheye", False)):
        model = "fisheye"
    if model not in _LENSES:
        raise GatlasError(
            f"{blob.name}: the camera model {model!r:.200} is not read: undistort the pictures to pinholes"
        )
    return Lens(**{name: _number(blob, document, frame, name) or 0.0 for name in Lens._fields})


def _pose(blob: Blob, frame: dict[str, Any], i: int) -> Float[np.ndarray, "4 4"]:
    """A frame's camera -> world matrix."""
    try:
        matrix = np.array(frame.get("transform_matrix"), dtype=np.float64)
    except (TypeError, ValueError):
        matrix = np.empty(0)
    if matrix.shape not in ((4, 4), (3, 4)) or not (np.abs(matrix) < np.finfo(np.float32).max).all():
        raise GatlasError(f"{blob.name}: frame {i}: 'transform_matrix' must be 4 x 4 numbers")
    pose = np.eye(4)
    pose[:3] = matrix[:3]
    return pose
