"""How good a picture is: numbers from two pictures."""

from gatlas.metrics.psnr import psnr

__all__ = ["psnr"]
