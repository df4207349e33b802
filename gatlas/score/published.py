"""Figures that the authors of the methods published, by score: claims about other objects, not measured here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gatlas.score.documents import summarize
from gatlas.score.figures import FIGURES

# Xiang et al. 2025 (Gaussian Atlas), text to 3D: CLIP score, VQA score, Gaussians of an object.
_TEXT = (
    ("Gaussian Atlas", 23.20, 0.61, 16_000),
    ("GaussianCube", 22.31, 0.52, 33_000),
    ("TriplaneGaussian", 21.10, 0.46, 16_000),
    ("LGM", 20.28, 0.35, 66_000),
    ("DreamGaussian", 20.52, 0.37, 40_000),
)
# Watson et al. 2023 (3DiM), SRN ShapeNet from one view at 128 x 128: PSNR and SSIM of novel views, FID.
_VIEWS = (("3DiM, SRN cars", 21.01, 0.57, 8.99), ("3DiM, SRN chairs", 17.05, 0.53, 6.57))
# Ye et al. 2024 (NoPoSplat), relative poses of two views, models of RE10K: areas at 5, 10 and 20 degrees.
_POSES = (
    ("NoPoSplat, RE10K", 0.672, 0.792, 0.869),
    ("NoPoSplat, ACID", 0.454, 0.591, 0.709),
    ("NoPoSplat, ScanNet-1500", 0.264, 0.473, 0.655),
)

CLAIMED: dict[str, tuple[dict[str, Any], ...]] = {
    "text": tuple({"name": n, "clip_score": c, "vqa_score": v, "gaussians": g} for n, c, v, g in _TEXT),
    "fidelity": tuple({"name": n, "psnr": p, "ssim": s} for n, p, s, _ in _VIEWS),
    "distribution": tuple({"name": n, "fid": f} for n, _, _, f in _VIEWS),
    "poses": tuple({"name": n, "auc@5": a, "auc@10": b, "auc@20": c} for n, a, b, c in _POSES),
}


def compare_runs(
    documents: Mapping[str, Mapping[str, Any]], *, claimed: bool = True
) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of runs (documents by name), by score: means over the objects, and the published rows last.

    A row has "name", "claimed", "objects", and the figures, None where one is not measured.
    """
    rows: dict[str, list[dict[str, Any]]] = {}
    for name, document in documents.items():
        score, objects = document["score"], document["objects"]
        summary = summarize(score, objects)
        means = {key: None if held is None else held["mean"] for key, held in summary.items()}
        means |= {key: value for key, value in document.get("set", {}).items() if key in means}
        rows.setdefault(score, []).append({"name": name, "claimed": False, "objects": len(objects), **means})
    for score, held in rows.items():
        keys = [figure.key for figure in FIGURES[score]]
        for row in CLAIMED.get(score, ()) if claimed else ():
            held.append({"claimed": True, **dict.fromkeys(keys), **row})
    return rows
