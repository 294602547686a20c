"""From a configuration to a module without arrays, and from arrays to a function of points."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from edmjax._common.arguments import LONGEST_NAME
from edmjax.nn.convolutions import Impl
from edmjax.nn.functional import Arrays, Functional, functional
from edmjax.pretrained import names
from edmjax.pretrained.networks import CLASSES
from edmjax.pretrained.options import read

# A transformer of this norm has the arrays, and the options, of a DiT.
_IS_DIT = ("Transformer2DModel", "ada_norm_zero")
_BLOCK = 16  # outputs, and twice as many of kernels with places


def build(
    config: Mapping[str, Any], where: str, kinds: tuple[str, ...] = (), *, impl: Impl = "auto"
) -> tuple[Any, Any]:
    """`(options, make)`: the options of a configuration, and `make(rngs)`, its module.

    `kinds` are the parts of a pipeline that it may be.

    Raises:
        ValueError: the class, an option or its value is not supported.
    """
    name = config.get("_class_name")
    if (name, config.get("norm_type")) == _IS_DIT:
        name = "DiTTransformer2DModel"
    known = {key: made for key, made in CLASSES.items() if not kinds or made.part in kinds}
    if name not in known:
        raise ValueError(
            f"{where} is the configuration of a {str(name)[:LONGEST_NAME]!r}, and this reads "
            f"{', '.join(known)}."
        )
    kind, table = known[name].module, known[name].options
    options = read(config, table(config) if callable(table) else table, where)
    return options, lambda rngs: kind(options, impl=impl, rngs=rngs)


class _OneKey(nnx.Rngs):
    """The same key for every array. Arrays are replaced, and to count keys takes minutes."""

    @property
    def params(self) -> Any:
        return lambda: jax.random.key(0)


def shapes_of(make: Callable[[nnx.Rngs], nnx.Module], where: str) -> tuple[Functional, Arrays]:
    """The function of a module, and the shapes of its arrays by name, without making an array."""
    try:
        module = nnx.eval_shape(lambda: make(_OneKey(0)))
    except ValueError as err:  # options that do not go together
        raise ValueError(f"{where}: {err}") from None
    return functional(module)


def on_device(name: str, array: np.ndarray, dtype: Any = None) -> Any:
    """An array of a file as the module has it, in `dtype` or its own; tables are wide ones."""
    if names.is_constant(name):
        dtype = np.promote_types(array.dtype, np.float32)
    made = _in_order(names.from_file(name, array))
    # Without a dtype `asarray` copies where `device_put` takes the memory of the host as it is.
    return jax.device_put(made) if dtype is None else jnp.asarray(made, dtype)


def _in_order(array: np.ndarray) -> np.ndarray:
    """A copy whose entries lie in the order of its axes; of a transposed kernel by blocks.

    NumPy goes through such a kernel an output at a time, which takes four times as long.
    """
    if array.flags.c_contiguous:
        return array
    # JAX takes memory as it is where it starts at a multiple of 64 bytes, and copies it elsewhere.
    raw = np.empty(array.nbytes + 64, np.uint8)
    start = -raw.ctypes.data % 64
    made = raw[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    outputs = array.shape[-1]
    if array.ndim == 2 or array.shape[:2] == (1, 1):
        for start in range(0, outputs, _BLOCK):
            made[..., start : start + _BLOCK] = array[..., start : start + _BLOCK]
        return made
    # A block as a matrix first, which is in the order of the file: its places are then rows of it.
    rows, columns, inputs, _ = array.shape
    matrix = array.transpose(3, 2, 0, 1).reshape(outputs, -1)
    for start in range(0, outputs, 2 * _BLOCK):
        part = np.ascontiguousarray(matrix[start : start + 2 * _BLOCK].T)
        places = part.reshape(inputs, rows, columns, -1).transpose(1, 2, 0, 3)
        made[..., start : start + 2 * _BLOCK] = places
    return made
