"""The NoPoSplat network: parity with an official forward pass, the published names, and any number of views."""

import ast
import dataclasses
import zlib

import numpy as np
import pytest
import torch
from torch import nn

from gatlas.errors import GatlasError
from gatlas.models.rope import rotate, rotation_of
from gatlas.systems.noposplat.network import BASE, TINY, NoPoSplat, NoPoSplatConfig, fresh_network, weight_shapes
from gatlas.systems.noposplat.vit import DecoderBlock

SMALL = dataclasses.replace(
    TINY,
    encoder_dim=32,
    encoder_depth=1,
    encoder_heads=2,
    decoder_dim=16,
    decoder_depth=3,
    decoder_heads=2,
    hooks=(0, 1, 2, 3),
    head_dim=8,
    level_dims=(4, 6, 8, 10),
)


def draw(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def cameras(batch=1, count=2, focal=0.9):
    return torch.tensor([[focal, 0, 0.5], [0, focal, 0.5], [0, 0, 1]]).expand(batch, count, 3, 3)


def fresh(config=SMALL, seed=0):
    return fresh_network(config, torch.Generator().manual_seed(seed)).eval()


def lively(config=SMALL):
    """A network whose last layers do something, so that every input shows in every output."""
    network = fresh(config)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if name.endswith("head.4.weight"):
                weight.normal_(std=0.2, generator=generator)
    return network


def run(network, images, intrinsics=None, **options):
    with torch.no_grad():
        return network(images, cameras(*images.shape[:2]) if intrinsics is None else intrinsics, **options)


def assert_close(first, second, **tolerance):
    for one, two in zip(first, second, strict=True):
        torch.testing.assert_close(one, two, **tolerance)


# The published weights


def published_shapes(shared_data):
    lines = (shared_data / "keys" / "noposplat_keys.txt").read_text().splitlines()
    fields = [line.split("\t") for line in lines if not line.startswith("#")]
    return {name: ast.literal_eval(shape) for name, shape, _ in fields}


@pytest.mark.shared
def test_names_and_shapes_are_those_of_the_published_checkpoints(shared_data):
    expected = published_shapes(shared_data)
    assert len(expected) == 1145
    assert weight_shapes(BASE) == expected


def test_the_published_size_has_612_million_weights():
    with torch.device("meta"):
        network = NoPoSplat(BASE)
    assert sum(weight.numel() for weight in network.parameters()) == 611_996_332
    assert sum(weight.numel() for weight in network.state_dict().values()) == 625_267_372


def fill(network):
    """The deterministic weights of the fixture: each tensor is drawn from the checksum of its first name."""
    for name, weight in network.named_parameters():  # which gives shared weights under their first name
        values = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(tuple(weight.shape), dtype=np.float32)
        if weight.ndim >= 2:
            values *= 1.0 / np.sqrt(np.prod(weight.shape[1:]))
        elif name.endswith("weight"):
            values = 1.0 + 0.05 * values
        else:
            values *= 0.02
        with torch.no_grad():
            weight.copy_(torch.from_numpy(values.astype(np.float32)))


@pytest.mark.slow
@pytest.mark.shared
def test_an_official_forward_pass_is_reproduced(shared_data):
    fixture = np.load(shared_data / "parity" / "noposplat_2view_64.npz")
    with torch.device("meta"):
        network = NoPoSplat(BASE)
    network.to_empty(device="cpu").eval()
    fill(network)
    images = np.random.default_rng(0).standard_normal((1, 2, 3, 64, 64), dtype=np.float32).clip(-1, 1)
    found = run(network, torch.from_numpy((images + 1) / 2), torch.from_numpy(fixture["intrinsics"])).flatten()
    expected = {
        "means": fixture["means"],
        "quats": fixture["rotations_xyzw"][..., [3, 0, 1, 2]],
        "scales": fixture["scales"],
        "opacities": fixture["opacities"],
        "sh": fixture["harmonics16"].swapaxes(-1, -2),
    }
    for name, wanted in expected.items():
        error = np.linalg.norm(getattr(found, name).numpy() - wanted) / np.linalg.norm(wanted)
        assert error < 1e-4, f"{name}: {error}"


def test_the_four_layers_with_two_names_are_the_same_weights():
    network = fresh()
    state = network.state_dict()
    pairs = [(name, name.replace("layer1_rn", "layer_rn.0")) for name in state if "layer1_rn" in name]
    assert len(pairs) == 4
    for first, second in pairs:
        assert state[first].data_ptr() == state[second].data_ptr()
    shared = sum(weight.numel() for weight in state.values()) - sum(w.numel() for w in network.parameters())
    assert shared == 4 * 9 * SMALL.head_dim * sum(SMALL.level_dims)


# Views


@pytest.mark.parametrize("count", [2, 3, 4])
def test_every_view_gives_a_gaussian_a_pixel(count):
    found = run(fresh(), draw(2, count, 3, 16, 24))
    shape = (2, count, 16, 24)
    assert found.means.shape == (*shape, 3)
    assert found.quats.shape == (*shape, 4)
    assert found.scales.shape == (*shape, 3)
    assert found.opacities.shape == shape
    assert found.sh.shape == (*shape, 4, 3)
    torch.testing.assert_close(found.quats.norm(dim=-1), torch.ones(shape))


def test_flattening_goes_view_by_view_and_row_by_row():
    found = run(lively(), draw(1, 2, 3, 16, 24))
    flat = found.flatten()
    assert flat.sh.shape == (1, 2 * 16 * 24, 4, 3)
    assert torch.equal(flat.means[0, (1 * 16 + 5) * 24 + 7], found.means[0, 1, 5, 7])


def test_a_scene_does_not_depend_on_its_batch():
    network, images = lively(), draw(3, 3, 3, 16, 16)
    intrinsics = torch.cat([cameras(1, 3, focal) for focal in (0.7, 0.9, 1.2)])
    together = run(network, images, intrinsics)
    for i in range(3):
        alone = run(network, images[i : i + 1], intrinsics[i : i + 1])
        assert_close(alone, [array[i : i + 1] for array in together], atol=1e-5, rtol=1e-5)


def test_views_after_the_first_may_change_places():
    network, images = lively(), draw(1, 4, 3, 16, 16)
    order = [0, 3, 1, 2]
    assert_close(
        run(network, images[:, order]), [array[:, order] for array in run(network, images)], atol=1e-4, rtol=1e-4
    )


def test_a_copy_of_the_second_view_gives_what_the_second_gives():
    network, images = lively(), draw(1, 2, 3, 16, 16)
    found = run(network, images[:, [0, 1, 1]])
    assert_close([array[:, 1] for array in found], [array[:, 2] for array in found], atol=1e-5, rtol=1e-5)


def test_a_view_reads_all_others_and_not_itself():
    block = DecoderBlock(16, 2, 2)
    tokens, rotation = draw(2, 4, 5, 16), rotation_of(torch.zeros(5, 2, dtype=torch.int64), 8)  # nothing turns
    theirs = nn.MultiheadAttention(16, 2, batch_first=True)
    own = block.cross_attn
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([own.projq.weight, own.projk.weight, own.projv.weight]))
        theirs.in_proj_bias.copy_(torch.cat([own.projq.bias, own.projk.bias, own.projv.bias]))
        theirs.out_proj.load_state_dict(own.proj.state_dict())
        found = block(tokens, [1, 2, 3], rotation)
        for row, view in enumerate((1, 2, 3)):
            memory = block.norm_y(torch.cat([tokens[:, other] for other in range(4) if other != view], dim=1))
            x = tokens[:, view]
            x = x + block.attn(block.norm1(x), rotation)
            x = x + theirs(block.norm2(x), memory, memory, need_weights=False)[0]
            torch.testing.assert_close(found[:, row], x + block.mlp(block.norm3(x)))


def test_a_view_that_is_seen_twice_counts_as_seen_once():
    block, tokens = DecoderBlock(16, 2, 2), draw(1, 2, 5, 16)
    rotation = rotation_of(torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1], [2, 0]]), 8)
    with torch.no_grad():
        torch.testing.assert_close(block(tokens[:, [0, 1, 1]], [0], rotation), block(tokens, [0], rotation))


def test_every_view_shows_in_the_gaussians_of_every_other():
    network, images = lively(), draw(1, 3, 3, 16, 16)
    before = run(network, images).opacities
    for changed in range(3):
        after = images.clone()
        after[:, changed] = 1 - after[:, changed]
        difference = (run(network, after).opacities - before).abs().amax(dim=(0, 2, 3))
        assert bool((difference > 1e-6).all()), changed


def test_intrinsics_show_in_the_gaussians():
    network = lively(dataclasses.replace(SMALL, residual=False))
    images = draw(1, 2, 3, 16, 16)
    first, second = (run(network, images, cameras(focal=focal)).means for focal in (0.8, 1.2))
    assert not torch.allclose(first, second)


@pytest.mark.parametrize("size", [(16, 20), (20, 16), (4, 16), (0, 16)])
def test_a_size_that_is_no_multiple_of_the_patch_is_refused(size):
    with pytest.raises(ValueError, match="multiples of 8"):
        run(fresh(), torch.zeros(1, 2, 3, *size))


@pytest.mark.usefixtures("no_shape_checks")
def test_shapes_that_do_not_fit_are_refused():
    network = fresh()
    with pytest.raises(ValueError, match="images must have shape"):
        run(network, draw(1, 1, 3, 16, 16))
    with pytest.raises(ValueError, match="images must have shape"):
        run(network, draw(1, 2, 4, 16, 16))
    with pytest.raises(ValueError, match="intrinsics must have shape"):
        run(network, draw(1, 3, 3, 16, 16), cameras(1, 2))


def test_odd_numbers_of_patches_and_other_patches_come_out_whole():
    for patch in (4, 8, 12):
        size = (3 * patch, 5 * patch)
        assert run(fresh(dataclasses.replace(SMALL, patch=patch)), draw(1, 2, 3, *size)).opacities.shape[2:] == size


# Positions


def test_attention_depends_on_differences_of_positions_only():
    q, k = draw(5, 8, seed=1), draw(5, 8, seed=2)
    positions = torch.tensor([[0, 0], [1, 3], [2, 2], [7, 1], [4, 4]])
    products = [
        rotate(q, rotation_of(moved, 8)) @ rotate(k, rotation_of(moved, 8)).T
        for moved in (positions, positions + torch.tensor([3, 5]))
    ]
    torch.testing.assert_close(*products)
    assert not torch.allclose(products[0], q @ k.T)


def test_a_step_in_y_turns_the_first_pair_of_the_first_half_by_one_radian():
    turned = rotate(torch.eye(8)[:1], rotation_of(torch.tensor([[1, 0]]), 8))
    # The pair of channel 0 is channel 2, a quarter of the head further.
    expected = torch.tensor([[np.cos(1.0), 0, np.sin(1.0), 0, 0, 0, 0, 0]], dtype=torch.float32)
    torch.testing.assert_close(turned, expected)
    # The second frequency is 100^(-2/4) = 1/10, and x turns the other half.
    turned = rotate(torch.eye(8)[5:6], rotation_of(torch.tensor([[9, 2]]), 8))
    expected = torch.tensor([[0, 0, 0, 0, 0, np.cos(0.2), 0, np.sin(0.2)]], dtype=torch.float32)
    torch.testing.assert_close(turned, expected)


# Training from scratch


def test_a_fresh_tiny_network_shows_the_pictures_on_a_wall_in_front_of_the_cameras():
    network = fresh(TINY)
    images = draw(1, 2, 3, 64, 64)
    found = run(network, images)
    assert bool(((found.means[..., 2] > 1) & (found.means[..., 2] < 3)).all())
    x, y = (found.means[0, 0, ..., axis] / found.means[0, 0, ..., 2] for axis in (0, 1))
    assert float((x[0, 0] * 0.9 + 0.5) * 64) == pytest.approx(0.5, abs=3)  # on the ray of the first pixel
    assert float((y[-1, 0] * 0.9 + 0.5) * 64) == pytest.approx(63.5, abs=3)
    pixel = TINY.start_depth / 0.9 / 64
    assert bool(((found.scales > 0.5 * pixel) & (found.scales < 2 * pixel)).all())
    assert bool(((found.opacities > 0.2) & (found.opacities < 0.4)).all())
    colors = found.sh[..., 0, :] * 0.28209479177387814 + 0.5
    assert float((colors - images.movedim(2, -1)).abs().mean()) < 0.02


def test_a_fresh_network_without_residuals_starts_in_front_of_the_cameras_too():
    found = run(fresh(dataclasses.replace(TINY, residual=False, start_depth=2.5)), draw(1, 2, 3, 64, 64))
    assert float(found.means[..., 2].median()) == pytest.approx(2.5, abs=0.3)
    assert float(found.scales.median()) == pytest.approx(0.03, abs=0.003)


def test_the_tiny_preset_has_8_million_weights():
    with torch.device("meta"):
        assert sum(weight.numel() for weight in NoPoSplat(TINY).parameters()) == pytest.approx(8e6, rel=0.01)


def test_the_generator_decides_the_weights_and_nothing_else_is_drawn():
    state = torch.get_rng_state()
    first, same, other = fresh(seed=1), fresh(seed=1), fresh(seed=2)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), same.parameters(), strict=True))
    assert not torch.equal(first.backbone.decoder_embed.weight, other.backbone.decoder_embed.weight)
    assert all(bool(weight.isfinite().all()) for weight in first.parameters())


def gradients(network, images, **options):
    network.zero_grad()
    found = network(images, cameras(*images.shape[:2]), **options)
    sum((array * draw(*array.shape, seed=9)).sum() for array in found).backward()
    return {name: weight.grad for name, weight in network.named_parameters() if weight.requires_grad}


def test_every_weight_that_is_used_is_trained_and_the_others_are_frozen():
    network = lively().train()
    found = gradients(network, draw(1, 3, 3, 16, 16))
    assert [name for name, gradient in found.items() if gradient is None or not bool(gradient.any())] == []
    frozen = {name for name, weight in network.named_parameters() if not weight.requires_grad}
    assert all(name == "backbone.mask_token" or "refinenet4.resConfUnit1" in name for name in frozen)
    assert len(frozen) == 1 + 4 * 4


def test_checkpointed_activations_give_the_same_gradients():
    network, images = lively().train(), draw(1, 2, 3, 16, 16)
    plain = gradients(network, images)
    plain = {name: gradient.clone() for name, gradient in plain.items()}
    network.enable_gradient_checkpointing()
    recomputed = gradients(network, images)
    for name, gradient in plain.items():
        torch.testing.assert_close(recomputed[name], gradient)


def test_dropout_is_drawn_from_the_generator_and_only_in_training():
    network, images = lively(dataclasses.replace(SMALL, dropout=0.5)), draw(1, 2, 3, 16, 16)
    assert_close(run(network, images), run(network, images), atol=0, rtol=0)
    network.train()
    first, same, other = (run(network, images, generator=torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert torch.equal(first.opacities, same.opacities)
    assert not torch.equal(first.opacities, other.opacities)
    with pytest.raises(ValueError, match="generator"):
        run(network, images)


def test_heads_compute_in_float32_under_autocast_and_behind_a_half_precision_backbone():
    network, images = lively(), draw(1, 2, 3, 16, 16)
    expected = run(network, images)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = run(network, images)
    network.backbone.to(torch.bfloat16)
    half = run(network, images)
    for result in (found, half):
        assert all(array.dtype == torch.float32 for array in result)
        assert float((result.opacities - expected.opacities).abs().max()) < 0.1


def test_means_reach_far_and_scales_have_a_ceiling():
    network = fresh(dataclasses.replace(SMALL, residual=False))
    with torch.no_grad():
        for head in (network.downstream_head1, network.downstream_head2):
            head.dpt.head[4].weight.zero_()
            head.dpt.head[4].bias.copy_(torch.tensor([0.0, 3.0, 4.0]))
        for head in (network.gaussian_param_head, network.gaussian_param_head2):
            head.dpt.head[4].weight.zero_()
            head.dpt.head[4].bias.zero_()
            head.dpt.head[4].bias[1:4] = torch.tensor([100.0, 0.0, -1.0])
            head.dpt.head[4].bias[4:8] = torch.tensor([0.0, 3.0, 0.0, 4.0])  # xyzw
            head.dpt.head[4].bias[8:] = torch.arange(12.0)  # red 0 to 3, green 4 to 7, blue 8 to 11
    found = run(network, draw(1, 2, 3, 16, 16))
    distance = np.expm1(5.0)
    np.testing.assert_allclose(found.means[0, 1, 3, 4], [0, 0.6 * distance, 0.8 * distance], rtol=1e-5)
    widths = [0.3, 0.02 * np.log(2), 0.02 * np.log1p(np.exp(-1))]
    np.testing.assert_allclose(found.scales[0, 0, 0, 0], widths, rtol=1e-5)
    np.testing.assert_allclose(found.quats[0, 0, 0, 0], [0.8, 0, 0.6, 0], rtol=1e-5)
    np.testing.assert_allclose(found.opacities, 0.5)
    expected = [[0, 4, 8], [0.025, 0.125, 0.225], [0.05, 0.15, 0.25], [0.075, 0.175, 0.275]]
    np.testing.assert_allclose(found.sh[0, 1, 2, 2], expected, rtol=1e-5)


# The config


@pytest.mark.parametrize("config", [BASE, TINY, SMALL])
def test_a_config_survives_json(config):
    assert NoPoSplatConfig.from_json(config.to_json(), "x") == config


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"hooks": (0, 2, 3)}, "hooks"),
        ({"hooks": (0, 2, 2, 4)}, "hooks"),
        ({"hooks": (0, 2, 3, 5)}, "hooks"),
        ({"level_dims": (1, 2, 3)}, "level_dims"),
        ({"encoder_heads": 3}, "encoder_heads"),
        ({"decoder_heads": 0}, "decoder_heads"),
        ({"sh_degree": 5}, "sh_degree"),
        ({"patch": 0}, "patch"),
        ({"patch": 8.0}, "patch"),
        ({"patch": True}, "patch"),
        ({"residual": 1}, "residual"),
        ({"hooks": ("0", 1, 2, 3)}, "hooks"),
        ({"start_depth": float("nan")}, "start_depth"),
        ({"start_opacity": 1.0}, "start_opacity"),
        ({"start_scale": 0.5}, "start_scale"),
        ({"dropout": 1.0}, "dropout"),
        ({"colour": 1}, "does not know"),
    ],
)
def test_settings_that_cannot_be_are_refused_by_name(change, fault):
    with pytest.raises(GatlasError, match=fault):
        NoPoSplatConfig.from_json({**TINY.to_json(), **change}, "x")
