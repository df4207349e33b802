"""The files that a command line names: files, folders, patterns and tar shards, as one list in a fixed order."""

from __future__ import annotations

import errno
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from functools import cache
from glob import glob, has_magic
from pathlib import Path
from typing import NamedTuple

from gatlas.errors import GatlasError
from gatlas.io.sets.shards import SUFFIX as SHARD
from gatlas.io.sets.shards import Member, is_tar, list_members, read_member
from gatlas.io.streams import Blob, opened_file, os_errors, read

CAPTIONS = (".txt", ".json")  # suffixes of a caption beside its object in a shard
_COMPRESSED = (".tar.gz", ".tgz")
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")  # of shard names, as in atlas-{000000..000007}.tar
LOST = "lost+found"  # in the root of a file system, and for nobody to read


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
    """The files with a suffix, or one of several, that the inputs name.

    They come in the order of the inputs; inside a folder, sorted by name. An input is a file, a folder (with the
    folders in it), a tar shard, a pattern such as `set/*.npz`, or a range of shards such as
    `set-{000000..000007}.tar`. A file that is named twice is taken once, with a warning. An input that gives nothing,
    and a tar that is compressed, are a GatlasError, as is a folder in a folder that cannot be read. Suffixes count in
    capitals too. Hidden files are left out, and pipes and devices that are not named themselves. With `photos` a
    folder of photos with their cameras is one item, as is each such folder in a folder.
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
    """The content of a gathered file; its stem is the item's key."""
    blob = read(item.source) if isinstance(item.source, Path) else read_member(item.source)
    return Blob(blob.name, blob.data, blob.path, item.key)


def names_many(given: str, *, photos: bool = False) -> bool:
    """Whether one word of the command line stands for several files: a folder, a pattern, a tar."""
    path = Path(given)
    if not os.path.lexists(path):
        return has_magic(given) or _RANGE.search(given) is not None
    with os_errors(given, named=True):
        if path.is_dir():
            return not (photos and _has_photos(path))
        return path.is_file() and (without_suffix(given, _COMPRESSED) is not None or _holds_tar(path))


def without_suffix(name: str, suffixes: Sequence[str]) -> tuple[str, str] | None:
    """A name without the one of the suffixes that it ends in, in capitals or not, and that suffix; None for another."""
    ending = next((each for each in suffixes if name[-len(each) :].lower() == each), None)
    return None if ending is None else (name[: -len(ending)], ending)


def _cameras_needed(given: str, photos: bool) -> str:
    """What a folder of photos lacks, where photos are wanted too."""
    from gatlas.io.photos.transforms import picture_suffix

    if not photos or not picture_suffix(given):
        return ""
    return "; photos need cameras: a transforms.json, or a COLMAP model in sparse/0"


def _has_photos(folder: Path) -> bool:
    from gatlas.io.photos.scenes import has_photos

    return has_photos(folder)


def _items(given: str, suffix: tuple[str, ...], photos: bool) -> Iterator[Item]:
    with os_errors(given, named=True):
        for path in _expand(given):
            if photos and path.is_dir():
                yield from _photo_folders(path)
            if path.is_dir() and not (photos and _has_photos(path)):
                yield from _in_folder(path, suffix)
            else:
                yield from _in_file(path, path.name, suffix, named=path == Path(given))


def _expand(given: str) -> list[Path]:
    """The paths that one word of the command line means. Each must be there."""
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
    """The files and folders that a pattern names, sorted. `glob` passes over folders that it cannot read."""
    folder = os.path.dirname(pattern)
    while True:
        for each in glob(f"{folder}/", recursive=True) if folder else ["."]:
            if os.path.basename(each.rstrip(os.sep)) != LOST:
                os.scandir(each).close()
        if not has_magic(folder):
            break
        folder = os.path.dirname(folder)
    return [name for name in sorted(glob(pattern, recursive=True)) if os.path.isdir(name) or not _is_special(name)]


def _ranged(given: str) -> list[str]:
    """`x-{08..10}` as x-08, x-09, x-10."""
    match = _RANGE.search(given)
    if match is None:
        return [given]
    first, last = (int(number) for number in match.groups())
    if last < first:
        raise GatlasError(f"{given}: the range {match[0]} runs backwards")
    head, tail = given[: match.start()], given[match.end() :]
    return [f"{head}{number:0{len(match[1])}d}{rest}" for number in range(first, last + 1) for rest in _ranged(tail)]


def _photo_folders(folder: Path) -> Iterator[Item]:
    if _has_photos(folder):
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
                elif wanted and not _is_special(entry.path):
                    names.append(os.path.relpath(entry.path, folder))
        parents += sorted(folders, reverse=True)
    for name in sorted(names):
        yield from _in_file(folder / name, name, suffix, named=False)


def _is_folder(entry: os.DirEntry[str], wanted: bool) -> bool:
    try:
        return entry.is_dir()
    except OSError as error:  # of a link; whoever reads a wanted file says so
        if wanted or error.errno == errno.ELOOP:
            return False
        raise


def _is_special(path: str) -> bool:
    """A pipe or a device, which may never end; not a link that leads nowhere: whoever reads that says so."""
    return not os.path.isfile(path) and os.path.exists(path)


def _in_file(path: Path, name: str, suffix: tuple[str, ...], *, named: bool) -> Iterator[Item]:
    """A shard's members, or the file itself. A file that the user named counts whatever its suffix is."""
    if (split := without_suffix(name, suffix)) is not None:
        yield Item(Path(split[0]).as_posix(), path)
    elif without_suffix(name, (SHARD, *_COMPRESSED)) or (named and not path.is_fifo() and _holds_tar(path)):
        for member in list_members(path):
            # "chair.v2.npz" is no less an object in a shard than in a folder
            if (split := without_suffix(member.suffix, suffix)) is not None:
                yield Item(member.key + split[0], member)
    elif named:
        yield Item(path.stem, path)


def captions_of_shard(shard: str | Path) -> dict[str, dict[str, Member]]:
    """The captions in a shard by the key of their object, as `list_items` calls it, and by their suffix.

    Of two of one name the later counts, as where the tar is unpacked.
    """
    found: dict[str, dict[str, Member]] = {}
    for member in list_members(shard):
        split = without_suffix(member.suffix, CAPTIONS)
        if split is not None:
            key = member.key + split[0]  # "chair.v2" keeps its dot
            found.setdefault(key, {})[split[1]] = member
    return found


def sidecars(source: Path | Member | Blob) -> dict[str, bytes]:
    """Captions beside an object in a tar on disk, suffix -> content: they go where the object goes."""
    if isinstance(source, (Path, Blob)):
        return {}
    key = source.key + source.suffix.rpartition(".")[0]
    beside = _captions_of(str(source.shard)).get(key, {})
    return {suffix: read_member(member).data for suffix, member in beside.items()}


_captions_of = cache(captions_of_shard)


def _holds_tar(path: Path) -> bool:
    with opened_file(path) as file:
        return is_tar(file.read(512))
