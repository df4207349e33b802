"""What is no splat PLY is refused, and in which words."""

import warnings

import numpy as np
import pytest
from plyfile import PlyElement

from gatlas import io
from gatlas.errors import GatlasError
from tests.helpers.splat_files import NAMES, foreign, load, table


def test_a_list_before_the_vertices_is_refused():
    faces = PlyElement.describe(np.zeros(1, dtype=[("vertex_indices", "i4", (3,))]), "face")
    with pytest.raises(GatlasError, match="element with list properties comes before the vertices"):
        load(foreign(table(), before=[faces]))


def test_a_ply_without_opacity_is_no_splat():
    with pytest.raises(GatlasError) as error:
        load(foreign(table(names=[name for name in NAMES if name != "opacity"])))
    assert str(error.value) == (
        "x.ply: not a splat PLY: it has no property 'opacity'.\n"
        "gatlas reads the 3DGS layout (x, y, z, f_dc_*, opacity, scale_*, rot_*)."
    )


def test_a_mesh_is_no_splat(tmp_path):
    faces = PlyElement.describe(np.zeros(1, dtype=[("vertex_indices", "i4", (3,))]), "face")
    (tmp_path / "mesh.ply").write_bytes(foreign(table(names=["x", "y", "z"]), after=[faces]))
    with pytest.raises(GatlasError) as error:
        io.load_gaussians(tmp_path / "mesh.ply")
    assert str(error.value) == (
        f"{tmp_path}/mesh.ply: not a splat PLY: it has no property 'opacity'.\n"
        "gatlas reads the 3DGS layout (x, y, z, f_dc_*, opacity, scale_*, rot_*).\n"
        f"For a mesh, run: gatlas fit {tmp_path}/mesh.ply -o splat.ply"
    )


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (
            b"hello\n",
            "x.ply: not a splat PLY: gatlas reads 3DGS PLY, compressed PLY, .splat, SPZ, SOG, KSPLAT, GLB and glTF",
        ),
        (b"glTF\x02\0\0\0", "x.ply: a mesh, not a splat PLY.\nTo fit it, run: gatlas fit -o splat.ply"),
        (
            b"ply\nformat ascii 1.0\nelement vert",
            "x.ply: truncated or damaged: its PLY header has no line 'end_header'",
        ),
        (b"ply\nelement vertex 0\nend_header\n", "x.ply: damaged PLY header: it has no line 'format'"),
        (b"ply\nformat ascii 2.0\nend_header\n", "x.ply: damaged PLY header: line 2: 'format ascii 2.0'"),
        (b"ply\nformat ascii 1.0\nend_header\n", "x.ply: the PLY has no element 'vertex'"),
        (b"ply\nformat ascii 1.0\nproperty float x\nend_header\n", "line 3: 'property float x'"),
        (b"ply\nformat ascii 1.0\nelement vertex -1\nend_header\n", "line 3: 'element vertex -1'"),
        (b"ply\nformat ascii 1.0\nelement vertex 1\nproperty half x\nend_header\n", "line 4: 'property half x'"),
        (
            b"ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nproperty float x\nend_header\n",
            "line 5: 'property float x'",
        ),
    ],
)
def test_damaged_headers_are_named(data, words):
    with pytest.raises(GatlasError) as error:
        load(data)
    assert words in str(error.value)


def test_a_truncated_file_is_counted():
    data = foreign(table(3))
    with pytest.raises(GatlasError) as error:
        load(data[:-1])
    assert str(error.value) == (
        f"x.ply: truncated: header promises 3 Gaussians ({len(data)} bytes), there are {len(data) - 1} bytes"
    )


def test_a_promise_beyond_all_memory_is_truncation():
    with pytest.raises(GatlasError, match="truncated: header promises 999,999,999,999,999 Gaussians"):
        load(foreign(table(1)).replace(b"vertex 1\n", b"vertex 999999999999999\n"))


def test_a_truncated_text_is_counted():
    with pytest.raises(GatlasError, match=r"truncated: header promises 3 Gaussians \(3 lines\), there are 2 lines"):
        load(foreign(table(3), text=True).rstrip().rpartition(b"\n")[0])


@pytest.mark.parametrize("row", [b"1 2 3", b"1 2 3 4 5 6 7 8 9 10 11 12 13 fourteen"])
def test_a_damaged_text_is_refused(row):
    header, end, _ = foreign(table(1), text=True).partition(b"end_header\n")
    with pytest.raises(GatlasError, match=r"^x\.ply: damaged: "):
        load(header + end + row)


@pytest.mark.parametrize("text", [False, True])
def test_two_plys_end_to_end_are_refused(text):
    with pytest.raises(GatlasError, match="PLYs that are joined end to end cannot be read; give one at a time"):
        load(foreign(table(3), text=text) * 2)


def test_a_file_without_gaussians_is_refused():
    with pytest.raises(GatlasError, match=r"^x\.ply: it holds no Gaussians$"):
        load(foreign(table(0)))


@pytest.mark.parametrize(
    ("column", "values", "words"),
    [
        ("x", [0, np.nan, 0], "1 of its 3 Gaussians have a position that is NaN or infinite"),
        ("z", [np.inf, 0, -np.inf], "2 of its 3 Gaussians have a position that is NaN or infinite"),
        ("opacity", [0, 0, np.nan], "1 of its 3 Gaussians have an opacity that is NaN"),
        ("scale_0", [-np.inf, 0, 0], "1 of its 3 Gaussians have a scale that is zero, infinite or NaN"),
        ("scale_0", [-200, 200, np.nan], "3 of its 3 Gaussians have a scale that is zero, infinite or NaN"),
        ("rot_0", [0, 1, np.nan], "2 of its 3 Gaussians have a rotation that is the zero quaternion"),
        ("f_dc_1", [0, 1, np.inf], "1 of its 3 Gaussians have a color that is NaN or infinite"),
    ],
)
def test_values_that_cannot_be_drawn_are_counted(column, values, words):
    with pytest.raises(GatlasError, match=rf"^x\.ply: {words}"):
        load(foreign(table(3, **{column: values})))


def test_a_double_beyond_float32_is_refused():
    with pytest.raises(GatlasError, match="position that is NaN or infinite"):
        load(foreign(table(3, dtype="f8", x=1e300)))


@pytest.mark.parametrize(
    ("rest", "words"),
    [([0, 1, 2], "3 of them"), (range(1, 10), "'f_rest_0' is missing"), (range(72), "72 of them")],
)
def test_colour_coefficients_that_fit_no_degree_are_refused(rest, words):
    with pytest.raises(GatlasError, match=f"fit no degree of spherical harmonics: {words}"):
        load(foreign(table(names=[*NAMES, *(f"f_rest_{i}" for i in rest)])))


@pytest.mark.parametrize(
    "comment",
    [
        "frame z-up",
        "center 1 2",
        "center 1 2 x",
        "center 1 2 nan",
        "scale 0",
        "scale -1",
        "scale",
        "grid 4",
        "name %ff",
    ],
)
def test_damaged_comments_of_ours_are_refused(comment):
    with pytest.raises(GatlasError, match=r"x\.ply: its 'comment gatlas …' lines are damaged"):
        load(foreign(table(), comments=[f"gatlas {comment}"]))


def test_a_rotation_whose_square_overflows_is_refused_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(GatlasError, match="1 of its 3 Gaussians have a rotation"):
            load(foreign(table(dtype="f8", rot_0=[1, 1e200, 1])))


def test_a_signaling_nan_is_refused_without_a_warning():
    signaling = np.array([1, 0x7FF0000000000001, 1], np.uint64).view(np.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(GatlasError, match="1 of its 3 Gaussians have a position"):
            load(foreign(table(dtype="f8", x=signaling)))
