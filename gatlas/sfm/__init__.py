"""Photos without cameras -> cameras and points: structure from motion by COLMAP (extra `photos`)."""

from typing import TYPE_CHECKING

from gatlas.lazy import lazy_names

if TYPE_CHECKING:
    from gatlas.sfm.options import SfmOptions
    from gatlas.sfm.recovery import recover_cameras

__all__ = ["SfmOptions", "recover_cameras"]

__getattr__, __dir__ = lazy_names(
    __name__, {"SfmOptions": "gatlas.sfm.options", "recover_cameras": "gatlas.sfm.recovery"}
)
