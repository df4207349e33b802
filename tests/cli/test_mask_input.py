"""Photos that gatlas fit cuts out by masks."""

import sys

import numpy as np
import pytest

from gatlas import io
from gatlas.types import Views
from tests.helpers.view_sets import textured_views

pytestmark = pytest.mark.usefixtures("one_thread")
FIT = ("-n", 100, "--iterations", 2, "--resolution", 32)


@pytest.fixture
def photos(tmp_path):
    """A folder of opaque photos over gray, and one of their masks; returns the straight RGBA views."""
    views = textured_views(count=5, side=32)
    alphas = views.images[..., 3:]
    io.save_views(tmp_path / "photos", Views(views.images[..., :3] * alphas + 0.5 * (1 - alphas), views.cameras))
    (tmp_path / "masks").mkdir()
    for i, alpha in enumerate(alphas):
        io.save_image(tmp_path / f"masks/{i:03d}.png.png", alpha.repeat(3, axis=2))
    return views


def test_masks_of_a_folder_cut_the_photos_out(gatlas, photos, tmp_path):
    gatlas("fit", "photos", "--masks", "masks", *FIT, "--views-out", "seen", "--init", "hull", "-o", "a.ply")
    seen = io.load_views(tmp_path / "seen")
    assert np.abs(seen.images[..., 3] - photos.images[[0, 1, 2, 4], ..., 3]).max() < 0.01


def test_masks_of_a_program_cut_the_photos_out_and_are_kept(gatlas, photos, tmp_path):
    (tmp_path / "tool.py").write_text(
        "import sys; from PIL import Image; photo = Image.open(sys.argv[1]); box = Image.new('L', photo.size);"
        "box.paste(255, (8, 8, 24, 24)); box.save(sys.argv[2])"
    )
    command = f"{sys.executable} {tmp_path / 'tool.py'} {{input}} {{output}}"
    gatlas("fit", "photos", "--masks", "made", "--mask-command", command, *FIT, "--views-out", "seen", "-o", "a.ply")
    alpha = io.load_views(tmp_path / "seen").images[0, ..., 3]
    assert alpha[8:24, 8:24].min() == 1
    assert alpha.sum() == 256
    assert len(list((tmp_path / "made").iterdir())) == 5


def test_masks_that_do_not_fit_the_options_are_refused(gatlas, photos, tmp_path, example):
    for words, fault in (
        (("fit", example, "--masks", "masks"), "--masks is for photos: the input is a mesh"),
        (("fit", "photos", "--matting", "a", "--mask-command", "b"), "--mask-command and --matting both make masks"),
        (("fit", "photos", "--mask-command", "rembg"), "must name a program with {input}"),
        (("fit", "photos", "--masks", "nowhere"), "nowhere: there is no such folder of masks"),
    ):
        assert fault in gatlas(*words, "-o", "a.ply", code=1).stderr
