"""The unit of length has no effect: what is scaled looks the same, is chosen alike and is found at the same place.

Scaled by a power of two every float32 stays what it was but for its exponent, so that results are equal bit for bit.
"""

from dataclasses import replace

import numpy as np
import pytest

from gatlas import io
from gatlas.atlas import EncodeOptions, decode, encode
from gatlas.datasets.view_policy import VideoNeighbors
from gatlas.fit import FitOptions, fit
from gatlas.fit.hull import inside_silhouettes
from gatlas.fit.scene_frame import frame_of_cameras, frame_of_points
from gatlas.geometry.cameras import around, camera_centers, fibonacci_views, orbit
from gatlas.geometry.frames import scaled_views
from gatlas.images.composite import composite
from gatlas.io.photos.scenes import PhotoFolder
from gatlas.pose import bundle
from gatlas.pose.bank import make_feature_bank
from gatlas.pose.compare import Camera
from gatlas.pose.levenberg import PyramidLevel
from gatlas.pose.locate import locate
from gatlas.pose.refine_published import refine_published
from gatlas.pose.refinement import RefineOptions, refine
from gatlas.prune import rank
from gatlas.raster import rasterize, visibility
from gatlas.render import RenderOptions, render
from gatlas.types import Cameras, Origin, Views
from tests.helpers.blobs import SIDE, K, camera_at, errors, lump, perturbed, photo_of
from tests.helpers.box_meshes import FACES
from tests.helpers.colmap_files import rows_of, write_binary, write_text
from tests.helpers.scene_files import box_views

pytestmark = pytest.mark.usefixtures("one_thread")

EXACT = (2.0**-20, 2.0**20)
FAR = (1e-6, 1e-3, 1e3, 1e6)
NOWHERE = (0.0, 0.0, 0.0)
QUICK = RefineOptions(levels=(PyramidLevel(48, 6, blur=1.5),), steps=3)


def times(gaussians, factor):
    factor = np.float32(factor)
    return replace(gaussians, means=gaussians.means * factor, scales=gaussians.scales * factor)


def moved(cameras, factor):
    """The cameras in another unit, in the type that they had."""
    viewmats = scaled_views(cameras.viewmats, NOWHERE, factor)
    return replace(cameras, viewmats=viewmats.astype(cameras.viewmats.dtype))


@pytest.fixture(scope="module")
def splat():
    return lump(300, degree=1)


@pytest.fixture(scope="module")
def inside():
    """Cameras about the splat and one in its midst, where a near plane has an effect."""
    ring = orbit(2, 40, 32)
    return replace(
        ring, viewmats=np.concatenate([ring.viewmats, np.eye(4, dtype=np.float32)[None]]), Ks=ring.Ks[[0, 1, 1]]
    )


@pytest.mark.parametrize("factor", EXACT)
@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_a_splat_is_rendered_alike(splat, inside, factor, backend):
    splat = splat if backend == "cpu" else splat[:60]
    here = rasterize(splat, inside, backend=backend)
    there = rasterize(times(splat, factor), moved(inside, factor), backend=backend)
    assert here.alphas.any(axis=(1, 2, 3)).all()
    if backend == "cpu":
        np.testing.assert_array_equal(there.colors, here.colors)
        np.testing.assert_array_equal(there.depths, here.depths * np.float32(factor))
        np.testing.assert_array_equal(
            visibility(times(splat, factor), moved(inside, factor)), visibility(splat, inside)
        )
    else:
        np.testing.assert_allclose(there.colors, here.colors, atol=1e-5)
        np.testing.assert_allclose(there.depths, here.depths * factor, rtol=1e-4)


def test_a_gaussian_before_the_camera_is_left_out_by_its_share_of_the_scene(splat):
    camera = Cameras(np.eye(4)[None], K[None], SIDE, SIDE)
    z = np.float32(0.001)
    near = replace(splat[:1], means=np.array([[0, 0, z]], np.float32), scales=np.full((1, 3), z, np.float32) / 100)
    fields = ("means", "quats", "scales", "opacities", "sh")
    both = replace(splat, **{name: np.concatenate([getattr(splat, name), getattr(near, name)]) for name in fields})
    for factor in (1.0, *EXACT):
        assert visibility(times(both, factor), camera)[0, -1] == 0  # 0.001 of a scene of radius 0.6
        assert visibility(times(near, factor), camera)[0, -1] > 0  # the same alone is the scene


@pytest.mark.parametrize("factor", FAR)
def test_a_splat_file_gives_the_same_picture_and_the_same_choice(splat, factor, tmp_path):
    paths = [tmp_path / "here.ply", tmp_path / "there.ply"]
    for path, each in zip(paths, (splat, times(splat, factor)), strict=True):
        io.save_gaussians(path, each)
    here, there = (io.load_gaussians(path) for path in paths)
    options = RenderOptions(width=48, orbit=2)
    np.testing.assert_allclose(render(there, options).images, render(here, options).images, atol=2e-3)
    assert render(there, options).images.min() < 0.5
    orders = [rank(each, "visibility-max", np.random.default_rng(0), views=4, resolution=32) for each in (here, there)]
    np.testing.assert_allclose(orders[1], orders[0], atol=2e-3)
    assert orders[0].max() > 0.1
    ring = orbit(3, 8, 8)
    centers = [camera_centers(around(each, ring).viewmats) for each in (here, there)]
    np.testing.assert_allclose(centers[1], factor * centers[0], atol=1e-5 * factor)


@pytest.mark.parametrize("factor", FAR)
def test_a_splat_that_was_scaled_with_its_header_is_no_longer_in_the_unit_ball(splat, factor, tmp_path):
    unit = replace(splat, origin=Origin("lump", (1.0, 2.0, 3.0), 4.0, normalized=True))
    io.save_gaussians(tmp_path / "unit.ply", unit)
    io.save_gaussians(tmp_path / "scaled.ply", times(unit, factor))
    options = RenderOptions(width=32)
    scaled = io.load_gaussians(tmp_path / "scaled.ply")
    pictures = [render(each, options).images for each in (scaled, times(splat, factor))]
    np.testing.assert_allclose(pictures[0], pictures[1], atol=2e-3)
    assert pictures[0].min() < 0.5
    encoded = encode(scaled, EncodeOptions(size=16))
    np.testing.assert_allclose(np.linalg.norm(decode(encoded).means, axis=1).max(), factor * 0.9, rtol=0.3)


def test_gaussians_at_one_place_fill_the_same_part_of_the_picture(splat):
    one = replace(splat[:1], scales=np.full((1, 3), 0.3, np.float32))
    pictures = [render(times(one, factor), RenderOptions(width=32)).images for factor in (1.0, *EXACT)]
    assert pictures[0].min() < 0.9
    for picture in pictures[1:]:
        np.testing.assert_array_equal(picture, pictures[0])


def box_obj(factor):
    corners = [[x, y, z] for x in (0, 1) for y in (0, 2) for z in (0, 1.5)]
    colors = np.random.default_rng(0).random((8, 3)).round(2)
    lines = [
        " ".join(["v", *(repr(factor * v) for v in p), *(str(v) for v in c)])
        for p, c in zip(corners, colors, strict=True)
    ]
    return io.Blob("box.obj", "\n".join([*lines, *(f"f {face}" for face in FACES)]).encode())


@pytest.mark.parametrize("factor", EXACT)
def test_a_mesh_is_drawn_and_fitted_alike(factor):
    here, there = (io.load_mesh(box_obj(each)) for each in (1.0, factor))
    options = RenderOptions(width=40, supersample=1)
    np.testing.assert_array_equal(render(there, options).images, render(here, options).images)
    short = FitOptions(count=80, iterations=3, views=4, resolution=32, supersample=1, held_out=2)
    before, after = (fit(each, short).gaussians for each in (here, there))
    np.testing.assert_array_equal(after.means, before.means)
    np.testing.assert_array_equal(after.scales, before.scales)
    assert after.origin.scale == factor * before.origin.scale
    np.testing.assert_array_equal(after.origin.center, np.array(before.origin.center) * factor)


@pytest.fixture(scope="module")
def photos(splat):
    cameras = fibonacci_views(10, 40, 40)
    own = scaled_views(cameras.viewmats, (2.0, -1.0, 3.0), 1.5).astype(np.float32)
    images = [
        photo_of(splat, viewmat, matrix, 40) for viewmat, matrix in zip(cameras.viewmats, cameras.Ks, strict=True)
    ]
    rng = np.random.default_rng(0)
    points = (splat.means[:150] * 1.5 + [2.0, -1.0, 3.0]).astype(np.float32)
    return Views(np.stack(images), replace(cameras, viewmats=own)), points, rng.integers(0, 255, (150, 3))


def write_photos(folder, photos, factor, how):
    views, xyz, rgb = photos
    cameras = moved(views.cameras, factor)
    io.save_views(folder, replace(views, cameras=cameras))
    if how.startswith("colmap"):
        (folder / "transforms.json").unlink()
        names = [f"{i:03d}.png" for i in range(len(views))]
        write = write_text if how == "colmap text" else write_binary
        write(folder / "sparse" / "0", rows_of(cameras, names), xyz * np.float32(factor), rgb)
    return folder


@pytest.mark.parametrize(
    ("how", "init"),
    [("transforms", "hull"), ("transforms", "random"), ("colmap text", "points"), ("colmap binary", None)],
)
def test_photos_are_fitted_alike(photos, how, init, tmp_path):
    options = FitOptions(count=60, iterations=3, resolution=40, init=init)
    fits = []
    for factor in (1.0, *EXACT):
        folder = write_photos(tmp_path / f"{factor}", photos, factor, how)
        fits.append(fit(io.load_views(folder), options, points=io.load_points(folder)))
    assert fits[0].psnr > 8
    for other, factor in zip(fits[1:], EXACT, strict=True):
        assert other.psnr == fits[0].psnr
        np.testing.assert_array_equal(other.gaussians.means, fits[0].gaussians.means)
        np.testing.assert_array_equal(other.gaussians.scales, fits[0].gaussians.scales)
        assert other.gaussians.origin.scale == factor * fits[0].gaussians.origin.scale


def test_photos_from_one_place_have_any_size_and_their_points_decide(photos):
    views, points, _ = photos
    here = views.cameras
    still = replace(here, viewmats=np.array(here.viewmats))
    still.viewmats[:, :3, 3] = -(still.viewmats[:, :3, :3] @ np.array([2.0, -1.0, 3.0], np.float32))
    for factor in EXACT:
        frames = [frame_of_cameras(moved(still, each)) for each in (1.0, factor)]
        assert frames[1].radius == pytest.approx(factor * frames[0].radius)
        frames = [frame_of_points(moved(still, each), points * np.float32(each)) for each in (1.0, factor)]
        assert frames[1].radius == pytest.approx(factor * frames[0].radius)
        assert frames[0].radius == pytest.approx(1.2, abs=0.4)


def test_points_are_inside_the_same_silhouettes(photos):
    views, points, _ = photos
    here = inside_silhouettes(points, views, 0.2)
    assert here.mean() > 0.8
    for factor in EXACT:
        there = inside_silhouettes(
            points * np.float32(factor), replace(views, cameras=moved(views.cameras, factor)), 0.2
        )
        np.testing.assert_array_equal(there, here)


def test_a_camera_is_refined_alike():
    scene, truth = lump(), camera_at(40.0)
    photo = composite(photo_of(scene, truth), 0.0).astype(np.float32)
    start = perturbed(truth, 1.5, 1.0, np.random.default_rng(0))
    for method in (
        lambda splat, viewmat: refine(splat, photo, viewmat, K, options=QUICK),
        lambda splat, viewmat: refine_published(splat, photo, viewmat, K, steps=40),
    ):
        first = method(scene, start)
        assert first.failure == ""
        for factor in EXACT:
            second = method(times(scene, factor), scaled_views(start, NOWHERE, factor))
            assert second.loss_after == pytest.approx(first.loss_after, rel=1e-3)
            assert max(errors(scaled_views(second.viewmat, NOWHERE, 1 / factor), first.viewmat)) < 0.02


@pytest.mark.slow
def test_a_camera_is_searched_alike():
    scene, truth = lump(2000), camera_at(40.0)
    photo = photo_of(scene, truth, K * [[2], [2], [1]], 2 * SIDE)
    found = []
    for factor in (1.0, *EXACT):
        bank = make_feature_bank(times(scene, factor), K * [[2], [2], [1]], 2 * SIDE, 2 * SIDE, views=16, side=2 * SIDE)
        found.append(locate(bank, photo, K * [[2], [2], [1]]))
    for other, factor in zip(found[1:], EXACT, strict=True):
        assert other.inliers == found[0].inliers
        assert max(errors(scaled_views(other.viewmat, NOWHERE, 1 / factor), found[0].viewmat)) < 0.01


@pytest.mark.parametrize("factor", EXACT)
def test_a_similarity_of_cameras_is_found_alike(factor):
    cameras = [Camera(camera_at(angle), K) for angle in (0.0, 80.0, 200.0)]
    for first, second in ((1.0, factor), (factor, 1.0), (factor, factor)):
        given = [camera._replace(viewmat=scaled_views(camera.viewmat, NOWHERE, first)) for camera in cameras]
        found = [refined(scaled_views(camera.viewmat, NOWHERE, second)) for camera in cameras]
        assert bundle.fit_similarity(given, found).scale == pytest.approx(second / first, rel=1e-6)


def refined(viewmat):
    """A refined camera of which only the pose counts."""
    from gatlas.pose.compare import IDENTITY_EXPOSURE
    from gatlas.pose.refinement import RefinedPose

    return RefinedPose(viewmat, K, 0.0, 0.0, 1.0, IDENTITY_EXPOSURE, 1)


def test_a_scene_teaches_in_any_unit(tmp_path):
    views = box_views(3, 8, 32)
    policy = VideoNeighbors(targets=2, gap=(3, 5), gap_start=3)
    drawn = []
    for factor in (1.0, *EXACT):
        io.save_views(tmp_path / f"{factor}", replace(views, cameras=moved(views.cameras, factor)))
        scene = PhotoFolder(tmp_path / f"{factor}")
        assert policy.fault(scene) is None
        chosen = policy.choose(scene, np.random.default_rng(1), None)
        drawn.append((chosen, policy.in_frame(scene.viewmats[[*chosen.context, *chosen.targets]])))
    for chosen, viewmats in drawn[1:]:
        assert chosen == drawn[0][0]
        np.testing.assert_allclose(viewmats, drawn[0][1], atol=1e-6)


@pytest.mark.shared
def test_the_tiny_cube_is_seen_and_ranked_as_the_larger_one(shared_data):
    folder = shared_data / "cases" / "tiny_splat_blank"
    tiny, small = (io.load_gaussians(folder / f"sc_{scale}.ply") for scale in ("0.001", "0.01"))
    pictures = [render(each, RenderOptions(width=96)).images for each in (tiny, small)]
    assert (pictures[0].min(axis=-1) < 0.99).mean() > 0.3
    np.testing.assert_allclose(pictures[0], pictures[1], atol=1e-3)
    scores = [rank(each, "sampled", np.random.default_rng(0), views=8, resolution=64) for each in (tiny, small)]
    assert set(np.argsort(scores[0])[-100:]) == set(np.argsort(scores[1])[-100:])
