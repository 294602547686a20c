"""Images side by side in one picture, in NumPy."""

import math

import numpy as np


def check_images(shape: tuple[int, ...], name: str) -> tuple[int, ...]:
    """`shape`, which must be (samples, height, width, 1 or 3), none of them 0."""
    if len(shape) != 4 or shape[-1] not in (1, 3) or 0 in shape:
        raise ValueError(
            f"`{name}` holds images, shape (samples, height, width, 1) or (..., 3); got {shape}."
        )
    return shape


def tiles(images: np.ndarray, columns: int | None = None, *, gap: int = 1) -> np.ndarray:
    """One picture of images in reading order, (height, width, channels), values in [-1, 1].

    `columns` in a row, or as many as make a square; `gap` lines of 0 tell neighbours apart.
    """
    n, height, width, channels = check_images(np.shape(images), "images")
    columns = columns or math.ceil(math.sqrt(n))
    rows, height, width = -(-n // columns), height + gap, width + gap
    # Every image has its gap below and to its right; what sticks out at the end is cut off.
    filled = np.zeros((rows * columns, height, width, channels))
    filled[:n, : height - gap, : width - gap] = np.clip(images, -1, 1)
    filled = filled.reshape(rows, columns, height, width, channels).swapaxes(1, 2)
    picture = filled.reshape(rows * height, columns * width, channels)
    return picture[: rows * height - gap, : columns * width - gap]
