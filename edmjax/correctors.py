"""Langevin correctors: moves at one noise level that pull a point towards the law of that level.

A corrector is what `ej.sample(..., corrector=...)` runs between the steps of a plan. In the
package's frame, x = x0 + sigma n, Langevin dynamics with step eps is

    x' = x + eps score + sqrt(2 eps) z,    score = (D - x) / sigma^2,    z standard normal,

and with eps = 2 q^2 sigma^2, a form without a scale, x' = x + 2 q^2 (D - x) + 2 q sigma z. A
process that holds y = scale x has the score `score / scale` and the step `scale^2 eps`. So rules
that set the step by the ratio of the noise to the score, or by the standard deviation of the
marginal, give the same `q` in either frame. Only the factor alpha of Song et al. differs, which is
an option here.
"""

import dataclasses
import functools
import math
import operator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from edmjax._common.arguments import one_of, whole
from edmjax._common.arrays import has_no_value, weighted, working_dtype
from edmjax._common.exported import serializable
from edmjax._common.held import cast, dtypes_of
from edmjax._common.typing import Denoiser, Int, PyTree, Scalar, Sigma, X
from edmjax.noise.keys import is_typed, normal_like
from edmjax.processes.process import Process, check_process, root
from edmjax.scalar import flag, not_negative

__all__ = ["Langevin", "annealed_langevin", "langevin"]

# What `norm` of `langevin` may be.
NORMS = ("sample", "batch", "sqrt_d", "batch_sqrt_d")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Langevin:
    """See `langevin` and `annealed_langevin`. A pytree: `snr` and the process are its leaves."""

    snr: Scalar | np.ndarray
    process: Process | None
    norm: str | None = dataclasses.field(metadata={"static": True})  # None: annealed
    num_steps: int = dataclasses.field(metadata={"static": True})
    on_result: bool = dataclasses.field(metadata={"static": True})

    @property
    def num_draws(self) -> int:
        """The draws of one call: one a move."""
        return self.num_steps

    num_evaluations = num_draws  # of the denoiser in one call: one a move, as well

    def __call__(self, denoise: Denoiser, x: X, sigma: Sigma, key: PyTree) -> X:
        """`x` after `num_steps` moves at the level `sigma`, in at least float32.

        `key` is what `ej.sample` passes: keys of shape (num_steps, batch), or the draws themselves,
        with leaves of shape (num_steps, *leaf.shape).
        """
        held = jax.tree.map(lambda leaf: leaf.astype(working_dtype(leaf.dtype)), x)
        move = functools.partial(self._move, denoise, x, sigma)
        if self.num_steps == 1:
            return move(held, jax.tree.map(lambda draw: draw[0], key))
        # A scan, so that the program holds one copy of the network for any number of moves.
        return lax.scan(lambda held, draw: (move(held, draw), None), held, key)[0]

    def _move(self, denoise: Any, like: X, sigma: Sigma, held: X, key: PyTree) -> X:
        x = cast(held, dtypes_of(like))
        noise = normal_like(key, x)
        denoised = denoise(x, sigma)
        gap = jax.tree.map(lambda d, value: d.astype(value.dtype) - value, denoised, held)
        # A single sample without a batch axis has a single key.
        alone = is_typed(key) and key.ndim == 0
        q = self._q(gap, noise, sigma, 0 if alone else 1)
        return weighted((1.0, held), (2 * q**2, gap), (2 * q * sigma, noise))

    def _q(self, gap: X, noise: X, sigma: Sigma, ahead: int) -> Any:
        """`q` of the module's docstring, a scalar or one number a sample."""
        q = jnp.asarray(self.snr, jnp.result_type(sigma))
        if self.process is not None:
            q = q * self.process.scale(self.process.time(sigma))
        if self.norm is None:
            return q
        length, drawn = _norms(gap, ahead), _norms(noise, ahead)
        if self.norm.startswith("batch"):
            length, drawn = jnp.mean(length), jnp.mean(drawn)
        if self.norm.endswith("sqrt_d"):
            drawn = math.sqrt(sum(math.prod(leaf.shape[ahead:]) for leaf in jax.tree.leaves(gap)))
        # A score of zero gives no step size, and the point stays.
        there = length > 0
        return q * jnp.where(there, sigma * drawn / jnp.where(there, length, 1.0), 0.0)


serializable(Langevin, read=tuple)


def langevin(
    snr: Scalar = 0.16,
    num_steps: Int = 1,
    norm: str = "sample",
    process: Process | None = None,
    on_result: bool = False,
) -> Langevin:
    """The Langevin corrector of Song et al. (2021), Algorithms 4 and 5.

        eps = 2 alpha (snr |z| / |score|)^2,    x' = x + eps score + sqrt(2 eps) z

    so that noise and score have the ratio `snr`. Each move costs one evaluation and one draw, and
    the corrector adds one copy of the network to the program, for any number of moves. A sample
    whose score is zero stays where it is; with `snr = 0` all samples do.

    It runs on the point that starts a step, as in the code of Song et al., or with `on_result` on
    the point that a step ends in, as in their Algorithm 1. It never runs at sigma = 0, so the last
    point is not corrected, unless the grid ends above zero and `on_result` is set.

    Args:
        snr: the signal-to-noise ratio r, at least 0; may be traced, and other values compile once.
        num_steps: M, the moves of one call, at least 1.
        norm: what |z| and |score| are. "sample": the norms of each sample over all its entries, so
            samples do not depend on each other; biased in few dimensions, see below. "batch": their
            means over the batch, as in the paper and its code. "sqrt_d": as "sample", with sqrt(d)
            for |z|, where a sample has d entries. "batch_sqrt_d": sqrt(d), and the mean over the
            batch of |score|, as in Song's tutorial.
        process: the process that gives alpha = scale(t)^2, the product of 1 - beta of Algorithm 5.
            Alpha is 1 without a process, and in variance-exploding ones (Algorithm 4). The code of
            Song et al. instead uses 1 - beta of one of 1,000 steps, which is 0.98 to 1: for that,
            leave it out.
        on_result: whether to run on the point that a step ends in.

    A step size that depends on the sample's own score has a stationary distribution other than p.
    For "sample" and "sqrt_d" it is p |score|^2, which is wider, however small `snr` is. One move of
    a Gaussian of variance v in d dimensions, with "sample", multiplies v by

        1 - 4 snr^2 + 4 snr^2 (1 + snr^2) (d + 2) / (d - 2)

    This is 1.0005 for images of 28x28, and infinite in two dimensions: there take "batch",
    "batch_sqrt_d" or `annealed_langevin`.

    Raises:
        TypeError: if `num_steps` is not an integer, or `process` not a process.
        ValueError: if `snr` is negative or NaN, `num_steps` below 1, or `norm` something else.
    """
    one_of(norm, "norm", NORMS)
    return _corrector(snr, num_steps, norm, process, on_result)


def annealed_langevin(
    snr: Scalar = 0.16,
    num_steps: Int = 1,
    process: Process | None = None,
    on_result: bool = False,
) -> Langevin:
    """Annealed Langevin dynamics, its step from the marginal's standard deviation.

        eps = 2 alpha (snr sigma)^2,    x' = x + eps score + sqrt(2 eps) z

    In the scale of a process sigma is its `std(t)`. This is `langevin` with sigma, the typical
    |z| / |score|, in place of the ratio. The step does not depend on the data, so on Gaussian data
    the stationary law is known exactly: its variance is (s^2 + sigma^2) / (1 - q^2 r), where
    r = sigma^2 / (s^2 + sigma^2) and q^2 = alpha snr^2, instead of s^2 + sigma^2.

    Arguments, cost and errors are as in `langevin`. Source: Song and Ermon (2019), Algorithm 1,
    with the step that the code of Song et al. (2021) gives it.
    """
    return _corrector(snr, num_steps, None, process, on_result)


def _corrector(
    snr: Scalar, num_steps: Int, norm: str | None, process: Process | None, on_result: bool
) -> Langevin:
    ratio = not_negative(snr, "snr")
    num_steps = whole(num_steps, "num_steps")
    if process is not None:
        check_process(process)
    # An array, as a number would be a weakly typed leaf, and compiled again.
    ratio = ratio if has_no_value(ratio) else np.asarray(ratio)
    return Langevin(ratio, process, norm, num_steps, flag(on_result, "on_result"))


def _norms(tree: PyTree, ahead: int) -> Any:
    """The Euclidean norm over all leaves and all axes after the first `ahead`."""

    def square(leaf: Any) -> Any:
        leaf = leaf.astype(working_dtype(leaf.dtype))
        return jnp.sum(leaf**2, axis=tuple(range(ahead, leaf.ndim)))

    squares = [square(leaf) for leaf in jax.tree.leaves(tree)]
    return root(functools.reduce(operator.add, squares))


def __dir__() -> list[str]:
    return __all__
