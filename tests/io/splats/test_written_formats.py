"""Every splat format that is written: read back within its quantization, with its origin, the same picture."""

import warnings
from dataclasses import replace

import numpy as np
import pytest

from gatlas import io
from gatlas.errors import GatlasError
from gatlas.geometry.cameras import around, orbit
from gatlas.geometry.sh import SH_C0
from gatlas.io import registry
from gatlas.metrics.psnr import psnr
from gatlas.raster import rasterize
from gatlas.types import Origin
from tests.helpers.splat_files import gaussians_of
from tests.io.splats.test_viewers import judge  # noqa: F401  a fixture

FITTED = Origin("tea pot", (1.0, 2.0, 3.0), 4.0, True, pixel_sizes=(0.001, 0.004), antialiased=True)

# Name -> largest error of positions, of log-scales, of opacities and colors, of coefficients, of angles in degrees, and
# decibels of pictures; options of the writer; whether the origin is kept.
FORMATS = {
    "x.ply": (0, 2e-6, 2e-6, 0, 0.1, 50, {}, True),
    "x.spz": (1.3e-4, 0.0315, 0.004, 0.02, 0.3, 40, {}, True),
    "x.sog": (6e-5, 0.05, 0.012, 0.02, 1.0, 40, {}, True),
    "x.compressed.ply": (1.1e-3, 2e-3, 0.004, 0.02, 0.2, 40, {}, True),
    "x.splat": (0, 2e-6, 0.004, 0, 1.0, 35, {}, False),
    "x.glb": (0, 2e-6, 2e-6, 0, 0.1, 50, {}, True),
    "x.gltf": (0, 2e-6, 2e-6, 0, 0.1, 50, {}, True),
    "x3.spz": (1.3e-4, 0.0315, 0.004, 0.02, 0.3, 40, {"spz_version": 3}, True),
}


def splat(n=300, degree=0, seed=0, origin=FITTED):
    """Gaussians in the unit ball with colors that can be shown."""
    made = gaussians_of(n, degree=degree, seed=seed, origin=origin)
    means = made.means / np.linalg.norm(made.means, axis=1, keepdims=True).clip(1)
    sh = np.clip(made.sh, -1, 1) * np.where(np.arange(made.sh.shape[1]) == 0, 1.5, 0.15)[:, None]
    return replace(made, means=means, scales=0.3 * made.scales, sh=sh.astype(np.float32))


def matched(back, ours):
    """The Gaussians that were read, in the order of those that were written: a format may sort them."""
    distances = np.abs(back.means[None] - ours.means[:, None]).sum(axis=2)
    order = distances.argmin(axis=1)
    assert sorted(order) == list(range(len(ours)))
    return back[order]


def saved(path, gaussians, options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what a format loses: it is tested by itself
        io.save_gaussians(path, gaussians, **options)
    return path


def picture(gaussians):
    cameras = orbit(2, width=64, height=64)
    return np.asarray(rasterize(gaussians, cameras, background=np.ones(3)).colors)


def close(back, ours, bounds):
    """Hold two sets to the bounds of a row of FORMATS, or of the row of a name."""
    bounds = FORMATS[bounds] if isinstance(bounds, str) else bounds
    distance, stretch, opacity, coefficients, angle, decibels, _, _ = bounds
    back = matched(back, ours)
    np.testing.assert_allclose(back.means, ours.means, atol=distance + 1e-6)
    np.testing.assert_allclose(np.log(back.scales), np.log(ours.scales), atol=stretch)
    np.testing.assert_allclose(back.opacities, ours.opacities, atol=opacity)
    shown, wanted = (np.clip(each.sh[:, 0] * SH_C0 + 0.5, 0, 1) for each in (back, ours))
    np.testing.assert_allclose(shown, wanted, atol=max(opacity, coefficients * SH_C0))
    if coefficients is not None:
        np.testing.assert_allclose(back.sh[:, 1:], ours.sh[:, 1:], atol=coefficients + 1e-6)
    cosines = np.abs((back.quats.astype(float) * ours.quats).sum(axis=1))
    assert np.degrees(2 * np.arccos(np.clip(cosines, 0, 1))).max() <= angle
    assert psnr(picture(back), picture(ours)).min() >= decibels


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
@pytest.mark.parametrize("name", FORMATS)
def test_what_is_written_is_read_within_the_quantization_of_the_format(name, degree, tmp_path):
    ours = splat(degree=degree if name != "x.splat" else 0, origin=replace(FITTED, antialiased=False))
    close(io.load_gaussians(saved(tmp_path / name, ours, FORMATS[name][-2])), ours, name)


@pytest.mark.parametrize("name", FORMATS)
def test_a_single_gaussian_is_written(name, tmp_path):
    ours = splat(1)
    close(io.load_gaussians(saved(tmp_path / name, ours, FORMATS[name][-2])), ours, name)


@pytest.mark.parametrize("name", [name for name in FORMATS if FORMATS[name][-1]])
@pytest.mark.parametrize("origin", [FITTED, Origin("Übung/1"), Origin("levels", levels=(10, 300), growth=0.25)])
def test_the_origin_comes_back(name, origin, tmp_path):
    ours = splat(origin=origin)
    assert io.load_gaussians(saved(tmp_path / name, ours, FORMATS[name][-2])).origin == origin


@pytest.mark.parametrize("name", FORMATS)
def test_the_same_gaussians_give_the_same_bytes(name, tmp_path):
    first, second = (saved(tmp_path / f"{i}{name}", splat(degree=1), FORMATS[name][-2]) for i in range(2))
    assert first.read_bytes() == second.read_bytes()


def test_an_option_of_another_format_is_refused(tmp_path):
    with pytest.raises(GatlasError, match=r"--spz-version is for another format: .*x\.ply is 3DGS PLY"):
        io.save_gaussians(tmp_path / "x.ply", splat(2), spz_version=3)


def test_small_gaussians_in_small_units_keep_their_places_in_an_spz(tmp_path):
    ours = replace(splat(), means=splat().means * 1e-3, scales=splat().scales * 1e-3, origin=Origin())
    io.save_gaussians(tmp_path / "x.spz", ours)
    back = io.load_gaussians(tmp_path / "x.spz")
    np.testing.assert_allclose(back.means, ours.means, atol=2e-6)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"scales": splat().scales * 1e-5, "means": splat().means * 1e-5}, "have sizes outside 0.000045 to 380"),
        ({"sh": np.full((300, 4, 3), 2, np.float32)}, "300 have harmonics outside -1 to 1"),
        ({"means": splat().means * 3e6}, "sizes near the step of positions"),
    ],
)
def test_what_an_spz_clamps_is_said(tmp_path, changes, words):
    with pytest.warns(UserWarning, match=words):
        io.save_gaussians(tmp_path / "x.spz", replace(splat(origin=Origin()), **changes))


def test_a_position_that_an_spz_cannot_hold_is_refused(tmp_path):
    ours = splat(2)
    far = replace(ours, means=ours.means + np.float32(1e7))
    with pytest.raises(GatlasError, match="SPZ holds no position beyond 8,388,607"):
        io.save_gaussians(tmp_path / "x.spz", far)
    assert not (tmp_path / "x.spz").exists()


def test_what_a_dot_splat_has_no_room_for_is_said(tmp_path):
    with pytest.warns(UserWarning, match="has no room") as caught:
        io.save_gaussians(tmp_path / "x.splat", splat(4, degree=1))
    assert [str(each.message) for each in caught] == [
        ".splat has no room for its normalization (center and scale of its source), its pixel sizes, its antialiased "
        "mode: a splat PLY keeps it",
        ".splat has no room for color that depends on the direction: degree 0 is kept",
    ]


# Formats that splat-transform writes and does not read.
UNREAD_BY_THE_JUDGE = (".glb", ".gltf")
WORDS = {"x3.spz": ("--spz-version", "3"), "x.sog": ("-g", "cpu")}


def judged(run, source, target):
    """What splat-transform makes of a file; a format that it does not write is skipped."""
    if target.suffix == ".gltf":
        pytest.skip("splat-transform writes no glTF but GLB")
    run("-w", *WORDS.get(target.name, ()), source, target)
    return target


@pytest.mark.slow
@pytest.mark.parametrize("degree", [0, 1, 2, 3])
@pytest.mark.parametrize("name", [name for name in FORMATS if not name.endswith(UNREAD_BY_THE_JUDGE)])
def test_the_judge_reads_what_we_write(judge, name, degree, tmp_path):  # noqa: F811
    ours = splat(degree=degree if name != "x.splat" else 0, origin=replace(FITTED, antialiased=False))
    judge("-w", saved(tmp_path / name, ours, FORMATS[name][-2]), tmp_path / "back.ply")
    close(replace(io.load_gaussians(tmp_path / "back.ply"), origin=ours.origin), ours, name)


@pytest.mark.slow
@pytest.mark.parametrize("degree", [0, 1, 2, 3])
@pytest.mark.parametrize("name", FORMATS)
def test_we_read_what_the_judge_writes(judge, name, degree, tmp_path):  # noqa: F811
    """Its rounding is coarser than ours; that our reading is right is shown by its own reading of the same file."""
    ours = splat(degree=degree if name != "x.splat" else 0, origin=replace(FITTED, antialiased=False))
    io.save_gaussians(tmp_path / "ours.ply", ours)
    back = io.load_gaussians(judged(judge, tmp_path / "ours.ply", tmp_path / name))
    own = {"x.spz": 0.07, "x3.spz": 0.07, "x.sog": 0.3}  # it keeps four bits, or harmonics of its neighbors
    distance, stretch, opacity, coefficients, angle, decibels, *rest = FORMATS[name]
    angle = 2.0 if name == "x.sog" else angle  # it cuts off where we round
    bounds = (distance, stretch, opacity, own.get(name, coefficients), angle, 25 if decibels < 50 else 50, *rest)
    close(replace(back, origin=ours.origin), ours, bounds)
    if not name.endswith(UNREAD_BY_THE_JUDGE):
        judge("-w", tmp_path / name, tmp_path / "theirs.ply")
        theirs = replace(io.load_gaussians(tmp_path / "theirs.ply"), origin=ours.origin)
        close(replace(back, origin=ours.origin), theirs, (1e-5, 1e-4, 1e-4, 1e-4, 0.2, 50, {}, False))


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.parametrize("file", ["gaussianverse_9350303.ply", "playcanvas_guitar.compressed.ply"])
def test_pictures_of_a_real_splat_are_the_same_after_each_format_both_ways(judge, shared_data, tmp_path, file):  # noqa: F811
    """At least 50 dB, where a format rounds 40; of what the judge writes, its own reading of it is the measure."""
    ours = replace(io.load_gaussians(shared_data / "splats" / file), origin=Origin())
    io.save_gaussians(tmp_path / "ours.ply", ours)
    full, plain = framed(ours, ours), framed(replace(ours, sh=ours.sh[:, :1]), ours)
    for name, (*_, decibels, options, _) in FORMATS.items():
        path = saved(tmp_path / f"our-{name}", ours, options)
        wanted = plain if name == "x.splat" else full  # it has one color for all directions
        assert psnr(framed(io.load_gaussians(path), ours), wanted).min() >= max(decibels, 40), f"we read our {name}"
        if name.endswith(UNREAD_BY_THE_JUDGE):
            continue
        judge("-w", path, tmp_path / "back.ply")
        back = io.load_gaussians(tmp_path / "back.ply")
        assert psnr(framed(back, ours), wanted).min() >= max(decibels, 40), f"the judge reads our {name}"
        judge("-w", judged(judge, tmp_path / "ours.ply", tmp_path / name), tmp_path / "theirs.ply")
        theirs = framed(io.load_gaussians(tmp_path / "theirs.ply"), ours)
        assert psnr(framed(io.load_gaussians(tmp_path / name), ours), theirs).min() >= 50, f"we read its {name}"
    glb = io.load_gaussians(judged(judge, tmp_path / "ours.ply", tmp_path / "x.glb"))
    assert psnr(framed(glb, ours), full).min() >= 50


def framed(gaussians, whole):
    """Two pictures by cameras that frame `whole`."""
    cameras = around(whole, orbit(2, width=128, height=128))
    return np.asarray(rasterize(replace(gaussians, origin=Origin()), cameras, background=np.ones(3)).colors)


def test_every_format_that_is_written_is_tested_here():
    tested = {registry.written_format("splat", name).name for name in FORMATS}
    assert tested == {each.name for each in registry.FORMATS if each.noun == "splat" and each.encode and each.decode}
