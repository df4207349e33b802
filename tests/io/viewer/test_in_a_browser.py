"""Pages in a real browser show what `gatlas render` shows, from wherever the user turns them."""

from dataclasses import replace

import numpy as np
import pytest

from gatlas import io
from gatlas.geometry.cameras import around, orbit
from gatlas.images.composite import composite
from gatlas.raster import rasterize, straight_rgba
from gatlas.render import RenderOptions
from gatlas.render.page import PageSplat, splat_page
from gatlas.types import Gaussians, Origin
from tests.helpers.egg import ellipsoid
from tests.helpers.likeness import likeness
from tests.helpers.raster_scenes import FIELDS, gaussians
from tests.helpers.splat_files import one_gaussian

pytestmark = pytest.mark.slow
WIDTH, HEIGHT = 200, 160
ENOUGH = 38.0  # dB over the box of the object; the quantized data alone reaches 50 on smooth objects


def rendered(subject, width, height, *, azimuth=0.0, elevation=20.0, distance=2.6, white=1.0):
    """What our rasterizer shows from there, over white."""
    cameras = orbit(1, width, height, azimuth=azimuth, elevation=elevation, distance=distance)
    rgba = straight_rgba(rasterize(subject, around(subject, cameras)))
    return composite(rgba, white)[0]


@pytest.fixture
def page_of(opened, tmp_path):
    """Write a page of Gaussians and open it, as a rule so that the window is the picture."""

    def show(*subjects, width=WIDTH, height=HEIGHT, **more):
        names = [each.origin.name for each in subjects]
        splats = [PageSplat(name, each) for name, each in zip(names, subjects, strict=True)]
        io.save_page(tmp_path / "x.html", splat_page(splats, RenderOptions()), force=True)
        return opened(tmp_path / "x.html", width, height, **more)

    return show


def scene_of_degree(degree):
    scene = gaussians(600, 3, spread=0.3, size=0.06, degree=degree)
    return replace(scene, origin=Origin("cloud", normalized=True))


def far_and_large():
    egg = ellipsoid()
    moved = replace(egg, means=egg.means * 40 + np.float32([300, -50, 20]), scales=egg.scales * 40)
    return replace(moved, origin=Origin("far"))


def antialiased(sizes):
    egg = ellipsoid()
    return replace(egg, origin=replace(egg.origin, antialiased=True, pixel_sizes=sizes))


def before_a_sky():
    """A cloud of 300 Gaussians in front of 300 large ones that are a hundred times as far away."""
    scene, sky = gaussians(300, 3, spread=0.3, size=0.06), gaussians(300, 4, size=15.0)
    sky.means[:] *= 100 / np.linalg.norm(sky.means, axis=1, keepdims=True)
    fields = {name: np.concatenate([getattr(scene, name), getattr(sky, name)]) for name in FIELDS}
    return Gaussians(**fields, origin=Origin("scene", normalized=True))


SUBJECTS = {
    "an egg": ellipsoid(),
    "colors of degree 1": scene_of_degree(1),
    "colors of degree 2": scene_of_degree(2),
    "colors of degree 3": scene_of_degree(3),
    "an object in its own units": far_and_large(),
    "a scene before a far sky": before_a_sky(),
    "one Gaussian": one_gaussian("one"),
    "antialiased, fitted to finer pixels": antialiased((0.001, 0.002)),
    "fitted to coarser pixels": replace(ellipsoid(), origin=Origin(normalized=True, pixel_sizes=(0.05, 0.06))),
}


@pytest.mark.parametrize("name", SUBJECTS)
def test_a_page_shows_what_the_rasterizer_shows(page_of, name):
    page = page_of(SUBJECTS[name])
    enough = ENOUGH if SUBJECTS[name].sh.shape[1] == 1 else 33.0  # random harmonics are rounded to few levels
    assert likeness(page.picture(), rendered(SUBJECTS[name], WIDTH, HEIGHT)) > enough


def seen_by(page):
    """Where the camera of a page stands, as arguments of `rendered`."""
    azimuth, elevation, distance = page.value(
        "[viewer.camera.azimuth, viewer.camera.elevation, viewer.camera.distance]"
    )
    return {"azimuth": np.degrees(azimuth), "elevation": np.degrees(elevation), "distance": distance}


def test_a_drag_turns_and_the_wheel_zooms(page_of):
    page = page_of(ellipsoid())
    before = seen_by(page)
    page.drag((100, 80), (140, 95))
    turned = seen_by(page.drawn())
    assert turned["azimuth"] == pytest.approx(before["azimuth"] - 45)  # half a turn for the shorter side
    assert turned["elevation"] == pytest.approx(before["elevation"] + 180 * 15 / HEIGHT)
    assert likeness(page.picture(), rendered(ellipsoid(), WIDTH, HEIGHT, **turned)) > ENOUGH
    page.mouse("mouseWheel", 100, 80, deltaX=0, deltaY=-200)
    nearer = seen_by(page.drawn())
    assert nearer["distance"] < 0.8 * turned["distance"]
    assert likeness(page.picture(), rendered(ellipsoid(), WIDTH, HEIGHT, **nearer)) > ENOUGH
    page.value("document.getElementById('reset').click()")
    assert seen_by(page.drawn()) == pytest.approx(before)


def test_keys_turn_zoom_and_move_nothing_else(page_of):
    page = page_of(ellipsoid())
    for key in ("ArrowRight", "ArrowUp", "-"):
        page.call("Input.dispatchKeyEvent", type="keyDown", key=key)
    assert seen_by(page.drawn()) == pytest.approx({"azimuth": -5, "elevation": 15, "distance": 2.6 / 0.9})


def test_a_drag_with_shift_moves_the_object_with_the_pointer(page_of):
    page = page_of(ellipsoid())
    before = page.picture()
    page.mouse("mousePressed", 100, 80, button="left", buttons=1, modifiers=8, clickCount=1)
    page.mouse("mouseMoved", 120, 70, button="left", buttons=1, modifiers=8)
    page.mouse("mouseReleased", 120, 70, button="left", modifiers=8, clickCount=1)
    moved = page.drawn().picture()
    where = [np.argwhere((picture < 0.95).any(axis=-1)).mean(axis=0) for picture in (before, moved)]
    np.testing.assert_allclose(where[1] - where[0], [-10, 20], atol=1.5)


def test_a_phone_is_filled_and_fingers_turn_and_pinch(page_of):
    page = page_of(ellipsoid(), width=180, height=320, mobile=True, scale=2)
    assert likeness(page.picture(), rendered(ellipsoid(), 360, 640)) > ENOUGH
    before = seen_by(page)
    page.touch("touchStart", (0, 60, 100))
    page.touch("touchMove", (0, 100, 100))
    page.touch("touchEnd")
    assert seen_by(page.drawn())["azimuth"] == pytest.approx(before["azimuth"] - 180 * 40 / 180)
    page.touch("touchStart", (0, 80, 160), (1, 100, 160))
    page.touch("touchMove", (0, 70, 160), (1, 110, 160))
    page.touch("touchEnd")
    assert seen_by(page.drawn())["distance"] == pytest.approx(before["distance"] / 2)
    assert page.value("document.documentElement.scrollWidth <= innerWidth")


def test_the_first_frame_is_a_picture_until_the_viewer_draws(page_of):
    page = page_of(ellipsoid(), width=256, height=256)
    page.value("viewer.paint = () => {}")
    page.value("viewer.canvas.remove(), viewer.tiles[0].classList.remove('drawn')")
    assert likeness(page.picture(), rendered(ellipsoid(), 256, 256)) > 30  # WebP, at half its size


def test_the_background_changes_behind_the_same_object(page_of):
    page = page_of(ellipsoid())
    page.value("viewer.nextBackground(), viewer.nextBackground()")
    assert page.value("document.body.classList.contains('dark')")
    assert likeness(page.drawn().picture(), rendered(ellipsoid(), WIDTH, HEIGHT, white=0.0)) > ENOUGH


def is_green(picture):
    return (picture[..., 1] > 0.6) & (picture[..., [0, 2]] < 0.3).all(axis=-1)


HOSTILE = '</script><script>window.broken = 1</script><img src=x onerror="window.broken = 1">&amp;'


def test_several_are_side_by_side_or_one_from_the_menu_by_whatever_name(page_of):
    green = ellipsoid(500)
    green.sh[:] = np.float32([-1, 1, -1])
    named = [replace(each, origin=Origin(HOSTILE, normalized=True)) for each in (ellipsoid(), green)]
    page = page_of(*named, width=400, height=260, bare=False)
    assert page.value("document.title") == f"{HOSTILE}, {HOSTILE} (2)"
    captions = page.value("[...document.querySelectorAll('figcaption')].map(each => each.textContent)")
    assert captions == [HOSTILE, f"{HOSTILE} (2)"]
    left, right = np.split(is_green(page.picture()), 2, axis=1)
    assert left.mean() < 0.01 < 0.05 < right.mean()
    page.value("menu.value = '1', menu.dispatchEvent(new Event('change'))")
    columns = is_green(page.drawn().picture()).any(axis=0)
    assert columns[200]
    assert not columns[:100].any()
    assert page.value("window.broken === undefined")


def test_half_a_million_gaussians(page_of):
    scene = gaussians(500_000, 5, spread=0.25, size=0.004)
    scene = replace(scene, origin=Origin("many", normalized=True))
    page = page_of(scene)
    assert likeness(page.picture(), rendered(scene, WIDTH, HEIGHT)) > ENOUGH
    page.drag((100, 80), (140, 95))
    assert likeness(page.drawn().picture(), rendered(scene, WIDTH, HEIGHT, **seen_by(page))) > ENOUGH


@pytest.mark.shared
@pytest.mark.parametrize("name", ["gaussianverse_9350303.ply", "playcanvas_guitar.compressed.ply"])
def test_real_splats(page_of, shared_data, name):
    splat = io.load_gaussians(shared_data / "splats" / name)
    assert likeness(page_of(splat, width=320).picture(), rendered(splat, 320, HEIGHT)) > 35
