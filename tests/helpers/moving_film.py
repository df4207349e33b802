"""A film of a texture that moves past, of which every fifth frame is sharp."""

import numpy as np

from gatlas.io.films import Film, encode_mp4

SHARP = 2  # the number, in each five frames, of the one that is


def frames_of(count=40, width=96, height=64, step=3):
    """Frames as arrays: a colored texture of blocks that moves to the left by `step` pixels a frame."""
    rng = np.random.default_rng(0)
    gray = rng.integers(20, 240, (height // 8, (width + step * count) // 8 + 1, 1))
    blocks = (gray * [1.0, 0.8, 0.6]).astype(np.uint8)
    texture = blocks.repeat(8, 0).repeat(8, 1)
    frames = []
    for i in range(count):
        frame = texture[:height, step * i : step * i + width]
        if i % 5 != SHARP:
            mean = sum(np.roll(frame, (dy, dx), (0, 1)).astype(np.uint16) for dy in range(5) for dx in range(5)) // 25
            frame = mean.astype(np.uint8)
        frames.append(np.ascontiguousarray(frame))
    return frames


def mp4_of(frames, fps=10):
    height, width = frames[0].shape[:2]
    return b"".join(encode_mp4(Film(iter(frames), len(frames), width, height, fps)))


def with_display_matrix(mp4, a, b, c, d):
    """The same film, shown turned: the pixel x, y at a x + c y, b x + d y (the matrix of its track header)."""
    at = mp4.index(b"tkhd") + 44
    numbers = [a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30]
    return mp4[:at] + b"".join(number.to_bytes(4, "big", signed=True) for number in numbers) + mp4[at + 36 :]
