"""Objects of a tar of views folders, read out of order."""

import json
import tarfile

import numpy as np
import pytest

from gatlas import io
from gatlas.errors import GatlasError
from gatlas.io.photos.scenes import PhotoFolder
from gatlas.io.photos.view_shards import ShardPhotos, is_view_shard, shard_objects
from tests.helpers.small_lgm import disc_views


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "set").mkdir()
    io.save_views(tmp_path / "set" / "disc", disc_views(4, 16))
    return tmp_path / "set"


def packed(folder, path, *names):
    with tarfile.open(path, "w") as tar:
        for name in names or ("disc",):
            tar.add(folder / name, name)
    return path


def test_an_object_of_a_tar_has_the_photos_and_cameras_of_its_folder(folder, tmp_path):
    (members,) = shard_objects(packed(folder, tmp_path / "a.tar"))
    plain, found = PhotoFolder(folder / "disc"), ShardPhotos(members)
    assert (found.key, found.name, len(found)) == ("a/disc", f"{tmp_path / 'a.tar'}:disc/transforms.json", 4)
    np.testing.assert_array_equal(found.viewmats, plain.viewmats)
    np.testing.assert_array_equal(found.Ks, plain.Ks)
    for one, other in zip(found.pictures([2, 0, 2]), plain.pictures([2, 0, 2]), strict=True):
        np.testing.assert_array_equal(one, other)


def test_views_at_the_top_of_a_tar_are_one_object_of_its_name(folder, tmp_path):
    path = packed(folder / "disc", tmp_path / "only.tar", "transforms.json", "images")
    (members,) = shard_objects(path)
    assert ShardPhotos(members).key == "only"


def test_masks_in_a_tar_are_applied(folder, tmp_path):
    index = json.loads((folder / "disc" / "transforms.json").read_text())
    for number, frame in enumerate(index["frames"]):
        io.save_image(folder / "disc" / f"mask-{number}.png", np.full((16, 16, 3), number % 2, np.float32))
        frame["mask_path"] = f"mask-{number}.png"
    (folder / "disc" / "transforms.json").write_text(json.dumps(index))
    (members,) = shard_objects(packed(folder, tmp_path / "a.tar"))
    black, white = ShardPhotos(members).pictures([0, 1])
    assert black[..., 3].max() == 0
    assert white[..., 3].max() == 1


def test_a_tar_without_an_index_and_a_truncated_one_are_one_line(folder, tmp_path):
    with pytest.raises(GatlasError, match=r"no transforms.json with the cameras of its views in this tar"):
        shard_objects(packed(folder / "disc", tmp_path / "images.tar", "images"))
    whole = packed(folder, tmp_path / "a.tar").read_bytes()
    (tmp_path / "cut.tar").write_bytes(whole[:1500])
    with pytest.raises(GatlasError, match=r"cut.tar: truncated"):
        shard_objects(tmp_path / "cut.tar")


def test_a_tar_is_known_by_its_name():
    assert is_view_shard("x/views-0.TAR")
    assert not is_view_shard("views/")
