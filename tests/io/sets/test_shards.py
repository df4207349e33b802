"""Tar shards: what is written is read back, by us and by tar; what is damaged is never a shorter set."""

import bz2
import gzip
import io
import lzma
import subprocess
import sys
import tarfile
import zlib

import pytest

from gatlas.errors import GatlasError
from gatlas.io import streams
from gatlas.io.sets import shards
from gatlas.io.sets.shards import Member, ShardWriter, is_empty_tar, list_members, read_member, stream_members

FILES = {"a.npz": b"first", "a.txt": b"a caption", "folder/b.npz": b"x" * 1500, "empty.json": b""}


@pytest.fixture
def shard(tmp_path):
    path = tmp_path / "set.tar"
    with ShardWriter(path) as writer:
        for name, data in FILES.items():
            key, _, suffix = name.partition(".")
            writer.add(key, "." + suffix, data)
    return path


def contents(blobs):
    return {blob.name.partition(":")[2]: blob.data for blob in blobs}


def stdin(monkeypatch, data):
    class Stdin:
        buffer = io.BytesIO(data)

        def isatty(self):
            return False

    monkeypatch.setattr(sys, "stdin", Stdin())


def python_tar(path, files, form=tarfile.GNU_FORMAT):
    with tarfile.open(path, "w", format=form) as tar:
        for name, data in files.items():
            header = tarfile.TarInfo(name)
            header.size = len(data)
            tar.addfile(header, io.BytesIO(data))
    return path


def test_what_is_written_is_read_in_any_order_and_as_a_stream(shard):
    members = list_members(shard)
    assert members[2][:3] == (shard, "folder/b", ".npz")
    assert members[2].size == 1500
    assert contents(map(read_member, reversed(members))) == FILES
    assert contents(stream_members(shard)) == FILES
    assert read_member(members[0]).name == f"{shard}:a.npz"
    assert read_member(members[2]).stem == "folder/b"


def test_tar_and_pythons_tarfile_read_what_is_written(shard, tmp_path):
    subprocess.run(["tar", "xf", shard, "-C", tmp_path], check=True)
    assert {name: (tmp_path / name).read_bytes() for name in FILES} == FILES
    with tarfile.open(shard) as tar:
        assert tar.getnames() == list(FILES)


def test_the_same_members_give_the_same_bytes(shard, tmp_path):
    with ShardWriter(tmp_path / "again.tar") as writer:
        for name, data in FILES.items():
            writer.add(name.partition(".")[0], "." + name.partition(".")[2], data)
    assert (tmp_path / "again.tar").read_bytes() == shard.read_bytes()
    assert len(shard.read_bytes()) % 10240 == 0


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_format_of_pythons_tarfile_is_read(tmp_path, form):
    files = {**FILES, "deep/" * 25 + "c.npz": b"long name"}
    path = python_tar(tmp_path / "x.tar", files, form)
    assert contents(map(read_member, list_members(path))) == files
    assert contents(stream_members(path)) == files


def test_gnu_tar_is_read_and_its_folders_and_hidden_files_are_not_members(tmp_path):
    (tmp_path / "in" / "cats").mkdir(parents=True)
    (tmp_path / "in" / "cats" / "tom.npz").write_bytes(b"tom")
    (tmp_path / "in" / "._x.npz").write_bytes(b"macOS")
    (tmp_path / "in" / "größe.npz").write_bytes(b"umlaut")
    subprocess.run(["tar", "cf", tmp_path / "x.tar", "-C", tmp_path / "in", "."], check=True)
    wanted = {"cats/tom.npz": b"tom", "größe.npz": b"umlaut"}
    assert contents(map(read_member, list_members(tmp_path / "x.tar"))) == wanted
    assert contents(stream_members(tmp_path / "x.tar")) == wanted


def test_the_key_ends_at_the_first_dot_of_the_last_part(tmp_path):
    path = python_tar(tmp_path / "x.tar", {"./v1.0/a.seg.png": b"1"})
    assert list_members(path)[0][1:3] == ("v1.0/a", ".seg.png")


@pytest.mark.parametrize("mode", ["gz", "bz2", "xz"])
def test_a_compressed_tar_is_streamed_but_not_indexed(tmp_path, shard, mode):
    path = tmp_path / "x.tar.z"
    with tarfile.open(path, f"w:{mode}") as tar, tarfile.open(shard) as plain:
        for header in plain:
            tar.addfile(header, plain.extractfile(header))
    assert contents(stream_members(path)) == FILES
    with pytest.raises(GatlasError, match=r"x\.tar\.z: a tar compressed with .* decompress it first"):
        list_members(path)


def test_two_compressed_tars_one_after_the_other_are_one(tmp_path, shard):
    packed = gzip.compress(shard.read_bytes())
    (tmp_path / "two.tar.gz").write_bytes(packed + packed)
    keys = [blob.key for blob in stream_members(shard)]
    assert [blob.key for blob in stream_members(tmp_path / "two.tar.gz")] == keys * 2


@pytest.mark.parametrize("cut", [10, 40, -8, -1])
def test_a_compressed_tar_that_breaks_off_is_an_error(tmp_path, shard, cut):
    (tmp_path / "cut.tar.gz").write_bytes(gzip.compress(shard.read_bytes())[:cut])
    with pytest.raises(GatlasError, match=r"cut.tar.gz: truncated or damaged tar"):
        list(stream_members(tmp_path / "cut.tar.gz"))


def test_a_megabyte_that_unpacks_to_a_gigabyte_of_zeros_ends_soon(tmp_path, monkeypatch):
    packer = zlib.compressobj(9, wbits=-15)
    block = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)  # behind a flush the next is the same
    (tmp_path / "bomb.tar.gz").write_bytes(b"\x1f\x8b\x08\0\0\0\0\0\0\x03" + block * 1000)
    read = []
    monkeypatch.setattr(shards, "MOST_ZEROS", 1 << 22)
    unpack = gzip.GzipFile.read
    monkeypatch.setattr(gzip.GzipFile, "read", lambda self, size=-1: read.append(unpack(self, size)) or read[-1])
    with pytest.raises(
        GatlasError, match=r"bomb\.tar\.gz: truncated or damaged tar: more than 4,194,304 bytes of zeros"
    ):
        list(stream_members(tmp_path / "bomb.tar.gz"))
    assert sum(map(len, read)) < shards.MOST_ZEROS + (1 << 20)


@pytest.mark.parametrize("name", ["a.npz", ".hidden", "folder/"])
def test_a_size_beyond_the_end_of_a_stream_ends_soon(tmp_path, name):
    header = tarfile.TarInfo(name)
    header.size = 1 << 62
    (tmp_path / "x.tar").write_bytes(header.tobuf(tarfile.GNU_FORMAT) + bytes(2048))
    with pytest.raises(GatlasError, match=r"x\.tar: truncated"):
        list(stream_members(tmp_path / "x.tar"))


def test_a_chain_of_headers_of_one_file_is_refused(tmp_path):
    long = tarfile.TarInfo("n" * 200).tobuf(tarfile.PAX_FORMAT)
    assert long[156:157] == b"x"
    (tmp_path / "x.tar").write_bytes(long[:1024] * 40 + bytes(10240))
    for read in (list_members, stream_members):
        with pytest.raises(GatlasError, match=r"x\.tar: truncated or damaged tar: more than 16 headers of one file"):
            list(read(tmp_path / "x.tar"))


def test_standard_input_is_streamed(monkeypatch, shard):
    stdin(monkeypatch, shard.read_bytes())
    blobs = list(stream_members("-"))
    assert contents(blobs) == FILES
    assert blobs[0].name == "standard input:a.npz"
    assert blobs[0].key == "a"


def test_what_is_no_tar_is_the_only_one(monkeypatch, tmp_path):
    (tmp_path / "x.npz").write_bytes(b"PK" + bytes(1000))
    assert [(blob.stem, blob.data) for blob in stream_members(tmp_path / "x.npz")] == [("x", b"PK" + bytes(1000))]
    stdin(monkeypatch, b"PK" + bytes(1000))
    assert [(blob.key, blob.data) for blob in stream_members("-")] == [(None, b"PK" + bytes(1000))]
    stdin(monkeypatch, b"")
    with pytest.raises(GatlasError, match="standard input is empty"):
        list(stream_members("-"))


def test_tars_one_after_the_other_are_one(tmp_path, shard):
    both = tmp_path / "both.tar"
    both.write_bytes(shard.read_bytes() + python_tar(tmp_path / "y.tar", {"z.npz": b"z"}).read_bytes())
    assert contents(stream_members(both)) == contents(map(read_member, list_members(both))) == {**FILES, "z.npz": b"z"}


@pytest.mark.parametrize("length", [100, 512, 700, 1024, 1536, 2048, 3000, 3072, 4096])
def test_a_truncated_tar_is_an_error_wherever_it_was_cut(tmp_path, shard, length):
    whole = shard.read_bytes()
    end = len(whole.rstrip(b"\0"))
    assert length < end
    cut = tmp_path / "cut.tar"
    cut.write_bytes(whole[:length])
    with pytest.raises(GatlasError, match=r"cut\.tar: .*(truncated|damaged)"):
        list_members(cut)
    if length >= 512:  # less does not even look like a tar
        with pytest.raises(GatlasError, match=r"cut\.tar: .*(truncated|damaged)"):
            list(stream_members(cut))


def test_a_tar_without_its_end_mark_is_an_error(tmp_path, shard):
    header_of_last = shard.read_bytes().index(b"empty.json")
    (tmp_path / "cut.tar").write_bytes(shard.read_bytes()[: header_of_last + 512])
    for read in (list_members, lambda path: list(stream_members(path))):
        with pytest.raises(GatlasError, match="breaks off before its end mark"):
            read(tmp_path / "cut.tar")


def test_a_damaged_header_is_an_error_and_not_the_end(tmp_path, shard):
    damaged = bytearray(shard.read_bytes())
    damaged[damaged.index(b"folder/b") + 130] ^= 1
    (tmp_path / "bad.tar").write_bytes(damaged)
    for read in (list_members, lambda path: list(stream_members(path))):
        with pytest.raises(GatlasError, match=r"bad\.tar: truncated or damaged tar: bad checksum"):
            read(tmp_path / "bad.tar")


def test_links_in_a_tar_are_not_left_out_quietly(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"a")
    (tmp_path / "b.npz").hardlink_to(tmp_path / "a.npz")
    subprocess.run(["tar", "cf", "x.tar", "a.npz", "b.npz"], cwd=tmp_path, check=True)
    with pytest.raises(GatlasError, match=r"'b\.npz' is a link in the tar.*--hard-dereference"):
        list_members(tmp_path / "x.tar")


def test_a_tar_of_an_end_mark_holds_no_objects(tmp_path):
    python_tar(tmp_path / "x.tar", {})
    subprocess.run(["tar", "cf", "y.tar", "-T", "/dev/null"], cwd=tmp_path, check=True)
    with ShardWriter(tmp_path / "z.tar"):
        pass
    for name in ("x.tar", "y.tar", "z.tar"):
        assert is_empty_tar(tmp_path / name)
        assert list_members(tmp_path / name) == list(stream_members(tmp_path / name)) == []


def test_a_tar_of_folders_and_a_file_that_a_crash_emptied_are_no_empty_sets(tmp_path, shard):
    (tmp_path / "folder").mkdir()
    subprocess.run(["tar", "cf", "x.tar", "folder"], cwd=tmp_path, check=True)
    (tmp_path / "y.tar").write_bytes(bytes(4 * 10240))
    for name in ("x.tar", "y.tar"):
        assert not is_empty_tar(tmp_path / name)
        for read in (list_members, lambda path: list(stream_members(path))):
            with pytest.raises(GatlasError, match=rf"{name}: the tar holds no files"):
                read(tmp_path / name)
    assert not is_empty_tar(shard)
    assert not is_empty_tar(tmp_path / "nowhere.tar")


def test_a_shard_that_shrank_is_an_error(shard):
    member = list_members(shard)[2]
    shard.write_bytes(shard.read_bytes()[: member.offset + 10])
    with pytest.raises(GatlasError, match=r"set\.tar:folder/b\.npz: truncated"):
        read_member(member)


def test_a_missing_shard_is_one_line(tmp_path):
    for read in (list_members, lambda path: list(stream_members(path))):
        with pytest.raises(GatlasError, match="No such file"):
            read(tmp_path / "nowhere.tar")
    with pytest.raises(GatlasError, match="No such file"):
        read_member(Member(tmp_path / "nowhere.tar", "a", ".npz", 512, 5))


# Writing


def test_a_failure_leaves_no_shard(tmp_path):
    def stop_halfway():
        with ShardWriter(tmp_path / "x.tar") as writer:
            writer.add("a", ".npz", b"a")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop_halfway()
    assert list(tmp_path.iterdir()) == []


def test_an_existing_shard_is_kept_without_force(tmp_path, shard):
    with pytest.raises(GatlasError, match="exists: use --force"):
        ShardWriter(shard)
    with ShardWriter(shard, force=True) as writer:
        writer.add("new", ".npz", b"n")
    assert contents(stream_members(shard)) == {"new.npz": b"n"}


def test_a_suffix_that_promises_something_else_is_refused(tmp_path):
    with pytest.raises(GatlasError, match=r"cannot be written as \.npz"):
        ShardWriter(tmp_path / "x.npz")


def test_a_name_that_leads_out_of_the_tar_is_refused_and_a_slash_in_front_is_dropped(tmp_path):
    for name in ("../../a.npz", "/a.npz"):
        with tarfile.open(tmp_path / "x.tar", "w") as archive:
            archive.addfile(tarfile.TarInfo(name))
        if name.startswith("/"):
            assert [member.key for member in list_members(tmp_path / "x.tar")] == ["a"]
            assert [blob.key for blob in stream_members(tmp_path / "x.tar")] == ["a"]
        else:
            for read in (list_members, stream_members):
                with pytest.raises(GatlasError, match="outside the tar's own folder"):
                    list(read(tmp_path / "x.tar"))


@pytest.mark.parametrize("key", ["", "/a", "../a", "a.b", "a//b", "a/", "./a"])
def test_keys_that_would_not_be_read_back_are_refused(tmp_path, key):
    with pytest.raises(ValueError, match="key must be"), ShardWriter(tmp_path / "x.tar") as writer:
        writer.add(key, ".npz", b"")
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_comes_twice_is_refused(tmp_path):
    with ShardWriter(tmp_path / "x.tar") as writer:
        writer.add("a", ".npz", b"1")
        with pytest.raises(ValueError, match="already"):
            writer.add("a", ".npz", b"2")


WRITER = """
from gatlas.io.sets.shards import ShardWriter
with ShardWriter("-") as writer:
    writer.add("a", ".npz", b"first")
    {then}
    writer.add("folder/b", ".npz", b"x" * 1500)
"""


def test_a_shard_is_streamed_to_standard_output(tmp_path):
    run = subprocess.run([sys.executable, "-c", WRITER.format(then="pass")], capture_output=True, check=True)
    (tmp_path / "x.tar").write_bytes(run.stdout)
    assert contents(stream_members(tmp_path / "x.tar")) == {name: FILES[name] for name in ("a.npz", "folder/b.npz")}


def test_a_writer_that_dies_leaves_a_stream_that_is_known_to_be_short(tmp_path):
    run = subprocess.run([sys.executable, "-c", WRITER.format(then="raise SystemExit(1)")], capture_output=True)
    (tmp_path / "x.tar").write_bytes(run.stdout)
    with pytest.raises(GatlasError, match="breaks off before its end mark"):
        list(stream_members(tmp_path / "x.tar"))


def test_a_terminal_gets_a_file(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    with ShardWriter("-") as writer:
        writer.add("a", ".npz", b"a")
    assert capsys.readouterr().err == "gatlas.tar\n"
    assert contents(stream_members("gatlas.tar")) == {"a.npz": b"a"}


def test_a_blob_of_a_shard_is_called_by_its_key():
    assert streams.Blob("set.tar:cats/tom.npz", b"", key="cats/tom").stem == "cats/tom"
    assert shards.is_tar(bytes(512))
    assert not shards.is_tar(b"PK" * 256)


# Tars that mean harm


def raw_header(name, size, kind=b"0"):
    """A header with any size, negative or beyond the eleven digits of octal, as GNU tar writes it."""
    header = tarfile.TarInfo(name)
    block = bytearray(header.tobuf(tarfile.GNU_FORMAT))
    block[124:136] = b"%011o\0" % size if 0 <= size < 8**11 else (size % (1 << 96)).to_bytes(12, "big")
    if size < 0:
        block[124] = 0xFF
    elif size >= 8**11:
        block[124] = 0x80
    block[156:157] = kind
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def pax(**records):
    """An extended header with these records, and its content."""
    text = b""
    for key, value in records.items():
        rest = f" {key}={value}\n".encode()
        size = len(rest) + 1
        while len(str(size)) + len(rest) != size:
            size = len(str(size)) + len(rest)
        text += str(size).encode() + rest
    return raw_header("pax", len(text), b"x") + text + bytes(-len(text) % 512)


END = bytes(10240)
FILE = raw_header("a.npz", 1) + b"x" + bytes(511)


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (FILE + raw_header("b.npz", -512) + END, "a size of -512 bytes"),
        (FILE + raw_header("b.npz", -(1 << 60)) + END, "a size of -"),
        (FILE + raw_header("b.npz", 1 << 62) + END, ""),
        (FILE + raw_header("b.npz", 1 << 80) + END, ""),
        (FILE + raw_header("long", 1 << 40, b"L") + END, "a name or attributes of 1,099,511,627,776 bytes"),
        (FILE + raw_header("long", 1 << 62, b"x") + END, "a name or attributes of"),
        (FILE + raw_header("long", -1024, b"g") + END, "a size of -1024 bytes"),
        (FILE + (raw_header("long", 1, b"L") + b"a" + bytes(511)) * 5000 + FILE + END, "more than 16 headers"),
        (FILE + pax(size=-1024) + FILE + END, "a size of -1024 bytes"),
        (FILE + pax(size=1 << 62) + FILE + END, ""),
        (FILE + pax(size="many") + FILE + END, "bad checksum"),
        (FILE + pax(path=".") + FILE + END, "a file in the tar has the name '.', which no file can have"),
        (FILE + pax(path="a\0b.npz") + FILE + END, "which no file can have"),
        (FILE + pax(**{"GNU.sparse.major": 1, "GNU.sparse.minor": 0}) + FILE + END, ""),
        (FILE + raw_header("s.npz", 1, b"S") + END, ""),
        (FILE + bytes(1 << 19) + FILE + END, "more than 262,144 bytes of zeros"),
    ],
    ids=lambda value: str(value)[:20] if isinstance(value, str) else "",
)
def test_headers_that_mean_harm_are_one_line(tmp_path, data, fault, monkeypatch):
    monkeypatch.setattr(shards, "MOST_ZEROS", 1 << 18)
    path = tmp_path / "bad.tar"
    path.write_bytes(data)
    for read in (lambda path: list(stream_members(path)), list_members):
        with pytest.raises(GatlasError, match=rf"^{path}: .*{fault}") as error:
            read(path)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(("form", "pack"), [("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress)])
def test_a_few_bytes_that_unpack_to_any_number_are_refused(tmp_path, monkeypatch, form, pack):
    monkeypatch.setattr(shards, "FREE_BYTES", 1 << 17)
    path = tmp_path / f"bomb.tar.{form}"
    path.write_bytes(pack(raw_header("a.npz", 1 << 20) + bytes(1 << 20) + END))
    with pytest.raises(GatlasError, match="bytes unpack to more than 100 times as many"):
        list(stream_members(path))
    path.write_bytes(pack(FILE + END)[:-9])
    with pytest.raises(GatlasError, match="truncated or damaged tar"):
        list(stream_members(path))


def test_a_member_that_is_not_all_there_is_refused(tmp_path):
    path = tmp_path / "short.tar"
    path.write_bytes(raw_header("a.npz", 1 << 40) + bytes(4096))
    with pytest.raises(GatlasError, match="truncated or damaged tar"):
        list(stream_members(path))
    with pytest.raises(GatlasError, match=r"'a\.npz' does not lie in it whole"):
        list_members(path)
