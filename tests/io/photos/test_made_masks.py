"""Masks by a program of the user's: here Python, which writes what is darker than half as the object."""

import sys

import numpy as np
import pytest

from gatlas import io
from gatlas.errors import GatlasError
from gatlas.io.photos.made_masks import check_command, photo_masks

DARK = """
import sys
from PIL import Image
photo = Image.open(sys.argv[1]).convert("L")
photo.point(lambda value: 255 if value < 128 else 0).save(sys.argv[2])
"""
CUT_OUT = """
import sys
from PIL import Image
photo = Image.open(sys.argv[1])
photo.putalpha(photo.convert("L").point(lambda value: 255 if value < 128 else 0))
photo.save(sys.argv[2])
"""


@pytest.fixture
def photo(tmp_path):
    image = np.ones((16, 20, 3), np.float32)
    image[4:9, 3:12] = (0.3, 0.0, 0.0)
    (tmp_path / "images").mkdir()
    io.save_image(tmp_path / "images/a b.png", image)
    return tmp_path / "images/a b.png"


def program(tmp_path, text):
    (tmp_path / "tool.py").write_text(text)
    return f"{sys.executable} {tmp_path / 'tool.py'} {{input}} {{output}}"


def object_of(mask):
    found = io.load_image(mask)[..., 0]
    rows, columns = np.nonzero(found > 0.5)
    return (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1)


@pytest.mark.parametrize("text", [DARK, CUT_OUT])
def test_a_program_makes_a_mask_or_a_cut_out(tmp_path, photo, text):
    with photo_masks([photo], tmp_path, command=program(tmp_path, text)) as masks:
        assert object_of(masks[photo]) == (4, 9, 3, 12)
        place = masks[photo]
    assert not place.exists(), "without a folder it is a temporary file"


def test_masks_in_the_folder_are_kept_and_not_made_again(tmp_path, photo):
    folder = str(tmp_path / "masks")
    with photo_masks([photo], tmp_path, folder=folder, command=program(tmp_path, DARK)) as masks:
        assert masks == {photo: tmp_path / "masks/a b.png.png"}
    with photo_masks([photo], tmp_path, folder=folder, command=program(tmp_path, "raise SystemExit(1)")) as masks:
        assert object_of(masks[photo]) == (4, 9, 3, 12)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (
            "import sys; print('first', file=sys.stderr); sys.exit('no GPU was found')",
            "failed with status 1: no GPU was found",
        ),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "failed with signal 9"),
        ("pass", "ended well and wrote nothing"),
        ("import sys; open(sys.argv[2], 'w').write('no picture')", "is no mask"),
        (
            "import sys; from PIL import Image; Image.new('L', (5, 5)).save(sys.argv[2])",
            "has 5 x 5 pixels, the photo 20 x 16",
        ),
    ],
)
def test_a_program_that_fails_is_one_line_about_the_photo(tmp_path, photo, text, fault):
    made = photo_masks([photo], tmp_path, command=program(tmp_path, text))
    with pytest.raises(GatlasError, match=fault) as caught, made:
        pass
    assert str(caught.value).startswith(str(photo))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "command", ["", "rembg", "rembg i {input}", "{input} {output", "tool 'unclosed {input} {output}"]
)
def test_a_command_names_its_input_and_its_output(command):
    with pytest.raises(GatlasError, match=r"^--mask-command"):
        check_command(command)


def test_a_command_is_run_without_a_shell(tmp_path, photo):
    command = program(tmp_path, DARK) + f" ; touch {tmp_path / 'made'} $(touch {tmp_path / 'made'})"
    with photo_masks([photo], tmp_path, command=command):
        assert not (tmp_path / "made").exists()


def test_a_program_that_is_not_there_is_named(tmp_path, photo):
    made = photo_masks([photo], tmp_path, command="no-such-tool {input} {output}")
    with pytest.raises(GatlasError, match="there is no program 'no-such-tool'"), made:
        pass


def test_a_photo_turned_by_its_exif_tag_takes_a_mask_of_either_reading(tmp_path):
    """A program that turns the photo upright, and one that does not."""
    from PIL import Image

    path = tmp_path / "a.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("L", (20, 16), 200).save(path, exif=exif)
    for size in ("(20, 16)", "(16, 20)"):
        text = f"import sys; from PIL import Image; Image.new('L', {size}).save(sys.argv[2])"
        with photo_masks([path], tmp_path, command=program(tmp_path, text)) as masks:
            assert path in masks
