"""gatlas normalize-stats, as its users run it."""

import io as bytesio
import json
import subprocess
import sys
import tarfile
from dataclasses import replace

import numpy as np
import pytest

from gatlas import io
from gatlas.atlas.spaces import SPACES
from tests.helpers.atlas_sets import random_atlas

COUNT = 6


@pytest.fixture
def atlases(tmp_path):
    folder = tmp_path / "atlases"
    folder.mkdir()
    for seed in range(COUNT):
        io.save_atlas(folder / f"object{seed}.npz", random_atlas(seed))
    return folder


@pytest.fixture
def expected(gatlas, tmp_path, atlases):
    """The bytes that one pass over the folder gives."""
    gatlas("normalize-stats", "atlases", "-o", "expected.npz")
    return (tmp_path / "expected.npz").read_bytes()


def one_line(run):
    lines = run.stderr.strip().splitlines()
    assert len(lines) == 1, run.stderr
    assert run.stdout == b""
    return lines[0].removeprefix("gatlas normalize-stats: ")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_statistics_of_a_folder_are_those_of_numpy(atlases, expected, tmp_path):
    stats = io.load_stats(tmp_path / "expected.npz")
    loaded = [io.load_atlas(atlases / name) for name in names(atlases)]
    for name, part in (("offset", slice(0, 3)), ("rotation", slice(10, 14))):
        union = np.stack([getattr(atlas, name) for atlas in loaded]).astype(np.float64)
        np.testing.assert_allclose(stats.mean[..., part], union.mean(axis=0), atol=1e-14)
        np.testing.assert_allclose(stats.m2[..., part], union.var(axis=0) * COUNT, rtol=1e-10)
    assert stats.count == COUNT
    assert stats.meta["projection"] == "equirect"
    assert stats.meta["spaces"] == SPACES


def test_files_patterns_shards_and_streams_give_the_same_bytes(gatlas, tmp_path, atlases, expected):
    files = [f"atlases/{name}" for name in names(atlases)]
    subprocess.run(["tar", "cf", "gnu.tar", *files], cwd=tmp_path, check=True)
    with tarfile.open(tmp_path / "python.tar.gz", "w:gz") as tar:
        for file in files:
            tar.add(tmp_path / file)
    assert gatlas("normalize-stats", *files).stdout == expected
    assert gatlas("normalize-stats", "atlases/*.npz").stdout == expected
    assert gatlas("normalize-stats", "gnu.tar").stdout == expected
    assert gatlas("normalize-stats", "python.tar.gz").stdout == expected
    stream = (tmp_path / "gnu.tar").read_bytes()
    assert gatlas("normalize-stats", stdin=stream).stdout == expected
    assert gatlas("normalize-stats", "-", stdin=stream).stdout == expected


def test_tar_and_the_verb_make_a_pipe(tmp_path, atlases, expected):
    verb = f"{sys.executable} -m gatlas normalize-stats"
    run = subprocess.run(f"tar c atlases/*.npz | {verb}", shell=True, cwd=tmp_path, capture_output=True, check=True)
    assert run.stdout == expected


def test_one_atlas_may_come_through_a_pipe(gatlas, atlases):
    run = gatlas("normalize-stats", stdin=(atlases / "object0.npz").read_bytes())
    assert io.load_stats(io.Blob("x", run.stdout)).count == 1
    assert "measured 1 atlas of 8 x 8" in run.stderr


def test_files_and_a_stream_add_up(gatlas, tmp_path, atlases, expected):
    first, *rest = names(atlases)
    subprocess.run(["tar", "cf", "rest.tar", *rest], cwd=atlases, check=True)
    run = gatlas("normalize-stats", f"atlases/{first}", "-", stdin=(atlases / "rest.tar").read_bytes())
    assert run.stdout == expected


def test_captions_beside_the_atlases_in_a_shard_are_left_alone(gatlas, tmp_path, atlases, expected):
    payload = bytesio.BytesIO()
    with tarfile.open(fileobj=payload, mode="w") as tar:
        for name in names(atlases):
            tar.add(atlases / name, arcname=f"cats/{name}")
            caption = tarfile.TarInfo(f"cats/{name[:-4]}.txt")
            caption.size = 5
            tar.addfile(caption, bytesio.BytesIO(b"a cat"))
    assert gatlas("normalize-stats", stdin=payload.getvalue()).stdout == expected


def test_merged_parts_equal_one_pass(gatlas, tmp_path, atlases, expected):
    files = [f"atlases/{name}" for name in names(atlases)]
    gatlas("normalize-stats", *files[:2], "-o", "a.npz")
    gatlas("normalize-stats", *files[2:], "-o", "b.npz")
    run = gatlas("normalize-stats", "--merge", "a.npz", "b.npz", "-o", "union.npz")
    assert f"measured {COUNT} atlases" in run.stderr
    union, whole = io.load_stats(tmp_path / "union.npz"), io.load_stats(tmp_path / "expected.npz")
    np.testing.assert_allclose(union.mean, whole.mean, rtol=0, atol=1e-12)
    np.testing.assert_allclose(union.m2, whole.m2, rtol=0, atol=1e-12)
    assert union.meta == whole.meta


def test_the_report_tells_what_is_odd(gatlas, tmp_path, atlases):
    for seed in range(COUNT, 30):
        io.save_atlas(atlases / f"object{seed}.npz", random_atlas(seed))
    odd = random_atlas(99)
    io.save_atlas(atlases / "odd.npz", replace(odd, color=odd.color * 9))
    io.save_atlas(atlases / "twin.npz", random_atlas(0))
    run = gatlas("normalize-stats", "atlases", "-o", "s.npz", "--report", "r.json")
    assert "warning: colors outside 0..1: " in run.stderr
    assert "outlier: atlases/odd.npz: " in run.stderr
    assert "warning: atlases/object0.npz and atlases/twin.npz hold the same atlas; each counts" in run.stderr
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["count"] == 32
    assert report["outliers"][0]["name"] == "atlases/odd.npz"
    assert report["same_content"]["pairs"] == [["atlases/object0.npz", "atlases/twin.npz"]]
    assert report["channels"]["color[0]"]["max"] > 1


def test_a_sound_set_gives_one_line(gatlas, atlases):
    run = gatlas("normalize-stats", "atlases", "-o", "s.npz")
    assert run.stderr == f"gatlas normalize-stats: measured {COUNT} atlases of 8 x 8\n"


# Errors


@pytest.mark.parametrize(
    ("odd", "message"),
    [
        (
            random_atlas(projection="octahedral"),
            "atlases/z.npz: projection 'octahedral', but atlases/object0.npz and 5 others have 'equirect'",
        ),
        (random_atlas(size=4), "atlases/z.npz: size 4, but atlases/object0.npz and 5 others have 8"),
    ],
)
def test_a_mixture_is_refused_by_name(gatlas, tmp_path, atlases, odd, message):
    io.save_atlas(atlases / "z.npz", odd)
    run = gatlas("normalize-stats", "atlases", "-o", "s.npz", code=1)
    assert one_line(run) == f"{message}: measure each kind on its own"
    assert not (tmp_path / "s.npz").exists()


def test_a_corrupt_atlas_is_named(gatlas, tmp_path, atlases):
    whole = (atlases / "object3.npz").read_bytes()
    (atlases / "object3.npz").write_bytes(whole[:2000])
    message = one_line(gatlas("normalize-stats", "atlases", "-o", "s.npz", code=1))
    assert message.startswith("atlases/object3.npz: truncated or damaged NPZ file")
    assert message.endswith("leave it out, or encode it again")
    flipped = bytearray(whole)
    flipped[1500] ^= 1
    (atlases / "object3.npz").write_bytes(flipped)
    message = one_line(gatlas("normalize-stats", "atlases", "-o", "s.npz", code=1))
    assert message.startswith("atlases/object3.npz: truncated or damaged NPZ file: bad checksum")
    assert names(tmp_path) == ["atlases"]


def test_statistics_among_atlases_and_atlases_among_statistics_are_named(gatlas, expected):
    message = one_line(gatlas("normalize-stats", "expected.npz", code=1))
    assert message == "expected.npz: statistics, not an atlas: to merge statistics, use --merge"
    message = one_line(gatlas("normalize-stats", "--merge", "expected.npz", "atlases/object0.npz", code=1))
    assert message == "atlases/object0.npz: an atlas, not statistics: to measure atlases, leave out --merge"


def test_a_splat_is_told_how_to_become_an_atlas(gatlas, splat):
    run = gatlas("normalize-stats", splat, code=1)
    assert "a splat PLY, not an atlas" in run.stderr
    assert "gatlas atlas-encode" in run.stderr


def test_a_truncated_tar_gives_no_statistics(gatlas, tmp_path, atlases):
    subprocess.run(["tar", "cf", "set.tar", "atlases"], cwd=tmp_path, check=True)
    whole = (tmp_path / "set.tar").read_bytes()
    (tmp_path / "cut.tar").write_bytes(whole[:9000])
    assert one_line(gatlas("normalize-stats", "cut.tar", code=1)).startswith("cut.tar: truncated or damaged tar")
    assert one_line(gatlas("normalize-stats", stdin=whole[:9000], code=1)).startswith("standard input: truncated")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere.npz"], "nowhere.npz: there is no such file"),
        (["none/"], "none/: there are no .npz files in it"),
        (["-o", "s.ply", "none"], "s.ply: statistics cannot be written as .ply: name the output s.npz"),
        (["-o", "s.npz", "--report", "./s.npz", "none"], "cannot be written"),
        (["--report", "-", "none"], "two outputs cannot both go to standard output"),
        ([], "standard input is empty"),
    ],
)
def test_bad_words_are_one_line_and_leave_nothing(gatlas, tmp_path, words, message):
    (tmp_path / "none").mkdir()
    assert message in one_line(gatlas("normalize-stats", *words, code=1))
    assert names(tmp_path) == ["none"]


def test_an_existing_output_is_kept_without_force(gatlas, tmp_path, atlases, expected):
    assert "use --force" in one_line(gatlas("normalize-stats", "atlases", "-o", "expected.npz", code=1))
    gatlas("normalize-stats", "atlases/object0.npz", "-o", "expected.npz", "--force")
    assert io.load_stats(tmp_path / "expected.npz").count == 1


def test_nothing_heavy_is_imported(atlases, tmp_path):
    code = (
        "import sys; from gatlas.atlas import StatisticsOptions; from gatlas.cli.normalize_stats import run;"
        "run(['atlases'], 's.npz', StatisticsOptions(report='r.json'), force=False, given=frozenset());"
        "print({'torch', 'scipy', 'pandas', 'numba', 'rich', 'diffusers'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, cwd=tmp_path)
    assert run.stdout == b"set()\n"


def test_a_plot_shows_mean_and_deviation_of_every_channel(gatlas, tmp_path, atlases, expected):
    pytest.importorskip("matplotlib")
    gatlas("normalize-stats", "atlases", "-o", "stats.npz", "--plot", "stats.png")
    assert (tmp_path / "stats.npz").read_bytes() == expected
    picture = io.load_image(tmp_path / "stats.png")
    cells = [part for row in np.array_split(picture, 4) for part in np.array_split(row, 7, axis=1)]
    assert all((cell.max(axis=-1) - cell.min(axis=-1) > 0.3).mean() > 0.1 for cell in cells), "28 planes in color"


def test_a_plot_without_matplotlib_is_one_line_before_the_work(gatlas, tmp_path, atlases, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    run = gatlas("normalize-stats", "atlases", "-o", "stats.npz", "--plot", "stats.png", code=1)
    assert one_line(run) == "plots need matplotlib: pip install 'gatlas[plot]'"
    assert not (tmp_path / "stats.npz").exists()


def test_shards_of_a_set_merge_to_what_one_pass_gives(gatlas, tmp_path, atlases, expected):
    for index in range(4):
        gatlas("normalize-stats", "atlases", "--shard", f"{index}/4", "-o", "part-{shard}.npz")
    assert sorted(path.name for path in tmp_path.glob("part-*")) == [f"part-0000{index}.npz" for index in range(4)]
    assert [io.load_stats(path).count for path in sorted(tmp_path.glob("part-*"))] == [2, 2, 1, 1]
    gatlas("normalize-stats", "--merge", "part-*.npz", "-o", "merged.npz")
    merged, whole = io.load_stats(tmp_path / "merged.npz"), io.load_stats(tmp_path / "expected.npz")
    assert (merged.count, merged.meta) == (whole.count, whole.meta)
    for name in ("mean", "m2"):
        np.testing.assert_allclose(getattr(merged, name), getattr(whole, name), rtol=1e-12, atol=1e-12)


def test_a_share_of_a_stream_is_that_of_its_files(gatlas, tmp_path, atlases):
    subprocess.run(["tar", "cf", "all.tar", *names(atlases)], cwd=atlases, check=True)
    stream = (atlases / "all.tar").read_bytes()
    assert gatlas("normalize-stats", "--shard", "1/4", stdin=stream).stdout == (
        gatlas("normalize-stats", "atlases/all.tar", "--shard", "1/4").stdout
    )


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ((0, 1, 3), "shard 2 of 4 is missing: measure what is left with --shard, and name all parts"),
        ((0, 1), "shards 2, 3 of 4 are missing: measure what is left with --shard, and name all parts"),
    ],
)
def test_a_merge_without_all_shards_is_refused(gatlas, tmp_path, atlases, parts, message):
    for index in parts:
        gatlas("normalize-stats", "atlases", "--shard", f"{index}/4", "-o", "part-{shard}.npz")
    assert one_line(gatlas("normalize-stats", "--merge", "part-*.npz", code=1)) == message


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--shard", "1/4", "--merge"), "--merge takes the statistics of all shards: leave --shard out"),
        (("--shard", "4/4"), "--shard 4/4: must be I/N with 0 <= I < N, as 0/4 for the first of four"),
        (("--shard", "7/9"), "--shard 7/9: there are fewer atlases than shards: use fewer shards"),
    ],
)
def test_shards_that_cannot_be_are_refused(gatlas, atlases, words, message):
    assert one_line(gatlas("normalize-stats", "atlases", *words, code=1)) == message
