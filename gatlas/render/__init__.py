"""Pictures of Gaussians and meshes."""

from typing import TYPE_CHECKING

from gatlas.lazy import lazy_names

if TYPE_CHECKING:
    from gatlas.render.views import take_views

__all__ = ["take_views"]

__getattr__, __dir__ = lazy_names(__name__, {"take_views": "gatlas.render.views"})
