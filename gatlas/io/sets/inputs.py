"""Lists of objects: files, folders, patterns and tar shards in a fixed order, and the captions beside them in tars."""

from __future__ import annotations

import errno
import os
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from glob import glob, has_magic
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from gatlas.errors import GatlasError
from gatlas.io.descriptors import is_special
from gatlas.io.sets.shards import SUFFIX as SHARD
from gatlas.io.sets.shards import Member, is_tar, list_members, read_member
from gatlas.io.streams import Blob, opened_file, os_errors, read

CAPTIONS = (".txt", ".json")  # suffixes of a caption beside its object in a shard
_COMPRESSED = (".tar.gz", ".tgz")
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")  # of shard names, as in atlas-{000000..000007}.tar
LOST = "lost+found"  # a folder in the root of a file system that nobody may read


class Item(NamedTuple):
    """One file of a set, on its own or in a shard."""

    key: str  # the object's name: that of the file without the suffix, with its folders below the named one
    source: Path | Member

    @property
    def name(self) -> str:
        """For messages."""
        source = self.source
        return str(source) if isinstance(source, Path) else f"{source.shard}:{source.key}{source.suffix}"


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
    suffixes = (suffix,) if isinstance(suffix, str) else suffix
    found: dict[tuple[str, int], Item] = {}
    named = 0
    for given in inputs:
        empty = True
        for item in _items(given, suffixes, photos):
            empty = False
            named += 1
            path, offset = (item.source, -1) if isinstance(item.source, Path) else (item.source[0], item.source.offset)
            found.setdefault((os.path.abspath(path), offset), item)
        if empty:
            raise GatlasError(
                f"{given}: there are no {' or '.join(suffixes)} files in it{_cameras_needed(given, photos)}"
            )
    if named > len(found):
        warnings.warn(f"files that are named twice are taken once: {named - len(found):,} left out", stacklevel=2)
    return list(found.values())


def read_item(item: Item) -> Blob:
    """Return the content of an item; its stem is the item's key."""
    blob = read(item.source) if isinstance(item.source, Path) else read_member(item.source)
    return Blob(blob.name, blob.data, blob.path, item.key)


def names_many(given: str, *, photos: bool = False) -> bool:
    """Return True where an argument of the command line stands for several files: a folder, a pattern, a tar."""
    path = Path(given)
    if not os.path.lexists(path):
        return has_magic(given) or _RANGE.search(given) is not None
    with os_errors(given, named=True):
        if path.is_dir():
            return not (photos and (_has_photos(path) or _has_unposed(path)))
        return path.is_file() and (without_suffix(given, _COMPRESSED) is not None or _holds_tar(path))


def without_suffix(name: str, suffixes: Sequence[str]) -> tuple[str, str] | None:
    """Return a name without the suffix that it ends in, in capitals or not, and that suffix; None for another name."""
    ending = next((each for each in suffixes if name[-len(each) :].lower() == each), None)
    return None if ending is None else (name[: -len(ending)], ending)


def _cameras_needed(given: str, photos: bool) -> str:
    """Return what a folder of photos lacks, for a message."""
    from gatlas.io.photos.transforms import has_pictures

    if not photos or not has_pictures(given):
        return ""
    return "; photos lie beside them: to find the cameras of these, name a folder that has photos only"


def _has_photos(folder: Path) -> bool:
    from gatlas.io.photos.scenes import has_photos

    return has_photos(folder)


def _has_unposed(folder: Path) -> bool:
    from gatlas.io.photos.scenes import has_unposed_photos

    return has_unposed_photos(folder)


def _items(given: str, suffix: tuple[str, ...], photos: bool) -> Iterator[Item]:
    with os_errors(given, named=True):
        for path in _expand(given):
            if photos and path.is_dir():
                yield from _photo_folders(path)
                if _has_photos(path) or _has_unposed(path):
                    continue
            if path.is_dir():
                yield from _in_folder(path, suffix)
            else:
                yield from _in_file(path, path.name, suffix, named=path == Path(given))


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


def _in_folder(folder: Path, suffix: tuple[str, ...]) -> Iterator[Item]:
    seen: set[str] = set()
    names: list[str] = []
    parents = [str(folder)]
    while parents:
        parent = parents.pop()
        real = os.path.realpath(parent)
        if real in seen:  # a link that leads back, or a second one to the same folder
            continue
        seen.add(real)
        folders = []
        with os.scandir(parent) as entries:
            for entry in entries:
                if entry.name.startswith(".") or entry.name == LOST:
                    continue
                wanted = without_suffix(entry.name, (*suffix, SHARD)) is not None
                if _is_folder(entry, wanted):
                    folders.append(entry.path)
                elif wanted and not is_special(entry.path):
                    names.append(os.path.relpath(entry.path, folder))
        parents += sorted(folders, reverse=True)
    for name in sorted(names):
        yield from _in_file(folder / name, name, suffix, named=False)


def _is_folder(entry: os.DirEntry[str], wanted: bool) -> bool:
    try:
        return entry.is_dir()
    except OSError as error:  # of a link; reading a wanted file is the error
        if wanted or error.errno == errno.ELOOP:
            return False
        raise


def _in_file(path: Path, name: str, suffix: tuple[str, ...], *, named: bool) -> Iterator[Item]:
    """Yield a shard's members, or the file itself. A file that the user named counts whatever its suffix is."""
    if (split := without_suffix(name, suffix)) is not None:
        yield Item(Path(split[0]).as_posix(), path)
    elif without_suffix(name, (SHARD, *_COMPRESSED)) or (named and not is_special(path) and _holds_tar(path)):
        for member in list_members(path):
            # "chair.v2.npz" is no less an object in a shard than in a folder
            if (split := without_suffix(member.suffix, suffix)) is not None:
                yield Item(member.key + split[0], member)
    elif named:
        yield Item(path.stem, path)


def captions_of_shard(shard: str | Path) -> dict[str, dict[str, Member]]:
    """Return the captions in a shard by the key of their object, as `list_items` calls it, and by their suffix.

    Of two of one name the later counts, as where the tar is unpacked.
    """
    found: dict[str, dict[str, Member]] = {}
    for member in list_members(shard):
        split = without_suffix(member.suffix, CAPTIONS)
        if split is not None:
            key = member.key + split[0]  # "chair.v2" keeps its dot
            found.setdefault(key, {})[split[1]] = member
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
