"""The mesh renderer against hand-computed colours, an analytic silhouette and an independent ray caster."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh

from gatlas.errors import GatlasError
from gatlas.geometry.cameras import fibonacci_views, intrinsics, look_at, orbit
from gatlas.geometry.rays import rays
from gatlas.meshes.colors import corner_lights
from gatlas.meshes.edits import UP_AXES, normalize_mesh, stand_up, without_vertex_colors
from gatlas.meshes.render import mesh_depths, mesh_hits, render_mesh, visible_from
from gatlas.meshes.sample import sample_surface, surface_colors
from gatlas.meshes.shading import auto_shading
from gatlas.raster.threads import set_num_threads
from gatlas.types import Cameras, Material, Mesh, Origin, Texture

HALF_LIGHT = 0.735357  # sRGB of linear 0.5
EXAMPLES = Path(__file__).parents[2] / "examples"


def make_mesh(vertices, faces, *, colors=None, uvs=None, materials=(Material(),), face_materials=None, textures=()):
    vertices, faces = np.asarray(vertices, dtype=float), np.asarray(faces)
    return Mesh(
        vertices=vertices,
        faces=faces,
        face_materials=np.zeros(len(faces), int) if face_materials is None else np.asarray(face_materials),
        uvs=np.zeros((len(vertices), 2)) if uvs is None else np.asarray(uvs, dtype=float),
        colors=np.ones((len(vertices), 4)) if colors is None else np.asarray(colors, dtype=float),
        materials=tuple(materials),
        textures=tuple(textures),
    )


def square(z=0.0, size=1.0):
    """Corners of a square that faces +z, and its texture coordinates: the picture upright."""
    x = size * np.array([-1, 1, 1, -1])
    y = size * np.array([-1, -1, 1, 1])
    return np.stack([x, y, np.full(4, z)], axis=1), np.array([[0, 1], [1, 1], [1, 0], [0, 0]])


def square_mesh(material=None, pixels=None, wrap=("repeat", "repeat"), colors=None, scale=1.0):
    vertices, uvs = square()
    textures = [] if pixels is None else [Texture(np.asarray(pixels, dtype=np.uint8), wrap)]
    material = material or Material(texture=-1 if pixels is None else 0)
    return make_mesh(
        vertices, [[0, 1, 2], [0, 2, 3]], colors=colors, uvs=uvs * scale, materials=[material], textures=textures
    )


def front(side=16, distance=2.0):
    """A camera on +z whose picture the unit square at z = 0 fills exactly, where the distance is 2."""
    fov = 2 * np.degrees(np.arctan(0.5))
    return Cameras(look_at(np.array([[0, 0, distance]])), intrinsics(side, side, fov)[None], side, side)


def icosphere(subdivisions=3):
    sphere = trimesh.creation.icosphere(subdivisions=subdivisions)
    colors = np.concatenate([0.5 + 0.5 * sphere.vertices, np.ones((len(sphere.vertices), 1))], axis=1)
    return make_mesh(sphere.vertices, sphere.faces, colors=colors)


def image_of(mesh, cameras=None, shading="unlit", **options):
    return render_mesh(mesh, front() if cameras is None else cameras, shading=shading, **options).images[0]


def test_the_axes_are_where_they_belong():
    """Red towards +x is on the right, green towards +y is above, seen from +z; from +x, blue +z is on the left."""
    mesh = icosphere()
    image = image_of(mesh, orbit(1, 64, 64, elevation=0))
    assert image[32, 55, 0] > image[32, 8, 0] + 0.3
    assert image[8, 32, 1] > image[55, 32, 1] + 0.3
    image = image_of(mesh, orbit(1, 64, 64, elevation=0, azimuth=90))
    assert image[32, 8, 2] > image[32, 55, 2] + 0.3


def test_factors_and_vertex_colors_are_linear_and_multiplied():
    colors = np.tile([0.5, 1, 0.5, 1], (4, 1))
    image = image_of(square_mesh(Material(factor=(1, 0.5, 0.5, 1)), colors=colors))
    expected = [HALF_LIGHT, HALF_LIGHT, 0.537099, 1]  # 0.25 linear is 0.537099
    np.testing.assert_allclose(image, np.broadcast_to(expected, image.shape), atol=1e-5)


def test_textures_are_srgb_and_upright():
    pixels = np.zeros((4, 4, 4), np.uint8)
    pixels[..., 3] = 255
    pixels[0, 0] = 200, 100, 50, 255  # top left
    image = image_of(square_mesh(pixels=pixels, wrap=("clamp", "clamp")))
    np.testing.assert_allclose(image[0, 0, :3] * 255, [200, 100, 50], atol=1)
    assert not image[8:, :, :3].any()
    assert not image[:, 8:, :3].any()
    # The centre of a texel shows the texel itself.
    color = surface_colors(square_mesh(pixels=pixels), np.array([1]), np.array([[0.125, 0.125, 0.75]]))
    u, v = np.array([0.125, 0.125, 0.75]) @ np.array([[0, 1], [1, 0], [0, 0]])
    assert (u, v) == (0.125, 0.125)
    np.testing.assert_allclose(color[0, :3] * 255, [200, 100, 50], atol=1e-3)


def test_texels_are_mixed_in_linear_light():
    pixels = np.array([[[255, 255, 255, 255], [0, 0, 0, 255]]], dtype=np.uint8)
    mesh = square_mesh(pixels=pixels, wrap=("clamp", "clamp"))
    color = surface_colors(mesh, np.array([0]), np.array([[0.5, 0.5, 0]]))  # u = 1/2, between both texels
    np.testing.assert_allclose(color[0, :3], HALF_LIGHT, atol=1e-5)


@pytest.mark.parametrize(
    ("wrap", "expected"), [("repeat", [1, 0, 1, 0]), ("mirror", [1, 0, 0, 1]), ("clamp", [1, 0, 0, 0])]
)
@pytest.mark.parametrize("turns", [0, -2])
def test_wraps(wrap, expected, turns):
    """The first texel is white, the second black: 1 at u = 1/4, and on to 3/4, 5/4 and 7/4."""
    pixels = np.array([[[255, 255, 255, 255], [0, 0, 0, 255]]], dtype=np.uint8)
    vertices = [[0, 0, 0], [1, 0, 0], [0, 1, 0]]
    u = np.array([0.25, 0.75, 1.25, 1.75]) + (0 if wrap == "clamp" else turns)
    seen = []
    for value in u:
        uvs = [[value, 0.5]] * 3
        mesh = make_mesh(
            vertices, [[0, 1, 2]], uvs=uvs, materials=[Material(texture=0)], textures=[Texture(pixels, (wrap, wrap))]
        )
        seen.append(surface_colors(mesh, np.array([0]), np.array([[1.0, 0, 0]]))[0, 0])
    np.testing.assert_allclose(seen, expected, atol=1e-6)


def test_colors_are_interpolated_in_perspective():
    """On a plane that tilts away, the colour at a pixel is that of the point its ray meets."""
    vertices = [[-1, -1, 1], [1, -1, 1], [1, 1, -3], [-1, 1, -3]]
    colors = np.concatenate([np.asarray(vertices) * [0, 0.5, 0] + [0, 0.5, 0], np.ones((4, 1))], axis=1)
    mesh = make_mesh(vertices, [[0, 1, 2], [0, 2, 3]], colors=colors)
    cameras = front(side=65)
    hits = mesh_hits(mesh, cameras)
    direction = rays(cameras)[1][0, 40, 32]  # towards a pixel of the middle column, below the centre
    t = -3 / (direction @ [0, 2, 1])  # the plane is 2 y + z = -1, the camera stands at (0, 0, 2)
    y, z = t * direction[1], 2 + t * direction[2]
    np.testing.assert_allclose(hits.depths[0, 40, 32], 2 - z, rtol=1e-6)
    image = image_of(mesh, cameras, supersample=1)
    linear = 0.5 + 0.5 * y
    np.testing.assert_allclose(image[40, 32, 1], 1.055 * linear ** (1 / 2.4) - 0.055, atol=1e-5)


def test_a_sphere_covers_its_analytic_silhouette():
    """A ball of radius 1 at distance d covers a disc of radius f / sqrt(d^2 - 1) pixels."""
    cameras = orbit(1, 128, 128)
    alpha = image_of(icosphere(5), cameras)[..., 3]
    expected = np.pi * float(cameras.Ks[0, 0, 0]) ** 2 / (2.6**2 - 1)
    assert alpha.sum() == pytest.approx(expected, rel=2e-3)
    assert mesh_depths(icosphere(5), cameras).min() == pytest.approx(1.6, abs=1e-3)


def moeller_trumbore(origin, directions, triangles):
    """Nearest hits of rays [n 3] with triangles [f 3 3]: face [n] or -1, t [n], barycentrics [n 3]."""
    a = triangles[:, 0]
    ab, ac = triangles[:, 1] - a, triangles[:, 2] - a
    p = np.cross(directions[:, None], ac)
    with np.errstate(divide="ignore", invalid="ignore"):
        inverse = 1 / np.einsum("nfi,fi->nf", p, ab)
        u = np.einsum("nfi,fi->nf", p, origin - a) * inverse
        q = np.cross(origin - a, ab)
        v = directions @ q.T * inverse
        t = np.einsum("fi,fi->f", q, ac) * inverse
        t = np.where((u >= 0) & (v >= 0) & (u + v <= 1) & (t > 0), t, np.inf)
    faces = t.argmin(axis=1)
    rows = np.arange(len(directions))
    u, v, t = u[rows, faces], v[rows, faces], t[rows, faces]
    return np.where(np.isfinite(t), faces, -1), t, np.stack([1 - u - v, u, v], axis=1)


def triangle_soup(count=40, seed=0):
    rng = np.random.default_rng(seed)
    vertices = (rng.normal(size=(count, 1, 3)) * 0.4 + rng.normal(size=(count, 3, 3)) * 0.4).reshape(-1, 3)
    colors = np.concatenate([rng.random((3 * count, 3)), np.ones((3 * count, 1))], axis=1)
    return make_mesh(vertices, np.arange(3 * count).reshape(-1, 3), colors=colors)


def test_hits_depths_and_colors_against_a_ray_caster():
    mesh = triangle_soup()
    cameras = fibonacci_views(3, 48, 40)
    hits = mesh_hits(mesh, cameras)
    images = render_mesh(mesh, cameras, supersample=1).images
    origins, directions = rays(cameras)
    for i in range(3):
        faces, t, places = moeller_trumbore(origins[i], directions[i].reshape(-1, 3), mesh.vertices[mesh.faces])
        agree = faces == hits.faces[i].ravel()
        assert agree.mean() > 0.998  # a ray through an edge may go either way
        hit = agree & (faces >= 0)
        assert hit.sum() > 300
        forward = cameras.viewmats[i, 2, :3]
        depths = t[hit] * (directions[i].reshape(-1, 3)[hit] @ forward)
        np.testing.assert_allclose(hits.depths[i].ravel()[hit], depths, rtol=2e-5)
        np.testing.assert_allclose(hits.barycentrics[i].reshape(-1, 2)[hit], places[hit, :2], atol=2e-4)
        linear = np.einsum("nk,nki->ni", places, mesh.colors[mesh.faces[faces], :3])[hit]
        expected = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
        np.testing.assert_allclose(images[i].reshape(-1, 4)[hit, :3], expected, atol=1e-3)
        assert (images[i].reshape(-1, 4)[agree, 3] == (faces[agree] >= 0)).all()


def test_surface_colors_are_the_colors_of_the_picture():
    mesh = triangle_soup()
    cameras = fibonacci_views(1, 32, 32)
    hits = mesh_hits(mesh, cameras)
    seen = hits.faces[0] >= 0
    places = hits.barycentrics[0][seen]
    places = np.concatenate([places, 1 - places.sum(axis=1, keepdims=True)], axis=1)
    for shading in ("unlit", "headlight"):
        colors = surface_colors(mesh, hits.faces[0][seen], places, shading)
        image = render_mesh(mesh, cameras, supersample=1, shading=shading).images[0]
        np.testing.assert_allclose(colors, image[seen], atol=1e-5)


def test_neighbouring_faces_leave_no_gap_and_do_not_overlap():
    """Translucent by half, a seam that was drawn twice or not at all would show."""
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(np.linspace(-1.2, 1.2, 9), np.linspace(-1.2, 1.2, 9)), axis=-1)
    grid[1:-1, 1:-1] += rng.uniform(-0.1, 0.1, size=(7, 7, 2))
    vertices = np.concatenate([grid.reshape(-1, 2), np.zeros((81, 1))], axis=1)
    cells = np.arange(81).reshape(9, 9)
    a, b, c, d = cells[:-1, :-1].ravel(), cells[:-1, 1:].ravel(), cells[1:, 1:].ravel(), cells[1:, :-1].ravel()
    mesh = make_mesh(vertices, np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)]))
    assert (image_of(mesh, front(side=64))[..., 3] == 1).all()


def test_a_pixel_is_the_mean_in_linear_light_of_what_covers_it():
    left, right = [[-1, -1, 0], [0, -1, 0], [0, 1, 0], [-1, 1, 0]], [[0, -1, 0], [1, -1, 0], [1, 1, 0], [0, 1, 0]]
    faces = [[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]]
    colors = np.repeat([[1, 0, 0, 1], [0, 0, 1, 1]], 4, axis=0)
    mesh = make_mesh(left + right, faces, colors=colors)
    image = image_of(mesh, front(side=1))
    np.testing.assert_allclose(image[0, 0], [HALF_LIGHT, 0, HALF_LIGHT, 1], atol=1e-5)
    only_left = replace(mesh, faces=mesh.faces[:2], face_materials=mesh.face_materials[:2])
    np.testing.assert_allclose(image_of(only_left, front(side=1))[0, 0], [1, 0, 0, 0.5], atol=1e-5)  # straight alpha


def test_opaque_ignores_alpha():
    image = image_of(square_mesh(Material(factor=(1, 1, 1, 0.1), alpha_mode="OPAQUE")))
    assert (image == 1).all()


def test_masked_texels_are_cut_out_and_show_what_lies_behind():
    pixels = np.full((2, 2, 4), 255, np.uint8)
    pixels[:, 1] = 255, 255, 255, 100
    vertices, uvs = square()
    behind, _ = square(z=-0.5, size=2)
    mesh = make_mesh(
        np.concatenate([vertices, behind]),
        [[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]],
        uvs=np.concatenate([uvs, uvs]),
        materials=[Material(texture=0, alpha_mode="MASK", alpha_cutoff=0.5), Material(factor=(1, 0, 0, 1))],
        face_materials=[0, 0, 1, 1],
        textures=[Texture(pixels, ("clamp", "clamp"))],
    )
    image = image_of(mesh)
    np.testing.assert_array_equal(image[8, 2], [1, 1, 1, 1])
    np.testing.assert_array_equal(image[8, 14], [1, 0, 0, 1])
    depths = mesh_depths(mesh, front())[0]
    assert (depths[8, 2], depths[8, 14]) == (2.0, 2.5)


@pytest.mark.parametrize("alpha", [0.0, 0.25, 0.5, 1.0])
def test_translucent_faces_cover_their_share(alpha):
    image = image_of(square_mesh(Material(factor=(1, 0, 0, alpha), alpha_mode="BLEND")))
    np.testing.assert_allclose(image[..., 3], alpha, atol=1e-6)
    if alpha:
        np.testing.assert_allclose(image[..., :3], np.broadcast_to([1, 0, 0], (16, 16, 3)), atol=1e-6)


@pytest.mark.parametrize("near_first", [True, False])
def test_translucent_layers_do_not_depend_on_the_order_of_faces(near_first):
    """1/2 of red over 1/2 of blue: 1/2 red and 1/4 blue, on the mean over the picture."""
    near, far = square(z=0)[0], square(z=-0.5, size=2)[0]
    vertices = np.concatenate([near, far] if near_first else [far, near])
    materials = [
        Material(factor=(1, 0, 0, 0.5), alpha_mode="BLEND"),
        Material(factor=(0, 0, 1, 0.5), alpha_mode="BLEND"),
    ]
    mesh = make_mesh(
        vertices,
        [[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]],
        materials=materials,
        face_materials=[0, 0, 1, 1] if near_first else [1, 1, 0, 0],
    )
    image = image_of(mesh, front(side=64)).astype(float)
    linear = np.where(image[..., :3] <= 0.04045, image[..., :3] / 12.92, ((image[..., :3] + 0.055) / 1.055) ** 2.4)
    mean = (linear * image[..., 3:]).mean(axis=(0, 1))
    np.testing.assert_allclose(mean, [0.5, 0, 0.25], atol=0.005)


def test_the_two_sides_of_a_translucent_ball_are_two_layers():
    mesh = replace(icosphere(2), materials=(Material(factor=(1, 1, 1, 0.5), alpha_mode="BLEND"),))
    alpha = image_of(mesh, orbit(1, 64, 64))[24:40, 24:40, 3]
    assert alpha.mean() == pytest.approx(0.75, abs=0.02)


def test_clear_texels_lend_no_color_to_their_neighbours():
    pixels = np.array([[[255, 0, 0, 255], [0, 255, 0, 0]]])
    mesh = square_mesh(Material(texture=0, alpha_mode="BLEND"), pixels, ("clamp", "clamp"))
    color = surface_colors(mesh, np.array([0]), np.array([[0.5, 0.5, 0]]))
    np.testing.assert_allclose(color[0], [1, 0, 0, 0.5], atol=1e-6)


def test_back_faces_look_like_front_faces():
    mesh = square_mesh(colors=np.tile([0.2, 0.4, 0.6, 1], (4, 1)))
    turned = replace(mesh, faces=mesh.faces[:, ::-1])
    np.testing.assert_allclose(image_of(turned), image_of(mesh), atol=1e-6)


def test_the_camera_may_stand_inside_the_scene():
    """A floor that runs under the camera and behind it: below the horizon each pixel shows its own point of it."""
    vertices = [[-50, -1, -50], [50, -1, -50], [50, -1, 50], [-50, -1, 50]]
    mesh = make_mesh(vertices, [[0, 2, 1], [0, 3, 2]])
    K = intrinsics(32, 32, 90)[None]
    cameras = Cameras(look_at(np.array([[0.0, 0, 0]]), (0, 0, -1)), K, 32, 32)
    depths = mesh_depths(mesh, cameras)[0]
    assert np.isinf(depths[:16]).all()
    expected = 16 / (np.arange(16, 32) + 0.5 - 16)  # y = -1 is met at z = f / (v - cy)
    np.testing.assert_allclose(depths[16:], np.broadcast_to(expected[:, None], (16, 32)), rtol=1e-5)
    image = image_of(mesh, cameras)
    assert (image[17:, :, 3] == 1).all()
    assert (image[:15, :, 3] == 0).all()


def test_what_lies_behind_the_camera_is_not_seen():
    assert (image_of(square_mesh(), front(distance=-2.0))[..., 3] == 1).all()  # from the other side
    behind = replace(square_mesh(), vertices=square_mesh().vertices + np.array([0, 0, 9]))
    assert not image_of(behind).any()
    assert np.isinf(mesh_depths(behind, front())).all()


def test_auto_shading_is_unlit_where_there_are_colors():
    plain = square_mesh()
    assert auto_shading(plain).shading == "headlight"
    assert auto_shading(square_mesh(pixels=[[[1, 2, 3, 255]]])).shading == "unlit"
    assert auto_shading(square_mesh(colors=np.full((4, 4), 0.5))).shading == "unlit"
    assert auto_shading(square_mesh(Material(factor=(1, 0, 0, 1)))).shading == "headlight"
    two = replace(plain, materials=(Material(), Material(factor=(1, 0, 0, 1))))
    assert auto_shading(two).shading == "headlight"  # the second one is not used
    assert auto_shading(replace(two, face_materials=np.array([0, 1]))).shading == "unlit"


def test_the_head_light_hangs_in_the_world():
    """A point of the surface has one colour from all sides, and points that face elsewhere have another."""
    mesh = replace(icosphere(4), colors=np.ones((2562, 4)))
    points, normals, faces, places = sample_surface(mesh, 2000, np.random.default_rng(0))
    colors = surface_colors(mesh, faces, places)  # auto: it has no colours of its own
    towards = normals @ [0.4, 0.75, 0.55] / np.linalg.norm([0.4, 0.75, 0.55])
    assert np.corrcoef(towards, colors[:, 0])[0, 1] > 0.98
    assert colors[:, 0].min() > 0.25
    for cameras in orbit(2, 96, 96):
        image = image_of(mesh, cameras, "headlight", supersample=1)
        depths = mesh_depths(mesh, cameras)
        seen = visible_from(points, depths, cameras, 0.02)[0]
        pixels = (points[seen] @ cameras.viewmats[0, :3, :3].T + cameras.viewmats[0, :3, 3]) @ cameras.Ks[0].T
        columns, rows = (pixels[:, :2] / pixels[:, 2:]).astype(int).T
        inside = image[rows, columns, 3] == 1  # not at the silhouette
        assert np.abs(image[rows, columns, 0] - colors[seen, 0])[inside].max() < 0.05


def test_edges_of_a_box_stay_sharp_and_a_sphere_is_smooth():
    box = trimesh.creation.box()
    lights = corner_lights(make_mesh(box.vertices, box.faces))
    np.testing.assert_allclose(lights, np.broadcast_to(lights[:, :1], lights.shape), atol=1e-6)
    sphere = icosphere(2)
    soup = make_mesh(sphere.vertices[sphere.faces].reshape(-1, 3), np.arange(sphere.faces.size).reshape(-1, 3))
    lights = corner_lights(soup)  # as smooth as if the vertices were shared
    np.testing.assert_allclose(lights, corner_lights(sphere), atol=1e-6)
    by_vertex = {}
    for vertex, light in zip(sphere.faces.ravel(), lights.ravel(), strict=True):
        assert by_vertex.setdefault(vertex, light) == pytest.approx(light, abs=1e-6)


def test_normalized_meshes_fill_the_unit_ball_and_lead_back():
    mesh = triangle_soup()
    stray = make_mesh(np.concatenate([mesh.vertices * 3 + 7, [[999, 0, 0]]]), mesh.faces)  # one vertex has no face
    stray = replace(stray, origin=Origin(name="soup"))
    moved = normalize_mesh(stray)
    used = moved.vertices[:-1]
    assert np.linalg.norm(used, axis=1).max() == pytest.approx(1)
    np.testing.assert_allclose(used.min(axis=0) + used.max(axis=0), 0, atol=1e-12)
    assert (moved.origin.name, moved.origin.normalized) == ("soup", True)
    np.testing.assert_allclose(used * moved.origin.scale + moved.origin.center, stray.vertices[:-1])
    again = normalize_mesh(replace(moved, vertices=moved.vertices * 2 + 1))
    own = (moved.vertices[:-1] * 2 + 1) * moved.origin.scale + moved.origin.center
    np.testing.assert_allclose(again.vertices[:-1] * again.origin.scale + again.origin.center, own)


@pytest.mark.parametrize("vertices", [np.ones((3, 3)), np.full((3, 3), np.nan)])
def test_a_mesh_without_extent_cannot_be_normalized(vertices):
    with pytest.raises(GatlasError, match="all at one point, or not finite"):
        normalize_mesh(make_mesh(vertices, [[0, 1, 2]]))


def test_samples_are_uniform_over_the_area():
    """Two triangles of areas 1 and 3, and one without area."""
    vertices = [[0, 0, 0], [2, 0, 0], [0, 1, 0], [0, 0, 5], [0, 2, 5], [3, 0, 5]]
    mesh = make_mesh(vertices, [[0, 1, 2], [0, 1, 1], [3, 4, 5]])
    points, normals, faces, places = sample_surface(mesh, 40_000, np.random.default_rng(0))
    assert np.bincount(faces, minlength=3)[1] == 0
    assert (faces == 2).mean() == pytest.approx(0.75, abs=0.01)
    np.testing.assert_allclose(points, np.einsum("nk,nki->ni", places, mesh.vertices[mesh.faces[faces]]))
    np.testing.assert_allclose(points[faces == 0].mean(axis=0), [2 / 3, 1 / 3, 0], atol=0.01)  # the centroid
    np.testing.assert_allclose(normals, np.where(faces[:, None] == 2, [0, 0, -1], [0, 0, 1]), atol=1e-12)
    again = sample_surface(mesh, 40_000, np.random.default_rng(0))
    np.testing.assert_array_equal(points, again[0])


def test_visibility_asks_the_depth_map():
    cameras, mesh = front(), square_mesh()
    points = np.array([[0, 0, 0], [0, 0, -0.5], [0, 0, -0.05], [0, 0, 1.0], [5, 0, 0], [0, 0, 3.0]])
    visible = visible_from(points, mesh_depths(mesh, cameras), cameras, 0.1)
    np.testing.assert_array_equal(visible, [[True, False, True, True, False, False]])


def test_results_do_not_depend_on_the_number_of_threads():
    mesh = replace(triangle_soup(), materials=(Material(factor=(1, 1, 1, 0.5), alpha_mode="BLEND"),))
    results = []
    try:
        for threads in (1, 2, 5):
            set_num_threads(threads)
            for count in (1, 3):  # many threads per camera, and many cameras at a time
                cameras = fibonacci_views(3, 40, 40)[:count]
                results.append(render_mesh(mesh, cameras).images[0])
    finally:
        set_num_threads(None)
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


def test_mistakes_of_the_caller():
    mesh = square_mesh()
    with pytest.raises(ValueError, match="supersample must be >= 1, got 0"):
        render_mesh(mesh, front(), supersample=0)
    with pytest.raises(ValueError, match="shading must be one of auto, unlit, headlight, got 'phong'"):
        render_mesh(mesh, front(), shading="phong")
    with pytest.raises(ValueError, match=r"Mesh.faces must be in \[0, 4\), got values from 0 to 4"):
        render_mesh(replace(mesh, faces=np.array([[0, 1, 4]]), face_materials=np.array([0])), front())
    with pytest.raises(ValueError, match=r"faces must be in \[0, 2\)"):
        surface_colors(mesh, np.array([2]), np.array([[1.0, 0, 0]]))
    with pytest.raises(ValueError, match="must have an area > 0"):
        sample_surface(make_mesh(np.zeros((3, 3)), [[0, 1, 2]]), 5, np.random.default_rng(0))


def example_script():
    spec = importlib.util.spec_from_file_location("make_example", EXAMPLES / "make_example.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_example_is_what_its_script_makes():
    assert example_script().build() == (EXAMPLES / "rocket.glb").read_bytes()


def test_the_example_is_upright_and_not_mirrored():
    from gatlas.io import load_mesh

    mesh = normalize_mesh(load_mesh(EXAMPLES / "rocket.glb"))
    image = image_of(mesh, orbit(1, 96, 96, elevation=0))[..., :3]
    red, yellow = (
        (image[..., 0] > 0.7) & (image[..., 2] < 0.3) & match for match in (image[..., 1] < 0.3, image[..., 1] > 0.6)
    )
    assert red[:25].any()  # the tip is above
    assert not yellow[:48].any()
    assert yellow[:, 48:].sum() > 20 > yellow[:, :48].sum()  # the yellow fin is on the right


def test_auto_shading_is_unlit_where_all_materials_say_so():
    unlit = replace(square_mesh(), materials=(Material(unlit=True),))
    assert auto_shading(unlit).shading == "unlit"
    mixed = replace(unlit, materials=(Material(unlit=True), Material()), face_materials=np.array([0, 1]))
    assert auto_shading(mixed).shading == "headlight"
    assert auto_shading(replace(mixed, face_materials=np.array([0, 0]))).shading == "unlit"  # the lit one is not used


@pytest.mark.parametrize("up", UP_AXES)
def test_a_mesh_stands_up_unmirrored(up):
    axis = np.zeros(3)
    axis["xyz".index(up[-1])] = -1 if up.startswith("-") else 1
    mesh = make_mesh(np.stack([axis, [0.1, 0.2, 0.3], [-0.3, 0.5, 0.7]]), [[0, 1, 2]])
    mesh = replace(mesh, origin=Origin(center=tuple(2 * axis), scale=3.0))
    turned = stand_up(mesh, up)
    np.testing.assert_array_equal(turned.vertices[0], [0, 1, 0])
    np.testing.assert_array_equal(turned.origin.center, (0, 2, 0))
    assert np.linalg.det(turned.vertices) == pytest.approx(np.linalg.det(mesh.vertices))
    np.testing.assert_allclose(turned.vertices @ turned.vertices.T, mesh.vertices @ mesh.vertices.T, atol=1e-12)


def test_what_stands_already_stays():
    mesh = triangle_soup()
    np.testing.assert_array_equal(stand_up(mesh, "y").vertices, mesh.vertices)
    np.testing.assert_array_equal(stand_up(mesh, "z").vertices, mesh.vertices[:, [0, 2, 1]] * [1, 1, -1])
    with pytest.raises(ValueError, match="up must be one of y, z, x, -y, -z, -x, got 'w'"):
        stand_up(mesh, "w")


def test_vertex_colours_may_be_left_out():
    colored = square_mesh(colors=np.full((4, 4), 0.5), pixels=[[[255, 0, 0, 255]]])
    plain = without_vertex_colors(colored)
    np.testing.assert_array_equal(image_of(plain)[8, 8], [1, 0, 0, 1])
    assert (plain.colors == 1).all()


# ---- an independent ray caster -------------------------------------------------------------------------------------


def cast(mesh, cameras, supersample):
    """The picture as embree's rays and numpy's shading give it: straight linear colours, averaged, on white."""
    ray_pyembree = pytest.importorskip("trimesh.ray.ray_pyembree")
    side = cameras.width * supersample
    fine = Cameras(cameras.viewmats, cameras.Ks * np.array([supersample, supersample, 1.0])[:, None], side, side)
    origins, directions = (np.asarray(part)[0].reshape(-1, 3).astype(float) for part in rays(fine))
    origins = np.broadcast_to(origins, directions.shape)
    scene = ray_pyembree.RayMeshIntersector(trimesh.Trimesh(mesh.vertices, mesh.faces, process=False))
    points, index, faces = scene.intersects_location(origins, directions, multiple_hits=False)
    corners = mesh.vertices[mesh.faces[faces]]
    b = trimesh.triangles.points_to_barycentric(corners, points)
    uvs = np.einsum("nk,nki->ni", b, mesh.uvs[mesh.faces[faces]].astype(float))
    color = np.einsum("nk,nki->ni", b, mesh.colors[mesh.faces[faces]].astype(float))[:, :3]
    for number, material in enumerate(mesh.materials):
        own = mesh.face_materials[faces] == number
        color[own] *= material.factor[:3]
        if material.texture >= 0 and own.any():
            color[own] *= bilinear(mesh.textures[material.texture], uvs[own])
    linear = np.zeros((side * side, 3))
    covered = np.zeros(side * side)
    linear[index], covered[index] = color, 1
    blocks = (cameras.height, supersample, cameras.width, supersample)
    weight = covered.reshape(blocks).mean(axis=(1, 3))
    mean = linear.reshape(*blocks, 3).mean(axis=(1, 3)) / np.maximum(weight, 1e-9)[..., None]
    encoded = np.where(mean <= 0.0031308, 12.92 * mean, 1.055 * np.clip(mean, 1e-9, 1) ** (1 / 2.4) - 0.055)
    return encoded * weight[..., None] + 1 - weight[..., None], weight


def bilinear(texture, uvs):
    """Linear light of a repeating texture."""
    levels = texture.pixels[..., :3] / 255.0
    linear = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
    height, width = linear.shape[:2]
    assert texture.wrap == ("repeat", "repeat")
    places = uvs * [width, height] - 0.5
    base = np.floor(places).astype(int)
    total = np.zeros((len(uvs), 3))
    for dy in (0, 1):
        for dx in (0, 1):
            share = np.prod(np.where([dx, dy], places - base, 1 - (places - base)), axis=1)
            total += share[:, None] * linear[(base[:, 1] + dy) % height, (base[:, 0] + dx) % width]
    return total


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.parametrize("name", ["Knight.glb", "FlightHelmet/FlightHelmet.gltf", "BoxTextured.glb"])
def test_pictures_agree_with_an_independent_ray_caster(shared_data, name):
    from gatlas.io import load_mesh

    mesh = normalize_mesh(load_mesh(shared_data / "models" / name))
    opaque = tuple(replace(material, alpha_mode="OPAQUE") for material in mesh.materials)
    mesh = replace(mesh, materials=opaque)  # the caster knows no transparency
    for cameras in orbit(2, 256, 256, elevation=15):
        expected, weight = cast(mesh, cameras, 2)
        image = image_of(mesh, cameras, supersample=2).astype(float)
        shown = image[..., :3] * image[..., 3:] + 1 - image[..., 3:]
        psnr = -10 * np.log10(((shown - expected) ** 2).mean())
        ours, theirs = image[..., 3] >= 0.5, weight >= 0.5
        overlap = (ours & theirs).sum() / (ours | theirs).sum()
        print(f"{name}: {psnr:.1f} dB, silhouette IoU {overlap:.4f}")
        assert psnr >= 34
        assert overlap >= 0.998
