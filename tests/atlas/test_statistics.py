"""Statistics of atlases: against numpy over the whole set, merged, mixed, whitened; and what a survey finds odd."""

import tracemalloc
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from gatlas.atlas.spaces import SPACES
from gatlas.atlas.statistics import (
    CHANNELS,
    ENOUGH,
    FLOORS,
    Accumulator,
    channel_rows,
    merge_statistics,
    shared_meta,
    stack,
    unstack,
    whitening,
)
from gatlas.atlas.survey import LISTED, Survey, summarize_atlas
from gatlas.errors import GatlasError
from gatlas.transport import fibonacci_sphere
from gatlas.types import AtlasStats
from tests.helpers.atlas_sets import random_atlas


def accumulate(atlases):
    total = Accumulator()
    for i, atlas in enumerate(atlases):
        total.add(atlas, f"{i}.npz")
    return total.stats()


def stats_of(values, count=None):
    """Statistics of given planes [n h h 14]."""
    values = np.asarray(values, dtype=np.float64)
    m2 = ((values - values.mean(axis=0)) ** 2).sum(axis=0)
    return AtlasStats(values.mean(axis=0), m2, count or len(values), {"size": values.shape[1]})


def survey(atlases, keys=None):
    total, seen = Accumulator(), Survey()
    for i, atlas in enumerate(atlases):
        total.add(atlas, f"{i}.npz")
        seen.add(summarize_atlas(atlas, f"{i}.npz"), f"{i}.npz", keys[i] if keys else f"{i}")
    return total.stats(), seen


# Planes


def test_the_channels_are_in_the_order_of_the_planes():
    atlas = random_atlas()
    planes = stack(atlas)
    assert planes.shape == (8, 8, 14)
    for name, part in CHANNELS.items():
        assert (planes[..., part] == getattr(atlas, name)).all()
    assert (channel_rows(atlas) == planes.reshape(64, 14).T).all()


def test_unstack_is_the_inverse_of_stack():
    atlas = random_atlas()
    back = unstack(stack(atlas), atlas.meta)
    assert all((getattr(back, name) == getattr(atlas, name)).all() for name in CHANNELS)
    assert back.meta == atlas.meta
    with pytest.raises(ValueError, match="14 channels"):
        unstack(np.zeros((2, 2, 16)), {})


# Moments


def test_mean_and_variance_are_those_of_numpy_over_the_whole_set():
    atlases = [random_atlas(seed) for seed in range(30)]
    union = np.stack([stack(atlas) for atlas in atlases]).astype(np.float64)
    stats = accumulate(atlases)
    assert stats.count == 30
    np.testing.assert_allclose(stats.mean, union.mean(axis=0), rtol=0, atol=1e-14)
    np.testing.assert_allclose(stats.m2 / 30, union.var(axis=0), rtol=1e-12, atol=1e-15)


def test_a_large_mean_does_not_swallow_a_small_variance():
    shifted = [replace(atlas, offset=atlas.offset + 1000) for atlas in map(random_atlas, range(20))]
    union = np.stack([stack(atlas) for atlas in shifted]).astype(np.float64)
    np.testing.assert_allclose(accumulate(shifted).m2 / 20, union.var(axis=0), rtol=1e-9)


def test_the_order_changes_nothing_but_rounding_and_the_same_order_changes_nothing():
    atlases = [random_atlas(seed) for seed in range(20)]
    one, same, other = accumulate(atlases), accumulate(atlases), accumulate(atlases[::-1])
    assert (one.mean == same.mean).all()
    assert (one.m2 == same.m2).all()
    np.testing.assert_allclose(other.mean, one.mean, rtol=0, atol=1e-12)
    np.testing.assert_allclose(other.m2, one.m2, rtol=0, atol=1e-12)


@pytest.mark.parametrize("cuts", [[10], [1], [3, 3, 17]])
def test_merged_parts_equal_one_pass(cuts):
    atlases = [random_atlas(seed) for seed in range(20)]
    bounds = [0, *cuts, 20]
    parts = [accumulate(atlases[a:b]) for a, b in pairwise(bounds) if b > a]
    whole, merged = accumulate(atlases), merge_statistics(enumerate(parts))
    assert merged.count == whole.count
    assert merged.meta == whole.meta
    np.testing.assert_allclose(merged.mean, whole.mean, rtol=0, atol=1e-12)
    np.testing.assert_allclose(merged.m2, whole.m2, rtol=0, atol=1e-12)


def test_atlases_and_statistics_mix():
    atlases = [random_atlas(seed) for seed in range(6)]
    total = Accumulator()
    total.add(atlases[0], "0.npz")
    total.add_stats(accumulate(atlases[1:]), "rest.npz")
    np.testing.assert_allclose(total.stats().m2, accumulate(atlases).m2, rtol=1e-12)


def test_padding_cells_count_like_the_others():
    opaque, padded = random_atlas(0), random_atlas(1)
    padded = replace(padded, opacity=np.zeros_like(padded.opacity))
    np.testing.assert_allclose(accumulate([opaque, padded]).mean[..., 6:7], opaque.opacity / 2, atol=1e-15)


def test_statistics_of_nothing_are_refused():
    for nothing in (Accumulator().stats, lambda: merge_statistics([])):
        with pytest.raises(GatlasError, match="there are no"):
            nothing()


def test_memory_does_not_grow_with_the_set():
    def peak(count):
        tracemalloc.start()
        survey(random_atlas(seed, size=16) for seed in range(count))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    peak(2)
    assert peak(200) - peak(20) < 100_000  # an atlas of 16 x 16 has 14 kB


# Mixtures


@pytest.mark.parametrize(
    ("odd", "message"),
    [
        (random_atlas(size=16), r"^odd\.npz: size 16, but 0\.npz and 12 others have 8: measure each kind on its own$"),
        (
            random_atlas(projection="octahedral"),
            r"^odd\.npz: projection 'octahedral', but 0\.npz and 12 others have 'equirect'",
        ),
        (random_atlas(sphere="icosphere"), r"^odd\.npz: sphere layout 'icosphere', but .* have 'fibonacci"),
        (random_atlas(frame="y-down"), r"^odd\.npz: frame of the axes 'y-down', but .* have none"),
        (
            random_atlas(spaces={**SPACES, "opacity": "logit"}),
            r"^odd\.npz: value space of 'opacity' 'logit', but .* have 'alpha",
        ),
        (random_atlas(spaces=None), r"^odd\.npz: value space of .* none, but .* have"),
    ],
)
def test_a_mixture_is_refused_by_name(odd, message):
    total = Accumulator()
    for i in range(13):
        total.add(random_atlas(i), f"{i}.npz")
    before = total.stats()
    with pytest.raises(GatlasError, match=message):
        total.add(odd, "odd.npz")
    assert (total.stats().m2 == before.m2).all()
    with pytest.raises(GatlasError, match=r"^b: .* but a has"):
        merge_statistics([("a", accumulate([random_atlas()])), ("b", accumulate([odd]))])


def test_a_meta_that_contradicts_the_planes_is_damage():
    with pytest.raises(GatlasError, match=r"x\.npz: damaged: its meta says size 9, its planes have 8"):
        shared_meta(replace(random_atlas(), meta={"size": 9}), "x.npz")


# Whitening


def test_a_large_set_is_whitened_by_its_pixels():
    rng = np.random.default_rng(0)
    values = rng.normal(3.0, rng.uniform(0.5, 2.0, (4, 4, 14)), (ENOUGH, 4, 4, 14))
    white = whitening(stats_of(values))
    whitened = white.whiten(values.astype(np.float32))
    np.testing.assert_allclose(whitened.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(whitened.std(axis=0), 1, atol=1e-4)


def test_a_small_set_is_shrunk_towards_its_channels():
    pixel = np.zeros((2, 2, 14))
    pixel[0, 0] = 4.0
    for count, weight in ((1, 0.0), (34, 1 / 3), (100, 1.0), (1000, 1.0)):
        white = whitening(AtlasStats(np.zeros((2, 2, 14)), pixel * count, count, {"size": 2}))
        variance = weight * pixel + (1 - weight) * 1.0
        wanted = np.maximum(
            np.sqrt(variance), [FLOORS[name] for name, part in CHANNELS.items() for _ in range(14)[part]]
        )
        np.testing.assert_allclose(white.std, wanted, rtol=1e-6)


def test_channel_deviation_keeps_the_pixels_mean():
    values = np.random.default_rng(0).normal(size=(200, 4, 4, 14)) + np.arange(16).reshape(4, 4, 1)
    white = whitening(stats_of(values), deviation="channel")
    np.testing.assert_allclose(white.mean, values.mean(axis=0), rtol=1e-5)
    assert (white.std == white.std[:1, :1]).all()
    np.testing.assert_allclose(white.std[0, 0] ** 2, values.var(axis=0).mean(axis=(0, 1)), rtol=1e-5)
    with pytest.raises(ValueError, match="'pixel' or 'channel'"):
        whitening(stats_of(values), deviation="group")


def test_a_constant_channel_does_not_become_noise():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(ENOUGH, 4, 4, 14))
    values[..., 6] = 1.0 + 1e-7 * rng.normal(size=(ENOUGH, 4, 4))
    whitened = whitening(stats_of(values)).whiten(values)
    assert np.abs(whitened[..., 6]).max() < 1e-4


def test_unwhiten_is_the_inverse_but_for_what_is_clipped():
    values = np.random.default_rng(0).normal(size=(50, 4, 4, 14)).astype(np.float32)
    white = whitening(stats_of(values))
    np.testing.assert_allclose(white.unwhiten(white.whiten(values)), values, atol=1e-5)
    assert white.whiten(values + 100).max() == 5.0
    assert white.whiten(values - 100).min() == -5.0


def test_torch_and_numpy_whiten_alike():
    torch = pytest.importorskip("torch")
    values = np.random.default_rng(0).normal(size=(3, 4, 4, 14)).astype(np.float32) * 4
    white = whitening(stats_of(values))
    tensors = white.to_torch()
    np.testing.assert_allclose(tensors.whiten(torch.from_numpy(values)).numpy(), white.whiten(values), atol=1e-6)
    np.testing.assert_allclose(tensors.unwhiten(torch.from_numpy(values)).numpy(), white.unwhiten(values), atol=1e-5)


# What is odd


def test_a_sound_set_has_no_problems_and_no_outliers():
    stats, seen = survey(random_atlas(seed) for seed in range(60))
    assert seen.problems(stats) == []
    assert seen.outliers() == []
    assert seen.repeated() == ([], [])


def test_an_object_unlike_the_others_is_named_with_its_reason():
    atlases = [random_atlas(seed) for seed in range(60)]
    atlases[33] = replace(atlases[33], scale=atlases[33].scale * 0 - 8.5)
    _, seen = survey(atlases)
    assert seen.outliers()[0]["name"] == "33.npz"
    assert "scale" in seen.outliers()[0]["reason"]
    assert {outlier["name"] for outlier in seen.outliers()} == {"33.npz"}


def test_the_list_of_outliers_is_bounded():
    atlases = [random_atlas(seed) for seed in range(90)]
    atlases[::3] = [replace(atlas, color=atlas.color * 0 + i / 60) for i, atlas in enumerate(atlases[::3])]
    assert len(survey(atlases)[1].outliers()) <= LISTED


@pytest.mark.parametrize(
    ("plane", "change", "words"),
    [
        ("color", lambda x: x * 255, "colors outside 0..1"),
        ("opacity", lambda x: x * 20 - 10, "opacities outside 0..1"),
        ("opacity", np.zeros_like, "no opaque cell at all: 640 cells in 10 of 10 atlases (0.npz, 1.npz, 2.npz …)"),
        ("opacity", np.ones_like, "opacity[0] is 1 in every cell of every atlas"),
        ("scale", np.exp, "log-scales outside -9..-1.5: 640 cells in 10 of 10 atlases"),
        (
            "scale",
            lambda x: np.full_like(x, -9) + np.float32(2e-5) * x,
            "100% of the log-scales are stuck at the bound -9",
        ),
        ("offset", lambda x: x * 100, "offsets longer than the unit ball allows"),
        ("rotation", lambda x: x * 3, "quaternions that are not of unit length"),
        ("rotation", lambda x: -x, "quaternions with w < 0"),
        ("color", lambda x: np.full_like(x, 0.5), "color[1] is 0.5 in every cell of every atlas"),
        ("color", lambda x: random_atlas(7).color, "color[1] is the same in all atlases"),
    ],
)
def test_a_channel_that_looks_wrong_is_said(plane, change, words):
    atlases = [random_atlas(seed) for seed in range(10)]
    stats, seen = survey([replace(atlas, **{plane: change(getattr(atlas, plane))}) for atlas in atlases])
    assert any(words in problem for problem in seen.problems(stats)), seen.problems(stats)


def test_value_spaces_that_the_atlas_does_not_name_are_not_judged():
    other = random_atlas(spaces={**SPACES, "color": "linear RGB"})
    assert summarize_atlas(replace(other, color=other.color * 9), "x").faults == {}


def test_scrambled_cells_are_told_from_a_local_layout():
    from gatlas.atlas.plane import plane_permutation

    size = 64
    sphere = fibonacci_sphere(size * size)[plane_permutation(size)]
    local = replace(random_atlas(size=size), offset=(-0.3 * sphere).astype(np.float32).reshape(size, size, 3))
    order = np.random.default_rng(0).permutation(size * size)
    moved = (0.7 * sphere)[order] - sphere
    scrambled = replace(local, offset=moved.astype(np.float32).reshape(size, size, 3))
    stats, seen = survey([local] * 3)
    assert not any("scrambled" in problem for problem in seen.problems(stats))
    assert seen.locality() < 0.05
    stats, seen = survey([scrambled] * 3)
    assert any("scrambled" in problem for problem in seen.problems(stats))
    assert seen.locality() == pytest.approx(1, abs=0.05)


def test_the_same_atlas_and_the_same_name_are_found():
    atlases = [random_atlas(0), random_atlas(1), random_atlas(0), random_atlas(2)]
    _, seen = survey(atlases, keys=["a", "b", "c", "b"])
    assert seen.repeated() == ([(0, 2)], [(1, 3)])
