"""An atlas as a SOG: its pixels are the cells, any reader of SOG sees the object, and no transport leads back."""

import io as stdio
import json
import zipfile

import numpy as np
import pytest
from PIL import Image

from gatlas import io
from gatlas.atlas import EncodeOptions, decode, encode
from gatlas.atlas.sog import as_grid, from_grid
from gatlas.errors import GatlasError
from gatlas.types import Origin
from tests.helpers.command_line import run_here
from tests.helpers.splat_files import gaussians_of


@pytest.fixture(scope="module")
def atlas():
    ours = gaussians_of(60, origin=Origin("pot", pixel_sizes=(0.01, 0.02)))
    return encode(ours, EncodeOptions(size=8))


def test_the_grid_leads_back_to_the_planes(atlas):
    back = from_grid(as_grid(atlas), atlas.meta)
    for name in ("offset", "color", "scale", "rotation"):
        np.testing.assert_allclose(getattr(back, name), getattr(atlas, name), atol=2e-5, err_msg=name)
    np.testing.assert_array_equal(back.opacity == 0, atlas.opacity == 0)


def test_a_sog_of_an_atlas_is_read_as_one_within_the_quantization(atlas, tmp_path):
    io.save_gaussians(tmp_path / "a.sog", as_grid(atlas), atlas=atlas.meta)
    meta = io.sog_atlas_meta(tmp_path / "a.sog")
    assert meta == json.loads(json.dumps(atlas.meta))
    back = from_grid(io.load_gaussians(tmp_path / "a.sog"), meta)
    np.testing.assert_allclose(back.offset, atlas.offset, atol=1e-3)
    np.testing.assert_allclose(back.scale, atlas.scale, atol=0.05)
    np.testing.assert_allclose(back.opacity, atlas.opacity, atol=1 / 255)
    np.testing.assert_array_equal(back.opacity == 0, atlas.opacity == 0)
    assert len(decode(back)) == 60


def test_the_pixels_are_the_cells(atlas, tmp_path):
    io.save_gaussians(tmp_path / "a.sog", as_grid(atlas), atlas=atlas.meta)
    with zipfile.ZipFile(tmp_path / "a.sog") as archive:
        picture = np.asarray(Image.open(stdio.BytesIO(archive.read("sh0.webp"))).convert("RGBA"))
    assert picture.shape == (8, 8, 4)
    np.testing.assert_array_equal(picture[..., 3] == 0, atlas.opacity[..., 0] == 0)


def test_the_verbs_write_and_read_it_without_transport(tmp_path):
    io.save_gaussians(tmp_path / "x.ply", gaussians_of(60))
    assert run_here(["atlas-encode", "x.ply", "--size", 8, "-o", "a.sog"], tmp_path).returncode == 0
    again = run_here(["atlas-encode", "a.sog", "--size", 8, "-o", "a.npz"], tmp_path)
    assert "its pixels are the cells of an atlas: no transport is needed" in again.stderr
    assert b"the cells of an atlas, 8 a side" in run_here(["info", "a.sog"], tmp_path).stdout
    assert run_here(["atlas-decode", "a.sog", "-o", "y.ply"], tmp_path).returncode == 0
    assert len(io.load_gaussians(tmp_path / "y.ply")) == 60
    other = run_here(["atlas-encode", "a.sog", "--size", 4, "-o", "b.npz"], tmp_path)
    assert other.returncode == 0
    assert "no transport" not in other.stderr


@pytest.mark.parametrize("meta", [{}, {"size": 9}, {"size": "8"}])
def test_a_meta_that_does_not_fit_is_refused(atlas, meta):
    with pytest.raises(GatlasError, match="its meta is of an atlas of"):
        from_grid(as_grid(atlas), meta)
