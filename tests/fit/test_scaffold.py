"""The scaffold: a start that decodes to its Gaussians, growth where the gradient is, the ranking, and the cap."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from gatlas.errors import GatlasError
from gatlas.fit import FitOptions
from gatlas.fit.losses import DIRECT_WEIGHTS, foreground_window, picture_loss
from gatlas.fit.mesh import measure
from gatlas.fit.scaffold import fit_scaffold, optimize_scaffold
from gatlas.fit.scaffold_growth import GrowthStatistics, drop_transparent, grow, keep_anchors, screen_gradients
from gatlas.fit.scaffold_model import OFFSETS, build_scaffold
from gatlas.fit.scaffold_ranking import average_ranks, highest_ranked, random_camera_visibility
from gatlas.fit.scaffold_start import FILL, gather_anchors
from gatlas.fit.start import surface_gaussians
from gatlas.geometry.cameras import fibonacci_views, resized
from gatlas.geometry.rotations import quats_to_matrices
from gatlas.meshes.edits import normalize_mesh
from gatlas.meshes.render import render_mesh
from gatlas.metrics.lpips import Lpips
from gatlas.types import LOG_SCALE_RANGE, Cameras, Gaussians, Origin
from tests.helpers.meshes import textured_tetrahedron


@pytest.fixture(scope="module")
def mesh():
    return normalize_mesh(textured_tetrahedron())


@pytest.fixture(scope="module")
def views(mesh):
    return render_mesh(mesh, fibonacci_views(6, 32, 32), supersample=2)


@pytest.fixture(scope="module")
def start(mesh, views):
    return surface_gaussians(mesh, views, 150, np.random.default_rng(0))


def adam_of(scaffold):
    groups = [{"params": tensors, "name": name, "lr": 1e-2} for name, tensors in scaffold.parameters()]
    return torch.optim.Adam(groups)


# --- the start and the model -------------------------------------------------------------------------------------


def test_voxels_hold_no_more_than_their_fill_and_lose_nothing(start):
    anchors = gather_anchors(start)
    assert anchors.alive.sum() == len(start)
    assert anchors.alive.sum(axis=1).max() <= FILL <= OFFSETS
    assert anchors.alive.any(axis=1).all()


def test_many_gaussians_at_one_place_get_as_many_anchors_as_they_need(start):
    heap = replace(start, means=np.zeros_like(start.means))
    anchors = gather_anchors(heap)
    assert anchors.alive.sum() == len(heap)
    assert len(anchors.anchors) == -(-len(heap) // FILL)


def test_a_new_scaffold_decodes_to_its_start(start):
    """Places are exact; colours and rotations are so up to the components that 32 features leave out."""
    baked = build_scaffold(gather_anchors(start)).bake(start.origin)
    assert len(baked) == len(start)
    ours, theirs = np.lexsort(baked.means.round(4).T), np.lexsort(start.means.round(4).T)
    assert np.allclose(baked.means[ours], start.means[theirs], atol=1e-5)
    assert np.abs(baked.sh[ours] - start.sh[theirs]).mean() < 0.05 * np.abs(start.sh).mean()
    assert baked.opacities == pytest.approx(start.opacities.mean(), abs=1e-5)
    turns = np.einsum("nij,nkj->nik", quats_to_matrices(baked.quats[ours]), quats_to_matrices(start.quats[theirs]))
    assert np.median(np.trace(turns, axis1=1, axis2=2)) == pytest.approx(3, abs=0.1)
    assert np.median(baked.scales[ours] / start.scales[theirs]) == pytest.approx(1, abs=0.1)


def test_a_slot_whose_opacity_is_not_above_zero_does_not_show(start):
    scaffold = build_scaffold(gather_anchors(start))
    with torch.no_grad():
        scaffold.networks["opacity"][-1].bias[0] = -0.5
    slots = scaffold.decode().slots
    assert not (slots % OFFSETS == 0).any()
    assert len(slots) == int(scaffold.alive[:, 1:].sum())


def test_baked_gaussians_are_plain_ones(start):
    scaffold = build_scaffold(gather_anchors(start))
    with torch.no_grad():
        scaffold.rows["scalings"][:, 3] = -20.0
        scaffold.rows["scalings"][:, 4] = 5.0
    baked = scaffold.bake(start.origin)
    assert baked.origin == start.origin
    assert baked.sh.shape == (len(start), 1, 3)
    assert np.allclose(np.linalg.norm(baked.quats, axis=1), 1, atol=1e-5)
    assert np.log(baked.scales).min() == pytest.approx(LOG_SCALE_RANGE[0], abs=1e-5)
    assert np.log(baked.scales).max() == pytest.approx(LOG_SCALE_RANGE[1], abs=1e-5)


# --- growth ------------------------------------------------------------------------------------------------------


def test_screen_gradients_are_those_to_the_projected_means():
    """Against autograd through the projection, for a loss that depends on the projected means alone."""
    rng = np.random.default_rng(0)
    camera = fibonacci_views(1, 64, 48)
    means = torch.tensor(0.02 * rng.normal(size=(5, 3)), dtype=torch.float64, requires_grad=True)
    view, K = (torch.tensor(array[0], dtype=torch.float64) for array in (camera.viewmats, camera.Ks))
    local = means @ view[:3, :3].T + view[:3, 3]
    projected = (local @ K.T)[:, :2] / local[:, 2:]
    projected.retain_grad()
    (projected * torch.tensor(rng.normal(size=(5, 2)))).sum().backward()
    expected = projected.grad.norm(dim=1) * 32  # in half widths of the picture
    found = screen_gradients(means.detach(), means.grad, camera)
    assert found.tolist() == pytest.approx(expected.tolist(), rel=0.02)  # the centre of the picture: rays are parallel


def evidence_for(scaffold, strength_of_slot):
    evidence = GrowthStatistics.none(len(scaffold))
    evidence.steps = 1
    evidence.shown += 1
    for (anchor, slot), strength in strength_of_slot.items():
        evidence.gradients[anchor, slot] = strength
    return evidence


def test_only_places_with_a_large_gradient_grow_and_the_picture_hardly_changes(start, views):
    scaffold = build_scaffold(gather_anchors(start))
    adam, before = adam_of(scaffold), len(scaffold)
    assert grow(scaffold, adam, evidence_for(scaffold, {}), 0.02, np.random.default_rng(0)) == 0
    asking = [(int(a), int(k)) for a, k in zip(*np.nonzero(scaffold.alive.numpy()), strict=True)][::5]
    evidence = evidence_for(scaffold, dict.fromkeys(asking, 1.0))
    quality = measure(scaffold.bake(Origin()), views)[0]
    grown = grow(scaffold, adam, evidence, 0.02, np.random.default_rng(0))
    assert 0 < grown == len(scaffold) - before
    assert measure(scaffold.bake(Origin()), views)[0] > quality - 1
    parents = scaffold.bake(Origin()).means[: len(start)]
    children = scaffold.bake(Origin()).means[len(start) :]
    nearest = np.linalg.norm(children[:, None] - parents, axis=-1).min(axis=1)
    assert nearest.max() < 6 * start.scales.max()


def test_a_voxel_with_an_anchor_does_not_grow(start):
    """One voxel that holds everything is taken at the coarsest level already."""
    scaffold = build_scaffold(gather_anchors(replace(start, means=1 + 1e-4 * start.means)))
    strengths = {(a, k): 2.5e-4 for a in range(len(scaffold)) for k in range(OFFSETS)}  # below the second threshold
    assert grow(scaffold, adam_of(scaffold), evidence_for(scaffold, strengths), 2.5, np.random.default_rng(0)) == 0


def test_adam_keeps_its_moments_through_growth_and_pruning(start):
    scaffold = build_scaffold(gather_anchors(start))
    adam = adam_of(scaffold)
    scaffold.decode().gaussians.means.square().sum().backward()
    adam.step()
    moments = adam.state[scaffold.rows["offsets"]]["exp_avg"].clone()
    count = len(scaffold)
    asking = {(int(a), 0): 1.0 for a in range(count)}
    grown = grow(scaffold, adam, evidence_for(scaffold, asking), 0.02, np.random.default_rng(0))
    after = adam.state[scaffold.rows["offsets"]]["exp_avg"]
    assert torch.equal(after[:count], moments)
    assert len(after) == count + grown
    assert not after[count:].any()
    keep = np.arange(count + grown) % 2 == 1
    keep_anchors(scaffold, adam, keep)
    assert torch.equal(adam.state[scaffold.rows["offsets"]]["exp_avg"], after[torch.from_numpy(keep)])
    assert len(scaffold) == len(scaffold.alive) == len(scaffold.rows["features"]) == keep.sum()


def test_anchors_whose_slots_are_transparent_together_are_dropped_but_not_new_ones(start):
    scaffold = build_scaffold(gather_anchors(start))
    adam, known = adam_of(scaffold), len(scaffold) - 2
    evidence = GrowthStatistics.none(known)  # the last two anchors have been added since
    evidence.steps = 10
    evidence.opacities += 10 * 0.9
    evidence.opacities[3] = 10 * 0.004
    places = scaffold.anchors.clone()
    drop_transparent(scaffold, adam, evidence)
    assert torch.equal(scaffold.anchors, torch.cat([places[:3], places[4:]]))


# --- ranking -----------------------------------------------------------------------------------------------------


def test_ranks_average_those_of_gaussians_and_of_anchors():
    visibilities = np.array([0.1, 0.9, 0.3, 0.2])
    owners = np.array([5, 5, 8, 8])  # anchors with 1.0 and 0.5 in all
    assert average_ranks(visibilities, owners) == pytest.approx(
        [(1 / 4 + 1) / 2, (4 / 4 + 1) / 2, (3 / 4 + 1 / 2) / 2, (2 / 4 + 1 / 2) / 2]
    )


def test_the_highest_ranks_are_kept_and_ties_go_to_the_earlier():
    assert highest_ranked(np.array([0.5, 0.9, 0.5, 0.1]), 2).tolist() == [True, True, False, False]
    assert highest_ranked(np.array([0.5]), 9).tolist() == [True]


def test_a_hidden_gaussian_is_less_visible_than_the_one_in_front():
    means = np.array([[0, 0, 2], [0, 0, 3], [9, 0, 2]], dtype=np.float32)  # in front, behind, outside the picture
    gaussians = Gaussians(
        means=means,
        quats=np.tile(np.array([1, 0, 0, 0], dtype=np.float32), (3, 1)),
        scales=np.full((3, 3), 0.1, dtype=np.float32),
        opacities=np.full(3, 0.8, dtype=np.float32),
        sh=np.zeros((3, 1, 3), dtype=np.float32),
    )
    K = np.array([[33, 0, 16.5], [0, 33, 16.5], [0, 0, 1]], dtype=np.float32)
    camera = Cameras(np.eye(4, dtype=np.float32)[None], K[None], 33, 33)
    seen = random_camera_visibility(gaussians, camera, np.random.default_rng(0))
    assert seen == pytest.approx([0.8, seen[1], 0.0], abs=1e-3)
    assert 0.15 < seen[1] < 0.5  # 0.2 x 0.8 in the middle, more where the one in front has faded


# --- the loss ----------------------------------------------------------------------------------------------------


def test_the_window_is_square_inside_and_around_the_object():
    alphas = np.zeros((50, 70))
    alphas[45:, 60:] = 1
    for seed in range(5):
        rows, columns = foreground_window(alphas, np.random.default_rng(seed), 16)
        assert (rows.stop - rows.start, columns.stop - columns.start) == (16, 16)
        assert alphas[rows, columns].any()
    assert foreground_window(np.zeros((8, 9)), np.random.default_rng(0), 16) == (slice(0, 8), slice(0, 9))


def test_lpips_is_added_on_the_window_alone():
    def mean_difference(a, b):
        return (a - b).abs().mean(dim=(1, 2, 3))

    rng = torch.Generator().manual_seed(0)
    image, target = (torch.rand(1, 20, 20, 3, generator=rng) for _ in range(2))
    window = (slice(0, 5), slice(3, 9))
    without = picture_loss(image, target).loss
    added = picture_loss(image, target, DIRECT_WEIGHTS, mean_difference, window).loss - without
    expected = DIRECT_WEIGHTS.lpips * (image - target)[:, 0:5, 3:9].abs().mean()
    assert float(added) == pytest.approx(float(expected), rel=1e-4)
    whole = picture_loss(image, target, DIRECT_WEIGHTS, mean_difference).loss - without
    assert float(whole) == pytest.approx(DIRECT_WEIGHTS.lpips * float((image - target).abs().mean()), rel=1e-4)


# --- the fit -----------------------------------------------------------------------------------------------------


def test_the_fit_improves_on_its_start(mesh, views, start):
    fitted = optimize_scaffold(start, views, 40, np.random.default_rng(0))
    held_out = render_mesh(mesh, fibonacci_views(4, 32, 32, phase=0.5), supersample=2)
    assert measure(fitted, held_out)[0] > measure(start, held_out)[0] + 1.5


def test_slots_that_wake_after_the_last_growth_do_not_exceed_the_limit(views, start, monkeypatch):
    """Some slots are hidden when the limit is first held against them, and show at the end."""
    from gatlas.fit import scaffold

    built = build_scaffold(gather_anchors(start))
    opacity_bias = built.networks["opacity"][-1].bias

    def wake(_step, _decibels):
        with torch.no_grad():
            opacity_bias.fill_(2.0)

    with torch.no_grad():
        opacity_bias[0] = -0.5
    limit = len(built.decode().slots)
    assert limit < len(start)
    monkeypatch.setattr(scaffold, "build_scaffold", lambda _anchors, _device: built)
    fitted = optimize_scaffold(start, views, 1, np.random.default_rng(0), limit=limit, on_step=wake)
    assert len(fitted) == limit


@pytest.mark.parametrize("limit", [1, 60, 400])
def test_the_limit_is_never_exceeded(views, start, limit, monkeypatch):
    from gatlas.fit import scaffold

    monkeypatch.setattr(scaffold, "GROW_EVERY", 5)
    fitted = optimize_scaffold(start, views, 20, np.random.default_rng(0), limit=limit)
    assert 1 <= len(fitted) <= limit
    if limit == 400:
        assert len(fitted) > len(start)  # it grew


def test_options_and_cap_bound_the_count_and_the_seed_gives_the_same_bytes():
    options = FitOptions(count=120, iterations=6, views=4, resolution=32, held_out=2, seed=3)
    first, second = (fit_scaffold(textured_tetrahedron(), options, cap=80) for _ in range(2))
    assert len(first.gaussians) <= 80
    assert len(fit_scaffold(textured_tetrahedron(), options).gaussians) <= 120
    for name in ("means", "quats", "scales", "opacities", "sh"):
        assert getattr(first.gaussians, name).tobytes() == getattr(second.gaussians, name).tobytes()
    assert first.gaussians.origin.normalized


def test_the_given_network_is_used(views, start):
    seen = []

    def lpips(a, b):
        seen.append(tuple(a.shape))
        return (a - b).square().mean(dim=(1, 2, 3))

    optimize_scaffold(start, views, 3, np.random.default_rng(0), lpips=lpips)
    assert seen == [(1, 32, 32, 3)] * 3


def test_it_trains_through_the_real_network(views, start):
    """AlexNet with small random weights: the gradient of LPIPS reaches the Gaussians and changes them."""
    generator = torch.Generator().manual_seed(0)
    state = {}
    for number, (inputs, outputs, kernel) in {
        0: (3, 64, 11), 3: (64, 192, 5), 6: (192, 384, 3), 8: (384, 256, 3), 10: (256, 256, 3),
    }.items():  # fmt: skip
        state[f"features.{number}.weight"] = 0.03 * torch.randn(outputs, inputs, kernel, kernel, generator=generator)
        state[f"features.{number}.bias"] = torch.zeros(outputs)
        state[f"lin{len(state) // 3}"] = torch.ones(outputs)
    before = torch.get_rng_state()
    lpips = Lpips("alexnet", state)
    with_network, without = (
        optimize_scaffold(start, views, 3, np.random.default_rng(0), lpips=network) for network in (lpips, None)
    )
    assert np.isfinite(with_network.means).all()
    assert not np.array_equal(with_network.sh, without.sh)
    assert torch.equal(torch.get_rng_state(), before)  # nothing draws from the global generator


def test_progress_is_told_every_step_and_coarse_pictures_come_first(views, start):
    told, sides = [], []
    small = replace(views, images=views.images[:, ::2, ::2], cameras=resized(views.cameras, 16, 16))

    def lpips(a, b):
        sides.append(a.shape[1])
        return (a - b).square().mean(dim=(1, 2, 3))

    optimize_scaffold(
        start,
        views,
        5,
        np.random.default_rng(0),
        coarse=(small, 2),
        lpips=lpips,
        on_step=lambda step, decibels: told.append((step, decibels)),
    )
    assert sides == [16, 16, 32, 32, 32]
    assert [step for step, _ in told] == [1, 2, 3, 4, 5]
    assert all(5 < decibels < 60 for _, decibels in told)


def test_wrong_arguments_are_refused(views, start):
    with pytest.raises(ValueError, match="limit must be >= 1"):
        optimize_scaffold(start, views, 1, np.random.default_rng(0), limit=0)
    with pytest.raises(ValueError, match="RGBA"):
        optimize_scaffold(start, replace(views, images=views.images[..., :3]), 1, np.random.default_rng(0))


def test_a_scaffold_that_fades_away_is_a_clear_error(views, start):
    nothing = replace(views, images=np.zeros_like(views.images))
    with pytest.raises(GatlasError, match="faded away"):
        optimize_scaffold(start, nothing, 400, np.random.default_rng(0), limit=10)


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.parametrize("name", ["Knight.glb", "FlightHelmet/FlightHelmet.gltf", "fuze/fuze.obj"])
def test_it_is_within_one_decibel_of_the_direct_fit_at_the_same_count(shared_data, name):
    from gatlas import io
    from gatlas.fit import fit_mesh

    mesh = io.load_mesh(shared_data / "models" / name)
    options = FitOptions(iterations=400, resolution=256)
    scaffold = fit_scaffold(mesh, options)
    direct = fit_mesh(mesh, replace(options, count=len(scaffold.gaussians)))
    print(f"{name}: {len(scaffold.gaussians)} Gaussians, {scaffold.psnr:.2f} dB, direct {direct.psnr:.2f} dB")
    assert len(scaffold.gaussians) <= options.mesh_count
    assert scaffold.psnr > direct.psnr - 1
