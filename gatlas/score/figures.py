"""The figures of each score: keys in its documents, headings and formats in tables, and which way is better."""

from __future__ import annotations

from typing import Literal, NamedTuple


class Figure(NamedTuple):
    """One figure of a score."""

    key: str
    heading: str
    form: str  # of `format`
    better: Literal["high", "low"] | None = None


FIGURES: dict[str, tuple[Figure, ...]] = {
    "fidelity": (
        Figure("psnr", "PSNR (dB)", ".2f", "high"),
        Figure("ssim", "SSIM", ".4f", "high"),
        Figure("lpips", "LPIPS", ".4f", "low"),
        Figure("iou", "IoU", ".4f", "high"),
        Figure("depth_error", "depth error", ".5f", "low"),
        Figure("chamfer", "chamfer", ".5f", "low"),
        Figure("f_score", "F-score", ".4f", "high"),
        Figure("normal_consistency", "normals", ".4f", "high"),
        Figure("gaussians", "Gaussians", ",.0f"),
    ),
    "poses": (
        Figure("found", "found", ".0%", "high"),
        Figure("rotation", "rotation (deg)", ".3f", "low"),
        Figure("position", "position", ".3f", "low"),
        Figure("auc@5", "AUC@5", ".3f", "high"),
        Figure("auc@10", "AUC@10", ".3f", "high"),
        Figure("auc@20", "AUC@20", ".3f", "high"),
        Figure("ate", "ATE", ".5g", "low"),
    ),
    "distribution": (
        Figure("nearest", "nearest", ".5f"),
        Figure("nearest_name", "nearest object", ""),
        Figure("gaussians", "Gaussians", ",.0f"),
        Figure("fid", "FID", ".3f", "low"),
        Figure("kid", "KID", ".5f", "low"),
        Figure("clip_fid", "CLIP-FID", ".5f", "low"),
        Figure("coverage", "coverage", ".3f", "high"),
        Figure("mmd", "MMD", ".5f", "low"),
        Figure("one_nna", "1-NNA", ".3f"),
        Figure("diversity", "diversity", ".5f"),
    ),
    "text": (
        Figure("clip_score", "CLIP score", ".2f", "high"),
        Figure("r_precision", "R-precision", ".3f", "high"),
        Figure("vqa_score", "VQA score", ".3f", "high"),
        Figure("shape_right", "shape right", ".3f", "high"),
        Figure("color_right", "color right", ".3f", "high"),
        Figure("gaussians", "Gaussians", ",.0f"),
    ),
    "consistency": (
        Figure("field_psnr", "field PSNR (dB)", ".2f", "high"),
        Figure("field_ssim", "field SSIM", ".4f", "high"),
        Figure("field_fid", "field FID", ".2f", "low"),
        Figure("epipolar", "epipolar", ".3f", "high"),
        Figure("registered", "registered", ".0%", "high"),
    ),
}
