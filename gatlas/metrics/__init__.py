"""Measures of image quality and of camera errors."""

from gatlas.metrics.psnr import psnr

__all__ = ["psnr"]
