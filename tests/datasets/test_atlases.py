"""Sets of atlases: what is in them, what is left out, what is refused."""

from dataclasses import replace

import numpy as np
import pytest

from gatlas import io
from gatlas.atlas import EncodeOptions, decode, encode
from gatlas.atlas.statistics import stack
from gatlas.datasets.atlases import RandomViews, all_captions, atlas_set, to_world
from gatlas.errors import GatlasError
from gatlas.geometry.cameras import orbit
from gatlas.io.sets.shards import ShardWriter
from gatlas.render import take_views
from gatlas.systems.targets import read_cameras
from gatlas.types import MixedCameras, MixedViews, Views
from tests.helpers.atlas_sets import BALLS, ball, write_captions, write_set


@pytest.fixture
def stats(tmp_path):
    return write_set(tmp_path / "set")


def test_an_example_is_the_atlas_of_its_file(tmp_path, stats):
    examples = atlas_set([str(tmp_path / "set")], stats, captions=write_captions(tmp_path / "captions.csv"))
    assert len(examples) == 3
    assert examples.report() == []
    for i in range(3):
        example = examples[i]
        np.testing.assert_array_equal(example.planes, stack(io.load_atlas(tmp_path / "set" / f"{example.key}.npz")))
        assert example.captions == (f"a {example.key} ball",)
        assert examples[i] is example  # read once
    assert all_captions(examples) == ["a blue ball", "a green ball", "a red ball"]


def test_a_batch_stacks_examples(tmp_path, stats):
    examples = atlas_set([str(tmp_path / "set")], stats)
    batch = examples.collate([examples[2], examples[0]])
    assert batch.keys == ["red", "blue"]
    assert batch.captions == [(), ()]
    np.testing.assert_array_equal(batch.planes[1].numpy(), examples[0].planes)


def test_a_shard_gives_what_its_files_give(tmp_path, stats):
    with ShardWriter(tmp_path / "set.tar") as shard:
        for name in ("blue", "green", "red"):
            shard.add(f"sub/{name}", ".npz", (tmp_path / "set" / f"{name}.npz").read_bytes())
            shard.add(f"sub/{name}", ".txt", f"a {name} ball".encode())
    from_shard = atlas_set([str(tmp_path / "set.tar")], stats)
    from_files = atlas_set([str(tmp_path / "set")], stats, captions=write_captions(tmp_path / "captions.csv"))
    for one, other in zip(from_shard, from_files, strict=True):
        assert one.key == f"sub/{other.key}"
        assert one.captions == other.captions
        np.testing.assert_array_equal(one.planes, other.planes)


def test_atlases_without_a_caption_are_left_out_and_named(tmp_path, stats):
    captions = write_captions(tmp_path / "captions.csv", ("red",))
    (tmp_path / "captions.csv").open("a").write("white,a white ball\n")
    examples = atlas_set([str(tmp_path / "set")], stats, captions=captions)
    assert [example.key for example in examples] == ["red"]
    assert examples.report() == [
        f"{captions}: 1 id matches no atlas: white",
        "2 of 3 atlases have no caption and are left out: blue, green",
    ]


def test_captions_beside_atlases_count_where_at_least_half_have_one(tmp_path, stats):
    (tmp_path / "set/red.txt").write_text("run log 14:02 ok")
    with pytest.raises(GatlasError, match=r"only 1 of 3 atlases have a caption beside them, .*red.npz is the first"):
        atlas_set([str(tmp_path / "set")], stats)
    captions = write_captions(tmp_path / "captions.csv")
    assert atlas_set([str(tmp_path / "set")], stats, captions=captions)[2].captions == ("a red ball",)
    (tmp_path / "set/blue.txt").write_text("a blue ball")
    assert [example.key for example in atlas_set([str(tmp_path / "set")], stats)] == ["blue", "red"]


def test_captions_of_other_objects_are_refused(tmp_path, stats):
    captions = tmp_path / "captions.csv"
    captions.write_text("white,a white ball\n")
    with pytest.raises(GatlasError, match=r"no id matches an atlas: the ids are white, the atlases are blue, green"):
        atlas_set([str(tmp_path / "set")], stats, captions=str(captions))


def test_without_captions_the_set_says_so(tmp_path, stats):
    assert atlas_set([str(tmp_path / "set")], stats).report() == [
        "there are no captions: the model learns without text"
    ]


@pytest.mark.parametrize(
    ("size", "projection", "message"),
    [(4, "equirect", "the atlas is 4 x 4, the statistics are 8 x 8"), (8, "octahedral", "its projection is 'octahed")],
)
def test_an_atlas_of_another_layout_is_named(tmp_path, stats, size, projection, message):
    io.save_atlas(
        tmp_path / "set" / "odd.npz", encode(ball("red", 16), EncodeOptions(size=size, projection=projection))
    )
    examples = atlas_set([str(tmp_path / "set")], stats)
    with pytest.raises(GatlasError, match=message) as error:
        list(examples)
    assert "odd.npz" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_corrupt_atlas_is_named(tmp_path, stats):
    (tmp_path / "set" / "odd.npz").write_bytes((tmp_path / "set" / "red.npz").read_bytes()[:1000])
    examples = atlas_set([str(tmp_path / "set")], stats)
    with pytest.raises(GatlasError, match=r"odd\.npz: truncated or damaged"):
        list(examples)


def test_an_atlas_with_a_broken_normalization_is_named(tmp_path, stats):
    atlas = io.load_atlas(tmp_path / "set" / "red.npz")
    broken = replace(atlas, meta={**atlas.meta, "normalization": {"center": [0.0, 0.0]}})
    io.save_atlas(tmp_path / "set" / "red.npz", broken, force=True)
    with pytest.raises(GatlasError, match=r"red\.npz: damaged: its meta has a broken 'normalization'"):
        list(atlas_set([str(tmp_path / "set")], stats))


def test_the_way_to_the_world_is_that_of_decode():
    atlas = encode(ball("green", normalized=False), EncodeOptions(size=8))
    atlas = replace(atlas, meta={**atlas.meta, "normalization": {"center": [1.0, 2.0, 3.0], "scale": 0.5}})
    turned = replace(atlas, meta={**atlas.meta, "frame": "y-down"})
    unit = decode(replace(atlas, meta={**atlas.meta, "normalization": {"center": [0, 0, 0], "scale": 1}}))
    for each in (atlas, turned):
        matrix = to_world(each, "green.npz")
        np.testing.assert_allclose(unit.means @ matrix[:3, :3].T + matrix[:3, 3], decode(each).means, atol=1e-6)


def test_views_are_found_by_key_and_the_missing_are_named(tmp_path, stats):
    views = tmp_path / "views"
    for name in ("red", "blue"):
        (views / name).mkdir(parents=True)
        (views / name / "transforms.json").write_text("{}")
    examples = atlas_set([str(tmp_path / "set")], stats, views=f"{views}/")
    assert [example.folder for example in examples] == [f"{views}/blue", None, f"{views}/red"]
    assert "1 of 3 atlases have no pictures" in examples.report()[1]
    assert examples.report()[1].endswith(": green")
    with pytest.raises(GatlasError, match=r"there is no blue/transforms\.json in it"):
        atlas_set([str(tmp_path / "set")], stats, views=str(tmp_path))
    with pytest.raises(GatlasError, match="no such folder"):
        atlas_set([str(tmp_path / "set")], stats, views=str(tmp_path / "nowhere"))


def write_pair(tmp_path):
    """Two folders and two shards with an atlas 000 each, and pictures of an object 000."""
    for i, name in enumerate(("red", "blue")):
        content = (tmp_path / "set" / f"{name}.npz").read_bytes()
        (tmp_path / f"d{i}").mkdir()
        (tmp_path / f"d{i}" / "000.npz").write_bytes(content)
        with ShardWriter(tmp_path / f"d{i}.tar") as shard:
            shard.add("000", ".npz", content)
            shard.add("000", ".txt", f"a {name} ball".encode())
    (tmp_path / "views" / "000").mkdir(parents=True)
    (tmp_path / "views" / "000" / "transforms.json").write_text("{}")


def test_shards_with_the_same_keys_keep_their_own_captions(tmp_path, stats):
    write_pair(tmp_path)
    examples = atlas_set([str(tmp_path / f"d{i}.tar") for i in (0, 1)], stats)
    for example, name in zip(examples, ("red", "blue"), strict=True):
        np.testing.assert_array_equal(example.planes, stack(io.load_atlas(tmp_path / "set" / f"{name}.npz")))
        assert example.captions == (f"a {name} ball",)


@pytest.mark.parametrize("suffix", ["", ".tar"])
def test_a_caption_or_pictures_that_two_atlases_could_have_are_refused(tmp_path, stats, suffix):
    write_pair(tmp_path)
    (tmp_path / "captions.csv").write_text("000,a ring\n")
    pair = [str(tmp_path / f"d{i}{suffix}") for i in (0, 1)]
    places = rf"d0{suffix}[/:]000\.npz or of \S*d1{suffix}[/:]000\.npz, which share a name: give each its own$"
    with pytest.raises(GatlasError, match=rf"captions\.csv: the caption of '000' could be that of \S*{places}"):
        atlas_set(pair, stats, captions=str(tmp_path / "captions.csv"))
    with pytest.raises(GatlasError, match=rf"views/000: these pictures could be those of \S*{places}"):
        atlas_set(pair, stats, views=str(tmp_path / "views"))


def test_pictures_of_a_last_part_are_those_of_one_atlas_only(tmp_path, stats):
    write_pair(tmp_path)
    (tmp_path / "d0").rename(tmp_path / "both")
    (tmp_path / "d1").rename(tmp_path / "both" / "b")
    examples = atlas_set([str(tmp_path / "both")], stats, views=str(tmp_path / "views"))
    assert [(example.key, example.folder) for example in examples] == [
        ("000", f"{tmp_path}/views/000"),
        ("b/000", None),
    ]
    (tmp_path / "both" / "000.npz").rename(tmp_path / "both" / "b" / "other.npz")
    (tmp_path / "both" / "a").mkdir()
    (tmp_path / "both" / "b" / "other.npz").rename(tmp_path / "both" / "a" / "000.npz")
    with pytest.raises(GatlasError, match=r"both/a/000\.npz or of \S*both/b/000\.npz"):
        atlas_set([str(tmp_path / "both")], stats, views=str(tmp_path / "views"))


def test_the_identity_is_keys_captions_and_who_has_pictures(tmp_path, stats):
    (tmp_path / "views" / "red").mkdir(parents=True)
    (tmp_path / "views" / "red" / "transforms.json").write_text("{}")
    plain = atlas_set([str(tmp_path / "set")], stats).identity()
    assert {name: list(values) for name, values in plain.items()} == {
        "atlases": ["blue", "green", "red"],
        "captions": [(), (), ()],
        "views": [False, False, False],
    }
    captions = write_captions(tmp_path / "captions.csv", ("blue", "red"))
    full = atlas_set([str(tmp_path / "set")], stats, captions=captions, views=str(tmp_path / "views")).identity()
    assert {name: list(values) for name, values in full.items()} == {
        "atlases": ["blue", "red"],
        "captions": [("a blue ball",), ("a red ball",)],
        "views": [False, True],
    }


def test_each_turn_brings_other_pictures_and_the_same_turn_the_same(tmp_path, stats):
    (tmp_path / "views").mkdir()
    for name in BALLS:
        io.save_views(tmp_path / "views" / name, take_views(ball(name), orbit(5, 48, 48)))
    examples = atlas_set([str(tmp_path / "set")], stats, views=str(tmp_path / "views"), random_views=RandomViews(2, 24))
    one, same, other = (examples.draw(0, seed=seed).views for seed in (1, 1, 3))
    assert one.images.shape == (2, 24, 24, 4)
    assert one.images.min() == 0.0
    assert one.images.max() > 0.9
    np.testing.assert_array_equal(one.images, same.images)
    assert np.abs(one.cameras.viewmats - other.cameras.viewmats).max() > 0.1
    everything = atlas_set(
        [str(tmp_path / "set")], stats, views=str(tmp_path / "views"), random_views=RandomViews(9, 24)
    )
    assert len(everything.draw(0, seed=0).views.images) == 5
    batch = examples.collate([examples.draw(0, seed=0), examples[1]])
    assert [views is None for views in batch.views] == [False, True]


def test_views_of_several_sizes_are_refused_by_name(tmp_path, stats):
    cameras = [orbit(1, 16, 16), orbit(1, 16, 12)]
    images = tuple(np.ones((camera.height, camera.width, 4), np.float32) for camera in cameras)
    viewmats, Ks = (np.concatenate([getattr(camera, name) for camera in cameras]) for name in ("viewmats", "Ks"))
    views = MixedViews(images, MixedCameras(viewmats, Ks, ((16, 16), (16, 12))))
    (tmp_path / "views").mkdir()
    for name in BALLS:
        io.save_views(tmp_path / "views" / name, views)
    examples = atlas_set([str(tmp_path / "set")], stats, views=str(tmp_path / "views"), random_views=RandomViews(1, 16))
    with pytest.raises(
        GatlasError, match=r"views/blue/transforms\.json: its pictures have several sizes \(16 x 12, 16 x"
    ):
        examples.draw(0, seed=0)
    with pytest.raises(GatlasError, match=r"its cameras have pictures of several sizes \(16 x 12, 16 x 16\)"):
        read_cameras(str(tmp_path / "views/blue"))


def test_pictures_without_a_silhouette_are_refused(tmp_path, stats):
    (tmp_path / "views").mkdir()
    for name in BALLS:
        io.save_views(tmp_path / "views" / name, Views(np.ones((2, 16, 16, 3), np.float32), orbit(2, 16, 16)))
    examples = atlas_set([str(tmp_path / "set")], stats, views=str(tmp_path / "views"), random_views=RandomViews(1, 16))
    with pytest.raises(GatlasError, match=r"views/blue/?: the pictures have no transparency"):
        examples.draw(0, seed=0)


def test_statistics_of_one_shard_are_not_those_of_the_set(tmp_path, stats):
    part = replace(stats, meta={**stats.meta, "shard": "1/4"})
    with pytest.raises(GatlasError, match="the statistics are of shard 1/4 of a set alone: merge those of all shards"):
        atlas_set([str(tmp_path / "set")], part)
