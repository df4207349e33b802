"""The course of a fit: PSNR and loss of every step, and a plot of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gatlas.images.plots import Panel, curves

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float

    from gatlas.fit.mesh import Fit
    from gatlas.fit.optimize import OnStep


class FitCourse:
    """Values of the steps that are done, collected by the callbacks of a fit."""

    def __init__(self) -> None:
        self.psnr: tuple[list[float], list[float]] = ([], [])  # steps and dB of the picture that was trained on
        self.loss: tuple[list[float], list[float]] = ([], [])

    def callbacks(self, on_step: OnStep | None) -> dict[str, Any]:
        """Return `on_step`, which calls the given one too, and `on_loss` for `gatlas.fit.fit`."""

        def add_psnr(step: int, value: float) -> None:
            _add(self.psnr, step, value)
            if on_step is not None:
                on_step(step, value)

        return {"on_step": add_psnr, "on_loss": lambda step, value: _add(self.loss, step, value)}

    def picture(self, result: Fit) -> Float[np.ndarray, "h w 3"]:
        """Return the plot of the steps of this process in [0, 1]; its title holds the held-out PSNR of the result."""
        name = result.gaussians.origin.name
        title = f"{name}: " if name else ""
        title += f"{len(result.gaussians):,} Gaussians, held-out PSNR {result.psnr:.2f} dB"
        panels = [
            Panel("PSNR of the training pictures, dB", {"psnr": self.psnr}),
            Panel("loss", {"loss": self.loss}, logarithmic=True),
        ]
        return curves(panels, title)


def _add(points: tuple[list[float], list[float]], step: int, value: float) -> None:
    points[0].append(step)
    points[1].append(value)
