"""Cameras of photos that are kept for the next run."""

import pytest
from PIL import Image

from gatlas.errors import GatlasError
from gatlas.io.photos.camera_store import keep_cameras, kept_cameras, opened_store, store_of
from gatlas.io.photos.unposed_photos import list_photos

FILES = ("cameras.bin", "images.bin", "points3D.bin")


@pytest.fixture
def photos(tmp_path, monkeypatch):
    monkeypatch.setenv("GATLAS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "photos").mkdir()
    for name in "ab":
        Image.new("RGB", (20, 20), (ord(name), 0, 0)).save(tmp_path / "photos" / f"{name}.png")
    return list_photos(tmp_path / "photos")


def fill(store, force=False):
    with opened_store(store, force=force, on_wait=lambda: None):
        return keep_cameras(store, lambda place: [(place / name).write_bytes(b"any") for name in FILES], 2, ["b.png"])


def test_what_was_kept_is_found_by_the_same_photos_and_options(photos):
    assert kept_cameras(store_of(photos, {"seed": 0}, None)) is None
    made = fill(store_of(photos, {"seed": 0}, None))
    assert kept_cameras(store_of(photos, {"seed": 0}, None)) == made
    assert made.lacking == ("b.png",)
    assert kept_cameras(store_of(photos, {"seed": 1}, None)) is None


def test_another_content_under_the_same_name_is_another_photo(photos, tmp_path):
    before = store_of(photos, {}, None)
    Image.new("RGB", (20, 20), (0, 0, 9)).save(tmp_path / "photos" / "a.png")
    assert store_of(photos, {}, None).folder != before.folder


def test_photos_may_move_with_their_folder(photos, tmp_path):
    before = store_of(photos, {}, None)
    (tmp_path / "photos").rename(tmp_path / "moved")
    assert store_of(list_photos(tmp_path / "moved"), {}, None) == before


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"identity": 3}', b"\xff\xfe"])
def test_a_damaged_record_is_made_anew(photos, damage):
    store = store_of(photos, {}, None)
    fill(store)
    (store.folder / "photos.json").write_bytes(damage)
    assert kept_cameras(store) is None
    fill(store)
    assert kept_cameras(store) is not None


def test_a_model_that_lacks_a_file_is_made_anew(photos):
    store = store_of(photos, {}, None)
    fill(store)
    (store.folder / "images.bin").unlink()
    assert kept_cameras(store) is None


def test_the_users_folder_keeps_what_is_in_it(photos, tmp_path):
    store = store_of(photos, {}, str(tmp_path / "mine"))
    fill(store)
    other = store_of(photos, {"seed": 1}, str(tmp_path / "mine"))
    with pytest.raises(GatlasError, match="cameras of other photos or options: name another folder, or use --force"):
        fill(other)
    assert kept_cameras(store) is not None
    fill(other, force=True)
    assert kept_cameras(other) is not None
    with pytest.raises(GatlasError, match="there is no folder"):
        fill(store_of(photos, {}, str(tmp_path / "nowhere" / "mine")))


def test_a_folder_that_others_can_write_is_not_trusted(photos, tmp_path):
    store = store_of(photos, {}, None)
    store.folder.mkdir(parents=True)
    store.folder.chmod(0o777)
    with pytest.raises(GatlasError, match=r"writable by everyone: name a folder of your own with --cameras-out"):
        fill(store)
