import io as streams
import json
import shutil
import tarfile

import numpy as np
import pytest
from PIL import Image

from gatlas import io
from gatlas.geometry.cameras import resized
from gatlas.io.photos.object_views import read_object_views
from gatlas.types import Views
from tests.helpers.view_sets import noise_views, textured_views, turned

FAST = ("--splits", 1, "--iterations", 3, "-n", 50, "--resolution", 32, "--device", "cpu")
EPIPOLAR = ("score", "consistency", "--measure", "epipolar")


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """Folders of views: true, turned, noise."""
    folder = tmp_path_factory.mktemp("views")
    truth = textured_views()
    for name, views in (("true", truth), ("turned", turned(truth, 10)), ("noise", noise_views(16, 64))):
        io.save_views(folder / name, views[:8])
    return folder


def rows_of(text):
    """Name -> cells of a Markdown table."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    return {line[0]: line[1:] for line in lines[2:]}


def as_tar(folder):
    blob = streams.BytesIO()
    with tarfile.open(fileobj=blob, mode="w") as tar:
        tar.add(folder, folder.name)
    return blob.getvalue()


def test_the_table_has_both_measures_and_what_is_not_measured(gatlas, stored):
    run = gatlas("score", "consistency", stored / "true", *FAST)
    psnr, ssim, fid, epipolar, registered = rows_of(run.stdout.decode())["true"]
    assert float(psnr) > 5
    assert 0 < float(ssim) < 1
    assert fid == "not measured"
    assert float(epipolar) > 0.4
    assert registered.endswith("%")


def test_a_measure_that_was_not_asked_for_is_shown_as_not_measured(gatlas, stored):
    assert rows_of(gatlas(*EPIPOLAR, stored / "true").stdout.decode())["true"][:3] == ["not measured"] * 3


def test_json_holds_every_view_and_is_the_same_again(gatlas, stored, tmp_path):
    gatlas("score", "consistency", stored / "true", *FAST, "--json", "one.json")
    run = gatlas("score", "consistency", stored / "true", *FAST, "-o", "-")
    found = json.loads((tmp_path / "one.json").read_text())
    assert run.stdout == (tmp_path / "one.json").read_bytes()
    (one,) = found["objects"]
    assert one["name"] == "true"
    assert [view["view"] for view in one["epipolar"]["views"]] == list(range(8))
    assert len(one["field"]["splits"][0]["held_out"]) == 1
    assert found["options"]["splits"] == 1
    gatlas("score", "consistency", stored / "true", *FAST, "--json", "one.json", code=1)


def test_several_inputs_and_a_reference_are_rows_with_means(gatlas, stored):
    run = gatlas(*EPIPOLAR, stored / "turned", stored / "noise", "--reference", stored / "true")
    rows = rows_of(run.stdout.decode())
    assert list(rows) == ["turned", "noise", "mean of 2", "true (reference)"]
    values = {name: float(cells[3]) for name, cells in rows.items()}
    assert values["true (reference)"] > values["turned"] > values["noise"]
    assert values["mean of 2"] == pytest.approx((values["turned"] + values["noise"]) / 2, abs=1e-3)


def test_a_folder_of_folders_and_a_tar_in_a_pipe_are_read(gatlas, stored):
    whole = rows_of(gatlas(*EPIPOLAR, stored).stdout.decode())
    assert list(whole) == ["noise", "true", "turned", "mean of 3"]
    piped = rows_of(gatlas(*EPIPOLAR, stdin=as_tar(stored / "true")).stdout.decode())
    assert piped["true"] == whole["true"]


def test_an_input_that_fails_does_not_stop_the_others(gatlas, stored, tmp_path):
    (tmp_path / "empty").mkdir()
    run = gatlas(*EPIPOLAR, "empty", stored / "true", code=3)
    assert list(rows_of(run.stdout.decode())) == ["true"]
    assert "empty: there is no transforms.json" in run.stderr
    assert "1 of 2 inputs failed" in run.stderr


def test_large_pictures_are_reduced_as_they_are_read(tmp_path):
    views = textured_views(8, 64)
    large = np.repeat(np.repeat(views.images, 10, axis=1), 10, axis=2)
    io.save_views(tmp_path / "large", Views(large, resized(views.cameras, 640, 640)))
    (found,) = read_object_views(str(tmp_path / "large"), side=512)
    assert found.images.shape == (8, 512, 512, 4)
    np.testing.assert_allclose(found.cameras.Ks, resized(views.cameras, 512, 512).Ks, rtol=1e-5)


def one_line(run):
    (line,) = run.stderr.splitlines()
    return line


def test_one_view_is_refused(gatlas, tmp_path):
    io.save_views(tmp_path / "one", textured_views()[:1])
    assert "one: one view: consistency is between views" in one_line(gatlas(*EPIPOLAR, "one", code=1))


def test_pictures_without_cameras_are_refused(gatlas, stored, tmp_path):
    shutil.copytree(stored / "true/images", tmp_path / "photos")
    assert "photos: there is no transforms.json with the cameras" in one_line(gatlas(*EPIPOLAR, "photos", code=1))


def test_pictures_of_several_sizes_are_refused(gatlas, tmp_path):
    io.save_views(tmp_path / "views", textured_views()[:4])
    index = json.loads((tmp_path / "views/transforms.json").read_text())
    sizes = [index.pop(name) for name in ("w", "h")]
    assert sizes == [64, 64]
    for number, frame in enumerate(index["frames"]):
        side = 32 if number == 2 else 64
        frame |= {"w": side, "h": side, "fl_x": float(side), "fl_y": float(side), "cx": side / 2, "cy": side / 2}
    (tmp_path / "views/transforms.json").write_text(json.dumps(index))
    Image.fromarray(np.zeros((32, 32, 4), np.uint8)).save(tmp_path / "views/images/002.png")
    assert "several sizes (32 x 32, 64 x 64)" in one_line(gatlas(*EPIPOLAR, "views", code=1))


def test_a_missing_picture_is_refused(gatlas, stored, tmp_path):
    shutil.copytree(stored / "true", tmp_path / "views")
    (tmp_path / "views/images/003.png").unlink()
    assert "1 of its 8 pictures are missing" in one_line(gatlas(*EPIPOLAR, "views", code=1))


def test_the_measure_must_be_named(gatlas):
    assert b"consistency" in gatlas("score", "--help").stdout
    assert "Traceback" not in gatlas("score", "beauty", code=2).stderr


def test_two_inputs_cannot_be_standard_input(gatlas):
    assert "cannot both come from standard input" in one_line(gatlas(*EPIPOLAR, "-", "--reference", "-", code=1))


def test_fit_takes_the_white_of_sampled_views_for_transparent(gatlas, stored, tmp_path):
    views = textured_views()
    rgb = views.images[..., :3] * views.images[..., 3:] + 1 - views.images[..., 3:]
    io.save_views(tmp_path / "views", Views(rgb, views.cameras))
    index = json.loads((tmp_path / "views/transforms.json").read_text())
    words = ("-n", 300, "--iterations", 30, "--resolution", 64, "--lambda-lpips", 0, "--device", "cpu")
    (tmp_path / "views/transforms.json").write_text(json.dumps({**index, "sample": {"background": "white"}}))
    run = gatlas("fit", "views", *words, "-o", "x.ply")
    assert "views: its views were sampled over white" in run.stderr
    splat = io.load_gaussians(tmp_path / "x.ply")
    # The axes of the ellipsoid are 0.9, 0.6 and 0.45: nothing is where the background was, in front of the cameras.
    own = splat.means * splat.origin.scale + splat.origin.center
    assert np.quantile(np.linalg.norm(own, axis=1), 0.95) < 1.1
