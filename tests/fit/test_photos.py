"""The fit of posed photos: exact counts from every start, units that lead back, and real rings."""

import numpy as np
import pytest

from gatlas import io
from gatlas.errors import GatlasError
from gatlas.fit import FitOptions
from gatlas.fit.finetune import finetune
from gatlas.fit.mesh import measure
from gatlas.fit.photos import fit_photos, halved, held_out_indices
from gatlas.fit.quality import picture_quality
from gatlas.fit.relocate import wrong_spots
from gatlas.fit.scene_frame import SceneFrame, into_frame, views_into_frame
from gatlas.geometry.cameras import fibonacci_views
from gatlas.images.resize import resize_views
from gatlas.meshes.render import render_mesh
from gatlas.types import Cameras, Material, Mesh, MixedCameras, MixedViews, Views

OPTIONS = FitOptions(count=300, iterations=30, resolution=48)
SHIFT = np.array([10.0, 20.0, -5.0])
SCALE = 4.0


def box():
    """A closed box with a colour per corner, half sides 0.6, 0.4, 0.5."""
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) * [0.6, 0.4, 0.5]
    quads = [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
    faces = np.array([[q[i] for i in t] for q in quads for t in ((0, 1, 2), (0, 2, 3))])
    colors = np.concatenate([np.random.default_rng(0).uniform(0, 1, size=(8, 3)), np.ones((8, 1))], axis=1)
    return Mesh(
        vertices=corners.astype(np.float32),
        faces=faces.astype(np.int32),
        face_materials=np.zeros(12, dtype=np.int32),
        uvs=np.zeros((8, 2), dtype=np.float32),
        colors=colors.astype(np.float32),
        materials=(Material(),),
    )


@pytest.fixture(scope="module")
def views():
    """Photos of the box as a world of its own has it: shifted, and four times as large."""
    pictures = render_mesh(box(), fibonacci_views(12, 48, 48), supersample=2)
    inverse = SceneFrame(-SHIFT / SCALE, 1 / SCALE)
    return Views(pictures.images, into_frame(pictures.cameras, inverse))


@pytest.fixture(scope="module")
def opaque(views):
    rgba = views.images
    return Views(rgba[..., :3] * rgba[..., 3:] + 0.2 * (1 - rgba[..., 3:]), views.cameras)


@pytest.fixture(scope="module")
def points():
    rng = np.random.default_rng(1)
    xyz = rng.uniform(-1, 1, size=(150, 3))
    xyz[np.arange(150), rng.integers(3, size=150)] = rng.choice([-1, 1], size=150)
    return xyz * [0.6, 0.4, 0.5] * SCALE + SHIFT, np.full((150, 3), 0.5)


def own_units(gaussians):
    return gaussians.means * gaussians.origin.scale + np.array(gaussians.origin.center)


@pytest.mark.parametrize("init", ["auto", "points", "hull", "random"])
def test_every_start_ends_at_the_count_and_where_the_object_is(views, points, init):
    fit = fit_photos(views, OPTIONS, points=points if init == "points" else None, init=init)
    assert len(fit.gaussians) == 300
    assert fit.gaussians.origin.normalized
    visible = fit.gaussians.opacities >= np.median(fit.gaussians.opacities)
    np.testing.assert_allclose(np.median(own_units(fit.gaussians)[visible], axis=0), SHIFT, atol=1.0)
    assert fit.psnr > (12 if init == "random" else 17)
    assert len(fit.views) == 12 - len(held_out_indices(12))


@pytest.fixture(scope="module")
def mixed(views):
    """The same photos, every third one portrait and one landscape: cut at the sides that show nothing."""
    images, Ks, sizes = [], views.cameras.Ks.copy(), []
    for i, image in enumerate(views.images):
        rows, columns = ((4, 0), (0, 4), (0, 0))[i % 3]
        images.append(image[rows : 48 - rows, columns : 48 - columns])
        Ks[i, :2, 2] -= [columns, rows]
        sizes.append((48 - 2 * columns, 48 - 2 * rows))
    return MixedViews(tuple(images), MixedCameras(views.cameras.viewmats, Ks, tuple(sizes)))


@pytest.mark.parametrize("init", ["points", "hull"])
def test_portrait_and_landscape_photos_fit_together_as_well_as_photos_of_one_size(views, mixed, points, init):
    options = FitOptions(count=300, iterations=60, resolution=48)
    plain, several = (fit_photos(each, options, points=points, init=init) for each in (views, mixed))
    assert several.psnr > plain.psnr - 1.0
    assert len(several.gaussians) == 300
    kept = np.setdiff1d(np.arange(12), held_out_indices(12))
    assert several.views.cameras.sizes == tuple(mixed.cameras.sizes[i] for i in kept)
    for image, i in zip(several.views.images, kept, strict=True):
        np.testing.assert_array_equal(image, mixed.images[i])


def test_opaque_photos_of_several_sizes_get_a_background_and_are_halved_each(mixed):
    rgb = tuple(image[..., :3] * image[..., 3:] + 0.2 * (1 - image[..., 3:]) for image in mixed.images)
    opaque = MixedViews(rgb, mixed.cameras)
    fit = fit_photos(opaque, FitOptions(count=200, iterations=20, resolution=48))
    assert (np.linalg.norm(fit.gaussians.means, axis=1) > 2.0).sum() >= 10
    assert halved(opaque).cameras.sizes[:3] == ((24, 20), (20, 24), (24, 24))
    again = finetune(fit.gaussians, opaque, 2, np.random.default_rng(0))
    assert np.isfinite(picture_quality(again, opaque)).all()


def test_photos_of_one_size_give_the_same_bytes_whichever_type_holds_them(views):
    cameras = MixedCameras(views.cameras.viewmats, views.cameras.Ks, views.cameras.sizes)
    options = FitOptions(count=200, iterations=5, resolution=48)
    both = views, MixedViews(tuple(views.images), cameras)
    one, other = (fit_photos(each, options) for each in both)
    np.testing.assert_array_equal(one.gaussians.means, other.gaussians.means)
    assert one.psnr == other.psnr
    unit = views_into_frame(both[0], SceneFrame(SHIFT, SCALE)), views_into_frame(both[1], SceneFrame(SHIFT, SCALE))
    for spots in zip(*(wrong_spots(one.gaussians, each, 50, np.random.default_rng(0)) for each in unit), strict=True):
        np.testing.assert_array_equal(*spots)
        assert len(spots[0]) == 50


def test_more_steps_are_better(views):
    few, many = (fit_photos(views, FitOptions(count=300, iterations=n, resolution=48)) for n in (0, 60))
    assert many.psnr > few.psnr + 1
    assert many.ssim > few.ssim


@pytest.mark.parametrize("count", [40, 150, 1000])
def test_points_are_thinned_or_multiplied_to_the_count(views, points, count):
    fit = fit_photos(views, FitOptions(count=count, iterations=0, resolution=48), points=points)
    assert len(fit.gaussians) == count
    assert np.abs((own_units(fit.gaussians) - SHIFT) / SCALE).max() < 0.9


def test_points_outside_the_silhouettes_are_left_out(views, points):
    stray = (np.concatenate([points[0], SHIFT + [[3.5, 0, 0]] * 50]), np.concatenate([points[1], points[1][:50]]))
    fit = fit_photos(views, FitOptions(count=200, iterations=0, resolution=48), points=stray)
    assert np.abs((own_units(fit.gaussians) - SHIFT) / SCALE).max() < 0.8


def test_opaque_photos_get_a_background(opaque):
    fit = fit_photos(opaque, FitOptions(count=600, iterations=120, resolution=48))
    assert len(fit.gaussians) == 600
    distance = np.linalg.norm(fit.gaussians.means, axis=1)
    assert (distance > 2.0).sum() >= 30
    assert fit.psnr > fit_photos(opaque, FitOptions(count=600, iterations=0, resolution=48)).psnr + 2


def test_a_fit_goes_on_from_its_result(views):
    first = fit_photos(views, OPTIONS)
    for gaussians in (first.gaussians, first.gaussians[:200]):
        again = fit_photos(views, FitOptions(count=250, iterations=0, resolution=48), init=gaussians)
        assert len(again.gaussians) == 250
        assert again.gaussians.origin == first.gaussians.origin
    same = fit_photos(views, FitOptions(count=300, iterations=0, resolution=48), init=first.gaussians)
    assert same.psnr == pytest.approx(first.psnr, abs=0.05)


def test_a_splat_in_the_photos_own_units_is_refined(views):
    from dataclasses import replace

    from gatlas.types import Origin

    first = fit_photos(views, OPTIONS)
    scale = np.float32(first.gaussians.origin.scale)
    own = replace(
        first.gaussians,
        means=own_units(first.gaussians).astype(np.float32),
        scales=first.gaussians.scales * scale,
        origin=Origin("box"),
    )
    fit = fit_photos(views, FitOptions(count=300, iterations=0, resolution=48), init=own)
    assert fit.psnr == pytest.approx(first.psnr, abs=0.3)
    assert fit.gaussians.origin.name == "box"
    np.testing.assert_allclose(own_units(fit.gaussians), own.means, atol=1e-3)


def test_a_splat_of_the_unit_ball_is_refined_by_photos_of_that_ball(views):
    """The photos' world is the ball itself; the splat's origin still leads to the mesh's own units."""
    first = fit_photos(views, OPTIONS)
    origin = first.gaussians.origin
    ball = into_frame(views.cameras, SceneFrame(np.array(origin.center), origin.scale))
    fit = fit_photos(
        Views(views.images, ball), FitOptions(count=300, iterations=0, resolution=48), init=first.gaussians
    )
    assert fit.gaussians.origin == origin
    assert fit.psnr == pytest.approx(first.psnr, abs=0.05)


def test_the_same_seed_gives_the_same_bytes(views):
    options = FitOptions(count=100, iterations=110, resolution=32)
    first, second = (fit_photos(views, options, init="random") for _ in range(2))
    assert first.gaussians.means.tobytes() == second.gaussians.means.tobytes()


def test_photos_are_reduced_with_their_cameras(views):
    small = resize_views(views, 24)
    assert small.images.shape == (12, 24, 24, 4)
    np.testing.assert_allclose(small.cameras.Ks[:, :2], views.cameras.Ks[:, :2] / 2)
    assert resize_views(views, 100) is views
    assert fit_photos(views, FitOptions(count=20, iterations=0, resolution=24)).views.images.shape[1:3] == (24, 24)


@pytest.mark.parametrize(("count", "held"), [(2, [1]), (3, [2]), (4, [3]), (12, [3, 11]), (19, [3, 11])])
def test_every_eighth_photo_is_held_out(count, held):
    assert held_out_indices(count).tolist() == held


def test_what_the_photos_lack_is_named(views, opaque):
    with pytest.raises(GatlasError, match="no transparency, so there is no visual hull"):
        fit_photos(opaque, OPTIONS, init="hull")
    with pytest.raises(GatlasError, match="no points to begin with"):
        fit_photos(views, OPTIONS, init="points")
    with pytest.raises(GatlasError, match="at least 2"):
        fit_photos(views[:1], OPTIONS)
    with pytest.raises(ValueError, match="init must be"):
        fit_photos(views, OPTIONS, init="guess")


def test_silhouettes_without_a_hull_are_a_warning_and_a_random_start(views):
    images = views.images.copy()
    images[::2, ..., 3] = 0
    with pytest.warns(UserWarning, match=r"the visual hull is empty: .* the fit begins at random places"):
        fit = fit_photos(Views(images, views.cameras), FitOptions(count=50, iterations=0, resolution=48))
    assert len(fit.gaussians) == 50


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.parametrize(
    ("ring", "mask", "least"), [("templeRing", 0.27, 22.5), ("dinoSparseRing", 0.16, 20.0), ("templeRing", None, 24.0)]
)
def test_real_rings_are_fitted(shared_data, tmp_path, monkeypatch, ring, mask, least):
    """Held-out PSNR of real photos at 320 pixels, cut out by their black background or as they are."""
    from tests.helpers import convert_middlebury

    arguments = [str(shared_data / "photos" / ring), str(tmp_path / "views")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("warnings.warn", lambda *_, **__: None)  # templeRing lies there without some of its photos
        convert_middlebury.main(arguments + ([] if mask is None else ["--mask", str(mask)]))
    views = io.load_views(tmp_path / "views", side=320)
    fit = fit_photos(views, FitOptions(count=16_384, iterations=600, resolution=320))
    assert len(fit.gaussians) == 16_384
    assert fit.psnr > least
    assert measure(fit.gaussians, fit.views)[0] > fit.psnr


@pytest.mark.shared
@pytest.mark.slow
def test_a_published_blender_scene_is_fitted(shared_data):
    folder = next((shared_data / "photos" / "nerfstudio_lego_test").rglob("transforms_train.json")).parent
    train, val = io.load_views(folder), io.load_views(folder / "transforms_val.json")
    cameras = Cameras(
        np.concatenate([train.cameras.viewmats, val.cameras.viewmats]),
        np.concatenate([train.cameras.Ks, val.cameras.Ks]),
        train.cameras.width,
        train.cameras.height,
    )
    views = Views(np.concatenate([train.images, val.images]), cameras)
    fit = fit_photos(views, FitOptions(count=2000, iterations=300, resolution=50))
    assert len(fit.gaussians) == 2000
    assert measure(fit.gaussians, fit.views)[0] > 24  # the one picture that it was trained on


def test_the_photos_to_hold_out_can_be_named():
    from gatlas.fit.photos import fit_photos
    from tests.helpers.view_sets import textured_views

    views = textured_views(8, 32)
    options = FitOptions(count=50, iterations=2, resolution=32, exposure="off", device="cpu")
    found = fit_photos(views, options, init="random", held_out=np.array([0, 5]))
    np.testing.assert_array_equal(found.views.images[..., :3], views.images[[1, 2, 3, 4, 6, 7], ..., :3])
