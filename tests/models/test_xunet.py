"""X-UNet and Concat-UNet: sizes, the prediction of a fresh network, what each input can change."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from gatlas.errors import GatlasError
from gatlas.geometry.cameras import orbit
from gatlas.models.xunet import POSE_CHANNELS, XUNet, dropped, encode_rays, fresh_network, log_snr_waves, weight_shapes
from gatlas.models.xunet_config import BASE, CPU, MIDDLE
from gatlas.types import Cameras

TINY = replace(
    CPU,
    side=8,
    channels=8,
    multiples=(1, 2),
    embedding=16,
    attention_levels=1,
    heads=2,
    groups=4,
    dropout=0.5,
    epipolar_points=0,
    open_start=False,
)
EPIPOLAR = replace(TINY, epipolar_points=3, attention_levels=0)
CONCAT = replace(TINY, network="concat")

pytestmark = pytest.mark.usefixtures("one_thread")


def count(config):
    return sum(math.prod(shape) for shape in weight_shapes(config).values())


def trained_like(config, seed=0):
    """A network none of whose layers is 0."""
    network = fresh_network(config, torch.Generator().manual_seed(seed)).eval()
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for weight in network.parameters():
            if not weight.any():
                weight.normal_(std=0.2, generator=generator)
    return network


def inputs(config=TINY, batch=2, seed=3):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(batch, 2, 3, config.side, config.side, generator=generator)
    cameras = orbit(2 * batch, config.side, config.side, elevation=20, distance=2.6)
    viewmats, Ks = (torch.from_numpy(each.astype(np.float64)) for each in (cameras.viewmats, cameras.Ks))
    poses = encode_rays(Cameras(viewmats, Ks, config.side, config.side)).unflatten(0, (batch, 2))
    return images, torch.linspace(-3, 3, batch), poses, torch.ones(batch, dtype=torch.bool)


def second_projections(config):
    """Weights of the further projection that the attention of the counted code has in each of its blocks."""
    levels = list(enumerate(config.widths))[len(config.multiples) - config.attention_levels :]
    attended = [width for _, width in levels for _ in range(2 * config.blocks + 1)] + [config.widths[-1]]
    return sum(2 * width * (width + 1) for width in attended)


def test_the_networks_have_as_many_weights_as_those_of_the_authors_listing():
    # Counted with the classes of another implementation of the listing, whose attention has a further projection.
    assert round(count(BASE) / 1e6, 2) == 461.66
    assert round((count(BASE) + second_projections(BASE)) / 1e6, 2) == 482.13
    assert round((count(MIDDLE) + second_projections(MIDDLE)) / 1e6, 2) == 136.67


@pytest.mark.parametrize(
    ("side", "multiples", "embedding", "blocks", "levels", "millions"),
    [
        (64, (1, 2, 2), 128, 1, 1, 2.48),
        (32, (1, 2, 2), 128, 1, 1, 2.04),
        (64, (1, 2, 2, 4), 128, 1, 2, 5.17),
        (64, (1, 2, 2, 4), 256, 2, 2, 8.21),
    ],
)
def test_so_have_small_ones(side, multiples, embedding, blocks, levels, millions):
    config = replace(
        CPU,
        side=side,
        channels=32,
        multiples=multiples,
        embedding=embedding,
        blocks=blocks,
        attention_levels=levels,
        epipolar_points=0,
    )
    assert round((count(config) + second_projections(config)) / 1e6, 2) == millions


def test_the_embeddings_are_optional():
    assert count(TINY) - count(replace(TINY, position_embedding=False)) == 8 * 8 * 144
    assert count(TINY) - count(replace(TINY, frame_embedding=False)) == 2 * 144


def test_concat_unet_has_the_weights_of_the_paper_apart_from_the_rays_of_a_second_view():
    concat = replace(BASE, network="concat")
    rays_of_a_view = len(BASE.multiples) * 144 * 9 * BASE.embedding
    assert round((count(concat) - rays_of_a_view) / 1e6) == 421
    assert count(concat) < count(BASE)


@pytest.mark.parametrize("config", [TINY, CONCAT])
def test_a_fresh_network_predicts_0_and_its_loss_is_the_variance_of_the_noise(config):
    network = fresh_network(config, torch.Generator().manual_seed(0))
    found = network(*inputs(config, 4))
    assert found.shape == (4, 3, 8, 8)
    assert found.dtype == torch.float32
    assert not found.any()


def test_a_fresh_network_with_epipolar_attention_predicts_a_view_of_the_colors_of_the_known_one():
    network = fresh_network(EPIPOLAR, torch.Generator().manual_seed(0))
    images, log_snr, poses, conditional = inputs(EPIPOLAR)
    images[:, 0] = 0.4  # one color, which then is that of all points
    with torch.no_grad():
        found = network(images, log_snr, poses, conditional)
    view = -found / torch.sigmoid(-log_snr).sqrt()[:, None, None, None]  # v is alpha epsilon - sigma view
    assert (view > 0).all()
    assert (view <= 0.4 + 1e-6).all()  # less where a point has none of its color
    torch.testing.assert_close(view[:, 0], view[:, 2], atol=1e-6, rtol=0)


@pytest.mark.parametrize("config", [TINY, EPIPOLAR, CONCAT])
def test_every_weight_has_a_gradient(config):
    network = trained_like(config)
    network(*inputs(config)).square().sum().backward()
    assert [name for name, weight in network.named_parameters() if weight.grad is None or not weight.grad.any()] == []


@pytest.mark.parametrize("config", [TINY, EPIPOLAR, CONCAT])
def test_a_row_without_its_condition_knows_nothing_of_the_rays(config):
    network = trained_like(config)
    images, log_snr, poses, conditional = inputs(config)
    conditional = torch.tensor([True, False])
    with torch.no_grad():
        first = network(images, log_snr, poses, conditional)
        second = network(images, log_snr, 2 * poses.flip(0), conditional)
    assert torch.equal(first[1], second[1])
    assert not torch.allclose(first[0], second[0], atol=1e-3)


@pytest.mark.parametrize("config", [TINY, EPIPOLAR, CONCAT])
@pytest.mark.parametrize("changed", ["clean view", "noisy view", "rays of the one", "rays of the other", "noise"])
def test_the_prediction_follows_from_each_input(config, changed):
    network = trained_like(config)
    images, log_snr, poses, conditional = inputs(config)
    other = images.clone(), log_snr.clone(), poses.clone(), conditional
    part = {
        "clean view": other[0][:, 0],
        "noisy view": other[0][:, 1],
        "rays of the one": other[2][:, 0],
        "rays of the other": other[2][:, 1],
        "noise": other[1],
    }[changed]
    part += 1.0
    with torch.no_grad():
        difference = network(images, log_snr, poses, conditional) - network(*other)
    assert (difference.abs().amax(dim=(1, 2, 3)) > 1e-3).all()


def test_without_attention_between_the_frames_the_clean_view_says_nothing():
    """The frames share their weights and meet in cross-attention alone."""
    network = trained_like(TINY)
    images, *rest = inputs()
    changed = images.clone()
    changed[:, 0] += 1.0
    with torch.no_grad():
        for module in network.modules():
            if getattr(module, "across", False):
                module.value.weight.zero_()
        torch.testing.assert_close(network(images, *rest), network(changed, *rest), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("config", [TINY, EPIPOLAR, CONCAT])
def test_a_row_depends_on_no_other_row(config):
    network = trained_like(config)
    whole = inputs(config, 3)
    with torch.no_grad():
        together = network(*whole)
        for i in range(3):
            alone = network(*(each[i : i + 1] for each in whole))
            torch.testing.assert_close(together[i : i + 1], alone, atol=1e-5, rtol=1e-4)


def test_log_snr_is_clipped_at_20():
    network = trained_like(TINY)
    images, _, poses, conditional = inputs()
    with torch.no_grad():
        found = [network(images, torch.full((2,), value), poses, conditional) for value in (20.0, 35.0, 19.0)]
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_the_noise_embedding_is_of_the_time_that_the_log_snr_has_in_the_cosine_schedule():
    # lambda = -2 log tan(pi t / 2), so that t = 1/2 at lambda 0: sines and cosines of 500 times each rate.
    waves = log_snr_waves(torch.tensor([0.0]), 8)[0]
    rates = 1e4 ** (-np.arange(4) / 3)
    np.testing.assert_allclose(waves, np.concatenate([np.sin(500 * rates), np.cos(500 * rates)]), atol=1e-4)


def test_rays_have_144_channels_of_position_and_direction():
    cameras = orbit(1, 4, 4, elevation=30, distance=2.0)
    found = encode_rays(
        Cameras(*(torch.from_numpy(each.astype(np.float64)) for each in (cameras.viewmats, cameras.Ks)), 4, 4)
    )
    assert found.shape == (1, 144, 4, 4)
    assert found.dtype == torch.float32
    center = np.array([0, 2 * np.sin(np.radians(30)), 2 * np.cos(np.radians(30))])
    np.testing.assert_allclose(found[0, :3, 2, 1], center, atol=1e-6)
    np.testing.assert_allclose(found[0, 3:6, 2, 1], np.sin(center), atol=1e-6)
    np.testing.assert_allclose(found[0, 90:93, 0, 0], np.cos(2**14 * center), atol=5e-3)  # of a camera in float32
    K, R = cameras.Ks[0].astype(np.float64), cameras.viewmats[0, :3, :3].astype(np.float64)
    direction = R.T @ np.linalg.inv(K) @ [1.5, 2.5, 1]  # of the pixel in column 1 and row 2
    np.testing.assert_allclose(found[0, 93:96, 2, 1], direction / np.linalg.norm(direction), atol=1e-6)


def test_dropout_follows_from_the_generator_and_the_same_is_dropped_where_activations_are_computed_again():
    losses, gradients = [], []
    for seed, again in ((0, False), (0, True), (1, False)):
        network = trained_like(TINY).train()
        if again:
            network.enable_gradient_checkpointing()
        found = network(*inputs(), torch.Generator().manual_seed(seed)).square().mean()
        found.backward()
        losses.append(float(found.detach()))
        gradients.append(network.conv_in.weight.grad.clone())
    assert losses[0] == losses[1] != losses[2]
    torch.testing.assert_close(gradients[0], gradients[1])
    assert not torch.allclose(gradients[0], gradients[2])


def test_dropout_keeps_the_mean_and_rests_outside_of_training():
    kept = dropped(torch.ones(1, 8, 50, 50), 0.5, 4)
    assert set(kept.unique().tolist()) == {0.0, 2.0}  # half is dropped
    assert float(kept.mean()) == pytest.approx(1.0, abs=0.03)
    network = trained_like(TINY)
    with torch.no_grad():
        assert torch.equal(network(*inputs(), torch.Generator().manual_seed(0)), network(*inputs()))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"side": 9}, "side must be a multiple of 2"),
        ({"groups": 3}, "groups must divide the 8 channels"),
        ({"heads": 3}, "heads must divide the attended channels"),
        ({"multiples": ()}, "multiples must be one number or more"),
        ({"attention_levels": 3}, "attention_levels must be at most 2"),
        ({"embedding": 15}, "embedding must be even"),
        ({"near": 2.0, "far": 2.0}, "far must be greater than near"),
        ({"network": "unet"}, "network must be xunet or concat"),
    ],
)
def test_sizes_that_do_not_fit_are_one_line(change, told):
    with pytest.raises(GatlasError, match=told):
        replace(TINY, **change)


def test_pictures_of_another_size_are_refused():
    with pytest.raises(ValueError, match="must have 8 x 8 pixels"):
        XUNet(TINY)(*inputs(replace(TINY, side=16)))


@pytest.mark.parametrize("config", [TINY, CONCAT])
def test_rays_are_embedded_as_by_convolutions_of_all_their_channels(config):
    network = trained_like(config)
    cameras = orbit(4, 8, 8, elevation=30, distance=2.0)
    tensors = (torch.from_numpy(each.astype(np.float64)) for each in (cameras.viewmats, cameras.Ks))
    poses = encode_rays(Cameras(*tensors, 8, 8)).unflatten(0, (2, 2))
    embed = network.embed
    learned = poses + embed.pixels + embed.frames[:, :, None, None]
    joined = 2 // config.frames
    for level in embed.levels:
        expected = level(learned.reshape(-1, POSE_CHANNELS * joined, 8, 8))
        torch.testing.assert_close(embed.convolved(poses, level), expected, atol=1e-4, rtol=1e-4)


def test_weights_of_short_waves_are_small_at_first_where_the_config_says_so():
    published, falling = (
        fresh_network(replace(TINY, octave_falloff=each), torch.Generator().manual_seed(0)) for each in (1.0, 0.5)
    )
    for before, after in zip(published.embed.levels, falling.embed.levels, strict=True):
        ratio = (after.weight / before.weight)[0, :, 0, 0].detach().numpy()
        np.testing.assert_allclose(
            ratio[[3, 6, 45, 48, 51, 93 + 27]] / ratio[0], [1, 0.5, 2.0**-14, 1, 0.5, 1], rtol=1e-5
        )
        np.testing.assert_allclose(ratio[93:96], ratio[:3], rtol=1e-5)
        np.testing.assert_allclose(np.square(ratio).mean(), 1.0, rtol=1e-5)
    assert torch.equal(published.conv_in.weight, falling.conv_in.weight)


def test_with_an_open_start_frames_attend_to_the_same_place_of_each_other_at_first():
    """Twice the same view and noise: a pixel's own place in the other frame weighs most; published, all weigh alike."""
    weights = {}
    for start in (False, True):
        config = replace(CPU, open_start=start, epipolar_points=0)
        network = fresh_network(config, torch.Generator().manual_seed(0)).eval()
        module = next(each for each in network.down[4].attention if each.across)
        found = []
        module.register_forward_pre_hook(lambda module, inputs, found=found: found.append(inputs[0]))
        images, log_snr, poses, conditional = inputs(CPU)
        poses = poses[:, :1].expand(-1, 2, -1, -1, -1)
        with torch.no_grad():
            assert not network(images, log_snr, poses, conditional).any()
            tokens = module.norm(found[0]).flatten(2).transpose(1, 2)
            query, key = module.split_heads(module.query(tokens)), module.split_heads(module.key(tokens))
            logits = query[1::2] @ key[0::2].transpose(-1, -2) / query.shape[-1] ** 0.5
        weights[start] = float(logits.softmax(-1).diagonal(dim1=-2, dim2=-1).mean())
    assert weights[False] < 2 / 64
    assert weights[True] > 8 / 64
