"""A network as a pure function and a flat dictionary of its parameters.

The module is taken apart once. `{"down.0.layer.kernel": array, ...}` travels through `jax.jit`, an
optimiser, a checkpoint or a safetensors file, and the module is put together again while tracing,
which costs nothing at run time.
"""

from dataclasses import dataclass, field
from typing import Any, TypeAlias

import jax
from flax import nnx
from flax.traverse_util import unflatten_dict

from edmjax._common.arguments import describe
from edmjax._common.functions import with_cond
from edmjax._common.typing import Arraylike, PyTree
from edmjax.nn.magnitude import Normalized, normalized

# Name to array; in place of an array a tracer, or its shape alone under `nnx.eval_shape`.
Arrays: TypeAlias = dict[str, Any]


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Functional:
    """The function `apply(params, x, c_noise, cond=None) -> F`; a pytree whose leaves are buffers.

    `buffers` are the arrays that are not trained (Fourier frequencies). `graphdef`, the network's
    structure, is static and equal for equal options, so that two networks share a compilation.
    """

    graphdef: nnx.GraphDef[Any] = field(metadata=dict(static=True))
    buffers: Arrays

    def __call__(
        self, params: Arrays, x: PyTree, c_noise: Arraylike, cond: PyTree = None
    ) -> PyTree:
        return with_cond(self.merge(params), x, c_noise, cond=cond)

    def merge(self, params: Arrays) -> nnx.Module:
        """The module with these parameters."""
        return nnx.merge(self.graphdef, _nested(params | self.buffers))

    def normalized(self, params: Arrays) -> Arrays:
        """`params`, the columns of those that are `Normalized` scaled to magnitude 1."""
        kinds = [getattr(node, "type", None) for node in self.graphdef.nodes]
        if not any(isinstance(kind, type) and issubclass(kind, Normalized) for kind in kinds):
            return params
        kept = _flat(nnx.state(self.merge(params), Normalized))
        return params | {name: normalized(array) for name, array in kept.items()}

    def bind(self, params: Arrays) -> jax.tree_util.Partial:
        """The network `net(x, c_noise, cond=None)` for a denoiser, its parameters as leaves."""
        return jax.tree_util.Partial(Functional.__call__, self, params)


def functional(net: nnx.Module) -> tuple[Functional, Arrays]:
    """The pair `(apply, params)` of a network, so that `apply(params, x, c_noise)` is its output.

    The trained arrays (every `nnx.Param`) are `params`, all others the leaves of `apply`; both are
    dictionaries with dotted names. The others are constant: a network that changes them when it is
    called (BatchNorm in training, Dropout) is refused in its first call, with a ValueError. After
    `net.eval()` it is accepted.

    Raises:
        TypeError: `net` is not a module of Flax NNX.
    """
    if not isinstance(net, nnx.Module):
        raise TypeError(
            f"`net` must be a module of flax.nnx, got {describe(net)}: of another package pass the "
            "function `net(x, c_noise)` to the denoiser, and `net(params, x, c_noise)` to a loss."
        )
    graphdef, params, rest = nnx.split(net, nnx.Param, ...)
    return Functional(graphdef, _flat(rest)), _flat(params)


def _flat(state: Any) -> Arrays:
    return {".".join(map(str, path)): leaf.get_value() for path, leaf in nnx.to_flat_state(state)}


def _nested(arrays: Arrays) -> dict[Any, Any]:
    def path(name: str) -> tuple[str | int, ...]:
        return tuple(int(part) if part.isdigit() else part for part in name.split("."))

    return unflatten_dict({path(name): array for name, array in arrays.items()})
