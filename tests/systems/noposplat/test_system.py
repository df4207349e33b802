"""The NoPoSplat system: its loss, its training, the frame of its splats, and what does not fit together."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

import gatlas.systems.noposplat.loading as module
from gatlas import io
from gatlas.errors import GatlasError
from gatlas.pose.solve import grid_correspondences, reprojection_errors, solve_pnp
from gatlas.raster import rasterize
from gatlas.systems import load_system
from gatlas.systems.contract import Condition, Photo, SampleRequest, Sources
from gatlas.systems.noposplat import PRESETS, create, load
from gatlas.systems.noposplat.loading import published_config
from gatlas.systems.noposplat.network import NoPoSplat, PixelGaussians
from gatlas.systems.noposplat.scene_loss import MAX_PSNR, mean_color_psnr, ray_distance, render_targets
from gatlas.systems.noposplat.splat import FIRST_VIEWMAT, crop_photos, to_gaussians
from gatlas.systems.noposplat.system import NoPoSplatSystem
from gatlas.train import TrainOptions, train
from gatlas.types import Cameras, Gaussians
from tests.helpers.scene_files import box_views, write_scenes

CONFIG = replace(
    PRESETS["tiny"].config,
    encoder_dim=32, encoder_depth=1, encoder_heads=2, decoder_dim=32, decoder_depth=3, decoder_heads=2,
    hooks=(0, 1, 2, 3), head_dim=16, level_dims=(4, 8, 8, 8), width=32, height=32, gap=(3, 5), gap_start=3,
    ray=1.0,
    ray_steps=200,
    ray_end=0.1,
)  # fmt: skip


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(write_scenes(tmp_path_factory.mktemp("scenes"), range(3), count=8, side=32))


@pytest.fixture
def system(folder):
    return create(CONFIG)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def asked(photos):
    return SampleRequest((Condition("scene", photos=photos),))


def photos(count=2, side=48, width=None):
    views = box_views(0, 8, side, width)
    picked = [0, 5, 2][:count]
    return tuple(Photo(f"p{i}", views.images[i], views.cameras.Ks[i].astype(np.float64)) for i in picked)


def truth_pixels(viewmats, Ks, depths, colors):
    """A Gaussian on each pixel's ray at its depth, in the world of the first camera (OpenCV)."""
    count, height, width = depths.shape
    means = np.empty((count, height, width, 3))
    y, x = np.mgrid[:height, :width] + 0.5
    for view in range(count):
        rays = np.stack([x / width, y / height, np.ones_like(x)], -1) @ np.linalg.inv(Ks[view]).T
        local = rays * depths[view][..., None]
        pose = np.linalg.inv(viewmats[view])
        means[view] = local @ pose[:3, :3].T + pose[:3, 3]
    shape = (1, count, height, width)
    sh = (colors - 0.5) / 0.28209479177387814
    return PixelGaussians(
        torch.tensor(means, dtype=torch.float32)[None],
        torch.tensor([1.0, 0, 0, 0]).expand(*shape, 4),
        torch.full((*shape, 3), 0.01),
        torch.full(shape, 0.9),
        torch.tensor(sh, dtype=torch.float32)[None, ..., None, :],
    )


def two_views(size=24):
    rng = np.random.default_rng(0)
    turn = np.radians(8.0)
    second = np.eye(4)
    second[:3, :3] = [[np.cos(turn), 0, np.sin(turn)], [0, 1, 0], [-np.sin(turn), 0, np.cos(turn)]]
    second[:3, 3] = [-0.8, 0.1, 0.3]
    viewmats = np.stack([np.eye(4), second])
    Ks = np.tile(np.array([[1.1, 0, 0.5], [0, 1.1, 0.5], [0, 0, 1.0]]), (2, 1, 1))
    depths = 3 + rng.random((2, size, size))
    return viewmats, Ks, truth_pixels(viewmats, Ks, depths, rng.random((2, size, size, 3)))


def test_gaussians_on_their_pixels_rays_have_no_ray_term():
    viewmats, Ks, pixels = two_views()
    arrays = [torch.tensor(each, dtype=torch.float32)[None] for each in (viewmats, Ks)]
    assert float(ray_distance(pixels.means, *arrays)) < 1e-10
    assert float(ray_distance(-pixels.means[:, :1], arrays[0][:, :1], arrays[1][:, :1])) == pytest.approx(4, abs=1e-5)


def test_the_splat_keeps_pixel_grid_and_pictures_in_gatlas_axes():
    viewmats, Ks, pixels = two_views()
    gaussians = to_gaussians(pixels, "scene")
    assert gaussians.origin.grid == (24, 24)
    assert len(gaussians) == 2 * 24 * 24
    flip = np.diag([1.0, -1, -1, 1])
    cameras = Cameras((viewmats @ flip).astype(np.float32), (Ks * 24 / [[1], [1], [24]]).astype(np.float32), 24, 24)
    assert np.allclose(cameras.viewmats[0], FIRST_VIEWMAT)
    own = render_targets(pixels, *(torch.tensor(a, dtype=torch.float32)[None] for a in (viewmats, Ks)), 24, 24)[0]
    assert np.abs(rasterize(gaussians, cameras).colors - own.numpy()).max() < 1e-4


def test_view_dependent_colours_and_rotations_survive_the_change_of_axes():
    rng = np.random.default_rng(0)
    quats = rng.normal(size=(1, 2, 4, 4, 4))
    quats /= np.linalg.norm(quats, axis=-1, keepdims=True)
    arrays = [
        rng.normal(size=(1, 2, 4, 4, 3)) * 0.5 + [0, 0, 3], quats, rng.uniform(0.02, 0.2, (1, 2, 4, 4, 3)),
        rng.uniform(0.3, 0.9, (1, 2, 4, 4)), rng.normal(size=(1, 2, 4, 4, 16, 3)) * 0.2,
    ]  # fmt: skip
    pixels = PixelGaussians(*(torch.tensor(array, dtype=torch.float32) for array in arrays))
    Ks = torch.tensor([[[[1.0, 0, 0.5], [0, 1.0, 0.5], [0, 0, 1]]]])
    own = render_targets(pixels, torch.eye(4)[None, None], Ks, 32, 32)[0, 0]
    camera = Cameras(np.float32([FIRST_VIEWMAT]), np.float32([[[32, 0, 16], [0, 32, 16], [0, 0, 1]]]), 32, 32)
    assert np.abs(rasterize(to_gaussians(pixels, ""), camera).colors[0] - own.numpy()).max() < 1e-4


def test_a_written_splat_gives_its_photos_cameras_back(tmp_path):
    viewmats, Ks, pixels = two_views()
    io.save_gaussians(str(tmp_path / "s.ply"), to_gaussians(pixels, "scene"))
    gaussians = io.load_gaussians(str(tmp_path / "s.ply"))
    points, places = grid_correspondences(gaussians, 1, 24, 24)
    K = Ks[1] * [[24], [24], [1]]
    found = solve_pnp(points, places, K, threshold=1.0)
    assert np.allclose(found.viewmat, viewmats[1] @ np.diag([1.0, -1, -1, 1]), atol=1e-4)
    points, places = grid_correspondences(gaussians, 0, 24, 24)
    assert reprojection_errors(FIRST_VIEWMAT, points, places, Ks[0] * [[24], [24], [1]]).max() < 1e-3


def test_the_psnr_of_the_mean_color_is_finite_for_an_image_of_one_color():
    truth = torch.full((2, 4, 4, 3), 0.5)
    truth[1, :2] = 0.7
    # 0.6 is 0.1 off everywhere
    assert mean_color_psnr(truth).tolist() == pytest.approx([MAX_PSNR, 20], abs=1e-4)


def test_the_loss_is_the_weighted_sum_of_its_terms(system, folder):
    scenes = system.dataset(Sources((folder,)))
    batch = scenes.collate([scenes.draw(i, seed=i) for i in range(2)])
    terms = system.loss(system.network, batch, generator(), step=50, steps=100)
    share = 1 + (50 / CONFIG.ray_steps) * (CONFIG.ray_end - 1)
    assert terms["loss"].item() == pytest.approx(terms["mse"].item() + share * terms["ray"].item(), rel=1e-5)
    system.config = replace(CONFIG, ray=0.0, ray_end=0.0)
    assert "ray" not in system.loss(system.network, batch, generator(), step=50, steps=100)
    terms["loss"].backward()
    assert all(w.grad is not None for w in system.network.parameters() if w.requires_grad)
    assert all(w.grad is None for w in system.network.parameters() if not w.requires_grad)


def test_lpips_counts_on_the_targets_by_its_weight(system, folder):
    scenes = system.dataset(Sources((folder,)))
    batch = scenes.collate([scenes[0]])
    system.config = replace(CONFIG, lpips=0.05, ray=0.0, ray_end=0.0)
    system.lpips = lambda a, b: (a - b).abs().mean(dim=(1, 2, 3))
    terms = system.loss(system.network, batch, generator(), step=1, steps=9)
    assert terms["loss"].item() == pytest.approx(terms["mse"].item() + 0.05 * terms["lpips"].item(), rel=1e-5)


def test_missing_lpips_weights_are_one_line(folder, tmp_path):
    system = create(replace(CONFIG, lpips=0.05))
    with pytest.raises(GatlasError, match=r"none.pth.*--set lpips=0"):
        system.dataset(Sources((folder,), lpips_weights=str(tmp_path / "none.pth")))


def test_a_resumed_run_has_the_weights_of_one_without_a_break(folder, tmp_path):
    options = TrainOptions(steps=4, batch=2, lr=1e-3, warmup=0, checkpoint_every=2, sample_every=4, log_every=1)

    def run(name, steps, **words):
        system = create(replace(CONFIG, flip=0.5, dropout=0.1))
        train(system, system.dataset(Sources((folder,))), replace(options, steps=steps), str(tmp_path / name), **words)

    run("whole", 4, device="cpu")
    run("broken", 2, device="cpu")
    run("broken", 4, device="cpu", resume="latest")
    a, b = ((tmp_path / name / "network" / "model.safetensors").read_bytes() for name in ("whole", "broken"))
    assert a == b
    assert (tmp_path / "whole" / "samples").is_dir()
    again = load_system(str(tmp_path / "whole"))
    assert again.config == replace(CONFIG, flip=0.5, dropout=0.1)
    assert again.name == "noposplat"


def test_the_backbone_has_a_learning_rate_of_its_own():
    published = NoPoSplatSystem(PRESETS["re10k"].config, create(CONFIG).network)
    scales = {name: published.lr_scale(name) for name, _ in published.network.named_parameters()}
    assert {n.split(".")[0] for n, s in scales.items() if s == 1.0} == {
        "gaussian_param_head", "gaussian_param_head2", "backbone",
    }  # fmt: skip
    assert {n for n, s in scales.items() if s == 1.0 and n.startswith("backbone")} == {
        "backbone.intrinsic_encoder.weight", "backbone.intrinsic_encoder.bias",
    }  # fmt: skip
    assert set(scales.values()) == {0.1, 1.0}


def test_presets_are_the_published_numbers():
    training, config = PRESETS["re10k"].training, PRESETS["re10k"].config
    wanted = {"steps": 18_751, "lr": 2e-4, "betas": (0.9, 0.95), "weight_decay": 0.05, "clip": 0.5, "warmup": 125}
    assert {name: training[name] for name in wanted} == wanted
    assert (config.mse, config.lpips, config.gap, config.targets) == (1.0, 0.05, (45, 90), 4)
    for preset in PRESETS.values():
        TrainOptions(**preset.training)


def test_a_sample_is_of_the_middle_of_the_photos(system):
    (gaussians,) = system.sample(asked(photos(width=72)))
    assert gaussians.origin.grid == (32, 32)
    assert len(gaussians) == 2 * 32 * 32
    assert gaussians.origin.name == "scene"
    pictures, Ks = crop_photos(photos(width=72), 32, 32)
    assert pictures.shape == (2, 32, 32, 3)
    assert np.allclose(Ks[0][:2, 2], 0.5)
    assert Ks[0][0, 0] == pytest.approx(photos(width=72)[0].K[0, 0] / 48, rel=1e-6)


def test_three_photos_make_one_scene(system):
    (gaussians,) = system.sample(asked(photos(3)))
    assert len(gaussians) == 3 * 32 * 32
    located = system.locate(gaussians, photos(3))
    assert len(located.views) + len(located.lost) == 3
    assert np.array_equal(located.views.cameras.viewmats[0], FIRST_VIEWMAT.astype(np.float32))


def test_one_photo_is_refused(system):
    with pytest.raises(GatlasError, match="two photos"):
        next(system.sample(asked(photos(1))))


def test_a_model_folder_gives_the_same_splat(system, tmp_path):
    system.save(str(tmp_path))
    again = load(str(tmp_path))
    one, other = (next(each.sample(asked(photos()))) for each in (system, again))
    assert np.array_equal(one.means, other.means)
    assert np.array_equal(one.sh, other.sh)
    description = json.loads((tmp_path / "gatlas.json").read_text())
    assert description["system"] == "noposplat"
    assert description["config"]["width"] == 32


def test_a_published_file_is_a_model(system, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "published_config", lambda name: CONFIG)
    state = {f"encoder.{name}": value for name, value in system.network.state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "re10k.ckpt")
    again = load_system(str(tmp_path / "re10k.ckpt"))
    one, other = (next(each.sample(asked(photos()))) for each in (system, again))
    assert np.array_equal(one.means, other.means)
    based = create(replace(CONFIG, lpips=0.0, ray=0.0), base=str(tmp_path / "re10k.ckpt"))
    assert based.config.ray == 0.0
    with pytest.raises(GatlasError, match=r"re10k.ckpt: its network has encoder_dim 32"):
        create(PRESETS["tiny"].config, base=str(tmp_path / "re10k.ckpt"))


def test_the_published_name_says_the_size():
    assert published_config("x512/re10k.ckpt").width == 256
    assert published_config("mixRe10kDl3dv_512x512.ckpt").width == 512


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"width": 60}, "width must be a multiple of 8, got 60"),
        ({"views": 1}, "views must be at least 2"),
        ({"gap": (9, 4)}, "gap must be two numbers"),
        ({"flip": 1.5}, "flip must be at least 0 and at most 1"),
        ({"mse": 0.0}, "mse or lpips must be greater than 0"),
        ({"ray": -1.0}, "ray must be at least 0"),
        ({"max_fov": 180.0}, "max_fov"),
    ],
)
def test_settings_are_checked_in_one_line(changes, words):
    with pytest.raises(GatlasError, match=re.escape(words)):
        replace(CONFIG, **changes)


def test_what_does_not_belong_to_the_system_is_one_line(system, folder, tmp_path):
    with pytest.raises(GatlasError, match="--captions: noposplat"):
        system.dataset(Sources((folder,), captions="x.csv"))
    with pytest.raises(GatlasError, match="--stats: noposplat"):
        create(CONFIG, stats=object())
    with pytest.raises(GatlasError, match="--stats: noposplat"):
        system.dataset(Sources((folder,), stats="stats.npz"))
    system.save(str(tmp_path))
    path = tmp_path / "gatlas.json"
    path.write_text(path.read_text().replace('"patch"', '"pitch"'))
    with pytest.raises(GatlasError, match=r"config in gatlas.json: has pitch"):
        load(str(tmp_path))


def test_a_network_that_gives_nan_writes_nothing(system):
    next(system.network.parameters()).data.fill_(torch.nan)
    system.network.backbone.enc_norm.weight.data.fill_(torch.nan)
    with pytest.raises(GatlasError, match="not finite"):
        next(system.sample(asked(photos())))


def test_the_published_network_has_as_many_trained_weights_as_the_paper_uses():
    with torch.device("meta"):
        system = NoPoSplatSystem(PRESETS["re10k"].config, NoPoSplat(PRESETS["re10k"].config))
    frozen = [name for name, weight in system.network.named_parameters() if not weight.requires_grad]
    assert len(frozen) == 1 + 4 * 4  # the mask token, and two convolutions with a bias in each of four heads


def test_gaussians_type_is_the_verbs_own(system):
    (gaussians,) = system.sample(asked(photos()))
    assert isinstance(gaussians, Gaussians)
    assert gaussians.means.dtype == np.float32


def test_a_training_may_recompute_its_activations(system, folder, tmp_path):
    options = TrainOptions(steps=1, batch=2, warmup=0, sample_every=0, gradient_checkpointing=True)
    train(system, system.dataset(Sources((folder,))), options, str(tmp_path / "run"), device="cpu")
    assert system.network.backbone.checkpointing
