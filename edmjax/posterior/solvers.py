"""Systems of linear equations, one for each row of a batch, by products alone.

A product may have a by-product: `product(w) -> (M w, image)`, both linear in `w`. The solvers
return the by-product of the solution too, so that nothing is computed twice.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jax import lax

Product: TypeAlias = Callable[[jax.Array], tuple[jax.Array, jax.Array]]


def _dot(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.sum(a * b, axis=1, keepdims=True)


def _descent(product: Product, right: jax.Array) -> tuple[Any, Any, jax.Array]:
    """`(start, step, small)` of conjugate gradients.

    A state is `(w, image, residual, direction, square)`, `square` of the residual. A row whose
    square is not above `small`, or whose direction has no curvature, rests.
    """
    image = jax.eval_shape(product, right)[1]
    small = (4 * jnp.finfo(right.dtype).eps) ** 2 * _dot(right, right)

    def step(state: Any) -> Any:
        w, image, residual, direction, square = state
        along, beside = product(direction)
        curvature = _dot(direction, along)
        moves = (square > small) & (curvature > 0)
        alpha = jnp.where(moves, square / jnp.where(moves, curvature, 1), 0)
        w, image = w + alpha * direction, image + alpha * beside
        residual = residual - alpha * along
        new = _dot(residual, residual)
        beta = jnp.where(moves, new / jnp.where(moves, square, 1), 0)
        return w, image, residual, residual + beta * direction, jnp.where(moves, new, 0)

    zeros = jnp.zeros_like(right), jnp.zeros(image.shape, image.dtype)
    return (*zeros, right, right, _dot(right, right)), step, small


def conjugate_gradients(
    product: Product, right: jax.Array, iterations: int
) -> tuple[jax.Array, jax.Array]:
    """`(w, image)` with `M w = right` for symmetric `M`, after at most so many iterations."""
    start, step, _ = _descent(product, right)
    (w, image, *_), _ = lax.scan(lambda state, _: (step(state), None), start, length=iterations)
    return w, image


def generalized_residuals(
    product: Product, right: jax.Array, iterations: int
) -> tuple[jax.Array, jax.Array]:
    """`(w, image)` with the least `|M w - right|` that so many products can reach (GMRES)."""
    batch, m = right.shape
    image = jax.eval_shape(product, right)[1]
    length = jnp.sqrt(_dot(right, right))

    def unit(v: jax.Array, size: jax.Array) -> jax.Array:
        return jnp.where(size > 0, v / jnp.where(size > 0, size, 1), 0)

    def step(basis: jax.Array, i: jax.Array) -> tuple[jax.Array, Any]:
        along, beside = product(basis[i])
        column = jnp.zeros((basis.shape[0], batch), right.dtype)
        for _ in range(2):  # the second pass takes away what rounding has left
            part = jnp.einsum("kbm,bm->kb", basis, along, precision=lax.Precision.HIGHEST)
            along = along - jnp.einsum("kb,kbm->bm", part, basis, precision=lax.Precision.HIGHEST)
            column = column + part
        size = jnp.sqrt(_dot(along, along))
        column = column.at[i + 1].set(size[:, 0])
        # What remains of a space that is closed is rounding, and not a direction.
        scale = jnp.max(jnp.abs(column), axis=0)[:, None]
        size = jnp.where(size > 64 * jnp.finfo(right.dtype).eps * scale, size, 0)
        return basis.at[i + 1].set(unit(along, size)), (column.at[i + 1].set(size[:, 0]), beside)

    basis = jnp.zeros((iterations + 1, batch, m), right.dtype).at[0].set(unit(right, length))
    basis, (columns, images) = lax.scan(step, basis, jnp.arange(iterations))
    hessenberg = columns.transpose(2, 1, 0)  # (batch, k + 1, k)
    start = jnp.zeros((batch, iterations + 1), right.dtype).at[:, 0].set(length[:, 0])
    inverse = jnp.linalg.pinv(hessenberg)
    weights = jnp.einsum("bkl,bl->bk", inverse, start, precision=lax.Precision.HIGHEST)
    w = jnp.einsum("bk,kbm->bm", weights, basis[:-1], precision=lax.Precision.HIGHEST)
    made = jnp.einsum("bk,kbd->bd", weights, images, precision=lax.Precision.HIGHEST)
    return w, made.astype(image.dtype)


def symmetric_solution(matrix: Callable[[jax.Array], jax.Array], right: jax.Array) -> jax.Array:
    """`w` with `matrix(w) = right`, positive semidefinite, to rounding; it can be differentiated.

    By conjugate gradients with at most twice as many iterations as a row has entries.
    """

    def solve(product: Callable[[jax.Array], jax.Array], right: jax.Array) -> jax.Array:
        nothing = right[:, :0]  # the by-product
        start, step, small = _descent(lambda w: (product(w), nothing), right)

        def go_on(state: Any) -> jax.Array:
            i, inner = state
            return (i < 2 * right.shape[1]) & jnp.any(inner[-1] > small)

        return lax.while_loop(go_on, lambda state: (state[0] + 1, step(state[1])), (0, start))[1][0]

    return lax.custom_linear_solve(matrix, right, solve, symmetric=True)
