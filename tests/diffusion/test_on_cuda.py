"""Every sampler on a pretended CUDA device, against the CPU: noise and draws come from the CPU's generators."""

import pytest
import torch

from gatlas.diffusion.guidance import dynamic_threshold
from gatlas.diffusion.losses import min_snr_weight, stratified_timesteps, target
from gatlas.diffusion.samplers import CONTINUOUS_SAMPLERS, SAMPLERS, sample_continuous, sample_latents
from gatlas.diffusion.schedules import STABLE_DIFFUSION_NOISE, CosineLogSnr, add_noise, denoised, noise_schedule

pytestmark = pytest.mark.usefixtures("cuda_device")

SCHEDULE = noise_schedule(STABLE_DIFFUSION_NOISE, zero_terminal_snr=True, prediction_type="v_prediction")


@pytest.mark.parametrize("scheduler", SAMPLERS)
def test_latents_are_those_of_the_cpu(scheduler):
    noise = torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(0))

    def denoise(x, t, conditional):
        return 0.1 * x * conditional[:, None, None, None] + 1e-4 * t[:, None, None, None]

    found, expected = (
        sample_latents(denoise, noise.to(device), SCHEDULE, steps=3, guidance=2.0, scheduler=scheduler)
        for device in ("cuda", "cpu")
    )
    assert found.is_cuda
    torch.testing.assert_close(found.cpu(), expected)


@pytest.mark.parametrize("drawn_on", ["cpu", "cuda"])
@pytest.mark.parametrize("sampler", CONTINUOUS_SAMPLERS)
def test_samples_in_continuous_time_are_those_of_the_cpu(sampler, drawn_on):
    def sampled(device, drawn_on):
        generators = [torch.Generator(drawn_on).manual_seed(number) for number in range(2)]
        return sample_continuous(
            lambda x, t, conditional, chosen: 0.1 * x * conditional[:, None],
            (4,),
            CosineLogSnr(),
            generators,
            steps=3,
            guidance=2.0,
            sampler=sampler,
            limit=dynamic_threshold,
            choose=lambda number, generator: int(torch.randint(3, (), generator=generator, device=generator.device)),
            device=device,
        )

    found = sampled("cuda", drawn_on)
    assert found.is_cuda
    torch.testing.assert_close(found.cpu(), sampled("cpu", "cpu"))


@pytest.mark.parametrize("drawn_on", ["cpu", "cuda"])
def test_training_takes_its_draws_to_the_latents(drawn_on):
    latents = torch.ones(3, 2, device="cuda")
    generator = torch.Generator(drawn_on).manual_seed(0)
    t = stratified_timesteps(3, len(SCHEDULE), generator).to("cuda")
    noise = torch.randn(latents.shape, generator=generator, device=drawn_on).to("cuda")
    x = add_noise(SCHEDULE, latents, noise, t)
    clean = denoised(SCHEDULE, x, target(SCHEDULE, latents, noise, t), t)
    torch.testing.assert_close(clean, latents, atol=1e-4, rtol=0)
    assert min_snr_weight(SCHEDULE, t).is_cuda
