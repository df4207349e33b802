"""gatlas score fidelity"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gatlas import io
from gatlas.atlas import decode
from gatlas.batch.options import STEM, BatchOptions
from gatlas.cli.score_batch import run_measure
from gatlas.cli.terminal import about, message
from gatlas.errors import GatlasError
from gatlas.geometry.cameras import DEFAULT_DISTANCE, DEFAULT_FOV
from gatlas.meshes.edits import stand_up
from gatlas.score.documents import make_document
from gatlas.score.fidelity import PHASE, SIDE, SUPERSAMPLE, score_fidelity
from gatlas.types import Mesh

if TYPE_CHECKING:
    from gatlas.metrics.lpips import Lpips
    from gatlas.score.options import FidelityOptions
    from gatlas.types import AnyViews, Gaussians


def run(
    inputs: list[str],
    output: str | None,
    options: FidelityOptions,
    batch: BatchOptions,
    *,
    force: bool,
    threads: int | None,
) -> None:
    """Score splats, atlases and meshes, each against its reference."""
    from gatlas.cli.verbs import VERBS

    (spec,) = (part.batch for part in VERBS["score"].parts if part.name == "fidelity")
    assert spec is not None
    for cached in (_load_reference, _load_lpips):  # of another call in this process, in another folder
        cached.cache_clear()
    if options.lpips_weights is not None:
        _load_lpips(options.lpips_weights)
    elif (lack := io.missing_lpips_weights()) is not None:
        message(f"LPIPS is not measured: {lack}")
    run_measure("fidelity", measure, spec, inputs, output, options, batch, force=force, threads=threads)


def measure(blob: io.Blob, name: str, options: FidelityOptions) -> dict[str, Any]:
    """Return the document of one object."""
    if STEM in options.reference and blob.path is None and blob.key is None:
        raise GatlasError(f"standard input has no name for {STEM} in --reference")
    place = options.reference.replace(STEM, name)
    reference, digest = _load_reference(place, options)
    network, weights = _load_lpips(options.lpips_weights)
    subject = _load_subject(blob, options)
    with about(blob):
        found = score_fidelity(subject, reference, options, lpips=network, report=message)
    size = {"triangles": len(subject.faces)} if isinstance(subject, Mesh) else {"gaussians": len(subject)}
    held = {"name": name, "path": blob.name, "reference": place, "reference_sha256": digest, **size, **found.to_json()}
    return make_document("fidelity", options, [held], cameras=_cameras(options), weights={"lpips": weights})


def _load_subject(blob: io.Blob, options: FidelityOptions) -> Gaussians | Mesh:
    if blob.kind in ("mesh", "atlas") and options.up is not None:
        raise GatlasError(f"{blob.name}: --up is for splats")
    if blob.kind == "mesh":
        return io.load_mesh(blob)
    if blob.kind == "atlas":
        with about(blob):
            return decode(io.load_atlas(blob))
    return io.load_gaussians(blob, up=options.up, drop_invalid=options.drop_invalid, report=message)


@lru_cache(maxsize=1)  # many objects may have one reference
def _load_reference(place: str, options: FidelityOptions) -> tuple[Mesh | AnyViews, str | None]:
    """Return the reference, a mesh upright, and the SHA-256 of its file; None of a folder."""
    if io.is_folder(place) or place.lower().endswith(".json"):
        if options.reference_up is not None:
            raise GatlasError("--reference-up is the vertical axis of a mesh, and the reference is of views")
        return io.load_views(place, side=options.resolution), None
    if options.held_out:
        raise GatlasError("--held-out is for a reference of views, and this one is a mesh")
    blob = io.read(place)
    return stand_up(io.load_mesh(blob), options.reference_up or "y"), io.sha256_of(blob)


@lru_cache(maxsize=1)
def _load_lpips(path: str | None) -> tuple[Lpips | None, dict[str, Any] | None]:
    """Return the network of LPIPS and its files with their SHA-256; (None, None) where there are none to be found."""
    if path is None and io.missing_lpips_weights() is not None:
        return None, None
    from gatlas.io.models.lpips_weights import load_lpips_weights
    from gatlas.metrics.lpips import load_lpips

    network, sources = load_lpips(path), load_lpips_weights(path).sources
    return network, {"network": network.network, "files": {name: io.sha256_of(Path(name)) for name in sources}}


def _cameras(options: FidelityOptions) -> dict[str, Any]:
    """Return the views by which figures are made."""
    side = options.resolution or SIDE
    around = {"lattice": "fibonacci", "phase": PHASE, "distance": DEFAULT_DISTANCE, "fov": DEFAULT_FOV}
    around |= {"count": options.views, "width": side, "height": side, "supersample": SUPERSAMPLE}
    given = "those that fit holds out" if options.held_out else "all"
    return {"background": "white", "of_a_mesh": around, "of_given_views": given}
