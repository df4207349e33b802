"""The distance of Gaussians from the visual hull, by hand for a ball."""

import numpy as np
import pytest
import torch

from gatlas.datasets.posed_views import PosedBatch
from gatlas.geometry.cameras import orbit
from gatlas.models.lgm import ViewGaussians
from gatlas.systems.lgm.hull_depth import SAMPLES, SPAN, hull_distance, inside_all

pytestmark = pytest.mark.usefixtures("one_thread")
SIDE, RADIUS, DISTANCE = 64, 0.55, 1.5
STEP = 2 * SPAN * DISTANCE / (SAMPLES - 1)


def ball_batch():
    """Four views of an orbit of a ball of RADIUS about the center: alpha alone matters."""
    cameras = orbit(4, SIDE, SIDE, elevation=0.0, distance=DISTANCE, fov=47.0)
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5
    focal = cameras.Ks[0, 0, 0]
    outline = focal * np.tan(np.arcsin(RADIUS / DISTANCE))
    pictures = np.zeros((4, SIDE, SIDE, 4), np.uint8)
    pictures[..., 3] = 255 * (np.hypot(x - SIDE / 2, y - SIDE / 2) < outline)
    Ks = cameras.Ks / np.array([[SIDE], [SIDE], [1.0]], dtype=np.float32)
    arrays = [torch.from_numpy(each)[None] for each in (pictures, cameras.viewmats, Ks)]
    return PosedBatch(["ball"], *arrays, *arrays)


def gaussians_at(along):
    """A Gaussian of each pixel of a 2 x 2 grid of each view, so far behind its ray's point nearest to the center."""
    batch = ball_batch()
    means = []
    for viewmat in batch.context_viewmats[0]:
        pose = torch.linalg.inv(viewmat)
        focal = 0.5 / np.tan(np.radians(23.5))
        for v in (-0.25, 0.25):
            for u in (-0.25, 0.25):
                ray = pose[:3, :3] @ torch.tensor([u / focal, v / focal, 1.0], dtype=torch.float32)
                ray = ray / ray.norm()
                eye = pose[:3, 3]
                means.append(eye - (eye @ ray) * ray + along * ray)
    count = len(means)
    return ViewGaussians(
        torch.stack(means)[None].requires_grad_(), torch.zeros(1, count, 4), torch.ones(1, count, 3),
        torch.ones(1, count), torch.zeros(1, count, 3),
    )  # fmt: skip


def test_points_are_inside_where_all_views_show_them_as_solid():
    batch = ball_batch()
    points = torch.tensor([[[0.0, 0, 0], [0.53, 0, 0], [0, 0.6, 0], [0.3, 0, 0.3], [0.7, 0, 0]]])
    found = inside_all(points, batch.targets[0, ..., 3] / 255, batch.target_viewmats[0], batch.target_intrinsics[0])
    # (0.7, 0, 0) is in the middle of two pictures and outside of the others.
    assert found.tolist() == [[True, True, False, True, False]]


def test_a_gaussian_at_the_front_of_the_hull_has_no_distance_and_one_behind_it_has_its_own():
    # The middles of the 2 x 2 pixels look past the ball's center at x = y = 0.31. The outline's cone from the side has
    # there the radius (1.5 - 0.31) tan(asin(0.55 / 1.5)) = 0.469: it begins sqrt(0.469^2 - 0.31^2) = 0.352 before it.
    batch = ball_batch()
    far = float(hull_distance(gaussians_at(0.1), batch, (2, 2), DISTANCE).detach())
    assert far - 0.1 == pytest.approx(0.352, abs=STEP)
    near = float(hull_distance(gaussians_at(0.1 - far), batch, (2, 2), DISTANCE).detach())
    assert near < STEP


def test_the_gradient_pulls_a_gaussian_along_its_ray_alone():
    gaussians = gaussians_at(0.1)
    hull_distance(gaussians, ball_batch(), (2, 2), DISTANCE).backward()
    pose = torch.linalg.inv(ball_batch().context_viewmats[0, 0])
    gradient = gaussians.means.grad[0, 0]
    ray = gaussians.means.detach()[0, 0] - pose[:3, 3]
    cosine = float(gradient @ ray / (gradient.norm() * ray.norm()))
    assert cosine == pytest.approx(1.0, abs=1e-4)  # it is too far: the descent leads towards the camera


def test_an_object_that_no_pixel_shows_has_no_distance():
    batch = ball_batch()
    empty = torch.zeros_like(batch.context)
    gaussians = gaussians_at(0.0)
    found = hull_distance(gaussians, batch._replace(context=empty), (2, 2), DISTANCE)
    assert found.item() == 0.0
    found.backward()
