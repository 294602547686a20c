"""Whether starts have the size of the plan's first level.

Noise of a wrong scale gives finite numbers that are no samples. A point at the first level `sigma`,
of data whose standard deviation is `sigma_data`, has one of `s sqrt(sigma_data^2 + sigma^2)`, `s`
being the scale of a process or 1. So it is at least as large as its noise, `s sigma`, whatever the
data; and much larger only where the data are much larger than `sigma_data`.
"""

import warnings
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from edmjax._common.arrays import has_tracers, reals, working_dtype
from edmjax._common.exported import is_symbolic
from edmjax._common.functions import width_of
from edmjax._common.typing import Denoiser, PyTree
from edmjax.planning.table import PlanLike

# Starts that are smaller than their noise, or larger than noise and data, by such factors are
# wrong: masks make starts smaller, and data larger than `sigma_data` make them larger.
_SMALL, _LARGE = 1 / 4, 10
_FEW = 8  # of fewer normal numbers the root mean square may well be below a quarter
_MANY = 2**20


def start_std(plan: PlanLike) -> np.float64:
    """The standard deviation of the noise that the plan starts from."""
    if plan.scale is None:
        return np.float64(plan.grid[0])
    if plan.grid[0] not in (plan.sigmas[0], np.inf):
        raise ValueError(
            "This plan holds its points in the scale of a process and evaluates the denoiser first "
            f"at sigma = {plan.sigmas[0]:g}, not at its first level {plan.grid[0]:g}, so the scale "
            "of its start is not known: draw the start yourself, `ej.sample` and "
            "`ej.sample_in_chunks` take it as `x`."
        )
    return np.float64(plan.sigmas[0] * plan.scale[0])


class Expected(NamedTuple):
    """The size of a point at the first level of a plan."""

    noise: float | int  # that of its noise
    point: Any  # that of its noise and the data


def expected_start(denoise: Denoiser, plan: PlanLike) -> Expected | None:
    """The size of the points that a plan starts from; None where that is not known."""
    if has_tracers((plan.grid, plan.sigmas, plan.scale)):
        return None
    # Under `jit`, an entry of a JAX array would be traced.
    grid, sigma = np.asarray(plan.grid), np.asarray(plan.sigmas)[0]
    if grid[-1] > grid[0] or (plan.scale is not None and grid[0] not in (sigma, np.inf)):
        return None  # going up, it starts from data
    noise = float(grid[0] if plan.scale is None else sigma * np.asarray(plan.scale)[0])
    width: Any = width_of(denoise)
    if not isinstance(width, float):
        width = reals(width)  # of a user's own: one a channel, or no number at all
        width = 0.5 if width is None else (width**2).mean() ** 0.5
    return Expected(noise, noise * (1 + (width / float(sigma)) ** 2) ** 0.5)


def relative_size(x: PyTree, expected: Expected, batched: bool) -> Any:
    """How many times larger than a point of the first level `x` is: 1 where it may be one.

    Below 1 it is the root mean square of `x` over that of the noise; above 1 the standard deviation
    of `x` about the mean of the samples, as data may lie far from 0, over that of noise and data.
    """
    leaves = jax.tree.leaves(x)
    xp: Any = np if all(isinstance(leaf, np.ndarray) for leaf in leaves) else jnp
    leaves = [leaf if batched else leaf[None] for leaf in leaves]
    n, size = leaves[0].shape[0], sum(leaf.size for leaf in leaves)
    if is_symbolic(n):  # of a function that is exported: numbers when it is called
        n, size = (jnp.asarray(count, jnp.float32) for count in (n, size))
        several, left = True, jnp.maximum(n - 1, 1)
    elif size < _FEW:
        return xp.ones(())
    else:
        several, left = n > 1, n - 1
    wide = [leaf.astype(working_dtype(leaf.dtype)) for leaf in leaves]
    ratio = xp.minimum(_root(xp, wide, size) / expected.noise, 1)
    if several:
        about = [leaf - xp.mean(leaf, axis=0) for leaf in wide]
        ratio = ratio * xp.maximum(_root(xp, about, size * left / n) / expected.point, 1)
    return ratio


def _root(xp: Any, leaves: list[Any], size: Any) -> Any:
    # Divided before it is summed: the sum of squares at a high level may overflow.
    return sum(xp.sum((leaf / size**0.5) ** 2) for leaf in leaves) ** 0.5


def is_wrong(ratio: float | int) -> bool:
    """Whether starts of that relative size are no points of the first level."""
    return ratio < _SMALL or ratio > _LARGE  # NaN is neither


def warn_of_size(
    ratio: float | int, expected: Expected, *, stacklevel: int, what: str = "`x`"
) -> None:
    """Warns of starts that are far smaller or larger than points of the first level."""
    if not is_wrong(ratio):
        return
    size = ratio * (expected.noise if ratio < 1 else expected.point)
    said = (
        f"{what} is {size:.3g} in root mean square, and at the first level of this plan the noise "
        f"alone is {expected.noise:.3g} and a point {expected.point:.3g}: pass "
        f"{expected.noise:.6g} times standard normal noise, or make the plan on the levels, and in "
        "the scale, of `x`."
    )
    warnings.warn(said, RuntimeWarning, stacklevel=stacklevel + 1)


def check_start(
    denoise: Denoiser, plan: PlanLike, x: PyTree, batched: bool, *, stacklevel: int
) -> None:
    """Warns of starts of another size, where they are NumPy arrays: nothing waits for a device."""
    levels = (plan.grid, plan.sigmas, plan.scale, width_of(denoise))
    on_host = all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(x))
    if not on_host or any(isinstance(array, jax.Array) for array in levels):
        return
    expected = expected_start(denoise, plan)
    if expected is None:
        return

    def some(leaf: Any) -> Any:
        # A million numbers are enough, and cost a millisecond.
        return leaf[:: 1 + leaf.size // _MANY] if batched else leaf

    ratio = relative_size(jax.tree.map(some, x), expected, batched)
    warn_of_size(float(ratio), expected, stacklevel=stacklevel + 1)
