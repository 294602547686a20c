"""Samples from a trained network, and the files that show them."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import random
from jaxtyping import Float
from matplotlib import image

import edmjax as ej
from edmjax.training.choices import parse_sampler, parse_schedule
from edmjax.training.config import SampleConfig


def generate(
    denoise: Callable[..., Any],
    config: SampleConfig,
    image_shape: tuple[int, ...],
    *,
    progress: bool = True,
) -> Float[np.ndarray, "n height width channels"]:
    """The samples that a configuration asks for, clipped to [-1, 1], float32.

    Sample `i` is made from `(config.seed, i)` alone, so the size of the chunks, and how many
    samples follow it, change nothing. `ValueError` for a sampler or schedule that does not exist.
    """
    plan = ej.make_plan(
        parse_sampler(config.sampler), parse_schedule(config.schedule, config.num_steps)
    )
    key_start, key_steps = random.split(random.key(config.seed))
    chunks = []
    for start in range(0, config.num_samples, config.chunk_size):
        n = min(config.chunk_size, config.num_samples - start)
        normal = jax.vmap(lambda key: random.normal(key, image_shape))
        x = jnp.float32(plan.grid[0]) * normal(ej.sample_keys(key_start, n, start))
        keys = ej.sample_keys(key_steps, n, start)
        x0 = ej.sample(denoise, plan, x, keys, progress=progress)
        chunks.append(np.clip(np.asarray(x0), -1, 1))
    return np.concatenate(chunks)


def write_samples(
    samples: Float[np.ndarray, "n height width channels"], directory: str | os.PathLike
) -> None:
    """Writes `samples.npz` (array `x`) and `samples.png` (the first 100 in a square grid)."""
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    np.savez(directory / "samples.npz", x=samples)
    image.imsave(directory / "samples.png", grid(samples[:100]), cmap="gray", vmin=0, vmax=1)


def grid(
    images: Float[np.ndarray, "n height width channels"], *, size: int = 56, gap: int = 2
) -> Float[np.ndarray, "..."]:
    """One picture of images side by side, in [0, 1], each enlarged to about `size` pixels.

    Shape `(height, width)` for one channel, `(height, width, 3)` for three.
    """
    n, height, _, channels = images.shape
    zoom = max(1, size // height)
    tiles = (np.clip(images, -1, 1) + 1) / 2
    tiles = tiles.repeat(zoom, axis=1).repeat(zoom, axis=2)
    tiles = np.pad(tiles, ((0, 0), (gap, gap), (gap, gap), (0, 0)), constant_values=0.5)
    columns = int(np.ceil(np.sqrt(n)))
    rows = -(-n // columns)
    blank = np.full((rows * columns - n, *tiles.shape[1:]), 0.5, tiles.dtype)
    tiles = np.concatenate([tiles, blank]).reshape(rows, columns, *tiles.shape[1:])
    picture = tiles.transpose(0, 2, 1, 3, 4).reshape(
        rows * tiles.shape[2], columns * tiles.shape[3], channels
    )
    return picture[..., 0] if channels == 1 else picture
