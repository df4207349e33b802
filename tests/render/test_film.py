import numpy as np
import pytest

from gatlas.errors import GatlasError
from gatlas.geometry.cameras import camera_centers, orbit
from gatlas.geometry.sh import rgb_to_dc
from gatlas.images.srgb import to_bytes
from gatlas.render import RenderOptions, render, render_film
from gatlas.render.film import film_cameras
from gatlas.render.flight import flight, joined_at_size
from gatlas.types import Gaussians, MixedCameras, Origin

SMALL = {"width": 24, "seconds": 0.4, "fps": 10}


def toy_splat():
    """Six flat colored Gaussians in the unit ball."""
    means = np.float32([[0.6, 0, 0], [-0.6, 0, 0], [0, 0.6, 0], [0, -0.6, 0], [0, 0, 0.6], [0, 0, -0.6]])
    quats = np.tile(np.float32([1, 0, 0, 0]), (6, 1))
    sh = rgb_to_dc(means[:, None] / 2 + 0.5).astype(np.float32)
    scales, opacities = np.full((6, 3), 0.2, np.float32), np.full(6, 0.9, np.float32)
    return Gaussians(means, quats, scales, opacities, sh, Origin(normalized=True))


def test_a_film_turns_about_the_subject_once_and_its_end_meets_its_begin():
    film = render_film(toy_splat(), RenderOptions(**SMALL, elevation=35))
    orbit_views = render(toy_splat(), RenderOptions(orbit=4, width=24, elevation=35))
    assert (film.length, film.width, film.height, film.fps) == (4, 24, 24, 10)
    np.testing.assert_array_equal(np.stack(list(film.frames)), to_bytes(orbit_views.images))


def test_frames_are_rendered_as_they_are_asked_for(monkeypatch):
    from gatlas.render import film as module

    calls = []
    monkeypatch.setattr(module, "take_views", lambda subject, cameras, *args, take=module.take_views, **look: (
        calls.append(len(cameras)), take(subject, cameras, *args, **look))[1])  # fmt: skip
    made = render_film(toy_splat(), RenderOptions(width=24, seconds=4))
    assert (made.length, calls) == (120, [])
    next(iter(made.frames))
    assert len(calls) == 1
    assert calls[0] <= 16


def test_a_path_without_a_length_is_a_frame_per_camera():
    path = orbit(5, 20, 12, elevation=-40)
    cameras = film_cameras(toy_splat(), RenderOptions(), path)
    np.testing.assert_allclose(cameras.viewmats, path.viewmats)
    assert film_cameras(toy_splat(), RenderOptions(height=24), path).width == 40


def test_a_path_with_a_length_passes_its_cameras_in_equal_times():
    path = orbit(5, 20, 12, elevation=30)
    cameras = film_cameras(toy_splat(), RenderOptions(seconds=1.7, fps=10), path)
    assert len(cameras) == 17  # 4 frames from each camera to the next
    np.testing.assert_allclose(cameras.viewmats[::4], path.viewmats, atol=1e-5)
    between = camera_centers(cameras.viewmats)
    np.testing.assert_allclose(np.linalg.norm(between, axis=1), 2.6, atol=0.2)
    rotations = cameras.viewmats[:, :3, :3].astype(np.float64)
    np.testing.assert_allclose(rotations @ rotations.swapaxes(1, 2), np.tile(np.eye(3), (17, 1, 1)), atol=1e-5)


@pytest.mark.parametrize("count", [1, 2])
def test_a_path_of_few_cameras_is_straight(count):
    path = orbit(4, 8, 8)[:count]
    centers = camera_centers(flight(path, 5).viewmats)
    first, last = camera_centers(path.viewmats)[[0, -1]]
    np.testing.assert_allclose(centers, first + np.linspace(0, 1, 5)[:, None] * (last - first), atol=1e-5)


def test_cameras_of_several_sizes_are_shown_whole_at_the_first_ones_size():
    square, wide = orbit(1, 20, 20), orbit(1, 40, 20)
    Ks = np.concatenate([square.Ks, wide.Ks])
    mixed = MixedCameras(np.concatenate([square.viewmats, wide.viewmats]), Ks, ((20, 20), (40, 20)))
    joined = joined_at_size(mixed)
    assert (joined.width, joined.height) == (20, 20)
    np.testing.assert_allclose(joined.Ks[0], square.Ks[0])
    corners = np.array([[0.0, 0, 1], [40, 20, 1]]) @ np.linalg.inv(wide.Ks[0].astype(float)).T @ joined.Ks[1].T
    np.testing.assert_allclose(corners[:, :2], [[0, 5], [20, 15]], atol=1e-4)


def test_odd_sides_get_one_more_pixel_where_the_format_needs_even_ones():
    said = []
    odd = RenderOptions(width=25, height=24, seconds=0.1, fps=10)
    film = render_film(toy_splat(), odd, even=True, report=said.append)
    assert (film.width, film.height, len(said)) == (26, 24, 1)
    plain = next(iter(render_film(toy_splat(), odd).frames))
    np.testing.assert_allclose(next(iter(film.frames))[:, :25], plain, atol=1)


def test_a_film_of_more_frames_than_anyone_waits_for_is_refused():
    with pytest.raises(GatlasError, match="make 240,000 frames: at most 100,000"):
        render_film(toy_splat(), RenderOptions(seconds=1000, fps=240))
