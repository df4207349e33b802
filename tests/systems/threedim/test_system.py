"""3DiM as a system: stochastic conditioning, guidance, frames of cameras, batches, stop and resume."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from gatlas.diffusion.samplers import posterior
from gatlas.diffusion.schedules import CosineLogSnr
from gatlas.errors import GatlasError
from gatlas.geometry.cameras import orbit
from gatlas.geometry.rotations import so3_exp
from gatlas.systems import load_system, system_module
from gatlas.systems.contract import Condition, Photo
from gatlas.systems.sampling import save_samples
from gatlas.systems.targets import orbit_of
from gatlas.systems.threedim import create
from gatlas.systems.threedim.pictures import encode_pairs, network_picture
from gatlas.types import Cameras
from tests.helpers.small_lgm import disc_views
from tests.helpers.small_threedim import CONFIG, asked, images_of, photos_of, small_system

pytestmark = pytest.mark.usefixtures("one_thread")


def counting(system):
    """The inputs of each call of a system's network."""
    calls = []

    def network(images, log_snr, poses, conditional):
        calls.append((images, log_snr, poses, conditional))
        return system.network(images, log_snr, poses, conditional)

    return network, calls


def test_the_module_and_its_class_agree():
    module = system_module("threedim")
    assert (module.SYSTEM.name, module.SYSTEM.takes) == ("threedim", module.TAKES)


def test_a_fresh_network_makes_noise_that_depends_on_no_photo():
    system = create(CONFIG, seed=0)
    assert np.array_equal(*(images_of(system, asked(photos=count)) for count in (1, 3)))


def test_the_first_view_is_that_of_a_plain_reverse_diffusion():
    """The sampler written out: z from t = 1 to 0 in three steps, each mean and noise by the posterior."""
    system, request = small_system(), asked(1, guidance=0.0, steps=3)
    (sample,) = request.samples
    generator = torch.Generator().manual_seed(sample.seed(0, 0, "noise"))
    torch.randint(2**62, (), generator=generator)  # the seed of what draws the known view
    schedule, photo = CosineLogSnr(), sample.condition.photos[0]
    known = torch.from_numpy(network_picture(photo, 8)).movedim(-1, 0) * 2 - 1
    cameras = system.output_cameras(request)
    both = np.stack([photo.viewmat, cameras.viewmats[0]])[None]
    Ks = np.stack([photo.K * [[0.5], [0.5], [1]], cameras.Ks[0]])[None]
    poses = encode_pairs(torch.from_numpy(both), torch.from_numpy(Ks), 8, relative=False)
    x = torch.randn(1, 3, 8, 8, generator=generator)
    for t, s in ((1.0, 2 / 3), (2 / 3, 1 / 3), (1 / 3, 0.0)):
        t, s = torch.tensor([t], dtype=torch.float64), torch.tensor([s], dtype=torch.float64)
        with torch.no_grad():
            epsilon = system.network(
                torch.stack([known[None], x], 1), schedule.log_snr(t).float(), poses, torch.tensor([True])
            )
        alpha, sigma = (float(each) for each in schedule.alpha_sigma(t))
        x0 = ((x - sigma * epsilon) / alpha).clamp(-1, 1)
        x, deviation = posterior(schedule, x, x0, t, s)
        if s > 0:
            x = x + deviation * torch.randn(1, 3, 8, 8, generator=generator)
    found = images_of(system, request)
    np.testing.assert_allclose(found[0], x[0].movedim(0, -1).numpy() / 2 + 0.5, atol=0.5 / 255 + 1e-4)


@pytest.mark.parametrize("scheduler", ["ancestral", "ddim"])
def test_a_pool_of_one_is_the_naive_sampler_bit_for_bit(scheduler):
    system = small_system()
    found = [images_of(system, asked(1, condition_on=each, scheduler=scheduler)) for each in ("pool", "first")]
    assert np.array_equal(*found)
    others = [images_of(system, asked(3, condition_on=each, scheduler=scheduler)) for each in ("pool", "first")]
    assert not np.array_equal(others[0][1:], others[1][1:])


def test_every_step_draws_a_view_of_the_pool_and_finished_views_join_it():
    system, request = small_system(), asked(3, photos=2, guidance=0.0, steps=40)
    network, calls = counting(system)
    views = [each.images[0] for each in system.sample(request, network)]
    photos = [network_picture(photo, 8) for photo in request.conditions[0].photos]
    for number in range(3):
        known = [images[0, 0].movedim(0, -1).numpy() / 2 + 0.5 for images, *_ in calls[40 * number :][:40]]
        seen = [
            {i for i, view in enumerate([*photos, *views]) if np.allclose(view, picture, atol=1e-6)}
            for picture in known
        ]
        assert set.union(*seen) == set(range(2 + number))


def test_the_naive_sampler_sees_the_first_photo_alone():
    system, request = small_system(), asked(3, photos=2, guidance=0.0, steps=5, condition_on="first")
    network, calls = counting(system)
    list(system.sample(request, network))
    first = torch.from_numpy(network_picture(request.conditions[0].photos[0], 8)).movedim(-1, 0) * 2 - 1
    assert all(torch.equal(images[0, 0], first) for images, *_ in calls)


def test_guidance_0_is_the_conditional_prediction_and_costs_half_the_evaluations():
    system = small_system()
    network, calls = counting(system)
    list(system.sample(asked(1, guidance=0.0), network))
    assert all(bool(conditional.all()) and len(conditional) == 1 for *_, conditional in calls)
    network, calls = counting(system)
    list(system.sample(asked(1, guidance=2.0), network))
    assert all(conditional.tolist() == [True, False] for *_, conditional in calls)


def test_guidance_w_is_1_plus_w_conditional_less_w_unconditional():
    """A network of constants: 0.1 with the known view and 0.3 without; w = 2 predicts 3 * 0.1 - 2 * 0.3 = -0.3."""

    def network(images, log_snr, poses, conditional):
        value = torch.where(conditional, 0.1, 0.3)
        return value[:, None, None, None].expand(-1, 3, 8, 8)

    def constant(images, log_snr, poses, conditional):
        return torch.full((len(images), 3, 8, 8), -0.3)

    system = small_system()
    found = [
        np.concatenate([views.images for views in system.sample(asked(1, guidance=w), each)])
        for w, each in ((2.0, network), (0.0, constant))
    ]
    np.testing.assert_allclose(*found, atol=1 / 255)


def test_what_is_predicted_without_the_known_view_sees_noise_of_the_views_own():
    system = small_system()
    noises = []
    for names in (("one",), ("two", "one")):
        network, calls = counting(system)
        list(system.sample(asked(1, names=names, guidance=1.0), network))
        noises.append([images[-1, 0] for images, *_ in calls])
    assert all(torch.equal(*each) for each in zip(*noises, strict=True))
    assert abs(float(torch.stack(noises[0]).mean())) < 0.2
    assert float(torch.stack(noises[0]).std()) == pytest.approx(1, abs=0.1)
    assert not torch.equal(noises[0][0], noises[0][1])


@pytest.mark.parametrize("condition_on", ["pool", "first"])
def test_samples_are_the_same_in_batches_of_1_and_8(condition_on):
    system = small_system()
    names = ("one", "two", "three")
    found = [
        images_of(system, replace(asked(3, names=names), count=2, batch=batch, condition_on=condition_on))
        for batch in (1, 8)
    ]
    assert found[0].shape == (18, 8, 8, 3)
    np.testing.assert_allclose(*found, atol=1.01 / 255)  # a rounding more or less in 8 bits
    assert (np.abs(found[0] - found[1]) > 1e-6).mean() < 0.02
    assert not np.allclose(found[0][:3], found[0][3:6], atol=0.1)  # another number of the same object


def moved(request, motion):
    """The request in a world that a rigid motion (4 x 4) has moved."""
    back = np.linalg.inv(motion)
    conditions = tuple(
        each._replace(photos=tuple(photo._replace(viewmat=photo.viewmat @ back) for photo in each.photos))
        for each in request.conditions
    )
    return replace(
        request, conditions=conditions, cameras=replace(request.cameras, viewmats=request.cameras.viewmats @ back)
    )


def test_a_rigid_motion_of_the_world_changes_nothing_in_relative_mode():
    motion = np.eye(4)
    motion[:3, :3] = so3_exp(np.array([0.9, -1.5, 0.7]))
    motion[:3, 3] = 1.5, -0.7, 2.0
    request = asked(3, photos=2)
    relative, absolute = small_system(replace(CONFIG, relative=True)), small_system()
    before, after = (images_of(relative, each) for each in (request, moved(request, motion)))
    np.testing.assert_allclose(before, after, atol=1.01 / 255)
    assert (np.abs(before - after) > 1e-6).mean() < 0.02
    assert not np.allclose(images_of(absolute, request), images_of(absolute, moved(request, motion)), atol=0.05)


def test_a_rigid_motion_does_not_change_the_rays_of_a_pair_in_relative_mode():
    rng = np.random.default_rng(0)
    viewmats = orbit(8, 8, 8, elevation=35, distance=2.6).viewmats.astype(np.float64).reshape(4, 2, 4, 4)
    motion = np.eye(4)
    motion[:3, :3], motion[:3, 3] = np.linalg.qr(rng.normal(size=(3, 3)))[0], rng.normal(size=3)
    motion[:3, :3] *= np.linalg.det(motion[:3, :3])
    Ks = torch.from_numpy(np.tile(orbit(1, 8, 8).Ks.astype(np.float64), (4, 2, 1, 1)))
    found = [
        encode_pairs(torch.from_numpy(each), Ks, 8, relative=True)
        for each in (viewmats, viewmats @ np.linalg.inv(motion))
    ]
    torch.testing.assert_close(*found, atol=1e-6, rtol=0)
    identity = encode_pairs(torch.eye(4, dtype=torch.float64).expand(4, 2, 4, 4), Ks, 8, relative=False)
    assert torch.equal(found[0][:, 0], identity[:, 0])


def test_photos_of_another_size_are_the_same_view():
    """Intrinsics are scaled with the picture: the network sees the same rays."""
    system = small_system()
    seen = []
    for side in (16, 32):
        network, calls = counting(system)
        photo = photos_of(disc_views(side=side, distance=2.6))[0]
        request = replace(asked(1), conditions=(Condition("object", photos=(photo,)),), cameras=orbit_of(photo, 1))
        list(system.sample(request, network))
        seen.append(calls[0][2])
    torch.testing.assert_close(*seen, atol=2e-3, rtol=0)  # waves of 2^-14 of K in float32


def test_views_are_over_white_and_a_mask_does_not_bleed():
    image = np.zeros((16, 16, 4), np.float32)
    image[:, :8] = 0.5, 0.25, 0.0, 1.0
    image[:, 8:, :3] = 1.0, 0.0, 0.0  # red, and transparent
    found = network_picture(Photo("x.png", image, np.eye(3)), 8)
    np.testing.assert_allclose(found[:, :4], np.broadcast_to([0.5, 0.25, 0], (8, 4, 3)), atol=1e-6)
    np.testing.assert_allclose(found[:, 4:], 1.0, atol=1e-6)


def test_an_orbit_begins_at_the_photos_camera_and_is_that_of_the_house():
    cameras = orbit(5, 16, 16, elevation=20, azimuth=40, distance=2)
    photo = Photo("x.png", np.zeros((16, 16, 3), np.float32), cameras.Ks[0], cameras.viewmats[0].astype(np.float64))
    found = orbit_of(photo, 5)
    assert isinstance(found, Cameras)
    np.testing.assert_allclose(found.viewmats, cameras.viewmats, atol=1e-6)
    np.testing.assert_allclose(found.Ks, cameras.Ks, atol=1e-6)
    assert np.array_equal(found.viewmats[0], photo.viewmat)


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("relative", [False, True])
def test_a_sample_that_was_stopped_goes_on_at_the_next_view(tmp_path, relative):
    system = small_system(replace(CONFIG, relative=relative))
    request = asked(4, names=("one", "two"))
    save_samples(system, request, f"{tmp_path}/whole/")
    steps = []

    def stop():
        steps.append(1)
        if len(steps) == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        save_samples(system, request, f"{tmp_path}/pieces/", on_step=stop)
    assert (tmp_path / "pieces" / "two" / "transforms.json.part").is_file()
    with pytest.raises(GatlasError, match=r"was made with condition_on pool \(now first\)"):
        save_samples(system, replace(request, condition_on="first"), f"{tmp_path}/pieces/")
    save_samples(system, request, f"{tmp_path}/pieces/")
    assert contents(tmp_path / "pieces") == contents(tmp_path / "whole")


def test_a_model_folder_gives_the_same_views_and_other_weights_are_one_line(tmp_path):
    system = small_system()
    folder = tmp_path / "model"
    folder.mkdir()
    system.save(str(folder))
    loaded = load_system(str(folder))
    assert loaded.config == CONFIG
    assert np.array_equal(images_of(loaded, asked()), images_of(system, asked()))
    index = folder / "gatlas.json"
    index.write_text(index.read_text().replace('"channels": 8', '"channels": 16'))
    with pytest.raises(GatlasError, match=r"gatlas\.json and the weights are not of one model"):
        load_system(str(folder))


def test_a_base_of_other_sizes_is_one_line(tmp_path):
    system = small_system()
    (tmp_path / "base").mkdir()
    system.save(str(tmp_path / "base"))
    tuned = create(replace(CONFIG, dropout=0.3, guidance=0.5), base=str(tmp_path / "base"))
    assert tuned.network.middle.net.dropout == 0.3
    assert np.array_equal(images_of(tuned, asked(guidance=1.0)), images_of(system, asked(guidance=1.0)))
    with pytest.raises(GatlasError, match="its network has relative False, and the preset True"):
        create(replace(CONFIG, relative=True), base=str(tmp_path / "base"))
    with pytest.raises(GatlasError, match="has no network yet"):
        create(CONFIG, base=str(empty_model(tmp_path)))


def empty_model(tmp_path):
    folder = tmp_path / "empty"
    folder.mkdir()
    small_system().save_frozen(str(folder))
    return folder


def with_photo(**changes):
    request = asked(1)
    photo = request.conditions[0].photos[0]._replace(**changes)
    return replace(request, conditions=(Condition("object", photos=(photo,)),))


@pytest.mark.parametrize(
    ("request_", "told"),
    [
        (replace(asked(1), cameras=None), "no cameras of the views to make: give --orbit N, or --cameras FILE"),
        (replace(asked(1), cameras=orbit(2, 16, 12)), "are of 16 x 12 pixels, and the model's views are square"),
        (replace(asked(1), conditions=(Condition("object"),)), "needs a photo"),
        (replace(asked(1), conditions=(asked(1).conditions[0]._replace(relative=True),)), "0.png: where it is taken"),
        (asked(1, scheduler="dpm++"), "--scheduler dpm++: threedim has ancestral, ddim"),
        (with_photo(viewmat=None), "0.png: has no camera"),
        (
            with_photo(image=np.ones((8, 16, 3), np.float32)),
            "0.png: has 16 x 8 pixels, and the model's views are square",
        ),
        (with_photo(K=np.array([[16, 0, 30], [0, 16, 8], [0, 0, 1.0]])), "the center of its camera, 30, 8, is outside"),
        (with_photo(K=np.array([[-16, 0, 8], [0, 16, 8], [0, 0, 1.0]])), "0.png: no camera has the intrinsics"),
        (with_photo(K=np.array([[np.nan, 0, 8], [0, 16, 8], [0, 0, 1.0]])), "0.png: no camera has the intrinsics"),
        (with_photo(K=np.array([[16, 2, 8], [0, 16, 8], [0, 0, 1.0]])), "0.png: its camera has skewed axes"),
    ],
)
def test_what_cannot_be_met_is_one_line(request_, told):
    for ask in (small_system().check, lambda each: next(small_system().sample(each))):
        with pytest.raises(GatlasError) as error:
            ask(request_)
        assert told in str(error.value)
        assert "\n" not in str(error.value)


def test_views_are_made_on_a_gpu(cuda_device, tmp_path):
    small_system().save(str(tmp_path))
    found, expected = (images_of(load_system(str(tmp_path), device=device), asked(2)) for device in ("cuda", "cpu"))
    np.testing.assert_allclose(found, expected, atol=1.01 / 255)


def test_values_that_are_not_finite_are_refused():
    def network(images, log_snr, poses, conditional):
        return torch.full((len(images), 3, 8, 8), torch.nan)

    with pytest.raises(GatlasError, match="not finite: with --dtype fp32"):
        next(small_system().sample(asked(1), network))


def test_bfloat16_gives_nearly_the_same_views():
    found = []
    for dtype in ("float32", "bfloat16"):
        system = small_system()
        system.to("cpu", dtype)
        found.append(images_of(system, asked(1, guidance=0.0)))
    assert not np.array_equal(*found)
    assert np.abs(found[0] - found[1]).mean() < 0.05
