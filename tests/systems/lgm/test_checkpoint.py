"""Published files of LGM and its model folders; a small network stands in for the published sizes."""

import pytest
import torch
from safetensors.torch import load_file, save_file

import gatlas.systems.lgm.checkpoint as module
from gatlas.errors import GatlasError
from gatlas.models.lgm import weight_shapes
from gatlas.systems import load_system, system_of
from gatlas.systems.contract import SampleRequest
from gatlas.systems.lgm import create, load, recognizes
from gatlas.systems.lgm.checkpoint import load_published, published_config
from gatlas.systems.lgm.config import BIG
from tests.helpers.small_lgm import CONFIG, write_published

FIXED, LEGACY = "model_fp16_fixrot.safetensors", "model_fp16.safetensors"


@pytest.fixture
def stand_in(monkeypatch):
    """The small network counts as the published one."""
    monkeypatch.setattr(module, "BIG", CONFIG)


def assert_refused(run, pattern):
    with pytest.raises(GatlasError, match=pattern) as caught:
        run()
    assert "\n" not in str(caught.value)


def test_a_published_file_is_recognized_by_its_weights(tmp_path, stand_in):
    path = str(write_published(tmp_path / "renamed.safetensors"))
    assert recognizes(path)
    assert system_of(path) == "lgm"
    (tmp_path / "text.safetensors").write_text("no weights at all, but long enough for a header")
    assert not recognizes(str(tmp_path / "text.safetensors"))


def test_a_published_file_gives_its_weights_as_float32(tmp_path, stand_in):
    path = str(write_published(tmp_path / FIXED))
    system = load(path)
    assert system.config == CONFIG
    stored = load_file(path)
    assert set(stored) == set(system.network.state_dict())
    for name, weight in system.network.state_dict().items():
        assert weight.dtype == torch.float32
        assert torch.equal(weight, stored[name].float())


@pytest.mark.parametrize("size", ["SMALL", "TINY"])
def test_the_size_of_a_published_file_follows_from_its_shapes(tmp_path, monkeypatch, size):
    monkeypatch.setattr(module, size, CONFIG)
    assert published_config(write_published(tmp_path / FIXED), {}) == CONFIG


def test_a_file_of_nothing_like_it_is_measured_by_the_largest_network(tmp_path, monkeypatch):
    path = write_published(tmp_path / FIXED)
    assert_refused(lambda: load(str(path)), f"{FIXED}: .*: these are not the published weights of LGM")
    monkeypatch.setattr(module, "weight_shapes", lambda config: {})
    assert published_config(path, {}) == BIG


def test_the_first_training_is_refused_and_named(tmp_path, stand_in):
    path = str(write_published(tmp_path / LEGACY))
    assert_refused(lambda: load(path), rf"{LEGACY}: .*fault in the rotations.*--set legacy_rot=true")
    assert load(path, settings={"legacy_rot": True}).config.legacy_rot
    assert not load(path, settings={"legacy_rot": False}).config.legacy_rot  # a file of that name from elsewhere


@pytest.mark.parametrize(("stored", "named"), [(LEGACY, "my.safetensors"), ("blob", LEGACY)])
def test_a_link_to_the_first_training_is_refused_by_either_name(tmp_path, stand_in, stored, named):
    (tmp_path / named).symlink_to(write_published(tmp_path / stored))
    assert_refused(lambda: load(str(tmp_path / named)), "--set legacy_rot=true")


def test_a_name_that_does_not_tell_the_rotations_is_reported(tmp_path, stand_in):
    path = str(write_published(tmp_path / "lgm.safetensors"))
    (note,) = load(path).check(SampleRequest(()))
    assert "if they are those of model_fp16.safetensors under another name, add --set legacy_rot=true" in note
    assert load(path, settings={"legacy_rot": False}).check(SampleRequest(())) == []
    assert load(str(write_published(tmp_path / FIXED))).check(SampleRequest(())) == []


def test_the_corrected_file_does_not_take_the_faulty_rotations(tmp_path, stand_in):
    path = str(write_published(tmp_path / FIXED))
    assert_refused(lambda: load(path, settings={"legacy_rot": True}), "its rotations are right, by its name")


def test_a_converted_file_is_a_model_folder_that_keeps_its_rotations(tmp_path, stand_in):
    (tmp_path / "folder").mkdir()
    published = load(str(write_published(tmp_path / LEGACY)), settings={"legacy_rot": True})
    published.save(str(tmp_path / "folder"))
    again = load_system(str(tmp_path / "folder"))
    assert again.config == published.config
    assert again.weights == published.weights
    pattern = "was made with legacy_rot: leave out"
    assert_refused(lambda: load(str(tmp_path / "folder"), settings={"legacy_rot": False}), pattern)


@pytest.mark.parametrize(
    ("change", "pattern"),
    [
        (lambda weights: {k: v for k, v in weights.items() if "conv_in" not in k}, "lacks weights 'unet.conv_in"),
        (lambda weights: {**weights, "lpips.lin": torch.zeros(2)}, "has unknown weights 'lpips.lin'"),
        (lambda weights: {**weights, "unet.conv_out.bias": torch.zeros(3)}, r"has shape \[3\]"),
        (lambda weights: {**weights, "unet.conv_out.bias": torch.full((14,), torch.nan)}, "NaN or infinity"),
        (lambda weights: {k: v.int() for k, v in weights.items()}, "holds torch.int32, which no weight is"),
    ],
)
def test_a_file_that_is_not_the_network_is_refused(tmp_path, stand_in, change, pattern):
    path = write_published(tmp_path / FIXED, change=change)
    assert_refused(lambda: load_published(path, weight_shapes(CONFIG)), pattern)


def test_a_truncated_file_is_refused(tmp_path, stand_in):
    path = write_published(tmp_path / FIXED)
    path.write_bytes(path.read_bytes()[:-100])
    assert_refused(lambda: load_system(str(path)), "no weights that gatlas knows")


def test_a_base_of_other_sizes_is_refused(tmp_path):
    (tmp_path / "model").mkdir()
    create(CONFIG).save(str(tmp_path / "model"))
    assert create(CONFIG, base=str(tmp_path / "model")).config == CONFIG
    assert_refused(lambda: create(BIG, base=str(tmp_path / "model")), "its network has down_channels")


def test_a_model_folder_of_integers_is_refused(tmp_path):
    create(CONFIG).save(str(tmp_path))
    path = tmp_path / "network" / "model.safetensors"
    save_file({name: weight.int() for name, weight in load_file(path).items()}, path)
    assert_refused(lambda: load(str(tmp_path)), "holds torch.int32, which no weight is")
