"""An estimate of an atlas from its text or picture alone, and the denoising of what is left of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import nn

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

HIDDEN = 256  # width of the perceptron of the weights
SPREAD = 0.1  # standard deviation that the atlases begin with
RATE = 4.0  # factor of the learning rate of the deviations
LEAST = 0.05  # deviation


class Estimate(NamedTuple):
    """A normal distribution of x_0."""

    mean: Float[Tensor, "b c h w"]
    deviation: Float[Tensor, "b c 1 1"]
    informed: Float[Tensor, " b"] | float = 1.0  # 0 where there was nothing to estimate it from

    def negative_log_likelihood(self, x0: Float[Tensor, "b c h w"]) -> Float[Tensor, " b"]:
        """Return that of x_0, the mean over its entries and without the constant."""
        return (((x0 - self.mean) / self.deviation).square() / 2 + self.deviation.log()).mean(dim=(1, 2, 3))

    def residual(
        self, x: Float[Tensor, "b c h w"], alpha: Float[Tensor, "b 1 1 1"], sigma: Float[Tensor, "b 1 1 1"]
    ) -> Float[Tensor, "b c h w"]:
        """Return x_t as what is left of the atlas in noise, with unit variance.

        With x_0 = mean + deviation r, this is alpha' r + sigma' noise, where alpha' and sigma' are deviation alpha and
        sigma, divided by the root of the sum of their squares.
        """
        return (x - alpha * self.mean) / self._scale(alpha, sigma)

    def v_of(
        self,
        v: Float[Tensor, "b c h w"],
        residual: Float[Tensor, "b c h w"],
        alpha: Float[Tensor, "b 1 1 1"],
        sigma: Float[Tensor, "b 1 1 1"],
    ) -> Float[Tensor, "b c h w"]:
        """Return v of x_t and x_0, from that of the residual in noise and r: v = alpha' noise - sigma' r."""
        scale = self._scale(alpha, sigma)
        own = self.deviation * v + alpha * sigma * (1 - self.deviation.square()) * residual
        return own / scale - sigma * self.mean

    def _scale(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        return ((alpha * self.deviation).square() + sigma.square()).sqrt()


class AtlasBasis(nn.Module):
    """Learned atlases, of which the text chooses a weighted sum: the estimate of x_0 before any of it is seen.

    What objects of one caption share is learned here in a few hundred steps, cell by cell, where convolutions need
    thousands. The weights are a linear function of the pooled text, so that what words add to an object is added in new
    combinations too, and a perceptron that begins at 0. The deviations, one per channel, are learned as well: a picture
    may say less of an object than its caption.
    """

    def __init__(self, components: int, channels: int, size: int, text_dim: int, *, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.atlases = nn.Parameter(SPREAD * torch.randn(components, channels, size, size, generator=generator))
        self.log_deviation = nn.Parameter(torch.zeros(channels))  # that of all texts, divided by RATE
        self.log_factor = nn.Parameter(torch.zeros(channels, text_dim))  # by what a text says
        with torch.random.fork_rng(devices=[]):  # layers draw from torch's own generator
            torch.manual_seed(seed)
            self.linear = nn.Linear(text_dim, components, bias=False)
            self.perceptron = nn.Sequential(nn.Linear(text_dim, HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, components))
            nn.init.normal_(self.linear.weight, std=components**-0.5)
        for value in self.perceptron[-1].parameters():
            nn.init.zeros_(value)

    def forward(self, pooled: Float[Tensor, "b d"]) -> Estimate:
        """Return the estimates. That of nothing, whose pooled state is zeros, has the mean 0 and the deviation 1."""
        said = (pooled != 0).any(dim=1).to(pooled.dtype)
        weights = (self.linear(pooled) + self.perceptron(pooled)) * said[:, None]
        log = RATE * self.log_deviation + pooled @ self.log_factor.T / pooled.shape[1] ** 0.5
        deviation = (log * said[:, None]).exp().clamp(min=LEAST)[..., None, None]
        return Estimate(torch.einsum("bk,kchw->bchw", weights, self.atlases), deviation, said)
