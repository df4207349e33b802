"""The widened UNet against its base, packing against a table by hand, and the small network."""

import math

import pytest
import torch
from diffusers import UNet2DConditionModel

from gatlas.models.atlas_unet import AtlasUNet, pack, position_channels, position_planes, small_unet, unpack, widen
from tests.helpers.pipeline_files import WIDTH, small_base

TIMES = torch.tensor([10, 900])


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_packing_gives_each_attribute_the_opacity_as_its_fourth_channel():
    planes = torch.arange(14.0).expand(2, 2, 14)
    # offset 0-2, color 3-5, opacity 6, scale 7-9, rotation 10-13
    expected = [0, 1, 2, 6, 3, 4, 5, 6, 7, 8, 9, 6, 10, 11, 12, 13]
    assert pack(planes)[:, 0, 0].tolist() == expected
    assert pack(planes[None]).shape == (1, 16, 2, 2)


def test_unpacking_undoes_packing_and_averages_the_opacities():
    planes = draw(3, 4, 4, 14)
    torch.testing.assert_close(unpack(pack(planes)), planes)
    x = torch.zeros(16, 1, 1)
    x[3], x[7], x[11] = 0.1, 0.2, 0.6
    assert unpack(x)[0, 0, 6] == pytest.approx(0.3)


def test_four_equal_groups_at_a_quarter_give_exactly_what_the_base_gives():
    base = small_base().double()
    wide = widen(base, input_scale=0.25)
    x, text = draw(2, 4, 8, 8).double(), draw(2, 5, WIDTH).double()
    with torch.no_grad():
        expected = base(x, TIMES, text).sample
        found = wide(x.repeat(1, 4, 1, 1), TIMES, text).sample
    torch.testing.assert_close(found, expected.repeat(1, 4, 1, 1), atol=1e-12, rtol=1e-12)


def test_half_the_weights_keep_the_first_deviation_for_independent_groups():
    base = small_base()
    with torch.no_grad():
        base.conv_in.bias.zero_()
        before = base.conv_in(draw(64, 4, 8, 8)).std()
        x = draw(64, 16, 8, 8)
        kept, plain, equal = (widen(base, input_scale=scale).conv_in(x).std() for scale in (0.5, 1.0, 0.25))
    assert float(kept / before) == pytest.approx(1.0, abs=0.02)
    assert float(plain / before) == pytest.approx(2.0, abs=0.04)
    assert float(equal / before) == pytest.approx(0.5, abs=0.01)


def test_widening_leaves_the_base_alone_and_shares_nothing_with_it():
    base = small_base()
    before = {name: tensor.clone() for name, tensor in base.state_dict().items()}
    wide = widen(base)
    with torch.no_grad():
        for weight in wide.parameters():
            weight.add_(1.0)
    assert (base.config.in_channels, base.config.out_channels) == (4, 4)
    assert (wide.config.in_channels, wide.config.out_channels) == (16, 16)
    assert all(torch.equal(tensor, before[name]) for name, tensor in base.state_dict().items())


def test_the_config_of_a_widened_network_builds_it_again():
    wide = widen(small_base())
    again = UNet2DConditionModel.from_config(wide.config)
    again.load_state_dict(wide.state_dict())
    x, text = draw(2, 16, 8, 8), draw(2, 5, WIDTH)
    with torch.no_grad():
        assert torch.equal(again.eval()(x, TIMES, text).sample, wide(x, TIMES, text).sample)


def test_a_widened_network_trains_in_every_weight():
    network = AtlasUNet(widen(small_base()))
    network(draw(2, 16, 8, 8), TIMES, draw(2, 5, WIDTH)).square().mean().backward()
    assert all(weight.grad is not None and bool(weight.grad.isfinite().all()) for weight in network.parameters())


def test_the_small_network_has_the_size_of_the_measured_one_and_a_scale_beside_each_shift():
    network = small_unet(32, text_dim=128)
    blocks = [each for each in network.modules() if type(each).__name__ == "ResnetBlock2D"]
    assert [block.time_emb_proj.in_features for block in blocks] == [128] * len(blocks)
    scales = sum((128 + 1) * block.out_channels for block in blocks)
    assert sum(weight.numel() for weight in network.parameters()) - scales == pytest.approx(5.5e6, rel=0.02)
    assert (network.config.in_channels, network.config.out_channels) == (19, 16)


def test_position_planes_are_the_points_and_their_waves():
    points = draw(2, 4, 3)
    planes = position_planes(points, 2)
    assert planes.shape == (position_channels(2), 2, 4)
    x, y, z = points[1, 2].tolist()
    wanted = [
        *(x, y, z),
        *(math.sin(math.pi * v) for v in (x, y, z)),
        *(math.cos(math.pi * v) for v in (x, y, z)),
        *(math.sin(2 * math.pi * v) for v in (x, y, z)),
        *(math.cos(2 * math.pi * v) for v in (x, y, z)),
    ]
    torch.testing.assert_close(planes[:, 1, 2], torch.tensor(wanted), atol=1e-6, rtol=0)
    assert torch.equal(position_planes(points, 0), points.movedim(-1, 0))


def small(seed=0, **options):
    return small_unet(8, text_dim=16, widths=(8, 16), head_dim=8, seed=seed, **options)


def test_the_seed_decides_the_weights_and_nothing_else_is_drawn():
    state = torch.get_rng_state()
    first, same, other = small(1), small(1), small(2)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), same.parameters(), strict=True))
    assert not torch.equal(first.conv_in.weight, other.conv_in.weight)


@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("positions", [False, True])
def test_every_input_that_the_network_has_changes_its_prediction(pooled, positions):
    unet = small(pooled=pooled, positions=3 * positions).eval()
    places = draw(3, 8, 8, seed=5)
    x, text, gist = draw(2, 16, 8, 8), draw(2, 5, 16, seed=1), draw(2, 16, seed=2)

    def predict(x=x, times=TIMES, text=text, gist=gist, places=places):
        with torch.no_grad():
            return AtlasUNet(unet, places if positions else None)(x, times, text, gist)

    base = predict()
    assert base.shape == x.shape
    assert not torch.equal(base, predict(x=x + 1))
    assert not torch.equal(base, predict(times=TIMES + 50))
    assert not torch.equal(base, predict(text=-text))
    assert torch.equal(base, predict(gist=-gist)) is not pooled
    assert torch.equal(base, predict(places=-places)) is not positions


def test_half_precision_goes_in_and_out_as_it_is_asked_for():
    network = AtlasUNet(small(), draw(3, 8, 8)).to(torch.bfloat16)
    arguments = (TIMES, draw(2, 5, 16), draw(2, 16))
    assert network(draw(2, 16, 8, 8), *arguments).dtype == torch.float32
    assert network(draw(2, 16, 8, 8).bfloat16(), *arguments).dtype == torch.bfloat16


def test_all_weights_are_the_unets_own():
    network = AtlasUNet(small(), draw(3, 8, 8))
    assert {name.removeprefix("unet.") for name in network.state_dict()} == set(network.unet.state_dict())


def test_checkpointed_activations_give_the_same_gradients():
    inputs = (draw(2, 16, 8, 8), TIMES, draw(2, 5, 16), draw(2, 16))
    gradients = []
    for checkpointed in (False, True):
        network = AtlasUNet(small(), draw(3, 8, 8)).train()
        if checkpointed:
            network.enable_gradient_checkpointing()
        network(*inputs).square().mean().backward()
        gradients.append([weight.grad for weight in network.parameters()])
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, recomputed)


def test_an_odd_size_comes_out_as_it_went_in():
    network = AtlasUNet(widen(small_base()))
    with torch.no_grad():
        assert network(draw(1, 16, 9, 9), TIMES[:1], draw(1, 5, WIDTH)).shape == (1, 16, 9, 9)


def test_wrong_inputs_are_refused():
    with pytest.raises(ValueError, match="positions"):
        AtlasUNet(small())
    with pytest.raises(ValueError, match="positions"):
        AtlasUNet(small(positions=0), draw(3, 8, 8))
    with pytest.raises(ValueError, match="pooled"):
        AtlasUNet(small(positions=0))(draw(2, 16, 8, 8), TIMES, draw(2, 5, 16))
    with pytest.raises(ValueError, match="multiple of 8"):
        small_unet(20, text_dim=16)
    with pytest.raises(ValueError, match="widths"):
        small_unet(32, text_dim=16, widths=(32, 60))
    with pytest.raises(ValueError, match="attention_levels"):
        small_unet(32, text_dim=16, attention_levels=5)
