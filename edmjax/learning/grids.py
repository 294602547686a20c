"""Grids with fixed ends, given by the shares of log(sigma_max / sigma_min) that their steps take.

    sigma_k = sigma_max (sigma_min / sigma_max)^(p_1 + ... + p_k),    p = softmax(logits)

so that any logits make a grid that falls strictly. Where a plan should end at 0, its last level is
0 in place of sigma_min.
"""

import contextlib
import math
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from edmjax import schedules
from edmjax._common.typing import Arraylike
from edmjax.few_steps.tuned import grids_for

L = TypeVar("L", np.ndarray, jax.Array)


def levels(logits: L, low: float, high: float) -> L:
    """The n + 1 levels of n logits, down to sigma_min; NumPy float64 for NumPy logits."""
    if isinstance(logits, np.ndarray):
        shares = np.exp(logits - logits.max())
        inner = high * (low / high) ** (np.cumsum(shares)[:-1] / shares.sum())
        return np.concatenate([[high], inner, [low]])
    inner = jnp.log(high) - math.log(high / low) * jnp.cumsum(jax.nn.softmax(logits))[:-1]
    ends = jnp.asarray([high, low], logits.dtype)
    return jnp.concatenate([ends[:1], jnp.exp(inner), ends[1:]])


def ending(sigmas: np.ndarray, final_zero: bool) -> np.ndarray:
    """The levels of a plan, with 0 in place of sigma_min where it should end there."""
    return np.append(sigmas[:-1], 0.0) if final_zero else sigmas


def logits_of(sigmas: Arraylike) -> np.ndarray:
    """The logits of a grid that ends at sigma_min."""
    shares = -np.diff(np.log(np.asarray(sigmas, np.float64)))
    return np.log(shares / shares.sum())


def starts(steps: int, low: float, high: float, width: float) -> dict[str, np.ndarray]:
    """The hand-made grids that a fit starts from, each down to sigma_min."""
    made: dict[str, Callable[[int], Any]] = {
        "karras": lambda n: schedules.karras(n, low, high, final_zero=False),
        "exponential": lambda n: schedules.exponential(n, low, high, final_zero=False),
        **grids_for(low, high, width),
    }
    del made["wide"]  # lies between two of the others
    # Fitted grids lie higher than the quantiles that suit a sampler without a fit.
    for share in (2.5, 4):
        made[f"logistic(1, {share:g} sigma_data)"] = lambda n, share=share: schedules.logistic(
            n, low, high, scale=1.0, sigma_data=share * width, final_zero=False
        )
    found = {}
    for name, make in made.items():
        # The levels of an extreme range are not all different.
        with contextlib.suppress(ValueError):
            found[name] = make(steps + 1)
    return found
