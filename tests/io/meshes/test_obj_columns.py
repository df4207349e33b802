"""The fast reader of OBJ files against its slow twin, which reads line by line."""

import warnings

import numpy as np
import pytest

from gatlas.errors import GatlasError
from gatlas.io import load_mesh
from gatlas.io.meshes import obj_columns
from gatlas.io.meshes.obj_columns import parse_columns
from gatlas.io.meshes.obj_lines import parse_lines
from tests.helpers.gltf_files import blob

POINTS = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\n"
UVS = "vt 0 0\nvt 1 0\nvt 1 1\nvt .5 1e-3\n"

PLAIN = {
    "positions alone": POINTS + "f 1 2 3\nf 1 3 4\n",
    "texture coordinates": POINTS + UVS + "f 1/1 2/2 3/3\nf 1/1 3/3 4/4\n",
    "normals": POINTS + "vn 0 0 1\nf 1//1 2//1 3//1\n",
    "both": POINTS + UVS + "vn 0 0 1\nf 1/4/1 2/3/1 3/2/1\n",
    "mixed corners": POINTS + UVS + "f 1/1 2 3//1 4/2/1\nf 1 2 3\nf 1/1/1 2//1 3/3\n",
    "negative indices": POINTS + "f -4 -3 -2\n" + UVS + "f -1/-1 -2/-2 -3/-3\nv 5 5 5\nf -1 -2 -3\n",
    "polygons of all sizes": POINTS + "v 2 2 0\nf 1 2 3\nf 1 2 3 4\nf 1 2 3 5 4\nf 1 2\nf 3\nf 4 3 2\n",
    "vertex colors": "v 0 0 0 1 0 0\nv 1 0 0 0 1 0\nv 0 1 0\nf 1 2 3\n",
    "a weight": "v 0 0 0 1\nv 1 0 0 1\nv 0 1 0 1\nf 1 2 3\n",
    "short and long texture coordinates": POINTS + "vt 0.25\nvt 1 0 0\nvt 1 1\nf 1/1 2/2 3/3\n",
    "materials and groups": POINTS
    + "mtllib a.mtl\nmtllib  b c.mtl\ng one\nusemtl red\ns 1\nf 1 2 3\nf 1 2 3 4\nusemtl blue thing\nf 2 3 4\n"
    "usemtl red\nf 1 3 4\nusemtl unused\nusemtl\nf 1 2 4\n",
    "comments, blank lines, indents": "# v 9 9 9\n\n  v 0 0 0\n\tv 1 0 0 \nv\t1 1\t0\r\n\r\n"
    "f  1   2 3  \nl 1 2\np 1\nvp 1\n",
    "continued lines": "v 0 0 \\\n 0\nv 1 0 0\nv 1 1 0\nf 1 \\\r\n2 \\ \n 3\n# a comment \\\nf 1 2 9\n",
    "no newline at the end": POINTS + "f 1 2 3",
    "a mark of the encoding": "\ufeff" + POINTS + "f 1 2 3\n",
    "numbers of all kinds": "v -0 +1.5E+2 .5\nv 1e-30 123456789.123456789 0.1\nv 1. 1e22 -7.25\nf 1 2 3\n",
    "names in other alphabets": POINTS + "g Körper\nusemtl Метал\nf 1 2 3\n",
}


def same(one, other):
    assert one is not None
    np.testing.assert_array_equal(one.positions, other.positions)
    np.testing.assert_array_equal(one.uvs, other.uvs)
    assert one.libraries == other.libraries
    assert list(one.polygons) == list(other.polygons)
    for material, polygons in one.polygons.items():
        for found, expected in zip(polygons, other.polygons[material], strict=True):
            np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("chunk", [1 << 24, 30])
@pytest.mark.parametrize("text", PLAIN.values(), ids=PLAIN)
def test_columns_and_lines_read_the_same(monkeypatch, text, chunk):
    monkeypatch.setattr(obj_columns, "_CHUNK", chunk)
    source = blob(text.encode(), "thing.obj")
    same(parse_columns(source), parse_lines(source))


STRANGE = {
    "a word for a number": "v 0 0 x\nf 1 1 1\n",
    "two numbers grown together": "v 1.0-2.0 3\nf 1 1 1\n",
    "too few numbers": "v 0 0\n",
    "nothing after the keyword": POINTS + "v\n",
    "too many numbers": "v 1 2 3 4 5 6 7 8 9\n",
    "index 0": POINTS + "f 0 1 2\n",
    "an index before the first": POINTS + "f -5 1 2\n",
    "a corner that is a word": POINTS + "f 1 2 x\n",
    "a corner without a position": POINTS + "f /1 2 3\n",
    "a fraction": POINTS + "f 1.5 2 3\n",
    "a huge index": POINTS + "f 99999999999999999999 2 3\n",
    "control characters": POINTS + "f 1\x001 2 3\n",
    "a space of Unicode": "v\xa00 0 0\n" + POINTS + "\xa0v 5 5 5\nf 1 2 3\n",
    "underscores": POINTS + "f 1_0 2 3\n",
    "a comment after a face": POINTS + "f 1 2 3 # here\n",
}


ACCEPTED = ("a space of Unicode", "underscores")


@pytest.mark.parametrize("name", STRANGE)
def test_a_line_of_another_form_is_left_to_the_lines(name):
    source = blob(STRANGE[name].encode(), "thing.obj")
    assert parse_columns(source) is None
    if name in ACCEPTED:
        assert len(parse_lines(source).positions) >= 4
    else:
        with pytest.raises(GatlasError, match=r"^thing\.obj: [^\n]*$"):
            parse_lines(source)


def random_obj(rng):
    """A text with statements of all kinds in any order."""
    lines, v, t = [], 0, 0
    for _ in range(rng.integers(5, 60)):
        kind = rng.integers(6)
        if kind <= 1 or v < 3:
            lines.append("v " + " ".join(f"{x:.{rng.integers(1, 9)}g}" for x in rng.normal(size=rng.choice([3, 3, 6]))))
            v += 1
        elif kind == 2:
            lines.append("vt " + " ".join(f"{x:.4f}" for x in rng.random(rng.choice([2, 3]))))
            t += 1
        elif kind == 3:
            lines.append(f"usemtl m{rng.integers(3)}")
        else:
            corners = []
            for _ in range(rng.integers(3, 7)):
                corner = str(rng.integers(1, v + 1) if rng.random() < 0.5 else -rng.integers(1, v + 1))
                if t and rng.random() < 0.7:
                    corner += f"/{rng.integers(1, t + 1) if rng.random() < 0.5 else -rng.integers(1, t + 1)}"
                elif rng.random() < 0.3:
                    corner += "//1"
                corners.append(corner + ("/1" if "/" in corner and "//" not in corner and rng.random() < 0.5 else ""))
            lines.append("f " + " ".join(corners))
    return "\n".join(lines) + "\n"


@pytest.mark.fuzz
def test_random_files_read_the_same_by_columns_and_by_lines(monkeypatch):
    rng = np.random.default_rng(0)
    for _ in range(100):
        monkeypatch.setattr(obj_columns, "_CHUNK", int(rng.integers(20, 400)))
        source = blob(random_obj(rng).encode(), "thing.obj")
        same(parse_columns(source), parse_lines(source))


def test_a_position_with_two_texture_coordinates_becomes_two_vertices():
    text = POINTS + UVS + "f 1/1 2/2 3/3\nf 1/4 3/3 4/4\nf 4 3 2\n"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mesh = load_mesh(blob(text.encode(), "thing.obj"))
    assert len(mesh.vertices) == 8  # 1/1, 1/4, 2, 2/2, 3, 3/3, 4, 4/4
    np.testing.assert_allclose(mesh.uvs[mesh.faces[1]], [[0.5, 1 - 1e-3], [1, 0], [0.5, 1 - 1e-3]])
