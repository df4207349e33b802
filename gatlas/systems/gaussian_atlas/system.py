"""Text to 3D by a 2D diffusion model of Gaussian atlases (Xiang et al. 2025, Repurposing 2D Diffusion Models with
Gaussian Atlas for 3D Generation)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gatlas import __version__
from gatlas.atlas import decode
from gatlas.atlas.statistics import COUNT, whitening
from gatlas.datasets.atlases import AtlasSet, RandomViews, all_captions, atlas_set
from gatlas.diffusion.losses import min_snr_weight, stratified_timesteps, target
from gatlas.diffusion.samplers import SAMPLERS
from gatlas.diffusion.schedules import add_noise, denoised, noise_schedule
from gatlas.errors import GatlasError
from gatlas.geometry.cameras import orbit
from gatlas.images.sheets import contact_sheet
from gatlas.io import load_stats
from gatlas.io.models.pipeline import Pipeline, save_adapters, save_module, save_parts, save_unet
from gatlas.models.atlas_unet import CHANNELS, AtlasUNet, Predicted, coarse, pack, position_planes, unpack
from gatlas.models.lora import adapter_weights, add_adapters, has_adapters, merged_weights
from gatlas.raster import rasterize
from gatlas.systems.contract import Condition, SampleRequest, System, digest_of
from gatlas.systems.gaussian_atlas.config import GaussianAtlasConfig
from gatlas.systems.gaussian_atlas.declaration import NAME, TAKES
from gatlas.systems.gaussian_atlas.denoising import DenoisingOptions, sampled_planes
from gatlas.systems.gaussian_atlas.drawn import drawn_conditions, host_draws
from gatlas.systems.gaussian_atlas.edited import check_edit, edit_record, edited_atlas
from gatlas.systems.gaussian_atlas.gaussians import batch_to_gaussians, sphere_points
from gatlas.systems.gaussian_atlas.generated import generated_atlas
from gatlas.systems.gaussian_atlas.pipeline import (
    PREDICTIONS,
    atlas_basis,
    blank_stats,
    from_base,
    from_scratch,
    picture_encoder,
    sized,
    usual_base,
)
from gatlas.systems.gaussian_atlas.prompts import Prompts
from gatlas.systems.gaussian_atlas.rendered_loss import references_of, rendered_terms
from gatlas.systems.gaussian_atlas.text_effect import text_effect
from gatlas.types import Atlas

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor, nn

    from gatlas.datasets.atlases import AtlasBatch
    from gatlas.metrics.lpips import Lpips
    from gatlas.models.atlas_basis import AtlasBasis
    from gatlas.models.pictures import PictureEncoder
    from gatlas.systems.contract import SampleSpec, Sources
    from gatlas.types import AtlasStats, Views

PICTURES_LR = 1 / 3  # factor of the encoder's learning rate: at that of `small` it learns shapes half as well
PARTS = ("basis", "pictures")  # of the network, beside the UNet
USUAL_SIZE = 128  # cells per side
PREVIEWED = 8  # samples in a preview
SCHEDULER = "dpm++"  # default of the sampler


class GaussianAtlasSystem(System):
    """A UNet that denoises whitened atlases, with its text encoder and statistics."""

    name = NAME
    part = "unet"
    takes = TAKES
    gives = Atlas

    def __init__(
        self,
        config: GaussianAtlasConfig,
        pipeline: Pipeline,
        stats: AtlasStats,
        with_words: Callable[[Pipeline, Iterable[str]], Pipeline] | None = None,
        *,
        basis: AtlasBasis | None = None,
        seed: int = 0,
        pictures: PictureEncoder | None = None,
    ) -> None:
        """`config.size` is that of the statistics; the pipeline's UNet takes packed atlases.

        `with_words` gives the pipeline its text encoder when the captions that it is trained with are known. Adapters
        begin from `seed`.
        """
        self.config = config
        self.renders = config.renders
        self.stats = stats
        self._sphere = torch.from_numpy(sphere_points(config.size, str(stats.meta["projection"])))
        positions = position_planes(self._sphere, config.octaves) if config.positions else None
        self.schedule = noise_schedule(
            pipeline.scheduler,
            zero_terminal_snr=config.zero_terminal_snr,
            prediction_type=PREDICTIONS[config.prediction],
        )
        levels = torch.stack(self.schedule.alpha_sigma(torch.arange(len(self.schedule))))
        self.network: AtlasUNet = AtlasUNet(pipeline.unet, positions, pictures, basis=basis, levels=levels.float())
        self._pipeline = replace(pipeline, scheduler=self.schedule.config)
        self.prompts = Prompts(pipeline.tokenizer, pipeline.text_encoder)
        self._raw_whitening = replace(whitening(stats, deviation=config.deviation), clip=config.whitening_clip)
        self.whitening = self._raw_whitening.to_torch()
        self._with_words, self._seed = with_words, seed
        self.lpips: Lpips | None = None
        self._captions: list[str] = []  # of the training set
        self.captioned: bool | None = None  # True where it is trained with captions; None: not known
        self.weights: str | None = None  # digest of those that were loaded

    def to(self, device: Any, dtype: Any = None) -> None:
        """Move text encoder, statistics and LPIPS, which stay float32."""
        self.prompts.to(device)
        self.whitening = self._raw_whitening.to_torch(device)
        self._sphere = self._sphere.to(device)
        if self.lpips is not None:
            self.lpips.to(device)

    def dataset(self, sources: Sources) -> AtlasSet:
        """Return the atlases of files, folders and shards, and load LPIPS where it has a weight."""
        config = self.config
        chosen = RandomViews(config.render_views, config.render_size) if config.renders else None
        if not config.renders and not config.pictures:
            reason = (
                "no rendered loss has a weight, and there are no pictures: --set rgb=1 or --set pictures=64 uses them"
            )
            sources.refuse("views", reason=f"{reason}; or leave --views out")
        if sources.stats is not None:
            named = load_stats(sources.stats)
            if not (np.array_equal(named.mean, self.stats.mean) and np.array_equal(named.m2, self.stats.m2)):
                raise GatlasError(f"{sources.stats}: other statistics than those that the run was begun with")
        examples = atlas_set(
            sources.inputs,
            self.stats,
            captions=sources.captions,
            views=sources.views,
            random_views=chosen,
            picture_side=config.pictures,
        )
        examples.draw(0, seed=0)  # refuses a set that cannot be used before any work
        self._captions = all_captions(examples)
        self.captioned = bool(self._captions)
        every = [text for i in range(len(examples)) for text in examples.captions_of(i)]
        if self._with_words is not None:
            self._pipeline = self._with_words(self._pipeline, every)
            self.prompts = Prompts(self._pipeline.tokenizer, self._pipeline.text_encoder)
        if os.environ.get("RANK", "0") == "0":  # torchrun's: only the first process reports, and need tokenize all
            examples.note(self.prompts.describe_truncated(every, "captions"))
        if self.config.lpips > 0:
            from gatlas.metrics.lpips import load_lpips

            remedies = {"without": "--set lpips=0", "larger": "--set render_size=64"}
            network = load_lpips(sources.lpips_weights, side=self.config.render_size, **remedies)
            self.lpips = network.to(self._sphere.device)
        return examples

    def begin_training(self) -> list[str]:
        """Give the network its adapters, where those are trained."""
        weights = self.network.state_dict()
        if not self.config.lora_rank or has_adapters(weights):
            return []
        add_adapters(self._pipeline.unet, self.config.lora_rank, seed=self._seed)
        if self.network.basis is not None:  # what new words say is learned; the atlases are those of the base
            self.network.basis.atlases.requires_grad_(False)
        trained = sum(weight.numel() for weight in self.network.parameters() if weight.requires_grad)
        share = trained / sum(weight.numel() for weight in weights.values())
        return [f"adapters of rank {self.config.lora_rank}: {share:.1%} as many weights are trained"]

    def lr_scale(self, name: str) -> float:
        """Return the factor of the learning rate of a weight: the encoder of pictures has a lower one."""
        return PICTURES_LR if name.startswith("pictures.") else 1.0

    @classmethod
    def outline(
        cls, config: GaussianAtlasConfig, *, base: str | None, stats: AtlasStats | None, pretrained: bool
    ) -> GaussianAtlasSystem:
        """Return a system of the shapes of a training, for counting its memory; weights of the base are not read.

        Without `base`, `pretrained` stands for Stable Diffusion 2.1, else the network is a small one. Without `stats`
        the size is the config's, or 128.
        """
        stats = blank_stats(config.size or USUAL_SIZE) if stats is None else stats
        config = sized(config, stats)
        if base is not None:
            pipeline = from_base(config, base, weights=False)
        else:
            pipeline = usual_base(config) if pretrained else from_scratch(config, seed=0)
        basis, pictures = atlas_basis(config, pipeline), picture_encoder(config, pipeline)
        system = cls(config, pipeline, stats, basis=basis, pictures=pictures)
        if config.lpips > 0:
            from gatlas.metrics.lpips import blank_lpips

            system.lpips = blank_lpips()
        return system

    @property
    def tokens(self) -> int:  # type: ignore[override]
        """The cells of an atlas."""
        return self.config.size**2

    def frozen(self) -> Sequence[nn.Module]:
        """Return the text encoder and LPIPS."""
        return [each for each in (self._pipeline.text_encoder, self.lpips) if each is not None]

    def checkpoint_gradients(self) -> None:
        """Recompute the UNet's activations in the backward pass."""
        self.network.enable_gradient_checkpointing()

    def loss(
        self, network: nn.Module, batch: AtlasBatch, generator: torch.Generator, *, step: int, steps: int
    ) -> dict[str, Tensor]:
        """Return "diffusion", and from `render_start` on "rgb", "mask" and "lpips" of the denoised Gaussians.

        With a basis there is "basis", the likelihood of its estimates; with pictures "guess", of the coarse atlas that
        their encoder guesses.
        """
        share = self.config.render_share(step, steps)
        draws = host_draws(len(batch.captions), generator, pictures=batch.pictures is not None, seeds=self.renders)
        dropout, device = self.config.text_dropout, self._sphere.device
        texts, shown = drawn_conditions(batch, draws, text_dropout=dropout, device=device)
        text = self.prompts.encode(texts)
        planes = batch.planes.to(self._sphere.device)
        t = stratified_timesteps(len(planes), len(self.schedule), generator).to(planes.device)
        shape = (len(planes), CHANNELS, *planes.shape[1:3])
        noise = torch.randn(shape, generator=generator, device=generator.device).to(planes.device)
        return self._terms(network, planes, text, shown, t, noise, batch.views, draws.seeds, share)

    def trial_loss(self, network: nn.Module, count: int) -> Tensor:
        """Return the loss of `count` samples of zeros, with the rendered terms where the config has them."""
        size, side, device = self.config.size, self.config.pictures, self._sphere.device
        planes = torch.zeros(count, size, size, COUNT, device=device)
        text = self.prompts.encode([""] * count)
        shown = {}
        if side:
            shown["pictures"] = torch.zeros(count, side, side, 3, device=device)
            shown["shown"] = torch.ones(count, dtype=torch.bool, device=device)
        t = torch.zeros(count, dtype=torch.long, device=device)
        noise = torch.zeros(count, CHANNELS, size, size, device=device)
        share = 1.0 if self.config.renders else 0.0
        return self._terms(network, planes, text, shown, t, noise, [None] * count, range(count), share)["loss"]

    def _terms(
        self,
        network: nn.Module,
        planes: Float[Tensor, "b h h 14"],
        text: tuple[Tensor, Tensor],
        shown: Mapping[str, Tensor],
        t: Tensor,
        noise: Float[Tensor, "b 16 h w"],
        views: Sequence[Views | None],
        seeds: Sequence[int],
        share: float,
    ) -> dict[str, Tensor]:
        """Return the terms of the loss, the rendered ones where their `share` is not 0, and "loss", their sum."""
        config = self.config
        x0 = pack(self.whitening.whiten(planes))
        x = add_noise(self.schedule, x0, noise, t)
        if config.basis or shown:
            parts = network(x, t, *text, **shown, with_parts=True)
        else:
            parts = Predicted(network(x, t, *text))
        prediction, wanted = parts.prediction.float(), target(self.schedule, x0, noise, t)
        terms = {"diffusion": torch.nn.functional.mse_loss(prediction, wanted)}
        total = config.diffusion * terms["diffusion"]
        if parts.estimate is not None:
            terms["basis"] = (parts.estimate.negative_log_likelihood(x0) * parts.estimate.informed).mean()
            total = total + terms["basis"]
        if parts.guess is not None:
            terms["guess"] = torch.nn.functional.mse_loss(parts.guess, coarse(x0, parts.guess.shape[-1]))
            total = total + config.guess * terms["guess"]
        if share > 0:
            terms |= self._rendered(denoised(self.schedule, x, prediction, t), planes, views, seeds, t)
            total = total + share * sum(getattr(config, name) * terms[name] for name in ("rgb", "mask"))
            total = total + share * config.lpips * terms["lpips"] if "lpips" in terms else total
        return {"loss": total, **{name: term.detach() for name, term in terms.items()}}

    def _rendered(
        self,
        clean: Float[Tensor, "b 16 h w"],
        planes: Float[Tensor, "b h h 14"],
        views: Sequence[Views | None],
        seeds: Sequence[int],
        t: Tensor,
    ) -> dict[str, Tensor]:
        """Return the rendered terms of the denoised Gaussians."""
        config, antialiased = self.config, bool(self.stats.meta.get("antialiased"))
        true, guessed = (
            batch_to_gaussians(each, self._sphere, antialiased=antialiased)
            for each in (planes, self.whitening.unwhiten(unpack(clean)))
        )
        references = references_of(true, views, config.render_views, config.render_size, seeds)
        weights = torch.ones(len(t), device=clean.device)
        if config.snr_cap > 0:
            weights = min_snr_weight(self.schedule, t, ceiling=config.snr_cap).to(clean.device)
        return rendered_terms(guessed, references, weights, self.lpips)

    @torch.no_grad()
    def diagnose(self, network: nn.Module, batch: AtlasBatch, generator: torch.Generator) -> dict[str, float]:
        """Return the effect of the text on predictions, at timesteps of the noisier half; nothing without captions.

        See `gatlas.systems.gaussian_atlas.text_effect`.
        """
        if not all(batch.captions):
            return {}
        device = self._sphere.device
        x0 = pack(self.whitening.whiten(batch.planes.to(device)))
        half = len(self.schedule) // 2
        t = (half + stratified_timesteps(len(x0), len(self.schedule) - half, generator)).to(device)
        noise = torch.randn(x0.shape, generator=generator, device=generator.device).to(device)
        x, wanted = add_noise(self.schedule, x0, noise, t), target(self.schedule, x0, noise, t)

        def predict(texts: Sequence[str]) -> Tensor:
            prediction: Tensor = network(x, t, *self.prompts.encode(texts)).float()
            return prediction

        return text_effect(predict, wanted, batch.captions, self._captions, generator)

    def default_conditions(self) -> tuple[Condition, ...]:
        """Return no text, where the model learned without captions."""
        return (Condition(prompt=""),) if self.captioned is False else ()

    def check(self, request: SampleRequest) -> list[str]:
        """Return what the user should know of a request, one message each. One that cannot be met is a GatlasError."""
        self._sampler_options(request)
        prompts = [condition.prompt for condition in request.conditions if condition.prompt]
        pictures = [condition.picture for condition in request.conditions if condition.picture is not None]
        messages = [*self.prompts.describe_truncated(prompts, "prompts"), *self.prompts.describe_unknown(prompts)]
        if not prompts and not pictures and request.guidance is not None:
            messages.append(f"guidance has no effect without a prompt{' or a picture' if self.config.pictures else ''}")
        return messages

    def _sampler_options(self, request: SampleRequest) -> DenoisingOptions:
        """Return the request's options with the defaults filled in. Those that cannot be met are a GatlasError."""
        steps, scheduler = request.steps or self.config.sampler_steps, request.scheduler or SCHEDULER
        if steps > len(self.schedule):
            raise GatlasError(f"steps must be at most {len(self.schedule)}, got {steps}")
        if scheduler not in SAMPLERS:
            raise GatlasError(f"--scheduler {scheduler}: {self.name} has {', '.join(SAMPLERS)}")
        model = self._pipeline.name or self.name
        if self.captioned is False and any(condition.prompt for condition in request.conditions):
            raise GatlasError(
                f"{model}: the model learned without captions, so that a prompt means nothing to it: sample it without "
                "--prompt, or train a model with --captions"
            )
        picture = next((each.picture for each in request.conditions if each.picture is not None), None)
        if picture is not None and not self.config.pictures:
            raise GatlasError(
                f"--image {picture.name}: {model} learned without pictures: sample it with --prompt, or train a model "
                "with --set pictures=64"
            )
        if request.edit is not None:
            check_edit(request.edit, self.stats.meta, self.config.size)
        guidance = self.config.guidance if request.guidance is None else request.guidance
        return DenoisingOptions(steps, guidance, scheduler)

    def sample(self, request: SampleRequest, network: nn.Module | None = None) -> Iterator[Atlas]:
        """Yield one atlas per sample. The prompt "" asks for no text, and then guidance has no effect.

        With an edit it is made from that atlas: a variation of it, or its completion, whose kept cells are equal.
        """
        options = self._sampler_options(request)
        network = self.network if network is None else network
        samples = request.samples
        for start in range(0, len(samples), request.batch):
            some = samples[start : start + request.batch]
            planes = sampled_planes(
                network, some, request, options, self.prompts, self.schedule, self.whitening, self.config
            )
            for sample, each in zip(some, planes, strict=True):
                made = each, self.stats.meta, sample.name, self.record(request, sample)
                yield generated_atlas(*made) if request.edit is None else edited_atlas(request.edit, *made)

    def record(self, request: SampleRequest, sample: SampleSpec) -> dict[str, Any]:
        """Return how a sample is made."""
        return {
            "prompt": sample.condition.prompt or "",
            "number": sample.number,
            "seed": request.seed,
            **self._sampler_options(request)._asdict(),
            "dtype": str(next(self.network.parameters()).dtype).removeprefix("torch."),
            "model": self._pipeline.name,
            "weights": self.weights,
            **({} if sample.condition.picture is None else {"picture": digest_of([sample.condition.picture.image])}),
            **({} if request.edit is None else edit_record(request.edit)),
        }

    def preview(self, network: nn.Module, generator: torch.Generator) -> Float[np.ndarray, "h w 3"] | None:
        """Return renders of samples of the first training captions, or of no text."""
        seed = int(torch.randint(2**31, (), generator=generator, device=generator.device))
        prompts = self._captions[:PREVIEWED]
        conditions = tuple(Condition(prompt=prompt) for prompt in prompts or [""])
        cameras = orbit(1, 160, 160, azimuth=30.0)
        pictures = []
        for atlas in self.sample(SampleRequest(conditions, count=1 if prompts else 4, seed=seed), network):
            if not atlas.opacity.any():
                pictures.append(np.ones((160, 160, 3), dtype=np.float32))
                continue
            pictures.append(rasterize(decode(atlas), cameras, background=np.ones(3, dtype=np.float32)).colors[0])
        return np.clip(contact_sheet(np.stack(pictures)), 0.0, 1.0)

    def save_frozen(self, folder: str) -> None:
        """Write scheduler, text encoder, tokenizer, gatlas.json and statistics."""
        packages = ("torch", "diffusers", "transformers")
        description = {
            "system": NAME,
            "config": self.config.to_json(),
            **({} if self.captioned is None else {"captions": self.captioned}),
            "versions": {"gatlas": __version__, **{package: version(package) for package in packages}},
        }
        save_parts(folder, self._pipeline, description, self.stats)

    def save_network(self, folder: str, weights: Mapping[str, Tensor]) -> None:
        """Write the UNet with the given weights, named as in `network`, and what is beside it.

        Adapters are added to its weights, so that it is sampled like any other, and written as well, beside it.
        """
        own, *others = (
            {name.removeprefix(f"{part}."): value for name, value in weights.items() if name.startswith(f"{part}.")}
            for part in ("unet", *PARTS)
        )
        for part, values in zip(PARTS, others, strict=True):
            if values:
                save_module(folder, part, values)
        unet: Any = self._pipeline.unet
        if has_adapters(own):
            save_adapters(folder, adapter_weights(own))
            with torch.device("meta"):
                unet = type(unet).from_config(unet.config)
            own = merged_weights(own)
        save_unet(folder, unet, own)


SYSTEM = GaussianAtlasSystem
