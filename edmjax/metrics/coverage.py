"""Calibration of posteriors: whether regions that should hold the truth so often do.

A pair is a parameter, the truth, drawn from the prior, and data simulated with it. Given the data,
`m` posterior samples are drawn. Where they come from the posterior itself, the truth is one more
sample: its rank among them, by any number that is computed from a sample and the data, takes each
of the `m + 1` values with equal probability. All figures of this file are such ranks, and differ in
the number:

    ranks, central_coverage    a parameter itself
    highest_density_coverage   the log-density of the posterior
    tarp                       the distance from a reference point

Axis 0 of `samples` and `truth` counts pairs, and axis 1 of `samples` a pair's samples.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from edmjax._common.arguments import on_host
from edmjax._common.arrays import has_no_value, working_dtype
from edmjax._common.exported import serializable_tuple
from edmjax._common.typing import Arraylike, Values
from edmjax.metrics.sets import reals

_LEVELS = tuple(i / 20 for i in range(21))


@serializable_tuple
class Ranks(NamedTuple):
    """The ranks of truths, and how far they are from uniform.

    Attributes:
        ranks: (n, ...), the number of samples of a pair below its truth, 0 to m.
        distance: (...), for each parameter the largest distance of the distribution of its ranks
            from the uniform one, as in the test of Kolmogorov and Smirnov.
        chance: what the distance exceeds in at most 1 of 20 cases where the posterior is exact.
    """

    ranks: Int[Array, "n ..."]
    distance: Float[Array, "..."]
    chance: Float[Array, ""]


@serializable_tuple
class Coverage(NamedTuple):
    """How often regions of the posterior hold the truth.

    Attributes:
        level: (levels,), the probability of a region under the posterior, 0 to 1.
        value: (levels, ...), the share of pairs whose truth lies within it. Below `level` the
            posterior is overconfident, too narrow; above it is too wide.
        standard_error: (levels,), `sqrt(level (1 - level) / n)`, the deviation by chance for an
            exact posterior. Of exact posteriors, 95 of 100 are within two of it, level by level.
    """

    level: Float[Array, " levels"]
    value: Float[Array, "levels ..."]
    standard_error: Float[Array, " levels"]


def ranks(samples: Arraylike, truth: Arraylike) -> Ranks:
    """Returns the rank of the truth among posterior samples, parameter by parameter.

        rank = sum_i [sample_i < truth]

    is uniform on 0 to m for an exact posterior. A histogram of ranks that is high in the middle is
    that of a posterior too wide, high at both ends of one too narrow, high at one end of one
    shifted away from it. Uniform ranks do not prove that the posterior is exact: the prior in its
    place has them too. A parameter that takes few values, such as a count, is equal to some of its
    samples, and its ranks are then too low: add a uniform number of that width to all of them.

    Args:
        samples: (n, m, ...), independent samples for each of n pairs.
        truth: (n, ...), the parameters that the data were simulated with.

    Raises:
        TypeError: numbers that are not real.
        ValueError: shapes that do not fit, no pairs or no samples, or numbers that are not finite.

    Source: Talts et al. (2018, arXiv 1804.06788), theorem 1. The chance is the 95 % point of the
    distance of n uniform numbers (Stephens 1970), at which fewer discrete ones arrive.
    """
    return _ranked(*_pairs(samples, truth))


@jax.jit
def _ranked(samples: jax.Array, truth: jax.Array) -> Ranks:
    n, m = samples.shape[:2]
    found = jnp.sum(samples < truth[:, None], axis=1)
    sorted_ = jnp.sort(found, axis=0).astype(samples.dtype)
    share = (jnp.arange(1, n + 1, dtype=samples.dtype) / n).reshape(n, *[1] * (truth.ndim - 1))
    # The steps of the ranks' distribution lie at the ranks: it is compared on both sides of each.
    above = share - (sorted_ + 1) / (m + 1)
    below = sorted_ / (m + 1) - (share - 1 / n)
    distance = jnp.max(jnp.maximum(above, below), axis=0)
    chance = 1.358 / (n**0.5 + 0.12 + 0.11 / n**0.5)
    return Ranks(found, distance, jnp.asarray(chance, samples.dtype))


def central_coverage(samples: Arraylike, truth: Arraylike, levels: Arraylike = _LEVELS) -> Coverage:
    """Returns how often the central intervals of the posterior hold the truth, by parameter.

    The interval of level c goes from the quantile (1 - c) / 2 of the samples to (1 + c) / 2. With m
    samples the truth is one of m + 1 that are equally likely in order, and a pair counts by the
    part of that place within the interval. So the expectation for exact posteriors is the level,
    for any m.

    Args:
        samples: (n, m, ...), independent samples for each of n pairs.
        truth: (n, ...), the parameters that the data were simulated with.
        levels: (levels,) from 0 to 1; by default 0, 0.05, ..., 1.

    Raises:
        TypeError: numbers that are not real, or traced levels.
        ValueError: shapes that do not fit, no pairs or no samples, numbers that are not finite, or
            levels that are not from 0 to 1.

    Source: of the ranks of Talts et al. (2018, arXiv 1804.06788).
    """
    samples, truth = _pairs(samples, truth)
    level = _levels(levels)
    return _coverage(samples, truth[:, None], level, (1 - level) / 2, (1 + level) / 2)


def highest_density_coverage(
    log_samples: Arraylike, log_truth: Arraylike, levels: Arraylike = _LEVELS
) -> Coverage:
    """Returns how often the smallest regions of a probability under the posterior hold the truth.

    The region of level c is where the density is highest: `{theta : q(theta | x) >= t}` of
    probability c. So the truth lies in it where fewer than a share c of samples have a higher
    density. One number a level for all parameters together.

    Args:
        log_samples: (n, m), log-densities `log q(theta | x)` of the posterior at its own samples,
            given the data of each of n pairs. A constant that depends on the data is no matter.
        log_truth: (n,), those of the truth. -inf is allowed: a truth where the posterior has none.
        levels: as in `central_coverage`.

    Raises:
        TypeError, ValueError: as `central_coverage` does.

    Source: Hermans et al. (2022, arXiv 2110.06581), equation 4 and algorithm 1.
    """
    lowest = -np.inf
    log_samples, log_truth = _pairs(
        log_samples, log_truth, ("log_samples", "log_truth"), axes=1, lowest=lowest
    )
    level = _levels(levels)
    return _coverage(-log_samples, -log_truth[:, None], level, 0 * level, level)


def tarp(
    samples: Arraylike, truth: Arraylike, references: Arraylike, levels: Arraylike = _LEVELS
) -> Coverage:
    """Returns how often balls around random points hold the truth (TARP).

    The region of level c is the ball around a pair's reference point that holds a share c of its
    samples. No density is needed, and the parameters are seen together. References that do not
    depend on the data, such as draws from the prior, are blind to a posterior that is the prior.

    Args:
        samples: (n, m, ...), independent samples for each of n pairs.
        truth: (n, ...), the parameters that the data were simulated with.
        references: (n, ...), a point for each pair, made without looking at its truth or samples.
        levels: as in `central_coverage`.

    The distance is the Euclidean one, in the units that are given: scale parameters of different
    units before.

    Raises:
        TypeError, ValueError: as `central_coverage` does.

    Source: Lemos et al. (2023, arXiv 2302.03026), section 3 and algorithm 2.
    """
    samples, truth = _pairs(samples, truth)
    _, references = _pairs(samples, references, ("samples", "references"))
    level = _levels(levels)
    inner, outer = _distances(samples, truth, references)
    return _coverage(inner, outer[:, None], level, 0 * level, level)


@jax.jit
def _distances(
    samples: jax.Array, truth: jax.Array, references: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """From the reference points: of samples (n, m), and of the truth (n,)."""

    def length(v: jax.Array, axes: int) -> jax.Array:
        return jnp.sqrt(jnp.sum(v**2, axis=tuple(range(axes, v.ndim))))

    return length(samples - references[:, None], 2), length(truth - references, 1)


@jax.jit
def _coverage(
    samples: jax.Array, truth: jax.Array, level: Values, low: Values, high: Values
) -> Coverage:
    """The coverage by the part from `low` to `high` of ordered samples; `truth` has (n, 1, ...)."""
    n, m = samples.shape[:2]
    first = jnp.sum(samples < truth, axis=1).astype(samples.dtype)
    # Equal samples leave several places to the truth, each as likely as the others: a density that
    # is flat has many.
    places = 1 + jnp.sum(samples == truth, axis=1).astype(samples.dtype)

    def at(low: jax.Array, high: jax.Array) -> jax.Array:
        start = jnp.maximum(first, low * (m + 1))
        stop = jnp.minimum(first + places, high * (m + 1))
        return jnp.mean(jnp.clip(stop - start, 0) / places, axis=0)

    level, low, high = (jnp.asarray(v, samples.dtype) for v in (level, low, high))
    value = jax.lax.map(lambda ends: at(*ends), (low, high))
    return Coverage(level, value, jnp.sqrt(level * (1 - level) / n))


def _pairs(
    samples: Arraylike,
    truth: Arraylike,
    names: tuple[str, str] = ("samples", "truth"),
    *,
    axes: int | None = None,
    lowest: float = np.nan,
) -> tuple[jax.Array, jax.Array]:
    """Both as floating arrays (n, m, ...) and (n, ...), `axes` of the second if that is said."""
    samples, truth = reals(samples, names[0]), reals(truth, names[1])
    fits = samples.ndim >= 2 and samples.shape[:1] + samples.shape[2:] == truth.shape
    if not fits or axes not in (None, truth.ndim):
        shapes = ("(n, m, ...)", "(n, ...)") if axes is None else ("(n, m)", "(n,)")
        raise ValueError(
            f"`{names[0]}` must have a shape {shapes[0]}, m samples for each of n pairs, and "
            f"`{names[1]}` the shape {shapes[1]}, got {samples.shape} and {truth.shape}."
        )
    if 0 in samples.shape:
        raise ValueError(f"`{names[0]}` holds no samples, its shape is {samples.shape}.")
    for name, values in zip(names, (samples, truth), strict=True):
        if has_no_value(values):
            continue
        odd = ~(jnp.isfinite(values) | (values == lowest))
        if bool(odd.any()):
            index = tuple(int(i) for i in np.argwhere(np.asarray(odd))[0])
            raise ValueError(
                f"`{name}` must be finite, got {values[index]} at index {index}: leave that pair "
                "out, and say how many there were."
            )
    dtype = working_dtype(samples.dtype, truth.dtype)
    return samples.astype(dtype), truth.astype(dtype)


def _levels(levels: Arraylike) -> np.ndarray:
    found = np.atleast_1d(on_host(levels, "levels"))
    if found.ndim != 1 or not found.size or found.min() < 0 or found.max() > 1:
        raise ValueError(
            f"`levels` must be a list of probabilities from 0 to 1, got {levels!s:.80}."
        )
    return found
