"""Views of an object -> Gaussians."""

from gatlas.fit.mesh import Fit, fit_mesh
from gatlas.fit.options import PROFILES, FitOptions

__all__ = ["PROFILES", "Fit", "FitOptions", "fit_mesh"]
