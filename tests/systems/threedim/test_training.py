"""3DiM learns pairs of views: the loss at the start, dropped conditions, random pairs, folders, resumed runs."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from gatlas import io
from gatlas.diffusion.schedules import CosineLogSnr, add_noise
from gatlas.errors import GatlasError
from gatlas.geometry.cameras import orbit
from gatlas.systems import load_system
from gatlas.systems.contract import Sources
from gatlas.systems.threedim import create
from gatlas.systems.threedim.pairs import noise_pairs, pair_set, pairs_of
from gatlas.types import Views
from tests.helpers.command_line import expect, run_here
from tests.helpers.small_lgm import disc_views
from tests.helpers.small_threedim import CONFIG, small_system

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def objects(tmp_path_factory):
    """Folders of views of three objects."""
    folder = tmp_path_factory.mktemp("objects")
    for number in range(3):
        views = disc_views(4 + number, 16, elevation=20, distance=2.6)
        io.save_views(folder / f"object{number}", views)
    return folder


def batch_of(objects, count=6):
    pairs = pair_set([str(objects)], 8)
    return pairs.collate([pairs.draw(i % 3, seed=i) for i in range(count)])


def loss_of(system, batch, seed=0):
    network = system.network.eval()
    return float(system.loss(network, batch, torch.Generator().manual_seed(seed), step=0, steps=1)["loss"].detach())


@pytest.mark.parametrize("network", ["xunet", "concat"])
def test_the_loss_of_a_fresh_network_is_1(objects, network):
    system = create(replace(CONFIG, network=network))
    losses = [loss_of(system, batch_of(objects), seed) for seed in range(10)]  # 11,520 squares of noise
    assert np.mean(losses) == pytest.approx(1.0, abs=0.05)


def test_the_second_view_is_noised_by_the_schedule_and_the_first_is_not():
    images = torch.rand(4, 2, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    found = noise_pairs(images, torch.Generator().manual_seed(1), 0.0)
    assert torch.equal(found.images[:, 0], images[:, 0])
    assert found.conditional.all()
    assert float(found.log_snr.abs().max()) <= 20
    t = torch.atan(torch.exp(-0.5 * found.log_snr.double())) / (torch.pi / 2)  # of the schedule, nearly
    np.testing.assert_allclose(CosineLogSnr().log_snr(t), found.log_snr, atol=1e-2)
    alpha = torch.sigmoid(found.log_snr).sqrt()[:, None, None, None]
    sigma = torch.sigmoid(-found.log_snr).sqrt()[:, None, None, None]
    torch.testing.assert_close(found.images[:, 1], alpha * images[:, 1] + sigma * found.epsilon, atol=1e-5, rtol=0)
    half = noise_pairs(images, torch.Generator().manual_seed(1), 0.0, time=0.5)
    torch.testing.assert_close(
        half.images[:, 1], add_noise(CosineLogSnr(), images[:, 1], half.epsilon, torch.full((4,), 0.5))
    )


@pytest.mark.parametrize(("power", "below_half"), [(1.0, 0.5), (2.0, 0.25)])
def test_a_power_of_the_times_is_uniform(power, below_half):
    found = noise_pairs(torch.zeros(4000, 2, 3, 2, 2), torch.Generator().manual_seed(0), 0.1, power=power)
    assert float((found.time < 0.5).double().mean()) == pytest.approx(below_half, abs=0.03)
    np.testing.assert_allclose(CosineLogSnr().log_snr(found.time), found.log_snr, rtol=1e-5)


def test_the_loss_of_v_is_that_of_alpha_noise_less_sigma_view(objects):
    """A fresh network predicts 0, so that its loss is the mean square of v."""
    batch = batch_of(objects)
    view = pairs_of(batch, relative=False).images[:, 1]
    noise = noise_pairs(torch.stack([view, view], 1), torch.Generator().manual_seed(3), 0.1)
    share = noise.time.float()[:, None, None, None] * torch.pi / 2  # of the cosine schedule, nearly
    v = torch.cos(share) * noise.epsilon - torch.sin(share) * view
    found = loss_of(create(replace(CONFIG, prediction="v")), batch, 3)
    assert found == pytest.approx(float(v.square().mean()), rel=1e-3)


def test_both_predictions_of_a_view_that_is_known_are_measured_and_sampled_as_that_view(objects):
    """Networks that know the view x: their noise is (z - alpha x) / sigma, their v is (alpha z - x) / sigma."""
    batch = batch_of(objects)
    x = pairs_of(batch, relative=False).images[:, 1]

    def knows(prediction):
        def network(images, log_snr, poses, conditional, generator=None):
            alpha, sigma = (torch.sigmoid(sign * log_snr.double()).sqrt()[:, None, None, None] for sign in (1, -1))
            z = images[:, 1].double()
            return ((z - alpha * x) / sigma if prediction == "epsilon" else (alpha * z - x) / sigma).float()

        return network

    for prediction in ("epsilon", "v"):
        system = create(replace(CONFIG, prediction=prediction, cond_drop=0.0))
        generator = torch.Generator().manual_seed(0)
        assert system.diagnose(knows(prediction), batch, generator)["psnr"] > 55
        assert float(system.loss(knows(prediction), batch, generator, step=0, steps=1)["loss"]) < 1e-2


def test_a_tenth_of_the_known_views_is_noise():
    images = torch.zeros(2000, 2, 3, 2, 2)
    found = noise_pairs(images, torch.Generator().manual_seed(0), 0.1)
    assert float(found.conditional.float().mean()) == pytest.approx(0.9, abs=0.03)
    assert not found.images[found.conditional, 0].any()
    dropped = found.images[~found.conditional, 0]
    assert float(dropped.std()) == pytest.approx(1.0, abs=0.1)
    assert not torch.equal(dropped, found.epsilon[~found.conditional])


def test_the_loss_does_not_depend_on_cameras_where_the_known_view_is_dropped(objects):
    batch = batch_of(objects)
    moved = batch._replace(
        context_viewmats=batch.context_viewmats.flip(0), target_viewmats=batch.target_viewmats.flip(0)
    )
    for cond_drop, same in ((1.0, True), (0.0, False)):
        system = small_system(replace(CONFIG, cond_drop=cond_drop))
        assert (loss_of(system, batch) == loss_of(system, moved)) is same


def test_pairs_are_two_different_views_in_random_order(objects):
    pairs = pair_set([str(objects / "object0")], 8)
    cameras = orbit(4, 16, 16, elevation=20, distance=2.6).viewmats
    seen = set()
    for seed in range(200):
        sample = pairs.draw(0, seed=seed)
        numbers = [
            int(np.abs(cameras - each).sum(axis=(1, 2)).argmin())
            for each in (sample.context_viewmats[0], sample.target_viewmats[0])
        ]
        seen.add(tuple(numbers))
    assert seen == {(i, j) for i in range(4) for j in range(4) if i != j}


def test_pictures_are_those_that_a_sample_sees_and_intrinsics_are_of_their_size(objects):
    batch = batch_of(objects)
    pairs = pairs_of(batch, relative=False)
    assert pairs.images.shape == (6, 2, 3, 8, 8)
    assert pairs.images.max() == 1.0  # white, where there is nothing
    centers = np.linalg.norm(pairs.poses[:, :, :3, 0, 0].numpy(), axis=-1)
    np.testing.assert_allclose(centers, 2.6, rtol=1e-5)
    right, down, forward = batch.context_viewmats[0, 0, :3, :3].numpy()
    focal = 4 / np.tan(np.radians(49.1 / 2))
    direction = (0.5 - 4) / focal * (right + down) + forward  # of the first pixel
    found = pairs.poses[0, 0, 93:96, 0, 0]
    np.testing.assert_allclose(found, direction / np.linalg.norm(direction), atol=1e-5)


def test_a_rigid_motion_of_each_object_does_not_change_the_loss_in_relative_mode(objects):
    batch = batch_of(objects)
    motion = torch.eye(4)
    motion[:3, :3] = torch.tensor([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]])
    motion[:3, 3] = torch.tensor([0.5, -0.25, 1.0])
    moved = batch._replace(
        context_viewmats=batch.context_viewmats @ motion, target_viewmats=batch.target_viewmats @ motion
    )
    system = small_system(replace(CONFIG, relative=True))
    assert loss_of(system, moved) == pytest.approx(loss_of(system, batch), rel=1e-3)  # waves of 2^-14, in float32
    absolute = small_system()
    assert loss_of(absolute, moved) != pytest.approx(loss_of(absolute, batch), rel=1e-2)


def test_steps_lower_the_loss(objects):
    system = create(CONFIG)
    batch, optimizer = batch_of(objects), torch.optim.Adam(system.network.parameters(), 3e-3)
    losses = []
    for step in range(20):
        loss = system.loss(system.network, batch, torch.Generator().manual_seed(step), step=step, steps=20)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-8:]) < 0.8 * np.mean(losses[:4])


SIZES = ("side=8", "channels=8", "multiples=1,2", "embedding=16", "groups=4", "heads=2", "attention_levels=1")


def test_the_one_loop_trains_it_and_a_stopped_run_is_an_undisturbed_one(objects, tmp_path):
    words = ["train", objects, "--system", "threedim", "--device", "cpu", "-o", "run", "--batch", "2"]
    for each in (*SIZES, "dropout=0.2", "warmup=2", "diagnose_every=2", "schedule=constant"):
        words += ["--set", each]
    words += ["--sample-every", "4", "--checkpoint-every", "2", "--log-every", "2"]
    (tmp_path / "whole").mkdir()
    (tmp_path / "parts").mkdir()
    told = expect(run_here([*words, "--steps", "4"], tmp_path / "whole"), 0).stderr
    assert "3 scenes of 15 photos" in told
    expect(run_here([*words, "--steps", "2"], tmp_path / "parts"), 0)
    expect(run_here([*words, "--steps", "4", "--resume", "latest"], tmp_path / "parts"), 0)
    weights = [tmp_path / name / "run" / "network" / "model.safetensors" for name in ("whole", "parts")]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    log = [json.loads(line) for line in (tmp_path / "whole" / "run" / "log.jsonl").open()]
    assert any("psnr_copy" in str(line) for line in log), log
    (picture,) = (tmp_path / "whole" / "run" / "samples").iterdir()
    assert io.load_image(picture).shape == (24, 24, 3)
    run = tmp_path / "whole" / "run"
    assert load_system(str(run)).config.side == 8
    words = ["sample", "--model", run, objects / "object0", "--orbit", "2", "--steps", "2", "-o", "views/"]
    expect(run_here(words, tmp_path), 0)
    assert len(io.load_views(tmp_path / "views")) == 2


def test_objects_that_cannot_be_used_are_left_out_and_a_set_of_them_is_one_line(tmp_path):
    (tmp_path / "set").mkdir()
    wide = orbit(3, 24, 16, distance=2.6)
    io.save_views(tmp_path / "set" / "wide", Views(np.ones((3, 16, 24, 3), np.float32), wide))
    io.save_views(tmp_path / "set" / "single", disc_views(1, 16))
    with pytest.raises(
        GatlasError, match=r"there is no scene to learn from: left out: .*single: has 1 photos and needs 2"
    ):
        pair_set([str(tmp_path / "set")], 8)
    io.save_views(tmp_path / "set" / "good", disc_views(3, 16))
    notes = pair_set([str(tmp_path / "set")], 8).report()
    assert any("wide: has pictures that are not square" in note for note in notes)
    assert notes[-1] == "1 scene of 3 photos"


def test_cameras_whose_object_is_outside_of_the_points_along_their_rays_are_left_out(tmp_path):
    for name, distance in (("good", 2.6), ("far", 6.0)):
        io.save_views(tmp_path / name, disc_views(3, 16, elevation=20, distance=distance))
    epipolar = small_system(replace(CONFIG, epipolar_points=4, prediction="v"))
    notes = epipolar.dataset(Sources((str(tmp_path),))).report()
    assert any("far: has cameras that look at a point 6 to 6 from them" in note for note in notes)
    assert notes[-1] == "1 scene of 3 photos"
    assert small_system().dataset(Sources((str(tmp_path),))).report() == ["2 scenes of 6 photos"]


@pytest.mark.parametrize("source", ["captions", "views", "stats", "lpips_weights"])
def test_sources_that_it_does_not_use_are_one_line(objects, source):
    with pytest.raises(GatlasError, match=f"^--{source.replace('_', '-')}: "):
        create(CONFIG).dataset(Sources((str(objects),), **{source: "x"}))


def test_it_is_trained_on_a_gpu(cuda_device, objects):
    batch, system = batch_of(objects), small_system()
    expected = loss_of(system, batch)
    on_gpu = type(batch)(batch.keys, *(each.cuda() for each in batch[1:]))
    system.network.cuda()
    assert loss_of(system, on_gpu) == pytest.approx(expected, rel=1e-5)
    numbers = system.diagnose(system.network, on_gpu, torch.Generator().manual_seed(0))
    assert set(numbers) == {"psnr", "psnr_copy"}
