"""Noise processes of diffusion models: schedules, losses, guidance and samplers."""
