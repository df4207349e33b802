"""The LGM network: parity with an official forward pass, the published names and shapes, and any number of views."""

import ast
import dataclasses
import math
import zlib

import numpy as np
import pytest
import torch

from gatlas.errors import GatlasError
from gatlas.geometry.cameras import orbit
from gatlas.geometry.rays import plucker, rays
from gatlas.geometry.rotations import quats_to_matrices
from gatlas.models.lgm import (
    LGM,
    START_SCALE,
    ViewAttention,
    activate,
    fresh_network,
    legacy_quats,
    network_inputs,
    weight_shapes,
)
from gatlas.models.view_unet_config import BIG, CPU, SMALL, TINY, LgmConfig

pytestmark = pytest.mark.usefixtures("one_thread")

MINI = LgmConfig(down_channels=(4, 8, 8), up_channels=(8, 8), attention_levels=2, groups=2, heads=2)
PUBLISHED = {"big": (BIG, 376, 415.04), "small": (SMALL, 344, 412.96), "tiny": (TINY, 244, 59.74)}


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def fresh(config=MINI, seed=0):
    return fresh_network(config, torch.Generator().manual_seed(seed)).eval()


def run(network, inputs):
    with torch.no_grad():
        return network(inputs)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_sizes_have_the_published_numbers_of_weights(name):
    config, tensors, millions = PUBLISHED[name]
    shapes = weight_shapes(config)
    assert len(shapes) == tensors
    assert sum(map(math.prod, shapes.values())) / 1e6 == pytest.approx(millions, abs=0.005)


@pytest.mark.shared
@pytest.mark.parametrize("name", PUBLISHED)
def test_names_and_shapes_are_those_of_the_published_files(name, shared_data):
    sections = (shared_data / "keys" / "lgm_keys.txt").read_text().split("## config=")
    (lines,) = (part.splitlines()[1:] for part in sections if part.startswith(f"{name} "))
    published = {key: ast.literal_eval(shape) for key, shape in (line.split("\t") for line in lines if line)}
    assert weight_shapes(PUBLISHED[name][0]) == published


@pytest.mark.shared
def test_a_forward_pass_is_that_of_the_authors_code(shared_data):
    with np.load(shared_data / "parity" / "lgm_tiny_64.npz") as stored:
        expected = {name: stored[name] for name in ("raw", "gaussians")}
    network = LGM(TINY).eval()
    for name, weight in network.state_dict().items():
        values = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(tuple(weight.shape), np.float32)
        if weight.ndim >= 2:
            values /= np.sqrt(np.prod(weight.shape[1:]))
        else:
            values = 1 + 0.05 * values if name.endswith("weight") else 0.02 * values
        weight.copy_(torch.from_numpy(values.astype(np.float32)))
    inputs = np.random.default_rng(0).standard_normal((1, 4, 9, 64, 64), np.float32)
    raw = run(network, torch.from_numpy(inputs))
    assert distance(raw[0], expected["raw"]) < 1e-4
    means, quats, scales, opacities, colors = activate(raw)
    rows = torch.cat([means, opacities[..., None], scales, quats, colors], dim=-1)
    assert distance(rows, expected["gaussians"]) < 1e-4


def distance(found, expected):
    return np.linalg.norm(found.numpy() - expected) / np.linalg.norm(expected)


def test_the_cpu_preset_is_small_and_gives_a_quarter_of_the_pixels():
    assert sum(map(math.prod, weight_shapes(CPU).values())) < 1.5e6
    assert CPU.splat_side(64) == 32
    assert (BIG.splat_side(256), SMALL.splat_side(256), TINY.splat_side(256)) == (128, 64, 64)


@pytest.mark.parametrize("views", [1, 2, 3, 5])
def test_any_number_of_views_has_a_gaussian_per_output_pixel(views):
    raw = run(fresh(), draw(2, views, 9, 8, 16))
    assert raw.shape == (2, views, 14, 4, 8)
    assert activate(raw).means.shape == (2, views * 4 * 8, 3)


def test_views_see_each_other_and_objects_do_not():
    inputs = draw(2, 3, 9, 8, 8)
    before = run(fresh(), inputs)
    inputs[0, 2] += 1
    after = run(fresh(), inputs)
    assert (after[0, 0] - before[0, 0]).abs().max() > 1e-4
    torch.testing.assert_close(after[1], before[1], rtol=0, atol=1e-6)


def test_the_order_of_views_is_the_order_of_their_gaussians():
    inputs = draw(1, 3, 9, 8, 8)
    raw = run(fresh(), inputs)
    torch.testing.assert_close(run(fresh(), inputs[:, [2, 0, 1]]), raw[:, [2, 0, 1]], rtol=0, atol=1e-5)
    rows = raw[0].movedim(1, -1).reshape(-1, 14)
    torch.testing.assert_close(activate(raw).opacities[0], rows[:, 3].sigmoid())


def test_attention_is_the_plain_product():
    config = dataclasses.replace(MINI, heads=4)
    torch.manual_seed(0)
    attention = ViewAttention(8, config)
    x = draw(6, 8, 3, 5)
    found = run(lambda x: attention(x, 3), x)
    with torch.no_grad():
        normed = attention.norm(x).reshape(2, 3, 8, 15).transpose(2, 3).reshape(2, 45, 8)
        query, key, value = (normed @ part.T for part in attention.attn.qkv.weight.chunk(3))
        heads = []
        for head in range(4):
            q, k, v = (each[..., 2 * head : 2 * head + 2] for each in (query, key, value))
            heads.append((q @ k.transpose(1, 2) / math.sqrt(2)).softmax(-1) @ v)
        mixed = torch.cat(heads, -1) @ attention.attn.proj.weight.T + attention.attn.proj.bias
        expected = (mixed.reshape(2, 3, 15, 8).transpose(2, 3).reshape(6, 8, 3, 5) + x) * math.sqrt(0.5)
    assert (found - expected).abs().max() <= 1e-5


def test_values_become_gaussians_as_worked_by_hand():
    raw = torch.zeros(1, 1, 14, 1, 2)
    raw[0, 0, :, 0, 1] = torch.tensor([2.0, -3, 0.5, math.log(3), 1, 0, -1, 0, 0, 3, 4, 1, 0, -1])
    raw[0, 0, 7, 0, 0] = 2.0
    means, quats, scales, opacities, colors = (array[0] for array in activate(raw))
    np.testing.assert_allclose(means, [[0, 0, 0], [1, -1, 0.5]])
    np.testing.assert_allclose(quats, [[1, 0, 0, 0], [0, 0, 0.6, 0.8]], atol=1e-6)
    np.testing.assert_allclose(opacities, [0.5, 0.75], atol=1e-6)
    softplus = 0.1 * np.log1p(np.exp([1.0, 0, -1]))
    np.testing.assert_allclose(scales, [[0.0693147] * 3, softplus], atol=1e-6)  # 0.1 ln 2
    np.testing.assert_allclose(colors[1], 0.5 + 0.5 * np.tanh([1, 0, -1]), atol=1e-6)


def test_a_zero_quaternion_stays_finite():
    assert activate(torch.zeros(1, 1, 14, 1, 1)).quats.isfinite().all()


def test_legacy_rotations_are_the_nearest_to_the_matrices_of_the_first_training():
    raw = draw(1, 5, 4, seed=3)
    found = legacy_quats(raw)[0].double().numpy()
    q = (raw / raw.square().sum(dim=1, keepdim=True).sqrt())[0].double().numpy()
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    for quat, unit in zip(q, found, strict=True):
        left, _, right = np.linalg.svd(matrix(quat))
        np.testing.assert_allclose(matrix(unit), left @ right, atol=1e-5)


def matrix(quat):
    """The formula of the published rasterizer, which takes any quaternion for a unit one."""
    r, x, y, z = quat
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - r * z), 2 * (x * z + r * y)],
            [2 * (x * y + r * z), 1 - 2 * (x * x + z * z), 2 * (y * z - r * x)],
            [2 * (x * z - r * y), 2 * (y * z + r * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def test_colors_are_normalized_and_rays_are_not():
    pictures, rays = torch.rand(1, 2, 3, 4, 4), draw(1, 2, 6, 4, 4)
    inputs = network_inputs(pictures, rays)
    green = (float(pictures[0, 1, 1, 2, 3]) - 0.456) / 0.224
    assert float(inputs[0, 1, 1, 2, 3]) == pytest.approx(green, abs=1e-6)
    assert torch.equal(inputs[:, :, 3:], rays)


def test_a_residual_network_begins_at_the_rays_nearest_points_and_their_colors():
    config = dataclasses.replace(MINI, residual=True)
    colors = torch.tensor([0.2, 0.5, 0.9])[:, None, None].expand(3, 8, 8)
    # The ray along -x through (3, 0.25, -0.5): the point nearest to the center is (0, 0.25, -0.5).
    origin, direction = torch.tensor([3.0, 0.25, -0.5]), torch.tensor([-1.0, 0, 0])
    ray = torch.cat([torch.linalg.cross(origin, direction), direction])[:, None, None].expand(6, 8, 8)
    network = fresh(config)
    network.conv.weight.data.zero_()
    gaussians = activate(run(network, network_inputs(colors[None, None], ray[None, None])))
    torch.testing.assert_close(gaussians.means[0], torch.tensor([[0.0, 0.25, -0.5]]).expand(16, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(gaussians.colors[0], torch.tensor([[0.2, 0.5, 0.9]]).expand(16, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(gaussians.scales, torch.full((1, 16, 3), START_SCALE), atol=1e-6, rtol=0)
    assert set(weight_shapes(config)) == set(weight_shapes(MINI))


def test_a_residual_network_moves_and_turns_gaussians_relative_to_their_views():
    config = dataclasses.replace(MINI, residual=True)
    cameras = orbit(2, 8, 8, elevation=25.0, azimuth=70.0, distance=1.5, fov=47.0)
    origins, directions = rays(cameras)
    maps = torch.from_numpy(np.moveaxis(plucker(origins[:, None, None], directions), -1, 1)).float()[None]
    inputs = network_inputs(torch.full((1, 2, 3, 8, 8), 0.5), maps)
    half = np.sqrt(0.5)
    network = fresh(config)
    network.conv.weight.data.zero_()
    plain = activate(run(network, inputs)).means[0].view(2, 16, 3)
    network.conv.bias.data[:3] = torch.tensor([0.1, 0.2, 0.3])  # right, down, along the ray
    network.conv.bias.data[7:11] = torch.tensor([half, 0.0, 0.0, half])  # a quarter about the view's axis
    moved = activate(run(network, inputs))
    quarter = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    for view, viewmat in enumerate(cameras.viewmats[:, :3, :3].astype(np.float64)):
        local = (moved.means[0].view(2, 16, 3)[view] - plain[view]).numpy() @ viewmat.T
        along = directions[view].reshape(4, 2, 4, 2, 3).mean(axis=(1, 3)).reshape(16, 3) @ viewmat.T
        along /= np.linalg.norm(along, axis=1, keepdims=True)
        np.testing.assert_allclose(local, [0.1, 0.2, 0.0] + 0.3 * along, atol=1e-5)
        turns = quats_to_matrices(moved.quats[0].view(2, 16, 4)[view].numpy())
        np.testing.assert_allclose(turns, np.tile(viewmat.T @ quarter, (16, 1, 1)), atol=1e-5)


def test_a_network_with_the_hull_begins_where_the_rays_enter_it_and_as_opaque_as_its_views():
    config = dataclasses.replace(MINI, residual=True, hull_input=True)
    origin, direction = torch.tensor([3.0, 0.25, -0.5]), torch.tensor([-1.0, 0, 0])
    ray = torch.cat([torch.linalg.cross(origin, direction), direction])[:, None, None].expand(1, 1, 6, 8, 8)
    alpha, entry = (torch.full((1, 1, 1, 8, 8), value) for value in (1.0, -0.4))
    alpha[..., 4:, :] = 0.0
    network = fresh(config)
    network.conv.weight.data.zero_()
    gaussians = activate(run(network, network_inputs(torch.full((1, 1, 3, 8, 8), 0.5), ray, alpha, entry)))
    # Towards the camera, at +x, from the point (0, 0.25, -0.5).
    torch.testing.assert_close(gaussians.means[0], torch.tensor([[0.4, 0.25, -0.5]]).expand(16, 3), atol=1e-5, rtol=0)
    expected = torch.tensor([1 / (1 + np.exp(-2)), 1 / (1 + np.exp(2))], dtype=torch.float32).repeat_interleave(8)
    torch.testing.assert_close(gaussians.opacities[0], expected, atol=1e-6, rtol=0)


def test_gradients_are_the_same_with_checkpointing():
    inputs, grads = draw(1, 2, 9, 8, 8), []
    for checkpointed in (False, True):
        network = fresh().train()
        if checkpointed:
            network.enable_gradient_checkpointing()
        network(inputs).square().mean().backward()
        grads.append([weight.grad for weight in network.parameters()])
    for one, other in zip(*grads, strict=True):
        assert one is not None
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-8)


def test_a_seed_gives_the_same_network_and_another_seed_another():
    first, same, other = (fresh(seed=seed).unet.conv_in.weight for seed in (0, 0, 1))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_a_size_that_cannot_be_halved_is_refused():
    with pytest.raises(ValueError, match="multiples of 4, got 8 x 6"):
        fresh()(draw(1, 1, 9, 8, 6))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"groups": 3}, "groups must divide all numbers of channels"),
        ({"heads": 3}, "heads must divide the attended channels"),
        ({"up_channels": (8, 8, 8, 8)}, "up_channels must be 1 to 3 numbers"),
        ({"hull_input": True}, "hull_input must be false where residual is"),
        ({"attention_levels": 4}, "attention_levels must be at most 3"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(change, message):
    with pytest.raises(GatlasError, match=message):
        dataclasses.replace(MINI, **change)
