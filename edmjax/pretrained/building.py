"""From a configuration to a module without arrays, and from arrays to a function of points."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from edmjax._common.arguments import LONGEST_NAME
from edmjax.nn.convolutions import Impl
from edmjax.nn.functional import Arrays, Functional, functional
from edmjax.pretrained.names import from_file
from edmjax.pretrained.networks import CLASSES
from edmjax.pretrained.options import read

# A transformer of this norm has the arrays, and the options, of a DiT.
_IS_DIT = ("Transformer2DModel", "ada_norm_zero")


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
    options = read(config, table, where)
    return options, lambda rngs: kind(options, impl=impl, rngs=rngs)


class _OneKey(nnx.Rngs):
    """The same key for every array. Arrays are replaced, and to count keys takes minutes."""

    @property
    def params(self) -> Any:
        return lambda: jax.random.key(0)


def shapes_of(make: Any, where: str) -> tuple[Functional, Arrays]:
    """The function of a module, and the shapes of its arrays by name, without making an array."""
    try:
        module = nnx.eval_shape(lambda: make(_OneKey(0)))
    except ValueError as err:  # options that do not go together
        raise ValueError(f"{where}: {err}") from None
    return functional(module)


def on_device(name: str, array: np.ndarray, dtype: Any = None) -> Any:
    """An array of a file as the module has it, in `dtype` or its own: a copy."""
    return jnp.array(np.ascontiguousarray(from_file(name, array)), dtype)
