"""SOG byte by byte: version 1, unbundled files, damage, bombs; PlayCanvas's own files."""

import io as stdio
import json
import zipfile

import numpy as np
import pytest
from PIL import Image

from gatlas import io
from gatlas.errors import GatlasError
from gatlas.geometry.rotations import multiply_quats
from gatlas.geometry.sh import SH_C0
from gatlas.io.splats.palettes import codebook, palette
from gatlas.io.streams import Blob
from gatlas.types import Origin
from tests.helpers.splat_files import gaussians_of


def webp(pixels, **options):
    payload = stdio.BytesIO()
    Image.fromarray(np.asarray(pixels, np.uint8)).save(payload, "WEBP", lossless=True, exact=True, **options)
    return payload.getvalue()


def rgba(*pixels, width=2):
    return webp(np.array(pixels, np.uint8).reshape(-1, width, 4))


def version_2(**changes):
    """Two Gaussians; x, y and z of the first are the lowest, of the second the highest of their ranges."""
    meta = {
        "version": 2,
        "count": 2,
        "means": {"mins": [0, np.log(3), -1], "maxs": [1, np.log(5), 0], "files": ["l.webp", "u.webp"]},
        "scales": {"codebook": [-4, -3, -2], "files": ["s.webp"]},
        "quats": {"files": ["q.webp"]},
        "sh0": {"codebook": [0, 1 / SH_C0 / 2], "files": ["c.webp"]},
    }
    files = {
        "l.webp": rgba((0, 0, 0, 255), (255, 255, 255, 255)),
        "u.webp": rgba((0, 0, 0, 255), (255, 255, 255, 255)),
        "s.webp": rgba((0, 1, 2, 255), (1, 1, 1, 255)),
        "q.webp": rgba((128, 128, 128, 252), (255, 128, 128, 253)),  # (1, 0, 0, 0); w = sqrt(1/2) = x
        "c.webp": rgba((0, 1, 0, 51), (1, 1, 1, 0)),
    }
    return {**meta, **changes.pop("meta", {})}, {**files, **changes}


def bundled(meta, files):
    packed = stdio.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        archive.writestr("meta.json", meta if isinstance(meta, str) else json.dumps(meta))
    return packed.getvalue()


def load(content, **options):
    return io.load_gaussians(Blob("a.sog", content), **options)


def test_a_sog_of_version_2_of_bytes():
    g = load(bundled(*version_2()), as_stored=True)
    np.testing.assert_allclose(g.means, [[0, 2, 1 - np.e], [np.e - 1, 4, 0]], atol=1e-6)
    np.testing.assert_allclose(np.log(g.scales), [[-4, -3, -2], [-3, -3, -3]], atol=1e-6)
    np.testing.assert_allclose(g.sh[:, 0] * SH_C0 + 0.5, [[0.5, 1, 0.5], [1, 1, 1]], atol=1e-6)
    np.testing.assert_allclose(g.opacities, [0.2, 0], atol=1e-6)
    half = np.sqrt(0.5)
    np.testing.assert_allclose(np.abs((g.quats * [[1, 0, 0, 0], [half, half, 0, 0]]).sum(axis=1)), 1, atol=1e-4)
    upright = load(bundled(*version_2()))
    np.testing.assert_allclose(upright.means, g.means * [-1, -1, 1], atol=1e-6)
    turned = multiply_quats(np.array([0, 0, 0, 1.0]), g.quats.astype(float))
    np.testing.assert_allclose(np.abs((upright.quats * turned).sum(axis=1)), 1, atol=1e-6)


def version_1():
    meta, files = version_2()
    del meta["version"], meta["count"]
    meta["means"]["shape"] = [2, 3]
    meta["scales"] = {"mins": [-4, -4, -4], "maxs": [-2, -2, -2], "files": ["s.webp"]}
    meta["sh0"] = {"mins": [0, 0, 0, -2], "maxs": [1, 1, 1, 2], "files": ["c.webp"]}
    files["s.webp"] = rgba((0, 51, 255, 255), (0, 0, 0, 255))
    files["c.webp"] = rgba((0, 255, 51, 0), (0, 0, 0, 255))
    meta["shN"] = {"mins": -1, "maxs": 1, "files": ["p.webp", "n.webp"]}
    entries = np.full((1, 192, 4), 255)
    entries[0, 3:6] = [[0, 51, 255, 255], [255, 0, 0, 255], [0, 0, 0, 255]]  # the second entry
    files |= {"p.webp": webp(entries), "n.webp": rgba((1, 0, 0, 255), (0, 0, 0, 255))}
    return meta, files


def test_a_sog_of_version_1_has_ranges_and_logits():
    g = load(bundled(*version_1()), as_stored=True)
    np.testing.assert_allclose(g.means, [[0, 2, 1 - np.e], [np.e - 1, 4, 0]], atol=1e-6)
    np.testing.assert_allclose(np.log(g.scales[0]), [-4, -3.6, -2], atol=1e-6)
    np.testing.assert_allclose(g.sh[0, 0], [0, 1, 0.2], atol=1e-6)
    np.testing.assert_allclose(g.opacities, 1 / (1 + np.exp([2, -2])), atol=1e-6)
    np.testing.assert_allclose(g.sh[0, 1:], [[-1, -0.6, 1], [1, -1, -1], [-1, -1, -1]], atol=1e-6)
    np.testing.assert_allclose(g.sh[1, 1:], 1, atol=1e-6)


def test_an_unbundled_sog_is_named_after_its_folder(tmp_path):
    meta, files = version_2()
    (tmp_path / "chair").mkdir()
    for name, content in files.items():
        (tmp_path / "chair" / name).write_bytes(content)
    (tmp_path / "chair" / "meta.json").write_text(json.dumps(meta))
    g = io.load_gaussians(tmp_path / "chair" / "meta.json")
    assert (len(g), g.origin.name) == (2, "chair")
    (tmp_path / "chair" / "q.webp").unlink()
    with pytest.raises(GatlasError, match=r"its picture 'q\.webp' is missing: keep all files of a SOG together"):
        io.load_gaussians(tmp_path / "chair" / "meta.json")


def test_pictures_outside_the_folder_are_not_read(tmp_path):
    meta, files = version_2()
    (tmp_path / "in").mkdir()
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    meta["quats"]["files"] = ["../q.webp"]
    (tmp_path / "in" / "meta.json").write_text(json.dumps(meta))
    with pytest.raises(GatlasError, match="is missing"):
        io.load_gaussians(tmp_path / "in" / "meta.json")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (version_2(meta={"count": 5}), r"its pictures of 'means' do not hold 5 Gaussians"),
        (version_2(meta={"count": True}), "has no number of Gaussians"),
        (version_2(meta={"count": 0}), "it holds no Gaussians"),
        (version_2(meta={"version": 3}), "a SOG of version 3: gatlas reads 1 and 2"),
        (version_2(meta={"quats": []}), "its meta has no 'quats'"),
        (version_2(meta={"quats": {"files": [7]}}), "its meta names no picture of 'quats'"),
        (version_2(meta={"scales": {"codebook": [-4], "files": ["s.webp"]}}), "has 1 entries, a picture names 2"),
        (version_2(meta={"scales": {"codebook": [], "files": ["s.webp"]}}), "must be 1 or more numbers"),
        (version_2(meta={"sh0": {"codebook": ["1"], "files": ["c.webp"]}}), "must be 1 or more numbers"),
        (version_2(**{"s.webp": b"RIFF"}), r"its picture 's\.webp' cannot be read"),
        (version_2(**{"q.webp": rgba((0, 0, 0, 5), (0, 0, 0, 252))}), "the zero quaternion"),
        (
            version_2(meta={"means": {"mins": [0, 0, 0], "maxs": [1e9, 1, 1], "files": ["l.webp", "u.webp"]}}),
            "infinite",
        ),
        (version_2(meta={"shN": {"bands": 2, "codebook": [0], "files": ["s.webp", "s.webp"]}}), "fits no degree"),
        (("[]", {"a.webp": b""}), "must hold a JSON object"),
        (("{", {"a.webp": b""}), "its meta.json is not JSON"),
    ],
)
def test_a_damaged_sog_is_one_line(content, words):
    with pytest.raises(GatlasError, match=words) as caught:
        load(bundled(*content))
    assert str(caught.value).startswith("a.sog: ")
    assert "\n" not in str(caught.value)


def test_a_few_bytes_that_promise_millions_of_gaussians_are_damage():
    """A lossless picture of one color has hardly any bytes."""
    flat = webp(np.full((4000, 4000, 4), 252))
    meta, files = version_2(meta={"count": 16_000_000})
    with pytest.raises(GatlasError, match="do not hold 16,000,000 Gaussians"):
        load(bundled(meta, dict.fromkeys(files, flat)))


def test_the_order_of_levels_of_detail_is_kept():
    ours = gaussians_of(50, origin=Origin("a", levels=(10, 50)))
    content = b"".join(io.registry.encode("splat", ours, "x.sog"))
    np.testing.assert_allclose(load(content).means, ours.means, atol=1e-3)


def test_a_codebook_keeps_few_numbers_as_they_are_and_spaces_many_by_their_density():
    book, places = codebook(np.array([[3.0, 1.0], [2.0, 1.0]]))
    np.testing.assert_array_equal(book[places], [[3, 1], [2, 1]])
    values = np.random.default_rng(0).normal(size=20_000)
    book, places = codebook(values)
    assert (np.diff(book) >= 0).all()
    best = 2.72 * 256**-2  # Panter and Dite's mean squared error of a normal distribution's best codebook
    assert np.mean((book[places] - values) ** 2) < 1.3 * best
    np.testing.assert_array_equal(places, np.abs(book[None] - values[:, None]).argmin(axis=1))


def test_a_palette_stands_for_clusters_and_is_the_same_every_time():
    rng = np.random.default_rng(0)
    centers = rng.normal(size=(20, 6)).astype(np.float32)
    vectors = (centers[rng.integers(0, 20, 5000)] + rng.normal(size=(5000, 6)) * 1e-3).astype(np.float32)
    entries, labels = palette(vectors, 1000)
    assert len(entries) <= 1000
    assert np.abs(entries[labels] - vectors).max() < 0.01
    np.testing.assert_array_equal(palette(vectors, 1000)[1], labels)
    entries, labels = palette(vectors, 6000)
    np.testing.assert_array_equal(entries[labels], vectors)


@pytest.mark.shared
def test_a_real_unbundled_sog_is_read(shared_data):
    g = io.load_gaussians(shared_data / "cases" / "sog_meta_json" / "v2" / "meta.json")
    assert len(g) == 500
    np.testing.assert_allclose(np.abs(np.expm1(0.4561)), np.abs(g.means).max(), atol=1e-3)


@pytest.mark.shared
def test_a_real_meta_of_version_1_without_its_pictures_says_which_is_missing(shared_data):
    with pytest.raises(GatlasError, match=r"its picture 'means_l\.webp' is missing"):
        io.load_gaussians(shared_data / "cases" / "sog_meta_json" / "v1" / "meta.json")
