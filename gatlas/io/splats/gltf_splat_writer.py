"""`Gaussians` to GLB or glTF with KHR_gaussian_splatting: float32 in the object's own axes, y up."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import numpy as np

from gatlas.geometry.sh import dc_to_rgb, degree_of
from gatlas.io.meshes.gltf_writer import ARRAY, GltfBuilder
from gatlas.io.sniff import SPLAT
from gatlas.io.splats.gltf_splats import ELLIPSE, SRGB
from gatlas.io.splats.stored import ORIGIN, origin_record, rounded, stored_columns

if TYPE_CHECKING:
    from gatlas.types import Gaussians

_POINTS = 0  # mode of a primitive


def encode_glb_splats(gaussians: Gaussians) -> list[bytes]:
    """Return the buffers of a GLB; the same Gaussians give the same bytes."""
    return _built(gaussians).chunks()


def encode_gltf_splats(gaussians: Gaussians) -> bytes:
    """Return a glTF whose buffer is inside, as a data: URI."""
    return _built(gaussians).text(lambda content: f"data:application/octet-stream;base64,{_base64(content)}")


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def _built(gaussians: Gaussians) -> GltfBuilder:
    stored = stored_columns(gaussians, y_down=False)
    document = GltfBuilder()
    means, sh = stored.means.astype(np.float32), stored.sh.astype(np.float32)
    bounds = {"min": means.min(axis=0).tolist(), "max": means.max(axis=0).tolist()}
    shown = np.concatenate([dc_to_rgb(sh[:, 0]), stored.opacities[:, None]], axis=1)  # for viewers that show points
    color = rounded(shown * 255, 255).astype(np.uint8)
    attributes = {
        "POSITION": document.accessor(means, ARRAY, **bounds),
        "COLOR_0": document.accessor(color, ARRAY, normalized=True),
        f"{SPLAT}:ROTATION": document.accessor(stored.quats[:, [1, 2, 3, 0]], ARRAY),
        f"{SPLAT}:SCALE": document.accessor(np.exp(stored.log_scales), ARRAY),
        f"{SPLAT}:OPACITY": document.accessor(stored.opacities, ARRAY),
    }
    first = 0
    for degree in range(degree_of(sh.shape[1]) + 1):
        for i in range(2 * degree + 1):
            attributes[f"{SPLAT}:SH_DEGREE_{degree}_COEF_{i}"] = document.accessor(sh[:, first + i], ARRAY)
        first += 2 * degree + 1
    kind = {"kernel": ELLIPSE, "colorSpace": SRGB, "sortingMethod": "cameraDistance", "projection": "perspective"}
    primitive: dict[str, Any] = {"attributes": attributes, "mode": _POINTS, "extensions": {SPLAT: kind}}
    record = origin_record(gaussians.origin, len(means))
    if record:
        primitive["extras"] = {ORIGIN: record}
    name = {"name": gaussians.origin.name} if gaussians.origin.name else {}
    document.root.update(
        extensionsUsed=[SPLAT],
        scene=0,
        scenes=[{"nodes": [0]}],
        nodes=[{**name, "mesh": 0}],
        meshes=[{**name, "primitives": [primitive]}],
    )
    return document
