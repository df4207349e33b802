"""Adapters of low rank: what they begin as, what a step changes, and who reads what is written."""

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file

from gatlas.errors import GatlasError
from gatlas.models.lora import adapter_weights, has_adapters, merged_weights
from gatlas.systems.contract import Condition, SampleRequest, Sources
from gatlas.systems.gaussian_atlas import create, load
from gatlas.systems.gaussian_atlas.config import GaussianAtlasConfig
from gatlas.train import TrainOptions, train
from tests.helpers.pipeline_files import write_pipeline

pytestmark = pytest.mark.usefixtures("one_thread")

CONFIG = GaussianAtlasConfig(
    rgb=0, mask=0, lpips=0, prediction="epsilon", zero_terminal_snr=False, input_scale=0.25, lora_rank=2
)


@pytest.fixture(scope="module")
def made(folder, stats):
    """A base, a set of atlases with captions, and a run of three steps from the base."""
    pytest.importorskip("peft")
    write_pipeline(folder / "base")
    said = []
    run(create(CONFIG, base=str(folder / "base"), stats=stats), folder, folder / "run", report=said.append)
    return folder, stats, said


def run(system, folder, into, **options):
    examples = system.dataset(Sources((str(folder / "set"),), captions=str(folder / "captions.csv")))
    settings = TrainOptions(steps=3, batch=2, lr=1e-2, warmup=0, workers=0, checkpoint_every=1, keep=5, sample_every=0)
    train(system, examples, settings, str(into), device="cpu", **options)


def base_of(made):
    folder, stats, _ = made
    return create(CONFIG, base=str(folder / "base"), stats=stats)


def sampled(system):
    (atlas,) = system.sample(SampleRequest((Condition(prompt="a red ball"),), steps=2))
    return np.concatenate([atlas.offset, atlas.color, atlas.scale], axis=-1)


def test_fresh_adapters_change_nothing_and_are_all_that_is_trained(made):
    plain, adapted = base_of(made), base_of(made)
    (line,) = adapted.begin_training()
    assert adapted.begin_training() == []  # once
    np.testing.assert_array_equal(sampled(adapted), sampled(plain))
    weights = adapted.network.state_dict()
    merged = merged_weights(weights)
    own = plain.network.state_dict()
    assert merged.keys() == own.keys()
    assert all(torch.equal(value, own[name]) for name, value in merged.items())
    trained = {name for name, weight in adapted.network.named_parameters() if weight.requires_grad}
    assert trained == {name for name in weights if ".lora_" in name}
    share = sum(weight.numel() for weight in adapter_weights(weights).values()) / sum(w.numel() for w in own.values())
    assert line == f"adapters of rank 2: {share:.1%} as many weights are trained"
    assert line in made[2]


def test_a_run_is_sampled_as_it_is_without_peft(made, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "peft", None)
    system = load(str(made[0] / "run"))
    assert not has_adapters(system.network.state_dict())
    assert np.abs(sampled(system) - sampled(base_of(made))).max() > 1e-3


def test_the_base_with_the_adapters_as_diffusers_reads_them_is_the_run(made):
    folder = made[0]
    written = load_file(folder / "run" / "unet" / "lora" / "pytorch_lora_weights.safetensors")
    unet = base_of(made).network.unet
    unet.load_lora_adapter(written, prefix="unet")
    x = torch.randn(1, 16, 8, 8, generator=torch.Generator().manual_seed(0))
    text = torch.randn(1, 5, 32, generator=torch.Generator().manual_seed(1))
    merged = UNet2DConditionModel.from_pretrained(folder / "run" / "unet")
    with torch.no_grad():
        one, other = (each(x, torch.tensor([300]), text, return_dict=False)[0] for each in (unet, merged))
        without = base_of(made).network.unet(x, torch.tensor([300]), text, return_dict=False)[0]
    torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)
    assert float((one - without).abs().max()) > 1e-3


def test_a_resumed_run_has_the_adapters_of_one_without_a_break(made, tmp_path):
    import shutil

    folder = made[0]
    shutil.copytree(folder / "run", tmp_path / "run", symlinks=True)
    run(load(str(tmp_path / "run" / "checkpoint-000001")), folder, tmp_path / "run", resume="1")
    for name in ("lora/pytorch_lora_weights.safetensors", "diffusion_pytorch_model.safetensors"):
        once, again = (load_file(where / "run" / "unet" / name) for where in (folder, tmp_path))
        assert once.keys() == again.keys()
        assert all(torch.equal(value, again[key]) for key, value in once.items())


def test_adapters_need_a_base_and_peft(made, monkeypatch):
    with pytest.raises(GatlasError, match=r"^lora_rank: adapters change a trained network: name it with --base"):
        create(CONFIG, stats=made[1])
    system = base_of(made)
    monkeypatch.setitem(__import__("sys").modules, "peft", None)
    with pytest.raises(GatlasError, match=r"^lora_rank: needs peft: pip install 'gatlas\[lora\]'$"):
        system.begin_training()
