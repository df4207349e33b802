"""The published layout: read in the right direction or not at all, and written so that its loaders agree."""

import numpy as np
import pytest

from gatlas.atlas import EncodeOptions, decode, encode
from gatlas.atlas.decoding import half_turned
from gatlas.atlas.gaussianverse import find_reading, from_published, to_published
from gatlas.errors import GatlasError
from gatlas.transport import assign, fibonacci_sphere
from gatlas.types import Gaussians

SIZE = 24


def surface(seed=0, n=SIZE * SIZE):
    rng = np.random.default_rng(seed)
    directions = rng.normal(size=(n, 3))
    means = directions / np.linalg.norm(directions, axis=1, keepdims=True) * [0.4, 0.2, 0.48]
    quats = rng.normal(size=(n, 4)).astype(np.float32)
    quats *= np.sign(quats[:, :1]) / np.linalg.norm(quats, axis=1, keepdims=True)
    return Gaussians(
        means=means.astype(np.float32),
        quats=quats,
        scales=np.exp(rng.uniform(-5, -3, (n, 3))).astype(np.float32),
        opacities=rng.uniform(0.1, 1, n).astype(np.float32),
        sh=np.clip(means[:, None] * 2, -1.7, 1.7).astype(np.float32),
    )


def published_maps(means):
    """The published recipe, written down a second time: both clouds sorted, one exact assignment to the sphere."""
    sphere = fibonacci_sphere(len(means))
    sphere = sphere[np.lexsort((sphere[:, 2], sphere[:, 1], sphere[:, 0]))]
    order = np.lexsort((means[:, 2], means[:, 1], means[:, 0]))
    gs2sphere = np.empty(len(means), dtype=np.int64)
    gs2sphere[assign(means[order], sphere).targets] = order  # sphere point -> Gaussian in the file
    longitude = np.arctan2(sphere[:, 2], sphere[:, 0]) / (2 * np.pi) % 1
    plane = np.stack([longitude, np.arccos(sphere[:, 1].clip(-1, 1)) / np.pi], axis=1)
    side = round(len(means) ** 0.5)
    centers = (np.arange(side) + 0.5) / side
    grid = np.stack([np.tile(centers, side), np.repeat(centers, side)], axis=1)
    sphere2plane = np.empty(len(means), dtype=np.int64)
    sphere2plane[assign(plane, grid).targets] = np.arange(len(means))
    return gs2sphere, sphere2plane


@pytest.mark.parametrize("invert_first", [False, True])
@pytest.mark.parametrize("invert_second", [False, True])
@pytest.mark.parametrize("order", ["stored", "sorted"])
def test_the_direction_and_order_are_found(invert_first, invert_second, order):
    means = surface().means
    gs2sphere, sphere2plane = published_maps(means)
    if order == "sorted":
        rank = np.argsort(np.lexsort((means[:, 2], means[:, 1], means[:, 0])))
        gs2sphere = rank[gs2sphere]
    reading = find_reading(
        means,
        np.argsort(gs2sphere) if invert_first else gs2sphere,
        np.argsort(sphere2plane) if invert_second else sphere2plane,
    )
    assert (reading.gs2sphere == "inverse") == invert_first
    assert (reading.sphere2plane == "inverse") == invert_second
    assert reading.order == order
    assert reading.locality < 0.35


def test_maps_of_another_object_are_refused():
    gs2sphere, sphere2plane = published_maps(surface(0).means)
    other = surface(1).means[np.random.default_rng(3).permutation(SIZE * SIZE)]
    with pytest.raises(GatlasError, match="do not belong to these Gaussians"):
        find_reading(other, gs2sphere, sphere2plane)


@pytest.mark.usefixtures("no_shape_checks")
@pytest.mark.parametrize("fault", ["short", "float", "repeated"])
def test_maps_that_are_no_permutations_are_refused(fault):
    means = surface().means
    gs2sphere, sphere2plane = published_maps(means)
    broken = {
        "short": gs2sphere[:-1],
        "float": gs2sphere.astype(float),
        "repeated": np.where(np.arange(len(means)) == 3, gs2sphere[4], gs2sphere),
    }
    with pytest.raises(GatlasError, match="gs2sphere"):
        find_reading(means, broken[fault], sphere2plane)


def test_an_import_keeps_the_published_assignment():
    gaussians = surface()
    gs2sphere, sphere2plane = published_maps(gaussians.means)
    atlas, _ = from_published(gaussians, gs2sphere, sphere2plane)
    own = encode(gaussians, EncodeOptions(size=SIZE))
    assert atlas.meta["transport"]["cost"] == pytest.approx(own.meta["transport"]["cost"], rel=1e-3)
    back = half_turned(decode(atlas))
    assert np.allclose(np.sort(back.means, axis=0), np.sort(gaussians.means, axis=0), atol=1e-6)
    # Nearly every cell holds the same Gaussian as in an atlas of our own: both assignments are optimal.
    assert (np.abs(atlas.offset - own.offset).max(axis=-1) < 1e-5).mean() > 0.9


@pytest.mark.parametrize("count", [SIZE * SIZE, SIZE * SIZE - 50])
def test_what_is_written_gives_their_loaders_our_atlas(count):
    atlas = encode(surface()[:count], EncodeOptions(size=SIZE))
    published = to_published(atlas)
    laid = published.gaussians[published.gs2sphere][published.sphere2plane]
    from gatlas.atlas.decoding import unit_positions

    scale, center = atlas.meta["normalization"]["scale"], atlas.meta["normalization"]["center"]
    assert np.allclose(laid.means, unit_positions(atlas) * scale + center, atol=1e-6)
    assert np.allclose(np.log(laid.scales / scale), atlas.scale.reshape(-1, 3), atol=1e-5)
    assert laid.sh.shape[1] == 16
    assert (laid.opacities < 1e-5).sum() == SIZE * SIZE - count


def test_what_is_written_is_read_back():
    published = to_published(encode(surface(), EncodeOptions(size=SIZE)))
    reading = find_reading(published.gaussians.means, published.gs2sphere, published.sphere2plane)
    assert (reading.gs2sphere, reading.sphere2plane) == ("map", "map")
    assert reading.locality < 0.35


def test_what_is_imported_and_written_keeps_the_axes_of_the_file():
    gaussians = surface()
    atlas, _ = from_published(gaussians, *published_maps(gaussians.means))
    assert np.allclose(
        np.sort(to_published(atlas).gaussians.means, axis=0), np.sort(gaussians.means, axis=0), atol=1e-6
    )


def test_an_object_that_fills_no_square_is_refused():
    means = surface().means[:-1]
    with pytest.raises(GatlasError, match="no square"):
        find_reading(means, np.arange(len(means)), np.arange(len(means)))
