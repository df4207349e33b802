"""KSPLAT byte by byte: every compression level, buckets, harmonics, damage."""

import struct

import numpy as np
import pytest

from gatlas import io
from gatlas.errors import GatlasError
from gatlas.geometry.sh import SH_C0

NUMBERS = ("<f4", "<f2", "<f2")
HARMONICS = ("<f4", "<f2", "u1")


def ksplat(level=0, *, degree=0, count=3, capacity=2, full=1, sizes=(1,), head=None, cut=0, section=None):
    """Three Gaussians: two in a full bucket around (10, 0, 0), one in a partial one around (0, 20, 0)."""
    header = head or struct.pack("<BB2xIIII H 14x ff", 0, 1, 1, 1, count, 3, level, -2, 2)
    fields = [("mean", "<f4" if level == 0 else "<u2", 3), ("scale", NUMBERS[level], 3), ("quat", NUMBERS[level], 4)]
    fields += [("rgba", "u1", 4), ("sh", HARMONICS[level], (0, 9, 24, 45)[degree])]
    records = np.zeros(3, fields)
    whole = [[32767] * 3, [32767 * 2, 32767, 32767], [32767, 32767, 0]]
    records["mean"] = whole if level else [[10, 0, 0], [11, 0, 0], [0, 20, -1]]
    records["scale"], records["quat"], records["rgba"] = (0.5, 0.25, 1), (0, 1, 0, 0), (255, 0, 51, 102)
    records["sh"] = np.arange(records["sh"].shape[1]) / (100 if level < 2 else 1)
    packed = section or struct.pack("<IIIIfH2xI4xIIH", 3, 3, capacity, 2, 2.0, 12, 0, full, len(sizes), degree)
    buckets = np.array([[10, 0, 0], [0, 20, 0]], "<f4").tobytes()
    body = np.array(sizes, "<u4").tobytes() + buckets + records.tobytes()
    content = header.ljust(4096, b"\0") + packed.ljust(1024, b"\0") + body
    return content[: len(content) - cut]


def load(content, name="a.ksplat"):
    return io.load_gaussians(io.Blob(name, content, key="a"), as_stored=True)


@pytest.mark.parametrize("level", [0, 1, 2])
def test_every_level_holds_the_same_gaussians(level):
    g = load(ksplat(level))
    np.testing.assert_allclose(g.means, [[10, 0, 0], [11, 0, 0], [0, 20, -1]], atol=1e-4)
    np.testing.assert_allclose(g.scales, [[0.5, 0.25, 1]] * 3, rtol=1e-6)
    np.testing.assert_allclose(g.quats, [[0, 1, 0, 0]] * 3)
    np.testing.assert_allclose(g.sh[:, 0] * SH_C0 + 0.5, [[1, 0, 0.2]] * 3, atol=1e-6)
    np.testing.assert_allclose(g.opacities, 0.4)


@pytest.mark.parametrize("level", [0, 1, 2])
@pytest.mark.parametrize("degree", [1, 2, 3])
def test_each_band_has_all_of_red_then_green_then_blue(level, degree):
    g = load(ksplat(level, degree=degree))
    assert g.sh.shape[1] == (degree + 1) ** 2
    scale = (lambda i: i / 100) if level < 2 else (lambda i: -2 + 4 * i / 255)
    np.testing.assert_allclose(g.sh[0, 1], [scale(0), scale(3), scale(6)], atol=1e-3)
    if degree > 1:
        np.testing.assert_allclose(g.sh[0, 5], [scale(10), scale(15), scale(20)], atol=1e-3)


def test_a_file_without_suffix_is_known_by_its_header():
    assert io.Blob("x", ksplat()).format.name == "KSPLAT"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (ksplat(cut=1), "truncated: section 1 of 1 is not all there"),
        (ksplat()[:4500], "truncated: its 1 sections are not all there"),
        (ksplat(head=b"\1\0"), "a KSPLAT of another version"),
        (ksplat(head=struct.pack("<BB2xIIIIH", 0, 1, 1, 1, 3, 4, 0)), "promises 4 Gaussians, its sections hold 3"),
        (ksplat(head=struct.pack("<BB2xIIIIH", 0, 1, 1, 1, 3, 3, 7)), "there is no compression level 7"),
        (ksplat(1, full=0, sizes=(1,)), "its buckets do not hold 3 Gaussians"),
        (ksplat(section=struct.pack("<II", 4, 3)), "a section has 4 Gaussians of 3"),
        (ksplat(head=struct.pack("<BB2xIIIIH", 0, 1, 1 << 30, 1, 3, 3, 0)), "its 1,073,741,824 sections are not all"),
    ],
)
def test_damage_is_one_line(content, words):
    with pytest.raises(GatlasError, match=words) as caught:
        load(content)
    assert str(caught.value).startswith("a.ksplat: ")
    assert "\n" not in str(caught.value)
