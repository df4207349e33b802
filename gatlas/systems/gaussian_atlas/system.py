"""Text to 3D: a 2D diffusion model of Gaussian atlases (Xiang et al. 2025, Repurposing 2D Diffusion Models with
Gaussian Atlas for 3D Generation)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gatlas import __version__
from gatlas.atlas import decode
from gatlas.atlas.statistics import whitening
from gatlas.datasets.atlases import AtlasSet, RandomViews, all_captions, atlas_set
from gatlas.diffusion.losses import min_snr_weight, stratified_timesteps, target
from gatlas.diffusion.samplers import sample_latents
from gatlas.diffusion.schedules import add_noise, denoised, noise_schedule
from gatlas.errors import GatlasError
from gatlas.geometry.cameras import orbit
from gatlas.images.sheets import contact_sheet
from gatlas.io import load_stats
from gatlas.io.models.pipeline import Pipeline, load_model, save_parts, save_unet
from gatlas.models.atlas_unet import CHANNELS, AtlasUNet, pack, position_planes, unpack
from gatlas.raster import rasterize
from gatlas.systems.contract import Draw, Preset, SampleRequest, System
from gatlas.systems.gaussian_atlas.config import AtlasConfig
from gatlas.systems.gaussian_atlas.gaussians import gaussians_of, sphere_points
from gatlas.systems.gaussian_atlas.generated import generated_atlas
from gatlas.systems.gaussian_atlas.pipeline import PREDICTIONS, check_network, from_base, from_scratch
from gatlas.systems.gaussian_atlas.prompts import Prompts
from gatlas.systems.gaussian_atlas.rendered_loss import Reference, from_gaussians, from_views, rendered_terms
from gatlas.systems.gaussian_atlas.text_effect import text_effect
from gatlas.transport import PROJECTIONS, SPHERE_NAME

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor, nn

    from gatlas.datasets.atlases import AtlasBatch
    from gatlas.metrics.lpips import Lpips
    from gatlas.systems.contract import Sources
    from gatlas.types import Atlas, AtlasStats

NAME = "gaussian-atlas"
PREVIEWED = 8  # samples in a preview


class GaussianAtlas(System):
    """A UNet that denoises whitened atlases, with the text encoder and the statistics that go with it."""

    name = NAME
    part = "unet"

    def __init__(self, config: AtlasConfig, pipeline: Pipeline, stats: AtlasStats) -> None:
        """`config.size` is the statistics' own; the pipeline's UNet is one of packed atlases."""
        self.config = config
        self.stats = stats
        self._sphere = torch.from_numpy(sphere_points(config.size, str(stats.meta["projection"])))
        positions = position_planes(self._sphere, config.octaves) if config.positions else None
        self.network: nn.Module = AtlasUNet(pipeline.unet, positions)
        self.schedule = noise_schedule(
            pipeline.scheduler,
            zero_terminal_snr=config.zero_terminal_snr,
            prediction_type=PREDICTIONS[config.prediction],
        )
        self._pipeline = replace(pipeline, scheduler=self.schedule.config)
        self._prompts = Prompts(pipeline.tokenizer, pipeline.text_encoder)
        self._raw_whitening = replace(whitening(stats, deviation=config.deviation), clip=config.whitening_clip)
        self._whitening = self._raw_whitening.to_torch()
        self._lpips: Lpips | None = None
        self._captions: list[str] = []  # of the training set
        self.captioned: bool | None = None  # whether it learns, or has learnt, with captions; None: not known
        self.weights: str | None = None  # digest of those that were loaded

    def to(self, device: Any, dtype: Any = None) -> None:
        """Move what is not the network. `dtype` is the network's alone: text and statistics stay float32."""
        self._prompts.to(device)
        self._whitening = self._raw_whitening.to_torch(device)
        self._sphere = self._sphere.to(device)
        if self._lpips is not None:
            self._lpips.to(device)

    def dataset(self, sources: Sources) -> AtlasSet:
        """The atlases of files, folders and shards. Where LPIPS has a weight, its network is loaded here."""
        chosen = RandomViews(self.config.render_views, self.config.render_size)
        if not self.config.renders:
            sources.refuse("views", reason="no rendered loss has a weight: --set rgb=1 gives one; or leave --views out")
        if sources.stats is not None:
            named = load_stats(sources.stats)
            if not (np.array_equal(named.mean, self.stats.mean) and np.array_equal(named.m2, self.stats.m2)):
                raise GatlasError(f"{sources.stats}: other statistics than those that the run was begun with")
        examples = atlas_set(
            sources.inputs, self.stats, captions=sources.captions, views=sources.views, random_views=chosen
        )
        examples.draw(0, seed=0)  # a set of another kind is refused before any work is done
        self._captions = all_captions(examples)
        self.captioned = bool(self._captions)
        every = (text for i in range(len(examples)) for text in examples.captions_of(i))
        examples.note(self._prompts.remarks(every, "captions"))
        if self.config.lpips > 0:
            from gatlas.metrics.lpips import load_lpips

            remedies = {"without": "--set lpips=0", "larger": "--set render_size=64"}
            network = load_lpips(sources.lpips_weights, side=self.config.render_size, **remedies)
            self._lpips = network.to(self._sphere.device)
        return examples

    def loss(
        self, network: nn.Module, batch: AtlasBatch, generator: torch.Generator, *, step: int, steps: int
    ) -> dict[str, Tensor]:
        """ "diffusion", and from `render_start` on "rgb", "mask" and "lpips" of the denoised Gaussians."""
        config, device = self.config, self._sphere.device
        texts = self._drawn_texts(batch.captions, generator)
        planes = batch.planes.to(device)
        x0 = pack(self._whitening.whiten(planes))
        t = stratified_timesteps(len(x0), len(self.schedule), generator).to(device)
        noise = torch.randn(x0.shape, generator=generator, device=generator.device).to(device)
        x = add_noise(self.schedule, x0, noise, t)
        prediction = network(x, t, *self._prompts.encode(texts)).float()
        wanted = target(self.schedule, x0, noise, t)
        terms = {"diffusion": torch.nn.functional.mse_loss(prediction, wanted)}
        total = config.diffusion * terms["diffusion"]
        share = config.render_share(step, steps)
        if share > 0:
            clean = denoised(self.schedule, x, prediction, t)
            terms |= self._rendered(clean, planes, batch, t, generator)
            total = total + share * sum(getattr(config, name) * terms[name] for name in ("rgb", "mask"))
            total = total + share * config.lpips * terms["lpips"] if "lpips" in terms else total
        return {"loss": total, **{name: term.detach() for name, term in terms.items()}}

    def _drawn_texts(self, captions: Sequence[tuple[str, ...]], generator: torch.Generator) -> list[str]:
        """One caption of each object, or "" for those that are learnt without text."""
        draws = torch.rand((len(captions), 2), generator=generator, device=generator.device).tolist()
        return [
            texts[int(which * len(texts))] if texts and dropped >= self.config.text_dropout else ""
            for texts, (dropped, which) in zip(captions, draws, strict=True)
        ]

    def _rendered(
        self,
        clean: Float[Tensor, "b 16 h w"],
        planes: Float[Tensor, "b h h 14"],
        batch: AtlasBatch,
        t: Tensor,
        generator: torch.Generator,
    ) -> dict[str, Tensor]:
        """The terms of the denoised Gaussians against pictures of the true ones."""
        cap, count, side = self.config.snr_cap, self.config.render_views, self.config.render_size
        guessed = self._whitening.unwhiten(unpack(clean))
        weights = min_snr_weight(self.schedule, t, ceiling=cap) if cap > 0 else torch.ones(len(t), device=t.device)

        def reference(i: int) -> Reference:
            views = batch.views[i]
            if views is None:
                return from_gaussians(gaussians_of(planes[i], self._sphere), count, side, generator)
            return from_views(views)

        return rendered_terms(
            lambda i: gaussians_of(guessed[i], self._sphere), reference, weights.to(clean.device), self._lpips
        )

    @torch.no_grad()
    def diagnose(self, network: nn.Module, batch: AtlasBatch, generator: torch.Generator) -> dict[str, float]:
        """What the text does, at timesteps of the noisier half.

        See `gatlas.systems.gaussian_atlas.text_effect`. Without text there are none.
        """
        if not all(batch.captions):
            return {}
        device = self._sphere.device
        x0 = pack(self._whitening.whiten(batch.planes.to(device)))
        half = len(self.schedule) // 2
        t = (half + stratified_timesteps(len(x0), len(self.schedule) - half, generator)).to(device)
        noise = torch.randn(x0.shape, generator=generator, device=generator.device).to(device)
        x, wanted = add_noise(self.schedule, x0, noise, t), target(self.schedule, x0, noise, t)

        def predict(texts: Sequence[str]) -> Tensor:
            prediction: Tensor = network(x, t, *self._prompts.encode(texts)).float()
            return prediction

        return text_effect(predict, wanted, batch.captions, self._captions, generator)

    def check(self, request: SampleRequest) -> list[str]:
        """What the user should know of a request, a line each. One that cannot be met is a GatlasError."""
        self._require_possible(request)
        prompts = [draw.prompt for draw in request.draws if draw.prompt]
        remarks = self._prompts.remarks(prompts, "prompts")
        if not prompts and request.guidance is not None:
            remarks.append("guidance has no effect without a prompt")
        return remarks

    def _require_possible(self, request: SampleRequest) -> None:
        if request.steps > len(self.schedule):
            raise GatlasError(f"steps must be at most {len(self.schedule)}, got {request.steps}")
        if self.captioned is False and any(draw.prompt for draw in request.draws):
            raise GatlasError(
                f"{self._pipeline.name or self.name}: the model learned without captions, so that a prompt means "
                "nothing to it: sample it without --prompt, or train a model with --captions"
            )

    def sample(self, request: SampleRequest, network: nn.Module | None = None) -> Iterator[Atlas]:
        """One atlas a draw, in their order. The prompt "" asks for no text, and then guidance has no effect.

        The noise of a draw is made on the CPU from the seed, its prompt and its number: the same on every device, and
        no draw depends on another.
        """
        self._require_possible(request)
        network = self.network if network is None else network
        for start in range(0, len(request.draws), request.batch):
            draws = request.draws[start : start + request.batch]
            planes = self._draw_planes(network, draws, request, self._guidance(request))
            for draw, each in zip(draws, planes, strict=True):
                yield generated_atlas(each, self.stats.meta, draw.name, self.record(request, draw))

    def record(self, request: SampleRequest, draw: Draw) -> dict[str, Any]:
        """How the sample of a draw is made."""
        return {
            "prompt": draw.prompt,
            "number": draw.number,
            "seed": request.seed,
            "steps": request.steps,
            "guidance": self._guidance(request),
            "scheduler": request.scheduler,
            "dtype": str(next(self.network.parameters()).dtype).removeprefix("torch."),
            "model": self._pipeline.name,
            "weights": self.weights,
        }

    def _guidance(self, request: SampleRequest) -> float:
        return self.config.guidance if request.guidance is None else request.guidance

    @torch.no_grad()
    def _draw_planes(
        self, network: nn.Module, draws: Sequence[Draw], request: SampleRequest, guidance: float
    ) -> Float[np.ndarray, "n h h 14"]:
        """Raw planes of the draws."""
        device, size = self._sphere.device, self.config.size
        noise = torch.stack(
            [torch.randn(CHANNELS, size, size, generator=_generator(request.seed, draw)) for draw in draws]
        )
        text, pooled = self._prompts.encode([draw.prompt for draw in draws])
        if not any(draw.prompt for draw in draws):
            guidance = 1.0

        def denoise(x: Tensor, t: Tensor, conditional: Tensor) -> Tensor:
            copies = len(x) // len(draws)
            keep = conditional.to(text.dtype)
            hidden = text.repeat(copies, 1, 1) * keep[:, None, None]
            prediction: Tensor = network(x, t, hidden, pooled.repeat(copies, 1) * keep[:, None])
            return prediction

        latents = sample_latents(
            denoise,
            noise.to(device),
            self.schedule,
            steps=request.steps,
            guidance=guidance,
            scheduler=request.scheduler,
        )
        planes: np.ndarray = self._whitening.unwhiten(unpack(latents)).cpu().numpy()
        return planes

    def preview(self, network: nn.Module, generator: torch.Generator) -> Float[np.ndarray, "h w 3"] | None:
        """Samples of the first training captions, rendered; of no text where there are none."""
        seed = int(torch.randint(2**31, (), generator=generator, device=generator.device))
        prompts = self._captions[:PREVIEWED]
        draws = [Draw(prompt) for prompt in prompts] or [Draw("", number) for number in range(4)]
        cameras = orbit(1, 160, 160, azimuth=30.0)
        pictures = []
        for atlas in self.sample(SampleRequest(tuple(draws), seed=seed), network):
            if not atlas.opacity.any():
                pictures.append(np.ones((160, 160, 3), dtype=np.float32))
                continue
            pictures.append(rasterize(decode(atlas), cameras, background=np.ones(3, dtype=np.float32)).colors[0])
        return np.clip(contact_sheet(np.stack(pictures)), 0.0, 1.0)

    def save_frozen(self, folder: str) -> None:
        """Scheduler, text encoder, tokenizer, gatlas.json and the statistics."""
        packages = ("torch", "diffusers", "transformers")
        description = {
            "system": NAME,
            "config": self.config.to_json(),
            **({} if self.captioned is None else {"captions": self.captioned}),
            "versions": {"gatlas": __version__, **{package: version(package) for package in packages}},
        }
        save_parts(folder, self._pipeline, description, self.stats)

    def save_network(self, folder: str, weights: Mapping[str, Tensor]) -> None:
        """The UNet with the given weights, named as in `network`."""
        save_unet(folder, self._pipeline.unet, {name.removeprefix("unet."): value for name, value in weights.items()})


def create(
    config: AtlasConfig, *, base: str | None = None, stats: AtlasStats | None = None, seed: int = 0
) -> GaussianAtlas:
    """A system to train: with the UNet of a diffusers pipeline, widened, or with a small one of random weights.

    A base that is a model of ours goes on as it is. What does not fit together is a GatlasError.
    """
    if stats is None:
        raise GatlasError(
            "no statistics: make them with gatlas normalize-stats INPUT -o stats.npz and name them with --stats"
        )
    config = _sized(config, stats)
    pipeline = from_scratch(config, seed) if base is None else from_base(config, base)
    return GaussianAtlas(config, pipeline, stats)


def load(folder: str, *, device: Any = "cpu", dtype: Any = None) -> GaussianAtlas:
    """The trained system of a model folder, a run or a checkpoint. `dtype` is the network's, or its name in torch."""
    pipeline, description, stats = load_model(folder)
    if description["system"] != NAME:
        raise GatlasError(f"{folder}: a model of the system {description['system']!r}, not of {NAME!r}")
    config = AtlasConfig.from_json(description["config"], f"{folder}: its config in gatlas.json")
    stored = pipeline.scheduler["prediction_type"]
    if stored != PREDICTIONS[config.prediction]:
        raise GatlasError(
            f"{folder}: its gatlas.json says that it predicts {config.prediction} and its scheduler_config.json says "
            f"{stored}: one of them was changed after training"
        )
    if stats is None:
        raise GatlasError(f"{folder}: has no stats.npz, with which its samples are unwhitened: copy it from the run")
    check_network(config, pipeline, folder)
    captioned = description.get("captions")  # an earlier gatlas did not say
    if captioned is not None and not isinstance(captioned, bool):
        raise GatlasError(f"{folder}: its gatlas.json is damaged: captions must be true or false, got {captioned!r}")
    system = GaussianAtlas(_sized(config, stats), pipeline, stats)
    system.captioned = captioned
    system.weights = _digest(pipeline.unet)  # before `dtype` rounds them
    system.to(device)
    system.network.to(device, getattr(torch, dtype) if isinstance(dtype, str) else dtype).eval()
    return system


def _sized(config: AtlasConfig, stats: AtlasStats) -> AtlasConfig:
    """The config with the size of the statistics, whose layout this version must know."""
    for field, known in (("sphere", (SPHERE_NAME,)), ("projection", PROJECTIONS)):
        if stats.meta.get(field) not in known:
            raise GatlasError(
                f"the statistics have the {field} {stats.meta.get(field)!r}; this version knows {', '.join(known)}"
            )
    size = int(stats.mean.shape[0])
    if config.size not in (0, size):
        raise GatlasError(
            f"the statistics are of {size} x {size} atlases and the model is of {config.size} x {config.size}: "
            f"use statistics of that size, or --set size={size} for a new model"
        )
    return replace(config, size=size)


def _digest(network: nn.Module) -> str:
    """A digest of up to 4,096 weights of each tensor: a step of training changes nearly all of them."""
    digest = hashlib.sha256()
    for name, weight in network.state_dict().items():
        flat = weight.detach().flatten()
        some = flat[:: -(-flat.numel() // 4096)].contiguous().cpu().numpy()
        digest.update(f"{name} {tuple(weight.shape)}".encode() + some.tobytes())
    return digest.hexdigest()


def _generator(seed: int, draw: Draw) -> torch.Generator:
    """The noise of one draw."""
    digest = hashlib.sha256(json.dumps([seed, draw.prompt, draw.number]).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


PRESETS = {
    # A laptop's CPU in minutes: eight objects and their captions, 32 x 32 cells.
    "small": Preset(
        AtlasConfig(
            deviation="channel",
            positions=True,
            octaves=3,  # down to waves of a quarter of the sphere's diameter
            pooled=True,
            # The first level must pass on the noise of 16 channels beside what it has learnt: 32 are too few.
            widths=(64, 64, 96, 128),
            guidance=1.5,
            rgb=0.0,
            mask=0.0,
            lpips=0.0,
            render_size=64,
        ),
        {
            "steps": 1_200,
            "batch": 8,
            "lr": 3e-3,
            "schedule": "cosine",
            "schedule_steps": 1_200,
            "warmup": 20,
            "checkpoint_every": 200,
            "sample_every": 200,
            "diagnose_every": 50,
        },
    ),
    # A Stable Diffusion as the base: the paper's numbers, the rendered terms weighted by the SNR and ramped.
    "finetune": Preset(
        AtlasConfig(),
        {"steps": 1_000_000, "batch": 8, "lr": 5e-5, "weight_decay": 0.0, "warmup": 1_000, "checkpoint_every": 5_000},
        with_base=True,
    ),
    # The paper and, where it is silent, GaussianCube: 64 samples a step are eight processes of 8.
    "paper": Preset(
        AtlasConfig(render_ramp=0.0, snr_cap=0.0),
        {"steps": 1_000_000, "batch": 8, "lr": 5e-5, "weight_decay": 0.0, "warmup": 0, "checkpoint_every": 5_000},
        with_base=True,
    ),
}
