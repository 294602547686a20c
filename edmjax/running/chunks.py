"""Any number of samples in the memory of a few: chunk by chunk, each to the host as it is ready.

Sample `i` depends on the key and on `i` alone, so how they are cut makes no difference.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import random
from jax.core import Tracer

from edmjax._common.arguments import whole
from edmjax._common.arrays import wide
from edmjax._common.functions import check_function, is_data
from edmjax._common.progress import require_tqdm
from edmjax._common.trees import Layout
from edmjax.noise.keys import check_key, is_typed, normal_like
from edmjax.noise.paths import Brownian
from edmjax.planning.table import PlanLike, check_plan
from edmjax.running._memory import is_exhausted, too_large
from edmjax.running.one_plan import sample
from edmjax.scalar import flag


def sample_in_chunks(
    denoise: Any,
    plan: PlanLike,
    key: Any,
    *,
    num_samples: int,
    chunk_size: int,
    shape: Any,
    cond: Any = None,
    corrector: Any = None,
    progress: bool = False,
) -> Any:
    """Returns `num_samples` samples in NumPy arrays, made `chunk_size` at a time.

    Sample `i` depends on `(key, i)` and its `cond` alone, the noise that it starts from included.
    It is, to the bit,

        key_start, key_steps = jax.random.split(key)
        x = std * ej.normal_like(ej.sample_keys(key_start, n), x_like)
        x0 = ej.sample(denoise, plan, x, key_steps)

    for a chunk of all `n` samples, with `std` the first level `plan.grid[0]`, or in the scale of a
    process `plan.sigmas[0] * plan.scale[0]`. For other chunks the noise is equal to the bit and the
    sample to roundings (docs/reproducibility.md says how many). The last chunk is filled up, and
    what fills it thrown away, so one program runs all of them. The device holds one chunk at a
    time, the host all samples.

    Args:
        denoise, plan, cond, corrector: as in `sample`; axis 0 of `cond` counts all samples.
        key: one typed key, or `ej.brownian(key)` for noise of one path.
        num_samples: how many, at least 1.
        chunk_size: how many at once, at least 1.
        shape: one sample's `jax.ShapeDtypeStruct`, without an axis of samples, or a pytree of them.
        progress: draw a tqdm bar that counts samples.

    Raises:
        TypeError: if an argument is of the wrong kind, or this is called under `jit`.
        ValueError: if `num_samples` or `chunk_size` is below 1, `cond` does not count the samples,
            or the plan holds its points in a scale and does not start at an evaluation; and as
            `sample` raises.
        MemoryError: if a chunk does not fit on the device; it names a size that would.
    """
    check_plan(plan)
    check_function(denoise, "denoise", "x", "sigma", *(() if cond is None else ("cond",)))
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves((denoise, plan, key, cond))):
        raise TypeError(
            "`sample_in_chunks` returns NumPy arrays, so it cannot run under `jit`: use "
            "`ej.sample` there."
        )
    num_samples, shown = whole(num_samples, "num_samples"), flag(progress, "progress")
    rows = min(whole(chunk_size, "chunk_size"), num_samples)
    like = Layout(_one_sample(shape))
    for leaf in jax.tree.leaves(cond):
        if np.ndim(leaf) == 0 or np.shape(leaf)[0] != num_samples:
            raise ValueError(
                f"Axis 0 of every leaf of `cond` counts the {num_samples} samples, got shape "
                f"{np.shape(leaf)}."
            )
    path = key if isinstance(key, Brownian) else None
    key_start, key_steps = _split(key if path is None else path.key)
    std = start_std(plan)

    run = functools.partial(_sampled, denoise, plan, corrector, path)
    if not all(map(is_data, [denoise] + ([] if corrector is None else [corrector]))):
        run = jax.jit(run)  # a plain function is traced once, and not once a chunk

    shapes = jax.tree.leaves(like.tree())
    try:
        samples = [np.empty((num_samples, *leaf.shape), leaf.dtype) for leaf in shapes]
    except (MemoryError, ValueError) as err:
        size = num_samples * sum(leaf.size * leaf.dtype.itemsize for leaf in shapes) / 2**30
        raise MemoryError(
            f"The {num_samples} samples take {size:.3g} GiB of the host's memory: make fewer in a "
            "call, each with a key of its own, and keep them on a disk."
        ) from err
    bar = require_tqdm().tqdm(total=num_samples, unit="sample") if shown else None
    for start in range(0, num_samples, rows):
        index = np.minimum(np.arange(start, start + rows), num_samples - 1)
        some = jax.tree.map(functools.partial(_rows, index=index), cond)
        n = min(rows, num_samples - start)
        try:
            x, keys = _begin(key_start, key_steps, np.int32(start), std, rows=rows, like=like)
            made = jax.tree.leaves(run(x, keys, some))
            for into, part in zip(samples, made, strict=True):
                into[start : start + n] = np.asarray(part)[:n]
        except (jax.errors.JaxRuntimeError, MemoryError) as err:
            if not is_exhausted(err):
                raise
            batch = jax.eval_shape(
                functools.partial(_begin, rows=rows, like=like), key_start, key_steps, 0, std
            )
            raise too_large(
                rows, lambda batch: run(*batch), (*batch, some), jax.local_devices()[0]
            ) from err
        if bar is not None:
            bar.update(n)
    if bar is not None:
        bar.close()
    return like.treedef.unflatten(samples)


def _sampled(
    denoise: Any, plan: PlanLike, corrector: Any, path: Any, x: Any, keys: Any, cond: Any
) -> Any:
    source = keys if path is None else dataclasses.replace(path, key=keys)
    return sample(denoise, plan, x, source, cond=cond, corrector=corrector)


@functools.partial(jax.jit, static_argnames=("rows", "like"))
def _begin(key_start: Any, key_steps: Any, first: Any, std: Any, *, rows: int, like: Any) -> Any:
    """The starting points of samples `first ... first + rows - 1`, and their keys for the plan."""
    index = first + jnp.arange(rows, dtype=jnp.int32)
    keys_start, keys_steps = (
        jax.vmap(functools.partial(random.fold_in, key))(index) for key in (key_start, key_steps)
    )
    shapes = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((rows, *leaf.shape), leaf.dtype), like.tree()
    )

    def scaled(noise: Any) -> Any:
        return (jnp.asarray(std, wide(noise.dtype)) * noise).astype(noise.dtype)

    return jax.tree.map(scaled, normal_like(keys_start, shapes)), keys_steps


def _split(key: Any) -> tuple[Any, Any]:
    """The key of what samples start from, and the key of what they draw then."""
    check_key(key)
    if key.shape != ():
        raise TypeError(f"`key` must be a single key, got an array of keys of shape {key.shape}.")
    key_start, key_steps = random.split(key)
    return key_start, key_steps


def start_std(plan: PlanLike) -> np.float64:
    """The standard deviation of the noise that the plan starts from."""
    if plan.scale is None:
        return np.float64(plan.grid[0])
    if plan.grid[0] not in (plan.sigmas[0], np.inf):
        raise ValueError(
            "This plan holds its points in the scale of a process and evaluates the denoiser first "
            f"at sigma = {plan.sigmas[0]:g}, not at its first level {plan.grid[0]:g}, so that it "
            "does not say in what scale it starts: draw the start yourself and use `ej.sample`."
        )
    return np.float64(plan.sigmas[0] * plan.scale[0])


def _rows(leaf: Any, index: np.ndarray) -> Any:
    # Typed keys have no NumPy array; anything else stays on the host but for its chunk.
    return leaf[index] if is_typed(leaf) else np.asarray(leaf)[index]


def _one_sample(shape: Any) -> Any:
    leaves = jax.tree.leaves(shape)
    for leaf in leaves:
        if not hasattr(leaf, "shape") or not hasattr(leaf, "dtype"):
            raise TypeError(
                "`shape` must be one sample's `jax.ShapeDtypeStruct(shape, dtype)`, or a pytree of "
                f"them, got {shape!r:.80}."
            )
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise TypeError(f"`shape` must be of a floating dtype, got {leaf.dtype}.")
        if jax.dtypes.canonicalize_dtype(leaf.dtype) != leaf.dtype:
            raise ValueError(
                f"`shape` asks for {leaf.dtype}, which JAX computes in float32 here: set "
                "`jax.config.update('jax_enable_x64', True)`, or ask for float32."
            )
    if not leaves:
        raise ValueError("`shape` holds no shapes: pass one sample's `jax.ShapeDtypeStruct`.")
    return shape
