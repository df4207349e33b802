"""Colors of a splat on a mesh: the kernels against numpy, and a ball whose colors are known."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import trimesh

from gatlas.errors import GatlasError
from gatlas.geometry.cameras import DEFAULT_DISTANCE, camera_centers, fibonacci_views
from gatlas.geometry.rotations import quats_from_normals
from gatlas.geometry.sh import rgb_to_dc
from gatlas.images.srgb import linear_to_srgb
from gatlas.meshes.baking import LEVELS, STEPS, Samples, Unknowns, add_residuals, take_samples
from gatlas.meshes.render import render_mesh
from gatlas.meshes.sample import surface_colors
from gatlas.meshes.splat_views import see_splat
from gatlas.meshes.texture import colored, solve, take
from gatlas.meshes.unwrap import unwrap
from gatlas.raster import rasterize
from gatlas.raster.threads import set_num_threads
from gatlas.types import Gaussians, Origin
from tests.helpers.texture_reference import residuals, samples_of_picture, taps_of


def ball_of(count, color, radius=0.8):
    """Opaque discs on a ball, each in the color of its direction, and the ball as a surface."""
    points = fibonacci_views(count, 8, 8, distance=1.0)
    directions = -points.viewmats[:, 2, :3].astype(np.float64)
    size = 0.6 * radius * np.sqrt(4 * np.pi / count)
    gaussians = Gaussians(
        means=(radius * directions).astype(np.float32),
        quats=quats_from_normals(directions.astype(np.float32)),
        scales=np.tile(np.float32([size, size, size / 10]), (count, 1)),
        opacities=np.full(count, 0.99, dtype=np.float32),
        sh=rgb_to_dc(color(directions))[:, None].astype(np.float32),
        origin=Origin(name="ball", normalized=True),
    )
    sphere = trimesh.creation.icosphere(3, radius=radius)
    return gaussians, np.asarray(sphere.vertices), np.asarray(sphere.faces)


def smooth(directions):
    return 0.5 + 0.4 * directions


@pytest.fixture(scope="module")
def ball():
    return ball_of(2000, smooth)


CAMERAS = fibonacci_views(10, 96, 96)


@pytest.mark.parametrize(("size", "rounds"), [(64, 1), (0, 1), (0, 0)])
def test_a_ball_gets_the_colors_of_its_splat(ball, size, rounds):
    gaussians, vertices, faces = ball
    mesh = colored(vertices, faces, see_splat(gaussians, CAMERAS), size=size, rounds=rounds)
    others = fibonacci_views(3, 96, 96, phase=0.3)
    shown = render_mesh(mesh, others).images
    splat = rasterize(gaussians, others)
    inside = (shown[..., 3] == 1) & (splat.alphas[..., 0] > 0.95)
    differences = np.abs(shown[inside][:, :3] - (splat.colors / np.maximum(splat.alphas, 0.5))[inside])
    assert inside.mean() > 0.2
    assert differences.mean() < 0.015
    assert np.quantile(differences, 0.99) < 0.06
    assert mesh.materials[0].unlit


def test_the_kernel_takes_the_samples_that_numpy_does():
    rng = np.random.default_rng(0)
    height, width, count = 13, 17, 9
    hit_faces = rng.integers(-1, count, (height, width)).astype(np.int32)
    hit_depths = np.where(hit_faces < 0, np.inf, rng.choice([2.0, 2.01, 2.1], (height, width))).astype(np.float32)
    hit_depths[:6] = 2.0
    given = {
        "pictures": np.concatenate(
            [
                rng.integers(0, 256, (height, width, 3), dtype=np.uint8),
                rng.choice(np.uint8([100, 180, 250, 255]), (height, width, 1)),
            ],
            axis=-1,
        ),
        "depths": (hit_depths + rng.choice([0.0, 0.01, 0.05], (height, width))).astype(np.float32),
        "hit_faces": hit_faces,
        "hit_places": rng.random((height, width, 2), dtype=np.float32),
        "hit_depths": hit_depths,
        "normals": rng.normal(size=(count, 3)),
        "rays": rng.normal(size=(3, 3)),
        "tolerance": 0.02,
    }
    expected = samples_of_picture(**given)
    room = Samples(
        np.zeros(height * width, np.int32),
        np.zeros((height * width, 2), np.uint16),
        np.zeros((height * width, 3), np.uint8),
        np.zeros(height * width, np.float32),
    )
    found = take_samples(*given.values(), room)
    assert 0 < found == len(expected.faces)
    np.testing.assert_array_equal(room.faces[:found], expected.faces)
    np.testing.assert_allclose(room.places[:found], expected.places, atol=0.51)
    np.testing.assert_array_equal(room.colors[:found], expected.colors)
    np.testing.assert_allclose(room.weights[:found], expected.weights, rtol=1e-5)
    assert (expected.weights > 0.01).any()
    assert (expected.weights < 0.001).any()


@pytest.mark.parametrize("width", [0, 12])
def test_the_kernel_adds_the_residuals_that_numpy_does(width):
    rng = np.random.default_rng(1)
    samples, unknowns, values = random_problem(rng, width)
    sums = np.ones((len(values), 4))
    add_residuals(samples, unknowns, values, sums)
    np.testing.assert_allclose(sums - 1, residuals(samples, unknowns, values), atol=1e-9)


def random_problem(rng, width, count=200, faces=7):
    places = rng.dirichlet([1, 1, 1], count)[:, :2]
    samples = Samples(
        rng.integers(0, faces, count).astype(np.int32),
        np.floor(places * STEPS).astype(np.uint16),
        rng.integers(0, 256, (count, 3)).astype(np.uint8),
        rng.random(count).astype(np.float32),
    )
    height = 9 if width else 0
    corners = (rng.random((faces, 6)) * (width or 1)).astype(np.float32) * np.float32([1, 9 / (width or 1)] * 3)
    unknowns = Unknowns(rng.integers(0, 11, (faces, 3)).astype(np.int32), corners, width, height)
    return samples, unknowns, rng.random((width * height or 11, 3))


@pytest.mark.parametrize("width", [0, 12])
def test_rounds_lead_to_the_least_squares(width):
    rng = np.random.default_rng(2)
    samples, unknowns, truth = random_problem(rng, width, count=60)
    taps, shares = taps_of(unknowns, samples.faces, samples.places)
    seen_colors = np.einsum("nk,nkc->nc", shares, 0.3 + 0.4 * truth[taps]) + rng.normal(size=(60, 3)) * 0.02
    samples = samples._replace(colors=np.rint(seen_colors * LEVELS).astype(np.uint8))
    matrix = np.zeros((60, len(truth)))
    np.add.at(matrix, (np.arange(60)[:, None], taps), shares)
    root = np.sqrt(samples.weights)[:, None]
    best = matrix @ np.linalg.lstsq(root * matrix, root * seen_colors, rcond=None)[0]

    def excess(rounds):
        shown = matrix @ solve([samples], unknowns, rng.random((7, 3)), rounds)
        return ((root * (shown - seen_colors)) ** 2).sum() - ((root * (best - seen_colors)) ** 2).sum()

    assert excess(300) < 0.1 * excess(3) < 0.5 * excess(0)


def test_what_no_camera_sees_has_the_color_of_the_nearest_part_that_one_does(ball):
    gaussians, vertices, faces = ball
    camera = CAMERAS[[0]]
    mesh = colored(vertices, faces, see_splat(gaussians, camera), size=64)
    axis = camera_centers(camera.viewmats)[0].astype(np.float64) / DEFAULT_DISTANCE
    centers = np.asarray(mesh.vertices)[mesh.faces].mean(axis=1)
    directions = centers / np.linalg.norm(centers, axis=1, keepdims=True)
    behind = np.flatnonzero((directions @ axis < 0) & (directions @ axis > -0.95))  # opposite to it all are as near
    shown = surface_colors(mesh, behind, np.full((len(behind), 3), 1 / 3), "unlit")[:, :3]
    # The nearest point of the horizon, which is at this angle from the axis.
    cosine = 0.8 / DEFAULT_DISTANCE
    sideways = directions[behind] - (directions[behind] @ axis)[:, None] * axis
    sideways /= np.linalg.norm(sideways, axis=1, keepdims=True)
    expected = smooth(cosine * axis + np.sqrt(1 - cosine**2) * sideways)
    assert np.abs(shown - expected).mean() < 0.07  # those of any other part are 0.3 away


def test_a_pixel_of_another_surface_counts_only_where_there_is_no_other(ball):
    gaussians, vertices, faces = ball
    mesh = colored(vertices * 0.9, faces, see_splat(gaussians, CAMERAS), size=0)
    samples = take(mesh, see_splat(gaussians, CAMERAS), slice(0, 1), 1.0)
    assert 0 < samples.weights.max() <= 1e-4  # 0.08 behind the splat, and the tolerance is 0.02
    shown = linear_to_srgb(mesh.colors[:, :3])
    directions = mesh.vertices / np.linalg.norm(mesh.vertices, axis=1, keepdims=True)
    assert np.abs(shown - smooth(directions)).mean() < 0.05


def test_the_same_bytes_for_any_number_of_threads(ball):
    gaussians, vertices, faces = ball
    meshes = []
    try:
        for threads in (1, 3):
            set_num_threads(threads)
            meshes.append(colored(vertices, faces, see_splat(gaussians, CAMERAS), size=64, rounds=2))
    finally:
        set_num_threads(None)
    one, other = meshes
    assert one.textures[0].pixels.tobytes() == other.textures[0].pixels.tobytes()
    assert one.uvs.tobytes() == other.uvs.tobytes()


def test_no_two_faces_of_an_unwrapped_mesh_share_a_texel():
    sphere = trimesh.creation.icosphere(2)
    size = 64
    sources, faces, uvs = unwrap(sphere.vertices, sphere.faces, size)
    np.testing.assert_array_equal(sources[faces], sphere.faces)
    assert uvs.min() >= 0
    assert uvs.max() <= 1
    a, b, c = np.moveaxis(uvs[faces].astype(np.float64) * size, 1, 0)  # [f 2] each
    texels = np.stack(np.meshgrid(np.arange(size), np.arange(size)), axis=-1).reshape(-1, 1, 2) + 0.5

    def side(p, q):
        return (q - p)[:, 0] * (texels - p)[..., 1] - (q - p)[:, 1] * (texels - p)[..., 0]

    sides = np.stack([side(a, b), side(b, c), side(c, a)])
    covered = ((sides > 1e-3).all(axis=0) | (sides < -1e-3).all(axis=0)).sum(axis=1)
    assert covered.max() == 1
    assert (covered == 1).mean() > 0.3


def test_specks_that_lie_far_apart_are_unwrapped():
    speck = trimesh.creation.icosphere(0, radius=2e-4)
    vertices = np.concatenate([speck.vertices, np.add(speck.vertices, [0.9, 0.0, 0.0])])
    faces = np.concatenate([speck.faces, speck.faces + len(speck.vertices)])
    found = unwrap(vertices, faces, 64)
    assert np.isfinite(found.uvs).all()
    assert len(np.unique(found.uvs, axis=0)) > 20


def test_a_surface_without_area_has_no_texture():
    with pytest.raises(GatlasError, match="too thin for a texture: use --texture 0"):
        unwrap(np.array([[0.0, 0, 0], [1, 0, 0], [2, 0, 0]]), np.array([[0, 1, 2]]), 16)


def test_xatlas_that_is_missing_is_one_line_that_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "xatlas", None)
    with pytest.raises(GatlasError, match=r"pip install 'gatlas\[mesh\]', or --texture 0"):
        unwrap(np.eye(3), np.array([[0, 1, 2]]), 16)


@pytest.mark.parametrize("unit", [1e-6, 1e6])
def test_the_unit_of_length_changes_no_color(ball, unit):
    gaussians, vertices, faces = ball
    scaled = replace(
        gaussians, means=gaussians.means * np.float32(unit), scales=gaussians.scales * np.float32(unit), origin=Origin()
    )
    viewmats = CAMERAS.viewmats.copy()
    viewmats[:, :3, 3] *= np.float32(unit)
    cameras = replace(CAMERAS, viewmats=viewmats)
    found = colored(vertices * unit, faces, see_splat(scaled, cameras), size=64, radius=unit)
    expected = colored(vertices, faces, see_splat(replace(gaussians, origin=Origin()), CAMERAS), size=64)
    difference = np.abs(found.textures[0].pixels.astype(int) - expected.textures[0].pixels)
    assert difference.mean() < 0.1
