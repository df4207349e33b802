"""The files that a command line names: files, folders, patterns and tar shards, as one list in a fixed order."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator, Sequence
from functools import cache
from glob import glob, has_magic
from pathlib import Path
from typing import NamedTuple

from gatlas.errors import GatlasError
from gatlas.io.shards import SUFFIX as SHARD
from gatlas.io.shards import Member, is_tar, list_members, read_member
from gatlas.io.streams import Blob, describe, read

CAPTIONS = (".txt", ".json")  # suffixes of a caption beside its object in a shard
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")  # of shard names, as in atlas-{000000..000007}.tar


class Item(NamedTuple):
    """One file of a set, on its own or in a shard."""

    key: str  # the object's name: that of the file without the suffix, with its folders below the named one
    source: Path | Member

    @property
    def name(self) -> str:
        """For messages."""
        source = self.source
        return str(source) if isinstance(source, Path) else f"{source.shard}:{source.key}{source.suffix}"


def gather(inputs: Sequence[str], suffix: str | tuple[str, ...] = ".npz", *, photos: bool = False) -> list[Item]:
    """The files with a suffix, or one of several, that the inputs name.

    They come in the order of the inputs; inside a folder, sorted by name. An input is a file, a folder (with the
    folders in it), a tar shard, a pattern such as `set/*.npz`, or a range of shards such as
    `set-{000000..000007}.tar`. A file that is named twice is taken once, with a warning. An input that gives nothing,
    and a tar that is compressed, are a GatlasError. Hidden files are left out. With `photos` a folder of photos with
    their cameras is one item, as is each such folder in a folder.
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
            raise GatlasError(f"{given}: there are no {' or '.join(suffixes)} files in it")
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
    if path.is_dir():
        return not (photos and has_photos(path))
    return path.is_file() and (given.endswith((".tar.gz", ".tgz")) or _holds_tar(path))


def has_photos(folder: Path) -> bool:
    """Whether a folder holds photos with their cameras."""
    from gatlas.io.colmap import find_model
    from gatlas.io.transforms import has_index

    return has_index(folder) or find_model(folder) is not None


def _items(given: str, suffix: tuple[str, ...], photos: bool) -> Iterator[Item]:
    for path in _expand(given):
        if photos and path.is_dir():
            yield from _photo_folders(path)
        if path.is_dir() and not (photos and has_photos(path)):
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
        matches = sorted(glob(name, recursive=True)) if has_magic(name) else [name] * os.path.lexists(name)
        if not matches:
            raise GatlasError(f"{name}: there is no such file" if not has_magic(name) else f"{name}: matches no file")
        paths += map(Path, matches)
    return paths


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
    if has_photos(folder):
        yield Item(folder.resolve().name, folder)
        return
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.name.startswith(".") and has_photos(path):
            yield Item(path.name, path)


def _in_folder(folder: Path, suffix: tuple[str, ...]) -> Iterator[Item]:
    seen: set[str] = set()
    names: list[str] = []
    for parent, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen:  # a link that leads back, or a second one to the same folder
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        names += [
            os.path.relpath(os.path.join(parent, name), folder)
            for name in files
            if name.endswith((*suffix, SHARD)) and not name.startswith(".")
        ]
    for name in sorted(names):
        yield from _in_file(folder / name, name, suffix, named=False)


def _in_file(path: Path, name: str, suffix: tuple[str, ...], *, named: bool) -> Iterator[Item]:
    """A shard's members, or the file itself. A file that the user named counts whatever its suffix is."""
    if name.endswith(suffix):
        yield Item(Path(_without(name, suffix)).as_posix(), path)
    elif name.endswith((SHARD, ".tar.gz", ".tgz")) or (named and not path.is_fifo() and _holds_tar(path)):
        for member in list_members(path):
            if member.suffix.endswith(suffix):  # "chair.v2.npz" is no less an object in a shard than in a folder
                yield Item(member.key + _without(member.suffix, suffix), member)
    elif named:
        yield Item(path.stem, path)


def _without(name: str, suffix: tuple[str, ...]) -> str:
    return next(name.removesuffix(each) for each in suffix if name.endswith(each))


def captions_of_shard(shard: str | Path) -> dict[str, dict[str, Member]]:
    """The captions in a shard by the key of their object, as `gather` calls it, and by their suffix.

    Of two of one name the later counts, as where the tar is unpacked.
    """
    found: dict[str, dict[str, Member]] = {}
    for member in list_members(shard):
        ending = next((suffix for suffix in CAPTIONS if member.suffix.endswith(suffix)), None)
        if ending is not None:
            key = member.key + member.suffix.removesuffix(ending)  # "chair.v2" keeps its dot
            found.setdefault(key, {})[ending] = member
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
    try:
        with path.open("rb") as file:
            return is_tar(file.read(512))
    except OSError as error:
        raise GatlasError(describe(path, error)) from None
