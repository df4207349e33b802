"""Finding and reading the weights of LPIPS; small files stand in for the real ones."""

import importlib.util
import pickle
import sys
import zipfile
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from gatlas.errors import GatlasError
from gatlas.io.models.lpips_weights import hub_folder, load_lpips_weights, missing_lpips_weights

CHANNELS = {"vgg16": (64, 128, 256, 512, 512), "alexnet": (64, 192, 384, 256, 256)}
NAMES = {"vgg16": ("vgg16-397923af.pth", "vgg.pth"), "alexnet": ("alexnet-owt-7be5be79.pth", "alex.pth")}


def backbone(network):
    kernel = 3 if network == "vgg16" else 11
    first = torch.arange(64 * 3 * kernel * kernel, dtype=torch.float32).reshape(64, 3, kernel, kernel)
    return {"features.0.weight": first, "features.0.bias": torch.ones(64), "classifier.6.bias": torch.zeros(2)}


def heads(network, suffix=".model.1.weight", value=0.5):
    return {f"lin{i}{suffix}": torch.full((1, c, 1, 1), value) for i, c in enumerate(CHANNELS[network])}


@pytest.fixture(autouse=True)
def bare(monkeypatch, tmp_path):
    """No hub cache but an empty one, and no package that ships heads."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    packages = {}
    real = importlib.util.find_spec

    def find_spec(name, *args):
        return packages.get(name) if name in ("lpips", "torchmetrics") else real(name, *args)

    monkeypatch.setattr(importlib.util, "find_spec", find_spec)
    return packages


def install(packages, folder, network, package="lpips"):
    """A package that holds the heads of a network and cannot be imported."""
    inside = {"lpips": "weights/v0.1", "torchmetrics": "functional/image/lpips_models"}[package]
    place = folder / package
    (place / inside).mkdir(parents=True)
    (place / "__init__.py").write_text("raise ImportError('torchvision')")
    torch.save(heads(network), place / inside / NAMES[network][1])
    packages[package] = SimpleNamespace(submodule_search_locations=[str(place)])


def cache(network):
    hub_folder().mkdir(parents=True)
    torch.save(backbone(network), hub_folder() / NAMES[network][0])


@pytest.mark.parametrize("network", ["vgg16", "alexnet"])
@pytest.mark.parametrize("package", ["lpips", "torchmetrics"])
def test_the_hub_cache_and_an_installed_package_are_enough(bare, tmp_path, network, package):
    cache(network)
    install(bare, tmp_path, network, package)
    assert missing_lpips_weights(network) is None
    weights = load_lpips_weights(network=network)
    assert weights.network == network
    assert set(weights.state) == {"features.0.weight", "features.0.bias", *(f"lin{i}" for i in range(5))}
    assert [tuple(weights.state[f"lin{i}"].shape) for i in range(5)] == [(c,) for c in CHANNELS[network]]
    assert torch.equal(weights.state["features.0.weight"], backbone(network)["features.0.weight"])
    assert [source.rsplit("/", 1)[1] for source in weights.sources] == list(NAMES[network])
    assert package not in sys.modules


def test_without_a_cache_the_line_says_how_to_get_the_weights(tmp_path):
    lack = missing_lpips_weights("vgg16")
    assert "https://download.pytorch.org/models/vgg16-397923af.pth" in lack
    assert str(hub_folder()) in lack
    assert "--lpips-weights" in lack
    assert "\n" not in lack
    with pytest.raises(GatlasError, match="LPIPS is not available: no weights of vgg16"):
        load_lpips_weights()


def test_without_heads_the_line_names_the_package():
    cache("alexnet")
    assert "pip install --no-deps lpips" in missing_lpips_weights("alexnet")
    with pytest.raises(GatlasError, match="no LPIPS heads for alexnet"):
        load_lpips_weights(network="alexnet")


@pytest.mark.parametrize("suffix", ["", ".weight", ".model.1.weight"])
def test_one_file_may_hold_both_and_tells_its_network(tmp_path, suffix):
    path = tmp_path / "both.pth"
    torch.save({**backbone("alexnet"), **heads("alexnet", suffix, value=0.25)}, path)
    weights = load_lpips_weights(path, "vgg16")
    assert weights.network == "alexnet"
    assert weights.sources == (str(path),)
    assert torch.equal(weights.state["lin4"], torch.full((256,), 0.25))


def test_safetensors_are_read(tmp_path):
    path = tmp_path / "both.safetensors"
    save_file({**backbone("vgg16"), **heads("vgg16")}, path)
    assert load_lpips_weights(path).network == "vgg16"


def test_a_folder_may_hold_both_files(tmp_path):
    torch.save(backbone("vgg16"), tmp_path / NAMES["vgg16"][0])
    torch.save(heads("vgg16"), tmp_path / NAMES["vgg16"][1])
    assert len(load_lpips_weights(tmp_path).sources) == 2
    with pytest.raises(GatlasError, match=r"has no file alexnet-owt-7be5be79\.pth"):
        load_lpips_weights(tmp_path, "alexnet")


def test_a_file_without_heads_says_what_to_install(tmp_path):
    path = tmp_path / "vgg16.pth"
    torch.save(backbone("vgg16"), path)
    with pytest.raises(GatlasError, match=r"vgg16\.pth: has no LPIPS heads .*pip install --no-deps lpips"):
        load_lpips_weights(path)


def test_heads_without_a_backbone_are_refused(tmp_path):
    path = tmp_path / "vgg.pth"
    torch.save(heads("vgg16"), path)
    with pytest.raises(GatlasError, match="not the weights of VGG16 or AlexNet"):
        load_lpips_weights(path)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_heads_that_are_not_finite_are_refused(tmp_path, suffix, value):
    path = tmp_path / f"both{suffix}"
    state = {**backbone("vgg16"), **heads("vgg16", value=value)}
    torch.save(state, path) if suffix == ".pth" else save_file(state, path)
    with pytest.raises(GatlasError, match=r"both.*: damaged: 'lin0.model.1.weight' holds NaN or infinity"):
        load_lpips_weights(path)


def test_tensors_that_are_larger_than_their_file_are_refused(tmp_path):
    path = tmp_path / "both.pth"
    torch.save({**backbone("vgg16"), "lin0": torch.ones(1).expand(10**12)}, path)
    assert path.stat().st_size < 100_000
    with pytest.raises(GatlasError, match=r"both\.pth: damaged: 'lin0' is no plain tensor, or larger"):
        load_lpips_weights(path)
    torch.save({**backbone("vgg16"), "lin0": torch.ones(2, 2).to_sparse()}, path)
    with pytest.raises(GatlasError, match=r"both\.pth: "):
        load_lpips_weights(path)


def test_a_zip_with_packed_members_is_not_given_to_torch(tmp_path):
    path = tmp_path / "both.pth"
    torch.save(backbone("vgg16"), path)
    with zipfile.ZipFile(path) as stored, zipfile.ZipFile(tmp_path / "packed.pth", "w", zipfile.ZIP_DEFLATED) as packed:
        for name in stored.namelist():
            packed.writestr(name, stored.read(name))
    with pytest.raises(GatlasError, match=r"packed\.pth: not a torch file of weights, or damaged"):
        load_lpips_weights(tmp_path / "packed.pth")


@pytest.mark.parametrize("wrong", [{"lin0": torch.ones(3)}, {"features.0.bias": torch.ones(3)}, {}])
def test_weights_of_other_shapes_are_one_line(tmp_path, wrong):
    from gatlas.metrics.lpips import load_lpips

    path = tmp_path / "both.pth"
    torch.save({**backbone("vgg16"), **heads("vgg16", suffix=""), **wrong}, path)
    with pytest.raises(GatlasError, match=r"both\.pth: .*must have (shape|the key).*: name published weights"):
        load_lpips(path)


class Trap:
    def __reduce__(self):
        return (print, ("executed",))


def test_a_file_that_would_run_code_is_refused(tmp_path, capsys):
    path = tmp_path / "trap.pth"
    torch.save({"features.0.weight": Trap()}, path)
    with pytest.raises(GatlasError, match=r"trap\.pth: holds more than weights \(print\)"):
        load_lpips_weights(path)
    plain = tmp_path / "plain.pt"
    plain.write_bytes(pickle.dumps(Trap(), protocol=2))
    with pytest.raises(GatlasError, match=r"plain\.pt: (holds more than|not a torch file of) weights"):
        load_lpips_weights(plain)
    assert "executed" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["cut.pth", "cut.safetensors"])
def test_damaged_files_are_refused(tmp_path, name):
    path = tmp_path / name
    if path.suffix == ".pth":
        torch.save(backbone("vgg16"), path)
    else:
        save_file(backbone("vgg16"), path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(GatlasError, match=rf"{name}: (truncated or damaged|not a torch file of weights, or damaged)"):
        load_lpips_weights(path)


def test_empty_missing_and_foreign_files_are_refused(tmp_path):
    empty = tmp_path / "empty.pth"
    empty.touch()
    with pytest.raises(GatlasError, match=r"empty\.pth"):
        load_lpips_weights(empty)
    with pytest.raises(GatlasError, match="no such file"):
        load_lpips_weights(tmp_path / "nothing.pth")
    foreign = tmp_path / "weights.onnx"
    foreign.write_bytes(b"x")
    with pytest.raises(GatlasError, match=r"not from \.onnx"):
        load_lpips_weights(foreign)
    numbers = tmp_path / "list.pt"
    torch.save([1, 2], numbers)
    with pytest.raises(GatlasError, match="holds no state dict"):
        load_lpips_weights(numbers)
