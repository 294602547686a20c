"""Conversions: between the denoised output and score, eps, v, x0, as values and as functions.

Everything is in the variance-exploding frame, `x = x0 + sigma n`, but for a score function that is
given with its process.
"""

import dataclasses
from typing import ClassVar, overload

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import register_dataclass

from edmjax._common.arrays import as_sigma, has_no_value, weighted, working_dtype
from edmjax._common.functions import as_pytree, denoiser_as_pytree, outputs_of
from edmjax._common.held import Held, cast, dtypes_of, evaluate, is_held
from edmjax._common.trees import argument_like, check_like, floating_tree
from edmjax._common.typing import Denoiser, Function, PyTree, Scalar, Sigma, X
from edmjax.denoisers.network import call
from edmjax.denoisers.predictions import ProcessScore
from edmjax.processes.process import ProcessLike, check_process


def denoised_from_score(x: X, score: X, sigma: Sigma) -> X:
    """`x + sigma^2 score`, for a score: the gradient in `x` of the log-density at level `sigma`."""
    x, score, sigma = _enter(x, score, sigma, "score")
    return weighted((1.0, x), (sigma**2, score))


def denoised_from_eps(x: X, eps: X, sigma: Sigma) -> X:
    """`x - sigma eps`, for an estimate of the noise `n` in `x = x0 + sigma n`."""
    x, eps, sigma = _enter(x, eps, sigma, "eps")
    return weighted((1.0, x), (-sigma, eps))


def denoised_from_v(x: X, v: X, sigma: Sigma) -> X:
    """`x / (1 + sigma^2) - sigma / sqrt(1 + sigma^2) v`.

    `v = alpha eps - s x0` with `alpha = 1 / sqrt(1 + sigma^2)` and `s = sigma alpha`, in the
    variance-preserving frame `x_vp = alpha x` (Salimans and Ho 2022, appendix D).
    """
    x, v, sigma = _enter(x, v, sigma, "v")
    alpha = 1 / jnp.hypot(1.0, sigma)
    return weighted((alpha**2, x), (-sigma * alpha, v))


def score_from_denoised(x: X, denoised: X, sigma: Sigma) -> X:
    """`(denoised - x) / sigma^2`. Raises ValueError at `sigma = 0`, where it is not defined."""
    x, denoised, sigma = _enter(x, denoised, sigma, "denoised", divides=True)
    return _spread(x, denoised, -((1 / sigma) ** 2), 0.0)


def eps_from_denoised(x: X, denoised: X, sigma: Sigma) -> X:
    """`(x - denoised) / sigma`. Raises ValueError at `sigma = 0`, where it is not defined."""
    x, denoised, sigma = _enter(x, denoised, sigma, "denoised", divides=True)
    return _spread(x, denoised, 1 / sigma, 0.0)


def v_from_denoised(x: X, denoised: X, sigma: Sigma) -> X:
    """`alpha (x - denoised) / sigma - sigma alpha denoised`.

    `alpha` is as in `denoised_from_v`. Raises ValueError at `sigma = 0`, where v is not defined.
    """
    x, denoised, sigma = _enter(x, denoised, sigma, "denoised", divides=True)
    alpha = 1 / jnp.hypot(1.0, sigma)
    return _spread(x, denoised, alpha / sigma, -sigma * alpha)


@register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Converted(Held):
    """A function of `(x, sigma[, cond])`: `convert(x, output, sigma)` of the output of `fn`."""

    # `x + sigma^2 score` and its like are differences of large numbers at large levels.
    far: ClassVar[bool] = False

    fn: Function
    convert: Function = dataclasses.field(metadata={"static": True})
    name: str = dataclasses.field(metadata={"static": True})

    def held(self, x: PyTree, sigma: Sigma, cond: PyTree, dtypes: PyTree) -> PyTree:
        """The converted output, in the structure, shapes and dtypes of `x`."""
        level = as_sigma(sigma, x)
        if self.name == "denoise" or is_held(self.fn):
            output, *_ = outputs_of(evaluate(self.fn, x, level, cond, dtypes), x)
        else:
            output = call(self.fn, cast(x, dtypes), level, cond)
        return self.convert(x, check_like(output, x, f"`{self.name}`"), sigma)


@overload
def from_score(score_fn: Function, process: None = None) -> Converted: ...
@overload
def from_score(score_fn: Function, process: ProcessLike) -> ProcessScore: ...
def from_score(score_fn: Function, process: ProcessLike | None = None) -> Converted | ProcessScore:
    """The denoiser of `score_fn(x, sigma[, cond])`, the score of `x0 + sigma n` at `x`.

    With a `process` it is the denoiser of `score_fn(x_process, t[, cond])`, the score of the points
    that the process has at its time `t`: what score_sde calls a score function.

        D = x + sigma s score_fn(alpha x, t),    s = alpha sigma,    t = process.time(sigma)

    For a process of scale 1 (`ve`, `song_ve`, `edm`) the two differ by the time alone, for others
    (`vp`, `sub_vp`) by the frame of the points too. `t` is one number; for a function that takes
    one a sample, pass `lambda x, t: score_fn(x, jnp.full(len(x), t))`.

    Raises:
        TypeError: `score_fn` is not callable, or `process` is not a process.
    """
    if process is None:
        return _made("score_fn", score_fn, denoised_from_score)
    check_process(process)
    return ProcessScore(as_pytree(score_fn, "score_fn"), process)


def from_eps(eps_fn: Function) -> Converted:
    """The denoiser of `eps_fn(x, sigma[, cond])`, an estimate of `n` in `x = x0 + sigma n`."""
    return _made("eps_fn", eps_fn, denoised_from_eps)


def from_v(v_fn: Function) -> Converted:
    """The denoiser of `v_fn(x, sigma[, cond])`, an estimate of v; see `denoised_from_v`."""
    return _made("v_fn", v_fn, denoised_from_v)


def from_x0(x0_fn: Function) -> Converted:
    """The denoiser of `x0_fn(x, sigma[, cond])`, an estimate of `x0` itself.

    It is the function made a pytree, its output checked and cast to the dtypes of `x`.
    """
    return _made("x0_fn", x0_fn, _same)


def to_score(denoise: Denoiser) -> Converted:
    """The score `(denoise(x, sigma) - x) / sigma^2` as a function of `(x, sigma[, cond])`."""
    return Converted(denoiser_as_pytree(denoise, "denoise"), score_from_denoised, "denoise")


def to_eps(denoise: Denoiser) -> Converted:
    """The noise `(x - denoise(x, sigma)) / sigma` as a function of `(x, sigma[, cond])`."""
    return Converted(denoiser_as_pytree(denoise, "denoise"), eps_from_denoised, "denoise")


def to_v(denoise: Denoiser) -> Converted:
    """The v of `denoise(x, sigma)` as a function of `(x, sigma[, cond])`; see `denoised_from_v`."""
    return Converted(denoiser_as_pytree(denoise, "denoise"), v_from_denoised, "denoise")


def _made(name: str, function: Function, convert: Function) -> Converted:
    return Converted(as_pytree(function, name), convert, name)


def _same(x: PyTree, output: PyTree, sigma: Sigma) -> PyTree:
    return jax.tree.map(lambda leaf, out: jnp.asarray(out, leaf.dtype), x, output)


def _enter(
    x: PyTree, other: PyTree, sigma: Sigma, name: str, divides: bool = False
) -> tuple[PyTree, PyTree, jax.Array]:
    """The arguments of a conversion, checked; `sigma` as an array."""
    x = floating_tree(x, "x")
    other = argument_like(other, x, name, "x")
    if divides and not has_no_value(sigma) and (np.asarray(sigma) == 0).any():
        raise ValueError("At sigma = 0 a score, eps or v has no value: ask for sigma above 0.")
    return x, other, as_sigma(sigma, x)


def _spread(x: PyTree, denoised: PyTree, a: jax.Array, b: Scalar) -> PyTree:
    """`a (x - denoised) + b denoised` in the dtypes of `x`."""

    # Subtracted first, in full precision: exact where the two are close, before `a` magnifies it.
    def difference(leaf, denoised):
        dtype = working_dtype(leaf.dtype)
        return leaf.astype(dtype) - denoised.astype(dtype)

    wide = weighted((a, jax.tree.map(difference, x, denoised)), (b, denoised))
    return cast(wide, dtypes_of(x))
