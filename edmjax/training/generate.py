"""Samples from a trained network, and the files that show them."""

import io
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import random
from jax.sharding import Mesh
from jaxtyping import Float, Int
from matplotlib import image

import edmjax as ej
from edmjax.training.choices import parse_sampler, parse_schedule
from edmjax.training.config import SampleConfig
from edmjax.training.distributed import to_host
from edmjax.training.files import make_directory, write_file
from edmjax.training.mesh import shard_batch, shard_parameters


def generate(
    denoise: Callable[..., Any],
    config: SampleConfig,
    image_shape: tuple[int, ...],
    *,
    labels: Int[np.ndarray, " n"] | None = None,
    mesh: Mesh | None = None,
    progress: bool = True,
) -> Float[np.ndarray, "n height width channels"]:
    """The samples that a configuration asks for, clipped to [-1, 1], float32.

    `labels` are the classes of the samples (`sample_labels`), for a denoiser that takes them; a
    `mesh` (`make_mesh`) splits the samples over its devices along `data` and the denoiser's arrays
    along `model`, and all processes are given all samples. Sample `i` is made from
    `(config.seed, i)` and its label alone, so neither the mesh, the size of the chunks nor how many
    samples follow it make a difference. `ValueError` for a sampler or schedule that does not exist,
    labels that are not as many as the samples, or fewer than one sample or chunk.
    """
    plan = ej.make_plan(
        parse_sampler(config.sampler), parse_schedule(config.schedule, config.num_steps)
    )
    return draw(
        denoise,
        plan,
        image_shape,
        num_samples=config.num_samples,
        seed=config.seed,
        labels=labels,
        chunk_size=config.chunk_size,
        mesh=mesh,
        # Callbacks of a program that several processes run would draw a bar in each.
        progress=progress and jax.process_count() == 1,
    )


def draw(
    denoise: Callable[..., Any],
    plan: ej.Plan,
    image_shape: tuple[int, ...],
    *,
    num_samples: int,
    seed: int,
    labels: Int[np.ndarray, " n"] | None = None,
    chunk_size: int = 512,
    mesh: Mesh | None = None,
    progress: bool = False,
    on_chunk: Callable[[int], Any] = lambda evaluations: None,
) -> Float[np.ndarray, "n height width channels"]:
    """The samples of a plan, as `generate` draws them; see there.

    `on_chunk` is called after every chunk with the number of evaluations of single samples in it.
    """
    for name, count in (("num_samples", num_samples), ("chunk_size", chunk_size)):
        if count < 1:
            raise ValueError(f"`{name}` must be at least 1, got {count}.")
    if labels is not None and len(labels) != num_samples:
        raise ValueError(f"There are {len(labels)} labels for {num_samples} samples.")
    if mesh is not None:
        denoise = shard_parameters(denoise, mesh)
    key_start, key_steps = random.split(random.key(seed))
    chunks = []
    for start in range(0, num_samples, chunk_size):
        n = min(chunk_size, num_samples - start)
        # As many for each device; those beyond n are thrown away, and no sample depends on them.
        rows = n + (-n % mesh.shape["data"] if mesh is not None else 0)
        x = _start(ej.sample_keys(key_start, rows, start), np.float32(plan.grid[0]), image_shape)
        keys = ej.sample_keys(key_steps, rows, start)
        cond = None if labels is None else jnp.asarray(np.resize(labels[start : start + n], rows))
        if mesh is not None:
            x, keys, cond = shard_batch((x, keys, cond), mesh)
        x0 = ej.sample(denoise, plan, x, keys, cond=cond, progress=progress)
        chunks.append(np.clip(to_host(x0)[:n], -1, 1))
        on_chunk(n * plan.nfe)
    return np.concatenate(chunks)


@partial(jax.jit, static_argnums=2)
def _start(keys: Any, sigma: Any, image_shape: tuple[int, ...]) -> Any:
    return sigma * jax.vmap(lambda key: random.normal(key, image_shape))(keys)


def sample_labels(
    num_samples: int, num_classes: int, classes: Sequence[int] | None = None
) -> Int[np.ndarray, " n"] | None:
    """The label of each sample: `classes` in turn, over and over; all classes where it is None.

    Sample `i` has the label `classes[i % len(classes)]`, int32. None for a network without classes
    (`num_classes` 0). `ValueError` where that is asked for a class, or one is not among
    `0 ... num_classes - 1`.
    """
    if classes is not None and not num_classes:
        raise ValueError(
            "This network knows no classes, so it cannot be asked for labels: leave them out, or "
            "train one with net.classes."
        )
    if not num_classes:
        return None
    chosen = list(range(num_classes) if classes is None else classes)
    wrong = [label for label in chosen if not 0 <= label < num_classes]
    if wrong or not chosen:
        raise ValueError(
            f"Labels are whole numbers from 0 to {num_classes - 1}, at least one of them; got "
            f"{wrong or chosen}."
        )
    return np.resize(np.asarray(chosen, np.int32), num_samples)


def write_samples(
    samples: Float[np.ndarray, "n height width channels"],
    directory: str | os.PathLike,
    labels: Int[np.ndarray, " n"] | None = None,
) -> None:
    """Writes `samples.npz` and `samples.png` (the first 100 in a square grid).

    The arrays are `x`, and `y` where there are labels. `OSError` with a sentence where there is no
    room for them.
    """
    directory = Path(directory)
    make_directory(directory)
    arrays: dict[str, Any] = {"x": samples} if labels is None else {"x": samples, "y": labels}
    numbers, picture = io.BytesIO(), io.BytesIO()
    np.savez(numbers, **arrays)
    image.imsave(picture, grid(samples[:100]), cmap="gray", vmin=0, vmax=1, format="png")
    write_file(directory / "samples.npz", numbers.getvalue())
    write_file(directory / "samples.png", picture.getvalue())


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
