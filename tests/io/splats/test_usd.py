"""USD: what pxr sees in a file is what there is in memory; without it, one line says what is missing."""

import json
import sys
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from gatlas import io
from gatlas.errors import GatlasError
from gatlas.types import Origin
from tests.helpers.splat_files import gaussians_of

FITTED = Origin('tea "pot" ü', (1.0, 2.0, 3.0), 4.0, True, pixel_sizes=(0.001, 0.004), antialiased=True)


@pytest.fixture
def pxr():
    """The modules of usd-core that the tests read with."""
    pytest.importorskip("pxr", reason="usd-core is not installed")
    from pxr import Usd, UsdGeom, UsdValidation, UsdVol

    if not hasattr(UsdVol, "ParticleField3DGaussianSplat"):
        pytest.skip(f"usd-core {Usd.GetVersion()} has no Gaussians")
    return Usd, UsdGeom, UsdValidation, UsdVol


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
@pytest.mark.parametrize("suffix", [".usd", ".usda", ".usdc", ".usdz"])
def test_usd_holds_what_there_is_in_memory(pxr, suffix, degree, tmp_path):
    Usd, UsdGeom, _, UsdVol = pxr
    ours = gaussians_of(20, degree=degree, origin=FITTED)
    io.save_gaussians(tmp_path / f"x{suffix}", ours)
    stage = Usd.Stage.Open(str(tmp_path / f"x{suffix}"))
    assert (UsdGeom.GetStageUpAxis(stage), UsdGeom.GetStageMetersPerUnit(stage)) == ("Y", 1.0)
    prim = stage.GetDefaultPrim()
    assert prim.GetTypeName() == "ParticleField3DGaussianSplat"
    assert prim.GetDisplayName() == FITTED.name
    splat = UsdVol.ParticleField3DGaussianSplat(prim)
    np.testing.assert_array_equal(splat.GetPositionsAttr().Get(), ours.means)
    np.testing.assert_allclose(splat.GetScalesAttr().Get(), ours.scales, rtol=1e-6)
    np.testing.assert_allclose(splat.GetOpacitiesAttr().Get(), ours.opacities, rtol=1e-6)
    quats = np.array([[q.GetReal(), *q.GetImaginary()] for q in splat.GetOrientationsAttr().Get()])
    unit = ours.quats / np.linalg.norm(ours.quats, axis=1, keepdims=True)
    np.testing.assert_allclose(np.abs((quats * unit).sum(axis=1)), 1, atol=1e-6)
    assert splat.GetRadianceSphericalHarmonicsDegreeAttr().Get() == degree
    coefficients = np.array(splat.GetRadianceSphericalHarmonicsCoefficientsAttr().Get())
    np.testing.assert_array_equal(coefficients.reshape(20, (degree + 1) ** 2, 3), ours.sh)
    kept = json.loads(prim.GetCustomDataByKey("gatlas"))
    assert (kept["center"], kept["scale"], kept["antialiased"]) == ([1, 2, 3], 4, True)


def test_the_extent_of_usd_holds_three_standard_deviations(pxr, tmp_path):
    """Turned by a quarter about z, the long axis x points along y."""
    Usd, UsdGeom, _, _ = pxr
    one = gaussians_of(1, origin=Origin())
    half = np.sqrt(0.5)
    one = replace(
        one,
        means=np.array([[1, 2, 3]], np.float32),
        scales=np.array([[0.5, 0.1, 0.2]], np.float32),
        quats=np.array([[half, 0, 0, half]], np.float32),
    )
    io.save_gaussians(tmp_path / "x.usd", one)
    stage = Usd.Stage.Open(str(tmp_path / "x.usd"))
    extent = UsdGeom.Boundable(stage.GetDefaultPrim()).GetExtentAttr().Get()
    np.testing.assert_allclose(extent, [[0.7, 0.5, 2.4], [1.3, 3.5, 3.6]], atol=1e-6)


@pytest.mark.usefixtures("pxr")
def test_a_usd_package_is_sound_and_the_same_every_time(tmp_path):
    """The rules of USDZ: members as they are, at multiples of 64 bytes, and the time of writing is not in it."""
    for name in ("a", "b"):
        io.save_gaussians(tmp_path / f"{name}.usdz", gaussians_of(5))
    content = (tmp_path / "a.usdz").read_bytes()
    assert content == (tmp_path / "b.usdz").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.usdz") as archive:
        (member,) = archive.infolist()
        assert (member.compress_type, member.date_time[:3]) == (zipfile.ZIP_STORED, (1980, 1, 1))
        assert content.index(b"PXR-USDC") % 64 == 0


def test_the_validators_of_usd_find_nothing(pxr, tmp_path):
    Usd, _, UsdValidation, _ = pxr
    io.save_gaussians(tmp_path / "x.usdz", gaussians_of(5, degree=2, origin=FITTED))
    context = UsdValidation.ValidationContext(UsdValidation.ValidationRegistry().GetOrLoadAllValidators())
    stage = Usd.Stage.Open(str(tmp_path / "x.usdz"))
    assert [error.GetMessage() for error in context.Validate(stage)] == []


@pytest.mark.usefixtures("pxr")
@pytest.mark.parametrize("suffix", [".usd", ".usda", ".usdz"])
def test_a_usd_scene_as_an_input_is_named_and_the_remedy_said(suffix, tmp_path):
    path = tmp_path / f"x{suffix}"
    io.save_gaussians(path, gaussians_of(2))
    for load in (io.load_gaussians, io.load_mesh):
        with pytest.raises(GatlasError, match=r"a USD scene, which gatlas does not read: save what it shows as \.ply"):
            load(path)


def test_what_usd_needs_is_said_before_any_work_where_it_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr("gatlas.io.registry.find_spec", lambda name: None)
    with pytest.raises(GatlasError, match=r"x\.usdz: \.usdz needs an extra package: pip install 'gatlas\[usd\]'"):
        io.check_output(tmp_path / "x.usdz", force=False, noun="splat")
    monkeypatch.setitem(sys.modules, "pxr", None)
    with pytest.raises(GatlasError, match=r"pip install 'gatlas\[usd\]'"):
        io.save_gaussians(tmp_path / "x.usd", gaussians_of(2))
    assert list(tmp_path.iterdir()) == []
