"""Views of an object -> Gaussians."""

from typing import TYPE_CHECKING

from gatlas.lazy import lazy_names

if TYPE_CHECKING:
    from gatlas.fit.fitting import fit
    from gatlas.fit.mesh import Fit, fit_mesh
    from gatlas.fit.options import PROFILES, FitOptions
    from gatlas.fit.photos import fit_photos
    from gatlas.fit.snapshot import Interrupted, Snapshot

__all__ = ["PROFILES", "Fit", "FitOptions", "Interrupted", "Snapshot", "fit", "fit_mesh", "fit_photos"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "PROFILES": "gatlas.fit.options",
        "Fit": "gatlas.fit.mesh",
        "FitOptions": "gatlas.fit.options",
        "Interrupted": "gatlas.fit.snapshot",
        "Snapshot": "gatlas.fit.snapshot",
        "fit": "gatlas.fit.fitting",
        "fit_mesh": "gatlas.fit.mesh",
        "fit_photos": "gatlas.fit.photos",
    },
)
