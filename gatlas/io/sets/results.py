"""Where the results of a batch go, and the manifest that says what is done: a folder, a tar, or a stream.

One JSON line an object is written as it ends. A line stands in the manifest before its result stands in its place, with
the stamp of the result: a process that is killed between the two leaves a line that does not fit, and the object is
done again. A line that was torn is no line.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from gatlas.errors import GatlasError
from gatlas.io import streams
from gatlas.io.sets.digests import sha256_of, stamp
from gatlas.io.sets.shards import ShardWriter, end_mark, member_bytes

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

Line = dict[str, Any]
NOTHING: Mapping[Path, Path] = MappingProxyType({})
NO_LINE: Line = {}
MANIFEST = re.compile(r"manifest-\d+-of-\d+\.jsonl")
SCRATCH = ".gatlas-batch-{label}.tmp"  # folder of what is being made
LOCK = ".gatlas-batch-{label}.lock"  # file that its owner holds locked; it names the owner's machine
_LOCK_TRIES, _LOCK_SECONDS = 20, 0.05  # another process that looks for leftovers holds it for a moment
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)  # of file systems that have none


def read_lines(manifests: Iterable[Path], verb: str = "") -> dict[str, Line]:
    """The newest line that a verb has of every object, by its id."""
    newest: dict[str, Line] = {}
    for path in manifests:
        with streams.os_errors(path):
            text = path.read_bytes() if path.exists() else b""
        for line in _parsed(text):
            if line.get("verb", "") != verb:
                continue
            known = newest.get(line["id"])
            if known is None or line.get("ended", 0) >= known.get("ended", 0):
                newest[line["id"]] = line
    return newest


def _parsed(text: bytes) -> Iterator[Line]:
    for raw in text.split(b"\n"):
        try:
            line = json.loads(raw)
        except ValueError:
            continue  # torn, by a process that was killed while it wrote
        if isinstance(line, dict) and isinstance(line.get("id"), str):
            yield line


class Results:
    """A hold on a batch's results: its manifest, and a scratch folder that no other process writes to.

    Verbs that work in one folder share its manifest; each knows its own lines. A second process with the same label is
    a GatlasError. What killed processes of this machine left is removed; those of others may be at work where a
    network's file system does not carry locks from machine to machine.
    """

    def __init__(self, folder: Path, label: str, manifest: Path, verb: str) -> None:
        self.folder = folder
        self.verb = verb
        self.manifest = manifest
        self.scratch = folder / SCRATCH.format(label=label)
        self.lock = folder / LOCK.format(label=label)
        self._descriptor = -1

    def __enter__(self) -> Self:
        with streams.os_errors(self.folder, named=True):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._take_lock()
            try:
                os.ftruncate(self._descriptor, 0)
                os.write(self._descriptor, os.uname().nodename.encode())
                streams.remove(self.scratch)
                self.scratch.mkdir()
                _remove_leftovers(self.folder, self.lock)
                self._compact()
            except BaseException:
                self.__exit__()
                raise
        return self

    def _take_lock(self) -> None:
        for _ in range(_LOCK_TRIES):
            # A file and not the folder: over NFS only a file that is open for writing is locked on all machines.
            self._descriptor = os.open(self.lock, os.O_RDWR | os.O_CREAT, 0o666)
            if _locked(self._descriptor) is not False:
                if _is_still(self.lock, self._descriptor):
                    return
                os.close(self._descriptor)  # the one before us has just removed it
            else:
                os.close(self._descriptor)
                time.sleep(_LOCK_SECONDS)
        raise GatlasError(f"{self.manifest}: another process is at work on this: wait for it, or end it")

    def _compact(self) -> None:
        """One line an object and verb, the newest, instead of one a try; a torn end is gone."""
        if self.manifest.exists():
            lines = {(line["id"], line.get("verb")): line for line in _parsed(self.manifest.read_bytes())}
            text = "".join(json.dumps(line) + "\n" for line in lines.values())
            streams.write(self.manifest, [text.encode()], force=True, suffix=".jsonl", what="a manifest")

    def scratch_path(self, suffix: str) -> Path:
        """A new path for a result that is being made, on the same file system as its place."""
        return self.scratch / (secrets.token_hex(8) + suffix)

    def record(self, line: Mapping[str, Any]) -> None:
        """Append one line to the manifest; it is on the disk when this returns."""
        with streams.os_errors(self.manifest, named=True), self.manifest.open("ab") as file:
            file.write(json.dumps(line).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def put(self, scratch: Path, output: Path, ours: Collection[str] = ()) -> None:
        """Move what was made to its place, over what is there, as `cleared` says."""
        output.parent.mkdir(parents=True, exist_ok=True)
        if scratch.is_dir():
            output = Path(os.path.realpath(output))  # a link stays a link
        with self.cleared(output, scratch, ours):
            try:
                os.replace(scratch, output)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                with streams.scratch_beside(output) as near:
                    (shutil.copytree if scratch.is_dir() else shutil.copyfile)(scratch, near)
                    os.replace(near, output)

    @contextmanager
    def cleared(self, output: Path, scratch: Path, ours: Collection[str] = ()) -> Iterator[None]:
        """A place that what is in `scratch` can be renamed to: no rename replaces a folder.

        The folder that stood there is removed after the block, or is back where the block fails. Files in it that are
        not `ours`, and have no name of a new one, are in the new folder before: a kill at any moment loses none.
        """
        if not output.is_dir():
            yield
            return
        if not scratch.is_dir():
            raise GatlasError(f"{output}: is a folder; the output must be a file")
        for name in folder_contents(output).keys() - set(ours):
            if not os.path.lexists(scratch / name):
                (scratch / name).parent.mkdir(parents=True, exist_ok=True)
                _link_or_copy(output / name, scratch / name)
        older = self.scratch_path("")
        try:
            os.replace(output, older)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            older = output.with_name(f".gatlas-{secrets.token_hex(8)}.tmp")
            os.replace(output, older)
        try:
            yield
        except BaseException:
            if not output.exists():
                os.replace(older, output)
            raise
        streams.remove(older)

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.scratch, ignore_errors=True)
        self.lock.unlink(missing_ok=True)
        os.close(self._descriptor)


def folder_contents(folder: Path) -> dict[str, int]:
    """The size of every file in a folder and below, by its path from there."""
    files = (path for path in sorted(folder.rglob("*")) if not path.is_dir())
    return {str(path.relative_to(folder)): path.lstat().st_size for path in files}


def _size(path: Path) -> int | None:
    """In bytes; None where there is no such file."""
    try:
        return path.lstat().st_size
    except (FileNotFoundError, NotADirectoryError):
        return None


def contents_beside(line: Line, place: Path) -> dict[str, int] | None:
    """What is in the folder that a line names beside its result; None for a file, or where it names no such place."""
    contents: dict[str, int] | None = line.get("files", {}).get(spelled(place))
    return contents


def spelled(path: str | Path, real: Callable[[str], str] = os.path.realpath) -> str:
    """One name for a path however it is written. A link at its end is not followed: a rename replaces the link.

    `real` follows the links of the folder; for many paths a cached one is faster.
    """
    absolute = os.path.abspath(path)
    return os.path.join(real(os.path.dirname(absolute)), os.path.basename(absolute))


def files_stand(line: Line) -> bool:
    """Whether what a line names beside its result is there."""
    return all(map(os.path.lexists, line.get("files", ())))


def caption_place(output: Path, suffix: str) -> Path:
    """Where a caption of that suffix stands beside a result."""
    return output.with_name(output.stem + suffix)


class FolderResults(Results):
    """One file, or one folder, an object. Its manifest is `manifest-I-of-N.jsonl`, written by shard I of N alone."""

    ordered = False

    def __init__(self, folder: Path, index: int, shards: int, verb: str = "") -> None:
        label = f"{index}-of-{shards}"
        super().__init__(folder, label, folder / f"manifest-{label}.jsonl", verb)

    def known(self) -> dict[str, Line]:
        """The newest line of every object, over the manifests of all shards, however many there were."""
        if not streams.is_folder(self.folder):
            return {}
        with streams.os_errors(self.folder, named=True):
            manifests = [path for path in sorted(self.folder.iterdir()) if MANIFEST.fullmatch(path.name)]
        return read_lines(manifests, self.verb)

    def holds(self, line: Line, output: Path | None) -> bool:
        """Whether the result of that line stands in its place."""
        if output is None or not output.exists():
            return False
        if output.is_dir():
            if "contents" not in line:  # of an earlier version
                return line.get("output_stamp", "") is None
            contents = line["contents"].items()
            return bool(contents) and all(_size(output / name) == size for name, size in contents)
        if line.get("output_stamp") == stamp(output):
            return True
        # Its time of change may be that of a copy: the content decides.
        return line.get("bytes") == output.stat().st_size and line.get("output_sha256") == sha256_of(output)

    def store(
        self,
        line: Line,
        scratch: Path,
        output: Path | None,
        sidecars: Mapping[str, bytes],
        beside: Mapping[Path, Path] = NOTHING,
        earlier: Line = NO_LINE,
    ) -> None:
        """Record a result and move it to its place, over the one of an `earlier` line.

        Its sidecars, and what was made `beside` it (place -> scratch), are there before it.
        """
        if output is None:
            raise ValueError("a folder's results have a place each")
        with streams.os_errors(output, named=True):
            output.parent.mkdir(parents=True, exist_ok=True)
            more: Line = (
                {"contents": folder_contents(scratch)} if scratch.is_dir() else {"bytes": scratch.stat().st_size}
            )
            if sidecars:
                more["captions"] = sorted(sidecars)
            more |= _files(beside)
            place = Path(os.path.realpath(output)) if scratch.is_dir() else output  # a link to a folder stays a link
            with self.cleared(place, scratch, earlier.get("contents", ())):
                self.record({**line, **more, "output": str(output), "output_stamp": stamp(scratch)})
                for suffix, content in sidecars.items():
                    streams.write(caption_place(output, suffix), [content], force=True, suffix=suffix, what="a sidecar")
                for other, made in beside.items():
                    self.put(made, other, contents_beside(earlier, other) or ())
                os.replace(scratch, place)


class TarResults(Results):
    """All results in one tar, `x.tar`, which grows as `x.tar.partial` and is renamed when the last one is in it.

    Its manifest is `x.manifest.jsonl`; the lines of results say where in the tar they end.
    """

    ordered = True

    def __init__(self, tar: Path, suffix: str, verb: str = "") -> None:
        super().__init__(tar.parent, tar.stem, tar.with_suffix(".manifest.jsonl"), verb)
        self.tar = tar
        self.suffix = suffix  # of the results
        self.partial = tar.with_name(tar.name + ".partial")

    def known(self) -> dict[str, Line]:
        """The newest line of every object; of those with a result, only where it is in the tar."""
        lines = read_lines([self.manifest], self.verb)
        there = self.partial if self.partial.exists() else self.tar
        size = there.stat().st_size if there.exists() else 0
        known = {key: line for key, line in lines.items() if line.get("end", 0) <= size}
        last = max(known, key=lambda key: known[key].get("end", 0), default=None)
        if there == self.partial and last is not None and not files_stand(known[last]):
            del known[last]  # killed before what belongs to it was in its place
        return known

    def holds(self, line: Line, output: Path | None) -> bool:
        """Whether the result of that line is in the tar: those that are not are not `known`."""
        return line.get("end", 0) > 0

    def is_complete(self) -> bool:
        """Whether the tar stands in its place and nothing is being added to it."""
        return self.tar.exists() and not self.partial.exists()

    def go_on(self, end: int) -> None:
        """Go on behind byte `end`, that of the last result whose line is kept; 0 starts afresh."""
        with streams.os_errors(self.tar, named=True):
            if end and not self.partial.exists():
                os.replace(self.tar, self.partial)
            with self.partial.open("r+b" if self.partial.exists() else "wb") as file:
                file.truncate(end)
            if not end:
                self.manifest.unlink(missing_ok=True)

    def store(
        self,
        line: Line,
        scratch: Path,
        output: Path | None,
        sidecars: Mapping[str, bytes],
        beside: Mapping[Path, Path] = NOTHING,
        earlier: Line = NO_LINE,
    ) -> None:
        """Append the files of an object, record it, and move what was made `beside` it (place -> scratch)."""
        with streams.os_errors(self.tar, named=True):
            with self.partial.open("ab") as file:
                for suffix, content in {self.suffix: scratch.read_bytes(), **sidecars}.items():
                    file.writelines(member_bytes(line["id"], suffix, content))
                file.flush()
                os.fsync(file.fileno())  # before the line that says that it is there
                end = file.tell()
            self.record({**line, **_files(beside), "output": str(self.tar), "end": end})
            for place, made in beside.items():
                self.put(made, place, contents_beside(earlier, place) or ())
            scratch.unlink()

    def __exit__(self, *_: object) -> None:
        if self.partial.exists() and not self.partial.stat().st_size:
            self.partial.unlink()  # nothing came of it
        super().__exit__()

    def finish(self) -> None:
        """Give the tar its end mark and its name."""
        with streams.os_errors(self.tar, named=True):
            with self.partial.open("ab") as file:
                file.write(end_mark(file.tell()))
            os.replace(self.partial, self.tar)


class StreamResults:
    """A tar to standard output, with no manifest: what is lost in a pipe cannot be gone on with."""

    ordered = True
    manifest = None

    def __init__(self, suffix: str) -> None:
        self.suffix = suffix
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="gatlas-"))
        self._shard = self._stack.enter_context(ShardWriter("-"))
        self.scratch = Path(folder)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def scratch_path(self, suffix: str) -> Path:
        """A new path for a result that is being made."""
        return self.scratch / (secrets.token_hex(8) + suffix)

    def record(self, line: Mapping[str, Any]) -> None:
        """There is no manifest; the command says what failed."""

    def store(
        self,
        line: Line,
        scratch: Path,
        output: Path | None,
        sidecars: Mapping[str, bytes],
        beside: Mapping[Path, Path] = NOTHING,
        earlier: Line = NO_LINE,
    ) -> None:
        """Write the files of an object to the stream; what stands `beside` its result is in its place already."""
        with streams.os_errors(scratch, named=True):
            content = scratch.read_bytes()
            scratch.unlink()
        for suffix, each in {self.suffix: content, **sidecars}.items():
            self._shard.add(line["id"], suffix, each)


def _remove_leftovers(folder: Path, own: Path) -> None:
    """Remove what no process holds: of batches of this machine that were killed and never run again as they were."""
    for path in folder.glob(LOCK.format(label="*")):
        if path == own:
            continue
        try:
            descriptor = os.open(path, os.O_RDWR)
        except (FileNotFoundError, PermissionError):
            continue  # its owner has just ended, or is another user
        try:
            ours = os.read(descriptor, 256) == os.uname().nodename.encode()
            # Its owner may have ended and another begun since it was opened: then it is a lock of nothing.
            if ours and _locked(descriptor) and _is_still(path, descriptor):
                shutil.rmtree(path.with_suffix(".tmp"), ignore_errors=True)
                path.unlink(missing_ok=True)
        finally:
            os.close(descriptor)


def _is_still(path: Path, descriptor: int) -> bool:
    """Whether a path still leads to an open file."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _locked(descriptor: int) -> bool | None:
    """Take the lock of an open file; False where another process has it, None where the file system has no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return None
        raise
    return True


def _files(beside: Mapping[Path, Path]) -> Line:
    """What the manifest says of the files and folders beside a result: of folders, what is in them."""
    return {
        "files": {spelled(place): folder_contents(made) if made.is_dir() else None for place, made in beside.items()}
    }


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:  # another file system, or one without links
        shutil.copy2(source, target, follow_symlinks=False)
