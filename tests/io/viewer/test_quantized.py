"""Gaussians packed for a page keep what a picture shows, in few bytes."""

import gzip
from dataclasses import replace

import numpy as np
import pytest

from gatlas.geometry.rotations import multiply_quats
from gatlas.geometry.sh import SH_C0
from gatlas.io.viewer.quantized import STEP, pack
from gatlas.types import Origin
from tests.helpers.raster_scenes import gaussians, torus


def unpacked(packed):
    """What `viewer.js` makes of the bytes: positions, scales, quaternions (wxyz), RGB, opacities, harmonics."""
    header, data = packed.header, np.frombuffer(gzip.decompress(packed.data), np.uint8)
    count, at = header["count"], 0

    def columns(channels, width):
        nonlocal at
        planes = data[at : at + channels * width * count].reshape(channels, width, count).astype(np.int64)
        at += channels * width * count
        return sum(planes[:, byte] << (8 * byte) for byte in range(width))

    zigzag, width = columns(3, header["positionBytes"]), header["positionBytes"]
    steps = np.where(zigzag % 2, -(zigzag + 1) // 2, zigzag // 2)
    places = np.cumsum(steps, axis=1) % 256**width / (256**width - 1)
    low, high = np.array(header["low"])[:, None], np.array(header["high"])[:, None]
    sizes, (least, most) = columns(3, header["scaleBytes"]) / (256 ** header["scaleBytes"] - 1), header["scales"]
    (rotations,) = columns(1, 4)
    small = np.stack([(rotations >> shift) & 1023 for shift in (0, 10, 20)], axis=1) / 511 - 1
    quats = np.zeros((count, 4))
    for i, (three, left) in enumerate(zip(small / np.sqrt(2), rotations >> 30, strict=True)):
        quats[i] = np.insert(three, left, np.sqrt(max(0.0, 1 - three @ three)))
    rgb, opacities = columns(3, 1) / 255, columns(1, 1)[0] / 255
    (dark, bright), more = header["colors"], header["coefficients"] - 1
    steps_of_bands = np.repeat(header["bands"], (9, 15, 21))[: 3 * more, None]
    harmonics = ((columns(3 * more, 1) - 128) * steps_of_bands).T.reshape(count, more, 3)
    assert at == len(data)
    positions = (low + places * (high - low)).T
    return (
        positions,
        np.exp(least + sizes * (most - least)).T,
        quats,
        (dark + rgb * (bright - dark)).T,
        opacities,
        harmonics,
    )


def in_order(found, wanted):
    """The indices of the wanted positions, of each found one the nearest."""
    return np.linalg.norm(found[:, None] - wanted, axis=2).argmin(axis=1)


@pytest.fixture(scope="module")
def cloud():
    """500 Gaussians of degree 3 in the unit ball."""
    made = gaussians(500, 1, spread=0.3, degree=3)
    return replace(made, origin=Origin("cloud", normalized=True))


def test_positions_scales_and_opacities_are_kept(cloud):
    positions, scales, _, _, opacities, _ = unpacked(pack(cloud))
    order = in_order(positions, cloud.means)
    assert sorted(order) == list(range(500))
    assert np.abs(positions - cloud.means[order]).max() <= STEP / 2
    np.testing.assert_allclose(scales, cloud.scales[order], rtol=0.02)
    np.testing.assert_allclose(opacities, cloud.opacities[order], atol=0.51 / 255)


def test_rotations_are_kept_to_a_fifth_of_a_degree(cloud):
    positions, _, quats, *_ = unpacked(pack(cloud))
    wanted = cloud.quats[in_order(positions, cloud.means)]
    wanted = wanted / np.linalg.norm(wanted, axis=1, keepdims=True) * [1, -1, -1, -1]
    apart = multiply_quats(wanted, quats / np.linalg.norm(quats, axis=1, keepdims=True))
    assert np.degrees(2 * np.linalg.norm(apart[:, 1:], axis=1)).max() < 0.2


def test_colors_and_harmonics_are_kept_but_the_farthest_strays(cloud):
    positions, _, _, rgb, _, harmonics = unpacked(pack(cloud))
    order = in_order(positions, cloud.means)
    np.testing.assert_allclose(rgb, cloud.sh[order, 0] * SH_C0 + 0.5, atol=0.01)
    error = np.abs(harmonics - cloud.sh[order, 1:])
    steps = np.repeat(pack(cloud).header["bands"], (3, 5, 7))[:, None]
    assert (error > 0.501 * steps).mean() < 0.001
    assert (steps[:3] < 0.04).all()
    assert (steps[3:] < 0.09).all()


def test_positions_of_a_scene_with_a_far_background_keep_their_step():
    scene = gaussians(300, 2, spread=0.3)
    scene.means[:3] = [[900, 0, 0], [-900, 5, 0], [0, 0, 900]]
    scene = replace(scene, origin=Origin(normalized=True))
    packed = pack(scene)
    positions = unpacked(packed)[0]
    assert np.abs(positions - scene.means[in_order(positions, scene.means)]).max() <= STEP / 2
    assert packed.header["positionBytes"] == 3


def test_lengths_are_in_radii_of_the_object(cloud):
    sizes = (0.01, 0.02)
    normalized = pack(replace(cloud, origin=Origin(normalized=True, pixel_sizes=sizes)))
    center = np.float32([30, -20, 10])
    scaled = replace(cloud, means=cloud.means * 8 + center, scales=cloud.scales * 8)
    packed = pack(replace(scaled, origin=Origin(pixel_sizes=(0.08, 0.16), ball=(30, -20, 10, 8))))
    ratio = packed.header["ball"][3]  # the frame leaves out strays, so it is not the unit ball
    np.testing.assert_allclose(packed.header["pixelSizes"], np.multiply(normalized.header["pixelSizes"], ratio))
    size = np.subtract(packed.header["high"], packed.header["low"])
    np.testing.assert_allclose(
        size, ratio * np.subtract(normalized.header["high"], normalized.header["low"]), rtol=1e-5
    )
    assert np.abs(np.add(packed.header["high"], packed.header["low"])).max() < 0.8 * ratio


def test_pixel_sizes_of_a_header_that_another_program_left_are_dropped(cloud):
    moved = replace(cloud, means=cloud.means * 1000, origin=Origin(normalized=True, pixel_sizes=(0.01, 0.02)))
    assert pack(moved).header["pixelSizes"] is None


def test_gaussians_that_are_never_drawn_are_left_out(cloud):
    opacities = cloud.opacities.copy()
    opacities[:100] = 0.0038  # below 1/255
    assert pack(replace(cloud, opacities=opacities)).header["count"] == 400


def test_16384_gaussians_take_less_than_300_kilobytes():
    scene = replace(torus(16_384), origin=Origin(normalized=True))
    assert len(pack(scene).data) < 300_000


def test_the_same_gaussians_give_the_same_bytes_and_tensors_too(cloud):
    torch = pytest.importorskip("torch")
    fields = {name: torch.from_numpy(getattr(cloud, name)) for name in ("means", "quats", "scales", "opacities", "sh")}
    assert pack(cloud) == pack(cloud) == pack(replace(cloud, **fields))
