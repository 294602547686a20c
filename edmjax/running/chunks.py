"""Any number of samples in the memory of a few: chunk by chunk, each to the host as it is ready.

Sample `i` depends on the key and on `i` alone, so the chunk size changes samples by roundings at
most. `sample_in_chunks` and the commands share one loop, `run_in_chunks`.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh

from edmjax._common.arguments import describe, refuse, whole
from edmjax._common.arrays import has_tracers
from edmjax._common.functions import as_data, check_denoiser, check_function
from edmjax._common.mesh import split_parameters, split_samples, to_host
from edmjax._common.progress import require_tqdm
from edmjax._common.trees import Layout, conditions, is_shared, parts_hint
from edmjax._common.typing import Corrector, Denoiser, Int, Keys, NoiseFunction, PyTree
from edmjax.noise.keys import is_typed
from edmjax.noise.paths import Brownian, KeyLike
from edmjax.planning.table import PlanLike, check_plan
from edmjax.running._memory import is_exhausted, too_large
from edmjax.running.one_plan import sample
from edmjax.running.source import function_of_noise
from edmjax.running.starts import Starts, keys_of_chunk, split_keys
from edmjax.scalar import flag


def sample_in_chunks(
    denoise: Denoiser,
    plan: PlanLike,
    key: KeyLike,
    *,
    num_samples: Int,
    chunk_size: Int,
    shape: PyTree,
    x: PyTree = None,
    noise: NoiseFunction | None = None,
    cond: PyTree = None,
    corrector: Corrector | None = None,
    mesh: Mesh | None = None,
    on_chunk: Callable[[int, PyTree], object] | None = None,
    remat: bool = False,
    batched: bool = True,
    progress: bool = False,
) -> PyTree:
    """Returns `num_samples` samples in NumPy arrays, made `chunk_size` at a time.

    Sample `i` depends on `(key, i)` and its `cond` alone, the noise that it starts from included.
    It is, to the bit,

        key_start, key_steps = jax.random.split(key)
        x = std * ej.normal_like(ej.sample_keys(key_start, n), x_like)
        x0 = ej.sample(denoise, plan, x, key_steps)

    if one chunk holds all `n` samples. Here `std` is the first level `plan.grid[0]`, or, in the
    scale of a process, `plan.sigmas[0] * plan.scale[0]`. With one key a sample, in place of
    `(key, i)`, sample `i` depends on its key alone:

        keys_start, keys_steps = jax.vmap(jax.random.split, out_axes=1)(keys)
        x = std * ej.normal_like(keys_start, x_like)
        x0 = ej.sample(denoise, plan, x, keys_steps)

    With a function `noise`, it stands in the place of `ej.normal_like`, and `ej.sample` is given it
    too. In other chunks and on a mesh the noise is
    the same to the bit, and samples agree up to roundings (docs/reproducibility.md has sizes). The
    last chunk is filled up with samples that are thrown away, so one program runs all chunks. The
    device holds one chunk at a time, the host all samples.

    Args:
        denoise, plan, cond, corrector: as in `sample`; axis 0 of a leaf of `cond` counts all
            samples, or has length 1 where they share it.
        key: one typed key, or one key a sample, shape (num_samples,), such as
            `jax.vmap(jax.random.key)(seeds)`; or `ej.brownian(key)` of either, for noise of paths.
        num_samples: how many, at least 1.
        chunk_size: how many at once, at least 1. On a mesh this counts the samples on all devices;
            each chunk is filled up to a multiple of the size of the axis `data`.
        shape: one sample's `jax.ShapeDtypeStruct`, without an axis of samples, or a pytree of them.
        x: the points to start from, in place of noise: all of them, on the host, of which a chunk
            at a time goes to the device; or a function `(keys, like) -> x`.
        noise: a function `(keys, like) -> noise` in place of white noise, of the start and of what
            the plan draws; as for `sample`. Given draws are refused; `sample` takes them.
        mesh: devices that work together, with an axis `data`, which splits the samples of a chunk,
            and optionally an axis `model`, which splits the arrays of the denoiser and of the
            corrector. Where it spans several processes, each process calls this with the same
            arguments, and each gets all samples.
        on_chunk: called as `on_chunk(first, samples)` after each chunk, with the number of its
            first sample and its samples, for example to save them. They are views of what is
            returned.
        remat, batched: refused; `sample` takes them.
        progress: draw a tqdm bar that counts samples.

    Raises:
        TypeError: if an argument is of the wrong kind, or this is called under `jit`.
        ValueError: if `num_samples` or `chunk_size` is below 1, `cond` does not count the samples,
            the keys do not, `x` or what a function returns has other shapes, the mesh has no axis
            `data`, `remat` or `batched=False` is asked for, `noise` holds draws, or, without `x`,
            the plan holds its points in a scale and its first evaluation is not at its first level;
            and where `sample` raises one.
        MemoryError: if a chunk does not fit on the device; it names a size that would.
    """
    why = "samples come in batches and have no gradient; see `ej.sample`"
    refuse("sample_in_chunks", why, remat=remat, batched=not batched)
    check_plan(plan)
    check_denoiser(denoise, cond)
    if has_tracers((denoise, plan, key, x, noise, cond)):
        raise TypeError(
            "`sample_in_chunks` returns NumPy arrays, so it cannot run under `jit`: use "
            "`ej.sample` there."
        )
    if on_chunk is not None:
        check_function(on_chunk, "on_chunk", "first", "samples")
    num_samples, shown = whole(num_samples, "num_samples"), flag(progress, "progress")
    chunk_size = whole(chunk_size, "chunk_size")
    like = Layout(_one_sample(shape))
    cond = conditions(cond, num_samples)
    mesh = mesh_of_samples(mesh)
    if noise is not None and not callable(noise):
        raise ValueError(
            "`sample_in_chunks` draws for one chunk at a time, so `noise` must be a function of "
            f"(keys, like), got {describe(noise)}: `ej.sample` takes the draws themselves."
        )
    # A path is split like a key. All chunks share its process; each gets the keys of its samples.
    path = key if isinstance(key, Brownian) else None
    keys = split_keys(key, num_samples)
    make = None if noise is None else function_of_noise(noise, key)
    starts = Starts(x, make, plan, num_samples, like)
    if mesh is not None:
        denoise, corrector = split_parameters((denoise, corrector), mesh)

    run = functools.partial(_sampled, denoise, plan, corrector, path, noise)
    if as_data((denoise, corrector, make)) is None:
        run = jax.jit(run)  # a plain function is traced once, and not once a chunk

    def begin(first: int, rows: int) -> tuple[PyTree, Keys]:
        keys_start, keys_steps = keys_of_chunk(*keys, np.int32(first), rows=rows)
        points = starts.of(keys_start, first)
        if first == 0:
            starts.check(denoise, points)
        return points, keys_steps

    bar = require_tqdm().tqdm(total=num_samples, unit="sample") if shown else None

    def after(first: int, samples: PyTree) -> None:
        if on_chunk is not None:
            on_chunk(first, samples)
        if bar is not None:
            bar.update(len(jax.tree.leaves(samples)[0]))

    made = run_in_chunks(
        begin, run, like, cond, num_samples, chunk_size, filled=True, mesh=mesh, after=after
    )
    if bar is not None:
        bar.close()
    return made


def run_in_chunks(
    begin: Callable[[int, int], tuple[PyTree, Keys]],
    run: Callable[[PyTree, Keys, PyTree], PyTree],
    like: Layout,
    cond: PyTree,
    num_samples: int,
    chunk_size: int,
    *,
    filled: bool,
    mesh: Mesh | None,
    after: Callable[[int, PyTree], object],
) -> PyTree:
    """The samples `run(*begin(first, rows), cond)` of all chunks, in NumPy arrays.

    Callers differ only in the noise that they start from, which is part of what they promise: that
    is what `begin` is for. On a mesh the chunks are split along `data`, and the arrays of `run`
    must already lie on the mesh.

    Args:
        begin: makes the starting points of samples `first ... first + rows - 1`, and their keys.
        run: makes samples of them.
        like: one sample.
        cond: the conditions of all samples, or None.
        num_samples: how many.
        chunk_size: how many at once.
        filled: whether a smaller last chunk is filled up to the size of the others, so that one
            program runs them all.
        mesh: devices that split a chunk, or None.
        after: called with the number of the first sample and the samples of each chunk.
    """
    # The arrays for all samples come first: if the host has no room for them, it should say so
    # before an hour of work.
    share = 1 if mesh is None else mesh.shape["data"]
    shapes = jax.tree.leaves(like.tree())
    try:
        samples = [np.empty((num_samples, *leaf.shape), leaf.dtype) for leaf in shapes]
    except (MemoryError, ValueError) as err:
        size = num_samples * sum(leaf.size * leaf.dtype.itemsize for leaf in shapes) / 2**30
        raise MemoryError(
            f"The {num_samples} samples take {size:.3g} GiB of the host's memory: make fewer in a "
            "call, with a new key for each call, and save them to disk."
        ) from err
    size = min(chunk_size, num_samples)
    for first in range(0, num_samples, size):
        n = min(size, num_samples - first)
        rows = size if filled else n
        rows += -rows % share  # the same number on each device
        # Samples do not depend on each other, so those that fill up a chunk may have any condition.
        index = np.minimum(np.arange(first, first + rows), num_samples - 1)
        some = jax.tree.map(functools.partial(_rows, index=index), cond)
        try:
            x, keys = begin(first, rows)
            # Split before the call, so that the program is compiled for arrays on all devices.
            batch = (x, keys, some)
            if mesh is not None:
                batch = split_samples(batch, mesh)
            made = to_host(jax.tree.leaves(run(*batch)))
        except (jax.errors.JaxRuntimeError, MemoryError) as err:
            if not is_exhausted(err):
                raise
            start = jax.eval_shape(lambda rows=rows: begin(0, rows))
            device = jax.local_devices()[0]
            raise too_large(rows, lambda batch: run(*batch), (*start, some), device, share) from err
        for into, part in zip(samples, made, strict=True):
            into[first : first + n] = part[:n]
        after(first, like.treedef.unflatten([into[first : first + n] for into in samples]))
    return like.treedef.unflatten(samples)


def mesh_of_samples(mesh: Mesh | None) -> Mesh | None:
    """`mesh` with automatic axes, checked for an axis `data`.

    `jax.make_mesh` makes axes of type Explicit: along those, a network would have to state the
    sharding of whatever it reshapes. Along automatic axes the compiler works it out.
    """
    if mesh is None:
        return None
    if not isinstance(mesh, Mesh):
        raise TypeError(
            f"`mesh` must be a `jax.sharding.Mesh` with an axis `data`, got {mesh!r:.80}."
        )
    if "data" not in mesh.shape:
        raise ValueError(
            "The axis `data` of `mesh` splits the samples, and this mesh has the axes "
            f"{', '.join(mesh.axis_names)}: make one with `jax.make_mesh((n,), ('data',))`."
        )
    automatic = (AxisType.Auto,) * len(mesh.axis_names)
    return Mesh(mesh.devices, mesh.axis_names, axis_types=automatic)


def _sampled(
    denoise: Denoiser,
    plan: PlanLike,
    corrector: Corrector | None,
    path: Brownian | None,
    noise: NoiseFunction | None,
    x: PyTree,
    keys: Keys,
    cond: PyTree,
) -> PyTree:
    source = keys if path is None else dataclasses.replace(path, key=keys)
    return sample(denoise, plan, x, source, noise=noise, cond=cond, corrector=corrector)


def _rows(leaf: Any, index: np.ndarray) -> Any:
    if is_shared(leaf):
        return leaf
    # Typed keys have no NumPy form. All other conditions stay on the host, except one chunk's rows.
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
            hint = parts_hint(leaf.dtype) or "ask for float32."
            raise TypeError(f"`shape` must be of a floating dtype, got {leaf.dtype}: {hint}")
        if jax.dtypes.canonicalize_dtype(leaf.dtype) != leaf.dtype:
            raise ValueError(
                f"`shape` asks for {leaf.dtype}, which JAX computes in float32 here: set "
                "`jax.config.update('jax_enable_x64', True)`, or ask for float32."
            )
    if not leaves:
        raise ValueError("`shape` holds no shapes: pass one sample's `jax.ShapeDtypeStruct`.")
    return shape
