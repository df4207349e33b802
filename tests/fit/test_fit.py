"""The fit of a small mesh: exact count, better than its start, the same bytes again."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_laplace

from gatlas.errors import GatlasError
from gatlas.fit import FitOptions, fit_mesh
from gatlas.fit.finetune import finetune
from gatlas.fit.mesh import measure
from gatlas.fit.optimize import Interrupted, LateError, optimize
from gatlas.fit.quality import picture_quality
from gatlas.fit.start import picture_detail, surface_gaussians
from gatlas.geometry.cameras import fibonacci_views
from gatlas.geometry.frames import denormalized, scaled
from gatlas.images.composite import composite
from gatlas.images.pyramid import halve
from gatlas.meshes.edits import normalize_mesh
from gatlas.meshes.render import render_mesh
from gatlas.meshes.sample import surface_area
from gatlas.types import LOG_SCALE_RANGE, Material, Mesh, Texture, Views


def textured_box(half=(1.0, 0.6, 0.8)):
    """A closed box whose six faces share a checkered texture."""
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) * half
    quads = [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
    vertices = np.concatenate([corners[quad] for quad in quads])
    uvs = np.tile([[0, 0], [1, 0], [1, 1], [0, 1]], (6, 1))
    faces = np.concatenate([[[4 * i, 4 * i + 1, 4 * i + 2], [4 * i, 4 * i + 2, 4 * i + 3]] for i in range(6)])
    checker = np.kron(np.indices((4, 4)).sum(axis=0) % 2, np.ones((8, 8))).astype(bool)
    pixels = np.where(checker[..., None], [220, 60, 40, 255], [40, 90, 200, 255]).astype(np.uint8)
    return Mesh(
        vertices=vertices.astype(np.float32),
        faces=faces.astype(np.int32),
        face_materials=np.zeros(12, dtype=np.int32),
        uvs=uvs.astype(np.float32),
        colors=np.ones((24, 4), dtype=np.float32),
        materials=(Material(texture=0),),
        textures=(Texture(pixels),),
    )


@pytest.fixture(scope="module")
def mesh():
    return normalize_mesh(textured_box())


@pytest.fixture(scope="module")
def views(mesh):
    return render_mesh(mesh, fibonacci_views(8, 48, 48), supersample=2)


def test_the_area_is_that_of_a_box(mesh):
    a, b, c = (2 * x / mesh.origin.scale for x in (1.0, 0.6, 0.8))
    assert surface_area(mesh) == pytest.approx(2 * (a * b + b * c + c * a), rel=1e-5)


def test_the_start_lies_on_the_surface_with_its_colours(mesh, views):
    start = surface_gaussians(mesh, views, 500, np.random.default_rng(0))
    assert len(start) == 500
    half = np.array([1.0, 0.6, 0.8]) / mesh.origin.scale
    outside = np.abs(np.abs(start.means) - half).min(axis=1)  # on a face, one coordinate is at its half
    assert outside.max() < 1e-5
    rgb = start.sh[:, 0] * 0.28209479177387814 + 0.5
    palette = np.array([[220, 60, 40], [40, 90, 200]]) / 255
    nearest = np.linalg.norm(rgb[:, None] - palette, axis=-1).min(axis=1)
    assert np.median(nearest) < 0.02
    assert start.scales.argmin(axis=1).tolist() == [2] * 500  # discs: thin along the normal


def test_detail_gets_more_gaussians(mesh):
    """The checker's edges, an eighth of a cell wide to each side, get more than their share of the area."""
    views = render_mesh(mesh, fibonacci_views(8, 160, 160), supersample=2)
    start = surface_gaussians(mesh, views, 2000, np.random.default_rng(0))
    half = np.array([1.0, 0.6, 0.8]) / mesh.origin.scale
    on_top = np.abs(np.abs(start.means[:, 1]) - half[1]) < 1e-5
    u = (start.means[on_top][:, [0, 2]] / half[[0, 2]] + 1) * 2  # in checker cells
    near_edge = (np.abs(u - np.round(u)) < 0.125).any(axis=1).mean()
    assert near_edge > 1.1 * (1 - 0.75**2)


def test_detail_is_the_laplacian_of_the_whole_picture_where_the_points_are():
    """Pictures are filtered as far as points are seen in them: in a corner, in the middle, at no place."""
    rng = np.random.default_rng(0)
    cameras = fibonacci_views(4, 40, 32)
    views = Views(rng.random((4, 32, 40, 4), dtype=np.float32), cameras)
    points = rng.uniform(-0.6, 0.6, (30, 3))
    visible = rng.random((4, 30)) < 0.4
    visible[1] = False
    visible[2], visible[3] = [np.linalg.norm(points - corner, axis=1) < 0.5 for corner in ((-0.6, 0.6, 0), (0, 0, 0))]
    squared = np.zeros(30)
    for picture, viewmat, K, seen in zip(views.images, cameras.viewmats, cameras.Ks, visible, strict=True):
        over_grey = composite(picture, 0.5)
        laplacian = sum(gaussian_laplace(over_grey[..., channel], 0.7) ** 2 for channel in range(3))
        local = points[seen] @ viewmat[:3, :3].T + viewmat[:3, 3]
        x, y, _ = (local @ K.T / local[:, 2:]).T
        squared[seen] += laplacian[y.astype(int).clip(0, 31), x.astype(int).clip(0, 39)]
    expected = (squared / np.maximum(visible.sum(axis=0), 1)) ** (0.67 / 2)
    np.testing.assert_allclose(picture_detail(points, visible, views), expected, rtol=1e-5)


def test_the_fit_improves_on_its_start_and_keeps_the_count(mesh, views):
    start = surface_gaussians(mesh, views, 400, np.random.default_rng(0))
    fitted = optimize(start, views, 60, np.random.default_rng(0))
    held_out = render_mesh(mesh, fibonacci_views(5, 48, 48, phase=0.5), supersample=2)
    assert len(fitted) == 400
    assert measure(fitted, held_out)[0] > measure(start, held_out)[0] + 2
    assert fitted.origin == start.origin
    logs = np.log(fitted.scales)
    assert logs.min() >= LOG_SCALE_RANGE[0] - 1e-5
    assert logs.max() <= LOG_SCALE_RANGE[1] + 1e-5
    assert np.allclose(np.linalg.norm(fitted.quats, axis=1), 1, atol=1e-5)


def test_no_iterations_give_the_start(mesh, views):
    start = surface_gaussians(mesh, views, 50, np.random.default_rng(0))
    same = optimize(start, views, 0, np.random.default_rng(0))
    for name in ("means", "scales", "opacities", "sh"):
        assert np.allclose(getattr(same, name), getattr(start, name), rtol=1e-5, atol=1e-6)


def test_the_same_seed_gives_the_same_bytes():
    options = FitOptions(count=200, iterations=8, views=4, resolution=32, held_out=2, seed=5)
    first, second = (fit_mesh(textured_box(), options) for _ in range(2))
    for name in ("means", "quats", "scales", "opacities", "sh"):
        assert getattr(first.gaussians, name).tobytes() == getattr(second.gaussians, name).tobytes()
    assert first.psnr == second.psnr


def test_progress_is_told_every_step():
    told = []
    options = FitOptions(count=20, iterations=3, views=2, resolution=16, held_out=1)
    fit_mesh(textured_box(), options, on_step=lambda step, loss: told.append((step, loss)))
    assert [step for step, _ in told] == [1, 2, 3]
    assert all(np.isfinite(loss) for _, loss in told)


def test_the_origin_leads_back_to_own_units():
    mesh = textured_box()
    moved = Mesh(**{**vars(mesh), "vertices": mesh.vertices * 7 + np.float32([100, 0, -3])})
    fit = fit_mesh(moved, FitOptions(count=100, iterations=0, views=4, resolution=32, held_out=1))
    origin = fit.gaussians.origin
    assert origin.normalized
    own = fit.gaussians.means * origin.scale + np.array(origin.center)
    assert own[:, 0].min() == pytest.approx(93, abs=0.5)
    assert own[:, 0].max() == pytest.approx(107, abs=0.5)


def test_an_invisible_mesh_is_refused():
    mesh = textured_box()
    clear = Material(factor=(1, 1, 1, 0.0), alpha_mode="BLEND")
    with pytest.raises(GatlasError, match="transparent"):
        fit_mesh(
            Mesh(**{**vars(mesh), "materials": (clear,), "textures": ()}),
            FitOptions(count=10, iterations=0, views=2, resolution=16),
        )


@pytest.mark.parametrize("wrong", [{"count": 0}, {"iterations": -1}, {"resolution": 8}, {"views": 0}])
def test_impossible_options_are_refused(wrong):
    with pytest.raises(GatlasError, match=next(iter(wrong))):
        FitOptions(**wrong)


def test_the_steps_at_half_size_have_the_blur_of_the_full_pictures(mesh, views, monkeypatch):
    from gatlas.fit import optimize as module

    blurs = []

    def rasterize(*arguments, eps2d, **options):
        blurs.append((arguments[1].width, eps2d))
        return real(*arguments, eps2d=eps2d, **options)

    real = module.rasterize
    monkeypatch.setattr(module, "rasterize", rasterize)
    start = surface_gaussians(mesh, views, 30, np.random.default_rng(0))
    optimize(start, views, 5, np.random.default_rng(1), coarse=(halve(views), 2))
    assert blurs == [(24, pytest.approx(0.3 / 4))] * 2 + [(48, None)] * 3


def test_the_squared_error_of_the_last_half_makes_the_pictures_of_a_mesh_better(mesh, views):
    start = surface_gaussians(mesh, views, 100, np.random.default_rng(0))
    held_out = render_mesh(mesh, fibonacci_views(8, 48, 48, phase=0.5), supersample=2)
    absolute, squared = (
        measure(optimize(start, views, 120, np.random.default_rng(1), late=LateError("squared", share)), held_out)[0]
        for share in (1.0, 0.5)
    )
    assert squared > absolute + 0.1


@pytest.mark.parametrize("stop_at", [0, 7, 13])
def test_a_resumed_optimisation_is_the_undisturbed_one(mesh, views, stop_at):
    start = surface_gaussians(mesh, views, 60, np.random.default_rng(0))
    coarse = (halve(views), 10)
    whole = optimize(start, views, 20, np.random.default_rng(1), coarse=coarse)
    asked = iter([False] * stop_at + [True])
    with pytest.raises(Interrupted) as interrupted:
        optimize(start, views, 20, np.random.default_rng(1), coarse=coarse, should_stop=lambda: next(asked))
    assert interrupted.value.snapshot.step == stop_at
    rest = optimize(start, views, 20, np.random.default_rng(9), coarse=coarse, resume=interrupted.value.snapshot)
    for name in ("means", "quats", "scales", "opacities", "sh"):
        assert np.array_equal(getattr(rest, name), getattr(whole, name))


@pytest.fixture(scope="module")
def interrupted(mesh, views):
    """The start of an optimization and its snapshot after three of six steps."""
    start = surface_gaussians(mesh, views, 30, np.random.default_rng(0))
    asked = iter([False] * 3 + [True])
    with pytest.raises(Interrupted) as error:
        optimize(start, views, 6, np.random.default_rng(1), should_stop=lambda: next(asked))
    return start, error.value.snapshot


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("step", lambda step: -5),
        ("step", lambda step: 10**9),
        ("rng", lambda rng: {}),
        ("rng", lambda rng: {**rng, "state": 3}),
        ("rng", lambda rng: {**rng, "has_uint32": 10**30}),
        ("order", lambda order: order + 0.5),
        ("order", lambda order: order[:5]),
        ("order", lambda order: order + 1_000_000),
        ("order", lambda order: order - 100),
        ("means", lambda means: means * np.float32(np.nan)),
        ("means", lambda means: means.astype(np.float64)),
        ("means", lambda means: means.astype(str)),
        ("means", lambda means: means[:5]),
        ("rgb.exp_avg_sq", lambda moment: moment + np.float32(np.inf)),
    ],
)
def test_a_snapshot_that_is_none_of_this_optimization_is_refused(interrupted, views, part, change):
    start, good = interrupted
    if part in good.arrays:
        wrong = good._replace(arrays={**good.arrays, part: change(good.arrays[part])})
    else:
        wrong = good._replace(**{part: change(getattr(good, part))})
    with pytest.raises(ValueError, match="snapshot"):
        optimize(start, views, 6, np.random.default_rng(1), resume=wrong)


def test_finetuning_makes_up_for_what_was_pruned(mesh, views):
    start = surface_gaussians(mesh, views, 400, np.random.default_rng(0))
    fitted = optimize(start, views, 60, np.random.default_rng(0))
    half = fitted[::2]
    tuned = finetune(half, fitted, 60, np.random.default_rng(0), views=8, resolution=48)
    before, after = (picture_quality(each, fitted, views=4, resolution=48)[0] for each in (half, tuned))
    assert len(tuned) == len(half)
    assert after > before + 1


def test_finetuning_keeps_own_units(mesh, views):
    start = surface_gaussians(mesh, views, 100, np.random.default_rng(0))
    own = denormalized(start)
    moved = scaled(own, (50.0, 0.0, 0.0), 10.0)
    same = finetune(moved, moved, 0, np.random.default_rng(0), views=2, resolution=32)
    assert np.allclose(same.means, moved.means, rtol=1e-5, atol=1e-4)
    assert np.allclose(same.scales, moved.scales, rtol=1e-4)
