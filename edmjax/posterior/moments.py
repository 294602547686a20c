"""Denoisers of the posterior from moments of x0 given x: one evaluation and its transposition.

With `D = E[x0 | x]` and `J` its Jacobian, `Cov[x0 | x] = sigma^2 J`. Taken as Gaussian, x0 given
x and `y = A x0 + noise_std n` has the mean

    D + C A^T (A C A^T + noise_std^2 I)^-1 (y - A D),    C = sigma^2 J,

which is exact where the data are Gaussian. The methods differ in what they take for `A C A^T`.
"""

import dataclasses
from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp
from jax.tree_util import register_dataclass

from edmjax._common.arguments import describe, one_of, positive_leaf, whole
from edmjax._common.arrays import as_sigma
from edmjax._common.functions import denoiser_as_pytree
from edmjax._common.held import Wraps, denoised_rows
from edmjax._common.trees import Flat
from edmjax._common.typing import Denoiser, Int, PyTree, Scalar, Sigma
from edmjax.guidance.outputs import sampled
from edmjax.posterior.measurements import Linear, Noisy, Seen
from edmjax.posterior.solvers import conjugate_gradients, generalized_residuals

# `v -> J^T v`, of rows.
Transposed: TypeAlias = Callable[[jax.Array], jax.Array]

_MOST_PRODUCTS = 256


@register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Conditioned(Wraps):
    """A denoiser of the posterior, `E[x0 | x, y]` up to what its method takes for it."""

    denoise: Denoiser
    measurement: Noisy
    rule: "PiGDM | TMPD | MMPS"

    @property
    def far(self) -> bool:
        """Never: at 2^40 a vector times sigma^2 J has no digits left."""
        return False

    def held(self, x: PyTree, sigma: Sigma, cond: PyTree, dtypes: PyTree) -> PyTree:
        """`D` and the change that `rule` makes of it, in the dtypes of `x`."""
        x = sampled(x)
        flat = Flat(x)
        rows, level = flat.rows(x), as_sigma(sigma, x)
        seen = self.measurement.on(flat, rows.shape[0])

        def denoised(rows: jax.Array) -> jax.Array:
            return denoised_rows(self.denoise, flat, rows, level, cond)

        mean, transposed = jax.vjp(denoised, rows)
        square = jnp.asarray(level, rows.dtype).reshape(-1, 1) ** 2
        change = self.rule(seen, mean, lambda v: transposed(v)[0], square)
        return flat.tree(mean + change)


def pigdm(denoise: Denoiser, measurement: Linear, data_var: Scalar = 1.0) -> Conditioned:
    """Pseudoinverse-guided diffusion: `D + sigma^2 grad log N(y; A D, r^2 A A^T + noise_std^2 I)`.

        D + sigma^2 J^T A^T (r^2 A A^T + noise_std^2 I)^-1 (y - A D),
        r^2 = sigma^2 v / (sigma^2 + v)

    `v = data_var` is the variance that the data are taken to have in every direction; on N(mean,
    v I) the result is exact. One evaluation and one vector-Jacobian product.

    Args:
        denoise: any denoiser of the prior.
        measurement: what `linear` or one of the operators returns.
        data_var: v, positive; may be traced.

    Raises:
        TypeError: `measurement` is not a linear one, or `denoise` not a denoiser.
        ValueError: `data_var` is not positive.

    Source: Song et al. (2023, Pseudoinverse-guided diffusion models for inverse problems),
    equations 7 and 8.
    """
    rule = PiGDM(positive_leaf(data_var, "data_var"))
    return _conditioned("pigdm", denoise, measurement, rule)


@register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class PiGDM:
    """The change that `pigdm` makes."""

    data_var: Scalar

    def __call__(
        self, seen: Seen, mean: jax.Array, transposed: Transposed, square: jax.Array
    ) -> jax.Array:
        v = jnp.asarray(self.data_var, mean.dtype)
        pulled = seen.pull(seen.residual(mean), square * v / (square + v), seen.variance)
        return square * transposed(pulled)


def tmpd(denoise: Denoiser, measurement: Linear, approximation: str = "full") -> Conditioned:
    """Tweedie moment projected diffusion: `A C A^T` by one product for each entry of `y`.

        D + C A^T (A C A^T + noise_std^2 I)^-1 (y - A D),    C = sigma^2 J^T

    Exact on every Gaussian. "row_sum" takes the diagonal matrix of the row sums of `A C A^T` in its
    place, the paper's form for large images. One evaluation, and as many vector-Jacobian products
    as `y` has entries, or two for "row_sum".

    Args:
        denoise: any denoiser of the prior.
        measurement: what `linear` or one of the operators returns.
        approximation: "full" or "row_sum".

    Raises:
        TypeError: `measurement` is not a linear one, or `denoise` not a denoiser.
        ValueError: `approximation` is something else; at the first evaluation, `y` has more than
            256 entries for "full".

    Source: Boys et al. (2024, Tweedie moment projected diffusions for inverse problems), equation 8
    and, for "row_sum", section 4.3.
    """
    rule = TMPD(one_of(approximation, "approximation", _TMPD))
    return _conditioned("tmpd", denoise, measurement, rule)


@register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class TMPD:
    """The change that `tmpd` makes."""

    approximation: str = dataclasses.field(metadata={"static": True})

    def __call__(
        self, seen: Seen, mean: jax.Array, transposed: Transposed, square: jax.Array
    ) -> jax.Array:
        return _TMPD[self.approximation](seen, mean, transposed, square)


def _full(seen: Seen, mean: jax.Array, transposed: Transposed, square: jax.Array) -> jax.Array:
    m = seen.image.dim
    if m > _MOST_PRODUCTS:
        raise ValueError(
            f"tmpd needs a vector-Jacobian product for each of the {m} entries of y, and takes at "
            f'most {_MOST_PRODUCTS}: use mmps(denoise, measurement), or approximation="row_sum".'
        )
    batch = mean.shape[0]

    def column(unit: jax.Array) -> jax.Array:
        """`C A^T e` of every row."""
        return square * transposed(seen.adjoint(jnp.broadcast_to(unit, (batch, m))))

    pulled = jax.lax.map(column, jnp.eye(m, dtype=mean.dtype))  # (m, batch, d)
    spread = jax.vmap(seen.forward)(pulled)  # (m, batch, m): entry [i, b, j] is (A C A^T)[j, i]
    matrix = jnp.moveaxis(spread, 0, 2) + _diagonal(seen.variance, m)
    weights = jnp.linalg.solve(matrix, seen.residual(mean)[..., None])[..., 0]
    return jnp.einsum("bm,mbd->bd", weights, pulled, precision=jax.lax.Precision.HIGHEST)


def _diagonal(variance: jax.Array, m: int) -> jax.Array:
    rows = jnp.broadcast_to(variance, (variance.shape[0], m))
    return rows[:, :, None] * jnp.eye(m, dtype=variance.dtype)


def _row_sum(seen: Seen, mean: jax.Array, transposed: Transposed, square: jax.Array) -> jax.Array:
    ones = jnp.ones((mean.shape[0], seen.image.dim), mean.dtype)
    sums = seen.forward(square * transposed(seen.adjoint(ones)))
    weights = seen.residual(mean) / (sums + seen.variance)
    return square * transposed(seen.adjoint(weights))


def mmps(
    denoise: Denoiser, measurement: Linear, iterations: Int = 5, solver: str = "cg"
) -> Conditioned:
    """Moment matching posterior sampling: the system with `A C A^T` by a few iterations.

        D + C A^T w,    (A C A^T + noise_std^2 I) w = y - A D,    C = sigma^2 J^T

    At most as many iterations as `y` has entries, so small problems are solved exactly; the
    denoiser is linearised once. The Jacobian of a network is not symmetric, which "cg" takes it for
    and "gmres" does not. One evaluation, and a vector-Jacobian product an iteration.

    Args:
        denoise: any denoiser of the prior.
        measurement: what `linear` or one of the operators returns.
        iterations: of the solver, at least 1.
        solver: "cg" or "gmres".

    Raises:
        TypeError: `measurement` is not a linear one, `denoise` not a denoiser, or `iterations` not
            an integer.
        ValueError: `iterations` is below 1, or `solver` is something else.

    Source: Rozet et al. (2024, Learning diffusion priors from observations by expectation
    maximization), equation 16 and Algorithm 3.
    """
    rule = MMPS(whole(iterations, "iterations"), one_of(solver, "solver", _SOLVERS))
    return _conditioned("mmps", denoise, measurement, rule)


@register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class MMPS:
    """The change that `mmps` makes."""

    iterations: int = dataclasses.field(metadata={"static": True})
    solver: str = dataclasses.field(metadata={"static": True})

    def __call__(
        self, seen: Seen, mean: jax.Array, transposed: Transposed, square: jax.Array
    ) -> jax.Array:
        def product(w: jax.Array) -> tuple[jax.Array, jax.Array]:
            pulled = square * transposed(seen.adjoint(w))
            return seen.forward(pulled) + seen.variance * w, pulled

        iterations = min(self.iterations, seen.image.dim)
        return _SOLVERS[self.solver](product, seen.residual(mean), iterations)[1]


_TMPD = {"full": _full, "row_sum": _row_sum}
_SOLVERS = {"cg": conjugate_gradients, "gmres": generalized_residuals}


def _conditioned(
    name: str, denoise: Denoiser, measurement: Linear, rule: "PiGDM | TMPD | MMPS"
) -> Conditioned:
    if not isinstance(measurement, Linear):
        raise TypeError(
            f"`{name}` needs a linear measurement, such as `ej.posterior.linear(apply, y, "
            f"noise_std)`, got {describe(measurement)}."
        )
    return Conditioned(denoiser_as_pytree(denoise, "denoise"), measurement, rule)
