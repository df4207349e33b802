"""Atlases that are made from another: variations, and completions whose kept cells stay as they are."""

from dataclasses import replace

import numpy as np
import pytest

from gatlas.atlas import decode
from gatlas.atlas.check import check_atlas
from gatlas.atlas.statistics import CHANNELS, stack
from gatlas.errors import GatlasError
from gatlas.systems.contract import Condition, Edit, SampleRequest
from gatlas.systems.gaussian_atlas import PRESETS, create
from tests.helpers.atlas_sets import random_atlas

pytestmark = pytest.mark.usefixtures("one_thread")

# One cell is fainter than what a sample may be, one is padding, one lies beyond what whitening keeps.
SOURCE = random_atlas(
    normalization={"center": [1.0, 2.0, 3.0], "scale": 4.0},
    origin={"name": "chair", "normalized": True},
    transport={"gap": 0.0},
)
SOURCE.opacity[0, 0], SOURCE.opacity[0, 1], SOURCE.color[0, 2] = 0.01, 0.0, 1e-7
LEFT = np.zeros((8, 8), dtype=bool)
LEFT[:, :4] = True


@pytest.fixture(scope="module")
def system(stats):
    return create(replace(PRESETS["small"].config, widths=(32, 64)), stats=stats)


def request(edit, count=1, **options):
    return SampleRequest((Condition(prompt="a red ball"),), edit=edit, count=count, **{"steps": 4, **options})


def edit(**options):
    return Edit("chair.npz", SOURCE, **options)


def equal(one, other, where=...):
    return all(np.array_equal(getattr(one, name)[where], getattr(other, name)[where]) for name in CHANNELS)


def test_no_strength_gives_the_atlas_back_bit_for_bit_with_the_record_in_its_meta(system):
    asked = request(edit(strength=0.0))
    (made,) = system.sample(asked)
    assert equal(made, SOURCE)
    assert made.meta == {**SOURCE.meta, "sample": system.record(asked, asked.samples[0])}


def test_full_strength_has_the_cells_of_a_plain_sample(system):
    (made,), (plain,) = system.sample(request(edit(strength=1.0))), system.sample(request(None))
    assert equal(made, plain)
    assert "atlas" not in plain.meta["sample"]
    assert made.meta["normalization"] == SOURCE.meta["normalization"]


def test_a_variation_is_the_nearer_the_lower_its_strength(system):
    distances = [
        np.abs(stack(next(system.sample(request(edit(strength=strength), steps=10)))) - stack(SOURCE)).mean()
        for strength in (0.1, 0.5, 1.0)
    ]
    assert distances == sorted(distances)
    assert distances[0] < 0.7 * distances[2]


@pytest.mark.parametrize("strength", [1.0, 0.5])
@pytest.mark.parametrize("repeats", [0, 1])
def test_kept_cells_are_equal_bit_for_bit_and_the_others_are_new(system, strength, repeats):
    for made in system.sample(request(edit(strength=strength, anew=LEFT, repeats=repeats), count=2)):
        assert equal(made, SOURCE, ~LEFT)
        for name in CHANNELS:
            assert not np.array_equal(getattr(made, name)[LEFT], getattr(SOURCE, name)[LEFT])


def test_a_completion_stands_where_its_atlas_stands_and_is_sound(system):
    kept = ~LEFT  # so that padding and the faint cell are kept
    (made,) = system.sample(request(edit(anew=kept)))
    assert equal(made, SOURCE, LEFT)
    assert made.meta["count"] == int((made.opacity > 0).sum())
    assert made.meta["count"] + made.meta["padded"] == 64
    assert made.meta["normalization"] == SOURCE.meta["normalization"]
    assert made.meta["origin"] == SOURCE.meta["origin"]
    assert "transport" not in made.meta
    assert check_atlas(made).bijection
    center = decode(made).means.mean(axis=0)
    assert np.linalg.norm(center - [1, 2, 3]) < 2


def test_an_edited_sample_depends_on_its_own_draw_only(system):
    edited = edit(anew=LEFT, repeats=1)
    together = list(system.sample(request(edited, count=3)))
    alone = list(system.sample(request(edited, count=3, batch=1)))
    other_seed = list(system.sample(request(edited, count=3, seed=1)))
    for one, same, other in zip(together, alone, other_seed, strict=True):
        np.testing.assert_allclose(stack(one), stack(same), atol=1e-4)
        assert np.abs(stack(one) - stack(other)).max() > 0.01
    assert np.abs(stack(together[0]) - stack(together[1]))[LEFT].max() > 0.01


def test_a_record_tells_edits_of_other_atlases_masks_and_strengths_apart(system):
    other = replace(SOURCE, color=SOURCE.color * 0.5)
    moved = replace(SOURCE, meta={**SOURCE.meta, "normalization": {"center": [0, 0, 0], "scale": 4.0}})
    edits = [
        edit(anew=LEFT),
        edit(anew=~LEFT),
        edit(anew=LEFT, strength=0.5),
        edit(anew=LEFT, repeats=1),
        Edit("chair.npz", other, anew=LEFT),
        Edit("chair.npz", moved, anew=LEFT),
        edit(),
    ]
    records = [system.record(request(each), request(each).samples[0]) for each in edits]
    assert all(one != two for i, one in enumerate(records) for two in records[:i])
    again = system.record(request(edits[0]._replace(name="copy.npz")), request(edits[0]).samples[0])
    assert again == records[0]


@pytest.mark.parametrize(
    ("atlas", "told"),
    [
        (random_atlas(size=16), "has 16 x 16 cells and the model makes 8 x 8: encode it with .* --size 8"),
        (random_atlas(projection="octahedral"), "its projection is 'octahedral', not 'equirect' .* --projection"),
        (random_atlas(frame="y-down"), "its frame of the axes is 'y-down', not None"),
        (random_atlas(origin={"antialiased": True}), "its antialiased is True, not None"),
        (random_atlas(spaces={"color": "linear"}), "its value spaces are others"),
    ],
)
def test_an_atlas_of_another_layout_is_refused_in_one_line(system, atlas, told):
    for refuse in (system.check, lambda asked: next(system.sample(asked))):
        with pytest.raises(GatlasError, match=rf"^x\.npz: {told}") as error:
            refuse(request(Edit("x.npz", atlas, 0.5)))
        assert "\n" not in str(error.value)


def test_a_mask_of_another_size_and_a_strength_out_of_range_are_refused(system):
    with pytest.raises(GatlasError, match=r"the mask of chair\.npz must have 8 x 8 cells"):
        system.check(request(edit(anew=np.ones((4, 4), dtype=bool))))
    with pytest.raises(GatlasError, match="strength must be at least 0 and at most 1"):
        system.check(request(edit(strength=1.5)))
