"""Systems that bench_compose.py compares with that of gatlas: rectified flow, and a transformer for the UNet."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from diffusers import PixArtTransformer2DModel
from safetensors.torch import save_file
from torch import nn

from gatlas.diffusion.losses import stratified_timesteps
from gatlas.diffusion.schedules import add_noise, coefficients
from gatlas.models.atlas_unet import CHANNELS, AtlasUNet, pack
from gatlas.systems.gaussian_atlas.pipeline import TEXT_DIM, from_scratch, with_words
from gatlas.systems.gaussian_atlas.system import GaussianAtlasSystem

TIMESTEPS = 1000
LAYERS, HEADS, HEAD_DIM, PATCH = 6, 4, 32, 2  # of the transformer


def flow_betas():
    """The noise levels of x_t = (1 - s) x_0 + s noise at s = 1/T .. 1, where that is scaled to unit variance."""
    s = torch.arange(1, TIMESTEPS + 1, dtype=torch.float64) / (TIMESTEPS + 1)  # the last one is rescaled to pure noise
    bar = (1 - s) ** 2 / ((1 - s) ** 2 + s**2)
    return (1 - bar / torch.cat([torch.ones(1, dtype=torch.float64), bar[:-1]])).tolist()


def variant(kind, config, stats, seed):
    """A new system of a kind, from random weights."""
    config = replace(config, size=int(stats.mean.shape[0]))
    pipeline = from_scratch(config, seed)
    if kind is FlowSystem:
        noise = {"trained_betas": flow_betas(), "num_train_timesteps": TIMESTEPS}
        pipeline = replace(pipeline, scheduler={**pipeline.scheduler, **noise})
    return kind(config, pipeline, stats, partial(with_words, seed=seed), seed=seed)


class VariantSystem(GaussianAtlasSystem):
    """A system whose weights are kept in memory, to be sampled in the same process."""

    def save_network(self, folder, weights):
        """Keep the weights, and write them for nobody to read."""
        self.kept = {name: weight.detach().clone() for name, weight in weights.items()}
        Path(folder).mkdir(parents=True, exist_ok=True)
        save_file(
            {name: weight.contiguous() for name, weight in self.kept.items()}, Path(folder) / "weights.safetensors"
        )

    def averaged(self):
        """The system with its averaged weights."""
        self.network.load_state_dict(self.kept)
        self.network.eval()
        return self


class FlowUNet(AtlasUNet):
    """A UNet that predicts the velocity u = noise - x_0 and returns the v that it implies."""

    def forward(self, x, timesteps, text, pooled=None):
        """v of x, from x = alpha x_0 + sigma noise: u = (sigma - alpha) x + (alpha + sigma) v."""
        velocity = super().forward(x, timesteps, text, pooled)
        alpha, sigma = coefficients(self.schedule, timesteps, x)
        return (velocity - (sigma - alpha) * x) / (alpha + sigma)


class FlowSystem(VariantSystem):
    """Rectified flow (Liu et al. 2023) in coordinates of unit variance."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.network = FlowUNet(self.network.unet, self.network.positions)
        self.network.schedule = self.schedule

    def loss(self, network, batch, generator, *, step, steps):
        """The mean squared error of the velocity."""
        texts = [
            "" if drop < self.config.text_dropout else each[0]
            for each, drop in zip(
                batch.captions, torch.rand(len(batch.captions), generator=generator).tolist(), strict=True
            )
        ]
        x0 = pack(self.whitening.whiten(batch.planes))
        t = stratified_timesteps(len(x0), len(self.schedule), generator)
        noise = torch.randn(x0.shape, generator=generator)
        x = add_noise(self.schedule, x0, noise, t)
        alpha, sigma = coefficients(self.schedule, t, x)
        v = network(x, t, *self.prompts.encode(texts)).float()
        loss = (((sigma - alpha) * x + (alpha + sigma) * v - (noise - x0)) ** 2).mean()
        return {"loss": loss, "diffusion": loss.detach()}


class AtlasTransformer(nn.Module):
    """PixArt's transformer of packed atlases, with their position planes."""

    def __init__(self, size, positions, seed):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.transformer = PixArtTransformer2DModel(
                num_attention_heads=HEADS,
                attention_head_dim=HEAD_DIM,
                in_channels=CHANNELS + len(positions),
                out_channels=CHANNELS,
                num_layers=LAYERS,
                cross_attention_dim=HEADS * HEAD_DIM,
                sample_size=size,
                patch_size=PATCH,
                caption_channels=TEXT_DIM,
                use_additional_conditions=False,
            )
        self.register_buffer("positions", positions, persistent=False)

    def forward(self, x, timesteps, text, pooled=None):
        """The prediction for x; the pooled text is a further token."""
        sample = torch.cat([x, self.positions.expand(len(x), -1, -1, -1)], dim=1)
        tokens = torch.cat([text, pooled[:, None]], dim=1)
        sizes = {"resolution": None, "aspect_ratio": None}
        return self.transformer(sample, tokens, timesteps, added_cond_kwargs=sizes, return_dict=False)[0]


class TransformerSystem(VariantSystem):
    """A diffusion transformer (Peebles & Xie 2023) with attention to the text (Chen et al. 2024)."""

    def __init__(self, config, pipeline, stats, words, *, seed):
        super().__init__(config, pipeline, stats, words, seed=seed)
        self.network = AtlasTransformer(config.size, self.network.positions, seed)
