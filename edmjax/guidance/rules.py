"""Rules: other ways to combine the two branches of a guided denoiser, without more evaluations."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from edmjax._common.arguments import one_of, real
from edmjax._common.arrays import weighted
from edmjax._common.typing import PyTree, Scalar
from edmjax.guidance.branches import Guided, linear
from edmjax.guidance.outputs import dot, scalar_leaf, vectors, wide
from edmjax.scalar import is_traced

G = TypeVar("G", bound=Guided)


def interval(guided: G, sigma_min: Scalar, sigma_max: Scalar) -> G:
    """Guides where `sigma_min < sigma <= sigma_max`; elsewhere returns the positive branch.

    Elsewhere the scale is set to 1, so the program still holds one copy of the network. In a
    compiled loop the level is data: both branches are evaluated at every level, and no time is
    saved. To save time, sample in pieces: one plan for each part of the grid, with the plain
    network outside the interval.

    Args:
        guided: what `classifier_free`, `autoguidance` or another rule made.
        sigma_min: the level above which to guide, at least 0; may be traced.
        sigma_max: the highest level to guide at; may be infinite or traced.

    Raises:
        TypeError: `guided` is another denoiser, or a bound is not a real scalar.
        ValueError: a bound is negative or NaN, or `sigma_min` is not below `sigma_max`.

    Source: Kynkäänniemi et al. (2024).
    """
    _check(guided, "interval")
    low = scalar_leaf(real(sigma_min, "sigma_min", least=0))
    high = scalar_leaf(real(sigma_max, "sigma_max", above=0, most=math.inf))
    if not is_traced(low, high) and low >= high:
        raise ValueError(f"`sigma_min` must be below `sigma_max`, got {low} and {high}.")
    return dataclasses.replace(guided, windows=(*guided.windows, (low, high)))


def adaptive_projected(guided: G, eta: Scalar = 0.0, norm_threshold: Scalar = math.inf) -> G:
    """Adaptive projected guidance: weakens the part of the update that saturates.

        gap = D_pos - D_neg, shortened to norm_threshold where it is longer
        D = D_pos + (scale - 1) (gap_orthogonal + eta gap_parallel)

    with each sample as one vector: `gap_parallel` is the part of the gap along D_pos, and
    `gap_orthogonal` is the rest. `eta = 1` without a threshold is `guided` itself. The paper's
    momentum is left out: it carries a state between evaluations, and a denoiser has none.

    Args:
        guided: what `classifier_free` or `autoguidance` made, or an `interval` of it.
        eta: the weight of the parallel part; the paper advises 0. May be traced.
        norm_threshold: the largest norm of a sample's gap. The norm is over all entries, so it
            grows with the root of their number. May be traced.

    Raises:
        TypeError: `guided` is another denoiser, or an option is not a real scalar.
        ValueError: `guided` has a rule that this one would replace, `eta` is not finite, or
            `norm_threshold` is not positive.

    Source: Sadat et al. (2024, Eliminating oversaturation and artifacts of high guidance scales in
    diffusion models), in the paper's form, on the denoised outputs.
    """
    _check(guided, "adaptive_projected")
    if guided.rule is not None:
        raise ValueError(
            "`adaptive_projected` replaces how the branches are combined, so it comes before "
            "`rescale` and only once: `rescale(adaptive_projected(guided))`."
        )
    eta = scalar_leaf(real(eta, "eta"))
    threshold = scalar_leaf(real(norm_threshold, "norm_threshold", above=0, most=math.inf))
    return dataclasses.replace(guided, rule=Partial(_projected, eta, threshold))


def _projected(
    eta: Scalar,
    norm_threshold: Scalar,
    positive: PyTree,
    negative: PyTree,
    scale: jax.Array,
    x: PyTree,
    level: jax.Array,
) -> PyTree:
    gap = jax.tree.map(jnp.subtract, positive, negative)
    size, along = dot(positive, positive), dot(gap, positive)
    along = jnp.where(size > 0, along / jnp.where(size > 0, size, 1), 0)
    square, r = dot(gap, gap), jnp.asarray(norm_threshold)
    # The inner `where` keeps the infinite slope at 0 out of the gradient.
    long = square > r**2
    factor = jnp.where(long, r / jnp.sqrt(jnp.where(long, square, 1)), 1)
    update = weighted((1.0, gap), ((eta - 1) * along, positive))
    return weighted((1.0, positive), ((scale - 1) * factor, update))


def rescale(guided: G, phi: Scalar = 0.7, prediction: str = "v") -> G:
    """Rescales the guided prediction towards the spread of the positive branch.

        p = phi p_guided std(p_pos) / std(p_guided) + (1 - phi) p_guided

    where `std` is the standard deviation over all entries of a sample. The paper rescales what the
    network predicts. A denoiser hides that, so `prediction` names it: "v" (the paper's networks,
    with zero terminal signal-to-noise ratio), "eps" (Stable Diffusion 1) or "x0". The choice
    matters near pure noise: there eps is the noise, guided or not, and hardly changes, while v is
    -x0. Each `p` is a multiple of `D - c x`, with c = 1 / (1 + sigma^2), 1 or 0 in that order.

    Args:
        guided: what `classifier_free`, `autoguidance` or another rule made.
        phi: how far to rescale, in [0, 1]; 0 is `guided`. May be traced.
        prediction: "v", "eps" or "x0".

    Raises:
        TypeError: `guided` is another denoiser, or `phi` is not a real scalar.
        ValueError: `phi` is outside [0, 1], or `prediction` is something else.

    Source: Lin et al. (2024, Common diffusion noise schedules and sample steps are flawed),
    section 3.4.
    """
    _check(guided, "rescale")
    one_of(prediction, "prediction", _RESCALED)
    weight = scalar_leaf(real(phi, "phi", least=0, most=1))
    return dataclasses.replace(guided, rule=Partial(_RESCALED[prediction], guided.rule, weight))


def _rescaled(
    centre_at: Callable[[jax.Array], jax.Array],
    rule: Partial | None,
    phi: Scalar,
    positive: PyTree,
    negative: PyTree,
    scale: jax.Array,
    x: PyTree,
    level: jax.Array,
) -> PyTree:
    guided = (rule or linear)(positive, negative, scale, x, level)
    centre, x = -centre_at(level), wide(x)
    moved = weighted((1.0, guided), (centre, x))
    # Of the entries of each sample about their mean.
    want = jnp.var(vectors(weighted((1.0, positive), (centre, x))), axis=1)
    got = jnp.var(vectors(moved), axis=1)
    # Without spread there is nothing to rescale, and the root has no derivative.
    spread = (want > 0) & (got > 0)
    k = jnp.sqrt(jnp.where(spread, want, 1) / jnp.where(spread, got, 1))
    return weighted((1.0, guided), (phi * (k - 1), moved))


# Each prediction is proportional to `D - c x`, with this `c` at a level.
_RESCALED = {
    "x0": functools.partial(_rescaled, jnp.zeros_like),
    "eps": functools.partial(_rescaled, jnp.ones_like),
    "v": functools.partial(_rescaled, lambda level: 1 / (1 + level**2)),
}


def _check(guided: Guided, name: str) -> None:
    if not isinstance(guided, Guided):
        raise TypeError(
            f"`{name}` combines the two branches of guidance, so it takes what `classifier_free`, "
            f"`autoguidance` or another rule made, got {guided!r:.80}; apply thresholds after it."
        )
