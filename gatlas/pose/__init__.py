"""Cameras of photos in a splat scene: finding them, and refining them with the scene frozen."""

from typing import TYPE_CHECKING

from gatlas.lazy import lazy_names

if TYPE_CHECKING:
    from gatlas.pose.bundle import refine_bundle
    from gatlas.pose.find import find_cameras
    from gatlas.pose.options import PoseOptions
    from gatlas.pose.refinement import RefineOptions, refine
    from gatlas.pose.results import PoseResult

__all__ = ["PoseOptions", "PoseResult", "RefineOptions", "find_cameras", "refine", "refine_bundle"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "PoseOptions": "gatlas.pose.options",
        "PoseResult": "gatlas.pose.results",
        "RefineOptions": "gatlas.pose.refinement",
        "find_cameras": "gatlas.pose.find",
        "refine_bundle": "gatlas.pose.bundle",
        "refine": "gatlas.pose.refinement",
    },
)
