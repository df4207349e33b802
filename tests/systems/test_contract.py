"""The contract of systems: one that only this test knows is trained, sampled and described like those of gatlas."""

import io as bytes_io
import json
import shutil
import tarfile

import numpy as np
import pytest

from gatlas import io
from gatlas.cli.app import click_group
from gatlas.cli.manual_pages import pages
from gatlas.errors import GatlasError
from gatlas.systems import SYSTEMS, default_preset, load_system, system_module, system_of
from gatlas.systems.contract import Condition, Photo, SampleRequest, SampleSpec, Sources
from gatlas.systems.sampling import save_samples
from tests.helpers.command_line import expect, run_here
from tests.helpers.scene_files import box_views
from tests.helpers.toy_views import NAME, PRESETS, ToyViews, ToyViewsConfig

pytestmark = pytest.mark.usefixtures("one_thread", "registered")


@pytest.fixture
def registered(monkeypatch):
    monkeypatch.setitem(SYSTEMS, NAME, "tests.helpers.toy_views")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Folders of views, cameras of other views and a run of four steps."""
    folder = tmp_path_factory.mktemp("made")
    for number, name in enumerate(("one", "two")):
        io.save_views(folder / name, box_views(number, 3, 24))
    io.save_views(folder / "targets", box_views(2, 4, 24))
    (folder / "photo.png").write_bytes((folder / "one" / "images" / "000.png").read_bytes())
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SYSTEMS, NAME, "tests.helpers.toy_views")
        words = ["train", "one", "two", "--system", NAME, "--device", "cpu", "-o", "run"]
        expect(run_here(words, folder), 0)
    return folder


@pytest.fixture
def sample(made, tmp_path):
    """Run `gatlas sample --model run WORDS...` in an empty folder."""

    def run(*words, cameras=made / "targets", code=0):
        asked = [] if cameras is None else ["--cameras", cameras]
        return expect(run_here(["sample", "--model", made / "run", "--device", "cpu", *words, *asked], tmp_path), code)

    return run


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_it_is_trained_by_the_one_loop(made):
    assert (made / "run" / "net" / "weights.safetensors").is_file()
    assert [json.loads(line)["step"] for line in (made / "run" / "log.jsonl").open()][-1] == 4
    assert system_of(str(made / "run")) == system_of(str(made / "run" / "checkpoint-000002")) == NAME
    assert load_system(str(made / "run")).config == PRESETS["tiny"].config


def test_a_run_of_it_is_resumed(made, tmp_path):
    words = ["train", made / "one", made / "two", "--system", NAME, "--device", "cpu", "-o", "run"]
    expect(run_here([*words, "--steps", "2"], tmp_path), 0)
    expect(run_here([*words, "--steps", "4", "--resume", "latest"], tmp_path), 0)
    weights = [folder / "run" / "net" / "weights.safetensors" for folder in (made, tmp_path)]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_one_sample_is_a_folder_of_views_with_the_cameras_that_were_asked_for(sample, made, tmp_path):
    told = sample(made / "one", "-o", "views/").stderr
    assert "4 views of 1 objects" in told
    views, targets = io.load_views(tmp_path / "views"), io.load_cameras(made / "targets")
    assert views.images.shape == (4, 6, 6, 3)
    np.testing.assert_allclose(views.cameras.viewmats, targets.viewmats, atol=1e-5)
    np.testing.assert_allclose(views.cameras.Ks[:, :2], targets.Ks[:, :2] / 4, rtol=1e-5)  # 24 pixels to 6
    record = json.loads((tmp_path / "views" / "transforms.json").read_text())["sample"]
    assert {name: record[name] for name in ("number", "seed", "steps")} == {"number": 0, "seed": 0, "steps": None}


def test_samples_of_several_objects_are_folders_and_a_tar_of_the_same_files(sample, made, tmp_path):
    words = [made / "one", made / "two", "-n", "2"]
    sample(*words, "-o", "made/")
    names = ["one", "one-1", "two", "two-1"]
    assert sorted(path.name for path in (tmp_path / "made").iterdir()) == names
    sample(*words, "-o", "x.tar")
    piped = sample(*words).stdout
    assert piped == (tmp_path / "x.tar").read_bytes()
    with tarfile.open(fileobj=bytes_io.BytesIO(piped)) as tar:
        members = {member.name: tar.extractfile(member).read() for member in tar}
    assert members == contents(tmp_path / "made")
    assert len(io.load_views(tmp_path / "made" / "two-1")) == 4


def test_a_sample_depends_on_no_other(sample, made, tmp_path):
    sample(made / "one", made / "two", "-n", "2", "-o", "made/")
    sample(made / "two", "-o", "alone/")
    sample(made / "two", "-o", "other/", "--seed", "1")
    assert contents(tmp_path / "made" / "two") == contents(tmp_path / "alone")
    images = [contents(tmp_path / name)["images/000.png"] for name in ("alone", "other")]
    assert images[0] != images[1]


def test_a_folder_is_completed_and_other_options_are_refused(sample, made, tmp_path):
    sample(made / "one", made / "two", "-o", "made/")
    before = contents(tmp_path / "made")
    assert "2 samples are in made/ already and are kept" in sample(made / "one", made / "two", "-o", "made/").stderr
    shutil.rmtree(tmp_path / "made" / "two")
    told = sample(made / "one", made / "two", "-o", "made/").stderr
    assert "1 samples are in made/ already" in told
    assert "1 samples in made/" in told
    assert contents(tmp_path / "made") == before
    told = sample(made / "one", made / "two", "-o", "made/", "--seed", "3", code=1).stderr
    assert "made/one: was made with seed 0 (now 3): --force makes all samples anew" in told
    told = sample(made / "one", made / "two", "-o", "made/", cameras=made / "one", code=1).stderr
    assert "made/one: was made with other cameras: --force" in told
    assert contents(tmp_path / "made") == before
    sample(made / "one", made / "two", "-o", "made/", "--seed", "3", "--force")
    assert contents(tmp_path / "made") != before


def test_a_folder_of_views_that_is_no_sample_is_kept(sample, made, tmp_path):
    shutil.copytree(made / "two", tmp_path / "made" / "one")
    told = sample(made / "one", made / "two", "-o", "made/", code=1).stderr
    assert "made/one: is there already and no sample: use --force" in told
    assert contents(tmp_path / "made") == {f"one/{name}": data for name, data in contents(made / "two").items()}


def request_of(made, **options):
    views = io.load_views(made / "one")
    cameras = views.cameras
    photos = tuple(Photo("", *each) for each in zip(views.images, cameras.Ks, cameras.viewmats, strict=True))
    return SampleRequest((Condition("one", photos=photos),), io.load_cameras(made / "targets"), **options)


def test_a_sample_that_was_stopped_goes_on_at_the_next_view(made, tmp_path):
    system, request = load_system(str(made / "run")), request_of(made)
    save_samples(system, request, f"{tmp_path}/whole/")
    steps = []

    def stop_after_two():
        steps.append(1)
        if len(steps) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        save_samples(system, request, f"{tmp_path}/pieces/", on_step=stop_after_two)
    begun = contents(tmp_path / "pieces")
    assert sorted(begun) == ["images/000.png", "images/001.png", "transforms.json.part"]
    with pytest.raises(GatlasError, match=r"no transforms\.json in this folder"):
        io.load_cameras(tmp_path / "pieces")
    with pytest.raises(GatlasError, match=r"was made with seed 0 \(now 1\)"):
        save_samples(system, request_of(made, seed=1), f"{tmp_path}/pieces/")
    save_samples(system, request, f"{tmp_path}/pieces/", on_step=lambda: steps.append(2))
    assert steps == [1, 1, 2, 2, 2, 2]  # what is there counts as done
    assert contents(tmp_path / "pieces") == contents(tmp_path / "whole")
    assert {name: contents(tmp_path / "pieces")[name] for name in list(begun)[:2]} == {
        name: data for name, data in begun.items() if name.endswith(".png")
    }


def test_a_python_user_samples_without_a_command_line(made):
    views = list(load_system(str(made / "run")).sample(request_of(made, seed=4)))
    assert [len(each) for each in views] == [1, 1, 1, 1]
    system = ToyViews(ToyViewsConfig())
    assert len(list(system.sample(request_of(made, count=2, skip=frozenset({"one"}))))) == 4


def test_a_key_that_sampling_may_change_is_set(sample, made, tmp_path):
    sample(made / "one", "-o", "plain/", "--set", "noise=0")
    assert np.ptp(io.load_views(tmp_path / "plain").images, axis=(1, 2)).max() == 0
    assert json.loads((tmp_path / "plain" / "transforms.json").read_text())["sample"]["noise"] == 0.0
    told = sample(made / "one", "-o", "plain/", code=1).stderr
    assert "plain: was made with noise 0.0 (now 0.1): --force" in told
    assert load_system(str(made / "run"), settings={"noise": 0.5}).config.noise == 0.5


def test_one_view_is_a_picture(sample, made, tmp_path):
    index = json.loads((made / "targets" / "transforms.json").read_text())
    (tmp_path / "one.json").write_text(json.dumps({**index, "frames": index["frames"][:1]}))
    sample(made / "one", "-o", "x.png", cameras="one.json")
    assert io.load_image(tmp_path / "x.png").shape == (6, 6, 3)
    assert sample(made / "one", cameras="one.json").stdout == (tmp_path / "x.png").read_bytes()
    told = sample(made / "one", "-o", "y.png", code=1).stderr
    assert "y.png: holds one view, and 4 are asked for: name a folder, DIR/, or x.tar" in told


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["one", "--prompt", "a cube"], "--prompt: "),
        (["one", "--prompt", "a cube"], f"is a model of {NAME}, which samples from photos: gatlas sample --model"),
        (["one", "--fov", "40"], "one: its transforms.json has the intrinsics: leave out --fov and --intrinsics"),
        (["photo.png", "--fov", "40"], f"{NAME} needs the cameras of the photos"),
        (["one", "photo.png"], "name photos of one scene, or folders of photos, not both"),
        (["targets", "targets"], "two samples would have one name"),
        (["one", "--set", "side=4"], f"--set side: sampling may change noise of {NAME}, and no other key"),
        (["one", "--set", "sides=4"], "--set sides: there is no such key; did you mean side?"),
        (["one", "--views", "x"], f"--views: {NAME} finds no cameras of its photos"),
        (["none/"], "none"),
        ([], "there is no photo: "),
    ],
)
def test_what_it_does_not_take_is_one_line(sample, made, tmp_path, words, told):
    words = [made / word if not word.startswith("-") and (made / word).exists() else word for word in words]
    result = sample(*words, "-o", "made/", code=1)
    assert told in result.stderr
    assert result.stderr.strip().count("\n") == 0
    assert not (tmp_path / "made").exists()


def test_photos_that_are_too_many_and_cameras_that_lack_are_one_line(sample, made, tmp_path):
    io.save_views(tmp_path / "many", box_views(0, 6, 24))
    assert f"many: {NAME} needs 1 to 4 photos of a scene, got 6" in sample("many", "-o", "x/", code=1).stderr
    told = sample(made / "one", "-o", "x/", cameras=None, code=1).stderr
    assert f"{NAME} needs the cameras of the views: --cameras FILE" in told


def test_sources_that_it_does_not_use_are_one_line(made):
    system = ToyViews(ToyViewsConfig())
    with pytest.raises(GatlasError, match=f"^--lpips-weights: {NAME} learns from folders alone$"):
        system.dataset(Sources((str(made / "one"),), lpips_weights="vgg.pth"))


def test_it_recognizes_its_own_files_and_no_other_file_has_a_system(made, tmp_path):
    shutil.copy(made / "run" / "net" / "weights.safetensors", tmp_path / "model.toy")
    assert isinstance(load_system(str(tmp_path / "model.toy")), ToyViews)
    (tmp_path / "model.txt").write_text("weights")
    with pytest.raises(
        GatlasError, match=r"model\.txt: no weights that gatlas knows: .* gaussian-atlas or .*toy-views$"
    ):
        load_system(str(tmp_path / "model.txt"))


def test_a_model_of_it_is_converted(made, tmp_path):
    expect(run_here(["sample", "--model", made / "run" / "checkpoint-000002", "--convert", "copy"], tmp_path), 0)
    assert sorted(contents(tmp_path / "copy")) == ["gatlas.json", "net/weights.safetensors"]
    assert load_system(str(tmp_path / "copy")).name == NAME


def test_the_manual_has_its_presets_and_keys():
    page = pages(click_group())["gatlas-train"].replace("\\-", "-")
    assert ".SH PRESETS OF TOY-VIEWS" in page
    assert (
        ".B tiny\nthe default without --base: 4 steps, batch size 2 per process, learning rate 0.01; for tests" in page
    )
    assert ".B side=6\npixels per side of the views" in page


def test_the_default_preset_is_the_first_that_fits():
    assert default_preset(NAME, with_base=False) == "tiny"
    assert default_preset(NAME, with_base=True) == "wide"
    assert default_preset("noposplat", with_base=True) == "re10k"
    assert default_preset("gaussian-atlas", with_base=False) == "small"


@pytest.mark.parametrize("name", ["gaussian-atlas", "noposplat"])
def test_a_module_and_its_class_agree(name):
    module = system_module(name)
    assert module.SYSTEM.name == name
    assert module.SYSTEM.takes == module.TAKES


def test_a_seed_follows_from_request_condition_number_and_part():
    sample = SampleSpec(Condition(prompt="a red ball"), 2)
    # The first eight bytes of sha256('[7, "a red ball", 2]'), shifted by one.
    assert sample.seed(7) == 3634488378547725005
    others = [sample.seed(8), sample._replace(number=3).seed(7), sample.seed(7, 0), sample.seed(7, 1)]
    assert len({sample.seed(7), *others}) == 5
