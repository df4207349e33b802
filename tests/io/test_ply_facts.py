"""Elements and properties of PLYs that are neither splats nor meshes."""

import io as stdio

import numpy as np
import pytest
from plyfile import PlyData, PlyElement

from gatlas.errors import GatlasError
from gatlas.inspection import inspect
from gatlas.io.ply_facts import PlyElementFacts, PlyProperty, ply_facts
from gatlas.io.streams import Blob, as_blob

HEADER = b"ply\nformat ascii 1.0\nelement vertex 3\n"


def scan(*, text=False, byte_order="<"):
    """A colored scan with intensities, one of which is not finite, and a table of stations."""
    vertices = np.zeros(4, dtype=[("x", "f4"), ("y", "f4"), ("z", "f8"), ("intensity", "f4"), ("red", "u1")])
    vertices["x"], vertices["z"] = [0, 1, 2, 3], [-5, 0, 0, 5]
    vertices["intensity"], vertices["red"] = [0.5, np.nan, 2.5, 1], [0, 255, 7, 8]
    stations = np.zeros(2, dtype=[("number", "i4"), ("seen", object)])
    stations["number"] = [3, 8]
    if byte_order == ">":  # plyfile writes the numbers beside a list in the machine's order
        stations["number"].byteswap(inplace=True)
    stations["seen"] = [np.int32([0, 1]), np.int32([2])]
    elements = [PlyElement.describe(vertices, "vertex"), PlyElement.describe(stations, "station")]
    out = stdio.BytesIO()
    PlyData(elements, text=text, byte_order=byte_order).write(out)
    return out.getvalue()


EXPECTED = [
    PlyElementFacts("vertex", 4, (
        PlyProperty("x", "float", (0, 3)), PlyProperty("y", "float", (0, 0)), PlyProperty("z", "double", (-5, 5)),
        PlyProperty("intensity", "float", (0.5, 2.5)), PlyProperty("red", "uchar", (0, 255)),
    )),
    PlyElementFacts("station", 2, (
        PlyProperty("number", "int", (3, 8)), PlyProperty("seen", "list of int", None),
    )),
]  # fmt: skip


@pytest.mark.parametrize("form", [{"text": True}, {"byte_order": "<"}, {"byte_order": ">"}], ids=["text", "<", ">"])
def test_every_element_and_the_range_of_each_property_are_found(form, tmp_path):
    (tmp_path / "x.ply").write_bytes(scan(**form))
    assert ply_facts(as_blob(str(tmp_path / "x.ply"))) == EXPECTED
    assert ply_facts(Blob("standard input", scan(**form))) == EXPECTED


def test_info_shows_a_point_cloud_with_all_its_properties(tmp_path):
    (tmp_path / "x.ply").write_bytes(scan())
    found = inspect(str(tmp_path / "x.ply"))
    assert (found.kind, found.findings) == ("points", [])
    assert found.facts["points"] == 4
    assert found.facts["z"] == "double, -5 to 5"
    assert found.facts["station.seen"] == "list of int"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (scan()[:-5], "damaged: element 'station'"),
        (
            HEADER + b"property float x\nproperty float y\nproperty float z\nend_header\n1 2 3\n1 2 x\n1 2 3\n",
            "damaged",
        ),
        (HEADER.replace(b"3\n", b"999999999999\n") + b"property float x\nend_header\n", "999,999,999,999 rows"),
    ],
)
def test_a_damaged_file_is_one_line(content, said):
    with pytest.raises(GatlasError, match=said) as failure:
        ply_facts(Blob("x.ply", content))
    assert "\n" not in str(failure.value)
