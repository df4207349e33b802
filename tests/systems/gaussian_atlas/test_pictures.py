"""Objects from pictures: what is trained, what a sample is made from, and what does not fit together."""

import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from gatlas.atlas import decode
from gatlas.errors import GatlasError
from gatlas.geometry.cameras import orbit
from gatlas.models.atlas_unet import Predicted
from gatlas.render import take_views
from gatlas.systems.contract import Condition, Picture, SampleRequest, Sources
from gatlas.systems.gaussian_atlas import PRESETS, create, load
from gatlas.systems.gaussian_atlas.config import GaussianAtlasConfig
from gatlas.train import TrainOptions, train
from tests.helpers.atlas_sets import BALLS, ball

CONFIG = replace(PRESETS["small"].config, widths=(32, 64), pictures=16)

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def system(stats):
    return create(CONFIG, stats=stats)


@pytest.fixture(scope="module")
def examples(system, folder):
    return set_of(system, folder)


def set_of(system, folder, captions=True):
    return system.dataset(Sources((str(folder / "set"),), captions=str(folder / "captions.csv") if captions else None))


def picture_of(name):
    return Picture(f"{name}.png", take_views(ball(name), orbit(1, 40, 40, azimuth=70.0)).images[0])


def asked(*names, prompts=(), **options):
    conditions = [Condition(name, picture=picture_of(name)) for name in names]
    return SampleRequest((*conditions, *(Condition(prompt=text) for text in prompts)), **{"steps": 2, **options})


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def saved(system, folder):
    folder.mkdir()
    system.save(str(folder))
    return str(folder)


def one_line(error):
    return "\n" not in str(error.value)


class Watcher(torch.nn.Module):
    """A network that predicts nothing and keeps what it is conditioned on."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, x, t, text, pooled, pictures=None, shown=None, with_parts=False):
        self.seen.append((text.abs().amax(dim=(1, 2)) > 0, shown))
        nothing = torch.zeros_like(x)
        return Predicted(nothing, guess=torch.zeros(len(x), 16, 8, 8)) if with_parts else nothing


def drawn(system, batch, copies=300):
    """Which objects of many copies of a batch are trained with text, and which with their picture."""
    many = batch._replace(
        planes=batch.planes.repeat(copies, 1, 1, 1),
        captions=batch.captions * copies,
        pictures=batch.pictures.repeat(copies, 1, 1, 1),
    )
    network = Watcher()
    system.loss(network, many, seeded(), step=1, steps=10)
    return network.seen[0]


def batch_of(examples):
    return examples.collate([examples.draw(i, seed=i) for i in range(len(examples))])


def test_objects_are_trained_with_text_a_picture_both_or_none(system, examples):
    text, shown = drawn(system, batch_of(examples))
    # A fifth has none (text_dropout); of the others 30 % text alone, 40 % a picture alone, 30 % both.
    for kind, share in ((text & ~shown, 0.24), (~text & shown, 0.32), (text & shown, 0.24), (~text & ~shown, 0.2)):
        assert float(kind.float().mean()) == pytest.approx(share, abs=0.05)  # three deviations of 900 draws


def test_objects_without_captions_are_trained_with_their_picture_or_none(system, stats, folder):
    own = create(CONFIG, stats=stats)
    text, shown = drawn(own, batch_of(set_of(own, folder, captions=False)))
    assert not text.any()
    assert float(shown.float().mean()) == pytest.approx(0.8, abs=0.05)


def test_the_guess_is_compared_with_the_coarse_atlas(system, examples):
    terms = system.loss(Watcher(), batch_of(examples), seeded(), step=1, steps=10)
    whitened = system.whitening.whiten(batch_of(examples).planes)  # 8 x 8 cells are as coarse as they come
    x0 = whitened[..., [0, 1, 2, 6, 3, 4, 5, 6, 7, 8, 9, 6, 10, 11, 12, 13]]
    assert float(terms["guess"]) == pytest.approx(float(x0.square().mean()), rel=1e-5)
    assert float(terms["loss"]) == pytest.approx(float(terms["diffusion"] + terms["guess"]), rel=1e-6)


def test_a_loaded_model_samples_as_the_saved_one_and_knows_its_weights(system, tmp_path):
    model = saved(system, tmp_path / "model")
    loaded = load(model)
    request = asked("red", prompts=["a red ball"])
    for one, other in zip(system.sample(request), loaded.sample(request), strict=True):
        for name in ("offset", "color", "opacity", "scale", "rotation"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    changed = {
        name: weight + 1e-3 * name.startswith("pictures.") for name, weight in system.network.state_dict().items()
    }
    for part in ("basis", "pictures"):
        shutil.rmtree(f"{model}/unet/{part}")
    system.save_network(f"{model}/unet", changed)
    assert load(model).weights != loaded.weights
    assert create(CONFIG, base=model, stats=system.stats).network.state_dict().keys() == changed.keys()


def test_a_sample_follows_from_its_own_picture_alone(system):
    together = list(system.sample(asked("red", "blue", prompts=["a red ball", ""])))
    alone = [next(system.sample(each)) for each in (asked("red"), asked("blue"), asked(prompts=["a red ball"]))]
    for one, other in zip(together, alone, strict=False):
        np.testing.assert_allclose(one.color, other.color, atol=1e-4)
        np.testing.assert_allclose(one.offset, other.offset, atol=1e-4)
    swapped = Condition("red", picture=picture_of("blue"))
    other = next(system.sample(SampleRequest((swapped,), steps=2)))
    assert np.abs(other.color - alone[0].color).max() > 1e-4


def test_guidance_drops_the_picture_with_the_text(system):
    network = Watcher()
    both = Condition("red", "a red ball", picture=picture_of("red"))
    list(system.sample(SampleRequest((both,), steps=1, guidance=2.0), network))
    text, shown = network.seen[0]
    assert text.tolist() == shown.tolist() == [True, False]


def test_a_record_tells_pictures_apart(system):
    records = [
        system.record(request, request.samples[0])
        for request in (asked("red"), asked("blue"), asked(prompts=["a red ball"]))
    ]
    assert records[0]["prompt"] == ""
    assert records[0]["picture"] != records[1]["picture"]
    assert "picture" not in records[2]


def test_what_does_not_fit_together_is_one_line(system, stats, folder, tmp_path):
    plain = create(replace(CONFIG, pictures=0), stats=stats)
    with pytest.raises(GatlasError, match=r"^--image red\.png: .* learned without pictures: sample it with") as error:
        next(plain.sample(asked("red")))
    assert one_line(error)
    with pytest.raises(GatlasError, match="--views: no rendered loss has a weight, and there are no pictures"):
        plain.dataset(Sources((str(folder / "set"),), views=str(folder)))
    model = saved(system, tmp_path / "model")
    with pytest.raises(GatlasError, match="made with pictures: add --set pictures=64") as error:
        create(replace(CONFIG, pictures=0), base=model, stats=stats)
    assert one_line(error)
    with pytest.raises(GatlasError, match=r"model: .*its encoder is not one of pictures=32") as error:
        create(replace(CONFIG, pictures=32), base=model, stats=stats)
    assert one_line(error)
    shutil.rmtree(f"{model}/unet/pictures")
    with pytest.raises(GatlasError, match="has no unet/pictures, the encoder of pictures") as error:
        load(model)
    assert one_line(error)


@pytest.mark.parametrize("side", [8, 48, 100, 1024])
def test_a_side_of_pictures_is_a_power_of_two(side):
    with pytest.raises(GatlasError, match=re.escape("pictures must be 0, 16, 32, 64, 128, 256 or 512")):
        GaussianAtlasConfig(pictures=side)


def test_a_run_learns_to_make_the_object_on_a_picture_and_is_resumed(system, stats, folder, tmp_path):
    steps, run = 50, str(tmp_path / "run")
    options = TrainOptions(
        steps=steps // 2, batch=3, lr=3e-3, warmup=0, sample_every=0, workers=0, checkpoint_every=steps
    )
    learner = create(CONFIG, stats=stats)
    train(learner, set_of(learner, folder), options, run, device="cpu")
    again = load(run)
    train(again, set_of(again, folder), replace(options, steps=steps), run, resume="latest", device="cpu")
    trained = load(run)
    for name, atlas in zip(BALLS, trained.sample(asked(*BALLS, steps=8)), strict=True):
        assert np.argmax(decode(atlas).sh[:, 0].mean(axis=0)) == np.argmax(BALLS[name][0])
