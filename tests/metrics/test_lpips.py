"""LPIPS against a twin that is written out layer by layer, with random weights: the real ones are not shipped."""

from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional

from gatlas.errors import GatlasError
from gatlas.metrics.lpips import Lpips, load_lpips

# (number of torchvision's layer, outputs, kernel, stride, padding); the pools come before the layers that are named.
CONVOLUTIONS = {
    "vgg16": [
        *[(n, size, 3, 1, 1) for n, size in ((0, 64), (2, 64), (5, 128), (7, 128), (10, 256), (12, 256), (14, 256))],
        *[(n, 512, 3, 1, 1) for n in (17, 19, 21, 24, 26, 28)],
    ],
    "alexnet": [(0, 64, 11, 4, 2), (3, 192, 5, 1, 2), (6, 384, 3, 1, 1), (8, 256, 3, 1, 1), (10, 256, 3, 1, 1)],
}
POOLS = {"vgg16": ({5, 10, 17, 24}, 2, 2), "alexnet": ({3, 6}, 3, 2)}
COMPARED = {"vgg16": {2: 0, 7: 1, 14: 2, 21: 3, 28: 4}, "alexnet": {0: 0, 3: 1, 6: 2, 8: 3, 10: 4}}


def random_state(network, seed=0):
    generator = torch.Generator().manual_seed(seed)
    state, width = {}, 3
    for number, size, kernel, _, _ in CONVOLUTIONS[network]:
        fan = width * kernel * kernel
        state[f"features.{number}.weight"] = torch.randn(size, width, kernel, kernel, generator=generator) / fan**0.5
        state[f"features.{number}.bias"] = 0.1 * torch.randn(size, generator=generator)
        if number in COMPARED[network]:
            state[f"lin{COMPARED[network][number]}"] = torch.rand(size, generator=generator)
        width = size
    return state


def twin(network, state, a, b):
    """Zhang et al. 2018, eq. 1, for one pair of pictures [h w 3] in [0, 1]."""

    def activations(image):
        x = (image.permute(2, 0, 1)[None] * 2 - 1).clone()
        for channel, (shift, scale) in enumerate(((-0.030, 0.458), (-0.088, 0.448), (-0.188, 0.450))):
            x[:, channel] = (x[:, channel] - shift) / scale
        pooled, size, step = POOLS[network]
        for number, _, _, stride, padding in CONVOLUTIONS[network]:
            if number in pooled:
                x = functional.max_pool2d(x, size, step)
            weight, bias = state[f"features.{number}.weight"], state[f"features.{number}.bias"]
            x = functional.relu(functional.conv2d(x, weight, bias, stride, padding))
            if number in COMPARED[network]:
                yield COMPARED[network][number], functional.normalize(x, dim=1, eps=1e-10)

    total = 0.0
    for (layer, x), (_, y) in zip(activations(a), activations(b), strict=True):
        head = state[f"lin{layer}"].view(1, -1, 1, 1)
        total += float(functional.conv2d((x - y) ** 2, head).mean())
    return total


@pytest.fixture(scope="module", params=["vgg16", "alexnet"])
def network(request):
    return request.param


@pytest.fixture(scope="module")
def state(network):
    return random_state(network)


@pytest.fixture(scope="module")
def lpips(network, state):
    return Lpips(network, state)


def pictures(seed, count=2, height=40, width=36):
    return torch.rand(count, height, width, 3, generator=torch.Generator().manual_seed(seed))


def test_it_is_the_distance_of_the_paper(network, state, lpips):
    a, b = pictures(1), pictures(2)
    expected = [twin(network, state, x, y) for x, y in zip(a, b, strict=True)]
    assert lpips(a, b).tolist() == pytest.approx(expected, rel=1e-4)


def test_equal_pictures_have_distance_zero(lpips):
    a = pictures(1)
    assert lpips(a, a.clone()).tolist() == [0.0, 0.0]


def test_the_gradient_is_the_slope(lpips):
    a, b = pictures(3, 1).requires_grad_(), pictures(4, 1)
    (gradient,) = torch.autograd.grad(lpips(a, b).sum(), a)
    with torch.no_grad():
        step = 2e-3 * gradient / gradient.norm()
        slope = (lpips(a + step, b) - lpips(a - step, b)).item() / 2
    assert slope == pytest.approx(2e-3 * gradient.norm().item(), rel=0.05)


def test_dead_features_give_no_nan(network, state):
    """A pixel whose features are all 0 has no direction; a plain square root would give NaN there."""
    dead = {name: -torch.ones_like(value) if name.endswith("bias") else value for name, value in state.items()}
    dead = {name: 0 * value if name.endswith(".weight") else value for name, value in dead.items()}
    a = pictures(5, 1).requires_grad_()
    distance = Lpips(network, dead)(a, pictures(6, 1)).sum()
    (gradient,) = torch.autograd.grad(distance, a)
    assert distance.item() == 0
    assert gradient.abs().max().item() == 0


def test_the_weights_are_frozen_and_other_keys_left_out(network, state):
    lpips = Lpips(network, {**state, "classifier.0.weight": torch.zeros(1)})
    assert not any(parameter.requires_grad for parameter in lpips.parameters())


def test_a_missing_key_is_named(network, state):
    with pytest.raises(ValueError, match="'lin3'"):
        Lpips(network, {name: value for name, value in state.items() if name != "lin3"})


def test_a_wrong_shape_is_named(network, state):
    with pytest.raises(ValueError, match="lin0"):
        Lpips(network, {**state, "lin0": torch.zeros(7)})


def test_negative_heads_are_refused(network, state):
    with pytest.raises(ValueError, match="negative"):
        Lpips(network, {**state, "lin2": -state["lin2"]})


def test_pictures_too_small_for_the_network_are_refused(lpips):
    side = lpips.smallest
    assert torch.isfinite(lpips(pictures(7, 1, side, side), pictures(8, 1, side, side))).all()
    with pytest.raises(ValueError, match=f">= {side}"):
        lpips(pictures(7, 1, side - 1, side), pictures(8, 1, side - 1, side))


def test_unknown_networks_are_refused():
    with pytest.raises(ValueError, match="vgg16, alexnet"):
        Lpips("resnet", {})


def test_a_loaded_network_is_that_of_the_state_in_the_file(network, state, lpips, tmp_path):
    save_file(state, tmp_path / "weights.safetensors")
    loaded = load_lpips(tmp_path / "weights.safetensors")
    assert loaded.network == network
    a, b = pictures(9), pictures(10)
    assert torch.equal(loaded(a, b), lpips(a, b))


def test_what_keeps_a_network_from_loading_is_one_line_with_the_remedies(tmp_path):
    save_file(random_state("alexnet"), tmp_path / "weights.safetensors")
    remedies = {"without": "--set lpips=0", "larger": "--set side=64"}
    assert load_lpips(tmp_path / "weights.safetensors", side=31, **remedies).smallest == 31
    with pytest.raises(GatlasError) as small:
        load_lpips(tmp_path / "weights.safetensors", side=30, **remedies)
    assert str(small.value) == "LPIPS needs pictures of 31 pixels or more: --set side=64, or --set lpips=0"
    with pytest.raises(GatlasError, match=r"none\.pth.*; or train without this term: --set lpips=0$"):
        load_lpips(tmp_path / "none.pth", **remedies)
    with pytest.raises(GatlasError, match=r"none\.pth(?!.*train without)"):
        load_lpips(tmp_path / "none.pth")


def test_distances_are_those_of_the_lpips_package_with_its_own_heads(no_shape_checks):
    """The same random backbone is given to both; the heads are the package's, trained ones."""
    from tests.helpers.torchvision_stub import stub_torchvision

    with stub_torchvision() as modules:
        try:
            import lpips
        except ImportError as error:
            pytest.skip(f"lpips is not installed: {error}")
        state = random_state("alexnet")
        ours = Lpips("alexnet", state)
        modules["torchvision.models"].alexnet = lambda **_: SimpleNamespace(features=ours.features)
        theirs = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
    for i in range(5):
        getattr(ours, f"lin{i}").copy_(getattr(theirs, f"lin{i}").model[1].weight.detach().reshape(-1))
    one, other = torch.rand((2, 2, 64, 48, 3), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = theirs(*(each.permute(0, 3, 1, 2) * 2 - 1 for each in (one, other))).reshape(-1)
    torch.testing.assert_close(ours(one, other), expected, rtol=1e-4, atol=1e-6)
