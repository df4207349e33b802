"""A system whose network refines the estimate of a basis: its loss, its files, and adapters of it."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from gatlas.errors import GatlasError
from gatlas.systems.contract import Condition, SampleRequest, Sources
from gatlas.systems.gaussian_atlas import PRESETS, create, load
from gatlas.train import TrainOptions, train
from tests.helpers.atlas_sets import BALLS

CONFIG = replace(PRESETS["small"].config, widths=(32, 64), basis=4)
PROMPT = f"a {next(iter(BALLS))} ball"

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def made(folder, stats):
    """A folder with a set of atlases, captions and a run of three steps; the statistics; and the system as trained."""
    system = create(CONFIG, stats=stats)
    run(system, folder, folder / "run")
    return folder, stats, system


def dataset(system, folder):
    return system.dataset(Sources((str(folder / "set"),), captions=str(folder / "captions.csv")))


def run(system, folder, into):
    # The average follows the weights at once.
    settings = TrainOptions(steps=3, batch=2, lr=1e-2, warmup=0, workers=0, sample_every=0, ema_decay=0.0)
    train(system, dataset(system, folder), settings, str(into), device="cpu")


def sampled(system, **options):
    (atlas,) = system.sample(SampleRequest((Condition(prompt=PROMPT),), **options))
    return atlas


def test_its_loss_is_that_of_the_denoiser_and_of_the_estimate(made):
    folder, stats, _ = made
    system = create(replace(CONFIG, text_dropout=0.0), stats=stats)
    examples = dataset(system, folder)
    batch = examples.collate([examples.draw(i, seed=0) for i in range(len(examples))])
    terms = system.loss(system.network, batch, torch.Generator().manual_seed(0), step=1, steps=10)
    assert set(terms) == {"loss", "diffusion", "basis"}
    assert float(terms["loss"].detach()) == pytest.approx(float((terms["diffusion"] + terms["basis"]).detach()))
    silent = create(replace(CONFIG, text_dropout=1.0), stats=stats)
    dataset(silent, folder)
    assert float(silent.loss(silent.network, batch, torch.Generator(), step=1, steps=10)["basis"]) == 0.0


def test_a_run_is_loaded_with_its_basis_and_samples_the_same(made):
    folder, _, system = made
    loaded = load(str(folder / "run"))
    own = system.network.state_dict()
    assert {
        name: bool(torch.equal(value, own[name])) for name, value in loaded.network.state_dict().items()
    } == dict.fromkeys(own, True)
    first, second = sampled(system), sampled(loaded)
    np.testing.assert_array_equal(first.offset, second.offset)
    assert second.meta["sample"]["steps"] == CONFIG.sampler_steps


def test_a_model_whose_basis_is_another_or_missing_is_refused(made, tmp_path):
    folder, stats, _ = made
    base = str(folder / "run")
    for count in (0, 5):
        with pytest.raises(GatlasError, match=r"was made with basis=4: add --set basis=4"):
            create(replace(CONFIG, basis=count), base=base, stats=stats)
    again = create(CONFIG, base=base, stats=stats)
    assert torch.equal(again.network.basis.atlases, load(base).network.basis.atlases)
    shutil.copytree(folder / "run", tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "unet" / "basis")
    with pytest.raises(GatlasError, match=r"lacks unet/basis"):
        load(str(tmp_path / "run"))


@pytest.mark.parametrize(
    ("atlases", "message"),
    [
        (torch.zeros(5, 16, 8, 8), "says basis=4 and its unet/basis has 5 atlases"),
        (torch.zeros(4, 16, 256, 256), "is of 256 x 256 atlases and the statistics are of"),
        (torch.zeros(()), "holds no atlases"),
        (None, "holds no atlases"),
    ],
)
def test_a_damaged_basis_is_refused_in_words(made, tmp_path, atlases, message):
    folder, _, system = made
    shutil.copytree(folder / "run", tmp_path / "run")
    path = tmp_path / "run" / "unet" / "basis" / "model.safetensors"
    weights = {name: value.detach().clone() for name, value in system.network.basis.state_dict().items()}
    del weights["atlases"]
    save_file(weights if atlases is None else {**weights, "atlases": atlases}, path)
    with pytest.raises(GatlasError, match=message):
        load(str(tmp_path / "run"))


def test_a_basis_of_other_weights_is_refused_unless_an_earlier_version_wrote_the_model(made, tmp_path):
    folder, stats, system = made
    shutil.copytree(folder / "run", tmp_path / "run")
    unet = tmp_path / "run" / "unet"
    weights = {name: value.detach().clone() for name, value in system.network.basis.state_dict().items()}
    save_file({**weights, "atlases": -weights["atlases"]}, unet / "basis" / "model.safetensors")
    said = r"unet/basis: was not written with the weights in \S+unet: copy that whole folder again$"
    with pytest.raises(GatlasError, match=said):
        load(str(tmp_path / "run"))
    with pytest.raises(GatlasError, match=said):
        create(CONFIG, base=str(tmp_path / "run"), stats=stats)
    file = unet / "diffusion_pytorch_model.safetensors"
    save_file(load_file(file), file, {"format": "pt"})
    assert torch.equal(load(str(tmp_path / "run")).network.basis.atlases, -weights["atlases"])


def test_a_basis_without_its_file_is_refused_with_the_remedy(made, tmp_path):
    folder, *_ = made
    shutil.copytree(folder / "run", tmp_path / "run")
    (tmp_path / "run/unet/basis/model.safetensors").unlink()
    with pytest.raises(
        GatlasError, match=r"basis: has no weights: there is no model\.safetensors: copy or download it"
    ):
        load(str(tmp_path / "run"))


def test_spaces_are_no_text(made):
    *_, system = made
    text, pooled = system.prompts.encode(["  ", "a cube"])
    assert not text[0].any()
    assert not pooled[0].any()
    assert pooled[1].any()


def test_adapters_leave_the_atlases_of_a_basis_and_train_what_the_text_says_of_them(made):
    pytest.importorskip("peft")
    folder, stats, _ = made
    system = create(replace(CONFIG, lora_rank=2), base=str(folder / "run"), stats=stats)
    before = {name: value.clone() for name, value in system.network.basis.state_dict().items()}
    run(system, folder, folder / "adapted")
    after = load(str(folder / "adapted")).network.basis.state_dict()
    assert torch.equal(before["atlases"], after["atlases"])
    assert not torch.equal(before["linear.weight"], after["linear.weight"])
