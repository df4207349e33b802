"""Photos of a corner of three patterned walls, with the cameras that took them; drawn by homographies."""

import cv2
import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from gatlas.geometry.cameras import intrinsics, look_at

WIDTH, HEIGHT, FOV = 240, 180, 55.0
TEXELS = 320  # a side of a wall
AXES = ((0, 1), (1, 2), (2, 0))  # of the walls: they are the squares from 0 to 2 in two of the axes, 0 in the third


def pattern(rng):
    """Return a wall's colors [h w 3], uint8, with structure of several sizes."""
    noise = sum(
        gaussian_filter(rng.normal(size=(TEXELS, TEXELS, 3)), (s, s, 0)) * s * a for s, a in ((1.5, 1), (5, 1.2))
    )
    return np.clip(255 * (rng.uniform(0.35, 0.65, 3) + 0.22 * noise), 0, 255).astype(np.uint8)


def corner_cameras(count=8, degrees=60.0, height=1.5):
    """Return K and the viewmats [count 4 4] of cameras on an arc, which look at the corner; y is up."""
    angles = np.radians(45 + np.linspace(-degrees / 2, degrees / 2, count))
    eyes = np.stack([3.4 * np.sin(angles), np.full(count, height), 3.4 * np.cos(angles)], axis=1)
    eyes[:, 1] += 0.25 * np.sin(3 * np.arange(count))
    K = intrinsics(WIDTH, HEIGHT, FOV)
    return K, look_at(eyes, np.array([0.55, 0.6, 0.55]))


def draw(K, viewmat, walls, size=(WIDTH, HEIGHT)):
    """Return a photo [h w 3], uint8; gray where no wall is."""
    photo = np.full((size[1], size[0], 3), 128, dtype=np.uint8)
    for (a, b), wall in zip(AXES, walls, strict=True):
        across, along = np.zeros((2, 3))
        across[a], along[b] = 2 / TEXELS, 2 / TEXELS
        R, t = viewmat[:3, :3], viewmat[:3, 3]
        plane = K @ np.stack([R @ across, R @ along, t], axis=1)
        shift = np.array([[1, 0, -0.5], [0, 1, -0.5], [0, 0, 1]])  # OpenCV's first pixel has its center at 0
        H = shift @ plane @ np.linalg.inv(shift)
        drawn = cv2.warpPerspective(wall, H, size, flags=cv2.INTER_LINEAR)
        there = cv2.warpPerspective(np.full(wall.shape[:2], 255, np.uint8), H, size, flags=cv2.INTER_NEAREST) > 0
        photo[there] = drawn[there]
    return photo


def save_corner(folder, count=8, seed=0, **more):
    """Write photos a0.jpg, a1.jpg … of the corner; return their names and viewmats, and K."""
    rng = np.random.default_rng(seed)
    walls = [pattern(rng) for _ in AXES]
    K, viewmats = corner_cameras(count, **more)
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"a{i}.jpg" for i in range(count)]
    for name, viewmat in zip(names, viewmats, strict=True):
        Image.fromarray(draw(K, viewmat, walls)).save(folder / name, quality=95)
    return names, viewmats, K
