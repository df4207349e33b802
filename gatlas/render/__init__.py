"""Pictures of Gaussians and meshes."""

from typing import TYPE_CHECKING

from gatlas.lazy import lazy_names

if TYPE_CHECKING:
    from gatlas.render.film import render_film
    from gatlas.render.options import RenderOptions
    from gatlas.render.views import render, take_views

__all__ = ["RenderOptions", "render", "render_film", "take_views"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "RenderOptions": "gatlas.render.options",
        "render": "gatlas.render.views",
        "render_film": "gatlas.render.film",
        "take_views": "gatlas.render.views",
    },
)
