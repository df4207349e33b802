"""The estimate of the basis: its algebra against the definitions, and what it learns."""

import pytest
import torch

from gatlas.models.atlas_basis import AtlasBasis, Estimate
from gatlas.models.atlas_unet import CHANNELS, AtlasUNet, small_unet
from gatlas.models.text import encode_prompts
from gatlas.models.words import word_encoder, word_tokenizer

WIDTH, SIZE = 16, 8


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture(scope="module")
def estimate():
    return Estimate(draw(4, 3, 2, 2, seed=1), draw(4, 3, 1, 1, seed=2).exp())


@pytest.fixture(scope="module")
def levels():
    angles = torch.tensor([0.1, 0.7, 1.3, torch.pi / 2], dtype=torch.float64)[:, None, None, None]
    return angles.cos(), angles.sin()  # the last is pure noise


def test_what_is_left_of_the_atlas_has_unit_variance_and_its_v_gives_that_of_the_atlas(estimate, levels):
    alpha, sigma = levels
    r, noise = draw(4, 3, 2, 2, seed=3), draw(4, 3, 2, 2, seed=4)
    x0 = estimate.mean + estimate.deviation * r
    own_alpha, own_sigma = estimate.deviation * alpha, sigma
    scale = torch.hypot(own_alpha, own_sigma.expand_as(own_alpha))
    own_alpha, own_sigma = own_alpha / scale, own_sigma / scale
    residual = estimate.residual(alpha * x0 + sigma * noise, alpha, sigma)
    torch.testing.assert_close(residual, own_alpha * r + own_sigma * noise)
    v = estimate.v_of(own_alpha * noise - own_sigma * r, residual, alpha, sigma)
    torch.testing.assert_close(v, alpha * noise - sigma * x0)


def test_its_likelihood_is_that_of_a_normal_distribution(estimate):
    x0 = draw(4, 3, 2, 2, seed=5)
    normal = torch.distributions.Normal(estimate.mean, estimate.deviation.expand_as(x0))
    expected = -normal.log_prob(x0).mean(dim=(1, 2, 3)) - torch.log(torch.tensor(2 * torch.pi).double()) / 2
    torch.testing.assert_close(estimate.negative_log_likelihood(x0), expected)


def test_without_text_a_network_predicts_what_it_predicts_without_a_basis():
    unet = small_unet(SIZE, text_dim=WIDTH, widths=(32, 32), positions=0)
    basis = AtlasBasis(3, CHANNELS, SIZE, WIDTH)
    with torch.no_grad():
        basis.log_deviation.fill_(-0.5)
    angles = torch.linspace(0.1, 1.5, 10)
    levels = torch.stack([angles.cos(), angles.sin()])
    x, text = draw(2, CHANNELS, SIZE, SIZE).float(), torch.zeros(2, 4, WIDTH)
    pooled = draw(2, WIDTH, seed=1).float() * torch.tensor([[0.0], [1.0]])
    times = torch.tensor([2, 9])
    with torch.no_grad():
        plain = AtlasUNet(unet)(x, times, text, pooled)
        found, estimate, _ = AtlasUNet(unet, basis=basis, levels=levels)(x, times, text, pooled, with_parts=True)
    torch.testing.assert_close(found[0], plain[0], atol=1e-6, rtol=1e-5)
    assert float((found[1] - plain[1]).abs().max()) > 1e-2
    assert not estimate.mean[0].any()
    assert torch.equal(estimate.deviation[0], torch.ones(CHANNELS, 1, 1))


def test_it_needs_the_levels_of_the_noise():
    with pytest.raises(ValueError, match="needs the levels"):
        AtlasUNet(small_unet(SIZE, text_dim=WIDTH, widths=(32, 32), positions=0), basis=AtlasBasis(1, 16, SIZE, WIDTH))


def test_it_learns_what_words_add_and_adds_it_in_new_combinations():
    colors, shapes = ("red", "blue", "green", "white"), ("cube", "vase", "ring", "star")
    captions = [f"a {color} {shape}" for color in colors for shape in shapes]
    atlases = draw(4, 1, 2, SIZE, SIZE, seed=6) + draw(1, 4, 2, SIZE, SIZE, seed=7)
    atlases = atlases.float().flatten(0, 1)
    learned = torch.tensor([i % 5 != 0 for i in range(16)])  # all but one color of each shape
    tokenizer = word_tokenizer(captions)
    _, pooled = encode_prompts(tokenizer, word_encoder(tokenizer, captions), captions)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        basis = AtlasBasis(12, 2, SIZE, pooled.shape[1])
    optimizer = torch.optim.Adam(basis.parameters(), lr=1e-2)
    for _ in range(300):
        optimizer.zero_grad()
        basis(pooled[learned]).negative_log_likelihood(atlases[learned]).mean().backward()
        optimizer.step()
    with torch.no_grad():
        mean, deviation, _ = basis(pooled)
    errors = (mean - atlases).square().mean(dim=(1, 2, 3)) / atlases.var()
    assert float(errors[learned].max()) < 0.01
    assert float(errors[~learned].max()) < 0.1
    assert float(deviation.max()) < 0.5  # they began at 1
