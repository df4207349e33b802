"""The Gaussian Atlas system: loss, sampling, files, and what does not fit together."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import save_file
from torch import nn
from transformers import CLIPTextModel, CLIPTokenizer

import gatlas.systems.gaussian_atlas.system as module
from gatlas import io
from gatlas.atlas import decode
from gatlas.atlas.check import check_atlas
from gatlas.diffusion.schedules import STABLE_DIFFUSION_NOISE
from gatlas.errors import GatlasError
from gatlas.io.models.pipeline import Pipeline, save_parts, save_unet
from gatlas.models.text import LENGTH, byte_tokenizer, encode_prompts, small_text_encoder
from gatlas.systems import load_system, system_module
from gatlas.systems.contract import Condition, SampleRequest, SampleSpec, Sources
from gatlas.systems.gaussian_atlas import PRESETS, create, load
from gatlas.systems.gaussian_atlas.config import GaussianAtlasConfig
from gatlas.systems.gaussian_atlas.generated import MIN_OPACITY, generated_atlas
from gatlas.systems.gaussian_atlas.prompts import Prompts
from gatlas.train.options import TrainOptions, learning_rate
from tests.helpers.atlas_sets import BALLS, write_set

CONFIG = replace(PRESETS["small"].config, widths=(32, 64), basis=0)
PROMPTS = tuple(f"a {name} ball" for name in BALLS)


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def system(folder, stats):
    return create(CONFIG, stats=stats)


def batch_of(system, folder, captions=True, weights=None):
    examples = system.dataset(
        Sources(
            (str(folder / "set"),), captions=str(folder / "captions.csv") if captions else None, lpips_weights=weights
        )
    )
    return examples.collate([examples[i] for i in range(len(examples))])


def asked(*prompts, **options):
    return SampleRequest(tuple(Condition(prompt=prompt) for prompt in prompts), **options)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def saved(system, folder):
    """A model folder, as a run has it."""
    folder.mkdir()
    system.save_frozen(str(folder))
    (folder / "unet").mkdir()
    system.save_network(str(folder / "unet"), system.network.state_dict())
    return str(folder)


class Recorder(nn.Module):
    """A network that keeps the text that it is given and predicts what it is told."""

    def __init__(self, answer):
        super().__init__()
        self.answer, self.texts = answer, []

    def forward(self, x, t, text, pooled):
        self.texts.append(text)
        return self.answer(x, t, text)


def test_the_loss_follows_from_the_generator(system, folder):
    batch = batch_of(system, folder)
    one, same, other = (
        float(system.loss(system.network, batch, seeded(seed), step=1, steps=10)["diffusion"]) for seed in (1, 1, 2)
    )
    assert one == same != other


def test_a_network_that_predicts_nothing_has_the_loss_of_its_target(system, folder):
    batch = batch_of(system, folder)
    terms = system.loss(Recorder(lambda x, t, text: torch.zeros_like(x)), batch, seeded(), step=1, steps=10)
    assert set(terms) == {"loss", "diffusion"}
    assert 0.3 < float(terms["diffusion"]) < 1.5  # v has variance a var(noise) + (1 - a) var(x0), both about 1 or less
    assert float(terms["loss"]) == float(terms["diffusion"])


@pytest.mark.parametrize("dropout", [0.0, 1.0, 0.5])
def test_text_is_dropped_to_zeros_as_often_as_asked(folder, stats, dropout):
    system = create(replace(CONFIG, text_dropout=dropout), stats=stats)
    batch = batch_of(system, folder)
    batch = batch._replace(planes=batch.planes.repeat(60, 1, 1, 1), captions=batch.captions * 60)
    network = Recorder(lambda x, t, text: torch.zeros_like(x))
    system.loss(network, batch, seeded(), step=1, steps=10)
    kept = network.texts[0].abs().amax(dim=(1, 2)) > 0
    assert abs(float(kept.float().mean()) - (1 - dropout)) < 0.12  # three deviations of 180 draws


def test_each_caption_of_an_object_is_drawn(system, folder):
    one, two = PROMPTS[:2]
    batch = batch_of(system, folder)._replace(captions=[(one, two)] * 3)
    network = Recorder(lambda x, t, text: torch.zeros_like(x))
    for seed in range(20):
        system.loss(network, batch, seeded(seed), step=1, steps=10)
    known = dict(zip((one, two, ""), system.prompts.encode([one, two, ""])[0], strict=True))
    texts = torch.cat(network.texts)
    assert {next(name for name in known if torch.equal(text, known[name])) for text in texts} == set(known)


def test_words_of_a_prompt_that_no_caption_had_are_named(folder, system):
    batch_of(system, folder)  # the encoder learns its words
    message, *others = system.check(SampleRequest((Condition(prompt="a crimson ball"), Condition(prompt=PROMPTS[0]))))
    assert not others
    assert "crimson" in message
    assert "ball" not in message


def test_a_set_without_captions_is_learnt_without_text(system, folder):
    batch = batch_of(system, folder, captions=False)
    network = Recorder(lambda x, t, text: torch.zeros_like(x))
    system.loss(network, batch, seeded(), step=1, steps=10)
    assert not network.texts[0].any()
    assert system.diagnose(network, batch, seeded()) == {}


def test_rendered_terms_begin_at_their_step_and_grow(folder, stats, monkeypatch):
    config = replace(CONFIG, rgb=2.0, mask=3.0, render_size=16, render_start=0.5, render_ramp=0.25)
    system = create(config, stats=stats)
    batch = batch_of(system, folder)
    assert [config.render_share(step, 100) for step in (49, 50, 60, 75, 100)] == pytest.approx([0, 0, 0.4, 1, 1])
    terms = system.loss(system.network, batch, seeded(), step=60, steps=100)
    expected = float(terms["diffusion"]) + 0.4 * (2 * float(terms["rgb"]) + 3 * float(terms["mask"]))
    assert float(terms["loss"].detach()) == pytest.approx(expected, rel=1e-6)
    assert float(terms["rgb"]) > 0
    terms["loss"].backward()
    assert all(torch.isfinite(p.grad).all() for p in system.network.parameters() if p.grad is not None)

    def fail(*_):
        raise AssertionError("something was rendered")

    monkeypatch.setattr(module, "batch_to_gaussians", fail)
    assert set(system.loss(system.network, batch, seeded(), step=49, steps=100)) == {"loss", "diffusion"}


def test_the_paper_weighs_all_timesteps_alike_from_a_twentieth_on():
    config = PRESETS["paper"].config
    assert [config.diffusion, config.rgb, config.mask, config.lpips] == [1, 10, 10, 10]
    assert config.render_share(49_999, 1_000_000) == 0
    assert config.render_share(50_000, 1_000_000) == 1
    assert config.snr_cap == 0
    assert PRESETS["finetune"].training["lr"] == PRESETS["paper"].training["lr"] == 5e-5


def test_diagnose_tells_live_text_from_dead_text(system, folder):
    batch = batch_of(system, folder)
    dead = system.diagnose(Recorder(lambda x, t, text: torch.ones_like(x)), batch, seeded())
    assert dead["text_effect"] == 0
    assert dead["retrieval"] == 0
    assert dead["retrieval_chance"] == pytest.approx(1 / 3)
    own = system.prompts.encode([texts[0] for texts in batch.captions])[0]
    x0 = module.pack(system.whitening.whiten(batch.planes))

    def knows(x, t, text):
        """The right v where the text is the sample's own, else nothing: from x and x0 the noise follows."""
        a = system.schedule.alphas_cumprod[t].float().view(-1, 1, 1, 1)
        v = (a.sqrt() * x - x0) / (1 - a).sqrt()
        return v * (text == own).all(dim=(1, 2)).float().view(-1, 1, 1, 1)

    live = system.diagnose(Recorder(knows), batch, seeded())
    assert live["retrieval"] == 1
    assert live["text_effect"] == pytest.approx(1)


def test_captions_that_are_cut_are_told_in_one_line_by_the_first_process(system, folder, tmp_path, monkeypatch):
    long = "a ball " * 60
    captions = {"red": [f"{long} red", "a red ball"], "green": f"{long} green", "blue": f"blue {long}"}
    (tmp_path / "long.json").write_text(json.dumps(captions))
    examples = system.dataset(Sources((str(folder / "set"),), captions=str(tmp_path / "long.json")))
    assert examples.report() == [
        "3 of 4 captions are longer than the 75 tokens that the text encoder reads and lose their ends, which makes "
        "2 of them the same as another"
    ]
    assert system.dataset(Sources((str(folder / "set"),), captions=str(folder / "captions.csv"))).report() == []
    monkeypatch.setenv("RANK", "1")
    examples = system.dataset(Sources((str(folder / "set"),), captions=str(tmp_path / "long.json")))
    assert examples.report() == []


def test_a_model_that_learned_without_captions_takes_no_prompt(folder, stats, tmp_path):
    system = create(CONFIG, stats=stats)
    batch_of(system, folder, captions=False)
    model = saved(system, tmp_path / "model")
    assert json.loads((tmp_path / "model" / "gatlas.json").read_text())["captions"] is False
    loaded = load(model)
    request = asked("a red ball", steps=2)
    for refuse in (loaded.check, lambda request: next(loaded.sample(request))):
        with pytest.raises(GatlasError, match="model: the model learned without captions, so that a prompt") as error:
            refuse(request)
        assert one_line(error)
        assert "without --prompt, or train a model with --captions" in str(error.value)
    textless = asked("", steps=2, guidance=3.0)
    assert loaded.check(textless) == ["guidance has no effect without a prompt"]
    strong, weak = (next(loaded.sample(replace(textless, guidance=guidance))) for guidance in (3.0, 1.0))
    np.testing.assert_array_equal(strong.offset, weak.offset)


def test_a_model_that_learned_with_captions_or_does_not_say_takes_prompts(folder, stats, tmp_path):
    system = create(CONFIG, stats=stats)
    saved(system, tmp_path / "earlier")
    batch_of(system, folder)
    saved(system, tmp_path / "model")
    request = asked("a red ball", steps=2)
    for name, captions in (("earlier", None), ("model", True)):
        description = json.loads((tmp_path / name / "gatlas.json").read_text())
        assert description.get("captions") is captions
        assert load(str(tmp_path / name)).check(request) == []
    (tmp_path / "model" / "gatlas.json").write_text(json.dumps({**description, "captions": "no"}))
    with pytest.raises(
        GatlasError, match=r"gatlas\.json is damaged: captions must be true or false, got 'no'"
    ) as error:
        load(str(tmp_path / "model"))
    assert one_line(error)


def test_the_libraries_read_a_long_caption_with_a_small_model(system, tmp_path):
    model = saved(system, tmp_path / "model")
    tokenizer = CLIPTokenizer.from_pretrained(f"{model}/tokenizer")
    encoder = CLIPTextModel.from_pretrained(f"{model}/text_encoder").eval()
    captions = ["word " * 14 + last for last in ("card", "cars")]
    ids = tokenizer(captions, padding="max_length", truncation=True, return_tensors="pt").input_ids
    with torch.no_grad():
        states = encoder(ids).last_hidden_state
    assert not torch.equal(ids[0], ids[1])
    torch.testing.assert_close(system.prompts.encode(captions)[0], states, atol=1e-4, rtol=1e-4)


def test_a_sample_depends_on_its_own_draw_only(system):
    together = list(system.sample(asked(*PROMPTS, count=2, steps=3, batch=4)))
    names = [sample.name for sample in asked(*PROMPTS, count=2).samples]
    alone = [next(system.sample(asked(*PROMPTS, count=2, steps=3, skip=frozenset(names) - {name}))) for name in names]
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_allclose(one.color, other.color, atol=1e-4)
        np.testing.assert_allclose(one.offset, other.offset, atol=1e-4)
    assert np.abs(together[0].offset - together[1].offset).max() > 0.01
    another_seed = next(system.sample(asked(PROMPTS[0], steps=3, seed=1)))
    assert np.abs(another_seed.offset - alone[0].offset).max() > 0.01


def test_a_sample_is_an_atlas_that_every_verb_accepts(system, tmp_path):
    *_, atlas = system.sample(asked("a/red ball", count=4, steps=2, seed=7, guidance=1.5))
    io.save_atlas(tmp_path / "x.npz", atlas)
    atlas = io.load_atlas(tmp_path / "x.npz")
    gaussians = decode(atlas)
    assert gaussians.origin.normalized
    assert "/" not in gaussians.origin.name
    assert atlas.meta["sample"]["prompt"] == "a/red ball"
    assert [atlas.meta["sample"][key] for key in ("number", "seed", "steps", "guidance")] == [3, 7, 2, 1.5]
    check = check_atlas(atlas)
    assert check.bijection
    assert not check.certified
    assert check.gaussians == atlas.meta["count"] == len(gaussians)


def test_generated_values_are_moved_into_their_spaces():
    rng = np.random.default_rng(0)
    planes = rng.normal(0, 5, (8, 8, 14)).astype(np.float32)
    planes[0, 0, 6] = MIN_OPACITY * 0.99
    planes[0, 1, 6] = MIN_OPACITY
    planes[0, 2, 10:] = 0
    atlas = generated_atlas(planes, {"projection": "equirect", "frame": None}, "x", {})
    assert np.linalg.norm(decode(replace(atlas, opacity=np.ones_like(atlas.opacity))).means, axis=1).max() < 1 + 1e-6
    assert atlas.color.min() == 0 and atlas.color.max() == 1  # noqa: PT018
    assert atlas.opacity[0, 0] == 0
    assert atlas.opacity[0, 1] > 0
    assert atlas.scale.min() == -9 and atlas.scale.max() == -1.5  # noqa: PT018
    np.testing.assert_allclose(np.linalg.norm(atlas.rotation, axis=-1), 1, atol=1e-6)
    assert atlas.rotation[..., 0].min() >= 0
    assert atlas.rotation[0, 2].tolist() == [1, 0, 0, 0]
    assert "frame" not in atlas.meta
    planes[3, 3, 3] = np.nan
    with pytest.raises(GatlasError, match="not finite"):
        generated_atlas(planes, {"projection": "equirect"}, "x", {})


def test_an_atlas_goes_through_whitening_and_back_unchanged(system, folder):
    planes = batch_of(system, folder).planes
    x0 = module.pack(system.whitening.whiten(planes))
    assert x0.shape == (3, 16, 8, 8)
    back = system.whitening.unwhiten(module.unpack(x0))
    np.testing.assert_allclose(back.numpy(), planes.numpy(), atol=1e-5)


def test_a_saved_model_samples_what_the_trained_one_did(system, tmp_path):
    request = asked("a red ball", steps=3)
    model = saved(system, tmp_path / "model")
    loaded = load_system(model)
    assert loaded.config == system.config
    one, other = (next(each.sample(request)) for each in (system, loaded))
    for name in ("offset", "color", "opacity", "scale", "rotation"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    stock = UNet2DConditionModel.from_pretrained(f"{model}/unet")
    weights = system.network.unet.state_dict()
    assert all(torch.equal(weight, weights[name]) for name, weight in stock.state_dict().items())


def test_a_record_says_how_a_sample_was_made_and_with_which_weights(system, tmp_path):
    request = asked("a red ball", count=3, steps=2, seed=4)
    sample = request.samples[2]
    model = saved(system, tmp_path / "model")
    loaded = load(model)
    record = loaded.record(request, sample)
    assert list(loaded.sample(request))[2].meta["sample"] == record
    assert [record[name] for name in ("prompt", "number", "seed", "steps", "scheduler")] == [
        "a red ball", 2, 4, 2, "dpm++"
    ]  # fmt: skip
    assert record["guidance"] == CONFIG.guidance
    coarse = load(model, dtype="bfloat16")
    assert coarse.weights == loaded.weights
    assert [each.record(request, sample)["dtype"] for each in (loaded, coarse)] == ["float32", "bfloat16"]
    trained = {name: weight + 1e-3 for name, weight in system.network.state_dict().items()}
    system.save_network(f"{model}/unet", trained)
    assert load(model).weights != loaded.weights


def test_sampling_in_bfloat16_is_near_float32(system, tmp_path):
    request = asked("a red ball", steps=3)
    model = saved(system, tmp_path / "model")
    fine, coarse = (next(load(model, dtype=dtype).sample(request)) for dtype in ("float32", torch.bfloat16))
    assert 0 < np.abs(fine.color - coarse.color).mean() < 0.05


def test_a_model_of_ours_is_a_base(system, stats, tmp_path):
    model = saved(system, tmp_path / "model")
    again = create(CONFIG, base=model, stats=stats, seed=5)
    for one, other in zip(system.network.parameters(), again.network.parameters(), strict=True):
        assert torch.equal(one, other)
    with pytest.raises(GatlasError, match="made with pooled: add --set pooled=true"):
        create(replace(CONFIG, pooled=False), base=model, stats=stats)


def test_a_preview_shows_a_sample_of_each_caption(system, folder):
    batch_of(system, folder)
    picture = system.preview(system.network, seeded())
    assert picture.shape == (160, 480, 3)  # three captions in a row
    assert picture.min() >= 0
    assert picture.max() <= 1


@pytest.fixture
def base(tmp_path):
    """A text-to-image pipeline folder as Stable Diffusion's is laid out, with small random weights."""
    tokenizer = byte_tokenizer(77)
    encoder = small_text_encoder(tokenizer, dim=32, heads=2)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        unet = UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(32, 64),
            layers_per_block=1,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            norm_num_groups=8,
            attention_head_dim=2,
            cross_attention_dim=32,
        )
    scheduler = {"_class_name": "DDIMScheduler", **STABLE_DIFFUSION_NOISE, "prediction_type": "v_prediction"}
    path = tmp_path / "base"
    path.mkdir()
    save_parts(path, Pipeline(unet, scheduler, encoder, tokenizer), {"system": "none", "config": {}}, None)
    (path / "gatlas.json").unlink()
    (path / "unet").mkdir()
    save_unet(path / "unet", unet)
    return path


def test_a_pipeline_is_widened_trained_and_sampled(base, folder, stats, tmp_path):
    system = create(GaussianAtlasConfig(rgb=0, mask=0, lpips=0), base=str(base), stats=stats)
    assert system.network.unet.config.in_channels == system.network.unet.config.out_channels == 16
    terms = system.loss(system.network, batch_of(system, folder), seeded(), step=1, steps=10)
    terms["loss"].backward()
    loaded = load(saved(system, tmp_path / "model"))
    assert loaded.prompts.encode([""])[0].shape == (1, 77, 32)
    request = asked("a red ball", steps=2)
    np.testing.assert_array_equal(next(system.sample(request)).color, next(loaded.sample(request)).color)


def test_a_base_of_another_prediction_is_one_line_that_says_what_to_set(base, stats):
    path = base / "scheduler" / "scheduler_config.json"
    path.write_text(path.read_text().replace("v_prediction", "epsilon"))
    with pytest.raises(GatlasError, match="was trained to predict epsilon, and the config says v") as error:
        create(GaussianAtlasConfig(), base=str(base), stats=stats)
    assert "--set prediction=epsilon --set zero_terminal_snr=false" in str(error.value)
    assert one_line(error)
    config = GaussianAtlasConfig(prediction="epsilon", zero_terminal_snr=False)
    assert create(config, base=str(base), stats=stats).schedule.prediction_type == "epsilon"


def test_what_a_base_cannot_take_is_one_line(base, stats):
    with pytest.raises(GatlasError, match="made without positions: add --set positions=false") as error:
        create(GaussianAtlasConfig(positions=True), base=str(base), stats=stats)
    assert one_line(error)


def test_a_model_with_other_waves_of_positions_is_one_line_that_says_what_to_set(stats, tmp_path):
    config = GaussianAtlasConfig(positions=True, octaves=2, pooled=True, widths=(32, 32))
    made = saved(create(config, stats=stats), tmp_path / "made")
    assert load(made).network.positions.shape == (15, 8, 8)
    with pytest.raises(GatlasError, match="made with octaves=2: add --set octaves=2") as error:
        create(replace(config, octaves=1), base=str(made), stats=stats)
    assert one_line(error)


def one_line(error):
    return "\n" not in str(error.value)


def test_statistics_of_another_size_are_one_line(folder, stats, tmp_path):
    with pytest.raises(GatlasError, match="statistics are of 8 x 8 atlases and the model is of 16 x 16") as error:
        create(replace(CONFIG, size=16), stats=stats)
    assert one_line(error)
    other = create(CONFIG, stats=write_set(tmp_path / "set", 16))
    with pytest.raises(GatlasError, match="the atlas is 8 x 8, the statistics are 16 x 16") as error:
        other.dataset(Sources((str(folder / "set"),)))
    assert one_line(error)
    with pytest.raises(GatlasError, match="no statistics"):
        create(CONFIG)


def test_statistics_of_an_unknown_layout_are_one_line(stats):
    with pytest.raises(GatlasError, match="the statistics have the projection 'cube'; this version knows") as error:
        create(CONFIG, stats=replace(stats, meta={**stats.meta, "projection": "cube"}))
    assert one_line(error)


def test_a_stored_config_that_cannot_be_names_its_folder_and_gives_no_advice_on_options(system, tmp_path):
    model = saved(system, tmp_path / "model")
    path = tmp_path / "model" / "gatlas.json"
    path.write_text(path.read_text().replace('"prediction": "v"', '"prediction": "epsilon"'))
    with pytest.raises(GatlasError, match=r"model: its config in gatlas\.json: damaged: prediction=eps") as error:
        load(model)
    assert one_line(error)
    assert "--set" not in str(error.value)


def test_a_folder_of_an_earlier_gatlas_opens_with_the_same_settings(system, tmp_path):
    model = saved(replace_config(system, whitening_clip=4.0), tmp_path / "model")
    path = tmp_path / "model" / "gatlas.json"
    text = path.read_text()
    assert '"whitening_clip": 4.0' in text
    path.write_text(text.replace("whitening_clip", "clip"))  # its name until version 0.1
    assert load(model).config == replace(system.config, whitening_clip=4.0)


def replace_config(system, **changes):
    return create(replace(CONFIG, **changes), stats=system.stats)


def test_a_scheduler_that_contradicts_the_model_is_one_line(system, tmp_path):
    model = saved(system, tmp_path / "model")
    path = tmp_path / "model" / "scheduler" / "scheduler_config.json"
    path.write_text(path.read_text().replace("v_prediction", "epsilon"))
    with pytest.raises(GatlasError, match=r"it predicts v and its scheduler_config\.json says epsilon") as error:
        load(model)
    assert one_line(error)


def test_lacking_lpips_weights_are_one_line_that_says_what_to_do(folder, stats, monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    system = create(replace(CONFIG, lpips=1.0), stats=stats)
    with pytest.raises(GatlasError, match=re.escape("--set lpips=0")) as error:
        system.dataset(Sources((str(folder / "set"),)))
    assert one_line(error)
    assert "--lpips-weights" in str(error.value)


def test_lpips_of_named_weights_is_a_term_of_the_loss(folder, stats, tmp_path):
    shapes = {0: (64, 3, 11), 3: (192, 64, 5), 6: (384, 192, 3), 8: (256, 384, 3), 10: (256, 256, 3)}  # AlexNet's
    generator = seeded()
    state = {f"lin{i}": torch.rand(shape[0], generator=generator) for i, shape in enumerate(shapes.values())}
    for number, (outputs, inputs, kernel) in shapes.items():
        weight = torch.randn(outputs, inputs, kernel, kernel, generator=generator)
        state[f"features.{number}.weight"] = weight / (inputs * kernel * kernel) ** 0.5
        state[f"features.{number}.bias"] = torch.zeros(outputs)
    save_file(state, tmp_path / "weights.safetensors")
    config = replace(CONFIG, lpips=1.0, rgb=0.0, mask=0.0, render_start=0.0, render_ramp=0.0, render_size=32, snr_cap=0)
    system = create(config, stats=stats)
    weights = str(tmp_path / "weights.safetensors")
    batch = batch_of(system, folder, weights=weights)
    terms = system.loss(system.network, batch, generator, step=1, steps=10)
    assert float(terms["lpips"]) > 0
    assert float(terms["loss"].detach()) == pytest.approx(float(terms["diffusion"] + terms["lpips"]), rel=1e-6)
    terms["loss"].backward()
    assert torch.isfinite(system.network.unet.conv_in.weight.grad).all()
    small = create(replace(config, render_size=16), stats=stats)
    with pytest.raises(GatlasError, match="LPIPS needs pictures of 31 pixels or more") as error:
        small.dataset(Sources((str(folder / "set"),), lpips_weights=weights))
    assert one_line(error)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text_dropout": 1.5}, "text_dropout must be at least 0 and at most 1"),
        ({"whitening_clip": 0.0}, "whitening_clip must be greater than 0"),
        ({"rgb": -1.0}, "rgb must be at least 0"),
        ({"prediction": "epsilon"}, "prediction=epsilon needs zero_terminal_snr=false"),
        ({"render_size": 0}, "render_size must be at least 1"),
        ({"octaves": 2}, "octaves must be 0 without positions"),
        ({"positions": True, "octaves": -1}, "octaves must be at least 0 and at most 10"),
    ],
)
def test_a_config_that_cannot_be_is_one_line(changes, message):
    with pytest.raises(GatlasError, match=message) as error:
        GaussianAtlasConfig(**changes)
    assert one_line(error)


def test_widths_that_make_no_network_are_one_line(stats):
    with pytest.raises(GatlasError, match="no network of this config: size must be a multiple of 16") as error:
        create(replace(CONFIG, widths=(32, 32, 32, 64, 64)), stats=stats)
    assert one_line(error)


def test_epsilon_without_zero_terminal_snr_trains_and_samples(folder, stats):
    system = create(replace(CONFIG, prediction="epsilon", zero_terminal_snr=False), stats=stats)
    terms = system.loss(system.network, batch_of(system, folder), seeded(), step=1, steps=10)
    assert torch.isfinite(terms["loss"])
    assert next(system.sample(asked("x", steps=2))).size == 8


def test_kept_encodings_are_those_that_are_computed():
    tokenizer = byte_tokenizer()
    encoder = small_text_encoder(tokenizer, dim=32, heads=2)
    prompts = Prompts(tokenizer, encoder)
    first = prompts.encode(["one", "", "two", "one"])
    again = prompts.encode(["one", "", "two", "one"])
    fresh = Prompts(tokenizer, encoder).encode(["two"])
    for before, after in zip(first, again, strict=True):
        assert torch.equal(before, after)
    assert torch.equal(first[0][2], fresh[0][0])
    assert torch.equal(first[1][2], fresh[1][0])
    assert not first[0][1].any()
    np.testing.assert_allclose(encode_prompts(tokenizer, encoder, ["one"])[0][0], first[0][0], atol=1e-6)


def test_encodings_are_kept_within_bounds(monkeypatch):
    encoded = []

    def recording(tokenizer, encoder, texts):
        encoded.extend(texts)
        return encode_prompts(tokenizer, encoder, texts)

    monkeypatch.setattr("gatlas.systems.gaussian_atlas.prompts.encode_prompts", recording)
    tokenizer = byte_tokenizer()
    encoder = small_text_encoder(tokenizer, dim=32, heads=2)
    prompts = Prompts(tokenizer, encoder, cache_bytes=3 * LENGTH * 32 * 4)
    for text in ("one", "two", "three", "one", "four", "three", "one", "four", "two"):
        prompts.encode([text])
    assert encoded == ["one", "two", "three", "four", "two"]  # the three that were used last are kept


def test_the_system_is_known_by_its_name(system):
    assert system_module(system.name).SYSTEM is type(system)
    assert set(PRESETS) == {"small", "finetune", "paper"}


@pytest.mark.slow
def test_150_steps_learn_what_the_captions_say(folder, stats):
    system = create(CONFIG, stats=stats)
    examples = system.dataset(Sources((str(folder / "set"),), captions=str(folder / "captions.csv")))
    batch = examples.collate([examples[i % 3] for i in range(6)])
    optimizer = torch.optim.AdamW(system.network.parameters())
    options = TrainOptions(steps=150, lr=3e-3, schedule="cosine", warmup=0)
    generator = seeded()
    for step in range(150):
        # At a constant rate it is chance how good the last step of so few leaves the network.
        optimizer.param_groups[0]["lr"] = learning_rate(options, step + 1)
        optimizer.zero_grad()
        system.loss(system.network, batch, generator, step=step, steps=150)["loss"].backward()
        optimizer.step()
    assert system.diagnose(system.network, batch, generator)["retrieval"] == 1
    for atlas, (color, radius) in zip(system.sample(asked(*PROMPTS)), BALLS.values(), strict=True):
        gaussians = decode(atlas)
        assert abs(np.linalg.norm(gaussians.means, axis=1).mean() - radius) < 0.1
        assert np.abs(gaussians.sh.mean(axis=(0, 1)) * 0.28209479 + 0.5 - color).max() < 0.35  # the others are 1 away


def test_an_unknown_base_is_one_line(stats):
    with pytest.raises(GatlasError, match="no such folder"):
        create(CONFIG, base="./nowhere", stats=stats)


def test_the_prompt_no_text_has_another_name_than_no_prompt():
    names = {prompt: SampleSpec(Condition(prompt=prompt), 2).name for prompt in ("", "no text", "a red ball")}
    assert names.pop("no text").startswith("no-text-")
    assert names == {"": "no-text-2", "a red ball": "a-red-ball-2"}


def test_a_run_is_resumed_with_its_own_statistics_only(system, folder, tmp_path):
    other = write_set(tmp_path / "set")
    io.save_stats(str(tmp_path / "own.npz"), system.stats)
    io.save_stats(str(tmp_path / "other.npz"), replace(other, mean=other.mean + 1))
    assert len(system.dataset(Sources((str(folder / "set"),), stats=str(tmp_path / "own.npz"))))
    with pytest.raises(GatlasError, match=r"other\.npz: other statistics than those that the run was begun with"):
        system.dataset(Sources((str(folder / "set"),), stats=str(tmp_path / "other.npz")))
