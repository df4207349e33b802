"""Valid tiny inputs of every kind, made here: each is the files of one folder."""

from __future__ import annotations

import gzip
import io
import json
import struct
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image

from gatlas.geometry.cameras import intrinsics, look_at
from gatlas.io.array_reader import read_members
from gatlas.io.atlases.npz import atlas_bytes, stats_bytes
from gatlas.io.photos.transforms import encode_index
from gatlas.io.splats.gltf_splat_writer import encode_glb_splats, encode_gltf_splats
from gatlas.io.splats.sog_writer import encode_sog
from gatlas.io.splats.spz import encode_spz
from gatlas.io.streams import Blob
from gatlas.types import AtlasStats, Cameras, Origin
from tests.fuzz.damage import Files
from tests.helpers import layout_files
from tests.helpers.atlas_sets import random_atlas
from tests.helpers.colmap_files import rows_of, write_binary, write_text
from tests.helpers.gltf_files import Gltf
from tests.helpers.moving_film import frames_of, mp4_of
from tests.helpers.splat_files import NAMES, dump, foreign, gaussians_of, table

SIDE = 8  # of the grid of atlases
FITTED = Origin(center=(1.0, 2.0, 3.0), pixel_sizes=(0.01, 0.02), ball=(1.0, 2.0, 3.0, 4.0), antialiased=True)
REST = [f"f_rest_{i}" for i in range(9)]


def splat_plys() -> list[Files]:
    rng = np.random.default_rng(0)
    columns = {name: rng.normal(size=4) for name in NAMES if not name.startswith("rot")}
    wide = {**columns, **{name: rng.normal(size=4) for name in REST}}
    return [
        {"a.ply": dump(gaussians_of(4))},
        {"a.ply": dump(gaussians_of(4, degree=1), "y-up")},
        {"a.ply": dump(gaussians_of(4, origin=FITTED))},
        {"a.ply": foreign(table(4, **columns), text=True, comments=["up axis: z", "by a scanner"])},
        {"a.ply": foreign(table(4, names=[*NAMES, *REST], dtype="f8", **wide), byte_order=">")},
    ]


def compressed_plys() -> list[Files]:
    names = [f"{end}_{axis}" for end in ("min", "max") for axis in "xyz"]
    names += [f"{end}_scale_{axis}" for end in ("min", "max") for axis in "xyz"]
    names += [f"{end}_{color}" for end in ("min", "max") for color in "rgb"]
    lines = ["ply", "format binary_little_endian 1.0", "element chunk 1", *(f"property float {name}" for name in names)]
    packed = ("packed_position", "packed_rotation", "packed_scale", "packed_color")
    lines += ["element vertex 3", *(f"property uint {name}" for name in packed)]
    lines += ["element sh 3", *(f"property uchar f_rest_{i}" for i in range(9)), "end_header", ""]
    bounds = struct.pack("<18f", 0, 10, -1, 1, 20, 1, -4, -4, -4, -2, -2, -2, 0, 0, 0, 0.5, 0.5, 0.5)
    body = np.random.default_rng(1).integers(0, 2**32, 12, dtype=np.uint32).astype("<u4").tobytes()
    return [{"a.ply": "\n".join(lines).encode() + bounds + body + bytes(range(27))}]


def dot_splats() -> list[Files]:
    record = struct.pack("<6f8B", 1, 2, 3, 0.1, 0.2, 0.3, 255, 0, 51, 102, 255, 128, 127, 128)
    return [{"a.splat": record * 3}]


def spzs() -> list[Files]:
    files = []
    for version, turn in ((2, 3), (3, 4)):
        head = struct.pack("<IIIBBBB", 0x5053474E, version, 2, 1, 12, 0, 0)
        body = bytes(9 * 2) + bytes([128] * 2) + bytes(3 * 2) + bytes([100] * 6) + bytes([200] * turn * 2) + bytes(18)
        files.append({"a.spz": gzip.compress(head + body, mtime=0)})
    return files


def spz_streams() -> list[Files]:
    files = []
    for degree in (0, 1):
        made = gaussians_of(3, degree=degree, origin=FITTED)
        files.append({"a.spz": encode_spz(replace(made, sh=0.2 * made.sh))})
    return files


def ksplats() -> list[Files]:
    """Two Gaussians in a bucket, with positions and coefficients of every size."""
    files = []
    for level, record in enumerate((44 + 36, 24 + 18, 24 + 9)):
        header = struct.pack("<BB2xIIIIH14xff", 0, 1, 1, 1, 2, 2, level, -1, 1).ljust(4096, b"\0")
        section = struct.pack("<IIIIfH2xI4xIIH", 2, 2, 1, 2, 1.0, 12, 0, 1, 1, 1).ljust(1024, b"\0")
        files.append({"a.ksplat": header + section + struct.pack("<I6f", 1, *range(6)) + b"\x3c" * 2 * record})
    return files


def sogs() -> list[Files]:
    return [{"a.sog": encode_sog(gaussians_of(5, degree=degree, origin=FITTED))} for degree in (0, 1)]


def unbundled_sogs() -> list[Files]:
    """The files of a SOG; meta.json is the first."""
    names = ("means_l", "means_u", "quats", "scales", "sh0")
    blob = Blob("a.sog", sogs()[0]["a.sog"])
    members = read_members(blob, ["meta.json", *(f"{name}.webp" for name in names)])
    return [{"a.json" if name == "meta.json" else name: content for name, content in members.items()}]


def gltf_splats() -> list[Files]:
    files = [{"a.glb": b"".join(encode_glb_splats(gaussians_of(4, degree=d, origin=FITTED)))} for d in (0, 1)]
    return [*files, {"a.gltf": encode_gltf_splats(gaussians_of(4))}]


def meshes_ply() -> list[Files]:
    from plyfile import PlyData, PlyElement

    vertex = np.array([(0, 0, 0, 255), (1, 0, 0, 0), (0, 1, 0, 9), (1, 1, 0, 5)], "f4,f4,f4,u1")
    vertex.dtype.names = ("x", "y", "z", "red")
    face = np.zeros(2, dtype=[("vertex_indices", "O"), ("texcoord", "O")])
    face["vertex_indices"] = [np.array([0, 1, 2], "i4"), np.array([1, 3, 2], "i4")]
    face["texcoord"] = [np.arange(6, dtype="f4") / 6] * 2
    files = []
    for text, order in ((True, "<"), (False, "<"), (False, ">")):
        payload = io.BytesIO()
        elements = [PlyElement.describe(vertex, "vertex"), PlyElement.describe(face, "face")]
        PlyData(elements, text, order, comments=["TextureFile t.png"]).write(payload)
        files.append({"a.ply": payload.getvalue(), "t.png": picture(4)})
    corners = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0]], "<f4").tobytes()
    polygons = struct.pack("<B4iB3i", 4, 0, 1, 3, 2, 3, 0, 1, 2)
    header = "ply\nformat binary_little_endian 1.0\nelement vertex 4\nproperty float x\nproperty float y\n"
    header += "property float z\nelement face 2\nproperty list uchar int vertex_index\nend_header\n"
    strips = header.replace("face 2", "tristrips 1").replace("uchar int", "int int")
    files.append({"a.ply": header.encode() + corners + polygons})
    files.append({"a.ply": strips.encode() + corners + struct.pack("<9i", 8, 0, 1, 2, -1, 1, 3, 2, -1)})
    return files


def objs() -> list[Files]:
    text = (
        "mtllib a.mtl\no thing\nv 0 0 0\nv 1 0 0 1 0 0\nv 1 1 0\nv 0 1 0.5\nvt 0 0\nvt 1 0\nvt 1 1\nvn 0 0 1\n"
        "usemtl one\nf 1/1/1 2/2/1 3/3/1\ns off\ng part\nusemtl two\nf 1//1 3//1 4//1\nf -4 -3 -2 -1\n"
    )
    library = "newmtl one\nKd 1 0.5 0\nmap_Kd -s 1 1 t.png\nd 0.5\nnewmtl two\nKd 0.1 0.2 0.3\nTr 0.1\nillum 2\n"
    library += "Ke 0.5 0 0\nmap_Ke -s 2 2 C:\\\\art\\\\T.PNG\n"
    return [{"a.obj": text.encode(), "a.mtl": library.encode(), "t.png": picture(4)}]


def gltfs() -> list[Files]:
    scene = Gltf()
    uvs = scene.accessor([[0, 0], [1, 0], [0, 1]])
    colors = scene.accessor([[255, 0, 0, 255]] * 3, "u1", normalized=True)
    glow = {
        "emissiveFactor": [0.1, 0, 0],
        "emissiveTexture": {
            "index": scene.texture(picture(3)),
            "extensions": {"KHR_texture_transform": {"scale": [2, 1]}},
        },
        "extensions": {"KHR_materials_emissive_strength": {"emissiveStrength": 2}},
    }
    shiny = scene.textured(picture(2), {"texCoord": 0}, {"wrapS": 33071}, alphaMode="MASK", **glow)
    scene.primitive(
        attributes={"TEXCOORD_0": uvs, "COLOR_0": colors},
        indices=scene.accessor([0, 1, 2], "u2"),
        material=shiny,
        node={"translation": [1, 2, 3], "rotation": [0, 0, 0, 1], "scale": [1, 1, 2]},
    )
    seen = {"KHR_node_visibility": {"visible": True}}
    scene.primitive(
        mode=5, node={"matrix": [*np.eye(4).ravel()], "extensions": seen}, material=scene.material(name="plain")
    )
    sparse = {"count": 1, "indices": {"bufferView": scene.view(b"\x01\0"), "componentType": 5123}}
    sparse["values"] = {"bufferView": scene.view(np.zeros(3, "<f4").tobytes())}
    scene.primitive(attributes={"POSITION": scene.accessor([[0, 0, 0], [1, 0, 0], [0, 1, 0]], sparse=sparse)})
    scene.root["scenes"] = [{"nodes": [0, 1, 2]}]
    scene.root["scene"] = 0
    return [{"a.glb": scene.glb()}, {"a.gltf": scene.json("a.bin"), "a.bin": scene.binary, "t.png": picture(2)}]


def dracos() -> list[Files]:
    import DracoPy

    corners = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0.5]], dtype=np.float32)
    faces = np.array([[0, 1, 2], [0, 2, 3]], dtype=np.uint32)
    stream = DracoPy.encode(corners, faces, tex_coord=corners[:, :2].astype(float), quantization_bits=14)
    scene = Gltf()
    accessors = {"POSITION": scene.describe(None, 4, 3, "f4"), "TEXCOORD_0": scene.describe(None, 4, 2, "f4")}
    extension = {"bufferView": scene.view(stream), "attributes": {"TEXCOORD_0": 0, "POSITION": 1}}
    indices = scene.describe(None, 6, 1, "u2")
    packed = {"attributes": accessors, "indices": indices, "extensions": {"KHR_draco_mesh_compression": extension}}
    scene.root["meshes"].append({"primitives": [packed]})
    scene.root["nodes"].append({"mesh": 0})
    scene.root["extensionsRequired"] = ["KHR_draco_mesh_compression"]
    return [{"a.glb": scene.glb()}]


def meshopts() -> list[Files]:
    import meshoptimizer

    corners = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0.5]], dtype=np.float32)
    faces = np.array([0, 1, 2, 0, 2, 3], dtype=np.uint32)
    packed = [
        (meshoptimizer.encode_vertex_buffer(corners, 4, 12), 4, 12, "ATTRIBUTES"),
        (meshoptimizer.encode_index_buffer(faces, 6, 4), 6, 4, "TRIANGLES"),
    ]
    scene = Gltf()
    views = []
    for stream, count, stride, mode in packed:
        content = {"buffer": 0, "count": count, "byteStride": stride, "mode": mode, "filter": "NONE"}
        number = scene.view(bytes(stream))
        view = scene.root["bufferViews"][number]
        content |= {"byteOffset": view["byteOffset"], "byteLength": view["byteLength"]}
        scene.root["bufferViews"][number] = {
            "buffer": 0, "byteOffset": 0, "byteLength": count * stride,
            "extensions": {"EXT_meshopt_compression": content},
        }  # fmt: skip
        views.append(number)
    position = scene.describe(views[0], 4, 3, "f4")
    mesh = {"primitives": [{"attributes": {"POSITION": position}, "indices": scene.describe(views[1], 6, 1, "u4")}]}
    scene.root["meshes"].append(mesh)
    scene.root["nodes"].append({"mesh": 0})
    scene.root["extensionsRequired"] = scene.root["extensionsUsed"] = ["EXT_meshopt_compression"]
    return [{"a.glb": scene.glb()}]


def picture(side: int = 6, kind: str = "PNG", mode: str = "RGB", **options: Any) -> bytes:
    rng = np.random.default_rng(side)
    payload = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8)).convert(mode).save(payload, kind, **options)
    return payload.getvalue()


def pictures() -> list[Files]:
    deep = io.BytesIO()
    Image.fromarray(np.arange(36, dtype=np.uint16).reshape(6, 6) * 1800).save(deep, "PNG")
    turned = Image.Exif()
    turned[0x0112] = 6
    return [
        {"a.png": picture()},
        {"a.png": deep.getvalue()},
        {"a.png": picture(mode="P")},
        {"a.png": picture(mode="LA")},
        {"a.png": picture(mode="RGBA")},
        {"a.png": picture(mode="P", transparency=3)},
        {"a.png": picture(mode="1")},
        {"a.jpg": picture(16, "JPEG", exif=turned.tobytes())},
        {"a.jpg": picture(16, "JPEG", "CMYK")},
        {"a.jpg": picture(16, "JPEG", "L", progressive=True)},
        {"a.webp": picture(8, "WEBP")},
        {"a.webp": picture(8, "WEBP", "RGBA", lossless=True)},
    ]


def atlases() -> list[Files]:
    rich = random_atlas(
        seed=1, size=4, frame="stored", normalization={"center": [0.0, 1.0, 2.0], "scale": 2.5}, count=16, padded=0,
        dropped=0, split=0, version="0.1.0", sh_degree=0,
        origin={"name": "thing", "normalized": False, "pixel_sizes": [0.1, 0.2], "antialiased": True},
    )  # fmt: skip
    return [{"a.npz": atlas_bytes(random_atlas(size=4))}, {"a.npz": atlas_bytes(rich)}]


def statistics(size: int = 4) -> bytes:
    rng = np.random.default_rng(2)
    atlas = random_atlas(size=size)
    shared = {name: atlas.meta[name] for name in ("gatlas_atlas", "sphere", "projection", "spaces")}
    return stats_bytes(AtlasStats(rng.normal(size=(size, size, 14)), rng.random((size, size, 14)), 3, shared))


def statistics_files() -> list[Files]:
    return [{"a.npz": statistics()}]


def matches() -> list[Files]:
    rng = np.random.default_rng(3)
    payload = io.BytesIO()
    np.savez(payload, points=rng.normal(size=(9, 3)), pixels=rng.uniform(0, 64, (9, 2)).astype(np.float32))
    return [{"a.npz": payload.getvalue()}]


def permutations() -> list[Files]:
    payload, plain = io.BytesIO(), io.BytesIO()
    cells = np.random.default_rng(4).permutation(64).astype(np.uint16)
    np.savez_compressed(payload, cells=cells)
    np.savez(plain, cells=cells.astype(np.int32))
    return [{"equirectangular-8.npz": each.getvalue()} for each in (payload, plain)]


def index_maps() -> list[Files]:
    files = []
    for kind in ("<i8", "<u2", ">i4"):
        payload = io.BytesIO()
        np.save(payload, np.arange(16).astype(kind))
        files.append({"a.npy": payload.getvalue()})
    return files


def fit_snapshots() -> list[Files]:
    rng = np.random.default_rng(5)
    meta = {
        "version": "0.1.0", "input": "ab" * 32, "options": {"count": 4, "seed": 0}, "init": None,
        "loss": {"rgb": 0.8}, "step": 1, "rng": rng.bit_generator.state,
    }  # fmt: skip
    arrays = {"order": np.arange(20), "means": rng.normal(size=(4, 3)).astype("f4"), "logits": np.zeros(4, "f4")}
    payload = io.BytesIO()
    np.savez(payload, gatlas_checkpoint=np.array(json.dumps(meta)), **arrays)
    return [{"a.npz": payload.getvalue()}]


def cameras(count: int = 3, side: int = 16) -> Cameras:
    eyes = np.random.default_rng(6).normal(size=(count, 3)) + np.array([0, 0, 4])
    Ks = np.tile(intrinsics(side, side), (count, 1, 1))
    return Cameras(look_at(eyes).astype(np.float32), Ks.astype(np.float32), side, side)


def photo_files(count: int = 3, side: int = 16, **options: Any) -> Files:
    return {f"images/{i:03d}.png": picture(side, **options) for i in range(count)}


def point_cloud() -> bytes:
    head = "ply\nformat ascii 1.0\nelement vertex 2\nproperty float x\nproperty float y\nproperty float z\n"
    return (
        head + "property uchar red\nproperty uchar green\nproperty uchar blue\nend_header\n0 0 1 1 2 3\n1 0 0 9 9 9\n"
    ).encode()


def transforms() -> list[Files]:
    index = encode_index(cameras())[1]
    document = json.loads(index)
    photos = photo_files()
    studio = {**document, "camera_model": "OPENCV", "k1": 0.01, "p1": 0.001, "ply_file_path": "points.ply"}
    studio["frames"] = [{**frame, "mask_path": "images/000.png"} for frame in document["frames"]]
    blender = {"camera_angle_x": 0.8, "frames": [{**f, "file_path": f["file_path"][:-4]} for f in document["frames"]]}
    return [
        {"transforms.json": index, **photos},
        {"transforms.json": json.dumps(studio).encode(), **photos, "points.ply": point_cloud()},
        {"transforms.json": json.dumps(blender).encode(), **photo_files(mode="RGBA")},
    ]


def videos() -> list[Files]:
    return [{"a.mp4": mp4_of(frames_of(6, 32, 32, step=6))}]


def score_files() -> list[Files]:
    fidelity = {"name": "a", "psnr": 30.0, "ssim": 0.9, "lpips": None, "views": [{"psnr": 30.0}], "gaussians": 10}
    poses = {"name": "a", "rotation": 1.0, "auc@5": 0.5, "photos": [{"photo": "x", "rotation": 1.0, "position": None}]}
    sets = {"name": "a", "nearest": 0.1, "nearest_name": "b"}
    held = [
        {"score": "fidelity", "objects": [fidelity, {**fidelity, "name": "b"}]},
        {"score": "poses", "objects": [poses, {**poses, "name": "b"}], "set": {"auc@5": 0.5}},
        {"score": "distribution", "objects": [sets], "set": {"fid": None, "coverage": 0.5}},
    ]
    return [{"a.json": json.dumps({"version": "1", "options": {"seed": 0}, **each}).encode()} for each in held]


def intrinsics_files() -> list[Files]:
    document = json.loads(encode_index(cameras(1))[1])
    document["frames"][0]["file_path"] = "000.png"
    document["frames"][0]["mask_path"] = "m.png"
    plain = {"fl_x": 20, "fl_y": 21, "cx": 8, "cy": 8, "w": 16, "h": 16, "k1": 0.01, "camera_model": "OPENCV"}
    pictures = {"000.png": picture(16), "m.png": picture(16, mode="L")}
    return [{"a.json": json.dumps(plain).encode(), "b.json": json.dumps(document).encode(), **pictures}]


def colmap_models(binary: bool) -> list[Files]:
    files = []
    for model, distortion in (("PINHOLE", ()), ("OPENCV", (0.01, 0.002, 0.001, 0.0)), ("SIMPLE_RADIAL", (0.01,))):
        rows = rows_of(cameras(), [f"{i:03d}.png" for i in range(3)], model, distortion)
        with TemporaryDirectory() as folder:
            write = write_binary if binary else write_text
            write(Path(folder), rows, [(0, 0, 0), (1, 1, 1)], [(1, 2, 3), (4, 5, 6)])
            model_files = {f"sparse/0/{path.name}": path.read_bytes() for path in sorted(Path(folder).iterdir())}
        files.append({**model_files, **photo_files()})
    return files


def captions() -> list[Files]:
    records = [{"uid": "a", "caption": "a red ball"}, {"uid": "b", "captions": ["a cup", "a mug"]}]
    texts = {
        "a.csv": 'a,a red ball\nb,"a cup, blue"\n',
        "b.csv": "uid,n,caption\na,1,a red ball\nb,2,a cup\n",
        "a.json": json.dumps(records),
        "b.json": json.dumps({"a": "a red ball", "b": ["a cup", "a mug"]}),
        "a.jsonl": "".join(json.dumps(record) + "\n" for record in records),
    }
    return [{name: text.encode()} for name, text in texts.items()]


def tar_of(members: Files, form: int = tarfile.PAX_FORMAT) -> bytes:
    payload = io.BytesIO()
    with tarfile.open(fileobj=payload, mode="w", format=form) as tar:
        for name, content in members.items():
            header = tarfile.TarInfo(name)
            header.size = len(content)
            tar.addfile(header, io.BytesIO(content))
    return payload.getvalue()


def tars() -> list[Files]:
    members = {
        "set/a.npz": atlases()[0]["a.npz"], "set/a.json": b'{"caption": "a ball"}', "set/a.txt": b"a ball",
        "b" * 120 + ".npz": b"no atlas", "d\u00e9j\u00e0.txt": b"caption",
    }  # fmt: skip
    return [{"a.tar": tar_of(members, form)} for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT)]


def view_tars() -> list[Files]:
    index = encode_index(cameras())[1]
    one = {"transforms.json": index, **photo_files(mode="RGBA")}
    many = {f"{name}/{path}": content for name in ("a", "b") for path, content in one.items()}
    return [{"a.tar": tar_of(one)}, {"a.tar": tar_of(many)}]


def packed_tars() -> list[Files]:
    return [{"a.tar.gz": gzip.compress(files["a.tar"], mtime=0)} for files in tars()]


def name_lists() -> list[Files]:
    return [{"a.txt": b"a.ply\nsub/b.ply\n"}, {"a.names": b"a.ply\0b c.ply\0"}]


def manifests() -> list[Files]:
    made = {
        "id": "a", "verb": "fit", "status": "ok", "input": "/x/a.obj", "input_stamp": "1:2", "sha256": "ab" * 32,
        "options": {"count": 4}, "fingerprint": "cd" * 8, "version": "0.1.0", "output": "a.ply", "output_stamp": "3:4",
        "output_size": 3, "output_sha256": "ef" * 32, "files": {"b": {"x": 1}}, "contents": {"x": 1}, "seconds": 1.5,
        "ended": 1.7e9, "metrics": {"psnr": 30.5}, "offset": 0, "size": 3, "end": 10240, "keys": ["a"],
    }  # fmt: skip
    failed = {**made, "id": "b", "status": "failed", "error": "no mesh", "kept": {**made, "id": "b"}}
    text = "".join(json.dumps(line) + "\n" for line in (made, failed, {**made, "ended": 1.8e9})).encode()
    return [
        {"manifest-0-of-1.jsonl": text, "a.ply": b"ply"},
        {"a.manifest.jsonl": text, "a.tar": tar_of({"a.ply": b"ply"})},
    ]


def srn_folders() -> list[Files]:
    """Pictures with poses, and intrinsics of each or of all."""
    posed = {
        **{f"rgb/{i}.png": picture(8) for i in range(2)},
        **{f"pose/{i}.txt": f"1 0 0 {i} 0 1 0 0 0 0 1 -2 0 0 0 1".encode() for i in range(2)},
    }
    each = {f"intrinsics/{i}.txt": b"8 0 4\n0 8 4\n0 0 1\n" for i in range(2)}
    return [{**posed, **each}, {**posed, "intrinsics.txt": b"16. 8. 8. 0.\n0. 0. 0.\n1.\n16 16\n"}]


def other_layouts() -> list[Files]:
    """Photos as OpenSfM, Polycam, Record3D and Bundler have them."""
    few, names = cameras(2, 8), ("a.png", "b.png")
    writers: list[Callable[[Path], None]] = [
        lambda folder: layout_files.write_opensfm(folder, few, names),
        lambda folder: layout_files.write_polycam(folder, few, names),
        lambda folder: layout_files.write_record3d(folder, few, each=True, suffix="png"),
        lambda folder: layout_files.write_bundler(folder, few, names, k1=0.01, unregistered=0),
    ]
    found = []
    for write in writers:
        with TemporaryDirectory() as folder:
            write(Path(folder))
            files = [path for path in Path(folder).rglob("*") if path.is_file()]
            found.append({path.relative_to(folder).as_posix(): path.read_bytes() for path in files})
    return found


def view_folders() -> list[Files]:
    names, index = encode_index(cameras(2, 8), sample={"prompt": "a", "seed": 0})
    begun = {names[0]: picture(8)}
    return [
        {"transforms.json.part": index, **begun},
        {"transforms.json": index, **begun, names[1]: picture(8)},
    ]
