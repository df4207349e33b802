"""Sets of posed photos: which views a sample has, their frame and scale, and what is left out."""

import numpy as np
import pytest
import torch

from gatlas import io
from gatlas.datasets.posed_views import SamplingConfig, mirrored, posed_view_set
from gatlas.datasets.view_policy import OrbitViews, VideoNeighbors, relative
from gatlas.errors import GatlasError
from gatlas.geometry.cameras import orbit
from gatlas.images.crop import cover
from gatlas.train import TrainOptions
from gatlas.train.order import BatchOrder, batches
from gatlas.types import Cameras, Views
from tests.helpers.scene_files import box_views, walk, write_chunk, write_scenes

SAMPLING = SamplingConfig(32, 32, VideoNeighbors(targets=2, gap=(4, 6), gap_start=4), flip=0.0)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return write_scenes(tmp_path_factory.mktemp("scenes"), range(3), count=9, side=32)


def project(viewmat, K, points):
    seen = (points @ viewmat[:3, :3].T + viewmat[:3, 3]) @ K.T
    return seen[:, :2] / seen[:, 2:]


def test_the_first_context_camera_is_the_world_and_the_last_is_one_unit_away(scenes):
    found = posed_view_set([str(scenes)], SAMPLING)
    for index in range(3):
        sample = found.draw(index, seed=index)
        assert np.array_equal(sample.context_viewmats[0], np.eye(4))
        center = -sample.context_viewmats[1, :3, :3].T @ sample.context_viewmats[1, :3, 3]
        assert np.linalg.norm(center) == pytest.approx(1.0, abs=1e-6)
        assert sample.context.shape == (2, 32, 32, 3)
        assert sample.targets.shape == (2, 32, 32, 3)


def test_the_identity_of_scenes_is_their_keys_and_numbers_of_photos(scenes):
    found = posed_view_set([str(scenes)], SAMPLING)
    assert [list(values) for values in found.identity().values()] == [[(found[i].key, 9) for i in range(3)]]


def test_relative_cameras_see_the_same_picture():
    cameras, points = walk(0, 5, 64), np.random.default_rng(0).uniform(-1, 1, (20, 3))
    moved = relative(cameras.viewmats[[1, 4, 2]], 2).astype(np.float64)
    scale = np.linalg.norm(np.linalg.inv(cameras.viewmats[1])[:3, 3] - np.linalg.inv(cameras.viewmats[4])[:3, 3])
    own = (points @ cameras.viewmats[1, :3, :3].T + cameras.viewmats[1, :3, 3]) / scale
    for viewmat, original in zip(moved, cameras.viewmats[[1, 4, 2]], strict=True):
        K = cameras.Ks[0]
        assert np.allclose(project(viewmat, K, own), project(original, K, points), atol=1e-3)


def test_targets_lie_between_the_context_views(scenes):
    found = posed_view_set([str(scenes)], SAMPLING)
    for seed in range(20):
        sample = found.draw(0, seed=seed)
        centers = [-v[:3, :3].T @ v[:3, 3] for v in [*sample.context_viewmats, *sample.target_viewmats]]
        along = np.array(centers) @ centers[1]
        assert 0 < along[2] < along[3] < 1


def test_a_draw_follows_from_its_seed_alone(scenes):
    one, other = (posed_view_set([str(scenes)], SAMPLING) for _ in range(2))
    other.draw(2, seed=5), other.draw(1, seed=9)
    first, second = one.draw(1, seed=7), other.draw(1, seed=7)
    assert first.key == second.key
    assert all(np.array_equal(a, b) for a, b in zip(first[1:], second[1:], strict=True))
    assert any(not np.array_equal(one.draw(1, seed=s).context_viewmats, first.context_viewmats) for s in range(5))


def test_a_mirrored_camera_sees_the_mirrored_world():
    cameras, points = walk(3, 2, 64), np.random.default_rng(0).uniform(-1, 1, (20, 3))
    K = cameras.Ks / np.array([[64], [64], [1]])
    K[:, 0, 2] = 0.4
    pictures = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)
    flipped, viewmats, Ks = mirrored(pictures, cameras.viewmats, K)
    seen = project(viewmats[1], Ks[1], points * [-1, 1, 1])
    straight = project(cameras.viewmats[1], K[1], points)
    assert np.allclose(seen[:, 0], 1 - straight[:, 0], atol=1e-4)
    assert np.allclose(seen[:, 1], straight[:, 1], atol=1e-4)
    assert np.array_equal(flipped[:, :, 0], pictures[:, :, -1])


def test_a_crop_keeps_what_a_pixel_sees():
    ramp = np.zeros((40, 80, 3), dtype=np.float32)
    ramp[..., 0] = (np.arange(80) + 0.5) / 80
    ramp[..., 1] = ((np.arange(40) + 0.5) / 40)[:, None]
    K = np.array([[0.9, 0, 0.55], [0, 1.8, 0.45], [0, 0, 1]])
    cut, moved = cover(ramp, K, 20, 20)
    rows, columns = np.mgrid[2:18, 2:18]
    ray = (np.stack([(columns + 0.5) / 20, (rows + 0.5) / 20], -1) - moved[:2, 2]) / [moved[0, 0], moved[1, 1]]
    before = ray * [K[0, 0], K[1, 1]] + K[:2, 2]
    assert np.abs(cut[2:18, 2:18, :2] - before).max() < 0.006


def test_transparent_photos_are_put_on_black():
    cut, _ = cover(np.dstack([np.ones((8, 8, 3)), np.full((8, 8), 0.25)]).astype(np.float32), np.eye(3), 8, 8)
    assert np.allclose(cut, 0.25)


def test_scenes_that_cannot_be_used_are_left_out_with_a_line_each(tmp_path):
    write_scenes(tmp_path, range(2), count=6, side=32)
    views = box_views(5, 2, 32)
    io.save_views(tmp_path / "short", views)
    still = Cameras(np.repeat(views.cameras.viewmats[:1], 5, 0), np.repeat(views.cameras.Ks[:1], 5, 0), 32, 32)
    io.save_views(tmp_path / "still", Views(np.repeat(views.images[:1], 5, 0), still))
    wide = Cameras(views.cameras.viewmats, views.cameras.Ks * [[[0.3], [0.3], [1]]], 32, 32)
    io.save_views(tmp_path / "wide", Views(np.repeat(views.images, 3, 0)[:5], _repeat(wide, 5)))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "transforms.json").write_text("{")
    found = posed_view_set([str(tmp_path)], SAMPLING)
    assert len(found) == 2
    lines = [line for line in found.report() if line.startswith("left out")]
    for word in ("short: has 2 photos", "still: has cameras that all stand", "wide: has a field", "broken/transforms"):
        assert sum(word in line for line in lines) == 1
    assert len(lines) == 4


def _repeat(cameras, count):
    index = np.arange(count) % len(cameras)
    return Cameras(cameras.viewmats[index], cameras.Ks[index], cameras.width, cameras.height)


@pytest.mark.parametrize("name", ["empty", "missing"])
def test_a_folder_without_scenes_is_one_line(tmp_path, name):
    (tmp_path / "empty").mkdir()
    with pytest.raises(GatlasError, match=name):
        posed_view_set([str(tmp_path / name)], SAMPLING)


def test_a_damaged_photo_is_named_when_it_is_drawn(tmp_path):
    write_scenes(tmp_path, range(1), count=6, side=32)
    for path in (tmp_path / "scene-0000" / "images").iterdir():
        path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(GatlasError, match=r"scene-0000/images/00\d.png"):
        posed_view_set([str(tmp_path)], SAMPLING).draw(0, seed=0)


def test_chunks_give_the_samples_of_the_folders_that_they_were_made_of(tmp_path):
    views = box_views(4, 9, 32)
    write_chunk(tmp_path / "chunks" / "train" / "000000.torch", {"clip": views})
    io.save_views(tmp_path / "folder", views)
    chunk, folder = (posed_view_set([str(tmp_path / name)], SAMPLING).draw(0, seed=3) for name in ("chunks", "folder"))
    assert chunk.key == "clip"
    assert np.allclose(chunk.context_viewmats, folder.context_viewmats, atol=1e-4)
    assert np.allclose(chunk.target_intrinsics, folder.target_intrinsics, atol=1e-6)
    assert np.abs(chunk.targets.astype(float) - folder.targets).mean() < 4  # JPEG


def test_batches_of_a_run_that_goes_on_are_those_of_one_that_was_not_stopped(scenes):
    found = posed_view_set([str(scenes)], SAMPLING)
    options = TrainOptions(steps=4, batch=2, seed=3)

    def read(after):
        order = BatchOrder(len(found), options, rank=0, processes=1, after=after)
        return list(batches(found, order, workers=0, pin=False))

    whole, rest = read(0), read(2)
    for a, b in zip(whole[2:], rest, strict=True):
        assert a.keys == b.keys
        assert all(torch.equal(x, y) for x, y in zip(a[1:], b[1:], strict=True))
    assert not torch.equal(whole[0].context_viewmats, whole[1].context_viewmats)


def test_three_context_views_have_targets_of_their_own(scenes):
    policy = VideoNeighbors(context=3, targets=1, gap=(4, 6), gap_start=4)
    sample = posed_view_set([str(scenes)], SamplingConfig(32, 32, policy, flip=0.0)).draw(0, seed=0)
    assert len(sample.context) == 3
    assert not any(np.allclose(sample.target_viewmats[0], each) for each in sample.context_viewmats)


def test_chunks_that_cannot_be_used_are_left_out_with_a_line_each(tmp_path):
    views = box_views(4, 7, 32)
    write_chunk(tmp_path / "000000.torch", {"good": views, "short": views[:2]})
    (tmp_path / "000001.torch").write_bytes(b"nothing")
    (tmp_path / "index.json").write_text('{"good": "000000.torch", "gone": "000002.torch"}')
    found = posed_view_set([str(tmp_path)], SAMPLING)
    assert len(found) == 1
    report = "\n".join(found.report())
    for words in ("1 of 2 clips, the first is short (has 2", "000001.torch: not a torch file", "first is gone"):
        assert report.count(words) == 1


def test_one_scene_folder_is_a_set_of_one(scenes):
    found = posed_view_set([str(scenes / "scene-0001")], SAMPLING)
    assert [found[0].key, len(found)] == ["scene-0001", 1]
    assert found.report()[-1] == "1 scene of 9 photos"


def test_an_object_has_its_own_cameras_and_alpha_over_white(tmp_path):
    """Four photos from around a ball of half transparency: their cameras, colors and alphas come as they are."""
    cameras = orbit(4, 16, 16, elevation=10.0)
    images = np.zeros((4, 16, 16, 4), dtype=np.float32)
    images[:, 4:12, 4:12] = [1.0, 0.0, 0.0, 0.6]
    io.save_views(tmp_path / "ball", Views(images, cameras))
    sampling = SamplingConfig(16, 16, OrbitViews(context=2, targets=1), flip=0.0, background=1.0, alpha=True)
    sample = posed_view_set([str(tmp_path / "ball")], sampling).draw(0, seed=0)
    assert sample.context.shape == (2, 16, 16, 4)
    assert sample.context[0, 8, 8].tolist() == [255, 102, 102, 153]  # red at 0.6 over white
    assert sample.context[0, 0, 0].tolist() == [255, 255, 255, 0]
    first = next(i for i in range(4) if np.allclose(sample.context_viewmats[0], cameras.viewmats[i], atol=1e-6))
    assert np.allclose(sample.context_viewmats[1], cameras.viewmats[(first + 1) % 4], atol=1e-6)
    assert np.allclose(sample.context_intrinsics[0], cameras.Ks[0] / [[16], [16], [1]])


def test_photos_without_alpha_are_opaque(scenes):
    sampling = SamplingConfig(16, 16, OrbitViews(context=1, targets=1, spacing=None), flip=0.0, alpha=True)
    assert (posed_view_set([str(scenes)], sampling)[0].targets[..., 3] == 255).all()
