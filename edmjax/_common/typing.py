"""The types that the public signatures are written in.

A type checker sees what a call accepts. At run time most of these are `Any`: the tests check every
annotation while they run, and a wrong argument must reach the message that the package has for it.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

import jax
import numpy as np
from jaxtyping import Array as Array, Float, Float64, Key

from edmjax.scalar import Scalar as Scalar

# A point, and whatever else comes back in the structure that it was given in: any pytree of
# floating arrays whose axis 0 counts samples.
X = TypeVar("X")

# Noise levels as a schedule returns them: on the host, in float64.
Levels: TypeAlias = Float64[np.ndarray, " levels"]

if TYPE_CHECKING:
    # One typed key (`jax.random.key(seed)`), or one key a sample.
    Keys: TypeAlias = Key[Array, "..."]
    # A user's own pytree: conditions, noise, parameters. Nothing can be said about its type.
    PyTree: TypeAlias = Any
    # A number on the host.
    Number: TypeAlias = float | int | np.floating[Any] | np.integer[Any]
    # A count.
    Int: TypeAlias = int | np.integer[Any]
    # A noise level: a scalar, or one level a sample, broadcast from the left.
    Sigma: TypeAlias = Number | jax.Array | np.ndarray
    # A noise level or a time that was not checked yet, or its array.
    Level: TypeAlias = Number | jax.Array | np.ndarray
    # The levels of a grid, first to last: an array, or a sequence of numbers and traced scalars.
    Grid: TypeAlias = np.ndarray | jax.Array | Sequence[Scalar]
    # Anything that NumPy makes an array of.
    Arraylike: TypeAlias = np.ndarray | jax.Array | Sequence[Any] | Number
    # Numbers of a plan, or what a formula of levels or times returns: NumPy on the host, JAX arrays
    # where something is traced.
    Values: TypeAlias = np.ndarray | jax.Array
    # `(keys, like) -> noise`: `keys` is one key a sample, and `like` has the structure, shapes and
    # dtypes to return; axis 0 of its leaves counts samples.
    NoiseFunction: TypeAlias = Callable[[Key[Array, " batch"], PyTree], PyTree]
    # A function of the user's that no protocol below describes.
    Function: TypeAlias = Callable[..., Any]
    # The shape of an array, in which `jax.export` may leave sizes open.
    Shape: TypeAlias = tuple[int, ...]
else:
    from jaxtyping import PyTree as PyTree

    Keys = Number = Int = Level = Grid = Arraylike = Values = NoiseFunction = Function = Any
    Shape = tuple
    Sigma = (
        Float[Array | np.ndarray, " "]
        | Float[Array | np.ndarray, " batch"]
        | float
        | int
        | np.floating
    )


class Denoises(Protocol):
    """`denoise(x, sigma)`, an estimate of `E[x0 | x]` where `x = x0 + sigma n`.

    `x` is a pytree of floating arrays whose axis 0 counts samples, `sigma` a scalar, or one level a
    sample. It returns the estimate in the structure and shapes of `x`, or a dict: `"x0"`, the
    estimate; optionally `"raw"`, the estimate before clipping or guidance; optionally `"log_var"`,
    the log-variance that a network learned for the noise of a step.

    An attribute `sigma_range`, the pair (lowest, highest) of levels that it is for, is optional.
    """

    def __call__(self, x: PyTree, sigma: Any, /) -> PyTree: ...


class DenoisesGiven(Protocol):
    """`denoise(x, sigma, cond)`: a denoiser of what `cond` says of each sample; see `Denoises`."""

    def __call__(self, x: PyTree, sigma: Any, cond: PyTree, /) -> PyTree: ...


class Predicts(Protocol):
    """`net(x, c_noise)`, a network `F`: its output is like `x`, which it is given scaled.

    `c_noise` says the noise level in the network's own terms: a scalar, or one number a sample.
    """

    def __call__(self, x: PyTree, c_noise: Any, /) -> PyTree: ...


class PredictsGiven(Protocol):
    """`net(x, c_noise, cond)`: a network that is given a condition for each sample."""

    def __call__(self, x: PyTree, c_noise: Any, cond: PyTree, /) -> PyTree: ...


class Corrects(Protocol):
    """`correct(denoise, x, sigma, key)`: moves points at one noise level, and returns them.

    `denoise(x, sigma)` is the denoised output, with the condition where there is one. `key` is one
    key a sample. Optional attributes: `num_draws`, how many draws a call makes (`key` then has that
    many in front, or is the draws themselves); `num_evaluations`, how often a call evaluates the
    denoiser; `on_result`, True to run on the point that a step ends in.
    """

    def __call__(self, denoise: Any, x: PyTree, sigma: Any, key: Any, /) -> PyTree: ...


if TYPE_CHECKING:
    Denoiser: TypeAlias = Denoises | DenoisesGiven
    Network: TypeAlias = Predicts | PredictsGiven
    Corrector: TypeAlias = Corrects
else:
    Denoiser = Network = Corrector = Any
