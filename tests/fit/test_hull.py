"""The visual hull of a ball, whose silhouettes are exact circles."""

import numpy as np
import pytest

from gatlas.errors import GatlasError
from gatlas.fit.hull import carve_hull, hull_frame, hull_surface, inside_silhouettes
from gatlas.fit.scene_frame import SceneFrame, frame_of_cameras, frame_of_points, into_frame
from gatlas.geometry.cameras import fibonacci_views
from gatlas.geometry.rays import rays
from gatlas.types import Views

CENTER, RADIUS = np.array([0.2, -0.1, 0.1]), 0.5


@pytest.fixture(scope="module")
def views():
    cameras = fibonacci_views(24, 64, 64)
    eyes, directions = rays(cameras)
    towards = (CENTER - eyes)[:, None, None]
    along = (towards * directions).sum(axis=-1, keepdims=True)
    distance = np.linalg.norm(towards - along * directions, axis=-1)
    images = np.full((24, 64, 64, 4), 0.25, dtype=np.float32)
    images[..., 3] = distance < RADIUS
    return Views(images, cameras)


@pytest.fixture(scope="module")
def hull(views):
    return carve_hull(views, frame_of_cameras(views.cameras))


def test_the_hull_of_a_ball_is_the_ball(hull):
    volume = hull.filled.sum() * hull.cell**3 / (4 / 3 * np.pi * RADIUS**3)
    assert 0.95 < volume < 1.25
    frame = hull_frame(hull)
    np.testing.assert_allclose(frame.center, CENTER, atol=0.04)
    assert frame.radius == pytest.approx(RADIUS, rel=0.2)


def test_the_hull_holds_everything_that_all_pictures_show(hull):
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(500, 3))
    points = CENTER + 0.9 * RADIUS * directions / np.linalg.norm(directions, axis=1, keepdims=True)
    cells = np.floor((points - hull.corner) / hull.cell).astype(int)
    assert hull.filled[tuple(cells.T)].all()


def test_points_of_the_surface_lie_on_it_and_face_outward(hull):
    surface = hull_surface(hull, 2000, np.random.default_rng(0))
    offset = surface.points - CENTER
    distance = np.linalg.norm(offset, axis=1)
    assert np.median(np.abs(distance - RADIUS)) < hull.cell * 1.5
    assert np.median((surface.normals * offset).sum(axis=1) / distance) > 0.97
    assert surface.area == pytest.approx(4 * np.pi * RADIUS**2, rel=0.2)
    octants = np.bincount(((offset > 0) @ [1, 2, 4]), minlength=8)
    assert octants.min() > 0.7 * 2000 / 8


def test_silhouettes_tell_points_inside_from_stray_ones(views):
    inside = inside_silhouettes(np.array([CENTER, CENTER + np.array([0.9, 0, 0])]), views, 0.1)
    assert inside.tolist() == [True, False]


def test_silhouettes_that_contradict_each_other_are_an_error(views):
    images = views.images.copy()
    images[::2, ..., 3] = 0
    with pytest.raises(GatlasError, match=r"the visual hull is empty: .* check the masks"):
        carve_hull(Views(images, views.cameras), frame_of_cameras(views.cameras))


def test_a_hull_needs_transparency(views):
    with pytest.raises(ValueError, match="RGBA"):
        carve_hull(Views(views.images[..., :3], views.cameras), frame_of_cameras(views.cameras))


def test_cameras_around_the_unit_ball_are_about_the_unit_ball(views):
    frame = frame_of_cameras(views.cameras)
    np.testing.assert_allclose(frame.center, 0, atol=1e-5)
    assert frame.radius == pytest.approx(2.6 * np.sin(np.radians(47 / 2)), rel=1e-5)


def test_cameras_moved_into_a_frame_see_the_same_pictures(views):
    frame = SceneFrame(np.array([3.0, -2.0, 1.0]), 4.0)
    points = np.random.default_rng(0).normal(size=(20, 3)) * 0.3
    moved = into_frame(views.cameras, frame)
    own = points * frame.radius + frame.center
    for camera in (0, 7):
        before = own @ views.cameras.viewmats[camera, :3, :3].T + views.cameras.viewmats[camera, :3, 3]
        after = points @ moved.viewmats[camera, :3, :3].T + moved.viewmats[camera, :3, 3]
        np.testing.assert_allclose(before, after * frame.radius, atol=1e-4)


def test_cameras_that_look_away_from_each_other_are_the_scene():
    outward = fibonacci_views(12, 32, 32).viewmats.copy()
    outward[:, :3] *= np.array([1, -1, -1])[:, None]  # a half turn about each camera's x: it looks outward
    from gatlas.types import Cameras

    frame = frame_of_cameras(Cameras(outward, fibonacci_views(12, 32, 32).Ks, 32, 32))
    np.testing.assert_allclose(frame.center, 0, atol=0.1)
    assert frame.radius == pytest.approx(2.6, rel=0.05)


def test_far_points_do_not_make_the_subject_small(views):
    rng = np.random.default_rng(0)
    subject = rng.uniform(-0.5, 0.5, size=(1000, 3))
    frame = frame_of_points(views.cameras, np.concatenate([subject, 50 * rng.normal(size=(3000, 3))]))
    np.testing.assert_allclose(frame.center, 0, atol=0.05)
    assert 0.7 < frame.radius < 0.95  # the cube's half diagonal is 0.87
