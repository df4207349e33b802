"""Anchors with k offsets whose Gaussians small networks decode from a feature: Lu et al. 2024, sec. 3.2.

The networks see the feature alone, neither the view direction nor the distance, so that the Gaussians are the same
from everywhere and can be kept as plain ones: Xiang et al. 2025, sec. 4.1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import nn
from torch.nn.utils import skip_init

from gatlas.fit.schedule import as_arrays
from gatlas.geometry.sh import rgb_to_dc
from gatlas.types import LOG_SCALE_RANGE, Gaussians, Origin

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Tensor

    from gatlas.fit.scaffold_start import AnchorStart

OFFSETS = 10  # k, Gaussians of an anchor
FEATURES = 32
HIDDEN = 2 * FEATURES  # one unit for each sign of each feature, see `_linear_at_first`

PER_ANCHOR = ("features", "offsets", "scalings")  # parameters with a row for each anchor
WIDTHS = {"opacity": OFFSETS, "color": 3 * OFFSETS, "scale": 3 * OFFSETS, "rotation": 4 * OFFSETS}


class Decoded(NamedTuple):
    """The Gaussians that show (torch), and which slot each came from."""

    gaussians: Gaussians
    slots: Int[Tensor, " n"]  # anchor * k + offset
    opacities: Float[Tensor, "a k"]  # of every slot, 0 where it does not show


@dataclass
class Scaffold:
    """The state of a fit: tensors that the growth replaces by longer or shorter ones."""

    anchors: Float[Tensor, "a 3"]  # world units; they stay where they are
    alive: Bool[Tensor, "a k"]  # slots that have not been pruned
    rows: dict[str, Tensor]  # the PER_ANCHOR parameters: [a 32], [a k 3] in units of the anchor's extent, [a 6] as logs
    networks: nn.ModuleDict  # feature -> opacity, color, scale, rotation of the k slots

    def __len__(self) -> int:
        return len(self.anchors)

    def parameters(self) -> Iterator[tuple[str, list[Tensor]]]:
        """Name and tensors of everything that is learned."""
        for name in PER_ANCHOR:
            yield name, [self.rows[name]]
        for name, network in self.networks.items():
            yield name, list(network.parameters())

    def decode(self) -> Decoded:
        """The Gaussians of the slots that are alive and whose opacity is above 0, in the order of the slots."""
        features, scalings = self.rows["features"], self.rows["scalings"]
        opacities = torch.tanh(self.networks["opacity"](features)).masked_fill(~self.alive, 0.0).clamp(min=0.0)
        slots = (opacities.detach() > 0).reshape(-1).nonzero()[:, 0]
        owners = slots // OFFSETS

        def shown(name: str, width: int) -> Tensor:
            return self.networks[name](features).reshape(-1, width).index_select(0, slots)

        anchors = torch.cat([self.anchors, scalings.exp()], dim=1).index_select(0, owners)
        scales = anchors[:, 6:] * torch.sigmoid(shown("scale", 3))
        low, high = torch.tensor(LOG_SCALE_RANGE).exp().tolist()
        gaussians = Gaussians(
            means=anchors[:, :3] + anchors[:, 3:6] * self.rows["offsets"].reshape(-1, 3).index_select(0, slots),
            quats=shown("rotation", 4),
            scales=scales.clamp(low, high),
            opacities=opacities.reshape(-1).index_select(0, slots),
            sh=rgb_to_dc(torch.sigmoid(shown("color", 3)))[:, None],
        )
        return Decoded(gaussians, slots, opacities)

    @torch.no_grad()
    def bake(self, origin: Origin) -> Gaussians:
        """The Gaussians that show as plain ones (numpy): degree 0, unit quaternions, scales in LOG_SCALE_RANGE."""
        return as_arrays(self.decode().gaussians, origin)


def build_scaffold(start: AnchorStart, device: str = "cpu") -> Scaffold:
    """A scaffold on the device, "cpu" or "cuda", that decodes to the Gaussians of `start`."""
    networks = {}
    for name, width in WIDTHS.items():
        weight = start.weights.get(name)
        networks[name] = _linear_at_first(
            torch.zeros(width, FEATURES) if weight is None else torch.from_numpy(weight),
            torch.from_numpy(start.biases[name]),
        )
    rows = {"features": start.features, "offsets": start.offsets, "scalings": start.scalings}
    return Scaffold(
        anchors=torch.from_numpy(start.anchors).to(device),
        alive=torch.from_numpy(start.alive).to(device),
        rows={name: torch.from_numpy(row).to(device).requires_grad_() for name, row in rows.items()},
        networks=nn.ModuleDict(networks).to(device),
    )


def _linear_at_first(weight: Float[Tensor, "out 32"], bias: Float[Tensor, " out"]) -> nn.Sequential:
    """Two layers that begin as the linear map weight x feature + bias: x = relu(x) - relu(-x)."""
    # skip_init: the usual start would draw from torch's global generator.
    first, last = skip_init(nn.Linear, FEATURES, HIDDEN), skip_init(nn.Linear, HIDDEN, len(weight))
    with torch.no_grad():
        first.weight.copy_(torch.cat([torch.eye(FEATURES), -torch.eye(FEATURES)]))
        first.bias.zero_()
        last.weight.copy_(torch.cat([weight, -weight], dim=1))
        last.bias.copy_(bias)
    return nn.Sequential(first, nn.ReLU(), last)
