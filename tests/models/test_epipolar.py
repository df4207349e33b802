"""Attention along epipolar lines: where points of a ray lie in the other frame, and what is taken from there."""

import numpy as np
import pytest
import torch

from gatlas.geometry.cameras import orbit, to_camera
from gatlas.geometry.rays import rays
from gatlas.models.epipolar import (
    EpipolarAttention,
    EpipolarColors,
    EpipolarPoints,
    corner_matrix,
    depth_waves,
    epipolar_points,
)
from gatlas.types import Cameras

pytestmark = pytest.mark.usefixtures("one_thread")
DISTANCES = torch.tensor([1.6, 2.3, 3.6])


@pytest.fixture
def cameras():
    """A pair whose principal points are off the middle."""
    found = orbit(2, 6, 5, elevation=20, distance=2.6)
    Ks = found.Ks.astype(np.float64) + np.array([[0, 0, 0.3], [0, 0, -0.2], [0, 0, 0]])
    viewmats = orbit(5, 6, 5, elevation=35, distance=2.6).viewmats[[0, 2]].astype(np.float64)
    return Cameras(torch.from_numpy(viewmats), torch.from_numpy(Ks), 6, 5)


def pair(cameras):
    centers, directions = rays(cameras)
    return centers[None].float(), directions.movedim(-1, 1)[None].float()


def test_points_of_a_ray_lie_where_the_first_camera_projects_them(cameras):
    centers, directions = pair(cameras)
    found, waves = epipolar_points(centers, directions, torch.tensor([True]), DISTANCES)
    assert found.shape == (1, 3, 5, 6, 2)
    for k, row, column in np.ndindex(3, 5, 6):
        point = (centers[0, 1] + DISTANCES[k] * directions[0, 1, :, row, column]).double()
        x, y, z = cameras.Ks[0] @ to_camera(point[None], cameras.viewmats[0])[0]
        expected = torch.stack([2 * x / z / 6 - 1, 2 * y / z / 5 - 1]).float()
        torch.testing.assert_close(found[0, k, row, column], expected, atol=2e-5, rtol=0)
        depth = float(torch.linalg.vector_norm(point - centers[0, 0])) - 2.6  # -1 to 1 from 1.6 to 3.6
        expected = [1, *(np.sin(np.pi * depth * 2**i / 2) for i in range(4))]
        expected += [np.cos(np.pi * depth * 2**i / 2) for i in range(4)]
        np.testing.assert_allclose(waves[0, :, k, row, column], expected, atol=2e-5)


def test_points_behind_the_first_camera_lie_outside_of_its_picture(cameras):
    centers, directions = pair(cameras)
    found = epipolar_points(centers, directions, torch.tensor([True]), torch.tensor([20.0, 2.6])).grid
    depth = to_camera((centers[0, 1] + 20 * directions[0, 1, :, 2, 3]).double()[None], cameras.viewmats[0])[0, 2]
    assert depth < 0
    assert (found[0, 0, 2, 3] > 1).all()
    assert (found[0, 1, 2, 3].abs() < 1).all()


def test_a_row_without_its_condition_has_each_pixels_own_place(cameras):
    centers, directions = pair(cameras)
    found, waves = epipolar_points(
        torch.zeros_like(centers), torch.zeros_like(directions), torch.tensor([False]), DISTANCES
    )
    x, y = np.meshgrid((np.arange(6) + 0.5) / 3 - 1, (np.arange(5) + 0.5) / 2.5 - 1)
    np.testing.assert_allclose(found.numpy(), np.broadcast_to(np.stack([x, y], -1), found.shape), atol=1e-6)
    expected = depth_waves(torch.tensor([-1.0, -0.3, 1.0])[None, :, None, None])
    torch.testing.assert_close(waves, expected.expand_as(waves))


def test_the_corners_give_the_directions_of_all_pixels(cameras):
    _, directions = pair(cameras)
    matrix = corner_matrix(directions[0])
    x, y = torch.meshgrid(torch.linspace(0, 1, 6), torch.linspace(0, 1, 5), indexing="xy")
    found = torch.einsum("cij,jhw->cihw", matrix, torch.stack([x, y, torch.ones_like(x)]))
    torch.testing.assert_close(found / found.norm(dim=1, keepdim=True), directions[0], atol=1e-5, rtol=0)


def bilinear(features, x, y):
    """Features [c h w] at a place in pixels, whose centers are at halves; 0 outside."""
    total = np.zeros(len(features))
    left, above = int(np.floor(x - 0.5)), int(np.floor(y - 0.5))
    for row, column in ((above + i, left + j) for i in range(2) for j in range(2)):
        if 0 <= row < features.shape[1] and 0 <= column < features.shape[2]:
            weight = (1 - abs(x - 0.5 - column)) * (1 - abs(y - 0.5 - row))
            total += weight * features[:, row, column]
    return total


def test_colors_are_those_of_the_first_frame_at_the_points_by_the_weights_of_a_loop():
    generator = torch.Generator().manual_seed(0)
    colors = EpipolarColors(channels=4, points=3).double()
    with torch.no_grad():
        for weight in colors.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator))
    features = torch.randn(4, 4, 2, 3, generator=generator, dtype=torch.float64)
    image = torch.rand(2, 3, 2, 3, generator=generator, dtype=torch.float64)
    grid = 1.2 * torch.rand(2, 3, 2, 3, 2, generator=generator, dtype=torch.float64) - 0.6
    grid[..., 1] *= 0.8  # inside of the centers of the outermost pixels, where the border is not asked
    waves = torch.randn(2, 9, 3, 2, 3, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        found = colors(features, image, EpipolarPoints(grid, waves)).numpy()
        depth, waves = colors.depth(features[::2]).numpy(), waves.numpy()
        prior = colors.prior(features[1::2]).numpy()
        query, key = colors.query(features[1::2]).numpy(), colors.key(features[::2]).numpy()
    for row, y, x in np.ndindex(2, 2, 3):
        places = [((u + 1) * 1.5, v + 1) for u, v in grid[row, :, y, x].numpy()]
        logits = [
            query[row, :, y, x] @ bilinear(key[row], *at) / 2
            + prior[row, 1 + k, y, x]
            + bilinear(depth[row], *at) @ waves[row, :, k, y, x]
            for k, at in enumerate(places)
        ]
        weights = np.exp([prior[row, 0, y, x], *logits])
        shown = np.array([np.zeros(3), *(bilinear(image[row].numpy(), *at) for at in places)])
        np.testing.assert_allclose(found[row, :, y, x], weights @ shown / weights.sum(), atol=1e-10)


def test_attention_is_that_of_a_loop_over_pixels_heads_and_points():
    generator = torch.Generator().manual_seed(0)
    attention = EpipolarAttention(channels=4, heads=2, groups=2, points=3).double()
    with torch.no_grad():
        for weight in attention.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator))
    x = torch.randn(4, 4, 2, 3, generator=generator, dtype=torch.float64)
    grid = 3 * torch.rand(2, 3, 2, 3, 2, generator=generator, dtype=torch.float64) - 1.5
    waves = torch.randn(2, 9, 3, 2, 3, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        found = attention(x, EpipolarPoints(grid, waves)).numpy()
        normed = attention.norm(x).numpy()
        query, key, value, depth, proj = (
            (layer.weight[:, :, 0, 0].numpy(), layer.bias.numpy())
            for layer in (attention.query, attention.key, attention.value, attention.depth, attention.proj)
        )
        key_codes, value_codes = attention.key_codes.numpy(), attention.value_codes.numpy()

    def keyed(layer, features):
        return np.einsum("ij,jhw->ihw", layer[0], features) + layer[1][:, None, None]

    for pair_, row, column in np.ndindex(2, 2, 3):
        known, noisy = normed[2 * pair_], normed[2 * pair_ + 1]
        wanted = query[0] @ noisy[:, row, column] + query[1]
        mixed = np.zeros(4)
        for number, head in enumerate((slice(0, 2), slice(2, 4))):
            places = [((u + 1) * 1.5, v + 1) for u, v in grid[pair_, :, row, column].numpy()]
            keys = [bilinear(keyed(key, known), *at)[head] + key_codes[head, k] for k, at in enumerate(places)]
            values = [bilinear(keyed(value, known), *at)[head] + value_codes[head, k] for k, at in enumerate(places)]
            agreed = [
                bilinear(keyed(depth, known), *at)[9 * number : 9 * number + 9]
                @ waves[pair_, :, k, row, column].numpy()
                for k, at in enumerate(places)
            ]
            weights = np.exp([wanted[head] @ each / np.sqrt(2) + more for each, more in zip(keys, agreed, strict=True)])
            mixed[head] = weights @ values / weights.sum()
        expected = (proj[0] @ mixed + proj[1] + x[2 * pair_ + 1, :, row, column].numpy()) / np.sqrt(2)
        np.testing.assert_allclose(found[2 * pair_ + 1, :, row, column], expected, atol=1e-10)
    np.testing.assert_array_equal(found[::2], x[::2].numpy())
