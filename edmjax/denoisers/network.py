"""What every denoiser around a network shares: how the network is held, called and answered."""

import jax
import jax.numpy as jnp
import numpy as np

from edmjax._common.arrays import as_sigma, weighted, working_dtype
from edmjax._common.functions import as_pytree, with_cond
from edmjax._common.held import Held, cast
from edmjax._common.states import StateError
from edmjax._common.trees import check_like
from edmjax._common.typing import Network, PyTree, Shape, Sigma, Values


class Preconditioned(Held):
    """A denoiser `c_skip x + c_out F(c_in x, c_noise)` around a network `F`.

    A preconditioning of your own is a subclass, a registered dataclass, with the field `net` and
    the method `coefficients`. With `learned_range` the network returns twice the channels, `F` and
    the variance `v` that it learned, and the denoiser returns `{"x0": ..., "log_var": v}`.

    Source: Karras et al. (2022), equation 7.
    """

    net: Network
    learned_range: bool = False

    def coefficients(self, sigma: Values) -> tuple[Values, Values, Values, Values]:
        """`(c_skip, c_out, c_in, c_noise)` in the shape and dtype of `sigma`."""
        raise NotImplementedError  # abstract: every subclass has its own

    def held(self, x: PyTree, sigma: Sigma, cond: PyTree, dtypes: PyTree) -> PyTree:
        """The estimate of `E[x0 | x]` in the structure, shapes and dtypes of `x`.

        The network is shown `c_in x` in `dtypes`. With `learned_range` a dict of the estimate,
        "x0", and of the learned variance, "log_var".
        """
        level = as_sigma(sigma, x)
        c_skip, c_out, c_in, c_noise = self.coefficients(level)
        output = call(self.net, cast(weighted((c_in, x)), dtypes), c_noise, cond)
        output, log_var = _halves(output, x, self.learned_range)
        denoised = weighted((c_skip, x), (c_out, check_like(output, x, "The network")))
        return denoised if log_var is None else {"x0": denoised, "log_var": log_var}


def network_as_pytree(net: Network) -> Network:
    """`net` as a child of its denoiser; a TypeError where it is not a function, or a denoiser."""
    if isinstance(net, Preconditioned):
        raise TypeError(
            f"`net` must be a network F(x, c_noise), got the denoiser {type(net).__name__}: it "
            "goes into `sample` as it is."
        )
    return as_pytree(net, "net", "a function of (x, c_noise)")


def call(function: Network, x: PyTree, level: Values, cond: PyTree) -> PyTree:
    """The output of a network, or of another function of `x` and a number, at `level`."""
    # Coefficients may need a level in float64 at float32 `x`; the network would be promoted by it.
    if jnp.issubdtype(level.dtype, jnp.floating):  # a whole timestep stays an integer
        level = level.astype(working_dtype(*[leaf.dtype for leaf in jax.tree.leaves(x)]))
    try:
        return with_cond(function, x, level, cond=cond)
    except StateError:
        raise
    except Exception as err:
        if level.ndim:
            raise
        return _with_one_level_a_sample(function, x, level, cond, err)


def _with_one_level_a_sample(
    function: Network, x: PyTree, level: Values, cond: PyTree, refusal: Exception
) -> PyTree:
    """The output of a network that takes one number a sample, as in training, and no scalar.

    Such a network is found where it is traced, by what it raises.
    """
    shape = jax.tree.leaves(x)[0].shape[:1]
    try:
        return with_cond(function, x, jnp.broadcast_to(level, shape), cond=cond)
    except Exception as err:
        if str(err) == str(refusal) or not shape:  # it is not about `c_noise`
            raise refusal from None
        raise ValueError(
            f"The network takes `c_noise` neither as a scalar, shape (), nor as one number a "
            f"sample, shape {shape}. With the scalar it raises {_told(refusal)}; with one a sample "
            f"{_told(err)}."
        ) from refusal


def _told(err: Exception) -> str:
    return f"{type(err).__name__}: {str(err).strip().split(chr(10))[0].rstrip('.'):.200}"


def _halves(output: PyTree, x: PyTree, learned_range: bool) -> tuple[PyTree, PyTree]:
    """`(F, v)` of a network with a learned variance, else `(output, None)`."""
    if not learned_range:
        if _channels(output, x, 2) and not _channels(output, x, 1):
            raise ValueError(
                "The network returns twice the channels of `x` on the last axis, as one with a "
                "learned variance does: pass learned_range=True to get them as 'log_var'."
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


def _channels(output: PyTree, x: PyTree, times: int) -> bool:
    same = jax.tree.structure(output) == jax.tree.structure(x)
    return same and _shapes(output, 1) == _shapes(x, times)


def _shapes(tree: PyTree, times: int) -> list[Shape]:
    shapes = [np.shape(leaf) for leaf in jax.tree.leaves(tree)]
    return [(*shape[:-1], times * shape[-1]) if shape else shape for shape in shapes]
