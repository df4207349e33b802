"""Unposed photos to Gaussians: NoPoSplat (Ye et al. 2024)."""
