"""gatlas sample --image: names, what goes with what, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from gatlas import io
from gatlas.cli.app import app
from gatlas.errors import GatlasError
from gatlas.systems.gaussian_atlas import PRESETS, create
from tests.helpers.atlas_sets import write_set

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Model folders whose networks are not trained: one that takes pictures, one that does not."""
    folder = tmp_path_factory.mktemp("made")
    stats = write_set(folder / "set")
    for name, side in (("seeing", 16), ("blind", 0)):
        (folder / name).mkdir()
        create(replace(PRESETS["small"].config, widths=(32, 64), pictures=side), stats=stats).save(str(folder / name))
    return folder


@pytest.fixture
def sample(models, tmp_path, monkeypatch):
    """Run `gatlas sample` in a folder with two pictures; the names of what is made."""
    monkeypatch.chdir(tmp_path)
    for name, color in (("front", [1, 0, 0, 1]), ("back", [0, 0, 1, 1])):
        image = np.zeros((20, 20, 4), np.float32)
        image[5:15, 5:15] = color
        io.save_image(f"{name}.png", image)

    def run(*words, model="seeing", output="made/"):
        told = ["sample", "--model", str(models / model), "--device", "cpu", "--steps", "1", "-o", output, *words]
        result = CliRunner().invoke(app, told)
        if isinstance(result.exception, GatlasError):
            raise result.exception
        assert result.exit_code == 0, result.stderr
        return sorted(path.name for path in (tmp_path / "made").iterdir()) if output == "made/" else result.stderr

    return run


def test_each_picture_is_made_into_an_object_of_its_name(sample):
    assert sample("--image", "front.png", "--image", "back.png", "-n", "2") == [
        "back-1.npz", "back.npz", "front-1.npz", "front.npz",
    ]  # fmt: skip
    one, other = io.load_atlas("made/front.npz"), io.load_atlas("made/back.npz")
    assert one.meta["sample"]["prompt"] == ""
    assert one.meta["sample"]["picture"] != other.meta["sample"]["picture"]
    sample("--image", "front.png", output="front.ply")
    assert len(io.load_gaussians("front.ply")) > 0


def test_pictures_and_prompts_go_each_with_each(sample):
    names = sample("--image", "front.png", "--image", "back.png", "--prompt", "a red ball", "--prompt", "a cube")
    assert names == [
        "back-a-cube-0.npz", "back-a-red-ball-0.npz", "front-a-cube-0.npz", "front-a-red-ball-0.npz",
    ]  # fmt: skip
    assert io.load_atlas("made/back-a-cube-0.npz").meta["sample"]["prompt"] == "a cube"


def test_a_folder_is_completed_with_the_same_picture_only(sample):
    sample("--image", "front.png")
    assert sample("--image", "front.png", "-n", "2") == ["front-1.npz", "front.npz"]
    io.save_image("front.png", io.load_image("back.png"), force=True)
    with pytest.raises(GatlasError, match=r"front\.npz: was made with other picture: --force makes all") as error:
        sample("--image", "front.png")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("words", "model", "message"),
    [
        (["--image", "front.png"], "blind", r"--image front\.png: .*blind learned without pictures: sample it with"),
        (["front.png"], "seeing", r"front\.png: .* samples from text or a picture: give --prompt TEXT or --image FILE"),
        (["--image", "none.png"], "seeing", r"none\.png: "),
        ([], "seeing", "no prompt: give one with --prompt TEXT"),
    ],
)
def test_what_cannot_be_is_one_line(sample, words, model, message):
    with pytest.raises(GatlasError, match=message) as error:
        sample(*words, model=model)
    assert "\n" not in str(error.value)
