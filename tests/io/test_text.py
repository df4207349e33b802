"""Lists of names and lines, as programs of several systems write them."""

import pytest

from gatlas import io
from gatlas.errors import GatlasError


def names(content, **options):
    return io.load_names(io.Blob("list.txt", content), **options)


def test_names_of_any_bytes_are_kept_and_line_ends_and_marks_are_not():
    assert names(b"a.ply\nb c.ply \n\n d.ply") == ["a.ply", "b c.ply ", " d.ply"]
    assert names(b"\xef\xbb\xbfa.ply\r\nb.ply\r\n") == ["a.ply", "b.ply"]
    assert names(b"a\nb.ply\0c.ply\0", null=True) == ["a\nb.ply", "c.ply"]
    assert names("d\u00e9j\u00e0.ply\n".encode() + b"\xff.ply") == ["d\u00e9j\u00e0.ply", "\udcff.ply"]


def test_a_list_that_zero_bytes_end_needs_its_option():
    with pytest.raises(GatlasError, match=r"^list.txt: line 2 holds a zero byte: .* add -0$"):
        names(b"a.ply\nb.ply\0c.ply\0")
