"""Pictures of Gaussians and meshes."""

from typing import TYPE_CHECKING

from gatlas.lazy import lazy_names

if TYPE_CHECKING:
    from gatlas.render.comparison import compare
    from gatlas.render.film import render_film
    from gatlas.render.maps import render_maps
    from gatlas.render.options import RenderOptions
    from gatlas.render.views import render, take_views

__all__ = ["RenderOptions", "compare", "render", "render_film", "render_maps", "take_views"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "RenderOptions": "gatlas.render.options",
        "compare": "gatlas.render.comparison",
        "render": "gatlas.render.views",
        "render_film": "gatlas.render.film",
        "render_maps": "gatlas.render.maps",
        "take_views": "gatlas.render.views",
    },
)
