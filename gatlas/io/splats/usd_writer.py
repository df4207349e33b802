"""`Gaussians` to USD (crate, text and package): a ParticleField3DGaussianSplat in the object's own axes, y up."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from gatlas.errors import GatlasError
from gatlas.geometry.rotations import quats_to_matrices
from gatlas.geometry.sh import degree_of
from gatlas.io.sets.scratch import temporary_folder
from gatlas.io.splats.stored import ORIGIN, StoredColumns, origin_record, stored_columns
from gatlas.io.streams import os_errors

if TYPE_CHECKING:
    from jaxtyping import Float

    from gatlas.types import Gaussians

METERS_PER_UNIT = 1.0  # no unit is assumed: 1 is the value of which viewers do not scale
EXTENT = 3.0  # standard deviations of a Gaussian that are inside the bounds of the prim
_CONTENT = "splat.usdc"  # the file in a package
_OLDEST = (1980, 1, 1, 0, 0, 0, 0, 1, -1)  # local time of the file in a package: the first that a zip can hold


def encode_usd(gaussians: Gaussians) -> bytes:
    """Return a USD crate, as .usd and .usdc hold it; the same Gaussians give the same bytes."""
    stage = _stage(gaussians)  # which owns the layer
    with temporary_folder() as folder, os_errors(folder):
        stage.GetRootLayer().Export(str(folder / _CONTENT))
        return (folder / _CONTENT).read_bytes()


def encode_usda(gaussians: Gaussians) -> bytes:
    """Return USD as text; the same Gaussians give the same bytes."""
    stage = _stage(gaussians)  # which owns the layer
    text: str = stage.GetRootLayer().ExportToString()
    return text.encode()


def encode_usdz(gaussians: Gaussians) -> bytes:
    """Return a USD package that holds a crate; the same Gaussians give the same bytes."""
    crate = encode_usd(gaussians)
    from pxr import UsdUtils

    with temporary_folder() as folder, os_errors(folder):
        (folder / _CONTENT).write_bytes(crate)
        os.utime(folder / _CONTENT, (time.mktime(_OLDEST),) * 2)
        UsdUtils.CreateNewUsdzPackage(str(folder / _CONTENT), str(folder / "splat.usdz"))
        return (folder / "splat.usdz").read_bytes()


def _usd_modules() -> tuple[Any, Any, Any, Any]:
    try:
        from pxr import Usd, UsdGeom, UsdVol, Vt
    except ImportError:
        raise GatlasError("USD needs usd-core: pip install 'gatlas[usd]'") from None
    if not hasattr(UsdVol, "ParticleField3DGaussianSplat"):
        version = ".".join(map(str, Usd.GetVersion()))
        raise GatlasError(f"USD {version} has no Gaussians, 0.26.3 has: pip install --upgrade 'gatlas[usd]'")
    return Usd, UsdGeom, UsdVol, Vt


def _stage(gaussians: Gaussians) -> Any:
    """Return a stage in memory whose default prim is the splat."""
    Usd, UsdGeom, UsdVol, Vt = _usd_modules()
    stored = stored_columns(gaussians, y_down=False)
    stage = Usd.Stage.CreateInMemory()
    UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.y)
    UsdGeom.SetStageMetersPerUnit(stage, METERS_PER_UNIT)
    splat = UsdVol.ParticleField3DGaussianSplat.Define(stage, "/Splat")
    stage.SetDefaultPrim(splat.GetPrim())
    coefficients = stored.sh.reshape(-1, 3)  # those of a Gaussian side by side, from degree 0 up

    def rows(values: Float[np.ndarray, "*n"], kind: Any) -> Any:
        return kind.FromNumpy(np.ascontiguousarray(values, dtype=np.float32))

    splat.CreatePositionsAttr(rows(stored.means, Vt.Vec3fArray))
    splat.CreateOrientationsAttr(rows(stored.quats[:, [1, 2, 3, 0]], Vt.QuatfArray))  # the real part last, in memory
    splat.CreateScalesAttr(rows(np.exp(stored.log_scales), Vt.Vec3fArray))
    splat.CreateOpacitiesAttr(rows(stored.opacities, Vt.FloatArray))
    splat.CreateRadianceSphericalHarmonicsDegreeAttr(degree_of(stored.sh.shape[1]))
    splat.CreateRadianceSphericalHarmonicsCoefficientsAttr(rows(coefficients, Vt.Vec3fArray))
    splat.CreateExtentAttr(rows(_extent(stored), Vt.Vec3fArray))
    prim = splat.GetPrim()
    if gaussians.origin.name:
        prim.SetDisplayName(gaussians.origin.name)
    if record := origin_record(gaussians.origin, len(stored.means)):
        prim.SetCustomDataByKey(ORIGIN, json.dumps(record))
    return stage


def _extent(stored: StoredColumns) -> Float[np.ndarray, "2 3"]:
    """Return the lower and the upper corner of the box around the ellipsoids of three standard deviations."""
    axes = quats_to_matrices(stored.quats) * np.exp(stored.log_scales)[:, None]
    reach = EXTENT * np.linalg.norm(axes, axis=2)
    return np.stack([(stored.means - reach).min(axis=0), (stored.means + reach).max(axis=0)])
