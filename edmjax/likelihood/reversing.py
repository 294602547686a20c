"""A solver that can be undone: from where it ends, its steps lead back to where it began.

Reversible Heun in `theta = arctan(sigma / sigma_data)` keeps two points, `y` and `y_hat`:

    y_hat' = 2 y - y_hat + h f(y_hat)
    y'     = y + h/2 (f(y_hat) + f(y_hat'))

The same step with `-h` takes `(y', y_hat')` to `(y, y_hat)` exactly, whatever `h` is. It cannot be
a plan, because a plan ends in one point, and going back needs both.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from edmjax._common.arguments import whole
from edmjax._common.typing import Int, PyTree


class Pair(NamedTuple):
    """Where `reversible` ends: the point, and its companion, without which it cannot go back.

    `x` is the code. Both have the structure, shapes and dtypes of the data, but at least float32.
    """

    x: PyTree
    companion: PyTree


@dataclasses.dataclass(frozen=True)
class Reversible:
    """What `reversible` returns."""

    num_steps: int


def reversible(num_steps: Int = 50) -> Reversible:
    """The reversible Heun method on `num_steps` equal steps of theta, as a `solver`.

    Second order, one evaluation a step and one at the start. `decode` of what `encode` returned, a
    `Pair`, is the data to rounding; a single point is decoded as a pair of itself with itself.
    Source: Kidger et al. (2021), Algorithms 1 and 2, for an ODE. The method of McCallum and Foster,
    with the midpoint rule or RK4, was no more accurate for the same evaluations below 400.

    Raises:
        TypeError: `num_steps` is not an integer.
        ValueError: `num_steps` is below 1.
    """
    return Reversible(whole(num_steps, "num_steps"))


def run(slope: Any, start: PyTree, ends: Any, context: PyTree, steps: int) -> Any:
    """`(y, y_hat)` at the second of `ends`, from `start = (y, y_hat)` at the first.

    Down and up use the same angles and step lengths, to the bit, or a step would not be undone.
    """
    first, last = ends
    upward = first < last
    low, high = jnp.minimum(first, last), jnp.maximum(first, last)
    angles = low + (high - low) * (jnp.arange(steps + 1, dtype=low.dtype) / steps)
    lengths = jnp.diff(angles)
    angles = jnp.where(upward, angles, angles[::-1])
    lengths = jnp.where(upward, lengths, -lengths[::-1])

    def step(carry, at):
        y, y_hat, f = carry
        theta, h = at
        y_hat = jax.tree.map(lambda y, y_hat, f: 2 * y - y_hat + h * f, y, y_hat, f)
        f_next = slope(theta, y_hat, context)
        y = jax.tree.map(lambda y, f, f_next: y + h / 2 * (f + f_next), y, f, f_next)
        return (y, y_hat, f_next), None

    y, y_hat = start
    (y, y_hat, _), _ = lax.scan(
        step, (y, y_hat, slope(angles[0], y_hat, context)), (angles[1:], lengths)
    )
    return y, y_hat
