"""The encoder of pictures, and a network that has one."""

import pytest
import torch

from gatlas.models.atlas_unet import AtlasUNet, coarse, small_unet
from gatlas.models.pictures import PictureEncoder

TIMES = torch.tensor([10, 500, 900])
SHOWN = torch.tensor([True, False, True])
DIM = 16


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def pictures(seed=0):
    return torch.rand((3, 32, 32, 3), generator=torch.Generator().manual_seed(seed))


def network(pooled=True):
    unet = small_unet(8, text_dim=DIM, widths=(8, 16), head_dim=8, pooled=pooled, positions=0).eval()
    return AtlasUNet(unet), AtlasUNet(unet, pictures=PictureEncoder(32, DIM))


def predict(net, *shown, **options):
    return net(draw(3, 16, 8, 8), TIMES, draw(3, 5, DIM, seed=1), draw(3, DIM, seed=2), *shown, **options)


@pytest.mark.parametrize("side", [16, 32, 64, 128])
def test_a_picture_of_any_side_is_64_tokens_and_a_summary(side):
    encoded = PictureEncoder(side, 24, channels=3)(torch.rand(2, side, side, 3))
    assert encoded.tokens.shape == (2, 65, 24)
    assert torch.equal(encoded.tokens[:, -1], encoded.summary)
    assert encoded.guess.shape == (2, 3, 8, 8)


@pytest.mark.parametrize("side", [0, 8, 48, 65])
def test_other_sides_are_refused(side):
    with pytest.raises(ValueError, match=r"must be 16, 32, 64 and so on, got"):
        PictureEncoder(side, 24)


def test_tokens_know_their_places_and_their_own_picture_only():
    encoder = PictureEncoder(64, 24)
    plain = torch.full((2, 64, 64, 3), 0.5)
    plain[1] = torch.rand((64, 64, 3), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        both, alone = encoder(plain).tokens, encoder(plain[:1]).tokens
    torch.testing.assert_close(both[:1], alone)
    inner = both[0, :64].view(8, 8, -1)[3:5, 3:5].flatten(0, 1)  # the same gray around each of them
    assert float((inner[0] - inner[1:]).norm(dim=-1).min()) > 0.1


def test_the_seed_decides_the_weights_and_nothing_else_is_drawn():
    state = torch.get_rng_state()
    first, same, other = (PictureEncoder(16, 8, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), same.parameters(), strict=True))
    assert not torch.equal(first.stem.weight, other.stem.weight)


@pytest.mark.parametrize("pooled", [False, True])
def test_without_a_picture_a_sample_is_what_it_is_without_the_encoder(pooled):
    plain, net = network(pooled)
    with torch.no_grad():
        expected, found, other = predict(plain), predict(net, pictures(), SHOWN), predict(net, pictures(1), SHOWN)
        assert torch.equal(predict(net), expected)
    torch.testing.assert_close(found[1], expected[1])
    torch.testing.assert_close(other[1], expected[1])
    assert all(float((found[i] - expected[i]).abs().max()) > 1e-4 for i in (0, 2))
    assert all(float((found[i] - other[i]).abs().max()) > 1e-6 for i in (0, 2))


@pytest.mark.parametrize("pooled", [False, True])
def test_the_denoiser_trains_the_encoder_by_pictures_that_are_shown_and_the_guess_by_all(pooled):
    _, net = network(pooled)

    def trained(shown, guess):
        net.zero_grad()
        prediction, guessed = predict(net, pictures(), shown, with_guess=True)
        ((1 - guess) * prediction.square().mean() + guess * guessed.square().mean()).backward()
        # Each has a gradient, so that processes that show no picture agree with those that do.
        return {name.split(".")[0] for name, weight in net.pictures.named_parameters() if weight.grad.any()}

    hidden = torch.zeros(3, dtype=torch.bool)
    every = {"stem", "levels", "local", "places", "norm", "narrow", "whole", "head"}
    assert trained(hidden, 0) == set()
    assert trained(SHOWN, 0) == every - {"head"}
    assert trained(hidden, 1) == {"stem", "levels", "narrow", "whole", "head"}
    assert trained(SHOWN, 0.5) == every


def test_a_network_without_the_encoder_refuses_pictures():
    plain, _ = network()
    with pytest.raises(ValueError, match="has no encoder of pictures"):
        predict(plain, pictures(), SHOWN)
    with pytest.raises(ValueError, match="must be pictures to guess from"):
        predict(plain, with_guess=True)


def test_coarse_cells_are_means():
    x = torch.arange(32.0).view(1, 2, 4, 4)
    assert coarse(x, 2)[0, 1].tolist() == [[18.5, 20.5], [26.5, 28.5]]  # 16 17 20 21 and so on
    assert torch.equal(coarse(x, 4), x)
