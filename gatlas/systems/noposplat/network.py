"""NoPoSplat: unposed photos -> one Gaussian per pixel, all in the first camera's frame (Ye et al. 2024, ICLR 2025).

Written from the architecture's description; the names and shapes of the weights are those of the published
checkpoints without their prefix `encoder.`. One set of weights serves any number of views from two on.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import nn

from gatlas.geometry.rays import pixel_rays
from gatlas.geometry.sh import rgb_to_dc
from gatlas.systems.noposplat.dpt import GaussianHead, PointHead
from gatlas.systems.noposplat.network_config import BASE, TINY, NoPoSplatConfig
from gatlas.systems.noposplat.vit import Backbone

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

__all__ = ["BASE", "TINY", "NoPoSplat", "NoPoSplatConfig", "PixelGaussians", "fresh_network", "weight_shapes"]

MAX_COEFFICIENTS = 16  # of spherical harmonics in the output
EPS = 1e-8
START_SPREAD = 0.02  # factor of the weights of a fresh network's last layers, whose outputs stay near their biases


class PixelGaussians(NamedTuple):
    """A Gaussian for each pixel of each view, post-activation, in the frame of the first view's camera (OpenCV)."""

    means: Float[Tensor, "b v h w 3"]
    quats: Float[Tensor, "b v h w 4"]  # unit, wxyz
    scales: Float[Tensor, "b v h w 3"]
    opacities: Float[Tensor, "b v h w"]
    sh: Float[Tensor, "b v h w k 3"]

    def flatten(self) -> PixelGaussians:
        """Return the Gaussians with views, rows and columns, in this order, as one dimension."""
        return PixelGaussians(*(array.flatten(1, 3) for array in self))


class NoPoSplat(nn.Module):
    """The network. Its heads compute in float32 even under autocast, and their weights must be float32."""

    def __init__(self, config: NoPoSplatConfig = BASE) -> None:
        super().__init__()
        self.config = config
        channels = 1 + 3 + 4 + 3 * config.coefficients
        self.backbone = Backbone(config)
        # Of each pair the first head is for the first view and the second for all others.
        self.downstream_head1 = PointHead(config)
        self.downstream_head2 = PointHead(config)
        self.gaussian_param_head = GaussianHead(config, channels)
        self.gaussian_param_head2 = GaussianHead(config, channels)

    def forward(
        self,
        images: Float[Tensor, "b v 3 h w"],
        intrinsics: Float[Tensor, "b v 3 3"],
        generator: torch.Generator | None = None,
    ) -> PixelGaussians:
        """Return the Gaussians of the scene in two or more `images` (sRGB-encoded, [0, 1]).

        `intrinsics` are K with its first row divided by the width and its second by the height. Height and width must
        be multiples of the patch; the published weights were trained on square and landscape images only. `generator`
        draws the dropout, in training and where the config has any.
        """
        self._check(images, intrinsics)
        rows, columns = (size // self.config.patch for size in images.shape[-2:])
        centered = images.float() * 2 - 1
        features = self.backbone(centered, intrinsics)
        with torch.autocast(images.device.type, enabled=False):
            points, raw = [], []
            pairs = (
                (self.downstream_head1, self.gaussian_param_head, slice(0, 1)),
                (self.downstream_head2, self.gaussian_param_head2, slice(1, None)),
            )
            for point_head, gaussian_head, views in pairs:
                picked = [feature[:, views].flatten(0, 1) for feature in features]
                pictures = centered[:, views]
                inputs = (picked, pictures.flatten(0, 1), (rows, columns))
                points.append(point_head.dpt(*inputs).unflatten(0, pictures.shape[:2]))
                raw.append(gaussian_head.dpt(*inputs, generator).unflatten(0, pictures.shape[:2]))
            return self._activate(torch.cat(points, 1), torch.cat(raw, 1), images.float(), intrinsics.float())

    def enable_gradient_checkpointing(self) -> None:
        """Recompute the backbone's activations in the backward pass instead of keeping them."""
        self.backbone.checkpointing = True

    def _check(self, images: Tensor, intrinsics: Tensor) -> None:
        if images.ndim != 5 or images.shape[1] < 2 or images.shape[2] != 3:
            raise ValueError(f"images must have shape [b v>=2 3 h w], got {list(images.shape)}")
        height, width = images.shape[-2:]
        if min(height, width) < 1 or height % self.config.patch or width % self.config.patch:
            raise ValueError(f"height and width must be multiples of {self.config.patch}, got {height} x {width}")
        if tuple(intrinsics.shape) != (*images.shape[:2], 3, 3):
            raise ValueError(f"intrinsics must have shape {[*images.shape[:2], 3, 3]}, got {list(intrinsics.shape)}")

    def _activate(
        self,
        points: Float[Tensor, "b v 3 h w"],
        raw: Float[Tensor, "b v c h w"],
        images: Float[Tensor, "b v 3 h w"],
        intrinsics: Float[Tensor, "b v 3 3"],
    ) -> PixelGaussians:
        """Return the outputs of the heads as Gaussians. Published order: opacity, scale, quaternion xyzw, harmonics."""
        config = self.config
        points, raw = points.movedim(2, -1), raw.movedim(2, -1)
        opacity, scale, quat, sh = raw.split([1, 3, 4, raw.shape[-1] - 8], dim=-1)
        sh = sh.unflatten(-1, (3, config.coefficients))[..., :MAX_COEFFICIENTS].transpose(-1, -2)  # [... k 3]
        sh = sh * _harmonic_weights(sh.shape[-2]).to(sh.device)[:, None]
        if config.residual:
            points = points + _log_map(
                config.start_depth * pixel_rays(intrinsics, images.shape[-1], images.shape[-2], normalized=True)
            )
            color = rgb_to_dc(images.movedim(2, -1))[..., None, :]
            sh = torch.cat([sh[..., :1, :] + color, sh[..., 1:, :]], dim=-2)
        quat = quat / (quat.norm(dim=-1, keepdim=True) + EPS)
        return PixelGaussians(
            means=_exp_map(points),
            quats=quat[..., [3, 0, 1, 2]],
            scales=(config.scale_unit * nn.functional.softplus(scale)).clamp(max=config.scale_max),
            opacities=opacity[..., 0].sigmoid(),
            sh=sh,
        )


def weight_shapes(config: NoPoSplatConfig) -> dict[str, tuple[int, ...]]:
    """Return names and shapes of all weights of a network, without making them."""
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in NoPoSplat(config).state_dict().items()}


def fresh_network(config: NoPoSplatConfig, generator: torch.Generator) -> NoPoSplat:
    """Return a network of random weights on the CPU, whose Gaussians are visible in a render; see `NoPoSplatConfig`."""
    with torch.device("meta"):
        network = NoPoSplat(config)
    network.to_empty(device="cpu")
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.LayerNorm):
                module.weight.fill_(1.0)
                module.bias.zero_()
            elif isinstance(module, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
                # Each output has about the variance of the inputs: 1 / fan-in. (The kernels of the transposed
                # convolutions do not overlap, so that only the channels count.)
                inputs = len(module.weight) if isinstance(module, nn.ConvTranspose2d) else module.weight[0].numel()
                module.weight.normal_(std=inputs**-0.5, generator=generator)
                if module.bias is not None:
                    module.bias.zero_()
        network.backbone.mask_token.zero_()
        _start(network, config)
    return network


def _start(network: NoPoSplat, config: NoPoSplatConfig) -> None:
    """Set the biases of the last layers to a fresh network's Gaussians, and scale their weights down."""
    odds = math.log(config.start_opacity / (1 - config.start_opacity))
    units = config.start_scale / config.scale_unit
    width = units + math.log(-math.expm1(-units))  # inverse of softplus
    far = 0.0 if config.residual else math.log1p(config.start_depth)
    # The quaternion is the identity, xyzw.
    point, gaussian = [0.0, 0.0, far], [odds, width, width, width, 0.0, 0.0, 0.0, 1.0]
    for head, start in (
        (network.downstream_head1, point),
        (network.downstream_head2, point),
        (network.gaussian_param_head, gaussian),
        (network.gaussian_param_head2, gaussian),
    ):
        weight, bias = head.dpt.head[4].parameters()
        weight.mul_(START_SPREAD)
        bias[: len(start)] = torch.tensor(start)


def _exp_map(x: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 3"]:
    """Return points of the same direction, at the distance expm1(length)."""
    length = x.norm(dim=-1, keepdim=True).clamp(min=EPS)
    return x / length * torch.expm1(length)


def _log_map(points: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 3"]:
    """Return the inverse of `_exp_map`."""
    distance = points.norm(dim=-1, keepdim=True).clamp(min=EPS)
    return points / distance * torch.log1p(distance)


def _harmonic_weights(count: int) -> Float[Tensor, " k"]:
    """Return the factor of each coefficient: 1 in degree 0, .025 in degree 1, a quarter of that per further
    degree."""
    degrees = torch.arange(count, dtype=torch.float32).sqrt().floor()
    return torch.where(degrees == 0, 1.0, 0.1 * 0.25**degrees)
