import pytest

from gatlas.errors import GatlasError
from gatlas.score import ConsistencyOptions, score_consistency
from tests.helpers.view_sets import blank_views, textured_views

EPIPOLAR = ConsistencyOptions(measure="epipolar")


def test_a_measure_that_is_not_asked_for_is_none():
    steps = []
    found = score_consistency(textured_views(), EPIPOLAR, on_step=lambda: steps.append(1))
    assert found.field is None
    assert found.epipolar.score > 0.4
    assert len(steps) == 1
    assert found.to_json()["field"] is None


@pytest.mark.parametrize(("count", "named"), [(1, "one view"), (2, "2 views")])
def test_too_few_views_are_refused(count, named):
    with pytest.raises(GatlasError, match=f"^{named}: consistency is between views, at least 3"):
        score_consistency(textured_views()[:count], EPIPOLAR)


def test_tiny_pictures_are_refused():
    with pytest.raises(GatlasError, match="12 x 12 pixels are too small: at least 16"):
        score_consistency(blank_views(4, 12), EPIPOLAR)


def test_blank_views_are_reported():
    told = []
    score_consistency(blank_views(8, 32), EPIPOLAR, report=told.append)
    assert told[0].startswith("8 of 8 views are blank")
