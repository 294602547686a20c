"""What the losses share: a checked batch, what is drawn for it, and weighted sums of squares."""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import random
from jaxtyping import Array, Float, Key

from edmjax._common.arguments import describe
from edmjax._common.arrays import from_left, reals, working_dtype
from edmjax._common.exported import serializable_tuple
from edmjax._common.functions import check_function, with_cond
from edmjax._common.packed import is_module
from edmjax._common.trees import check_like, conditions, floating_tree, parts_hint
from edmjax._common.typing import Arraylike, Level, NoiseFunction, PyTree
from edmjax.noise.keys import check_single_key, sample_keys
from edmjax.noise.own import check_noise_function, drawn

# `net(params, x, c_noise) -> F`, and `net(params, x, c_noise, cond)` where `cond` is given; without
# `params` where they are None and `net` is a module that holds its own.
ParametricNetwork: TypeAlias = Callable[..., PyTree]
# One number a sample, or the function `(key, n)` that draws them.
Law: TypeAlias = Arraylike | Callable[[Key[Array, ""], int], Arraylike]

if TYPE_CHECKING:
    Data: TypeAlias = PyTree
else:
    Data = Any  # of a wrong kind, it must reach the message of `Batch`


@serializable_tuple
class PerSample(NamedTuple):
    """The loss of each sample of a batch, and the noise level that was drawn for it."""

    loss: Float[Array, " batch"]
    sigma: Float[Array, " batch"]
    c_noise: Float[Array, " batch"]  # what the network was given for sigma


class Batch:
    """The arguments that all losses have, once they are checked, and what is drawn for them.

    Attributes:
        x0: the data, as JAX arrays.
        n: the number of samples.
        dtype: the precision to compute in: that of the data, and at least float32.
        key_level, key_noise: the two halves of the key.
    """

    def __init__(
        self,
        net: ParametricNetwork,
        params: PyTree,
        x0: Data,
        key: Key[Array, ""],
        cond: PyTree,
        weights: PyTree,
        noise: NoiseFunction | None,
    ):
        extra = () if cond is None else ("cond",)
        self.holds_params: bool = _holds_params(net, params)
        arguments = ("x", "c_noise") if self.holds_params else ("params", "x", "c_noise")
        check_function(net, "net", *arguments, *extra)
        self.x0: Any = _data(x0)
        self.n: int = jax.tree.leaves(self.x0)[0].shape[0]  # or a symbolic size
        check_single_key(key)
        if cond is not None:
            cond = conditions(cond, self.n, " of `x0`")
        if noise is not None:
            check_noise_function(noise)
        self.net: ParametricNetwork = net
        self.params: PyTree = params
        self.cond: PyTree = cond
        self.weights: Any = None if weights is None else _weights(weights, self.x0)
        self.dtype: Any = working_dtype(*[leaf.dtype for leaf in jax.tree.leaves(self.x0)])
        key_level, key_noise = random.split(key)
        self.key_level: Key[Array, ""] = key_level
        self.key_noise: Key[Array, ""] = key_noise
        self._noise = noise

    def noise(self) -> Any:
        """Noise like the data, in the precision to compute in."""
        leaves, treedef = jax.tree.flatten(self.x0)
        if self._noise is not None:
            like = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, self.dtype), self.x0)
            return drawn(self._noise, sample_keys(self.key_noise, self.n), like, whose="x0")
        # A batch that is one array has the draws of earlier versions.
        several = len(leaves) > 1
        keys = random.split(self.key_noise, len(leaves)) if several else [self.key_noise]
        white = [
            random.normal(key, leaf.shape, self.dtype)
            for key, leaf in zip(keys, leaves, strict=True)
        ]
        return treedef.unflatten(white)

    def drawn(self, law: Law, name: str) -> Any:
        """One number a sample: those that are given, or those that a function draws."""
        if callable(law):
            check_function(law, name, "key", "n")
            law, says = law(self.key_level, self.n), f"The function `{name}` must return"
        else:
            says = f"`{name}` must be a function of (key, n), or"
        numbers = reals(law)
        if numbers is None or numbers.shape != (self.n,):
            got = describe(law if numbers is None else numbers)
            raise ValueError(f"{says} one number for each of the {self.n} samples, got {got}.")
        if isinstance(numbers, np.ndarray) and not (numbers >= 0).all():
            raise ValueError(f"{says} numbers from 0 on, got {numbers.min():g}.")
        whole = jnp.issubdtype(numbers.dtype, jnp.integer)
        return jnp.asarray(numbers, jnp.int32 if whole else self.dtype)

    def outputs(self, x: Any, c_noise: Any) -> Any:
        """What the network returns, which is like the data."""
        if self.holds_params:
            # Dropout's keys and BatchNorm's statistics may move: the module is the caller's.
            given = () if self.cond is None else (self.cond,)
            output = self.net(x, c_noise, *given)
        else:
            output = with_cond(self.net, self.params, x, c_noise, cond=self.cond)
        # Another shape would be broadcast, and the loss would be one of something else.
        return check_like(output, x, "The network", "x0")

    def sums(self, errors: Any) -> Float[Array, " batch"]:
        """The weighted sum of the squared errors of each sample."""
        if self.weights is not None:
            # An error that is not finite stays away, too, and so does its gradient.
            errors = jax.tree.map(lambda e, w: jnp.where(w == 0, 0, e), errors, self.weights)
        squares = jax.tree.map(jnp.square, errors)
        if self.weights is not None:
            squares = jax.tree.map(lambda s, w: s * w.astype(s.dtype), squares, self.weights)
        parts = [jnp.sum(s, axis=tuple(range(1, s.ndim))) for s in jax.tree.leaves(squares)]
        total, *rest = parts
        for part in rest:
            total = total + part
        return total


def along(levels: Level, x: PyTree) -> Any:
    """For each leaf of `x`, one number a sample with axes to broadcast against the leaf."""
    return jax.tree.map(lambda leaf: from_left(levels, leaf), x)


def stratified_uniform(key: Key[Array, ""], n: int, dtype: Any) -> Float[Array, " n"]:
    """One number in each of `n` equal parts of (0, 1), in a random order."""
    key_within, key_order = random.split(key)
    number = (jnp.arange(n, dtype=dtype) + random.uniform(key_within, (n,), dtype)) / n
    # The normal quantile is infinite at both ends, and the last number may be rounded to 1.
    number = jnp.clip(number, 1e-7, 1 - 6e-8)
    return random.permutation(key_order, number)


def _holds_params(net: Any, params: Any) -> bool:
    """Whether `net` is a module with its own parameters, `net(x, c_noise)`; TypeError for both."""
    nnx: Any = sys.modules.get("flax.nnx")  # where it is not loaded, no network is one of its
    if nnx is None or not isinstance(net, nnx.Module):
        return params is None and is_module(net)
    if params is not None:
        raise TypeError(
            f"`params` must be None where `net` is a module of flax.nnx, such as this "
            f"{type(net).__name__}, which holds its own: `loss(net, None, x0, key)`, within "
            "`nnx.grad`. To have them apart, `net, params = ej.nn.functional(net)`."
        )
    return True


def _data(x0: Any) -> Any:
    """`x0` as JAX arrays with samples on axis 0; a sentence where it is none."""
    if jax.tree.structure(x0) == jax.tree.structure(0):
        floating = hasattr(x0, "dtype") and jnp.issubdtype(x0.dtype, jnp.floating)
        if not floating:
            got = x0.dtype if hasattr(x0, "dtype") else f"{type(x0).__name__} {x0!r:.80}"
            parts = parts_hint(x0.dtype) if hasattr(x0, "dtype") else ""
            hint = parts or "scale images to about [-1, 1] in float32."
            raise TypeError(
                f"`x0` must be a floating array, or a pytree of them, got {got}: {hint}"
            )
    x0 = floating_tree(x0, "x0")
    shapes = [leaf.shape for leaf in jax.tree.leaves(x0)]
    counts = {shape[:1] for shape in shapes}
    if counts & {(), (0,)} or len(counts) > 1:
        got = f"shape {shapes[0]}" if len(shapes) == 1 else f"shapes {shapes}"
        raise ValueError(f"Axis 0 of `x0` counts samples, at least one of them, got {got}.")
    return x0


def _weights(weights: Any, x0: Any) -> Any:
    """A weight array for each leaf of `x0`, which broadcasts to it."""
    if jax.tree.structure(weights) == jax.tree.structure(0):
        weights = jax.tree.map(lambda leaf: weights, x0)
    if jax.tree.structure(weights) != jax.tree.structure(x0):
        raise ValueError(
            f"`weights` must be one array, or have the structure of `x0`, "
            f"{jax.tree.structure(x0)}, got {jax.tree.structure(weights)}."
        )
    return jax.tree.map(_weight, weights, x0)


def _weight(weight: Any, leaf: Array) -> Any:
    mask = isinstance(weight, bool) or jnp.issubdtype(getattr(weight, "dtype", float), jnp.bool_)
    array = jnp.asarray(weight) if mask else reals(weight)
    if array is None:
        raise TypeError(f"`weights` must be real numbers or a mask, got {describe(weight)}.")
    if isinstance(array, np.ndarray) and not (np.isfinite(array) & (array >= 0)).all():
        raise ValueError("`weights` must be finite and not negative.")
    try:
        fits = np.broadcast_shapes(array.shape, leaf.shape) == leaf.shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            f"`weights` must broadcast to the shape of `x0`, {leaf.shape}, got {array.shape}; a "
            f"weight for each sample has the shape {(leaf.shape[0], *(1,) * (leaf.ndim - 1))}."
        )
    return array if isinstance(array, jax.Array) else jnp.asarray(array)
