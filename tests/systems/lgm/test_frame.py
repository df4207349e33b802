"""The network's frame: the published orbit and normalization by hand, and the way back to the world."""

import numpy as np
import pytest

from gatlas.errors import GatlasError
from gatlas.geometry.cameras import camera_centers, look_at, opengl_poses, orbit
from gatlas.geometry.rotations import quats_to_matrices
from gatlas.systems.lgm.frame import look_at_point, object_frame, uncertain
from gatlas.types import Gaussians

DISTANCE = 1.5


def ring(azimuths=(0, 90, 180, 270), elevation=0.0, distance=DISTANCE):
    return np.concatenate(
        [orbit(1, 8, 8, elevation=elevation, azimuth=each, distance=distance).viewmats for each in azimuths]
    ).astype(np.float64)


def moved(viewmats, rotation, shift, scale):
    """The same cameras in a world that is turned, scaled and then shifted."""
    turned = viewmats.copy()
    turned[:, :3, :3] = viewmats[:, :3, :3] @ rotation.T
    turned[:, :3, 3] = scale * viewmats[:, :3, 3] - turned[:, :3, :3] @ shift
    return turned


def rotation_of(seed):
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return q * np.sign(np.linalg.det(q))


def test_the_orbit_has_the_published_poses():
    poses = opengl_poses(ring())
    np.testing.assert_allclose(poses[:, :3, 3], [[0, 0, 1.5], [1.5, 0, 0], [0, 0, -1.5], [-1.5, 0, 0]], atol=1e-6)
    np.testing.assert_allclose(poses[0, :3, :3], np.eye(3), atol=1e-6)
    np.testing.assert_allclose(poses[1, :3, :3], [[0, 0, 1], [0, 1, 0], [-1, 0, 0]], atol=1e-6)  # right is -z


def test_a_positive_elevation_is_above():
    (pose,) = opengl_poses(ring([0], elevation=30))
    np.testing.assert_allclose(pose[:3, 3], [0, 0.75, 1.5 * np.cos(np.pi / 6)], atol=1e-6)


def test_the_published_orbit_is_its_own_frame():
    frame = object_frame(ring(), DISTANCE)
    np.testing.assert_allclose(frame.rotation, np.eye(3), atol=1e-6)
    np.testing.assert_allclose(frame.center, 0, atol=1e-6)
    assert frame.scale == pytest.approx(1)


@pytest.mark.parametrize("elevation", [0, 20, -35])
def test_poses_are_multiplied_by_the_inverse_of_the_first_and_a_move_as_published(elevation):
    viewmats = ring((40, 100, 250), elevation)
    poses = opengl_poses(viewmats)
    back = np.eye(4)
    back[2, 3] = DISTANCE
    expected = back @ np.linalg.inv(poses[0]) @ poses
    found = opengl_poses(object_frame(viewmats, DISTANCE).viewmats(viewmats))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(found[0, :3, 3], [0, 0, DISTANCE], atol=1e-6)


def test_any_world_gives_the_same_cameras():
    viewmats = ring((0, 70, 150, 300), 15)
    before = object_frame(viewmats, DISTANCE).viewmats(viewmats)
    other = moved(viewmats, rotation_of(1), np.array([3.0, -2, 5]), 7.0)
    after = object_frame(other, DISTANCE).viewmats(other)
    np.testing.assert_allclose(after, before, atol=1e-6)


def test_gaussians_return_to_the_world_of_the_cameras():
    rotation, shift, scale = rotation_of(2), np.array([1.0, 2, -3]), 4.0
    other = moved(ring((0, 90, 200), 10), rotation, shift, scale)
    frame = object_frame(other, DISTANCE)
    rng = np.random.default_rng(0)
    world, quats = rng.normal(size=(5, 3)), rng.normal(size=(5, 4))
    quats /= np.linalg.norm(quats, axis=1, keepdims=True)
    local = (world - frame.center) @ frame.rotation.T * frame.scale
    sizes = rng.random((5, 3)) + 0.1
    inside = Gaussians(*(each.astype(np.float32) for each in (local, quats, sizes, np.ones(5), np.zeros((5, 1, 3)))))
    found = frame.to_world(inside)
    np.testing.assert_allclose(found.means, world, atol=1e-4)
    np.testing.assert_allclose(found.scales, sizes / frame.scale, rtol=1e-5)
    expected = frame.rotation.T @ quats_to_matrices(quats)
    np.testing.assert_allclose(quats_to_matrices(found.quats.astype(np.float64)), expected, atol=1e-5)


def test_a_point_of_the_world_is_seen_at_one_pixel_in_both_frames():
    viewmats = moved(ring((0, 90, 200), 10), rotation_of(3), np.array([1.0, 2, -3]), 4.0)
    frame = object_frame(viewmats, DISTANCE)
    point = np.array([1.3, 1.8, -2.9])
    local = frame.rotation @ (point - frame.center) * frame.scale
    for outer, inner in zip(viewmats, frame.viewmats(viewmats), strict=True):
        x, y, z = outer[:3, :3] @ point + outer[:3, 3]
        u, v, w = inner[:3, :3] @ local + inner[:3, 3]
        np.testing.assert_allclose([u / w, v / w, w], [x / z, y / z, z * frame.scale], atol=1e-9)


def test_the_center_is_where_the_axes_meet():
    eyes = np.array([[3.0, 1, 0], [0, 2, 4], [-3, 0, 1]])
    np.testing.assert_allclose(look_at_point(look_at(eyes, (0.5, 0.25, -0.5))), [0.5, 0.25, -0.5], atol=1e-9)


def test_one_camera_looks_at_the_point_of_its_axis_nearest_to_the_origin():
    viewmats = look_at(np.array([[0.0, 0.3, 4]]), (0, 0.3, 0))
    np.testing.assert_allclose(look_at_point(viewmats), [0, 0.3, 0], atol=1e-9)
    assert object_frame(viewmats, DISTANCE).scale == pytest.approx(1.5 / 4)


def test_cameras_far_from_the_center_are_farther_in_the_frame():
    viewmats = look_at(np.array([[0.0, 0, 2], [5, 0, 0], [0, 0, -3]]))
    found = camera_centers(object_frame(viewmats, DISTANCE).viewmats(viewmats))
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), [1.5, 3.75, 2.25], atol=1e-6)


def test_cameras_that_look_away_are_refused():
    with pytest.raises(GatlasError, match="away from the origin"):
        object_frame(look_at(np.array([[0.0, 0, 2]]), (0, 0, 5)), DISTANCE)
    eyes = np.array([[0.0, 0, 2], [2, 0, 0], [0, 0, -2]])
    with pytest.raises(GatlasError, match="not in front of camera 1"):
        object_frame(look_at(eyes, np.array([[0.0, 0, 0], [4, 0, 0], [0, 0, 0]])), DISTANCE)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_cameras_in_one_place_are_refused_wherever_it_is(kind):
    targets = np.random.default_rng(0).normal(size=(6, 3))
    for place in ([0, 0, 0], [0.1, 0.2, 0.3], [1234.5, 0.27, -3.3]):
        viewmats = look_at(np.tile(np.array(place, np.float64), (6, 1)), targets + place).astype(kind)
        with pytest.raises(GatlasError, match=r"^a: the cameras all stand in one place"):
            object_frame(viewmats, DISTANCE, "abcdef")


def test_an_error_calls_a_camera_by_its_name():
    viewmats = ring()
    viewmats[2] = np.diag([-1.0, 1, -1, 1]) @ viewmats[2]
    with pytest.raises(GatlasError, match=r"it is not in front of that of c$"):
        object_frame(viewmats, DISTANCE, "abcd")
    with pytest.raises(GatlasError, match=r"^a: the views do not show where the object is"):
        object_frame(look_at(np.array([[0.0, 0, 2]]), (0, 0, 5)), DISTANCE, "a")


def test_cameras_that_show_their_object_leave_nothing_uncertain():
    for viewmats in (ring(), ring(elevation=70), ring(azimuths=[0]), moved(ring(), rotation_of(1), [5, 6, 7], 30.0)):
        assert uncertain(viewmats, 49.1, "abcd") == []


def test_what_cameras_leave_uncertain_is_said():
    beside = look_at(np.array([[2.0, 0, 3], [2.01, 0, 3]]), np.array([[2.0, 0, 0], [2.01, 0, 0]]))
    (told,) = uncertain(beside, 49.1, "ab")
    assert told.startswith("a: cameras that look in one direction do not show how far the object is")
    (told,) = uncertain(ring([0, 90, 0, 0]), 49.1, "abcd")
    assert told == "a: 2 of the 4 views have the camera of another one"
    past = ring()
    angle = np.radians(30)
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    past[:, :3] = turn @ past[:, :3]  # all cameras to one side, about themselves
    (told,) = uncertain(past, 49.1, "abcd")
    assert "its camera looks past the point where the axes of all cameras come nearest" in told
    assert uncertain(past, 70.0, "abcd") == []
