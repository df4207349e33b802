"""Splats of views of an object: their world, what is left out, and what a request is told."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from gatlas.errors import GatlasError
from gatlas.geometry.frames import UPRIGHT
from gatlas.models.lgm import OUT_CHANNELS
from gatlas.systems.contract import Condition, Photo, SampleRequest
from gatlas.systems.lgm import create, load
from tests.helpers.small_lgm import CONFIG, disc_views

pytestmark = pytest.mark.usefixtures("one_thread")


class Constant(torch.nn.Module):
    """In place of the network: every pixel's Gaussian is the same."""

    def __init__(self, **values):
        super().__init__()
        self.raw = torch.zeros(OUT_CHANNELS)
        self.raw[7] = 1.0
        places = {"mean": slice(0, 3), "opacity": slice(3, 4), "scale": slice(4, 7), "quat": slice(7, 11)}
        for name, value in values.items():
            self.raw[places[name]] = torch.as_tensor(value)

    def forward(self, inputs):
        batch, views, _, height, width = inputs.shape
        return self.raw[:, None, None].expand(batch, views, OUT_CHANNELS, height // 2, width // 2).clone()


@pytest.fixture
def system():
    return create(CONFIG)


def request_of(views, turn=None, **options):
    viewmats = views.cameras.viewmats.astype(np.float64)
    if turn is not None:
        viewmats[:, :3, :3] = viewmats[:, :3, :3] @ np.asarray(turn, dtype=np.float64)
    photos = zip(views.images, views.cameras.Ks, viewmats, strict=True)
    condition = Condition("disc", photos=tuple(Photo(f"{i}", *each) for i, each in enumerate(photos)))
    return SampleRequest((condition,), **options)


def sample(system, request, network=None):
    (found,) = system.sample(request, network)
    return found


@pytest.mark.parametrize("count", [1, 2, 4, 6])
def test_any_number_of_views_makes_a_splat(system, count):
    found = sample(system, request_of(disc_views(count)))
    assert 0 < len(found) <= count * 8 * 8
    assert found.sh.shape[1:] == (1, 3)
    assert np.isfinite(found.means).all()
    assert found.origin.name == "disc"


def test_the_splat_stands_in_the_world_of_the_views(system):
    # The network's (0.2, 0.4, 0.6) is right, up and towards the first camera, at 1.5 / 3 of the world's unit.
    views = disc_views(4, distance=3.0)
    found = sample(system, request_of(views), Constant(mean=[0.2, 0.4, 0.6], scale=[0.0, 1, 2]))
    np.testing.assert_allclose(found.means[0], [0.4, 0.8, 1.2], atol=1e-5)
    np.testing.assert_allclose(found.scales[0], 0.2 * np.log1p(np.exp([0, 1, 2])), rtol=1e-5)
    np.testing.assert_allclose(np.abs(found.quats[0]), [1, 0, 0, 0], atol=1e-6)
    raised = sample(system, request_of(disc_views(4, elevation=30, distance=3.0)), Constant(mean=[0, 0, 1.0]))
    np.testing.assert_allclose(raised.means[0], 2 * np.array([0, 0.5, np.sqrt(0.75)]), atol=1e-5)


def test_a_turned_world_turns_the_splat(system):
    turn = np.array(UPRIGHT["z"], dtype=np.float64)  # world -> upright
    plain, turned = (sample(system, request_of(disc_views(), each)) for each in (None, turn))
    np.testing.assert_allclose(turned.means, plain.means @ turn, atol=1e-4)
    assert system.check(request_of(disc_views())) == []
    (line,) = system.check(request_of(disc_views(), turn))
    assert "upright about z, not y" in line
    cosine, sine = np.cos(np.radians(45)), np.sin(np.radians(45))
    (line,) = system.check(request_of(disc_views(), np.array([[cosine, sine, 0], [-sine, cosine, 0], [0, 0, 1]])))
    assert "upright about (-0.71, 0.71, 0.00), not y" in line
    assert "--up" not in line


def test_gaussians_of_little_opacity_are_left_out(system):
    odds = [float(np.log(p / (1 - p))) for p in (0.0049, 0.0051)]
    with pytest.raises(GatlasError, match="disc: the network makes nothing visible"):
        sample(system, request_of(disc_views()), Constant(opacity=odds[0]))
    assert len(sample(system, request_of(disc_views()), Constant(opacity=odds[1]))) == 4 * 64


def test_legacy_rotations_are_taken_as_they_were_trained():
    legacy = create(replace(CONFIG, legacy_rot=True))
    quat = [1.0, 1, 1, 1]
    plain = sample(create(CONFIG), request_of(disc_views()), Constant(quat=quat)).quats[0]
    found = sample(legacy, request_of(disc_views()), Constant(quat=quat)).quats[0]
    np.testing.assert_allclose(np.abs(plain), 0.5, atol=1e-5)
    # Each component over its length of 256 Gaussians is 1/16: a turn about (1, 1, 1) of very little.
    angle = np.arctan2(2 * np.sqrt(3) / 256, 1 - 6 / 256)
    np.testing.assert_allclose(np.abs(found[0]), np.cos(angle / 2), atol=1e-6)
    np.testing.assert_allclose(np.abs(found[1:]), np.sin(angle / 2) / np.sqrt(3), atol=1e-5)


def test_a_number_of_views_that_was_not_trained_is_reported(system):
    (line,) = system.check(request_of(disc_views(3)))
    assert line == "disc: 3 views, beyond what the weights were trained on (4 views)"


def test_a_splat_is_made_on_a_gpu(cuda_device, tmp_path):
    create(CONFIG).save(str(tmp_path))
    request = request_of(disc_views(2))
    found, expected = (sample(load(str(tmp_path), device=device), request) for device in ("cuda", "cpu"))
    np.testing.assert_allclose(found.means, expected.means, atol=1e-5)


def test_values_that_are_not_finite_are_refused(system):
    with pytest.raises(GatlasError, match="not finite"):
        sample(system, request_of(disc_views()), Constant(mean=[np.nan, 0, 0]))


def test_photos_without_cameras_are_refused(system):
    request = SampleRequest((Condition("x", photos=(Photo("a", np.ones((8, 8, 4)), np.eye(3)),)),))
    with pytest.raises(GatlasError, match="with their cameras"):
        sample(system, request)


def test_views_as_the_network_saw_them_have_the_cameras_of_the_world(system):
    views = disc_views(distance=3.0)
    located = system.locate(None, request_of(views).conditions[0].photos)
    np.testing.assert_allclose(located.views.cameras.viewmats, views.cameras.viewmats, atol=1e-6)
    assert located.views.images.shape == (4, 16, 16, 3)
    assert located.views.images[0, 0].min() == 1.0
