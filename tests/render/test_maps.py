import numpy as np
import pytest

from gatlas.errors import GatlasError
from gatlas.geometry.cameras import orbit
from gatlas.images.colormap import viridis
from gatlas.images.legend import color_bar
from gatlas.raster import median_depths, overdraw, rasterize
from gatlas.render import RenderOptions, render, render_maps
from gatlas.render.maps import Maps, map_pictures, map_range, map_sheet, shortest_axes
from gatlas.types import Gaussians
from tests.helpers.flat_ball import RADIUS, ball, sphere_mesh

SIDE = 64


def maps_of(subject, show, **options):
    return render_maps(subject, RenderOptions(show=show, width=SIDE, **options))


def sphere_seen(radius, cameras, index=0):
    """Depth and normal, in the camera, of a sphere about the origin; where its pixels are."""
    K, view = (np.asarray(each[index], dtype=np.float64) for each in (cameras.Ks, cameras.viewmats))
    columns, rows = np.meshgrid(np.arange(cameras.width) + 0.5, np.arange(cameras.height) + 0.5)
    rays = np.stack([columns, rows, np.ones_like(rows)], axis=-1) @ np.linalg.inv(K).T  # z is 1
    center = view[:3, 3]
    a, b, c = (rays**2).sum(-1), rays @ center, center @ center - radius**2
    hit = b * b - a * c > 0
    depths = np.where(hit, (b - np.sqrt(np.maximum(b * b - a * c, 0))) / a, 0)
    return depths, (rays * depths[..., None] - center) / radius, hit


def angles(one, other):
    return np.degrees(np.arccos(np.clip((one * other).sum(-1), -1, 1)))


def test_depth_is_the_median_depth_and_lies_on_the_surface():
    maps = maps_of(ball(), "depth", orbit=2)
    assert len(maps.values) == 2
    for i, each in enumerate(maps.values):
        np.testing.assert_array_equal(each, median_depths(ball(), maps.cameras)[i, ..., 0])
        depths, _, hit = sphere_seen(RADIUS, maps.cameras, i)
        assert np.median(np.abs(each - depths)[hit & (each > 0)]) < 0.03


def test_depth_agrees_with_the_reference_rasterizer():
    torch = pytest.importorskip("torch")
    small = ball(200)
    maps = maps_of(small, "depth")
    fields = (torch.tensor(getattr(small, name), dtype=torch.float64) for name in
              ("means", "quats", "scales", "opacities", "sh"))  # fmt: skip
    expected = median_depths(Gaussians(*fields), maps.cameras, backend="reference")[0, ..., 0].numpy()
    assert (np.abs(maps.values[0] - expected) > 1e-4).mean() <= 1e-3


def test_normals_of_gaussians_are_those_of_their_surface():
    maps = maps_of(ball(), "normal", elevation=50)
    _, normals, hit = sphere_seen(RADIUS, maps.cameras)
    found = maps.values[0]
    there = found.any(axis=-1)
    np.testing.assert_allclose(np.linalg.norm(found[there], axis=-1), 1, atol=1e-5)
    assert np.median(angles(found, normals)[hit & there]) < 4.0
    assert (there == (rasterize(ball(), maps.cameras).alphas[0, ..., 0] >= 0.5)).all()


def test_the_shortest_axis_is_that_of_the_smallest_scale():
    normals = ball().means / RADIUS
    np.testing.assert_allclose(np.abs((shortest_axes(ball()) * normals).sum(axis=1)), 1, atol=1e-5)


def test_depths_and_normals_of_a_mesh_are_those_of_its_triangles():
    mesh = sphere_mesh(radius=7.0, center=(3.0, -2.0, 1.0))  # normalized before it is shown
    depth, normal = maps_of(mesh, "depth"), maps_of(mesh, "normal")
    depths, normals, hit = sphere_seen(1.0, depth.cameras)
    there = hit & (depth.values[0] > 0)
    assert there.sum() > 0.98 * hit.sum()
    assert np.median(np.abs(depth.values[0] - depths)[there]) < 2e-3
    assert np.median(angles(normal.values[0], normals)[there]) < 3.0  # the triangles are 4 degrees wide


def test_overdraw_is_a_count_and_a_mesh_has_none():
    maps = maps_of(ball(), "overdraw")
    np.testing.assert_array_equal(maps.values[0], overdraw(ball(), maps.cameras)[0])
    with pytest.raises(GatlasError, match="overdraw is of Gaussians: a mesh has none"):
        maps_of(sphere_mesh(), "overdraw")


@pytest.mark.parametrize("subject", [ball(300), sphere_mesh()], ids=["splat", "mesh"])
def test_alpha_is_that_of_the_picture(subject):
    picture = render(subject, RenderOptions(width=SIDE, background="transparent")).images[0]
    np.testing.assert_array_equal(maps_of(subject, "alpha").values[0], picture[..., 3])


def test_a_normal_towards_the_viewer_is_blue_and_one_to_the_top_is_green():
    normals = np.zeros((1, 4, 3), np.float32)
    normals[0, :3] = [[0, 0, -1], [0, -1, 0], [1, 0, 0]]  # in the camera, y down; the last is none
    (picture,) = map_pictures(Maps("normal", (normals,), orbit(1, 4, 1)), (0.2, 0.3, 0.4))
    wanted = [[0.5, 0.5, 1], [0.5, 1, 0.5], [1, 0.5, 0.5], [0.2, 0.3, 0.4]]
    np.testing.assert_allclose(picture[0], wanted, atol=1e-6)


def test_all_maps_share_the_range_of_the_colors_and_nothing_shows_the_background():
    values = (np.float32([[0.0, 2.0]]), np.float32([[3.0, 6.0]]))
    maps = Maps("depth", values, orbit(2, 2, 1))
    assert map_range(maps) == (2.0, 6.0)
    one, two = map_pictures(maps, (1.0, 1.0, 1.0))
    np.testing.assert_array_equal(one[0, 0], [1, 1, 1])
    np.testing.assert_allclose([one[0, 1], two[0, 0], two[0, 1]], viridis(np.array([0, 0.25, 1])), atol=1e-6)
    clear = map_pictures(maps, None)[0]
    np.testing.assert_array_equal(clear[0, :, 3], [0, 1])


def test_a_sheet_of_numbers_has_a_color_bar_and_one_of_normals_has_none():
    bar = color_bar(SIDE, 0, 1, "").shape[0]
    assert map_sheet(maps_of(ball(200), "depth"), (1, 1, 1)).shape == (SIDE + bar, SIDE, 3)
    assert map_sheet(maps_of(ball(200), "normal"), (1, 1, 1)).shape == (SIDE, SIDE, 3)


@pytest.mark.parametrize("show", ["depth", "normal", "overdraw", "error"])
def test_maps_of_nothing_are_drawn(show):
    empty = np.zeros((4, 30, 3) if show == "normal" else (4, 30), np.float32)
    assert np.isfinite(map_sheet(Maps(show, (empty,), orbit(1, 30, 4)), (1, 1, 1))).all()


@pytest.mark.shared
def test_normals_of_a_splat_of_a_real_mesh_are_within_degrees_of_the_meshs(shared_data):
    from gatlas import io
    from gatlas.fit import FitOptions, fit

    mesh = io.load_mesh(shared_data / "models" / "Knight.glb")
    splat = fit(mesh, FitOptions(profile="instant")).gaussians
    options = RenderOptions(show="normal", width=128, sphere=4)
    found, wanted = render_maps(splat, options), render_maps(mesh, options)
    off = []
    for one, two in zip(found.values, wanted.values, strict=True):
        off.append(angles(one, two)[one.any(axis=-1) & two.any(axis=-1)])
    assert np.median(np.concatenate(off)) < 12
