"""Pipeline folders: what the world publishes is read, what we write its libraries read, and the rest is refused."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel, CLIPTokenizer

from gatlas.diffusion.schedules import noise_schedule
from gatlas.errors import GatlasError
from gatlas.io.models.pipeline import load_model, load_pipeline, read_description, save_parts, save_unet
from gatlas.io.models.tensors import write_tensors
from gatlas.models.atlas_unet import small_unet, widen
from gatlas.models.text import byte_tokenizer, encode_prompts, small_text_encoder
from gatlas.types import AtlasStats
from tests.helpers.pipeline_files import small_base, write_index, write_json, write_pipeline, write_scheduler

TIMES = torch.tensor([3, 500])
DESCRIPTION = {"system": "gaussian-atlas", "config": {"size": 8}, "versions": {"gatlas": "0"}}


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return write_pipeline(tmp_path_factory.mktemp("base") / "sd")


@pytest.fixture
def base(original, tmp_path):
    """A copy that a test may damage."""
    return shutil.copytree(original, tmp_path / "sd")


def draw(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def stats(size=8):
    generator = np.random.default_rng(0)
    mean, m2 = generator.normal(size=(size, size, 14)), generator.random((size, size, 14))
    return AtlasStats(mean, m2, 3, {"projection": "equirectangular"})


def trained(pipeline):
    """The pipeline as a system would save it: widened, with v-prediction."""
    schedule = noise_schedule(pipeline.scheduler, zero_terminal_snr=True, prediction_type="v_prediction")
    return dataclasses.replace(pipeline, unet=widen(pipeline.unet), scheduler=schedule.config)


def save_model(folder, pipeline, statistics=None):
    (folder / "unet").mkdir(parents=True)
    save_parts(folder, pipeline, DESCRIPTION, statistics)
    save_unet(folder / "unet", pipeline.unet)
    return folder


def test_a_published_pipeline_is_read_as_its_libraries_read_it(original, capfd):
    pipeline = load_pipeline(original)
    assert capfd.readouterr() == ("", "")
    assert pipeline.name == str(original)
    assert pipeline.scheduler["prediction_type"] == "epsilon"
    assert not pipeline.unet.training
    assert not any(weight.requires_grad for weight in pipeline.text_encoder.parameters())
    encoder = CLIPTextModel.from_pretrained(original / "text_encoder").eval()
    tokenizer = CLIPTokenizer.from_pretrained(original / "tokenizer")
    text, gist = encode_prompts(pipeline.tokenizer, pipeline.text_encoder, ["a red cube", "Blue!"])
    expected, expected_gist = encode_prompts(tokenizer, encoder, ["a red cube", "Blue!"])
    assert torch.equal(text, expected)
    assert torch.equal(gist, expected_gist)
    unet = UNet2DConditionModel.from_pretrained(original / "unet")
    with torch.no_grad():
        x = draw(2, 4, 8, 8)
        assert torch.equal(pipeline.unet(x, TIMES, text).sample, unet(x, TIMES, text).sample)


def test_saved_loaded_and_stock_networks_agree_bit_for_bit(original, tmp_path):
    pipeline = trained(load_pipeline(original))
    folder = save_model(tmp_path / "model", pipeline, stats())
    loaded, description, statistics = load_model(folder)
    stock = UNet2DConditionModel.from_pretrained(folder, subfolder="unet")
    text, _ = encode_prompts(pipeline.tokenizer, pipeline.text_encoder, ["a red cube", "a blue ball"])
    x = draw(2, 16, 8, 8)
    with torch.no_grad():
        expected = pipeline.unet(x, TIMES, text).sample
        assert torch.equal(loaded.unet(x, TIMES, text).sample, expected)
        assert torch.equal(stock(x, TIMES, text).sample, expected)
    assert torch.equal(encode_prompts(loaded.tokenizer, loaded.text_encoder, ["a red cube", "a blue ball"])[0], text)
    assert description == {"format": 1, **DESCRIPTION}
    assert statistics is not None
    np.testing.assert_array_equal(statistics.mean, stats().mean)
    assert loaded.scheduler == pipeline.scheduler
    assert noise_schedule(loaded.scheduler).zero_terminal_snr


def test_the_libraries_read_a_model_folder_whole(original, tmp_path):
    folder = save_model(tmp_path / "model", trained(load_pipeline(original)))
    stock = DiffusionPipeline.from_pretrained(folder, vae=None, safety_checker=None, feature_extractor=None)
    assert (stock.scheduler.config.prediction_type, stock.scheduler.config.timestep_spacing) == (
        "v_prediction",
        "trailing",
    )
    assert stock.scheduler.config.rescale_betas_zero_snr
    latents = stock("a red cube", num_inference_steps=2, height=64, width=64, output_type="latent").images
    assert latents.shape == (1, 16, 8, 8)


def test_a_small_model_without_a_base_is_saved_and_read(tmp_path):
    tokenizer = byte_tokenizer()
    encoder = small_text_encoder(tokenizer, dim=16, heads=2)
    unet = small_unet(8, text_dim=16, widths=(8, 16), head_dim=8).eval()
    schedule = noise_schedule({}, zero_terminal_snr=True, prediction_type="v_prediction")
    parts = SimpleNamespace(unet=unet, scheduler=schedule.config, text_encoder=encoder, tokenizer=tokenizer)
    loaded, _, statistics = load_model(save_model(tmp_path / "model", parts))
    assert statistics is None
    for prompts in (["a red cube", "Würfel 🙂"], ["long " * 50]):
        expected = encode_prompts(tokenizer, encoder, prompts)
        found = encode_prompts(loaded.tokenizer, loaded.text_encoder, prompts)
        assert torch.equal(found[0], expected[0])
        assert torch.equal(found[1], expected[1])
    text, gist = expected
    x, t = draw(1, 19, 8, 8), TIMES[:1]
    with torch.no_grad():
        assert torch.equal(loaded.unet(x, t, text, gist).sample, unet(x, t, text, gist).sample)


def test_the_same_model_gives_the_same_bytes(original, tmp_path):
    pipeline = trained(load_pipeline(original))
    first, second = (save_model(tmp_path / name, pipeline, stats()) for name in ("a", "b"))
    names = sorted(path.relative_to(first) for path in first.rglob("*") if path.is_file())
    assert len(names) >= 9
    for name in names:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


def test_a_model_folder_tells_no_path_of_the_machine_and_holds_only_data(original, tmp_path):
    folder = save_model(tmp_path / "model", trained(load_pipeline(original)), stats())
    for path in folder.rglob("*"):
        if path.suffix in (".json", ".txt"):
            assert str(original.parent).encode() not in path.read_bytes(), path
    assert {path.suffix for path in folder.rglob("*") if path.is_file()} == {".json", ".txt", ".safetensors", ".npz"}


def test_weights_can_be_read_by_all_that_may_read_the_rest(original, tmp_path):
    folder = save_model(tmp_path / "model", trained(load_pipeline(original)), stats())
    assert len({path.stat().st_mode for path in folder.rglob("*") if path.is_file()}) == 1


def test_other_weights_of_the_same_network_are_saved_in_its_place(original, tmp_path):
    unet = load_pipeline(original).unet
    average = {name: tensor * 0.5 for name, tensor in unet.state_dict().items()}
    save_unet(tmp_path, unet, average)
    stored = UNet2DConditionModel.from_pretrained(tmp_path).state_dict()
    assert all(torch.equal(stored[name], average[name]) for name in average)
    with pytest.raises(ValueError, match="state_dict"):
        save_unet(tmp_path, unet, {"unet." + name: tensor for name, tensor in average.items()})


def test_a_checkpoint_has_its_own_network_and_its_runs_other_parts(original, tmp_path):
    pipeline = trained(load_pipeline(original))
    run = tmp_path / "run"
    run.mkdir()
    save_parts(run, pipeline, DESCRIPTION, stats())
    with pytest.raises(GatlasError, match="no checkpoint"):
        load_model(run)
    for step, factor in ((100, 1.0), (200, 2.0)):
        place = run / f"checkpoint-{step:06d}" / "unet"
        place.mkdir(parents=True)
        save_unet(place, pipeline.unet, {k: v * factor for k, v in pipeline.unet.state_dict().items()})
    (run / "unet").symlink_to("checkpoint-000200/unet")
    weight = pipeline.unet.conv_in.weight
    assert torch.equal(load_model(run)[0].unet.conv_in.weight, weight * 2)
    early, description, statistics = load_model(run / "checkpoint-000100")
    assert torch.equal(early.unet.conv_in.weight, weight)
    assert description["config"] == {"size": 8}
    assert statistics is not None
    assert read_description(run / "checkpoint-000100") == read_description(run)
    shutil.rmtree(run / "checkpoint-000200")
    with pytest.raises(GatlasError, match="no checkpoint"):
        load_model(run)


def test_a_checkpoint_is_found_from_where_the_user_stands(original, tmp_path, monkeypatch):
    pipeline = trained(load_pipeline(original))
    save_model(tmp_path / "run", pipeline)
    shutil.copytree(tmp_path / "run" / "unet", tmp_path / "run" / "checkpoint-000001" / "unet")
    monkeypatch.chdir(tmp_path / "run" / "checkpoint-000001")
    assert read_description(".")["system"] == "gaussian-atlas"
    assert load_model(".")[0].unet.config.in_channels == 16
    monkeypatch.chdir("..")
    assert load_model(".")[0].unet.config.in_channels == 16
    assert load_model("checkpoint-000001/")[0].unet.config.in_channels == 16


def test_a_trained_model_can_be_the_base_of_another(original, tmp_path):
    folder = save_model(tmp_path / "model", trained(load_pipeline(original)))
    assert load_pipeline(folder).unet.config.in_channels == 16


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_pipeline_is_read_in_the_precision_that_is_asked_for(original, dtype):
    pipeline = load_pipeline(original, dtype=dtype)
    assert {weight.dtype for weight in pipeline.unet.parameters()} == {dtype}
    assert {weight.dtype for weight in pipeline.text_encoder.parameters()} == {dtype}
    assert encode_prompts(pipeline.tokenizer, pipeline.text_encoder, ["a"])[0].dtype == dtype


def test_half_precision_on_disk_becomes_single_precision(base):
    unet = base / "unet" / "diffusion_pytorch_model.safetensors"
    save_file({k: v.half() for k, v in load_file(unet).items()}, unet.with_suffix(".fp16.safetensors"))
    unet.unlink()
    assert {weight.dtype for weight in load_pipeline(base).unet.parameters()} == {torch.float32}


def test_shards_are_read_as_one(base, original):
    part = base / "unet"
    (part / "diffusion_pytorch_model.safetensors").unlink()
    load_pipeline(original).unet.save_pretrained(part, max_shard_size="200KB")
    assert len(list(part.glob("*.safetensors"))) > 1
    whole, shards = load_pipeline(original).unet.state_dict(), load_pipeline(base).unet.state_dict()
    assert all(torch.equal(whole[name], shards[name]) for name in whole)
    last = sorted(part.glob("*.safetensors"))[-1]
    last.unlink()
    with pytest.raises(GatlasError, match=last.name):
        load_pipeline(base)


def one_line(folder, read=load_pipeline):
    """The one line that reading the folder ends with."""
    with pytest.raises(GatlasError) as caught:
        read(folder)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 500
    return message


@pytest.mark.parametrize("part", ["unet", "scheduler", "text_encoder", "tokenizer"])
def test_a_folder_that_lacks_a_part_says_which(base, part, capfd):
    shutil.rmtree(base / part)
    message = one_line(base)
    assert message.startswith(str(base))
    assert f"'{part}'" in message
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "name",
    [
        "model_index.json", "unet/config.json", "unet/diffusion_pytorch_model.safetensors",
        "scheduler/scheduler_config.json", "text_encoder/config.json", "text_encoder/model.safetensors",
        "tokenizer/vocab.json", "tokenizer/merges.txt",
    ],
)  # fmt: skip
@pytest.mark.parametrize("damage", ["missing", "empty", "truncated", "garbage"])
def test_a_file_that_is_missing_or_damaged_is_named(base, name, damage, capfd):
    path = base / name
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif name == "tokenizer/merges.txt":
        pytest.skip("text of any kind is a list of merges")
    else:
        path.write_bytes({"empty": b"", "truncated": content[: len(content) // 2], "garbage": b"\x80\x04."}[damage])
    message = one_line(base)
    assert path.name in message or str(path.parent) in message
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("part", ["unet", "text_encoder"])
def test_pickled_weights_are_not_read(base, part):
    weights = next((base / part).glob("*.safetensors"))
    torch.save(load_file(weights), weights.with_suffix(".bin"))
    weights.unlink()
    message = one_line(base)
    assert weights.with_suffix(".bin").name in message
    assert "save_pretrained" in message


def change(path, **values):
    write_json(path, {**json.loads(path.read_text()), **values})


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("unet/config.json", {"_class_name": "EvilModel"}, "EvilModel"),
        ("unet/config.json", {"_class_name": None}, "None"),
        ("unet/config.json", {"block_out_channels": "many"}, "does not describe"),
        ("unet/config.json", {"norm_num_groups": 0}, "does not describe"),
        ("unet/config.json", {"down_block_types": ["NoBlock"]}, "does not describe"),
        ("unet/config.json", {"layers_per_block": 2}, "lack"),
        ("unet/config.json", {"block_out_channels": [16, 64]}, "shape"),
        ("unet/config.json", {"cross_attention_dim": 48}, "shape"),
        ("text_encoder/config.json", {"architectures": ["T5EncoderModel"]}, "T5EncoderModel"),
        ("text_encoder/config.json", {"hidden_size": 33}, "text_encoder"),
        ("text_encoder/config.json", {"hidden_size": "wide"}, "does not describe"),
        ("text_encoder/config.json", {"vocab_size": 100}, "shape"),
        ("text_encoder/config.json", {"num_hidden_layers": 5}, "lack"),
        ("scheduler/scheduler_config.json", {"_class_name": "FlowMatchEulerDiscreteScheduler"}, "FlowMatch"),
        ("scheduler/scheduler_config.json", {"prediction_type": "sample"}, "prediction_type"),
        ("scheduler/scheduler_config.json", {"beta_schedule": "sigmoid"}, "beta_schedule"),
        ("scheduler/scheduler_config.json", {"beta_schedule": []}, "beta_schedule"),
        ("scheduler/scheduler_config.json", {"num_train_timesteps": 10**12}, "timesteps"),
        ("tokenizer/special_tokens_map.json", {"pad_token": None}, "tokenizer"),
        ("scheduler/scheduler_config.json", {"beta_start": "small"}, "scheduler_config.json"),
        ("scheduler/scheduler_config.json", {"num_train_timesteps": -4}, "scheduler_config.json"),
        ("scheduler/scheduler_config.json", {"beta_end": 1.5}, "scheduler_config.json"),
        ("scheduler/scheduler_config.json", {"trained_betas": [1, "x"]}, "scheduler_config.json"),
        ("scheduler/scheduler_config.json", {"trained_betas": 3}, "scheduler_config.json"),
        ("model_index.json", {"unet": ["my_code", "MyUNet"]}, "MyUNet"),
        ("model_index.json", {"unet": "UNet2DConditionModel"}, "unet"),
        ("model_index.json", {"unet": ["diffusers", ["UNet2DConditionModel"]]}, "unet"),
        ("model_index.json", {"tokenizer": [None, None]}, "tokenizer"),
        ("unet/config.json", {"layers_per_block": 10**9}, "'layers_per_block' has numbers above 1,000"),
        ("unet/config.json", {"transformer_layers_per_block": [[10**9], 1]}, "has numbers above 1,000"),
        ("unet/config.json", {"block_out_channels": [10**12, 4]}, "has numbers above 1,000,000"),
        ("text_encoder/config.json", {"num_hidden_layers": 10**9}, "'num_hidden_layers' has numbers above 1,000"),
        ("tokenizer/tokenizer_config.json", {"model_max_length": [[1], [2]]}, "model_max_length"),
        ("tokenizer/tokenizer_config.json", {"model_max_length": "/etc/passwd"}, "model_max_length"),
        ("tokenizer/tokenizer_config.json", {"model_max_length": -1}, "model_max_length"),
        ("tokenizer/special_tokens_map.json", {"eos_token": {"content": "<|endoftext|>", "": 1}}, "has the field ''"),
        ("model_index.json", {"text_encoder": ["transformers", "T5EncoderModel"]}, "T5EncoderModel"),
    ],
)
def test_a_config_that_gatlas_cannot_build_is_one_line(base, name, values, words, capfd):
    change(base / name, **values)
    assert words in one_line(base)
    assert capfd.readouterr() == ("", "")


def test_weights_that_are_not_numbers_are_refused(base):
    path = base / "unet" / "diffusion_pytorch_model.safetensors"
    state = load_file(path)
    state["conv_in.bias"][0] = float("nan")
    save_file(state, path)
    assert "conv_in.bias" in one_line(base)


def test_weights_of_another_kind_are_refused(base):
    path = base / "text_encoder" / "model.safetensors"
    state = load_file(path)
    name = next(name for name in state if name.endswith("layer_norm1.weight"))
    save_file({**state, name: state[name].to(torch.int32)}, path)
    assert "holds torch.int32, and its config.json asks for torch.float32" in one_line(base)


@pytest.mark.parametrize("name", ["../unet/x.safetensors", "/etc/passwd", "..", "a/b.safetensors", "a\0b"])
def test_an_index_of_weights_that_leads_out_of_its_folder_is_refused(base, name):
    path = base / "unet" / "diffusion_pytorch_model.safetensors"
    path.rename(path.with_name("x.safetensors"))
    write_json(path.with_name(f"{path.name}.index.json"), {"weight_map": {"conv_in.weight": name}})
    message = one_line(base)
    assert "its shards must lie next to it" in message or "lacks" in message


@pytest.mark.parametrize(
    "name",
    ["unet/config.json", "unet/diffusion_pytorch_model.safetensors", "tokenizer/vocab.json", "model_index.json"],
)
def test_a_link_out_of_the_folder_tells_nothing_of_what_it_leads_to(base, tmp_path, name):
    secret = tmp_path / "elsewhere"
    secret.write_text("root:secret:0:0\n")
    (base / name).unlink()
    (base / name).symlink_to(secret)
    assert "secret" not in one_line(base).replace(str(secret), "")


def replace_unet(base, **options):
    shutil.rmtree(base / "unet")
    small_base(**options).save_pretrained(base / "unet")


def test_a_unet_for_another_task_is_refused(base):
    replace_unet(base, in_channels=9)
    assert "inpainting" in one_line(base)
    replace_unet(base, addition_embed_type="text_time", addition_time_embed_dim=8,
                 projection_class_embeddings_input_dim=64)  # fmt: skip
    assert "SDXL" in one_line(base)
    replace_unet(base, num_class_embeds=3)
    assert "classes" in one_line(base)


def test_parts_of_two_pipelines_are_refused(base):
    replace_unet(base, cross_attention_dim=48)
    assert "width 48" in one_line(base)


def test_a_tokenizer_of_more_words_than_the_encoder_knows_is_refused(base):
    path = base / "tokenizer" / "vocab.json"
    vocab = json.loads(path.read_text())
    write_json(path, {**vocab, "extra": len(vocab), "more": len(vocab) + 1})
    assert "tokens" in one_line(base)


def test_the_prediction_type_is_recorded(base):
    write_scheduler(base / "scheduler", "v_prediction")
    assert load_pipeline(base).scheduler["prediction_type"] == "v_prediction"
    path = base / "scheduler" / "scheduler_config.json"
    config = json.loads(path.read_text())
    del config["prediction_type"]
    write_json(path, config)
    assert load_pipeline(base).scheduler["prediction_type"] == "epsilon"  # as in Stable Diffusion 1's own file


def test_parts_that_gatlas_does_not_use_are_left_alone(base):
    write_index(base, safety_checker=["evil_code", "Evil"], vae=["evil_code", "Evil"])
    (base / "vae").mkdir()
    (base / "vae" / "diffusion_pytorch_model.bin").write_bytes(b"\x80\x04.")
    assert load_pipeline(base).unet.config.in_channels == 4


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
@pytest.mark.parametrize("name", [".", "unet", "tokenizer", "unet/config.json", "text_encoder/model.safetensors"])
def test_what_may_not_be_read_is_named(base, name):
    path = (base / name).resolve()
    mode = path.stat().st_mode
    path.chmod(0)
    try:
        assert path.name in one_line(base)
    finally:
        path.chmod(mode)


def test_a_name_on_the_hub_that_cannot_be_reached_is_one_line(monkeypatch, capfd):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    message = one_line("no-such-owner/no-such-model")
    assert message.startswith("no-such-owner/no-such-model: no such folder, and the hub")
    assert "connection" in message
    assert capfd.readouterr() == ("", "")


def test_a_hub_name_is_read_from_the_local_copy(original, monkeypatch):
    asked = {}

    def snapshot(name, **options):
        asked.update(name=name, **options)
        return str(original)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    assert load_pipeline("owner/name").name == "owner/name"
    assert asked["name"] == "owner/name"
    assert not any(pattern.endswith((".bin", ".py", "*")) for pattern in asked["allow_patterns"])


@pytest.mark.parametrize("name", ["no/such/folder", "./sd", "nothing", "/nothing/here", "a b/c", "a\0b"])
def test_a_folder_that_is_not_there_is_named(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "no such folder" in one_line(name)


def test_a_folder_that_is_no_model_is_refused(base, tmp_path):
    assert "gatlas.json" in one_line(base, load_model)
    assert "gatlas.json" in one_line(base, read_description)
    assert "no such folder" in one_line(tmp_path / "nothing", load_model)
    assert "model_index.json" in one_line(tmp_path)
    for read in (load_pipeline, load_model, read_description):
        assert "empty" in one_line("", read)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "not JSON"),
        ("[]", "JSON object"),
        ('{"format": 2, "system": "x", "config": {}}', "upgrade"),
        ('{"format": true, "system": "x", "config": {}}', "format"),
        ('{"system": "x", "config": {}}', "format"),
        ('{"format": 1, "config": {}}', "system"),
        ('{"format": 1, "system": "x", "config": 3}', "config"),
        ("[" * 100_000, "damaged"),
    ],
)
def test_a_description_that_says_nothing_is_refused(tmp_path, content, words):
    (tmp_path / "gatlas.json").write_text(content)
    message = one_line(tmp_path, read_description)
    assert message.startswith(str(tmp_path / "gatlas.json"))
    assert words in message


def test_damaged_statistics_are_named(original, tmp_path):
    folder = save_model(tmp_path / "model", trained(load_pipeline(original)), stats())
    (folder / "stats.npz").write_bytes((folder / "stats.npz").read_bytes()[:500])
    assert "stats.npz" in one_line(folder, load_model)


LIMITED = """
import resource, signal, sys, torch
from pathlib import Path
from gatlas.errors import GatlasError
from gatlas.io.models.tensors import write_tensors
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_tensors(Path(sys.argv[1]), {"weight": torch.zeros(10_000)})
except GatlasError as error:
    print(error)
"""


def test_a_full_disk_is_one_line(tmp_path):
    path = tmp_path / "full.safetensors"
    done = subprocess.run([sys.executable, "-c", LIMITED, path], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(str(path))
    assert done.stdout.count("\n") == 1
    with pytest.raises(GatlasError, match="No such file"):
        write_tensors(tmp_path / "nowhere" / "x.safetensors", {"weight": torch.zeros(1)})


def test_a_description_is_read_without_the_learning_libraries(tmp_path):
    write_json(tmp_path / "gatlas.json", {"format": 1, **DESCRIPTION})
    code = (
        "import sys; from gatlas.io.models.pipeline import read_description; read_description(sys.argv[1]); "
        "sys.exit(any(name in sys.modules for name in ('torch', 'diffusers', 'transformers')))"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path], check=True)
