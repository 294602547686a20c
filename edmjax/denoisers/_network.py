"""What every denoiser around a network shares: how the network is held, called and answered."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from edmjax._common.arrays import as_sigma, weighted, working_dtype
from edmjax._common.trees import check_like, floating_tree
from edmjax._common.typing import Sigma, X


class Preconditioned:
    """A denoiser `c_skip x + c_out F(c_in x, c_noise)` around a network F.

    Karras et al. (2022), equation 7. A preconditioning is a subclass with the field `net` and the
    method `coefficients`. With `learned_range` the network has twice the channels, `F` and the
    variance `v` that it learned, and the denoiser returns `{"x0": ..., "log_var": v}`.
    """

    net: Any
    learned_range: Any = False

    def coefficients(self, sigma: jax.Array) -> tuple[Any, Any, Any, Any]:
        """`(c_skip, c_out, c_in, c_noise)` in the shape and dtype of `sigma`."""
        raise NotImplementedError  # abstract: every subclass has its own

    def __call__(self, x: X, sigma: Sigma, cond: Any = None) -> X:
        """The estimate of `E[x0 | x]`. See the module's docstring for shapes and dtypes."""
        x = floating_tree(x, "x")
        level = as_sigma(sigma, x)
        c_skip, c_out, c_in, c_noise = self.coefficients(level)
        output = call(self.net, weighted((c_in, x)), c_noise, cond)
        output, log_var = _halves(output, x, self.learned_range)
        denoised = weighted((c_skip, x), (c_out, check_like(output, x, "The network")))
        return denoised if log_var is None else {"x0": denoised, "log_var": log_var}


def call(function: Any, x: Any, level: jax.Array, cond: Any) -> Any:
    # A float64 level at float32 x serves the coefficients; a network is spared the promotion.
    if jnp.issubdtype(level.dtype, jnp.floating):  # a whole timestep stays an integer
        level = level.astype(working_dtype(*[leaf.dtype for leaf in jax.tree.leaves(x)]))
    return function(x, level) if cond is None else function(x, level, cond)


def _halves(output: Any, x: Any, learned_range: bool) -> tuple[Any, Any]:
    """`(F, v)` of a network with a learned variance, else `(output, None)`."""
    if not learned_range:
        if _channels(output, x, 2) and not _channels(output, x, 1):
            raise ValueError(
                "The network returns twice the channels of `x` on the last axis, as one with a "
                "learned variance does: pass learned_range=True to have them as 'log_var'."
            )
        return output, None
    if not _channels(output, x, 2):
        raise ValueError(
            "With learned_range=True the network must return the shape of `x` with twice the "
            f"channels on the last axis, {_shapes(x, 2)}, got {_shapes(output, 1)}."
        )
    first, second = (
        jax.tree.map(lambda leaf, i=i: jnp.split(leaf, 2, axis=-1)[i], output) for i in (0, 1)
    )
    return first, second


def _channels(output: Any, x: Any, times: int) -> bool:
    same = jax.tree.structure(output) == jax.tree.structure(x)
    return same and _shapes(output, 1) == _shapes(x, times)


def _shapes(tree: Any, times: int) -> list[tuple[int, ...]]:
    shapes = [np.shape(leaf) for leaf in jax.tree.leaves(tree)]
    return [(*shape[:-1], times * shape[-1]) if shape else shape for shape in shapes]
