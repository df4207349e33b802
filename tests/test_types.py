"""The nouns refuse what does not fit together."""

import numpy as np
import pytest

from gatlas.types import Cameras, Gaussians, MixedCameras, MixedViews, Origin, Views, join_cameras


def gaussians(n=4, k=1, **changes):
    fields = {
        "means": np.arange(n * 3.0).reshape(n, 3),
        "quats": np.tile([1.0, 0, 0, 0], (n, 1)),
        "scales": np.ones((n, 3)),
        "opacities": np.linspace(0, 1, n),
        "sh": np.zeros((n, k, 3)),
    }
    return Gaussians(**{**fields, **changes})


def cameras(c=3):
    return Cameras(np.tile(np.eye(4), (c, 1, 1)), np.tile(np.eye(3), (c, 1, 1)), 8, 6)


@pytest.mark.usefixtures("no_shape_checks")
def test_a_field_of_another_length_is_refused():
    with pytest.raises(ValueError, match=r"Gaussians.quats must have shape \[4 4\], got \[3, 4\]"):
        gaussians(quats=np.zeros((3, 4)))


@pytest.mark.parametrize("k", [0, 2, 25])
def test_a_number_of_coefficients_that_is_no_degree_is_refused(k):
    with pytest.raises(ValueError, match="1, 4, 9 or 16"):
        gaussians(k=k)


def test_indexing_keeps_fields_together_and_the_origin():
    subset = gaussians(origin=Origin(name="bunny", grid=(2, 2)))[np.array([2, 0])]
    assert subset.means.tolist() == [[6, 7, 8], [0, 1, 2]]
    assert len(subset) == 2
    assert subset.origin == Origin(name="bunny")


def test_one_camera_of_a_set_is_a_set_of_one():
    assert cameras()[-1].viewmats.shape == (1, 4, 4)
    assert [len(camera) for camera in cameras()] == [1, 1, 1]
    with pytest.raises(IndexError):
        cameras()[3]


def test_views_need_a_picture_per_camera():
    with pytest.raises(ValueError, match=r"Views\.images"):
        Views(np.zeros((2, 6, 8, 4)), cameras(3))
    with pytest.raises(ValueError, match="3 or 4"):
        Views(np.zeros((3, 6, 8, 2)), cameras(3))


def test_one_picture_of_many_is_not_copied():
    views = Views(np.arange(3 * 6 * 8 * 4, dtype=np.float32).reshape(3, 6, 8, 4), cameras(3))
    for index, row in ((1, 1), (np.int64(2), 2), (-1, 2)):
        assert views[index].images.tolist() == views.images[[row]].tolist()
        assert np.shares_memory(views[index].images, views.images)
    with pytest.raises(IndexError):
        views[3]


def test_nouns_cannot_be_changed():
    with pytest.raises(AttributeError):
        gaussians().means = None


def mixed(sizes=((8, 6), (6, 8), (8, 6))):
    matrices = np.arange(len(sizes) * 16.0).reshape(-1, 4, 4)
    views = [np.full((height, width, 3), i / 10, dtype=np.float32) for i, (width, height) in enumerate(sizes)]
    return MixedViews(tuple(views), MixedCameras(matrices, matrices[:, :3, :3], sizes))


def test_views_of_several_sizes_are_taken_one_by_one_and_in_any_order():
    views = mixed()
    assert [view.images.shape for view in views] == [(1, 6, 8, 3), (1, 8, 6, 3), (1, 6, 8, 3)]
    assert (views[1].cameras.width, views[1].cameras.height) == (6, 8)
    assert views[-1].images[0, 0, 0, 0] == np.float32(0.2)
    for index in (np.array([2, 1]), [2, 1], slice(2, 0, -1)):
        subset = views[index]
        assert subset.cameras.sizes == ((8, 6), (6, 8))
        assert [image[0, 0, 0] for image in subset.images] == [np.float32(0.2), np.float32(0.1)]
        np.testing.assert_array_equal(subset.cameras.viewmats, views.cameras.viewmats[[2, 1]])
    assert views[np.array([True, False, True])].cameras.sizes == ((8, 6), (8, 6))
    with pytest.raises(IndexError, match="view 3 of 3"):
        views[3]


def test_sizes_that_do_not_fit_their_pictures_are_refused():
    views = mixed()
    with pytest.raises(ValueError, match=r"MixedViews\.images must have shapes"):
        MixedViews(views.images[1:] + views.images[:1], views.cameras)
    with pytest.raises(ValueError, match="MixedCameras need 3 sizes"):
        MixedCameras(views.cameras.viewmats, views.cameras.Ks, ((8, 6),))


def test_cameras_of_one_size_are_joined_to_plain_ones():
    each = mixed().cameras
    joined = join_cameras(each.viewmats, each.Ks, [(4, 2)] * 3)
    assert (joined.width, joined.height, joined.sizes) == (4, 2, ((4, 2),) * 3)
    assert join_cameras(each.viewmats, each.Ks, each.sizes).sizes == each.sizes
