"""The table of file formats: how each is recognized, which noun it holds, and what reads and writes it.

To add a format, write a module with a function that decodes it (a blob to the noun) or encodes it (the noun to bytes)
and add a line to `FORMATS`. Readers, writers, the checks of output names and the lists of suffixes that the verbs
accept follow from the table. Functions are named here and imported when they are called: the table costs no numpy.
"""

from __future__ import annotations

import inspect
import shlex
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gatlas.errors import GatlasError
from gatlas.io import sniff
from gatlas.lazy import load_name

if TYPE_CHECKING:
    from gatlas.io.sniff import Test
    from gatlas.io.streams import Blob


class Format(NamedTuple):
    """One file format of one noun."""

    noun: str  # a key of NOUNS
    name: str  # in lists of what is read: "SPZ"
    title: str  # in messages: "an SPZ splat"
    suffixes: tuple[str, ...]  # lower case; the first is given to new files
    container: Test | None  # recognizes the first bytes; None: a format without a signature, known by its suffix
    content: Test = lambda blob: True  # distinguishes formats that share a container
    decode: str = ""  # "module:function" of a blob; "": recognized and not read. Splats take `as_stored`, too,
    # and may take the other fields of `gatlas.io.splats.decoded.SplatReading`
    encode: str = ""  # "module:function" of the noun, to bytes or to a sequence of buffers; "": not written
    # Suffixes of files next to one that is written. Then `encode` is called with the noun and the stem of the name, and
    # returns the bytes of all files by name: the one that names the others last.
    beside: tuple[str, ...] = ()
    remedy: str = ""  # what to do with a format that is not read
    listed: bool = True  # False: in a folder, files of these suffixes usually hold another noun and are not taken
    package: tuple[str, str] = ("", "")  # a module that writing needs, and the extra that installs it


# Noun -> the content of its files, as messages of outputs call it.
NOUNS = {
    "splat": "Gaussians",
    "mesh": "a mesh",
    "points": "a point cloud",
    "atlas": "an atlas",
    "stats": "statistics",
    "image": "a picture",
    "film": "a film",
    "page": "a page",
    "cameras": "cameras",
    "npz": "arrays",
    "json": "JSON",
}

# What to do with splats that are not read: a program that reads them, or the one that wrote them.
_CONVERT = "to convert it, run: npx @playcanvas/splat-transform {file} OUTPUT.ply"
_FRAMES = "save its pictures as PNG, each in a file of its own"
_FILM = "for a splat of what it shows, run: gatlas fit {file} -o OUTPUT.ply"
_SAVE = "save it as a .ply splat in the program that made it"
_SCENE = "save what it shows as .ply (a splat) or .glb (a mesh) in the program that made it"

# The first match counts, so contents that others include come first. A noun's first format is the usual one.
FORMATS = [
    Format(
        "splat", "3DGS PLY", "a splat PLY", (".ply",), sniff.is_ply, sniff.ply_has("opacity", "scale_0", "rot_0"),
        "gatlas.io.splats.ply:decode_ply", "gatlas.io.splats.ply:encode_ply",
    ),
    Format(
        "splat", "compressed PLY", "a compressed splat PLY", (".compressed.ply",), sniff.is_ply,
        sniff.ply_has("packed_position"), "gatlas.io.splats.compressed:decode_compressed_ply",
        "gatlas.io.splats.compressed:encode_compressed_ply", listed=False,
    ),
    Format(
        "splat", ".splat", "a .splat file", (".splat",), None,
        decode="gatlas.io.splats.dot_splat:decode_records", encode="gatlas.io.splats.dot_splat:encode_records",
    ),
    Format(
        "splat", "SPZ", "an SPZ splat", (".spz",), sniff.is_spz, decode="gatlas.io.splats.spz:decode_spz",
        encode="gatlas.io.splats.spz:encode_spz",
    ),
    Format(
        "splat", "SOG", "a SOG splat", (".sog",), sniff.is_zip, sniff.zip_has("meta.json", "*.webp"),
        "gatlas.io.splats.sog:decode_sog", "gatlas.io.splats.sog_writer:encode_sog",
    ),
    Format(
        "splat", "SOG", "a SOG splat (unbundled)", (), sniff.is_json_object, sniff.is_sog,
        "gatlas.io.splats.sog:decode_sog_meta",
    ),
    Format(
        "splat", "streamed SOG", "a streamed SOG splat", (), sniff.is_json_object,
        sniff.json_has("lodLevels", "filenames"), remedy=_CONVERT,
    ),
    Format(
        "splat", "LCC", "an LCC splat", (".lcc", ".lcc2"), sniff.is_json_object, sniff.is_lcc, remedy=_CONVERT,
    ),
    Format(
        "splat", "KSPLAT", "a KSPLAT splat", (".ksplat",), sniff.is_ksplat,
        decode="gatlas.io.splats.ksplat:decode_ksplat",
    ),
    Format("splat", "KSPLAT", "a KSPLAT splat", (".ksplat",), None, decode="gatlas.io.splats.ksplat:decode_ksplat"),
    Format("splat", "splaTV", "a moving splat (splaTV)", (".splatv",), sniff.begins(b"\x4b\x67\0\0"), remedy=_SAVE),
    Format("splat", "RAD", "a RAD splat", (".rad",), sniff.begins(b"RAD0", b"RADC"), remedy=_SAVE),
    Format(
        "splat", "GLB", f"a splat in glTF ({sniff.SPLAT})", (".glb",), sniff.begins(b"glTF"), sniff.is_gltf_splat,
        "gatlas.io.splats.gltf_splats:decode_gltf_splats", "gatlas.io.splats.gltf_splat_writer:encode_glb_splats",
        listed=False,
    ),
    Format(
        "splat", "glTF", f"a splat in glTF ({sniff.SPLAT})", (".gltf",), sniff.is_json_object, sniff.is_gltf_splat,
        "gatlas.io.splats.gltf_splats:decode_gltf_splats", "gatlas.io.splats.gltf_splat_writer:encode_gltf_splats",
        listed=False,
    ),
    Format(
        "splat", "USD", "a USD scene", (".usd", ".usdc"), sniff.begins(b"PXR-USDC"), remedy=_SCENE,
        encode="gatlas.io.splats.usd_writer:encode_usd", package=("pxr", "usd"),
    ),
    Format(
        "splat", "USDA", "a USD scene", (".usda",), sniff.begins(b"#usda "), remedy=_SCENE,
        encode="gatlas.io.splats.usd_writer:encode_usda", package=("pxr", "usd"),
    ),
    Format(
        "splat", "USDZ", "a USD scene", (".usdz",), sniff.is_zip, sniff.is_usdz, remedy=_SCENE,
        encode="gatlas.io.splats.usd_writer:encode_usdz", package=("pxr", "usd"),
    ),
    Format(
        "mesh", "GLB", "a mesh", (".glb",), sniff.begins(b"glTF"), decode="gatlas.io.meshes.gltf:gltf_mesh",
        encode="gatlas.io.meshes.gltf_writer:encode_glb",
    ),
    Format(
        "mesh", "glTF", "a mesh", (".gltf",), sniff.is_json_object, sniff.json_has("asset"),
        "gatlas.io.meshes.gltf:gltf_mesh",
    ),
    Format(
        "mesh", "OBJ", "a mesh", (".obj",), sniff.is_obj_like, sniff.is_obj, "gatlas.io.meshes.obj:obj_mesh",
        "gatlas.io.meshes.obj_writer:encode_obj", beside=(".mtl", ".png"),
    ),
    Format(
        "mesh", "PLY", "a mesh", (".ply",), sniff.is_ply, sniff.ply_has_faces, "gatlas.io.meshes.ply:ply_mesh",
        "gatlas.io.meshes.ply_writer:encode_mesh_ply",
    ),
    Format(
        "points", "PLY", "a point cloud", (".ply",), sniff.is_ply, sniff.ply_has("x", "y", "z"),
        "gatlas.io.photos.points:ply_points",
    ),
    Format(
        "atlas", "NPZ", "an atlas", (".npz",), sniff.is_zip, sniff.zip_has("offset.npy", "rotation.npy"),
        "gatlas.io.atlases.npz:decode_atlas", "gatlas.io.atlases.npz:atlas_bytes",
    ),
    Format(
        "stats", "NPZ", "statistics of atlases", (".npz",), sniff.is_zip, sniff.zip_has("mean.npy", "m2.npy"),
        "gatlas.io.atlases.npz:decode_stats", "gatlas.io.atlases.npz:stats_bytes",
    ),
    Format(
        "image", "PNG", "a picture", (".png",), sniff.begins(b"\x89PNG\r\n\x1a\n"),
        decode="gatlas.io.images:decode_image", encode="gatlas.io.images:encode_png",
    ),
    Format(
        "image", "JPEG", "a picture", (".jpg", ".jpeg"), sniff.begins(b"\xff\xd8\xff"),
        decode="gatlas.io.images:decode_image",
    ),
    Format("image", "WebP", "a picture", (".webp",), sniff.is_webp, decode="gatlas.io.images:decode_image"),
    Format("film", "MP4", "a film", (".mp4",), None, encode="gatlas.io.films:encode_mp4", remedy=_FILM),
    Format(
        "film", "GIF", "a GIF", (".gif",), sniff.begins(b"GIF8"), encode="gatlas.io.films:encode_gif", remedy=_FRAMES,
    ),
    Format(
        "film", "WebP", "a film", (".webp",), sniff.is_webp, encode="gatlas.io.films:encode_webp", remedy=_FRAMES,
    ),
    Format(
        "page", "HTML", "an HTML page", (".html",), None, encode="gatlas.io.viewer.page:encode_page",
        remedy="name the splat that it was made of",
    ),
    Format(
        "cameras", "transforms.json", "cameras", (".json",), sniff.is_json_object, sniff.json_has("frames"),
        "gatlas.io.photos.transforms:read_cameras",
    ),
    Format(
        "npz", "NPZ", "an NPZ file", (".npz",), sniff.is_zip, sniff.is_npz, encode="gatlas.io.atlases.npz:npz_bytes",
    ),
    Format("json", "JSON", "a JSON file", (".json",), sniff.is_json),
]  # fmt: skip

VIDEO_SUFFIXES = (".avi", ".mov", ".mkv", ".webm", ".m4v", ".apng")  # of films in formats that are not written

# Suffixes that promise a content which is no noun of the table. Any other suffix is the user's own business.
_OTHER_SUFFIXES = {
    ".npy", ".exr", ".jsonl", ".csv", ".stl", ".fbx", ".safetensors", ".pt", ".tar",
    ".zip", ".gz", ".bz2", ".xz", ".zst", ".7z", ".sogs", ".htm", ".txt", ".md", ".xml", ".svg", ".pdf", ".bmp", ".tif",
    ".tiff", ".tga", ".avif", ".heic", ".jxl", ".dae", ".blend", ".off", ".x3d", ".pth", ".ckpt", *VIDEO_SUFFIXES,
}  # fmt: skip

# What turns the first noun into the second.
_CONVERSIONS = {
    ("mesh", "splat"): "To fit it, run: gatlas fit{file} -o {stem}.ply",
    ("atlas", "splat"): "To decode it, run: gatlas atlas-decode{file} -o {stem}.ply",
    ("splat", "mesh"): "To make a mesh of it, run: gatlas mesh{file} -o {stem}-mesh.glb",
    ("splat", "atlas"): "To encode it, run: gatlas atlas-encode{file} -o atlas.npz",
}


def suffixes(*nouns: str) -> tuple[str, ...]:
    """Return the suffixes of the files that can be read as these nouns, in the order of the nouns."""
    formats = (each for noun in nouns for each in _readable(noun) if each.listed)
    return tuple(dict.fromkeys(suffix for each in formats for suffix in each.suffixes))


def names_a(noun: str, path: str) -> bool:
    """Return True if the suffix of a path, in any case, is one of a format of the noun."""
    return Path(path).suffix.lower() in {suffix for each in FORMATS if each.noun == noun for suffix in each.suffixes}


def recognize(blob: Blob) -> Format | None:
    """Return the format of a whole file's bytes, or None where it is unknown."""
    for each in FORMATS:
        if each.container is not None and each.container(blob) and each.content(blob):
            return each
    return next((each for each in FORMATS if each.container is None and blob.suffix in each.suffixes), None)


def decode(noun: str, blob: Blob, **options: Any) -> Any:
    """Return what a blob holds, which must be a noun. Anything else is a GatlasError.

    A file in a container of the noun that holds something else is left to a reader of the noun, which knows what is
    missing in it.
    """
    found = blob.format
    refuse_unread(blob)
    if found is None or found.noun != noun:
        found = next((each for each in _readable(noun) if each.container is not None and each.container(blob)), None)
    if found is None or not found.decode:
        raise refusal(blob, noun)
    decoder = load_name(found.decode)
    return decoder(blob, **_taken(decoder, options, f"{blob.name}: {found.title}"))


def _taken(decoder: Callable[..., Any], options: Mapping[str, Any], named: str) -> dict[str, Any]:
    """Return the options that a decoder takes; one that asks for something and is not taken is a GatlasError."""
    parameters = inspect.signature(decoder).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return dict(options)
    for name in options.keys() - parameters.keys() - {"report"}:
        raise GatlasError(f"{named}: its reader has no option --{name.replace('_', '-')}")
    return {name: value for name, value in options.items() if name in parameters}


def refuse_unread(blob: Blob) -> None:
    """Raise a GatlasError for a format that is known and not read, whatever is wanted of it: what it is and what to do.

    Advice to hand it to another verb would lead nowhere.
    """
    if (error := _unread(blob)) is not None:
        raise error


def _unread(blob: Blob) -> GatlasError | None:
    found = blob.format
    if found is None or not found.remedy:
        return None
    file = shlex.quote(blob.name) if blob.path is not None else f"INPUT{(*found.suffixes, '')[0]}"
    return GatlasError(f"{blob.name}: {found.title}, which gatlas does not read: {found.remedy.format(file=file)}")


def refusal(blob: Blob, noun: str) -> GatlasError:
    """Return the error for a blob that is not of a noun: its own format, and what to do about it or what is read."""
    if (unread := _unread(blob)) is not None:
        return unread
    found, wanted = blob.format, _readable(noun)[0].title
    fault = f"not {wanted}" if found is None else f"{found.title}, not {wanted}"
    advice = _CONVERSIONS.get((blob.kind, noun))
    if advice is not None:
        file = "" if blob.path is None else f" {shlex.quote(blob.name)}"
        return GatlasError(f"{blob.name}: {fault}.\n{advice.format(file=file, stem=shlex.quote(blob.stem or noun))}")
    *others, last = dict.fromkeys(each.name for each in _readable(noun))
    names = f"{', '.join(others)} and {last}" if others else last
    return GatlasError(f"{blob.name}: {fault}: gatlas reads {names}")


def encode(noun: str, value: Any, out: str | Path, **options: Any) -> Sequence[Any]:
    """Return the buffers of a file: a noun in the format that the output's suffix names, else in the usual one.

    `options` are of that format; one that its writer does not take is a GatlasError.
    """
    found = written_format(noun, out)
    encoder = load_name(found.encode)
    for name in options.keys() - inspect.signature(encoder).parameters.keys():
        raise GatlasError(f"--{name.replace('_', '-')} is for another format: {out} is {found.name}")
    encoded: bytes | Sequence[Any] = encoder(value, **options)
    return [encoded] if isinstance(encoded, bytes) else encoded


def encode_together(noun: str, value: Any, out: str | Path) -> Mapping[str, bytes]:
    """Return the files of a format that has some beside it, by name; the last is the one that names the others."""
    files: Mapping[str, bytes] = load_name(written_format(noun, out).encode)(value, Path(out).stem)
    return files


def written_format(noun: str, out: str | Path) -> Format:
    """Return the format that an output's suffix names, of those that the noun is written in, else the usual one."""
    writable = [each for each in FORMATS if each.noun == noun and each.encode]
    name = Path(out).name.lower()
    named = {suffix: each for each in reversed(writable) for suffix in each.suffixes if name.endswith(suffix)}
    return named[max(named, key=len)] if named else writable[0]  # ".compressed.ply" counts before ".ply"


def written_suffixes(*nouns: str) -> tuple[str, ...]:
    """Return the suffixes that nouns can be written as; the first is the usual one."""
    return tuple(suffix for each in FORMATS if each.noun in nouns and each.encode for suffix in each.suffixes)


def check_suffix(path: Path, accepted: str | Sequence[str], what: str) -> None:
    """Raise a GatlasError where an output's suffix promises another content than `what`, which has other suffixes.

    JSON is text, which .txt may hold.
    """
    accepted = (accepted,) if isinstance(accepted, str) else accepted
    if ".json" in accepted:
        accepted = (*accepted, ".txt")
    found = path.suffix.lower()
    promises = found in _OTHER_SUFFIXES or any(found in each.suffixes for each in FORMATS)
    fits = any(path.name.lower().endswith(suffix) for suffix in accepted if suffix)
    if promises and any(accepted) and not fits:
        raise GatlasError(f"{path}: {what} cannot be written as {found}: name the output {path.stem}{accepted[0]}")
    if fits:
        _check_package(path, found)


def _check_package(path: Path, suffix: str) -> None:
    """Raise a GatlasError, before any work, where writing a suffix needs a package that is not installed."""
    module, extra = next((each.package for each in FORMATS if suffix in each.suffixes and each.encode), ("", ""))
    if module and find_spec(module) is None:
        raise GatlasError(f"{path}: {suffix} needs an extra package: pip install 'gatlas[{extra}]'")


def check_named_format(path: Path, noun: str) -> None:
    """Raise a GatlasError where an output's suffix is none that the noun is written in; no suffix is the usual format.

    It is for what is asked for in a format: a slip in the suffix would give another one without a word.
    """
    accepted = written_suffixes(noun)
    if path.suffix and not path.name.lower().endswith(accepted):
        stem = path.stem.removesuffix(accepted[0])  # of x.ply.gz
        advice = f"name the output {stem}{accepted[0]}, or one of {', '.join(accepted[1:])}"
        raise GatlasError(f"{path}: {NOUNS[noun]} cannot be written as {path.suffix}: {advice}")


def _readable(noun: str) -> list[Format]:
    return [each for each in FORMATS if each.noun == noun and each.decode]
