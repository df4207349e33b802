"""Pictures that a network is shown: of folders, of Gaussians, and of a user's files."""

from dataclasses import replace

import numpy as np
import pytest

from gatlas import io
from gatlas.atlas import EncodeOptions, decode, encode
from gatlas.atlas.plane import plane_permutation
from gatlas.atlas.spaces import STORED_FRAME
from gatlas.atlas.statistics import Accumulator
from gatlas.datasets.atlases import atlas_set
from gatlas.datasets.object_pictures import shown_picture
from gatlas.geometry.cameras import orbit
from gatlas.render import take_views
from gatlas.transport import fibonacci_sphere
from gatlas.types import Views
from tests.helpers.atlas_sets import BALLS, ball, write_set


@pytest.fixture
def stats(tmp_path):
    return write_set(tmp_path / "set")


def drawn(tmp_path, stats, **options):
    examples = atlas_set([str(tmp_path / "set")], stats, picture_side=16, **options)
    return examples, {examples[i].key: examples.draw(i, seed=3).picture for i in range(len(examples))}


def darkest_color(picture):
    """The mean color of the middle."""
    return picture[6:10, 6:10].mean(axis=(0, 1))


def test_each_draw_shows_the_object_from_another_side(tmp_path, stats):
    examples, pictures = drawn(tmp_path, stats)
    for name, picture in pictures.items():
        assert picture.shape == (16, 16, 3)
        assert picture.dtype == np.float32
        assert picture[0, 0].tolist() == [1, 1, 1]
        assert np.argmax(darkest_color(picture)) == np.argmax(BALLS[name][0])
    np.testing.assert_array_equal(examples.draw(0, seed=3).picture, pictures["blue"])
    assert np.abs(examples.draw(0, seed=4).picture - pictures["blue"]).max() > 0.01
    batch = examples.collate([examples.draw(i, seed=3) for i in (2, 0)])
    np.testing.assert_array_equal(batch.pictures.numpy(), np.stack([pictures["red"], pictures["blue"]]))
    plain = atlas_set([str(tmp_path / "set")], stats)
    assert plain.draw(0, seed=3).picture is None
    assert plain.collate([plain.draw(0, seed=3)]).pictures is None


@pytest.mark.parametrize("channels", [3, 4])
def test_pictures_come_from_the_folder_of_views_where_there_is_one(tmp_path, stats, channels):
    cameras = orbit(2, 32, 32)
    yellow = take_views(replace(ball("red"), sh=ball("green").sh + ball("red").sh - ball("blue").sh), cameras).images
    images = yellow if channels == 4 else yellow[..., :3] * yellow[..., 3:] + 1 - yellow[..., 3:]
    (tmp_path / "views").mkdir()
    io.save_views(tmp_path / "views" / "red", Views(images, cameras))
    _, pictures = drawn(tmp_path, stats, views=str(tmp_path / "views"))
    assert darkest_color(pictures["red"])[:2].min() > darkest_color(pictures["red"])[2] + 0.3  # red and green
    assert np.argmax(darkest_color(pictures["green"])) == 1  # of its atlas


def test_renders_are_upright_in_either_frame_of_an_atlas(tmp_path):
    low = ball("red")  # green above, red below
    colors = np.where(low.means[:, None, 1:2] > 0, ball("green").sh[:1], low.sh)
    upright = encode(replace(low, sh=colors), EncodeOptions(size=8))
    pictures = []
    for name, atlas in (("plain", upright), ("stored", _stored(upright))):
        measured = Accumulator()
        measured.add(atlas, name)
        io.save_atlas(tmp_path / f"{name}.npz", atlas)
        np.testing.assert_allclose(decode(atlas).means, decode(upright).means, atol=1e-5)
        examples = atlas_set([str(tmp_path / f"{name}.npz")], measured.stats(), picture_side=32)
        pictures.append([examples.draw(0, seed=seed).picture for seed in range(6)])
    np.testing.assert_allclose(pictures[0], pictures[1], atol=0.02)


def _stored(atlas):
    """The atlas in the frame of published ones: half a turn about z of places, offsets and rotations."""
    sphere = fibonacci_sphere(64)[plane_permutation(8, atlas.meta["projection"])].reshape(8, 8, 3)
    turn = np.array([-1.0, -1.0, 1.0])
    offset = (atlas.offset + sphere) * turn - sphere
    w, x, y, z = np.moveaxis(atlas.rotation, -1, 0)
    rotation = np.stack([-z, -y, x, w], axis=-1)  # (0, 0, 0, 1) times the quaternion
    rotation = np.where(rotation[..., :1] < 0, -rotation, rotation)
    meta = {**atlas.meta, "frame": STORED_FRAME}
    return replace(atlas, offset=offset.astype(np.float32), rotation=rotation.astype(np.float32), meta=meta)


def test_a_users_picture_is_cut_to_its_object_however_it_says_what_that_is():
    image = np.zeros((40, 60, 4), np.float32)
    image[5:15, 3:33] = [0.2, 0.4, 0.6, 1]
    on_white = image[..., :3] * image[..., 3:] + 1 - image[..., 3:]
    found = shown_picture(image, 20)
    np.testing.assert_allclose(shown_picture(on_white, 20), found, atol=0.02)
    assert (found[9:11, 3:17] < 0.7).all(axis=(0, 1)).all()
    assert found[:6].min() == 1.0


def test_a_picture_without_a_background_is_taken_whole():
    image = np.full((20, 20, 3), 0.3, np.float32)
    np.testing.assert_allclose(shown_picture(image, 10), 0.3, atol=1e-6)
