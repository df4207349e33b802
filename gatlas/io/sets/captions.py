"""Captions of objects, in the five formats that they are published in.

A CSV of uid and caption without a header (Cap3D), a CSV with one, a JSON list of records (3DTopia), a JSON map from id
to text (GaussianVerse), and JSON lines. The format is detected from the content, never from the name. An id may come
more than once, and a text may be a list: an object then has several captions, in the order of the file.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gatlas.errors import GatlasError
from gatlas.io.json_reader import JsonError, parse_json
from gatlas.io.sets.inputs import members_by_key
from gatlas.io.sets.shard_index import shard_index
from gatlas.io.sets.shards import CAPTIONS
from gatlas.io.streams import as_blob, os_errors

if TYPE_CHECKING:
    from gatlas.io.sets.items import ItemColumns
    from gatlas.io.sets.shard_index import ShardIndex
    from gatlas.io.sets.shards import Member
    from gatlas.io.streams import Blob

    Captions = dict[str, tuple[str, ...]]  # by id or key

ID_FIELDS = ("uid", "id", "obj_id", "object_id", "key", "name", "model_id")
_DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab"}  # between the columns of a CSV
TEXT_FIELDS = ("caption", "captions", "text", "prompt", "description", "3dtopia")


def load_captions(source: str | Path | Blob) -> Captions:
    """The captions of a file by their ids. What is no caption file, and a broken line, is a GatlasError."""
    blob = as_blob(source)
    try:
        text = blob.data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise GatlasError(f"{blob.name}: not a UTF-8 text: {error.reason} at byte {error.start}") from None
    if text.lstrip()[:1] in ("[", "{"):
        pairs = _json_pairs(blob.name, text)
    else:
        pairs = _csv_pairs(blob.name, text)
    found: dict[str, list[str]] = {}
    for where, identity, captions in pairs:
        if not identity.strip():
            raise GatlasError(f"{where}: the id is empty")
        for caption in captions:
            if not caption.strip():
                raise GatlasError(f"{where}: the caption of {identity!r:.200} is empty")
            found.setdefault(identity.strip(), []).append(caption.strip())
    if not found:
        raise GatlasError(f"{blob.name}: there are no captions in it")
    return {identity: tuple(dict.fromkeys(captions)) for identity, captions in found.items()}


class PlacedCaptions(MutableMapping[int, tuple[str, ...]]):
    """Captions by the places of items. One caption is kept as its text alone: of 200,000 that is 10 MB less."""

    def __init__(self) -> None:
        self._found: dict[int, str | tuple[str, ...]] = {}

    def __getitem__(self, place: int) -> tuple[str, ...]:
        found = self._found[place]
        return (found,) if isinstance(found, str) else found

    def __setitem__(self, place: int, captions: tuple[str, ...]) -> None:
        self._found[place] = captions[0] if len(captions) == 1 else captions

    def __delitem__(self, place: int) -> None:
        del self._found[place]

    def __iter__(self) -> Iterator[int]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)


def captions_beside(items: ItemColumns) -> PlacedCaptions:
    """Return the captions that lie beside the atlases, in their folders and shards: `key.txt`, else `key.json`.

    They come by the places of the atlases in the list. In a folder a JSON file is one where it has a text as "caption";
    other things, such as reports, may lie there too.
    """
    found = captions_in_shards(items)
    names: dict[Path, set[str]] = {}
    for index in items.apart_from_shards():
        source = items[index].source
        if not isinstance(source, Path):
            continue
        folder = source.parent
        if folder not in names:
            names[folder] = _names_in(folder)
        beside = (folder / (source.stem + suffix) for suffix in CAPTIONS)
        captions = next(filter(None, (_in_folder(path) for path in beside if path.name in names[folder])), ())
        if captions:
            found[index] = captions
    return found


def _in_shard(index: ShardIndex, member: Member, suffix: str) -> tuple[str, ...]:
    text = index.texts.get(member.offset)
    if text is None or suffix == ".json":
        return _beside(index.read(member), suffix)
    text = text.removeprefix("\ufeff").strip()
    return (text,) if text else ()


def _in_folder(path: Path) -> tuple[str, ...]:
    """The captions of a file beside an atlas; none where it is another's."""
    if not path.is_file() or not path.stat().st_size:
        return ()
    if path.suffix != ".json":
        return _beside(as_blob(path), path.suffix)
    try:
        record = parse_json(as_blob(path).data)
    except JsonError:
        return ()
    caption: Any = record.get("caption") if isinstance(record, Mapping) else None
    texts = caption if isinstance(caption, list) else [caption]
    if not all(isinstance(text, str) for text in texts):
        return ()
    return tuple(text.strip() for text in texts if text.strip())


def _names_in(folder: Path) -> set[str]:
    with os_errors(folder):
        return set(os.listdir(folder))


def captions_in_shards(items: ItemColumns) -> PlacedCaptions:
    """Return the captions that lie beside the atlases in their shards: `key.txt`, else `key.json` with a "caption".

    They come by the places of the atlases in the list, and belong to the atlas of their own shard only. Two atlases of
    one key beside one are a GatlasError.
    """
    found = PlacedCaptions()
    for shard, places in items.by_shard():
        wanted: dict[str, list[int]] = {}
        for place in places:
            wanted.setdefault(items.keys[place], []).append(place)
        index = shard_index(shard)
        for key, members in members_by_key(index).items():
            if key not in wanted:
                continue
            read = (_in_shard(index, members[suffix], suffix) for suffix in CAPTIONS if suffix in members)
            captions = next(filter(None, read), ())
            if captions and len(wanted[key]) > 1:
                raise GatlasError(
                    f"{items[wanted[key][0]].name}: the shard has two of this name and a caption for one: leave one out"
                )
            if captions:
                found[wanted[key][0]] = captions
    return found


Pairs = Iterator[tuple[str, str, tuple[str, ...]]]  # where (for messages), id, captions


def _json_pairs(name: str, text: str) -> Pairs:
    try:
        document = parse_json(text)
    except JsonError as error:
        lines = [line for line in text.splitlines() if line.strip()]
        if len(lines) > 1 and _is_json(lines[0]):
            yield from _line_pairs(name, text)
            return
        raise GatlasError(f"{name}: damaged: {error}") from None
    if isinstance(document, list):
        for number, record in enumerate(document, 1):
            yield _record(f"{name}: record {number}", record)
    elif _field(document, ID_FIELDS) and _field(document, TEXT_FIELDS):
        yield _record(f"{name}: line 1", document)  # JSON lines of one line
    else:
        for identity, captions in document.items():
            yield f"{name}: {identity!r:.200}", identity, _texts(f"{name}: {identity!r:.200}", captions)


def _line_pairs(name: str, text: str) -> Pairs:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        where = f"{name}: line {number}"
        try:
            record = parse_json(line)
        except JsonError as error:
            raise GatlasError(f"{where}: damaged: {error}") from None
        yield _record(where, record)


def _csv_pairs(name: str, text: str) -> Pairs:
    mark = _delimiter(text)
    rows = csv.reader(io.StringIO(text, newline=""), strict=True, skipinitialspace=True, delimiter=mark)
    columns: tuple[int, int] | None = None
    end = 0
    while True:
        where = f"{name}: line {end + 1}"
        try:
            row = next(rows, None)
        except csv.Error as error:
            raise GatlasError(f"{where}: damaged CSV: {error}") from None
        if row is None:
            return
        end = rows.line_num
        if not row or not any(cell.strip() for cell in row):
            continue
        if columns is None:
            columns = _header(row)
            if columns is not None:
                width = len(row)
                continue
            columns, width = (0, 1), 2
        if len(row) != width:
            if len(row) > width:
                hint = f"; a caption with a {_DELIMITERS[mark]} must be in double quotes"
            else:
                hint = "; divide the id and the caption by a comma" if len(row) == 1 else ""
            raise GatlasError(f"{where}: must have {width} columns, has {len(row)}{hint}")
        yield where, row[columns[0]], (row[columns[1]],)


def _delimiter(text: str) -> str:
    """The character between the columns: a comma, unless the first line is a header with another one."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    for mark in _DELIMITERS:
        if _header([cell.strip().strip('"') for cell in first.split(mark)]) is not None:
            return mark
    return ","


def _header(row: list[str]) -> tuple[int, int] | None:
    """The columns of id and caption; None where the row is no header."""
    names = {cell.strip().lower(): column for column, cell in reversed([*enumerate(row)])}
    identity, text = _field(names, ID_FIELDS), _field(names, TEXT_FIELDS)
    return (names[identity], names[text]) if identity and text else None


def _field(record: Any, fields: Sequence[str]) -> str:
    """The first of the fields that a record has, or ""."""
    return next((field for field in fields if isinstance(record, Mapping) and field in record), "")


def _record(where: str, record: Any) -> tuple[str, str, tuple[str, ...]]:
    identity, text = _field(record, ID_FIELDS), _field(record, TEXT_FIELDS)
    if not identity or not text:
        lack = "an id" if not identity else "a caption"
        fields = ID_FIELDS if not identity else TEXT_FIELDS
        raise GatlasError(f"{where}: has no field for {lack} (one of {', '.join(fields)})")
    if not isinstance(record[identity], (str, int)) or isinstance(record[identity], bool):
        raise GatlasError(f"{where}: the id must be a text, got {record[identity]!r:.200}")
    return where, str(record[identity]), _texts(where, record[text])


def _texts(where: str, value: Any) -> tuple[str, ...]:
    texts = value if isinstance(value, list) else [value]
    if not texts or not all(isinstance(text, str) for text in texts):
        raise GatlasError(f"{where}: the caption must be a text or a list of texts, got {value!r:.80}")
    for text in texts:
        try:
            text.encode()
        except UnicodeEncodeError:  # half of a surrogate pair, which JSON can write
            raise GatlasError(f"{where}: the caption {text!r:.80} is not Unicode") from None
    return tuple(texts)


def _is_json(line: str) -> bool:
    try:
        return isinstance(parse_json(line), dict)
    except JsonError:
        return False


def _beside(blob: Blob, suffix: str) -> tuple[str, ...]:
    """The captions of a shard's member; none where a JSON has other things in it."""
    try:
        text = blob.data.decode("utf-8-sig")
        record = parse_json(text) if suffix == ".json" else {"caption": text}
    except (UnicodeDecodeError, JsonError) as error:
        raise GatlasError(f"{blob.name}: not a caption: {error}") from None
    field = _field(record, TEXT_FIELDS)
    return tuple(text.strip() for text in _texts(blob.name, record[field]) if text.strip()) if field else ()
