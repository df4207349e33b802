"""The pixels and the mode that splats were fitted to, through atlases, their files, statistics and samples."""

import json
from dataclasses import replace

import numpy as np
import pytest

from gatlas import io
from gatlas.atlas import EncodeOptions, decode, encode
from gatlas.atlas.gaussianverse import from_published, to_published
from gatlas.atlas.statistics import Accumulator, merge_statistics, shared_meta, stack
from gatlas.errors import GatlasError
from gatlas.geometry.cameras import orbit
from gatlas.geometry.frames import denormalized
from gatlas.raster.blur import fitted_blur
from gatlas.types import Origin
from tests.helpers.raster_scenes import gaussians

SPLAT = gaussians(16, 1, size=0.1)
FITTED = Origin("tea", (0.5, -2.0, 3.0), 4.0, normalized=True, pixel_sizes=(0.004, 0.008), antialiased=True)
OPTIONS = EncodeOptions(size=4)


def atlas_of(origin):
    return encode(replace(SPLAT, origin=origin), OPTIONS)


def stats_of(*atlases):
    total = Accumulator()
    for i, atlas in enumerate(atlases):
        total.add(atlas, f"{i}.npz")
    return total.stats()


@pytest.mark.parametrize("own_units", [False, True])
def test_an_atlas_file_gives_back_what_was_encoded(tmp_path, own_units):
    splat = replace(SPLAT, origin=FITTED)
    splat = denormalized(splat) if own_units else splat
    io.save_atlas(tmp_path / "x.npz", encode(splat, OPTIONS))
    back = decode(io.load_atlas(tmp_path / "x.npz"))
    assert back.origin == splat.origin
    assert fitted_blur(back, orbit(1, 2048, 2048))[0] == pytest.approx(fitted_blur(splat, orbit(1, 2048, 2048))[0])


def test_an_atlas_of_other_splats_is_the_same_file_as_before():
    assert set(atlas_of(Origin("tea")).meta["origin"]) == {"name", "center", "scale", "normalized", "grid"}
    assert not {"pixel_sizes", "antialiased"} & set(shared_meta(atlas_of(Origin("tea")), "x"))


def test_the_ball_of_a_published_file_stands_up_with_the_object():
    splat = replace(SPLAT, origin=Origin(pixel_sizes=(0.1, 0.1), ball=(-1.0, -2.0, 3.0, 4.0)))
    published = to_published(encode(splat, OPTIONS))
    stored = replace(published.gaussians, origin=splat.origin)
    atlas, _ = from_published(stored, published.gs2sphere, published.sphere2plane)
    assert decode(atlas).origin.ball == (1.0, 2.0, 3.0, 4.0)


@pytest.mark.parametrize(
    "broken", [{"pixel_sizes": [2, 1]}, {"pixel_sizes": 3}, {"pixel_sizes": [1, "x"]}, {"antialiased": "yes"}]
)
def test_a_broken_record_is_refused(broken):
    atlas = atlas_of(Origin())
    atlas = replace(atlas, meta={**atlas.meta, "origin": {**atlas.meta["origin"], **broken}})
    with pytest.raises(GatlasError, match="meta has a broken 'origin'"):
        decode(atlas)
    with pytest.raises(GatlasError, match=r"^0\.npz: damaged: its meta has a broken 'origin'"):
        stats_of(atlas)


def test_statistics_have_the_sizes_from_the_smallest_to_the_largest_in_the_unit_ball(tmp_path):
    first = atlas_of(FITTED)
    second = encode(denormalized(replace(SPLAT, origin=replace(FITTED, pixel_sizes=(0.002, 0.004)))), OPTIONS)
    unit = 4.0 / second.meta["normalization"]["scale"]  # of the mesh's ball, in that of the Gaussians
    stats = stats_of(first, second)
    assert stats.meta["pixel_sizes"] == pytest.approx([0.002 * unit, max(0.008, 0.004 * unit)])
    assert stats.meta["antialiased"] is True
    io.save_stats(tmp_path / "s.npz", stats)
    assert io.load_stats(tmp_path / "s.npz").meta == json.loads(json.dumps(stats.meta))
    merged = merge_statistics([("a", stats_of(first)), ("b", stats_of(second))])
    assert merged.meta == stats.meta


@pytest.mark.parametrize("order", [1, -1])
def test_statistics_of_a_set_of_which_one_does_not_say_have_none(order):
    atlases = [atlas_of(replace(FITTED, antialiased=False)), atlas_of(Origin()), atlas_of(Origin(pixel_sizes=(1, 2)))]
    assert "pixel_sizes" not in stats_of(*atlases[::order]).meta


def test_modes_are_not_mixed():
    with pytest.raises(GatlasError, match=r"1\.npz: mode of the rasterizer 'classic', but 0\.npz has 'antialiased'"):
        stats_of(atlas_of(FITTED), atlas_of(replace(FITTED, antialiased=False)))


def test_broken_statistics_are_not_merged():
    stats = stats_of(atlas_of(FITTED))
    broken = replace(stats, meta={**stats.meta, "pixel_sizes": [1]})
    with pytest.raises(GatlasError, match=r"^b\.npz: damaged: its meta has a broken record of the fits"):
        merge_statistics([("b.npz", broken)])


def test_a_sample_has_what_the_statistics_have():
    pytest.importorskip("torch")
    from gatlas.systems.gaussian_atlas.generated import generated_atlas

    atlas = atlas_of(FITTED)
    for stats, expected in ((stats_of(atlas), FITTED), (stats_of(atlas_of(Origin())), Origin())):
        made = decode(generated_atlas(stack(atlas), stats.meta, "x", {})).origin
        assert made == Origin("x", normalized=True, pixel_sizes=expected.pixel_sizes, antialiased=expected.antialiased)
    np.testing.assert_array_equal(made.center, 0)


def test_a_set_takes_no_atlases_of_the_other_mode(tmp_path):
    pytest.importorskip("torch")
    from gatlas.datasets.atlases import AtlasSet
    from gatlas.io.sets.inputs import Item

    for name, origin in (("thin", FITTED), ("plain", replace(FITTED, antialiased=False, pixel_sizes=(1.0, 2.0)))):
        io.save_atlas(tmp_path / f"{name}.npz", atlas_of(origin))
    items = [Item(name, tmp_path / f"{name}.npz") for name in ("thin", "plain")]
    loaded = AtlasSet(items, stats_of(atlas_of(replace(FITTED, pixel_sizes=None))))
    assert loaded[0].key
    with pytest.raises(GatlasError, match="its mark 'antialiased' is None, not True"):
        loaded[1]
