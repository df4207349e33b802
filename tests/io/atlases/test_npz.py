"""Atlas and statistics NPZ: np.savez and np.load are the independent writer and reader."""

import io as stdio
import json
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gatlas import io
from gatlas.errors import GatlasError
from gatlas.types import SPACES, Atlas, AtlasStats

CHANNELS = {"offset": 3, "color": 3, "opacity": 1, "scale": 3, "rotation": 4}
META = {"gatlas_atlas": 1, "origin": {"name": "teapot"}, "note": "ü"}


def planes(size=4, seed=0):
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=(size, size, count)).astype(np.float32) for name, count in CHANNELS.items()}


def npz(**arrays):
    payload = stdio.BytesIO()
    np.savez(payload, **arrays)
    return payload.getvalue()


def load(data, name="x.npz"):
    return io.load_atlas(io.Blob(name, data))


def good(**changes):
    """An atlas as numpy writes it, with some arrays replaced, or left out where they are None."""
    arrays = {**planes(), "meta": json.dumps(META), **changes}
    return npz(**{name: array for name, array in arrays.items() if array is not None})


def test_an_atlas_of_numpy_is_read():
    atlas = load(good())
    for name, plane in planes().items():
        np.testing.assert_array_equal(getattr(atlas, name), plane)
    assert atlas.meta == META


def test_numpy_reads_what_is_written(tmp_path):
    io.save_atlas(tmp_path / "x.npz", Atlas(**planes(), meta=META))
    with np.load(tmp_path / "x.npz", allow_pickle=False) as archive:
        assert set(archive.files) == {*CHANNELS, "meta"}
        assert archive["opacity"].shape == (4, 4, 1)
        assert all(archive[name].dtype == np.float32 for name in CHANNELS)
        assert json.loads(str(archive["meta"])) == META


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.fuzz
@settings(max_examples=40)
@given(st.data())
def test_what_is_written_is_read_back(tmp_path_factory, data):
    size = data.draw(st.integers(1, 5))
    values = st.floats(allow_nan=False, allow_infinity=False, width=32)
    arrays = {name: data.draw(hnp.arrays(np.float32, (size, size, n), elements=values)) for name, n in CHANNELS.items()}
    names = st.text().map("x{}".format)  # what gatlas itself says of an atlas must be true
    meta = {**data.draw(st.dictionaries(names, JSON, max_size=3)), "gatlas_atlas": 1}
    path = tmp_path_factory.mktemp("npz") / "x.npz"
    io.save_atlas(path, Atlas(**arrays, meta=meta))
    atlas = io.load_atlas(path)
    for name in CHANNELS:
        np.testing.assert_array_equal(getattr(atlas, name), arrays[name])
    assert atlas.meta == meta


def test_the_same_atlas_gives_the_same_bytes(tmp_path, monkeypatch):
    io.save_atlas(tmp_path / "a.npz", Atlas(**planes(), meta=META))
    monkeypatch.setattr("time.time", lambda: 2e9)
    io.save_atlas(tmp_path / "b.npz", Atlas(**planes(), meta=dict(reversed(META.items()))))
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_the_terminal_file_is_named_after_the_object(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    io.save_atlas("-", Atlas(**planes(), meta=META))
    assert (tmp_path / "teapot.npz").exists()
    assert capsys.readouterr().err == "teapot.npz\n"


def test_a_full_size_atlas_is_less_than_a_megabyte(tmp_path):
    io.save_atlas(tmp_path / "x.npz", Atlas(**planes(128), meta=META))
    assert 128 * 128 * 14 * 4 < (tmp_path / "x.npz").stat().st_size < 1_000_000


@pytest.mark.parametrize("name", [*CHANNELS, "meta"])
def test_a_missing_array_is_named(name):
    with pytest.raises(GatlasError, match=f"^x.npz: not an atlas: the NPZ file has no array '{name}'$"):
        load(good(**{name: None}))


@pytest.mark.parametrize("shape", [(4, 4), (4, 3, 3), (5, 5, 3), (4, 4, 4), (0, 0, 3), ()])
def test_a_wrong_shape_is_named(shape):
    with pytest.raises(GatlasError, match=r"^x\.npz: damaged: plane '.*' must have shape \[h h .\], h alike"):
        load(good(offset=np.zeros(shape, np.float32)))


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int32, np.complex64, "U4"])
def test_a_wrong_type_is_named(dtype):
    with pytest.raises(GatlasError, match=r"^x\.npz: damaged: array 'color' must be float32"):
        load(good(color=np.zeros((4, 4, 3), dtype)))


def test_the_other_byte_order_is_read():
    offset = planes()["offset"]
    np.testing.assert_array_equal(load(good(offset=offset.astype(">f4"))).offset, offset)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_counted(value, tmp_path):
    broken = planes()
    broken["scale"][0, :2, 1] = value
    with pytest.raises(GatlasError, match="array 'scale' has 2 values that are NaN or infinite"):
        load(good(scale=broken["scale"]))
    with pytest.raises(GatlasError, match="not written: array 'scale' has 2 values"):
        io.save_atlas(tmp_path / "x.npz", Atlas(**broken, meta=META))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("meta", "words"),
    [
        ("{", "its meta is not JSON"),
        ('{"gatlas_atlas": 1, "split": NaN}', "its meta is not JSON: it holds NaN"),
        ('{"gatlas_atlas": 1e999}', "its meta is not JSON that gatlas reads: the number 1e999 is too large"),
        ("[]", "its meta must be a string that holds a JSON object"),
        (np.zeros(3), "its meta must be a string that holds a JSON object"),
        ("{}", "its meta has no format version 'gatlas_atlas'"),
        ('{"gatlas_atlas": "1"}', "its meta has no format version 'gatlas_atlas'"),
        ('{"gatlas_atlas": true}', "its meta has no format version 'gatlas_atlas'"),
        ('{"gatlas_atlas": 2}', "an atlas of format 2; this gatlas reads format 1: upgrade gatlas to read it"),
    ],
)
def test_a_broken_meta_is_refused(meta, words):
    with pytest.raises(GatlasError, match=f"^x.npz: .*{words}"):
        load(good(meta=meta))


def with_meta(**changes):
    """An atlas of 4 x 4 cells, three of them padding, with a true meta but for the changes."""
    opacity = np.abs(planes()["opacity"]) + 0.1
    opacity[0, :3] = 0
    counts = {"size": 4, "count": 13, "padded": 3, "dropped": 0, "split": 0}
    meta = {**META, "version": "0.1", "spaces": dict(SPACES), **counts, **changes}
    return Atlas(**{**planes(), "opacity": opacity.astype(np.float32)}, meta=meta)


def as_file(atlas):
    arrays = {name: getattr(atlas, name) for name in CHANNELS}
    return npz(**arrays, meta=json.dumps(atlas.meta))


@pytest.mark.parametrize(
    "changes",
    [{}, {"spaces": {}}, {"spaces": {"normal": "unit vector"}}, {"count": 20, "dropped": 7}, {"count": 6, "split": 7}],
)
def test_a_meta_that_agrees_with_the_planes_is_read(changes):
    assert load(as_file(with_meta(**changes))).meta == with_meta(**changes).meta


@pytest.mark.parametrize("key", ["size", "count", "padded", "dropped", "split"])
@pytest.mark.parametrize("value", [-5, 1e308, 4.0, "zz", [], None, True])
def test_what_is_no_number_in_a_meta_is_named(key, value):
    with pytest.raises(
        GatlasError, match=rf"^x\.npz: damaged: its meta's '{key}' must be a whole number >= 0, got .+$"
    ):
        load(as_file(with_meta(**{key: value})))


@pytest.mark.parametrize(("key", "what"), [("version", "a string"), ("spaces", "an object"), ("origin", "an object")])
@pytest.mark.parametrize("value", [-5, None, ["x"]])
def test_what_is_of_another_type_in_a_meta_is_named(key, what, value):
    with pytest.raises(GatlasError, match=rf"^x\.npz: damaged: its meta's '{key}' must be {what}, got .+$"):
        load(as_file(with_meta(**{key: value})))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"size": 8}, "its meta says 'size' 8, its planes have 4"),
    ],
)
def test_a_meta_that_contradicts_its_planes_is_neither_read_nor_written(changes, words, tmp_path):
    atlas = with_meta(**changes)
    with pytest.raises(GatlasError, match=rf"^x\.npz: damaged: .*{words}$"):
        load(as_file(atlas))
    with pytest.raises(ValueError, match=words):
        io.save_atlas(tmp_path / "x.npz", atlas)
    assert list(tmp_path.iterdir()) == []


def test_a_foreign_value_space_is_refused_by_name():
    foreign = with_meta(spaces={**SPACES, "scale": "raw"}, padded=0)
    with pytest.raises(GatlasError, match=r"^x\.npz: its plane 'scale' is in the value space 'raw', which gatlas does"):
        load(as_file(foreign))


def test_an_atlas_without_its_version_is_not_written(tmp_path):
    with pytest.raises(ValueError, match=r"meta\['gatlas_atlas'\] must be 1, got None"):
        io.save_atlas(tmp_path / "x.npz", Atlas(**planes(), meta={}))


def test_pickled_objects_are_never_loaded():
    with pytest.raises(GatlasError, match=r"^x\.npz: truncated or damaged NPZ file: Object arrays"):
        load(good(offset=np.array([object()])))


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.99])
def test_a_truncated_file_is_refused(kept):
    data = good()
    with pytest.raises(GatlasError, match=r"^x\.npz: truncated or damaged NPZ file"):
        load(data[: int(len(data) * kept)])


def test_a_flipped_bit_is_found():
    data = bytearray(good())
    data[data.index(planes()["color"].tobytes()) + 5] ^= 1
    with pytest.raises(GatlasError, match=r"^x\.npz: truncated or damaged NPZ file"):
        load(bytes(data))


def test_other_files_are_no_atlas():
    with pytest.raises(GatlasError, match=r"^x\.npz: not an atlas: gatlas reads NPZ$"):
        load(b"hello")
    splat = b"ply\nformat ascii 1.0\nelement vertex 1\nproperty float opacity\nproperty float scale_0\n"
    with pytest.raises(GatlasError, match=r"a splat PLY, not an atlas\.\nTo encode it, run: gatlas atlas-encode"):
        load(splat + b"property float rot_0\nend_header\n")


def test_a_zip_of_something_else_is_no_atlas():
    payload = stdio.BytesIO()
    with zipfile.ZipFile(payload, "w") as archive:
        archive.writestr("letter.txt", "hello")
    with pytest.raises(GatlasError, match="not an atlas: the NPZ file has no array 'offset'"):
        load(payload.getvalue())


# Statistics


def stats_of(size=3):
    rng = np.random.default_rng(1)
    return AtlasStats(rng.normal(size=(size, size, 14)), rng.uniform(size=(size, size, 14)), 4, {"size": size})


def test_statistics_are_read_back(tmp_path):
    stats = stats_of()
    io.save_stats(tmp_path / "x.npz", stats)
    back = io.load_stats(tmp_path / "x.npz")
    np.testing.assert_array_equal(back.mean, stats.mean)
    np.testing.assert_array_equal(back.m2, stats.m2)
    assert (back.count, back.meta) == (4, {"size": 3})
    assert io.read(tmp_path / "x.npz").kind == "stats"
    with np.load(tmp_path / "x.npz") as archive:
        np.testing.assert_allclose(archive["std"], np.sqrt(stats.m2 / 4), rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"mean": None}, "not statistics of atlases: the NPZ file has no array 'mean'"),
        ({"mean": np.zeros((3, 3, 13))}, r"must have shape \[h h 14\]"),
        ({"m2": np.zeros((2, 2, 14))}, r"must have shape \[h h 14\]"),
        ({"m2": np.full((3, 3, 14), np.nan)}, "'m2' has 126 values that are NaN"),
        ({"mean": np.zeros((3, 3, 14), np.float32)}, "'mean' must be float64"),
        ({"count": 0}, "'count' must be a whole number >= 1"),
        ({"count": 1.5}, "'count' must be a whole number >= 1"),
        ({"meta": "x"}, "its meta is not JSON"),
    ],
)
def test_broken_statistics_are_refused(change, words):
    stats = stats_of()
    arrays = {"mean": stats.mean, "m2": stats.m2, "count": 4, "meta": "{}", **change}
    data = npz(**{name: array for name, array in arrays.items() if array is not None})
    with pytest.raises(GatlasError, match=f"^x.npz: .*{words}"):
        io.load_stats(io.Blob("x.npz", data))
