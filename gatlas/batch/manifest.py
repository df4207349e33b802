"""Result stores of a batch (a folder, a tar or a stream) and the manifest that records them.

The manifest has one JSON line per object. A line is written before its result is moved to its place, with the stamp of
the result: a process that is killed between the two leaves a line that does not match, and the object is done again.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from gatlas import io
from gatlas.batch.options import SHARD
from gatlas.batch.places import canonical_path
from gatlas.batch.work import Task, caption_place
from gatlas.errors import GatlasError
from gatlas.io.descriptors import refuse_own_stream
from gatlas.io.outputs import remove, write
from gatlas.io.sets.scratch import (
    append_line,
    folder_contents,
    held_scratch,
    matching_names,
    read_lines,
    replacing,
    temporary_folder,
    write_lines,
)
from gatlas.io.sets.shards import GrowingTar, ShardWriter, is_empty_tar
from gatlas.io.streams import os_errors

Line = dict[str, Any]
MANIFEST = re.compile(r"manifest-\d+-of-\d+\.jsonl")


def last_success(line: Line) -> Line:
    """Return the line of the result in its place, which after a failure is the one kept from before; {} without any."""
    found: Line = line if line.get("status") == "ok" else line.get("kept", {})
    return found


def last_successes(known: Mapping[str, Line]) -> dict[str, Line]:
    """Return the line of each result in its place, by the newest lines of the objects; objects without any are out."""
    return {key: made for key, line in known.items() if (made := last_success(line))}


def sidecar_contents(line: Line, place: Path) -> Mapping[str, int] | None:
    """Return the sizes of the files in a sidecar folder that a line names; None for a file or where it names none."""
    contents: Mapping[str, int] | None = line.get("files", {}).get(canonical_path(place))
    return contents


def manifests_in(folder: Path) -> list[Path]:
    """Return the manifests of shards in a folder of results, sorted; [] where there is no such folder."""
    return [folder / name for name in matching_names(folder, MANIFEST)] if io.is_folder(folder) else []


class Made(NamedTuple):
    """A result in the scratch folder, ready to be stored."""

    task: Task
    line: Line  # for the manifest
    path: Path
    captions: Mapping[str, bytes]  # suffix -> content, stored next to it
    sidecars: Mapping[Path, Path]  # place -> path in the scratch folder
    earlier: Line  # of the result that it replaces, or {}

    def record(self) -> Line:
        """Return the line with the contents of the sidecars; None for those that are no folders."""
        contents = {
            canonical_path(place): folder_contents(path) if path.is_dir() else None
            for place, path in self.sidecars.items()
        }
        return {**self.line, "files": contents}

    def store_sidecars(self) -> None:
        """Move the sidecars to their places."""
        for place, path in self.sidecars.items():
            with replacing(place, path, owned=sidecar_contents(self.earlier, place) or ()):
                pass


class RecordedResults:
    """Results with a manifest, held by one process at a time. Verbs that share a manifest each know their own lines."""

    def __init__(self, folder: Path, label: str, manifest: Path, verb: str, share: Line | None) -> None:
        self.folder = folder
        self.label = label
        self.manifest = manifest
        self.verb = verb
        self.share = share or {}  # what every line says of the shard, and of the array that it is of

    @contextmanager
    def opened(self) -> Iterator[Path]:
        """Yield a scratch folder for results in the making. A second process on the same results is a GatlasError."""
        refuse_own_stream(self.manifest)
        busy = f"{self.manifest}: another process is at work on this: wait for it, or end it"
        with held_scratch(self.folder, self.label, busy) as scratch:
            newest = {(line["id"], line.get("verb")): line for line in read_lines(self.manifest)}
            if newest:  # instead of a line per attempt; a torn end is gone
                write_lines(self.manifest, newest.values())
            yield scratch

    def record(self, line: Line) -> None:
        """Append a line to the manifest."""
        append_line(self.manifest, {**line, **self.share})

    def newest_lines(self, *manifests: Path, keys: Collection[str] | None = None) -> dict[str, Line]:
        """Return the newest line of every object, by its id; of these keys alone where they are given."""
        newest: dict[str, Line] = {}
        for line in (line for path in manifests for line in read_lines(path, keys)):
            earlier = newest.get(line["id"], {})
            if line.get("verb", "") == self.verb and line.get("ended", 0) >= earlier.get("ended", 0):
                newest[line["id"]] = line
        return newest


class FolderResults(RecordedResults):
    """A file or a folder per object. The manifest is `manifest-I-of-N.jsonl`, written by shard I of N alone."""

    ordered = False

    def __init__(self, folder: Path, index: int, shards: int, verb: str = "", share: Line | None = None) -> None:
        label = f"{index}-of-{shards}"
        super().__init__(folder, label, folder / f"manifest-{label}.jsonl", verb, share)

    def known(self, keys: Iterable[str] | None = None) -> dict[str, Line]:
        """Return the newest line of every object, over the manifests of all shards, however many there were.

        With `keys`, those of other objects are left out, and not parsed.
        """
        wanted = None if keys is None else frozenset(keys)
        return self.newest_lines(*manifests_in(self.folder), keys=wanted)

    def holds(self, line: Line, output: Path | None) -> bool:
        """Return True where the result of a line stands in its place."""
        if output is None or not output.exists():
            return False
        if output.is_dir():
            if "contents" not in line:  # of an earlier version
                return line.get("output_stamp", "") is None
            contents: Mapping[str, int] = line["contents"]
            return bool(contents) and contents.items() <= folder_contents(output).items()
        if line.get("output_stamp") == io.stamp(output):
            return True
        # Its time of change may be that of a copy: the content decides.
        return line.get("bytes") == output.stat().st_size and line.get("output_sha256") == io.sha256_of(output)

    def store(self, made: Made) -> None:
        """Record a result and move it to its place. Its captions and sidecars are there before it."""
        output, path = made.task.output, made.path
        if output is None:
            raise ValueError("a result in a folder needs a place")
        line = made.record() | {"output": str(output), "output_stamp": io.stamp(path)}
        line |= {"contents": folder_contents(path)} if path.is_dir() else {"bytes": path.stat().st_size}
        line |= {"captions": sorted(made.captions)} if made.captions else {}
        with os_errors(output, named=True), replacing(output, path, owned=made.earlier.get("contents", ())):
            self.record(line)
            for suffix, content in made.captions.items():
                write(caption_place(output, suffix), [content], force=True, suffix=suffix, what="a sidecar")
            made.store_sidecars()


class TarResults(RecordedResults):
    """All results in one tar. The manifest is `x.manifest.jsonl`; a line has the byte where its result ends."""

    ordered = True

    def __init__(self, tar: Path, suffix: str, verb: str = "", share: Line | None = None) -> None:
        super().__init__(tar.parent, tar.stem, tar.with_suffix(".manifest.jsonl"), verb, share)
        self.tar = tar
        self.suffix = suffix  # of the results
        self.growing = GrowingTar(tar)

    def known(self) -> dict[str, Line]:
        """Return the newest line of every object; of those with a result, only where it is in the tar."""
        size = self.growing.size()
        known = {key: line for key, line in self.newest_lines(self.manifest).items() if line.get("end", 0) <= size}
        last = max(known, key=lambda key: known[key].get("end", 0), default=None)
        sidecars = () if last is None or self.growing.is_whole() else known[last].get("files", ())
        if last is not None and not all(map(os.path.lexists, sidecars)):
            del known[last]  # a process was killed before its sidecars were in their places
        return known

    def holds(self, line: Line, output: Path | None) -> bool:
        """Return True where the result of a `known` line is in the tar."""
        return line.get("end", 0) > 0

    def check(self, known: Mapping[str, Line], keys: Collection[str], done: Collection[str]) -> None:
        """Raise a GatlasError where objects of these keys cannot be added: no member can be taken out of a tar."""
        held = {key for key, line in known.items() if line.get("status") == "ok"}
        if self.tar.exists() and not known and not is_empty_tar(self.tar):
            raise GatlasError(f"{self.tar} exists: use --force to overwrite it")
        if others := sorted(held.difference(keys)):
            raise GatlasError(
                f"{self.tar}: holds {others[0]}, which is not among these inputs: name another tar; tasks of an array "
                f"need one each, as {self.tar.stem}-{SHARD}.tar"
            )
        if held.difference(done):
            what = "of other inputs or options, or without a file that is asked for beside them"
            raise GatlasError(f"{self.tar}: holds objects {what}: use --force to make it anew")

    def resume(self, end: int) -> None:
        """Continue at byte `end`, where the last `known` result ends; at 0 the tar and its manifest are new."""
        self.growing.cut(end)
        if not end:
            remove(self.manifest)

    def store(self, made: Made) -> None:
        """Append a result and its captions, record it, and move its sidecars to their places."""
        end = self.growing.append(made.task.key, {self.suffix: io.read(made.path).data, **made.captions})
        self.record(made.record() | {"output": str(self.tar), "end": end})
        with os_errors(self.tar, named=True):
            made.store_sidecars()
        remove(made.path)


class StreamResults:
    """A tar to standard output or another stream, without a manifest: what is lost in a pipe cannot be resumed."""

    ordered = True
    manifest = None

    def __init__(self, suffix: str, output: str = "-", force: bool = False) -> None:
        self.suffix = suffix
        self.output = output
        self.force = force

    @contextmanager
    def opened(self) -> Iterator[Path]:
        """Yield a scratch folder. The tar gets its end mark where the block ends well."""
        with temporary_folder() as scratch, ShardWriter(self.output, force=self.force) as self._shard:
            yield scratch

    def record(self, line: Line) -> None:
        """Do nothing: there is no manifest."""

    def store(self, made: Made) -> None:
        """Write a result and its captions to the stream. Its sidecars are in their places already."""
        content = io.read(made.path).data
        remove(made.path)
        for suffix, each in {self.suffix: content, **made.captions}.items():
            self._shard.add(made.task.key, suffix, each)
