"""The color behind photos, as gatlas fit reports it."""

import json

import numpy as np
import pytest

from gatlas import io
from gatlas.types import Views
from tests.helpers.view_sets import textured_views

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("kind", ["scene", "view"])
def test_the_color_behind_photos_is_in_the_report(gatlas, tmp_path, kind):
    views = textured_views(count=5, side=32)
    alpha, blue = views.images[..., 3:], np.array([0.2, 0.4, 0.6])
    io.save_views(
        tmp_path / "photos",
        Views((views.images[..., :3] * alpha + blue * (1 - alpha)).astype(np.float32), views.cameras),
    )
    words = (
        "--background",
        kind,
        "--exposure",
        "off",
        "-n",
        100,
        "--iterations",
        4,
        "--resolution",
        32,
        "--init",
        "random",
    )
    run = gatlas("fit", "photos", *words, "--report", "a.json", "-o", "a.ply")
    found = json.loads((tmp_path / "a.json").read_text())["background"]
    colors = [found] if kind == "scene" else list(found.values())
    assert ("background #" in run.stderr) == (kind == "scene")
    assert len(colors) == (1 if kind == "scene" else 5)
    for color in colors:
        assert np.abs(np.frombuffer(bytes.fromhex(color[1:]), np.uint8) - 255 * blue).max() < 6
