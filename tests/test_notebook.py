"""The last line of a notebook's cell shows the object."""

import base64
import re
import subprocess
import sys
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from gatlas import io
from gatlas.geometry.cameras import orbit
from gatlas.images.sheets import atlas_picture
from gatlas.notebook import viewer
from gatlas.render import RenderOptions, render
from gatlas.types import Atlas, MixedViews, Origin, Views, join_cameras
from tests.helpers.egg import ellipsoid
from tests.helpers.splat_files import gaussians_of

EXAMPLE = "examples/rocket.glb"


def opened(png):
    with Image.open(BytesIO(png)) as image:
        return np.asarray(image).astype(np.float32) / 255


@pytest.fixture(scope="module")
def egg():
    return ellipsoid(300)


@pytest.fixture(scope="module")
def mesh(pytestconfig):
    return io.load_mesh(pytestconfig.rootpath / EXAMPLE)


def views_of(images, cameras):
    return Views(np.asarray(images, dtype=np.float32), cameras)


def test_gaussians_and_meshes_are_shown_as_render_shows_them(egg, mesh):
    for shown in (egg, mesh):
        expected = render(shown, RenderOptions(width=384)).images[0]
        np.testing.assert_allclose(opened(shown._repr_png_()), expected, atol=0.51 / 255)


def test_tensors_are_shown_as_their_arrays(egg):
    torch = pytest.importorskip("torch")
    names = ("means", "quats", "scales", "opacities", "sh")
    tensors = {name: torch.from_numpy(getattr(egg, name)).requires_grad_() for name in names}
    assert replace(egg, **tensors)._repr_png_() == egg._repr_png_()


def test_an_atlas_is_shown_as_its_planes():
    sizes = {"offset": 3, "color": 3, "opacity": 1, "scale": 3, "rotation": 4}
    atlas = Atlas(**{name: np.full((4, 4, n), 0.5, np.float32) for name, n in sizes.items()}, meta={})
    np.testing.assert_allclose(opened(atlas._repr_png_()), atlas_picture(atlas, 160), atol=0.51 / 255)
    assert "Atlas of 4 x 4 cells" in atlas._repr_html_()


def test_views_are_a_contact_sheet_of_at_most_sixteen():
    images = np.linspace(0, 1, 31, dtype=np.float32)[:, None, None, None].repeat(4, 1).repeat(6, 2).repeat(3, 3)
    sheet = opened(views_of(images, orbit(31, 6, 4))._repr_png_())
    assert sheet.shape == (16, 24, 3)
    np.testing.assert_allclose(np.unique(sheet), np.linspace(0, 1, 16), atol=0.51 / 255)


def test_views_of_several_sizes_and_none_at_all():
    wide, high = orbit(1, 6, 4), orbit(1, 4, 8)
    viewmats, Ks = (np.concatenate([getattr(wide, name), getattr(high, name)]) for name in ("viewmats", "Ks"))
    images = tuple(np.zeros((height, width, 3), np.float32) for width, height in ((6, 4), (4, 8)))
    mixed = MixedViews(images, join_cameras(viewmats, Ks, [(6, 4), (4, 8)]))
    assert opened(mixed._repr_png_()).shape == (8, 12, 3)
    assert "2 views of 2 sizes" in mixed._repr_html_()
    empty = views_of(np.zeros((0, 4, 6, 3)), wide[:0])
    assert empty._repr_png_() is None
    assert empty._repr_html_() == "<div>0 views</div>"


def test_the_html_holds_the_picture_and_escapes_the_name(egg):
    named = replace(egg, origin=replace(egg.origin, name="<script>1</script>"))
    text = named._repr_html_()
    assert "<script>" not in text
    assert "&lt;script&gt;1&lt;/script&gt;: 300 Gaussians, spherical harmonics of degree 0" in text
    png = base64.b64decode(re.search(r"base64,([^\"]+)", text)[1])
    assert png == egg._repr_png_()


def test_a_viewer_is_the_page_in_a_frame(egg):
    from html import unescape

    text = viewer(egg, egg, height=300)._repr_html_()
    page = unescape(re.search(r'srcdoc="([^"]*)"', text)[1])
    assert page.startswith("<!doctype html>")
    assert [page.count(f'id="splat-{i}"') for i in range(3)] == [1, 1, 0]
    assert "height: 300px" in text


@pytest.mark.parametrize("count", [0, 3])
def test_what_cannot_be_shown_is_its_text(count):
    shown = gaussians_of(count, origin=Origin("odd"))
    shown.sh[:] = np.nan
    assert shown._repr_png_() is None
    assert shown._repr_html_() == f"<div>odd: {count} Gaussians, spherical harmonics of degree 0</div>"


def test_the_types_load_nothing_that_draws():
    script = "import sys, gatlas.types; assert not {'numpy', 'gatlas.notebook', 'gatlas.render'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)
