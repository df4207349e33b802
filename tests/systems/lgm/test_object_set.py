"""Sets of objects to learn from: their views, the frame of these, and what is refused."""

import pickle
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gatlas import io
from gatlas.errors import GatlasError
from gatlas.geometry.cameras import camera_centers
from gatlas.systems.contract import Photo
from gatlas.systems.lgm import create
from gatlas.systems.lgm.object_set import object_set
from gatlas.systems.lgm.pictures import network_views
from gatlas.types import Views
from tests.helpers.small_lgm import CONFIG, disc_views, write_orbits

pytestmark = pytest.mark.usefixtures("one_thread")
PLAIN = replace(CONFIG, render_scale=4, flip=0.0, grid_distortion=0.0, camera_jitter=0.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(write_orbits(tmp_path_factory.mktemp("objects"), 2))


def test_the_first_camera_is_at_its_place_and_the_others_are_at_its_distance(folder):
    sample = object_set([folder], PLAIN).draw(0, seed=3)
    assert sample.context.shape == (4, 16, 16, 4)
    assert sample.targets.shape == (4 + CONFIG.targets, 64, 64, 4)
    # x right, y up, z towards the camera at (0, 0, 1.5): OpenGL's camera is the identity there.
    np.testing.assert_allclose(
        sample.context_viewmats[0], [[1, 0, 0, 0], [0, -1, 0, 0], [0, 0, -1, 1.5], [0, 0, 0, 1]], atol=1e-5
    )
    centers = camera_centers(sample.context_viewmats)
    np.testing.assert_allclose(centers, [[0, 0, 1.5], [1.5, 0, 0], [0, 0, -1.5], [-1.5, 0, 0]], atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(camera_centers(sample.target_viewmats), axis=1), 1.5, atol=1e-5)


def test_the_network_learns_from_what_sample_shows_it(tmp_path):
    io.save_views(tmp_path / "object", disc_views(5, 64, distance=2.0))
    stored, config = io.load_views(tmp_path / "object"), replace(PLAIN, side=32, render_scale=1)
    objects = object_set([str(tmp_path)], config)
    sample = objects.draw(0, seed=1)
    # The discs have a color each, which tells the view.
    colors = stored.images[:, 32, 35, :3]
    chosen = [int(np.abs(colors - picture[16, 17, :3] / 255).sum(axis=1).argmin()) for picture in sample.context]
    photos = tuple(Photo("x", stored.images[i], stored.cameras.Ks[i], stored.cameras.viewmats[i]) for i in chosen)
    shown = network_views(photos, config)
    np.testing.assert_allclose(sample.context[..., :3] / 255, shown.images, atol=0.51 / 255)
    viewmats = shown.frame.viewmats(shown.cameras.viewmats)
    np.testing.assert_allclose(sample.context_viewmats, viewmats, atol=1e-5)
    batch = objects.collate([sample])
    system = create(config)
    learned, sampled = system.inputs(batch)[0], system.inputs_of(shown)[0]
    np.testing.assert_allclose(learned[:, :3], sampled[:, :3], atol=0.51 / 255 / 0.22)
    np.testing.assert_allclose(learned[:, 3:], sampled[:, 3:], atol=0.51 / 255)
    assert (learned[:, 10] < -0.1).any()  # there is a hull


def test_only_the_views_after_the_first_are_augmented_and_targets_never(folder):
    config = replace(PLAIN, grid_distortion=1.0, camera_jitter=1.0)
    plain, found = (object_set([folder], each).draw(0, seed=5) for each in (PLAIN, config))
    for name in ("targets", "target_viewmats", "target_intrinsics", "context_intrinsics"):
        np.testing.assert_array_equal(getattr(plain, name), getattr(found, name))
    for name in ("context", "context_viewmats"):
        one, other = getattr(plain, name), getattr(found, name)
        np.testing.assert_array_equal(one[0], other[0])
        assert all(not np.array_equal(one[i], other[i]) for i in (1, 2, 3))
    assert (found.context[:, 0, 0] == [255, 255, 255, 0]).all()  # what comes from outside is white and empty


def test_the_first_targets_are_the_views_that_the_network_sees(folder):
    sample = object_set([folder], PLAIN).draw(1, seed=2)
    np.testing.assert_array_equal(sample.context_viewmats, sample.target_viewmats[:4])
    cells = sample.targets[:4].reshape(4, 16, 4, 16, 4, 4).mean(axis=(2, 4))
    np.testing.assert_allclose(sample.context, cells, atol=0.51)
    assert len(np.unique(sample.target_viewmats.reshape(8, 16).round(4), axis=0)) == 8


def test_a_mirrored_sample_is_of_the_mirrored_object(folder):
    one, other = (object_set([folder], replace(PLAIN, flip=share)).draw(0, seed=4) for share in (0.0, 1.0))
    np.testing.assert_array_equal(one.context[:, :, ::-1], other.context)
    np.testing.assert_allclose(
        camera_centers(one.context_viewmats) * [-1, 1, 1], camera_centers(other.context_viewmats), atol=1e-5
    )


def test_a_draw_follows_from_its_seed(folder):
    config = replace(PLAIN, flip=0.5, grid_distortion=0.5, camera_jitter=0.5)
    one, other = (object_set([folder], config) for _ in range(2))
    other.draw(1, seed=3)
    for a, b in zip(one.draw(0, seed=8)[1:], other.draw(0, seed=8)[1:], strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_run_is_resumed_with_lpips_where_it_had_it(folder):
    identities = [object_set([folder], PLAIN, lpips=lpips).identity() for lpips in (False, True)]
    assert [list(each["weights of LPIPS"]) for each in identities] == [[False], [True]]


def test_opaque_pictures_are_refused_in_one_line(tmp_path):
    views = disc_views(6, 32)
    io.save_views(tmp_path / "disc", Views(views.images[..., :3].copy(), views.cameras))
    with pytest.raises(GatlasError, match=r"disc: its picture \d is opaque.*mask_path"):
        object_set([str(tmp_path)], PLAIN).draw(0, seed=0)


def test_opaque_pictures_are_refused_where_the_network_sees_a_margin_about_them(tmp_path):
    views = disc_views(6, 32, fov=30.0)
    io.save_views(tmp_path / "disc", Views(views.images[..., :3].copy(), views.cameras))
    with pytest.raises(GatlasError, match=r"disc: its picture \d is opaque"):
        object_set([str(tmp_path)], PLAIN).draw(0, seed=0)


@pytest.mark.parametrize(("alpha", "told"), [(1.0, "is opaque"), (0.0, "shows nothing")])
def test_one_opaque_or_empty_picture_among_others_is_refused(tmp_path, alpha, told):
    views = disc_views(5, 32)
    views.images[3, ..., 3] = alpha
    (tmp_path / "set").mkdir()
    io.save_views(tmp_path / "set" / "disc", views)
    with pytest.raises(GatlasError, match=rf"disc: its picture 3 {told}"):
        object_set([str(tmp_path / "set")], PLAIN).draw(0, seed=0)
    with pytest.raises(GatlasError, match=rf"x.tar: x/disc: its picture 3 {told}"):
        object_set([packed(tmp_path / "set", tmp_path / "x.tar", ["disc"])], PLAIN).draw(0, seed=0)


def test_an_object_outside_the_networks_view_is_refused(tmp_path):
    views = disc_views(6, 32)
    Ks = views.cameras.Ks + np.array([[0, 0, -300], [0, 0, 0], [0, 0, 0]], np.float32)
    io.save_views(tmp_path / "disc", Views(views.images, replace(views.cameras, Ks=Ks)))
    with pytest.raises(
        GatlasError, match="disc: its pictures show nothing within the network's field of view of 47 deg"
    ):
        object_set([str(tmp_path)], PLAIN).draw(0, seed=0)


def test_a_single_view_must_show_by_itself_where_its_object_is(tmp_path):
    views = disc_views(6, 32)
    shift = np.eye(4, dtype=np.float32)
    shift[:3, 3] = [5, 0, -8]
    cameras = replace(views.cameras, viewmats=views.cameras.viewmats @ shift)
    io.save_views(tmp_path / "disc", Views(views.images, cameras))
    assert len(object_set([str(tmp_path)], PLAIN)) == 1
    with pytest.raises(GatlasError, match=r"left out: .*disc: the views do not show where the object is"):
        object_set([str(tmp_path)], replace(PLAIN, views=1))


def test_views_of_a_sample_that_do_not_show_their_object_are_called_by_its_folder(tmp_path):
    views = disc_views(6, 32)
    shift = np.eye(4, dtype=np.float32)
    shift[:3, 3] = [5, 0, 8]
    viewmats = views.cameras.viewmats @ shift
    viewmats[:4] = viewmats[0]
    viewmats[4] = viewmats[3]  # five views are one, and the sixth shows where the object is
    io.save_views(tmp_path / "disc", Views(views.images, replace(views.cameras, viewmats=viewmats)))
    objects = object_set([str(tmp_path)], replace(PLAIN, views=2, spacing=1.0))
    with pytest.raises(GatlasError, match=r"disc.*: the views do not show where the object is"):
        [objects.draw(0, seed=seed) for seed in range(8)]


def test_an_object_that_its_cameras_turn_away_from_is_left_out(folder, tmp_path):
    views = disc_views(6, 32)
    away = np.diag([-1.0, 1, -1, 1]).astype(np.float32) @ views.cameras.viewmats
    io.save_views(tmp_path / "away", Views(views.images, replace(views.cameras, viewmats=away)))
    found = object_set([folder], PLAIN)
    assert len(found) == 2
    with pytest.raises(GatlasError, match="away: the cameras do not look at one object"):
        object_set([str(tmp_path)], PLAIN)


def test_too_few_views_are_one_line(tmp_path):
    io.save_views(tmp_path / "few", disc_views(4, 32))
    with pytest.raises(GatlasError, match="has 4 photos and needs 5"):
        object_set([str(tmp_path)], PLAIN)


def packed(folder, path, names):
    """A tar of the files of folders, in the order of `names`."""
    with tarfile.open(path, "w") as tar:
        for name in names:
            tar.add(folder / name, name)
    return str(path)


def test_a_tar_of_folders_gives_the_samples_of_the_folders(folder, tmp_path):
    shard = packed(Path(folder), tmp_path / "discs.tar", ["disc-1", "disc-0"])
    folders, found = object_set([folder], CONFIG), object_set([shard], CONFIG)
    assert list(found.identity()["scenes"]) == [("discs/disc-0", 9), ("discs/disc-1", 9)]
    for index in (1, 0):
        for one, other in zip(folders.draw(index, seed=6)[1:], found.draw(index, seed=6)[1:], strict=True):
            np.testing.assert_array_equal(one, other)
    again = pickle.loads(pickle.dumps(found)).draw(1, seed=6)  # as a worker process is sent it
    np.testing.assert_array_equal(again.targets, folders.draw(1, seed=6).targets)


def test_two_tars_with_the_same_names_are_other_objects(folder, tmp_path):
    shards = [packed(Path(folder), tmp_path / name, ["disc-0"]) for name in ("a.tar", "b.tar")]
    keys = [key for key, _ in object_set(shards, CONFIG).identity()["scenes"]]
    assert keys == ["a/disc-0", "b/disc-0"]


def test_a_tar_without_views_and_one_with_a_broken_object_are_one_line_each(folder, tmp_path):
    images = packed(Path(folder) / "disc-0", tmp_path / "images.tar", ["images"])
    with pytest.raises(GatlasError, match=r"images.tar: there is no transforms.json"):
        object_set([images], CONFIG)
    broken = tmp_path / "broken"
    shutil.copytree(Path(folder) / "disc-0", broken / "good")
    shutil.copytree(Path(folder) / "disc-0", broken / "bad")
    (broken / "bad" / "transforms.json").write_text("{")
    found = object_set([packed(broken, tmp_path / "some.tar", ["good", "bad"])], CONFIG)
    assert len(found) == 1
    assert any(line.startswith("left out:") and "bad/transforms.json" in line for line in found.report())


@pytest.mark.parametrize(
    ("name", "told"), [("x.tar.gz", "x.tar.gz: is a file: name a folder"), ("none", "none: there is no such folder")]
)
def test_what_is_no_folder_is_one_line(tmp_path, name, told):
    (tmp_path / "x.tar.gz").touch()
    with pytest.raises(GatlasError, match=told):
        object_set([str(tmp_path / name)], PLAIN)
