"""encode and decode are inverses, whatever the count, the units and the projection."""

from dataclasses import replace

import numpy as np
import pytest

from gatlas.atlas import FORMAT, MIN_OPACITY, EncodeOptions, decode, encode, plane_permutation
from gatlas.errors import GatlasError
from gatlas.geometry.cameras import orbit
from gatlas.geometry.sh import dc_to_rgb, rgb_to_dc
from gatlas.metrics import psnr
from gatlas.raster import rasterize
from gatlas.raster.flat_color import with_flat_color
from gatlas.transport import fibonacci_sphere
from gatlas.types import LOG_SCALE_RANGE, Gaussians, Origin


def random_gaussians(count, seed=0, *, normalized=True, radius=1.0):
    rng = np.random.default_rng(seed)
    directions = rng.normal(size=(count, 3))
    means = directions / np.linalg.norm(directions, axis=1, keepdims=True) * rng.uniform(0.4, 1.0, (count, 1))
    quats = rng.normal(size=(count, 4))
    quats *= np.where(quats[:, :1] < 0, -1, 1) / np.linalg.norm(quats, axis=1, keepdims=True)
    return Gaussians(
        means=(means * radius).astype(np.float32),
        quats=quats.astype(np.float32),
        scales=(np.exp(rng.uniform(-6, -2, (count, 3))) * radius).astype(np.float32),
        opacities=rng.uniform(0.01, 1.0, count).astype(np.float32),
        sh=rgb_to_dc(rng.uniform(0, 1, (count, 1, 3))).astype(np.float32),
        origin=Origin(name="object", normalized=normalized),
    )


def sorted_table(gaussians):
    """All fields of all Gaussians [n 14], in an order that does not depend on the order of the set."""
    rgb = dc_to_rgb(gaussians.sh[:, 0])
    columns = [gaussians.opacities[:, None], gaussians.means, gaussians.quats, gaussians.scales, rgb]
    table = np.concatenate(columns, axis=1)
    return table[np.argsort(gaussians.opacities, kind="stable")]


def assert_same_set(actual, expected):
    assert len(actual) == len(expected)
    assert np.allclose(
        sorted_table(actual), sorted_table(expected), rtol=1e-5, atol=2e-7 * np.abs(expected.means).max()
    )


@pytest.mark.parametrize("projection", ["equirect", "octahedral"])
def test_a_full_atlas_gives_every_gaussian_back(projection):
    gaussians = random_gaussians(256)
    atlas = encode(gaussians, EncodeOptions(size=16, projection=projection))
    assert (atlas.meta["padded"], atlas.meta["dropped"], atlas.meta["count"]) == (0, 0, 256)
    assert_same_set(decode(atlas), gaussians)
    assert decode(atlas).origin == gaussians.origin


@pytest.mark.parametrize("count", [1, 2, 100, 255])
def test_padding_is_transparent_and_dropped_again(count):
    gaussians = random_gaussians(count)
    atlas = encode(gaussians, EncodeOptions(size=16))
    assert atlas.meta["padded"] == 256 - count
    assert (atlas.opacity == 0).sum() == 256 - count
    assert_same_set(decode(atlas), gaussians)


def test_padding_copies_different_gaussians_smallest_first():
    gaussians = random_gaussians(200)
    atlas = encode(gaussians, EncodeOptions(size=16))
    copies = np.exp(atlas.scale.reshape(-1, 3)[atlas.opacity.ravel() == 0]).mean(axis=1)
    smallest = np.sort(gaussians.scales.mean(axis=1))[:56]
    assert np.allclose(np.sort(copies), smallest, rtol=1e-5)


def test_too_many_gaussians_lose_the_smallest():
    gaussians = random_gaussians(300)
    kept = np.argsort(-gaussians.scales.mean(axis=1))[:256]
    atlas = encode(gaussians, EncodeOptions(size=16))
    assert atlas.meta["dropped"] == 44
    assert_same_set(decode(atlas), gaussians[kept])


def test_gaussians_in_their_own_units_come_back_in_them():
    gaussians = random_gaussians(256, normalized=False, radius=37.0)
    moved = replace(gaussians, means=gaussians.means + np.float32([100, -5, 3]))
    assert_same_set(decode(encode(moved, EncodeOptions(size=16))), moved)


def test_values_outside_the_spaces_are_clamped_and_counted():
    gaussians = random_gaussians(256)
    gaussians.scales[:3] = 1e-7, 1e-3, 1e-3
    gaussians.scales[3] = 0.9
    gaussians.sh[5] = rgb_to_dc(np.float32(1.4))
    gaussians.opacities[7] = 0.0
    atlas = encode(gaussians, EncodeOptions(size=16))
    assert atlas.meta["clamped"] == {"scales": 4, "colors": 1, "view_dependent": 0}
    assert atlas.scale.min() == pytest.approx(LOG_SCALE_RANGE[0])
    assert atlas.scale.max() == pytest.approx(LOG_SCALE_RANGE[1])
    assert atlas.color.max() <= 1.0
    assert decode(atlas).opacities.min() == pytest.approx(MIN_OPACITY)
    assert len(decode(atlas)) == 256


def test_view_dependent_colour_becomes_one_colour_and_is_counted():
    gaussians = random_gaussians(64)
    sh = np.zeros((64, 16, 3), dtype=np.float32)
    sh[:, 0] = gaussians.sh[:, 0]
    sh[:10, 5] = 0.3
    atlas = encode(replace(gaussians, sh=sh), EncodeOptions(size=8))
    assert atlas.meta["clamped"]["view_dependent"] == 10
    assert_same_set(decode(atlas), with_flat_color(replace(gaussians, sh=sh)))
    plain = encode(gaussians, EncodeOptions(size=8))
    assert (np.abs(atlas.color - plain.color).max(axis=-1) > 1e-6).sum() <= 10  # the others keep theirs
    for plane in ("offset", "opacity", "scale", "rotation"):
        assert np.array_equal(getattr(atlas, plane), getattr(plain, plane))


@pytest.mark.parametrize("count", [256, 200])
def test_renders_before_and_after_are_the_same(count):
    gaussians = random_gaussians(count)
    back = decode(encode(gaussians, EncodeOptions(size=16)))
    cameras = orbit(4, 96, 96)
    white = np.ones(3, dtype=np.float32)
    before, after = (rasterize(each, cameras, background=white).colors for each in (gaussians, back))
    assert psnr(after, before).min() > 60


def test_the_order_in_the_file_does_not_matter():
    gaussians = random_gaussians(256)
    rest = np.random.default_rng(6).normal(size=(256, 8, 3)).astype(np.float32)
    gaussians = replace(gaussians, sh=np.concatenate([gaussians.sh, 0.2 * rest], axis=1))
    shuffled = gaussians[np.random.default_rng(5).permutation(256)]
    first, second = encode(gaussians, EncodeOptions(size=16)), encode(shuffled, EncodeOptions(size=16))
    for plane in ("offset", "color", "opacity", "scale", "rotation"):
        assert np.array_equal(getattr(first, plane), getattr(second, plane))


def test_the_layout_is_local():
    """Neighbours in the grid are neighbours in space: far nearer than random pairs are."""
    gaussians = random_gaussians(1024)
    atlas = encode(gaussians, EncodeOptions(size=32))
    positions = atlas.offset + fibonacci_sphere(1024)[plane_permutation(32, "equirect")].reshape(32, 32, 3)
    neighbours = np.linalg.norm(np.diff(positions, axis=1), axis=-1).mean()
    pairs = np.random.default_rng(0).permutation(1024)
    random_pairs = np.linalg.norm(positions.reshape(-1, 3) - positions.reshape(-1, 3)[pairs], axis=-1).mean()
    assert neighbours < 0.35 * random_pairs


def test_meta_names_what_a_reader_needs():
    meta = encode(random_gaussians(64), EncodeOptions(size=8)).meta
    assert meta["gatlas_atlas"] == FORMAT
    assert meta["transport"]["gap"] == 0
    assert set(meta["spaces"]) == {"offset", "color", "opacity", "scale", "rotation"}
    assert meta["origin"]["name"] == "object"


def test_an_atlas_of_another_sphere_is_refused():
    atlas = encode(random_gaussians(64), EncodeOptions(size=8))
    with pytest.raises(GatlasError, match="sphere layout 'other'"):
        decode(replace(atlas, meta={**atlas.meta, "sphere": "other"}))


def test_no_gaussians_are_refused():
    with pytest.raises(GatlasError, match="no Gaussians"):
        encode(random_gaussians(4)[:0], EncodeOptions(size=8))


def test_a_transparent_atlas_is_refused():
    atlas = encode(random_gaussians(64), EncodeOptions(size=8))
    with pytest.raises(GatlasError, match="transparent"):
        decode(replace(atlas, opacity=np.zeros_like(atlas.opacity)))
