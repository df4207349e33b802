"""Tar shards: many small files as one stream, in WebDataset's naming.

The members of an object are `key.npz`, `key.json`, `key.txt`…: the key is the name up to the first dot of its last
part, with its folders. Shards on disk are indexed by their headers and read out of order; pipes and compressed tars
are read from front to back. Hidden members (`._x` of macOS) are left out. A shard that cannot be read whole is an
error, never a shorter set: tar itself ends silently at a damaged header. A tar of an end mark alone holds no objects.
What a header promises is checked before memory is taken for it. The only code that calls `tarfile.open`.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import sys
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Literal, NamedTuple, cast

from gatlas.errors import GatlasError
from gatlas.io.outputs import append, check_output, remove, whole_file, write_stdout
from gatlas.io.streams import Blob, is_stream, opened_file, os_errors, read, stdin_bytes

SUFFIX = ".tar"
CAPTIONS = (".txt", ".json")  # suffixes of a caption beside its object in a shard
COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz"}  # first bytes
_BUFFER = 1 << 16  # bytes read from a pipe at once; tarfile copies what is left of it at every read
_PIECE = 1 << 24  # bytes of a member that are read at once, so that memory grows with what is there
MOST_MEMBERS = 20_000_000  # of one tar
MOST_ZEROS = 1 << 24  # bytes between the tars of a file
MOST_EXTENDED = 16  # headers in a row that belong to the next one; `tarfile` reads each inside the one before
MOST_OF_HEADER = 1 << 15  # bytes of a long name or of extended attributes
FREE_BYTES = 1 << 28  # of a compressed tar, and beyond it MOST_GAIN times the bytes that were read of it
MOST_GAIN = 100
_EXTENDED = (
    tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE,
)  # fmt: skip


class Member(NamedTuple):
    """One file in a shard on disk."""

    shard: Path
    key: str  # the name up to the first dot of its last part
    suffix: str  # the rest, as ".npz"
    offset: int  # bytes, of its content
    size: int  # bytes


def _bounded_header() -> type[tarfile.TarInfo]:
    """Return a class for the headers of one tar.

    Damage is an error, where `tarfile` ends or with `ignore_zeros` skips it; sizes are checked first.
    """

    class _Header(tarfile.TarInfo):
        zeros = 0  # blocks of them since the last header
        extended = 0  # headers that belong to the next one

        @classmethod
        def frombuf(cls, buf: Any, encoding: str, errors: str) -> Any:
            try:
                header = super().frombuf(buf, encoding, errors)
            except (tarfile.EOFHeaderError, tarfile.EmptyHeaderError):  # type: ignore[attr-defined]
                cls.zeros += 1
                if cls.zeros > MOST_ZEROS // tarfile.BLOCKSIZE:
                    raise tarfile.ReadError(f"more than {MOST_ZEROS:,} bytes of zeros") from None
                raise
            except tarfile.HeaderError as error:
                raise tarfile.ReadError(str(error)) from None
            cls.zeros = 0
            cls.extended = cls.extended + 1 if header.type in _EXTENDED else 0
            if cls.extended > MOST_EXTENDED:
                raise tarfile.ReadError(f"more than {MOST_EXTENDED} headers of one file")
            if header.size < 0:
                raise tarfile.ReadError(f"a size of {header.size} bytes")
            if header.type in _EXTENDED and header.size > MOST_OF_HEADER:
                raise tarfile.ReadError(
                    f"a name or attributes of {header.size:,} bytes (to leave attributes out, pack with --no-xattrs)"
                )
            return header

    return _Header


def is_tar(head: bytes) -> bool:
    """Return True where the first 512 bytes of a file are those of an uncompressed tar."""
    if len(head) < 512:
        return False
    if not any(head[:512]):
        return True  # an empty tar
    try:
        tarfile.TarInfo.frombuf(head[:512], "utf-8", "surrogateescape")
    except tarfile.TarError:
        return False
    return True


def is_empty_tar(path: str | Path) -> bool:
    """Return True for a whole tar without files, such as a shard without objects."""
    if not os.path.isfile(path):  # a pipe is read once only
        return False
    with opened_file(path) as file:
        content = file.read(tarfile.RECORDSIZE + 1)
    return len(content) == tarfile.RECORDSIZE and not any(content)


def list_members(path: str | Path) -> list[Member]:
    """Return the members of an uncompressed tar on disk, in its order. Only the headers are read."""
    with opened_file(path) as file:
        head = file.read(512)
        _refuse_compression(path, head)
        end = file.seek(0, os.SEEK_END)
        file.seek(0)
        shard, members = Path(path), []
        with _reading(str(path)), _open_tar(file, "r:") as tar:
            for header in _files(tar, str(path)):
                if header.offset_data + header.size > end:
                    raise GatlasError(
                        f"{path}: truncated or damaged tar: {header.name!r:.200} does not lie in it whole"
                    )
                members.append(Member(shard, *_split(header.name), header.offset_data, header.size))
        return members


def read_member(member: Member) -> Blob:
    """Return the content of a member."""
    name = f"{member.shard}:{member.key}{member.suffix}"
    with opened_file(member.shard) as file:
        file.seek(member.offset)
        data = file.read(member.size)
    if len(data) < member.size:
        raise GatlasError(f"{name}: truncated: the shard is shorter than when it was opened")
    return Blob(name, data, key=member.key)


def stream_members(source: str | Path) -> Iterator[Blob]:
    """Yield the members of a tar from front to back: of a path, or "-" for standard input.

    The tar may be compressed (gzip, bzip2, xz). A source that is no tar is itself the only member.
    """
    name = "standard input" if is_stream(source) else str(source)
    with ExitStack() as stack:
        if is_stream(source):
            # Unbuffered: a thread that waits in a buffered stream holds its lock, and the process cannot end.
            file = getattr(stdin_bytes(), "raw", stdin_bytes())
        else:
            file = stack.enter_context(opened_file(source))
        head = _read_exactly(file, 512)
        rest = _Rejoined(head, file)
        if not is_tar(head) and _compression(head) is None:
            yield _lone(source, name, rest)
            return
        how = _compression(head)
        with _reading(name):
            plain = cast("BinaryIO", rest if how is None else _Unpacked(rest, how))
            tar = stack.enter_context(_open_tar(cast("BinaryIO", _Ending(plain)), "r|"))
        files = _files(tar, name)
        while True:
            with _reading(name):  # not around the yield: the caller's own errors are not the tar's
                header = next(files, None)
                if header is None:
                    return
                content = tar.extractfile(header)
                data = b"" if content is None else _read_exactly(cast("BinaryIO", content), header.size)
            key, suffix = _split(header.name)
            yield Blob(f"{name}:{key}{suffix}", data, key=key)


def shard_key(name: str) -> str:
    """Return the name of an object as a key in a shard, where a dot would end it."""
    folder, slash, last = name.rpartition("/")
    return folder + slash + last.replace(".", "_")


def member_bytes(key: str, suffix: str, data: bytes) -> list[bytes]:
    """Return header, content and padding of a file in a tar: the same for the same file."""
    header = tarfile.TarInfo(key + suffix)
    header.size = len(data)  # time, owner and group stay 0
    header.mode = 0o644
    return [header.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape"), data, bytes(-len(data) % tarfile.BLOCKSIZE)]


def end_mark(written: int) -> bytes:
    """Return the end of a tar of so many bytes: two empty blocks, up to a whole record."""
    return bytes(-(written + 1024) % tarfile.RECORDSIZE + 1024)


class ShardWriter:
    """Write a shard: to a file that appears whole when the block ends well, or as a stream to standard output.

    The same members give the same bytes. A terminal gets no binary: see `gatlas.io.outputs.write`.
    """

    def __init__(self, out: str | Path, *, force: bool = False, what: str = "a shard") -> None:
        check_output(out, force=force, suffix=SUFFIX, what=what)
        self._out = out
        self._force = force
        self._shown = is_stream(out) and sys.stdout.isatty()
        if self._shown:
            self._out = "gatlas" + SUFFIX
            check_output(self._out, force=force)
        self._context = self._opened()
        self._file: BinaryIO | None = None
        self._written = 0
        self._names: set[str] = set()

    @contextmanager
    def _opened(self) -> Iterator[ShardWriter]:
        with nullcontext() if is_stream(self._out) else whole_file(self._out, force=self._force) as self._file:
            yield self
            self._write(end_mark(self._written))  # only where the block ends well: a reader sees that a writer died
        if self._shown:
            print(self._out, file=sys.stderr)

    def __enter__(self) -> ShardWriter:
        return self._context.__enter__()

    def __exit__(self, *error: Any) -> None:
        self._context.__exit__(*error)

    def add(self, key: str, suffix: str, data: bytes) -> None:
        """Append one file. A key is a relative path whose last part has no dot: a dot would end the key."""
        name = key + suffix
        parts = PurePosixPath(key).parts
        if not parts or str(PurePosixPath(key)) != key or parts[0] == "/" or ".." in parts or "." in parts[-1]:
            raise ValueError(f"key must be a relative path with no dot in its last part, got {key!r}")
        if not suffix.startswith(".") or "/" in suffix or "\0" in name:
            raise ValueError(f"suffix must begin with a dot, got {suffix!r}")
        if name in self._names:
            raise ValueError(f"the shard has {name!r} already")
        self._names.add(name)
        for part in member_bytes(key, suffix, data):
            self._write(part)

    def _write(self, data: bytes) -> None:
        if is_stream(self._out):
            write_stdout([data])
        elif self._file is None:
            raise ValueError("a ShardWriter writes inside its with block only")
        else:
            self._file.write(data)
        self._written += len(data)


class GrowingTar:
    """A tar that grows as `x.tar.partial` and is renamed when it is whole. It can be continued later."""

    def __init__(self, tar: Path) -> None:
        self.tar = tar
        self.partial = tar.with_name(tar.name + ".partial")

    def is_whole(self) -> bool:
        """Return True where the tar stands in its place and nothing is being added to it."""
        return self.tar.exists() and not self.partial.exists()

    def size(self) -> int:
        """Return the bytes that are written; of a whole tar with its end mark."""
        found = self.partial if self.partial.exists() else self.tar
        return found.stat().st_size if found.exists() else 0

    def cut(self, size: int) -> None:
        """Keep the first bytes and continue there; 0 starts over, beside a whole tar that stays until `finish`."""
        with os_errors(self.tar, named=True):
            if not size:
                remove(self.partial)
                return
            if not self.partial.exists():
                os.replace(self.tar, self.partial)
            os.truncate(self.partial, size)

    def append(self, key: str, files: Mapping[str, bytes]) -> int:
        """Append the files of an object, suffix -> content; return the new size. All is on the disk on return."""
        blocks = (block for suffix, content in files.items() for block in member_bytes(key, suffix, content))
        with os_errors(self.tar, named=True):
            return append(self.partial, blocks, synced=True)

    def finish(self) -> None:
        """Write the end mark and move the tar to its place."""
        with os_errors(self.tar, named=True):
            written = self.partial.stat().st_size if self.partial.exists() else 0
            append(self.partial, [end_mark(written)], synced=True)
            os.replace(self.partial, self.tar)


class _Rejoined:
    """A stream with the first bytes, which have been read, put back."""

    def __init__(self, head: bytes, rest: BinaryIO) -> None:
        self._head = head
        self._rest = rest
        self.taken = 0  # bytes

    def read(self, size: int = -1) -> bytes:
        if size < 0:
            head, self._head = self._head, b""
            return head + self._rest.read()
        if self._head:
            data, self._head = self._head[:size], self._head[size:]
        else:
            data = self._rest.read(size)
        self.taken += len(data)
        return data


class _Unpacked:
    """The content of a compressed stream, piece by piece.

    `tarfile` unpacks all that a piece holds at once, and a few bytes may hold gigabytes.
    """

    def __init__(self, packed: _Rejoined, how: str) -> None:
        self._packed = packed
        self._given = 0  # bytes
        file = cast("BinaryIO", packed)
        if how == "gzip":
            self._file: Any = gzip.GzipFile(fileobj=file)
        else:
            self._file = (bz2.BZ2File if how == "bzip2" else lzma.LZMAFile)(file)

    def read(self, size: int) -> bytes:
        data: bytes = self._file.read(size)
        self._given += len(data)
        if self._given > FREE_BYTES + MOST_GAIN * self._packed.taken:
            raise tarfile.ReadError(f"{self._packed.taken:,} bytes unpack to more than {MOST_GAIN} times as many")
        return data


class _Ending:
    """A stream that fails where it is read on and on behind its end, as `tarfile` does to skip a file."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._ends = 0

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self._ends += not data
        if self._ends > 8:
            raise EOFError("it breaks off in a file")
        return data


def _read_exactly(file: BinaryIO, size: int) -> bytes:
    """Return `size` bytes, or fewer at the end of the file."""
    data = file.read(min(size, _PIECE))
    while len(data) < size:
        piece = file.read(min(size - len(data), max(len(data), _PIECE)))
        if not piece:
            break
        data += piece
    return data


def _open_tar(file: BinaryIO, mode: Literal["r:", "r|"]) -> tarfile.TarFile:
    return tarfile.open(fileobj=file, mode=mode, tarinfo=_bounded_header(), ignore_zeros=True, bufsize=_BUFFER)


def _lone(source: str | Path, name: str, rest: _Rejoined) -> Blob:
    if not is_stream(source) and Path(source).is_file():
        return read(source)
    data = rest.read()
    if not data:
        raise GatlasError(f"{name} is empty: the command before this one in the pipe failed or wrote nothing")
    return Blob(name, data)


def _files(tar: tarfile.TarFile, name: str) -> Iterator[tarfile.TarInfo]:
    """Yield the headers of the files in the tar. A tar without any, or a truncated one, is a GatlasError."""
    found, end, count = False, 0, 0
    while (header := tar.next()) is not None:
        tar.members = []  # type: ignore[attr-defined]  # otherwise it keeps every header of an endless stream
        if header.size < 0 or tar.offset <= end:  # sizes may come from extended attributes, too
            raise tarfile.ReadError(f"a size of {header.size} bytes")
        end, count = tar.offset, count + 1
        if count > MOST_MEMBERS:
            raise GatlasError(f"{name}: the tar has more than {MOST_MEMBERS:,} members: split it")
        path = PurePosixPath(header.name)
        if ".." in path.parts:
            raise GatlasError(
                f"{name}: {header.name!r:.200} would lie outside the tar's own folder: rename it in the tar"
            )
        if header.isdir() or path.name.startswith("."):
            continue
        if header.islnk() or header.issym():
            raise GatlasError(
                f"{name}: {header.name!r:.200} is a link in the tar, not a file: "
                "pack it again with tar --dereference --hard-dereference"
            )
        if not header.isreg() or header.issparse():
            raise GatlasError(f"{name}: {header.name!r:.200} is no ordinary file in the tar")
        if not path.name or "\0" in header.name:
            raise GatlasError(f"{name}: a file in the tar has the name {header.name!r:.80}, which no file can have")
        found = True
        yield header
    if tar.offset <= end:
        raise GatlasError(f"{name}: truncated: the tar breaks off before its end mark")
    # One record of zeros is an empty tar; more of them are a file that a crash emptied.
    if not found and (end or tar.offset > tarfile.RECORDSIZE):
        raise GatlasError(f"{name}: the tar holds no files")


def _split(name: str) -> tuple[str, str]:
    """Return key and suffix of a member's name."""
    path = PurePosixPath(name.lstrip("/"))  # as tar does; drops a leading "./" too
    key, dot, suffix = path.name.partition(".")
    return str(path.with_name(key)), dot + suffix


def _compression(head: bytes) -> str | None:
    return next((name for magic, name in COMPRESSED.items() if head.startswith(magic)), None)


def _refuse_compression(path: str | Path, head: bytes) -> None:
    how = _compression(head)
    if how is not None:
        raise GatlasError(f"{path}: a tar compressed with {how} cannot be read out of order: decompress it first")


@contextmanager
def _reading(name: str) -> Iterator[None]:
    """Convert the errors of a damaged tar to a GatlasError."""
    try:
        yield
    except GatlasError:
        raise
    except OSError as error:
        if error.errno is not None:  # of the disk; without a number it is of a decompressor
            raise
        raise GatlasError(f"{name}: truncated or damaged tar: {error}") from None
    except (Exception, MemoryError) as error:  # on damaged bytes tarfile fails in any way
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise GatlasError(f"{name}: truncated or damaged tar: {reason}") from None
