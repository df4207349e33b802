"""Views of an object -> Gaussians."""

from gatlas.fit.mesh import Fit, fit_mesh
from gatlas.fit.options import PROFILES, FitOptions
from gatlas.fit.photos import fit_photos

__all__ = ["PROFILES", "Fit", "FitOptions", "fit_mesh", "fit_photos"]
