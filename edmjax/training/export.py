"""The sampler of a trained network as one file, which runs with jax and flatbuffers alone."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export, lax, random
from jaxtyping import Array, Float, Int, Shaped

import edmjax as ej
from edmjax._common.extras import missing
from edmjax._common.typing import Keys, PyTree
from edmjax.planning.table import check_plan
from edmjax.running.sizes import start_std
from edmjax.training.data.units import Units
from edmjax.training.pretrained import Trained

PLATFORMS = ("cpu", "cuda", "tpu")
LABEL = jax.ShapeDtypeStruct((), jnp.int32)


def export_sampler(
    trained: Trained,
    plan: ej.Plan,
    *,
    cond: PyTree = None,
    platforms: Sequence[str] = PLATFORMS,
) -> export.Exported:
    """The function `(seed, index) -> samples` with the network's weights, for `jax.export`.

    It takes arrays and nothing of edmjax: `seed` int32, shape (), and `index` int32, shape (n,),
    the numbers of the samples. Sample `i` depends on `(seed, i)` alone and is sample `i` of
    `training.draw` with this seed, cut to [-1, 1] where `trained.clip` says so, in the units, shape
    and dtype of the data: the same bits on one machine under the same version of JAX, elsewhere
    equal to rounding. A seed from 2^31 on is the int32 of the same 32 bits. A network with classes
    has a third argument, the labels, int32 of shape (n,); one with a condition has these in the
    units of the data, float32 of shape (n, ...); with several there is a dictionary of them, such
    as `label`, `vector`, `image`, `sequence` and `mask`, or `label` and `cond`. Nothing looks for
    samples that are not finite.

    Args:
        trained: the network, alone or guided.
        plan: how its samples are drawn.
        cond: the third argument in place of that, as the denoiser takes it: one sample's
            `jax.ShapeDtypeStruct` or a pytree of them, without an axis of samples.
        platforms: those that the file is for, as JAX names them. Each gets the form of the
            convolutions that is faster there.

    Raises:
        ImportError: flatbuffers, with which it is written, is not installed.
        ValueError: the plan does not start from noise whose size is known.
    """
    try:
        import flatbuffers as flatbuffers
    except ModuleNotFoundError as err:
        raise missing(err, "A sampler as a file", "export") from err
    check_plan(plan)
    std = np.float32(start_std(plan))
    told: Any = lambda given: given  # noqa: E731
    if cond is None and (trained.num_classes or trained.conditions is not None):
        cond, told = _given(trained)

    def sample(seed: Any, index: Any, given: PyTree = None) -> Array:
        key = random.key(lax.bitcast_convert_type(seed, jnp.uint32))
        key_start, key_steps = random.split(key)
        noise = jax.vmap(lambda key: random.normal(key, trained.image_shape))
        x = std * noise(_keys(key_start, index))
        # Behind a barrier weights are numbers that the compiler does not know, as in `draw`: else
        # it would compute with them beforehand, and the bits would differ.
        x, denoise = lax.optimization_barrier((x, trained.denoise))
        samples = ej.sample(denoise, plan, x, _keys(key_steps, index), cond=told(given))
        samples = lax.optimization_barrier(samples)
        if trained.clip:
            samples = jnp.clip(samples, -1, 1)
        return samples if trained.units is None else in_units(trained.units, samples)

    (n,) = export.symbolic_shape("n")
    several = jax.tree.map(lambda one: jax.ShapeDtypeStruct((n, *one.shape), one.dtype), cond)
    arguments: list[Any] = [LABEL, jax.ShapeDtypeStruct((n,), jnp.int32)]
    arguments += [] if cond is None else [several]
    return export.export(jax.jit(sample), platforms=platforms)(*arguments)


def _given(trained: Trained) -> tuple[PyTree, Any]:
    """The third argument for one sample, and what makes of it what the denoiser is given."""
    conditions = trained.conditions
    if conditions is None:
        return LABEL, lambda given: given
    if not trained.num_classes:
        return conditions.raw, lambda given: conditions.given(conditions.traced(given))
    raw = conditions.raw if isinstance(conditions.raw, dict) else {"cond": conditions.raw}

    def told(given: Any) -> PyTree:
        rest = {name: value for name, value in given.items() if name != "label"}
        rest = rest.get("cond", rest)
        return conditions.given(conditions.traced(rest), given["label"])

    return {"label": LABEL, **raw}, told


def _keys(key: Keys, index: Int[Array, " n"]) -> Keys:
    """The keys of the samples with these numbers, as `ej.sample_keys` makes them."""
    return jax.vmap(lambda i: random.fold_in(key, i))(index)


def in_units(units: Units, samples: Float[Array, "n ..."]) -> Shaped[Array, "n ..."]:
    """`units.to_data` of traced samples, in float64 too, whatever the precision of JAX.

    Float64 may differ in its last bit, where product and sum are one operation.
    """
    with jax.enable_x64(True):
        values = samples.astype(jnp.float64) * units.width + units.shift
        if units.whole:
            values = jnp.clip(jnp.rint(values), *units.ends)
        if units.channels == "first":
            values = jnp.moveaxis(values, -1, 1)
        return values.reshape(values.shape[0], *units.shape).astype(jnp.dtype(units.dtype))
