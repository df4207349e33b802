"""Published checkpoints of NoPoSplat and its model folders; a small network stands in for the published size."""

import dataclasses
import os
import pickle

import pytest
import torch
from safetensors.torch import load_file, save_file

from gatlas.errors import GatlasError
from gatlas.io.models.pipeline import read_description
from gatlas.systems.noposplat.checkpoint import load_network, load_published, save_description, save_weights
from gatlas.systems.noposplat.network import TINY, NoPoSplat, NoPoSplatConfig, fresh_network, weight_shapes

CONFIG = dataclasses.replace(
    TINY,
    encoder_dim=16,
    encoder_depth=1,
    encoder_heads=2,
    decoder_dim=8,
    decoder_depth=3,
    decoder_heads=2,
    hooks=(0, 1, 2, 3),
    head_dim=4,
    level_dims=(3, 4, 5, 6),
)
SHAPES = weight_shapes(CONFIG)
SECOND = "downstream_head1.dpt.scratch.layer_rn.2.weight"


@pytest.fixture(scope="module")
def network():
    return fresh_network(CONFIG, torch.Generator().manual_seed(3)).eval()


@pytest.fixture
def state(network):
    """What a checkpoint holds: prefixed weights, shared ones under both names."""
    return {f"encoder.{name}": weight for name, weight in network.state_dict().items()}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "re10k.ckpt"


def write(path, state, **options):
    torch.save({"state_dict": state, "epoch": 3, "global_step": 9}, path, **options)


def predict(network):
    images = torch.rand((1, 2, 3, 16, 16), generator=torch.Generator().manual_seed(0))
    intrinsics = torch.tensor([[0.9, 0, 0.5], [0, 0.9, 0.5], [0, 0, 1]]).expand(1, 2, 3, 3)
    with torch.no_grad():
        return network(images, intrinsics)


def built(weights, config=CONFIG):
    with torch.device("meta"):
        network = NoPoSplat(config)
    network.load_state_dict(weights, assign=True)
    return network.eval()


def assert_refused(path, pattern):
    with pytest.raises(GatlasError, match=pattern) as caught:
        load_published(path, SHAPES)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize("zipped", [True, False])
def test_a_published_checkpoint_gives_the_network_that_it_is_of(network, state, path, zipped):
    write(path, state, _use_new_zipfile_serialization=zipped)
    loaded = built(load_published(path, SHAPES))
    for found, expected in zip(predict(loaded), predict(network), strict=True):
        assert torch.equal(found, expected)


def test_weights_that_share_memory_share_it_again_and_none_is_left_in_the_file(state, path):
    write(path, {name: weight.clone() for name, weight in state.items()})
    weights = load_published(path, SHAPES)
    assert weights[SECOND].data_ptr() == weights[SECOND.replace("layer_rn.2", "layer3_rn")].data_ptr()
    before = weights[SECOND].clone()
    path.write_bytes(bytes(path.stat().st_size))
    assert torch.equal(weights[SECOND], before)


def test_the_trainings_own_state_beside_the_network_is_left_out(state, path):
    write(path, {**state, "losses.1.lpips.lin0.weight": torch.ones(3), "step": torch.tensor(3)})
    assert set(load_published(path, SHAPES)) == set(SHAPES)


def test_a_bare_state_dict_is_read_too(network, path):
    torch.save(network.state_dict(), path)
    assert set(load_published(path, SHAPES)) == set(SHAPES)


def test_half_precision_weights_become_float32(state, path):
    write(path, {name: weight.bfloat16() for name, weight in state.items()})
    assert {weight.dtype for weight in load_published(path, SHAPES).values()} == {torch.float32}


def test_missing_weights_are_named(state, path):
    gone = [name for name in state if "enc_norm" in name or "dec_norm" in name]
    write(path, {name: weight for name, weight in state.items() if name not in gone})
    assert_refused(path, r"lacks weights 'backbone.enc_norm.weight', .* and 1 more: this is no published checkpoint")


def test_unknown_weights_are_named(state, path):
    write(path, {**state, "encoder.backbone.cls_token": torch.ones(1)})
    assert_refused(path, "has unknown weights 'backbone.cls_token': ")


def test_a_wrong_shape_is_named(state, path):
    write(path, {**state, "encoder.backbone.patch_embed.proj.bias": torch.ones(17)})
    assert_refused(path, r"'backbone.patch_embed.proj.bias' has shape \[17\], and the network has \[16\]: ")


def test_two_names_with_different_weights_are_refused(state, path):
    write(path, {**state, f"encoder.{SECOND}": state[f"encoder.{SECOND}"] + 1})
    assert_refused(path, "damaged: '.*layer_rn.2.weight' differs from '.*layer3_rn.weight'")


@pytest.mark.parametrize(("value", "fault"), [(torch.full((16,), torch.nan), "NaN"), (torch.ones(16).int(), "int32")])
def test_values_that_are_no_numbers_are_refused(state, path, value, fault):
    write(path, {**state, "encoder.backbone.enc_norm.bias": value})
    assert_refused(path, f"damaged: '(encoder.)?backbone.enc_norm.bias' holds .*{fault}")


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_a_truncated_file_is_refused(state, path, share, zipped):
    write(path, state, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    assert_refused(path, "not a torch file of weights, or damaged: download it again")


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("plain", [True, False])
def test_a_file_with_code_is_refused_and_the_code_not_run(state, path, tmp_path, plain):
    trap = {"state_dict": state, "hyper_parameters": Trap(tmp_path / "sprung")}
    if plain:
        path.write_bytes(pickle.dumps(trap["hyper_parameters"], protocol=2))
    else:
        torch.save(trap, path)
    assert_refused(path, r"holds more than weights \(\w+\.mkdir\), which gatlas does not run")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("content", [[1, 2], {"state_dict": [1]}, {"state_dict": {"encoder.a": 1}}, {"a": "b"}])
def test_a_file_without_a_state_dict_is_refused(path, content):
    torch.save(content, path)
    assert_refused(path, "holds no state dict")


def test_what_is_no_file_is_refused(path, tmp_path):
    assert_refused(path, "No such file")
    assert_refused(tmp_path, "Is a directory")
    path.write_text("a text\n" * 9)
    assert_refused(path, "not a torch file of weights")


def converted(path, folder, state):
    """A model folder of a published checkpoint."""
    write(path, state)
    (folder / "network").mkdir(parents=True)
    save_weights(folder / "network", load_published(path, SHAPES))
    save_description(folder, CONFIG.to_json())
    return folder


def test_a_converted_checkpoint_is_a_model_folder_that_predicts_the_same(network, state, path, tmp_path):
    folder = converted(path, tmp_path / "model", state)
    description = read_description(folder)
    config = NoPoSplatConfig.from_json(description["config"], str(folder))
    assert description["system"] == "noposplat"
    assert config == CONFIG
    loaded = built(load_network(folder, weight_shapes(config)), config)
    for found, expected in zip(predict(loaded), predict(network), strict=True):
        assert torch.equal(found, expected)


def test_shared_weights_are_stored_once(network, state, path, tmp_path):
    folder = converted(path, tmp_path / "model", state)
    stored = load_file(folder / "network" / "model.safetensors")
    assert set(stored) == {name for name in SHAPES if ".layer_rn." not in name}
    assert sum(weight.numel() for weight in stored.values()) == sum(w.numel() for w in network.parameters())


def test_a_trained_networks_parameters_are_enough_to_be_saved(network, tmp_path):
    (tmp_path / "network").mkdir()
    save_weights(tmp_path / "network", dict(network.named_parameters()))  # which have no second names
    assert all(torch.equal(network.state_dict()[name], w) for name, w in load_network(tmp_path, SHAPES).items())


def damage(folder, change):
    file = folder / "network" / "model.safetensors"
    stored = load_file(file)
    change(stored)
    save_file(stored, file)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda stored: stored.pop("backbone.enc_norm.bias"), "lacks weights 'backbone.enc_norm.bias'"),
        (lambda stored: stored.update(more=torch.ones(2)), "has unknown weights 'more'"),
        (lambda stored: stored.update({"backbone.enc_norm.bias": torch.ones(3)}), r"has shape \[3\]"),
        (lambda stored: stored["backbone.enc_norm.bias"].fill_(torch.inf), "NaN or infinity"),
    ],
)
def test_a_model_folder_that_does_not_fit_its_config_is_refused(state, path, tmp_path, change, fault):
    folder = converted(path, tmp_path / "model", state)
    damage(folder, change)
    with pytest.raises(GatlasError, match=fault):
        load_network(folder, SHAPES)


def test_a_folder_without_a_network_is_refused(tmp_path):
    with pytest.raises(GatlasError, match="has no network yet"):
        load_network(tmp_path, SHAPES)
    (tmp_path / "network").mkdir()
    with pytest.raises(GatlasError, match=r"there is no model\.safetensors"):
        load_network(tmp_path, SHAPES)
