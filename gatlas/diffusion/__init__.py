"""Diffusion: noise schedules, training targets, guidance and samplers. Every module needs torch."""
