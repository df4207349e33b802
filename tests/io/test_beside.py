"""Files that another file names, with the paths of whatever machine wrote it."""

import os
import unicodedata

import pytest

from gatlas.io.beside import find_beside, is_plain, leads_outside


@pytest.fixture
def folder(tmp_path):
    """A folder "model" with pictures, and a secret next to it."""
    model = tmp_path / "model"
    (model / "Textures").mkdir(parents=True)
    for name in ("tex.png", "Textures/Wood.PNG", "Textures/tex.png", "a b.png", "100%.png"):
        (model / name).write_bytes(b"x")
    (tmp_path / "secret.png").write_bytes(b"x")
    return model


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("tex.png", "tex.png"),
        ("./tex.png", "tex.png"),
        ("Textures/../tex.png", "tex.png"),
        ("Textures\\Wood.PNG", "Textures/Wood.PNG"),
        (".\\textures\\wood.png", "Textures/Wood.PNG"),
        ("C:\\Users\\me\\scene\\textures\\wood.png", "Textures/Wood.PNG"),
        ("C:/Users/me/Textures/tex.png", "Textures/tex.png"),  # the longest match, not tex.png
        ("C:tex.png", "tex.png"),
        ("\\\\server\\share\\tex.png", "tex.png"),
        ("/home/other/scene/tex.png", "tex.png"),
        ("../../art/Textures/Wood.PNG", "Textures/Wood.PNG"),
        ("file:///home/other/a%20b.png", "a b.png"),
        ("a%20b.png", "a b.png"),
        ("A%20B.PNG", "a b.png"),
        ("100%.png", "100%.png"),
        ("gone/tex.png", "tex.png"),
    ],
)
def test_a_name_of_any_machine_is_found_by_its_last_parts(folder, name, found):
    assert find_beside(folder, name) == folder / found


@pytest.mark.parametrize(
    "name",
    [
        "gone.png",
        "",
        ".",
        "..",
        "/",
        "C:\\",
        "tex.png\0",
        "tex.png/",
        "x" * 5000,
        "a/" * 2000 + "b",
        "Textures",
        "\ud800",
    ],
)
def test_what_is_no_file_beside_is_not_found(folder, name):
    found = find_beside(folder, name)
    assert found is None or found == folder / "tex.png"


def test_nothing_outside_the_folder_is_found(folder):
    secret = folder.parent / "secret.png"
    for name in (
        str(secret),
        "../secret.png",
        "Textures/../../secret.png",
        "..\\secret.png",
        secret.as_uri(),
        "%2e%2e/secret.png",
    ):
        assert find_beside(folder, name) is None, name
        assert leads_outside(name), name
    assert not leads_outside("Textures/../tex.png")


def test_a_caller_may_allow_paths_outside_that_exist(folder):
    secret = folder.parent / "secret.png"
    assert find_beside(folder, str(secret), outside=True) == secret
    assert find_beside(folder, "../secret.png", outside=True).resolve() == secret.resolve()
    assert find_beside(folder, "/home/other/tex.png", outside=True) == folder / "tex.png"


def test_only_names_that_do_not_stand_as_written_deserve_a_message(folder):
    assert is_plain(folder, "Textures\\Wood.PNG", folder / "Textures" / "Wood.PNG")
    assert is_plain(folder, "a%20b.png", folder / "a b.png")
    assert is_plain(folder, "./tex.png", folder / "tex.png")
    assert not is_plain(folder, "TEX.png", folder / "tex.png")
    assert not is_plain(folder, "/home/other/tex.png", folder / "tex.png")


def test_a_uri_is_decoded_before_it_is_taken_as_it_is(folder):
    (folder / "a%20b.png").write_bytes(b"x")
    assert find_beside(folder, "a%20b.png", uri=True) == folder / "a b.png"
    assert find_beside(folder, "a%20b.png") == folder / "a%20b.png"


def test_a_file_whose_own_name_has_a_backslash_is_found(folder):
    (folder / "images\\0.png").write_bytes(b"x")
    assert find_beside(folder, "images\\0.png") == folder / "images\\0.png"


def test_accents_are_found_however_they_are_composed(folder):
    (folder / unicodedata.normalize("NFD", "Körper.png")).write_bytes(b"x")
    assert find_beside(folder, unicodedata.normalize("NFC", "körper.png")) is not None


def test_a_device_or_a_pipe_is_no_file(folder):
    os.mkfifo(folder / "pipe.png")
    assert find_beside(folder, "pipe.png") is None


def test_a_file_that_comes_later_is_seen(folder):
    assert find_beside(folder, "LATE.png") is None
    (folder / "late.png").write_bytes(b"x")
    os.utime(folder, ns=(1, 1))
    assert find_beside(folder, "LATE.png") == folder / "late.png"
