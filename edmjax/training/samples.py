"""Samples from a trained network, and the files that show them."""

import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import random
from jax.sharding import Mesh
from jaxtyping import Float, Int, Shaped
from matplotlib import image

import edmjax as ej
from edmjax._common.arguments import as_seed, whole
from edmjax._common.mesh import split_parameters
from edmjax._common.tiles import check_images, tiles
from edmjax._common.trees import Layout, conditions
from edmjax._common.typing import Denoiser, Keys, PyTree, Scalar
from edmjax.planning.table import check_plan
from edmjax.running.chunks import mesh_of_samples, run_in_chunks
from edmjax.running.sizes import start_std
from edmjax.training.choices import parse_sampler, parse_schedule
from edmjax.training.config import SampleConfig
from edmjax.training.data import Dataset
from edmjax.training.data.units import Units
from edmjax.training.defaults import NFE, NUM_STEPS, SAMPLER, NoiseLevels, karras
from edmjax.training.errors import TrainingWarning
from edmjax.training.files import StrPath, make_directory, write_file

_SIDE, _GAP = 56, 4  # the side of a sample in samples.png (at least), and the gap between two


def generate(
    denoise: Denoiser,
    config: SampleConfig,
    image_shape: tuple[int, ...],
    *,
    labels: Int[np.ndarray, " n"] | None = None,
    cond: PyTree = None,
    levels: NoiseLevels | None = None,
    mesh: Mesh | None = None,
    progress: bool = True,
) -> Float[np.ndarray, "n ..."]:
    """The samples that a configuration asks for, float32, cut to [-1, 1] unless `clip` is False.

    `labels` are the classes of the samples (`sample_labels`), for a denoiser that takes them. Other
    conditions are `cond` in their place, as the denoiser takes them, with one entry a sample or one
    for all. With `levels` (`levels_of`) a configuration that chooses neither sampler nor steps
    takes the plan that is recommended for them, without it Heun's method with 18 steps. A `mesh`
    (`make_mesh`) splits the samples over its devices along `data` and the denoiser's arrays along
    `model`, and all processes are given all samples. Sample `i` is made from `(config.seed, i)` and
    its condition alone, so neither the mesh, nor the size of the
    chunks, nor the number of samples makes a difference beyond roundings.

    Raises:
        ValueError: the sampler or the schedule does not exist, `labels` does not have one label a
            sample, or a number is below 1.
        FloatingPointError: a sample is not finite.
        MemoryError: a chunk does not fit on the device; it names a size that would.
    """
    return draw(
        denoise,
        plan_of(config, levels),
        image_shape,
        num_samples=config.num_samples,
        seed=config.seed,
        labels=labels,
        cond=cond,
        chunk_size=config.chunk_size,
        mesh=mesh,
        progress=progress,
        clip=config.clip is not False,
    )


def plan_of(config: SampleConfig, levels: NoiseLevels | None = None) -> ej.Plan:
    """The plan that a configuration asks for, for a network of these levels.

    Where it chooses neither sampler, schedule nor number of steps, and the spread of the data is
    known, it is the plan that is recommended for `NFE` evaluations. `ValueError` where the sampler
    or the schedule does not exist.
    """
    chosen = config.sampler, config.schedule, config.num_steps
    spread = None if levels is None else levels.spread
    if levels is not None and spread is not None and chosen == (None, None, None):
        return ej.make_plan(*ej.recommend(NFE, **levels._asdict()))
    between = "karras" if levels is None else karras(levels.sigma_min, levels.sigma_max)
    steps = parse_schedule(config.schedule or between, config.num_steps or NUM_STEPS)
    return ej.make_plan(parse_sampler(config.sampler or SAMPLER), steps)


def draw(
    denoise: Denoiser,
    plan: ej.Plan,
    image_shape: tuple[int, ...],
    *,
    num_samples: int,
    seed: int,
    labels: Int[np.ndarray, " n"] | None = None,
    cond: PyTree = None,
    chunk_size: int = 512,
    mesh: Mesh | None = None,
    progress: bool = False,
    on_chunk: Callable[[int], object] = lambda evaluations: None,
    clip: bool = True,
    first: int = 0,
) -> Float[np.ndarray, "n ..."]:
    """The samples of a plan, drawn as `generate` draws them; see there.

    They start from noise of the plan's first level, in the scale in which it holds its points. The
    noise is drawn by another rule than in `ej.sample_in_chunks`, and a smaller last chunk is not
    filled up: both keep the bits of earlier versions. `on_chunk` is called after every chunk with
    the number of evaluations of single samples in it. `clip` cuts samples to [-1, 1]. They are the
    samples number `first ... first + num_samples - 1` of the seed.
    """
    check_plan(plan)
    mesh = mesh_of_samples(mesh)
    num_samples, chunk_size = whole(num_samples, "num_samples"), whole(chunk_size, "chunk_size")
    std = np.float32(start_std(plan))
    if labels is not None and len(labels) != num_samples:
        raise ValueError(f"There are {len(labels)} labels for {num_samples} samples.")
    if mesh is not None:
        denoise = split_parameters(denoise, mesh)
    # Callbacks of a program that several processes run would draw a bar in each.
    progress = progress and jax.process_count() == 1
    key_start, key_steps = random.split(random.key(as_seed(seed)))

    def begin(number: int, rows: int) -> tuple[jax.Array, Keys]:
        x = _start(ej.sample_keys(key_start, rows, first + number), std, image_shape)
        return x, ej.sample_keys(key_steps, rows, first + number)

    def run(x: jax.Array, keys: Keys, cond: PyTree) -> PyTree:
        return ej.sample(denoise, plan, x, keys, cond=cond, progress=progress)

    def after(number: int, made: np.ndarray) -> None:
        _check_finite(made, first + number)
        on_chunk(len(made) * plan.nfe)

    samples = run_in_chunks(
        begin,
        run,
        Layout(jax.ShapeDtypeStruct(image_shape, jnp.result_type(float))),
        labels if cond is None else conditions(cond, num_samples),
        num_samples,
        chunk_size,
        filled=False,
        mesh=mesh,
        after=after,
    )
    return np.clip(samples, -1, 1, out=samples) if clip else samples


@partial(jax.jit, static_argnums=2)
def _start(keys: Keys, sigma: Scalar, image_shape: tuple[int, ...]) -> jax.Array:
    return sigma * jax.vmap(lambda key: random.normal(key, image_shape))(keys)


def _check_finite(samples: np.ndarray, start: int) -> None:
    bad = np.flatnonzero(~np.isfinite(samples).reshape(len(samples), -1).all(1))
    if bad.size:
        raise FloatingPointError(
            f"{bad.size} of {len(samples)} samples are not finite, sample {start + bad[0]} first: "
            "take other options, or another network; `ej.sample_checked` reports the noise level "
            "at which it happened."
        )


def sample_labels(
    num_samples: int, num_classes: int, classes: Sequence[int] | None = None
) -> Int[np.ndarray, " n"] | None:
    """The label of each sample: `classes` in turn, or all classes in turn where it is None.

    Sample `i` has the label `classes[i % len(classes)]`, int32. A network without classes
    (`num_classes` 0) has no labels: None is returned. `ValueError` where such a network is asked
    for a class, or a class is not among `0 ... num_classes - 1`.
    """
    num_samples = whole(num_samples, "num_samples")
    if classes is not None and not num_classes:
        raise ValueError(
            "This network knows no classes, so it cannot be asked for labels: leave them out, or "
            "train one with net.classes."
        )
    if not num_classes:
        return None
    chosen = list(range(num_classes)) if classes is None else np.ravel(classes).tolist()
    wrong = [label for label in chosen if label not in range(num_classes)]
    if wrong or not chosen:
        raise ValueError(
            f"Labels are whole numbers from 0 to {num_classes - 1}, at least one of them; got "
            f"{wrong or chosen}."
        )
    return np.resize(np.asarray(chosen, np.int32), num_samples)


def conditions_in_turn(
    dataset: Dataset, num_samples: int, num_classes: int = 0
) -> tuple[Int[np.ndarray, " n"] | None, PyTree, dict[str, np.ndarray]]:
    """The labels, the conditions as a network is given them, and these in the data's units.

    Without other conditions they are the classes in turn, `sample_labels`, None and nothing. Else
    sample `i` has the conditions and the class of the data's sample `i`, which begin anew after the
    last.
    """
    if dataset.conditions is None or dataset.cond is None:
        return sample_labels(num_samples, num_classes), None, {}
    which = np.arange(num_samples) % len(dataset)
    arrays = {kind: np.asarray(value)[which] for kind, value in dataset.cond.items()}
    labels = dataset.labels[which] if num_classes else None
    return labels, dataset.conditions.given(arrays, labels), dataset.conditions.to_data(arrays)


def write_samples(
    samples: Shaped[np.ndarray, "n ..."],
    directory: StrPath,
    labels: Int[np.ndarray, " n"] | None = None,
    units: Units | None = None,
    cond: Mapping[str, Shaped[np.ndarray, "n ..."]] | None = None,
) -> list[Path]:
    """Writes `samples.npz`, and then `samples.png`; returns the paths of what was written.

    The arrays are `x`, `y` where there are labels, and the conditions by kind, named as a file of
    data has them (`cond_vector` ...). The picture shows the first 100 in a square,
    enlarged, values from -1 to 1. Where the samples are in the `units` of the data it shows what a
    network sees of them, floats from the least to the greatest of those shown. Of images with
    other than one channel or three there is none, and a `TrainingWarning` says so; of vectors and
    other samples there is none. `OSError` where a file cannot be written.
    """
    directory = Path(directory)
    make_directory(directory)
    arrays: dict[str, Any] = {"x": samples}
    if labels is not None:
        arrays["y"] = labels
    arrays |= {f"cond_{kind}": value for kind, value in (cond or {}).items()}
    numbers = io.BytesIO()
    np.savez(numbers, **arrays)
    # The numbers first: whatever happens to the picture, they are kept.
    written = [directory / "samples.npz"]
    write_file(written[0], numbers.getvalue())
    try:
        written.append(write_picture(samples, directory / "samples.png", units))
    except ValueError as err:
        # A picture of an earlier call would be one of other samples.
        (directory / "samples.png").unlink(missing_ok=True)
        if np.ndim(samples) == 4:
            warnings.warn(
                f"{written[0]} is written, and no picture can be drawn: {err}",
                TrainingWarning,
                stacklevel=2,
            )
    return written


def write_picture(samples: Shaped[np.ndarray, "n ..."], path: Path, units: Units | None) -> Path:
    """Writes the picture of `write_samples`; `ValueError` where the samples are no images."""
    shown = samples[:100]
    if units is not None:
        shown = np.asarray(units.seen(units.stored(shown)))
    check_images(np.shape(shown), "samples")
    zoom = max(1, _SIDE // shown.shape[1])
    if units is not None and not units.whole:
        low, high = float(shown.min()), float(shown.max())
        shown = (shown - low) / ((high - low) or 1.0) * 2 - 1
    shown = tiles(shown.repeat(zoom, axis=1).repeat(zoom, axis=2), gap=_GAP)
    shown = np.nan_to_num((shown[..., 0] if shown.shape[-1] == 1 else shown) / 2 + 0.5)
    picture = io.BytesIO()
    image.imsave(picture, shown, cmap="gray", vmin=0, vmax=1, format="png")
    write_file(path, picture.getvalue())
    return path
