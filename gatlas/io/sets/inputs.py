"""Lists of objects: files, folders, patterns and tar shards in a fixed order, and the captions beside them in tars."""

from __future__ import annotations

import errno
import os
import re
import stat
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, lru_cache, partial
from glob import glob, has_magic
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from gatlas.errors import GatlasError
from gatlas.io.descriptors import is_special
from gatlas.io.sets.items import Item, ItemColumns, real_folder
from gatlas.io.sets.remote import is_remote, local_copies
from gatlas.io.sets.shard_index import ShardIndex, shard_index
from gatlas.io.sets.shards import CAPTIONS, Member, is_tar, read_member
from gatlas.io.sets.shards import SUFFIX as SHARD
from gatlas.io.sets.suffixes import without_suffix
from gatlas.io.streams import Blob, opened_file, os_errors, read

_COMPRESSED = (".tar.gz", ".tgz")
_UNUSUAL = re.compile(r"^\./|/\.?/|/\.?$|\0")  # in a path that pathlib writes otherwise
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")  # of shard names, as in atlas-{000000..000007}.tar
_PLAIN = 4_096  # files that are taken down at once
LOST = "lost+found"  # a folder in the root of a file system that nobody may read


def list_items(inputs: Sequence[str], suffix: str | tuple[str, ...] = ".npz", *, photos: bool = False) -> list[Item]:
    """Return the files with a suffix, or one of several, that the inputs name.

    They come in the order of the inputs; inside a folder, sorted by name. An input is a file, a folder (with the
    folders in it), a tar shard, a pattern such as `set/*.npz`, or a range of shards such as
    `set-{000000..000007}.tar`. A file that is named twice is taken once, with a warning. An input that gives nothing,
    and a tar that is compressed, are a GatlasError, as is a folder in a folder that cannot be read. Suffixes count in
    capitals too. Hidden files are left out, and pipes and devices that are not named themselves. With `photos` a
    folder of photos with their cameras is one item, as is each such folder in a folder, and one that is named and has
    photos without cameras.
    """
    return list(list_columns(inputs, suffix, photos=photos))


def list_columns(inputs: Sequence[str], suffix: str | tuple[str, ...] = ".npz", *, photos: bool = False) -> ItemColumns:
    """Return what `list_items` returns, as columns: for large sets, of which a task takes a share."""
    suffixes = (suffix,) if isinstance(suffix, str) else suffix
    found = ItemColumns()
    roots: set[str] = set()
    apart = True  # no two of the inputs can hold one file
    for given in inputs:
        count = len(found)
        with os_errors(given, named=True):
            if is_remote(given):
                paths, folder = [Path(given)], False
                _add_remote(found, given, suffixes)
            elif _add_plain_file(found, given, suffixes):
                paths, folder = [Path(given)], False
            else:
                paths, folder = _expand(given), False
                for path in paths:
                    folder |= path.is_dir()
                    _add(found, path, suffixes, photos, named=path == Path(given))
        if len(found) == count:
            raise GatlasError(
                f"{given}: there are no {' or '.join(suffixes)} files in it"
                f"{_cameras_needed(given, photos)}{_splats_to_name(given, suffixes)}"
            )
        for path in paths if len(inputs) > 1 or len(paths) > 1 else ():
            root = os.path.abspath(path)
            apart &= root not in roots and not folder
            roots.add(root)
    return found if apart else _once(found)


def _once(items: ItemColumns) -> ItemColumns:
    """Return each file or member once."""
    first: dict[tuple[str, int], int] = {}
    for index in range(len(items)):
        first.setdefault(items.identity(index), index)
    if left_out := len(items) - len(first):
        warnings.warn(f"files that are named twice are taken once: {left_out:,} left out", stacklevel=4)
    return items.take(first.values()) if left_out else items


def read_item(item: Item) -> Blob:
    """Return the content of an item; its stem is the item's key."""
    blob = read(item.source) if isinstance(item.source, Path) else read_member(item.source)
    return Blob(blob.name, blob.data, blob.path, item.key)


def names_many(given: str, *, photos: bool = False) -> bool:
    """Return True where an argument of the command line stands for several files: a folder, a pattern, a tar."""
    path = Path(given)
    if is_remote(given):
        return True
    if not os.path.lexists(path):
        return has_magic(given) or _RANGE.search(given) is not None
    with os_errors(given, named=True):
        if path.is_dir():
            return not (photos and (_has_photos(path) or _has_unposed(path)))
        return path.is_file() and (without_suffix(given, _COMPRESSED) is not None or _holds_tar(path))


def _cameras_needed(given: str, photos: bool) -> str:
    """Return what a folder of photos lacks, for a message."""
    from gatlas.io.photos.transforms import has_pictures

    if not photos or not has_pictures(given):
        return ""
    return "; photos lie beside them: to find the cameras of these, name a folder that has photos only"


def _splats_to_name(given: str, suffixes: tuple[str, ...]) -> str:
    """Return that a folder holds splats in glTF, for a message: in folders .glb and .gltf are meshes."""
    from gatlas.io.splats.gltf_heads import is_gltf_splat_file

    if ".splat" in suffixes and os.path.isdir(given):
        found = next((path for path in sorted(Path(given).iterdir()) if is_gltf_splat_file(path)), None)
        if found is not None:
            return f"; splats in glTF are taken where they are named, as {found}"
    return ""


def _has_photos(folder: Path) -> bool:
    from gatlas.io.photos.scenes import has_photos

    return has_photos(folder)


def _has_unposed(folder: Path) -> bool:
    from gatlas.io.photos.scenes import has_unposed_photos

    return has_unposed_photos(folder)


def _add_plain_file(found: ItemColumns, given: str, suffixes: tuple[str, ...]) -> bool:
    """Append a file that an input names as it stands, and return True; False for anything else.

    Of a list of many files each is one input: this takes one look at each.
    """
    split = without_suffix(os.path.basename(given), suffixes)
    if split is None or not split[0] or _UNUSUAL.search(given) is not None:
        return False
    try:
        if not stat.S_ISREG(os.lstat(given).st_mode):
            return False
    except (OSError, ValueError):
        return False
    folder, name = given[: given.rfind("/") + 1], given[given.rfind("/") + 1 :]
    found.add_files(folder, [(split[0], name[len(split[0]) :])])
    found.folders.add(real_folder(os.path.abspath(folder)))
    return True


def _add_remote(found: ItemColumns, given: str, suffixes: tuple[str, ...]) -> None:
    """Append what a name with a scheme means, from its copies."""
    for name in _ranged(given):
        copies = local_copies(name, (*suffixes, SHARD))
        above = os.path.commonpath([path.parent for path in copies])
        for path in copies:
            _add_file(found, path, os.path.relpath(path, above), suffixes, named=True)


def _add(found: ItemColumns, path: Path, suffixes: tuple[str, ...], photos: bool, *, named: bool) -> None:
    """Append what lies at a path."""
    if photos and path.is_dir():
        for item in _photo_folders(path):
            found.add_other(item)
        if _has_photos(path) or _has_unposed(path):
            return
    if path.is_dir():
        _add_folder(found, path, suffixes)
    else:
        _add_file(found, path, path.name, suffixes, named=named)


def _expand(given: str) -> list[Path]:
    """Return the paths that an argument means. Each must exist."""
    if not given:
        raise GatlasError("the name of an input is empty")
    if os.path.lexists(given):
        return [Path(given)]
    paths: list[Path] = []
    for name in _ranged(given):
        matches = _matches(name) if has_magic(name) else [name] * os.path.lexists(name)
        if not matches:
            raise GatlasError(f"{name}: there is no such file" if not has_magic(name) else f"{name}: matches no file")
        paths += map(Path, matches)
    return paths


def _matches(pattern: str) -> list[str]:
    """Return what a pattern names, sorted. A folder that cannot be read is an error, which `glob` would ignore."""
    folder = os.path.dirname(pattern)
    while True:
        for each in glob(f"{folder}/", recursive=True) if folder else ["."]:
            if os.path.basename(each.rstrip(os.sep)) != LOST:
                os.scandir(each).close()
        if not has_magic(folder):
            break
        folder = os.path.dirname(folder)
    return [name for name in sorted(glob(pattern, recursive=True)) if os.path.isdir(name) or not is_special(name)]


def _ranged(given: str) -> list[str]:
    """Return x-08, x-09, x-10 for `x-{08..10}`."""
    match = _RANGE.search(given)
    if match is None:
        return [given]
    first, last = (int(number) for number in match.groups())
    if last < first:
        raise GatlasError(f"{given}: the range {match[0]} runs backwards")
    head, tail = given[: match.start()], given[match.end() :]
    return [f"{head}{number:0{len(match[1])}d}{rest}" for number in range(first, last + 1) for rest in _ranged(tail)]


def _photo_folders(folder: Path) -> Iterator[Item]:
    if _has_photos(folder) or _has_unposed(folder):
        yield Item(folder.resolve().name, folder)
        return
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.name.startswith(".") and _has_photos(path):
            yield Item(path.name, path)


def _add_folder(found: ItemColumns, folder: Path, suffixes: tuple[str, ...]) -> None:
    """Append the files of a folder and of the folders in it, sorted by their paths from there."""
    split = lru_cache(maxsize=1024)(partial(without_suffix, suffixes=(*suffixes, SHARD)))
    names = list(_walk(found, str(folder), split))
    names.sort(reverse=True)
    base = "" if str(folder) == "." else os.path.join(folder, "")
    plain: list[tuple[str, str]] = []
    while names:  # each goes as it is taken, so that names and keys never are in memory together
        name = names.pop()
        dot = name.find(".", name.rfind("/") + 1)
        ending = ((split(name[dot:]) if dot >= 0 else None) or ("", ""))[1]
        if ending in suffixes:
            plain.append((name[: -len(ending)], name[-len(ending) :]))
            if len(plain) < _PLAIN:
                continue
            name = ""
        found.add_files(base, plain)
        plain = []
        if name:
            _add_file(found, folder / name, name, suffixes, named=False)
    found.add_files(base, plain)


def _first_dot(name: str) -> int:
    """Return the index of the first dot in the last part of a path, else the end."""
    dot = name.find(".", name.rfind("/") + 1)
    return len(name) if dot < 0 else dot


def _walk(found: ItemColumns, folder: str, split: Callable[[str], object]) -> Iterator[str]:
    """Yield the paths, from the folder, of the files in it and below whose names `split` takes."""
    seen: set[str] = set()
    parents = [(folder, "", os.path.realpath(folder))]  # its path, that from the folder, and the real one
    while parents:
        parent, below, real = parents.pop()
        if real in seen:  # a link that leads back, or a second one to the same folder
            continue
        seen.add(real)
        folders = []
        with os.scandir(parent) as entries:
            for entry in entries:
                name = entry.name
                if name.startswith(".") or name == LOST:
                    continue
                wanted = split(name[_first_dot(name) :]) is not None
                if wanted and entry.is_file(follow_symlinks=False):  # which the folder says, most often
                    found.folders.add(real)
                    yield below + name
                elif _is_folder(entry, wanted):
                    link = entry.is_symlink()
                    folders.append(
                        (entry.path, f"{below}{name}/", os.path.realpath(entry.path) if link else f"{real}/{name}")
                    )
                elif wanted and not is_special(entry.path):
                    found.note_file(entry.path)
                    yield below + name
        parents += sorted(folders, reverse=True)


def _is_folder(entry: os.DirEntry[str], wanted: bool) -> bool:
    try:
        return entry.is_dir()
    except OSError as error:  # of a link; reading a wanted file is the error
        if wanted or error.errno == errno.ELOOP:
            return False
        raise


def _add_file(found: ItemColumns, path: Path, name: str, suffixes: tuple[str, ...], *, named: bool) -> None:
    """Append a shard's members, or the file itself. A file that the user named counts whatever its suffix is."""
    if (split := without_suffix(name, suffixes)) is not None:
        found.add_other(Item(Path(split[0]).as_posix(), path))
    elif without_suffix(name, (SHARD, *_COMPRESSED)) or (named and not is_special(path) and _holds_tar(path)):
        found.add_shard(path, shard_index(path).with_suffix(suffixes))
    elif named:
        found.add_other(Item(path.stem, path))


def captions_of_shard(shard: str | Path) -> dict[str, dict[str, Member]]:
    """Return the captions in a shard by the key of their object, as `list_items` calls it, and by their suffix.

    Of two of one name the later counts, as where the tar is unpacked.
    """
    return members_by_key(shard_index(shard))


def members_by_key(index: ShardIndex) -> dict[str, dict[str, Member]]:
    """Return the same of a shard's index."""
    found: dict[str, dict[str, Member]] = {}
    for key, suffix, member in index.with_suffix(CAPTIONS):
        found.setdefault(key, {})[suffix] = member
    return found


def captions_of(source: Path | Member | Blob) -> dict[str, bytes]:
    """Return the captions beside an object in a tar on disk, suffix -> content; {} for other sources."""
    if isinstance(source, (Path, Blob)):
        return {}
    key = source.key + source.suffix.rpartition(".")[0]
    status = source.shard.stat()
    captions = _captions_of(source.shard, status.st_size, status.st_mtime_ns).get(key, {})
    return {suffix: read_member(member).data for suffix, member in captions.items()}


@cache
def _captions_of(shard: Path, size: int, changed: int) -> dict[str, dict[str, Member]]:
    return captions_of_shard(shard)


class Streamed(NamedTuple):
    """One object of a tar that is read from front to back."""

    key: str  # its name, as `list_items` calls it; empty for what is no member of a tar
    blob: Blob
    captions: dict[str, bytes]  # suffix -> content


def stream_objects(members: Iterable[Blob], suffixes: tuple[str, ...]) -> Iterator[Streamed]:
    """Yield the members with one of the suffixes, each with the captions right before or after it.

    A caption elsewhere in the tar is left out, with a warning: when it is read, its object may be done.
    """
    found: set[str] = set()
    apart: set[str] = set()  # names of captions without an object beside them
    for key, group in groupby(_named(members, suffixes), key=lambda each: each[0]):
        objects: list[Blob] = []
        captions: dict[str, bytes] = {}
        for _, ending, blob in group:
            if ending in CAPTIONS:
                captions[ending] = blob.data
            else:
                objects.append(blob)
        (found if objects else apart).add(key)
        for blob in objects:
            yield Streamed(key, blob, captions)
    left_out = len(found & apart)
    if left_out:
        warnings.warn(
            f"captions that do not lie beside their objects in the tar are left out: {left_out:,}; "
            "pack it with tar --sort=name",
            stacklevel=2,
        )


def _named(members: Iterable[Blob], suffixes: tuple[str, ...]) -> Iterator[tuple[str, str, Blob]]:
    """Yield name, suffix and content of each object and each caption."""
    for blob in members:
        if blob.key is None:
            yield "", "", blob
            continue
        file = blob.name[blob.name.rindex(f":{blob.key}") + 1 :]
        split = without_suffix(file, (*suffixes, *CAPTIONS))
        if split is not None:
            yield *split, blob


def _holds_tar(path: Path) -> bool:
    with opened_file(path) as file:
        return is_tar(file.read(512))
