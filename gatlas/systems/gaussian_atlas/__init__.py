"""Text to 3D: a diffusion model of Gaussian atlases (Xiang et al. 2025)."""
