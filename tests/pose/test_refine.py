"""Refining one camera: renders of the same Gaussians, whose cameras are known, and the slow twins of the gradients."""

from dataclasses import replace

import numpy as np
import pytest

from gatlas.geometry.cameras import pixel_widths
from gatlas.geometry.rotations import se3_exp
from gatlas.images.composite import composite
from gatlas.pose import compare, levenberg
from gatlas.pose.compare import Camera
from gatlas.pose.descend import comparison_loss, loss_gradient, picture_loss
from gatlas.pose.levenberg import PyramidLevel
from gatlas.pose.motion import Pivot, find_pivot, move_camera
from gatlas.pose.refinement import MATCHED_START, RefineOptions, evaluate_camera, refine
from gatlas.raster import rasterize, straight_rgba
from gatlas.types import Cameras
from tests.helpers.blobs import SIDE, Counted, K, camera_at, errors, lump, perturbed, photo_of

pytestmark = pytest.mark.usefixtures("one_thread")

QUICK = RefineOptions(levels=(PyramidLevel(48, 10, blur=1.5), PyramidLevel(SIDE, 5)), steps=4)


def stripes(side=SIDE):
    """Clutter: no color of a border, no place where the object could be."""
    y, x = np.mgrid[:side, :side]
    return np.stack([0.5 + 0.5 * np.sin(x / 3 + y / 7), 0.5 + 0.5 * np.sin(y / 4), 0.5 + 0.4 * np.cos(x / 5)], axis=-1)


@pytest.fixture(scope="module")
def gaussians():
    return lump()


@pytest.mark.parametrize("known", ["alpha", "mask", "white", "black", "nothing"])
def test_a_camera_ten_degrees_off_is_found_whatever_stands_behind_the_object(gaussians, known):
    truth = camera_at(40.0)
    rgba = photo_of(gaussians, truth)
    behind = {"white": 1.0, "black": 0.0}.get(known, stripes())
    photo = rgba if known == "alpha" else composite(rgba, behind).astype(np.float32)
    degrees = 3.0 if known == "nothing" else 10.0  # without a silhouette the basin is smaller
    start = perturbed(truth, degrees, degrees, np.random.default_rng(1))
    mask = rgba[..., 3] if known == "mask" else None
    found = refine(gaussians, photo, start, K, mask=mask, options=QUICK)
    assert found.failure == ""
    turn, shift = errors(found.viewmat, truth)
    limit = 1.0 if known == "mask" else 0.15  # the clutter shows through a soft rim: no mask undoes that
    assert turn < limit
    assert shift < 3 * limit
    assert found.loss_after < 0.1 * found.loss_before


def test_finite_differences_lead_to_the_same_camera(gaussians):
    truth = camera_at(120.0)
    photo, start = photo_of(gaussians, truth), perturbed(truth, 3.0, 2.0, np.random.default_rng(2))
    levels = tuple(level._replace(jacobian="finite") for level in QUICK.levels)
    found = refine(gaussians, photo, start, K, options=replace(QUICK, levels=levels, steps=0))
    assert max(errors(found.viewmat, truth)) < 0.05


@pytest.mark.parametrize("factor", [0.9, 1.0, 1.1])
def test_a_wrong_focal_length_shows_in_the_zoom_that_one_step_would_take(gaussians, factor):
    truth, wrong = camera_at(40.0), K.copy()
    wrong[[0, 1], [0, 1]] *= factor
    found = refine(gaussians, photo_of(gaussians, truth), truth, wrong, options=QUICK)
    assert found.failure == ""
    assert found.zoom == pytest.approx(1 / factor, abs=0.04)
    asked = refine(gaussians, photo_of(gaussians, truth), truth, wrong, options=replace(QUICK, focal=True))
    assert np.isnan(asked.zoom)


def test_a_photo_without_colors_is_refined(gaussians):
    truth = camera_at(70.0)
    photo = photo_of(gaussians, truth)
    photo[..., :3] = photo[..., :3] @ np.float32([[0.299] * 3, [0.587] * 3, [0.114] * 3])
    found = refine(gaussians, photo, perturbed(truth, 2.0, 2.0, np.random.default_rng(3)), K, options=QUICK)
    assert found.failure == ""
    assert found.agreement > 0.99
    assert max(errors(found.viewmat, truth)) < 0.15


def test_another_exposure_is_found_with_the_camera(gaussians):
    truth = camera_at(200.0)
    rgba = photo_of(gaussians, truth)
    rgba[..., :3] = rgba[..., :3] * [0.6, 0.7, 0.8] + [0.05, 0.0, 0.1]
    start = perturbed(truth, 2.0, 2.0, np.random.default_rng(3))
    found = refine(gaussians, rgba, start, K, options=QUICK)
    assert max(errors(found.viewmat, truth)) < 0.2
    np.testing.assert_allclose(found.exposure.gain, [0.6, 0.7, 0.8], atol=0.02)
    np.testing.assert_allclose(found.exposure.offset, [0.05, 0.0, 0.1], atol=0.01)


def test_the_focal_length_is_found_on_request(gaussians):
    truth = camera_at(300.0)
    start, wrong = perturbed(truth, 1.0, 1.0, np.random.default_rng(4)), K * [[1.05], [1.05], [1.0]]
    wrong[:2, 2] = K[:2, 2]
    photo = photo_of(gaussians, truth)
    levels = (*QUICK.levels, PyramidLevel(SIDE, 15, blur=0.7))
    found = refine(gaussians, photo, start, wrong, options=replace(QUICK, focal=True, levels=levels, steps=0))
    assert found.K[0, 0] == pytest.approx(K[0, 0], rel=0.01)
    assert found.K[1, 1] == pytest.approx(found.K[0, 0])
    assert refine(gaussians, photo, start, wrong, options=QUICK).K[0, 0] == wrong[0, 0]


def test_view_dependent_colors_and_wide_photos_are_refined():
    gaussians, truth = lump(degree=2), camera_at(75.0)
    wide = np.pad(photo_of(gaussians, truth), [(0, 0), (16, 32), (0, 0)])
    shifted = K + np.array([[0, 0, 16], [0, 0, 0], [0, 0, 0]])
    found = refine(gaussians, wide, perturbed(truth, 3.0, 3.0, np.random.default_rng(5)), shifted, options=QUICK)
    assert max(errors(found.viewmat, truth)) < 0.2


def test_a_camera_that_is_right_stays(gaussians):
    truth = camera_at(10.0)
    found = refine(gaussians, photo_of(gaussians, truth), truth, K, options=QUICK)
    assert max(errors(found.viewmat, truth)) < 0.02
    assert found.loss_after <= found.loss_before


def test_a_refinement_that_does_no_better_falls_back_to_the_given_camera_not_to_its_start(gaussians):
    truth, options = camera_at(10.0), replace(QUICK, levels=(), steps=0)
    photo, moved = photo_of(gaussians, truth), perturbed(truth, 0.5, 0.0, np.random.default_rng(3))
    given = evaluate_camera(gaussians, compare.make_target(photo, side=options.side), Camera(truth, K), options)
    found = refine(gaussians, photo, moved, K, options=options, given=given)
    np.testing.assert_array_equal(found.viewmat, truth)
    assert found.loss_before == found.loss_after == given.loss
    far = refine(
        gaussians, photo, perturbed(truth, 2.0, 0.0, np.random.default_rng(3)), K, options=options, given=given
    )
    assert f"it diverged: the loss rose from {given.loss:.4g}" in far.failure


@pytest.mark.parametrize("side", [SIDE // 2, SIDE // 4])
def test_a_smaller_picture_shows_the_gaussians_as_the_full_one_reduced(gaussians, side):
    photo, camera = photo_of(gaussians, camera_at(10.0)), Camera(camera_at(10.0), K)
    full = compare.render_at(gaussians, camera, compare.make_target(photo, side=SIDE))
    small = compare.render_at(gaussians, camera, compare.make_target(photo, side=side, full=SIDE))
    block = SIDE // side
    means = [each.reshape(side, block, side, block, -1).mean(axis=(1, 3)) for each in full[:2]]
    tolerance = 1e-5 if block == 2 else 0.1
    np.testing.assert_allclose(small.alphas, means[1], atol=tolerance)
    np.testing.assert_allclose(small.colors, means[0], atol=tolerance)
    assert small.alphas.sum() == pytest.approx(means[1].sum(), rel=0.005)
    shown = means[1] > 0.9
    depths = (full.depths * full.alphas).reshape(side, block, side, block, 1).mean(axis=(1, 3)) / means[1].clip(1e-6)
    np.testing.assert_allclose(small.depths[shown], depths[shown], rtol=0.01)
    whole = compare.render_at(gaussians, camera, compare.make_target(photo, side=side))
    assert whole.alphas.sum() > 1.005 * means[1].sum()


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda photo, viewmat: (np.full_like(photo, np.nan), viewmat), "NaN"),
        (lambda photo, viewmat: (photo, np.full_like(viewmat, np.inf)), "NaN or infinite"),
        (lambda photo, viewmat: (photo, np.diag([-1.0, 1, -1, 1]) @ viewmat), "none of the Gaussians"),
        (lambda photo, viewmat: (photo, viewmat + 500 * np.outer([0, 0, 1, 0], [0, 0, 0, 1])), "too little"),
    ],
    ids=["photo", "camera", "behind", "far away"],
)
def test_what_cannot_be_refined_is_a_failure_without_a_camera(gaussians, spoil, reason):
    truth = camera_at(0.0)
    photo, start = spoil(photo_of(gaussians, truth), truth)
    found = refine(gaussians, photo, start, K, options=QUICK)
    assert reason in found.failure
    assert np.isnan(found.viewmat).all()
    assert np.isnan(found.loss_after)


def test_a_camera_that_turns_too_far_is_a_failure(gaussians):
    truth = camera_at(0.0)
    start = perturbed(truth, 8.0, 0.0, np.random.default_rng(6))
    found = refine(gaussians, photo_of(gaussians, truth), start, K, options=replace(QUICK, reach=4.0))
    assert "rotated by 8 degrees" in found.failure
    assert np.isnan(found.viewmat).all()


def test_a_photo_of_something_else_is_a_failure(gaussians):
    found = refine(gaussians, stripes().astype(np.float32), camera_at(0.0), K, options=QUICK)
    assert found.failure
    assert np.isnan(found.viewmat).all()


def test_the_agreement_is_the_share_of_the_photo_that_is_explained(gaussians):
    truth = camera_at(0.0)
    rgba = photo_of(gaussians, truth)
    found = refine(gaussians, rgba, truth, K, options=QUICK)
    assert found.agreement == pytest.approx(1.0, abs=0.01)
    other = rgba.copy()
    other[..., :3] = rgba[::-1, :, :3]
    found = refine(gaussians, other, truth, K, options=QUICK)
    assert "of the photo there, less than 75%" in found.failure or "diverged" in found.failure


@pytest.mark.parametrize("start", ["near", "far", "elsewhere"])
@pytest.mark.parametrize(
    "options",
    [replace(MATCHED_START, steps=2), QUICK, replace(QUICK, focal=True), replace(QUICK, steps=0, exposure=False)],
    ids=["near", "levels", "focal", "no descent"],
)
def test_no_picture_is_rendered_twice_for_one_photo(gaussians, monkeypatch, options, start):
    rendered = Counted(monkeypatch)
    truth = camera_at(40.0)
    photo = photo_of(gaussians, truth)
    degrees = {"near": 1.0, "far": 8.0, "elsewhere": 60.0}[start]  # the last fails, and all levels are tried again
    found = refine(gaussians, photo, perturbed(truth, degrees, 1.0, np.random.default_rng(1)), K, options=options)
    assert bool(found.failure) == (start == "elsewhere")
    assert len(rendered.pictures) >= 3 - (options.steps == 0)
    assert rendered.again() == 0


def test_nothing_is_rendered_for_a_picture_that_is_known(gaussians, monkeypatch):
    photo, camera = photo_of(gaussians, camera_at(0.0)), Camera(camera_at(0.0), K)
    full, half = compare.make_target(photo, side=SIDE), compare.make_target(photo, side=SIDE // 2, full=SIDE)
    rendered = Counted(monkeypatch)
    comparison = compare.render_comparison(gaussians, camera, full)
    assert compare.render_comparison(gaussians, camera._replace(K=K.copy()), full, [comparison]) is comparison
    smaller = compare.render_comparison(gaussians, camera, half, [comparison])
    assert len(rendered.pictures) == 1
    for one, other in zip(smaller.render, compare.render_at(gaussians, camera, half), strict=True):
        np.testing.assert_array_equal(one, other)
    compare.render_comparison(gaussians, camera._replace(eps2d=0.5), full, [comparison])
    compare.render_comparison(gaussians, camera, compare.make_target(photo, side=SIDE // 4, full=SIDE), [comparison])
    assert len(rendered.pictures) == 4  # with that of `render_at`


@pytest.mark.usefixtures("no_shape_checks")
def test_wrong_shapes_are_a_callers_mistake(gaussians):
    photo = photo_of(gaussians, camera_at(0.0))
    with pytest.raises(ValueError, match=r"viewmat and K must have shapes"):
        refine(gaussians, photo, np.eye(3), K)
    with pytest.raises(ValueError, match=r"photo must have shape"):
        refine(gaussians, photo[..., 0], np.eye(4), K)
    with pytest.raises(ValueError, match=r"mask must have the photo's shape"):
        refine(gaussians, photo, camera_at(0.0), K, mask=np.ones((3, 3)))


@pytest.fixture(scope="module")
def scene(gaussians):
    """A camera that is somewhat off, its target without a mask, and what it sees."""
    truth = camera_at(30.0)
    camera = Camera(perturbed(truth, 2.0, 1.0, np.random.default_rng(7)), K)
    target = compare.make_target(composite(photo_of(gaussians, truth), 1.0), side=SIDE)
    pivot = find_pivot(gaussians, camera.viewmat, K, SIDE, SIDE)
    return camera, target, pivot, compare.render_at(gaussians, camera, target)


def reference_pictures(gaussians, target, camera, pivot, step):
    """Central differences of the predicted picture by the reference rasterizer."""
    from gatlas.raster import rasterize
    from gatlas.types import Cameras

    pictures = []
    for sign in (1, -1):
        moved = camera.moved(pivot, sign * step)
        images = rasterize(gaussians, Cameras(moved.viewmat[None], moved.K[None], SIDE, SIDE), backend="reference")
        seen = compare.SingleRender(*(image[0] for image in images))
        pictures.append(compare.blur(compare.predict_photo(target, seen, compare.IDENTITY_EXPOSURE), 1.0))
    return (pictures[0] - pictures[1]) / (2 * np.abs(step).sum())


@pytest.mark.parametrize("variable", range(7))
def test_both_jacobians_agree_with_differences_of_the_reference(gaussians, scene, variable):
    camera, target, pivot, seen = scene
    slow = reference_pictures(gaussians, target, camera, pivot, 0.002 * np.eye(7)[variable])
    image = compare.blur(compare.predict_photo(target, seen, compare.IDENTITY_EXPOSURE), 1.0)
    level = PyramidLevel(SIDE, 1)
    finite = levenberg.finite_jacobian(gaussians, target, camera, pivot, level, True, compare.IDENTITY_EXPOSURE, image)[
        variable
    ]
    gradient = levenberg.picture_gradient(image)
    by_flow = -np.einsum("ahw,ahwc->hwc", levenberg.pixel_flow(target, camera, pivot, True, seen)[variable], gradient)
    assert cosine(finite, slow) > 0.99
    assert cosine(by_flow, slow) > 0.93  # a picture that flows is an approximation: overlaps and outlines do not
    assert np.linalg.norm(by_flow) == pytest.approx(np.linalg.norm(slow), rel=0.2)


def test_the_gradient_to_the_camera_agrees_with_the_references_own(gaussians, scene):
    torch = pytest.importorskip("torch")
    from gatlas.raster import rasterize
    from gatlas.types import Cameras, Gaussians

    camera, target, pivot, _ = scene
    weights = np.ones((SIDE, SIDE), dtype=np.float32)
    loss, gradient = loss_gradient(gaussians, target, camera, pivot, weights, compare.IDENTITY_EXPOSURE)
    names = ("means", "quats", "scales", "opacities", "sh")
    tensors = Gaussians(**{name: torch.from_numpy(getattr(gaussians, name)).double() for name in names})
    viewmat = torch.from_numpy(camera.viewmat).requires_grad_()
    seen = rasterize(tensors, Cameras(viewmat[None], torch.from_numpy(K)[None], SIDE, SIDE), backend="reference")
    image = (seen.colors[0] + (1 - seen.alphas[0]) * torch.from_numpy(target.background)).float()
    slow = picture_loss(image, torch.from_numpy(target.picture), torch.from_numpy(weights))
    (v_viewmat,) = torch.autograd.grad(slow, viewmat)
    wanted = []
    for i in range(6):  # the chain rule through the motion itself
        ahead, behind = (move_camera(camera.viewmat, pivot, sign * 1e-5 * np.eye(6)[i]) for sign in (1, -1))
        wanted.append(float((v_viewmat.numpy() * (ahead - behind)).sum()) / 2e-5)
    assert loss == pytest.approx(float(slow.detach()), rel=1e-4)
    np.testing.assert_allclose(gradient[:6], wanted, atol=0.01 * np.abs(wanted).max())


def test_the_gradient_to_the_widening_is_that_of_the_loss(gaussians, scene):
    camera, target, pivot, _ = scene
    weights = np.ones((SIDE, SIDE), dtype=np.float32)
    _, gradient = loss_gradient(gaussians, target, camera, pivot, weights, compare.IDENTITY_EXPOSURE)
    ahead, behind = (
        comparison_loss(
            compare.render_comparison(gaussians, camera._replace(eps2d=0.3 * np.exp(sign * 0.05)), target),
            weights,
            compare.IDENTITY_EXPOSURE,
        )
        for sign in (1, -1)
    )
    assert gradient[6] == pytest.approx((ahead - behind) / 0.1, rel=0.1)


@pytest.mark.parametrize("antialiased", [False, True])
def test_the_gradient_is_that_of_the_loss_where_the_blur_is_that_of_the_fit(gaussians, scene, antialiased):
    """Outside the pixels that the splat was fitted to, the blur has a length: it is more pixels from nearby."""
    camera, target, pivot, _ = scene
    size = 3 * float(pixel_widths(Cameras(camera.viewmat[None], K[None], SIDE, SIDE))[0])
    origin = replace(gaussians.origin, normalized=True, pixel_sizes=(size, size), antialiased=antialiased)
    fitted = replace(gaussians, origin=origin)
    weights = np.ones((SIDE, SIDE), dtype=np.float32)
    _, gradient = loss_gradient(fitted, target, camera, pivot, weights, compare.IDENTITY_EXPOSURE)

    def loss_at(moved):
        comparison = compare.render_comparison(fitted, moved, target)
        return comparison_loss(comparison, weights, compare.IDENTITY_EXPOSURE)

    numeric = [
        (loss_at(camera.moved(pivot, step)) - loss_at(camera.moved(pivot, -step))) / 0.01 for step in 0.005 * np.eye(6)
    ]
    np.testing.assert_allclose(gradient[:6], numeric, atol=0.06 * np.abs(numeric).max())
    wider, narrower = (camera._replace(eps2d=0.3 * np.exp(sign * 0.05)) for sign in (1, -1))
    assert gradient[6] == pytest.approx((loss_at(wider) - loss_at(narrower)) / 0.1, rel=0.1)
    plain = compare.render_comparison(gaussians, camera, target).render.alphas
    assert compare.render_comparison(fitted, camera, target).render.alphas.sum() != pytest.approx(plain.sum(), rel=0.01)


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_a_photo_that_is_sharper_or_softer_than_the_rasterizer_is_found_at_its_distance(gaussians, factor):
    truth = camera_at(30.0)
    cameras = Cameras(truth[None], K[None], SIDE, SIDE)
    photo = straight_rgba(rasterize(gaussians, cameras, eps2d=0.3 * factor**2))[0]
    options = replace(MATCHED_START, steps=12)
    found = refine(gaussians, photo, perturbed(truth, 0.3, 0.5, np.random.default_rng(9)), K, options=options)
    assert errors(found.viewmat, truth)[1] < 0.06  # 0.2 and 0.8 where the widening stays


def test_a_motion_about_the_pivot_is_the_exponential_of_its_twist_there():
    viewmat, pivot = camera_at(50.0), Pivot(np.array([0.1, -0.2, 0.3]), 2.0)
    step = np.array([0, 0, 0, 0.3, -0.2, 0.5])
    moved = move_camera(viewmat, pivot, step)
    point = np.append(pivot.point, 1.0)
    np.testing.assert_allclose(moved @ point, viewmat @ point, atol=1e-12)  # turned about it
    twist = np.concatenate([-np.cross(step[3:], (viewmat @ point)[:3]), step[3:]])
    np.testing.assert_allclose(moved, se3_exp(twist) @ viewmat, atol=1e-12)
    shifted = move_camera(viewmat, pivot, np.array([1.0, 0, 0.5, 0, 0, 0]))
    np.testing.assert_allclose(shifted[:3, 3] - viewmat[:3, 3], [1.0, 0.0, 1.0], atol=1e-12)


def test_pixels_that_do_not_count_do_not_change_the_loss():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(8)
    image, wanted = torch.from_numpy(rng.random((2, 24, 24, 3)).astype(np.float32))
    weights = torch.zeros(24, 24)
    weights[4:20, 4:20] = 1
    first = picture_loss(image, wanted, weights)
    spoiled = wanted.clone()
    spoiled[:4] = 0.5
    assert picture_loss(image, spoiled, weights) == first


def cosine(a, b):
    return float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()))
