"""Cameras: conventions checked by hand."""

import numpy as np
import pytest

from gatlas.geometry import cameras
from gatlas.types import Gaussians, Origin


def centers(placed):
    return cameras.camera_centers(placed.viewmats)


def project(camera, point):
    local = camera.viewmats[0] @ np.array([*point, 1.0])
    pixel = camera.Ks[0] @ local[:3]
    return pixel[:2] / pixel[2], local[2]


def test_the_front_camera_sees_x_to_the_right_and_y_up():
    camera = cameras.orbit(1, 64, 64, elevation=0.0)
    assert np.allclose(centers(camera), [[0, 0, cameras.DEFAULT_DISTANCE]], atol=1e-6)
    center, depth = project(camera, (0, 0, 0))
    assert np.allclose(center, [32, 32], atol=1e-4)
    assert depth == pytest.approx(cameras.DEFAULT_DISTANCE)
    assert project(camera, (0.5, 0, 0))[0][0] > 32  # +x to the right
    assert project(camera, (0, 0.5, 0))[0][1] < 32  # +y up, rows run down


def test_an_orbit_grows_towards_plus_x():
    eyes = centers(cameras.orbit(4, 64, 64, elevation=0.0, distance=2.0))
    assert np.allclose(eyes, [[0, 0, 2], [2, 0, 0], [0, 0, -2], [-2, 0, 0]], atol=1e-6)


@pytest.mark.parametrize("eye", [(0, 3, 0), (0, -3, 0), (1, 2, 3)])
def test_viewmats_are_proper_rotations_even_along_the_up_axis(eye):
    rotation = cameras.look_at(np.array([eye], dtype=float))[0, :3, :3]
    assert np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1.0)


def test_the_centers_are_where_the_cameras_were_placed_also_for_tensors_and_for_one_camera():
    eyes = np.array([[1.0, 2, 3], [0, -3, 0]])
    viewmats = cameras.look_at(eyes)
    assert np.allclose(cameras.camera_centers(viewmats), eyes, atol=1e-12)
    assert np.allclose(cameras.camera_centers(viewmats[0]), eyes[0], atol=1e-12)
    torch = pytest.importorskip("torch")
    assert np.allclose(cameras.camera_centers(torch.from_numpy(viewmats)[None])[0].numpy(), eyes, atol=1e-12)


def test_points_in_the_axes_of_a_camera_are_worked_out_by_hand():
    viewmat = cameras.look_at(np.array([[0.0, 0, 5]]))[0]  # x right, y down, z away from the eye
    assert np.allclose(cameras.to_camera(np.array([[1.0, 2, 3]]), viewmat), [[1, -2, 2]], atol=1e-12)


def test_opengls_camera_looks_along_minus_z_and_leads_back():
    viewmats = cameras.look_at(np.array([[0.0, 0, 5], [1, 2, 3]]))
    poses = cameras.opengl_poses(viewmats)
    assert np.allclose(poses[0], [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 5], [0, 0, 0, 1]], atol=1e-12)
    assert np.allclose(cameras.viewmats_of_opengl(poses), viewmats, atol=1e-12)


def test_moved_cameras_keep_their_axes():
    viewmats = cameras.look_at(np.array([[1.0, 2, 3]]))
    moved = cameras.moved_to(viewmats, np.array([[4.0, 5, 6]]))
    assert np.array_equal(moved[:, :3, :3], viewmats[:, :3, :3])
    assert np.allclose(cameras.camera_centers(moved), [[4, 5, 6]], atol=1e-12)


def test_a_camera_on_its_target_is_refused():
    with pytest.raises(ValueError, match="target"):
        cameras.look_at(np.zeros((1, 3)))


def test_the_unit_ball_fills_the_default_picture_but_does_not_leave_it():
    camera = cameras.orbit(1, 100, 100)
    tangent = np.degrees(np.arcsin(1 / cameras.DEFAULT_DISTANCE))  # half-angle of the ball's outline
    assert 0.93 < tangent / (cameras.DEFAULT_FOV / 2) < 1.0
    assert camera.width == 100


def test_fibonacci_views_are_spread_over_the_whole_sphere():
    eyes = centers(cameras.fibonacci_views(64, 32, 32, distance=1.0)).astype(float)
    distance = np.linalg.norm(eyes[:, None] - eyes[None], axis=-1) + 9 * np.eye(64)
    even = np.sqrt(4 * np.pi / 64)  # side of each camera's share of the sphere
    assert distance.min() > 0.6 * even
    assert np.abs(eyes.mean(axis=0)).max() < 0.03


def test_held_out_views_are_not_training_views():
    train = centers(cameras.fibonacci_views(64, 32, 32, distance=1.0))
    held_out = centers(cameras.fibonacci_views(20, 32, 32, distance=1.0, phase=0.5))
    nearest = np.linalg.norm(train[None] - held_out[:, None], axis=-1).min(axis=1)
    assert nearest.min() > 0.02


def test_resized_cameras_see_the_same_picture():
    camera = cameras.orbit(1, 40, 20)
    point = (0.3, -0.2, 0.1)
    assert np.allclose(
        project(cameras.resized(camera, 80, 60), point)[0], project(camera, point)[0] * [2, 3], atol=1e-4
    )


def test_around_frames_an_object_wherever_it_is():
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(2000, 3))
    means = 5 + 10 * directions / np.linalg.norm(directions, axis=1, keepdims=True)
    stray = Gaussians(
        means=np.vstack([means, [[1e4, 0, 0]]]),
        quats=np.tile([1.0, 0, 0, 0], (2001, 1)),
        scales=np.ones((2001, 3)),
        opacities=np.ones(2001),
        sh=np.zeros((2001, 1, 3)),
    )
    eye = centers(cameras.around(stray, cameras.orbit(1, 8, 8, elevation=0.0)))[0]
    assert np.allclose(eye, [5, 5, 5 + 10 * cameras.DEFAULT_DISTANCE], atol=1.0)


def test_around_leaves_the_frame_of_a_normalized_object_alone():
    one = Gaussians(
        np.full((1, 3), 9.0), np.array([[1.0, 0, 0, 0]]), np.ones((1, 3)), np.ones(1), np.zeros((1, 1, 3)),
        Origin(normalized=True),
    )  # fmt: skip
    orbit = cameras.orbit(2, 8, 8)
    assert cameras.around(one, orbit) is orbit


def test_the_angles_of_an_orbit_are_those_that_it_was_made_of():
    azimuth, elevation = cameras.orbit_angles(cameras.orbit(6, 8, 8, elevation=-25.0, azimuth=70.0).viewmats)
    np.testing.assert_allclose(azimuth % 360, [0, 60, 120, 180, 240, 300], atol=1e-3)
    np.testing.assert_allclose(elevation, -25.0, atol=1e-3)


def test_angles_are_measured_from_the_cameras_own_vertical():
    eyes = np.array([[0, 0, 2], [2, 1, 0], [-1, -1, -1], [0, 3, 0.5]], dtype=float)
    world = np.eye(4)
    world[:3, :3] = [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]  # x is up
    azimuth, elevation = cameras.orbit_angles(cameras.look_at(eyes) @ world)
    np.testing.assert_allclose(azimuth, [0, 90, -135, 0], atol=1e-3)
    expected = [0, np.arctan(0.5), -np.arctan(0.5**0.5), np.arctan(6)]
    np.testing.assert_allclose(elevation, np.degrees(expected), atol=1e-3)


def test_two_opposite_cameras_stand_half_a_turn_apart():
    azimuth, elevation = cameras.orbit_angles(cameras.look_at(np.array([[0, 0, 2.0], [0, 0, -2.0]])))
    np.testing.assert_allclose(np.abs(azimuth), [0, 180], atol=1e-6)
    np.testing.assert_allclose(elevation, 0, atol=1e-6)
