"""The log-density of data under a denoiser: the flow's change of variables."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from edmjax._common.exported import serializable_tuple
from edmjax._common.typing import Denoiser, Int, Keys, PyTree, Scalar
from edmjax.likelihood import solve
from edmjax.likelihood.traces import make_probes
from edmjax.planning.table import PlanLike
from edmjax.scalar import flag, is_traced


@serializable_tuple
class Stats(NamedTuple):
    """How accurate the numbers of `log_likelihood` are, and what they cost.

    Attributes:
        standard_error: (batch,), in nats, of the mean over the probes. It covers the estimate of
            the trace, not the solver. 0 for an exact trace; None where there is only one estimate,
            from a single probe or from three products of "hutch++".
        nfe: evaluations of the denoiser: an int, or (batch,) where each sample has its own steps.
            Each also takes `num_probes` products with the Jacobian, or d for an exact trace.
        x: the data taken to `sigma_max`, like `x0` but in at least float32.
        arrived: (batch,) bool, whether the solver reached `sigma_max`; if not, results are NaN.
    """

    standard_error: jax.Array | None
    nfe: int | jax.Array
    x: PyTree
    arrived: jax.Array


def log_likelihood(
    denoise: Denoiser,
    x0: PyTree,
    *,
    sigma_min: Scalar | None = None,
    sigma_max: Scalar | None = None,
    log_prior: Callable[[PyTree], jax.Array] | None = None,
    trace: str = "exact",
    num_probes: Int = 1,
    probes: str | PyTree = None,
    key: Keys | None = None,
    plan: PlanLike | None = None,
    solver: "solve.Solver | None" = None,
    rtol: Scalar | None = None,
    atol: Scalar | None = None,
    max_steps: Int = 4096,
    sigma_data: Scalar | None = None,
    cond: PyTree = None,
    return_stats: bool = False,
) -> Any:
    """Returns `log p(x0)` in nats, (batch,): the density of data blurred by `sigma_min`.

        log p(x0; sigma_min) = log_prior(x) + int_(sigma_min)^(sigma_max) (d - tr J) / sigma dsigma

    along the flow from `x0` to `x` at `sigma_max`, with `J` the denoiser's Jacobian. Song et al.
    (2021), equation 39. Sums are in at least float32. All of it is differentiable, and works under
    jit.

    It is a density in the space of all d numbers of a sample. Data on a linear subspace of k
    dimensions, such as m atoms in 3-D with their centre of mass at 0, where k = d - 3, have none
    there: off the subspace the blurred data are N(0, sigma_min^2), and the result grows as
    sigma_min falls. Of points on the subspace, the density in the subspace is

        log p(x0) + (d - k) / 2 log(2 pi sigma_min^2).

    Args:
        denoise: `denoise(x, sigma)`, or `denoise(x, sigma, cond)` where `cond` is given. A sample's
            output must depend on that sample alone.
        x0: points at `sigma_min`, any pytree of floating arrays with the samples on axis 0.
        sigma_min, sigma_max: the levels; with a `plan` they are its ends, and may be left out.
        log_prior: `log_prior(x)`, (batch,), the log-density at `sigma_max`. The default is
            N(0, sigma_max^2), which is not quite the law of the blurred data. For data of mean m
            and standard deviation s it is off, in root mean square over samples, by |m| / sigma_max
            nats and by at most d s^2 / sigma_max^2; most of either averages out over samples.
        trace: "exact", from d products with the Jacobian per evaluation, for samples of d numbers;
            "hutchinson", the mean of `v^T J v` over probes; "hutch++", exact on the space that a
            third of the products span. It pays off where that space holds most of J, so when
            `num_probes` is at least three times the rank of J. Estimates have no bias. The same
            probes are used along the whole path.
        num_probes: products with the Jacobian per evaluation, for the estimates.
        probes: the law of the probes, "rademacher" (the default of "hutchinson", with the lower
            variance) or "gaussian" (the default of "hutch++", which scales them to one length); or
            the probes themselves, like `x0` with the probes on a new axis 0.
        key: one typed key, of which sample `i` uses `fold_in(key, i)`, or one key a sample: a
            sample's probes do not depend on the others. Estimates need it unless `probes` is given.
        plan: a fixed grid whose levels go up: `make_plan(heun(), schedules.reverse(sigmas))`.
        solver: an adaptive solver of diffrax (default `diffrax.Tsit5()`), in the angle
            `arctan(sigma / sigma_data)`, each sample with its own steps; or `reversible()`.
        rtol, atol: of the error that the adaptive solver makes in one step, for the point in units
            of the data's size and for the log-density in nats; 1e-8 in float64, else 1e-5. The
            result sums up the steps, and the errors of the point grow on the way: expect 10 to 40
            times as much, and up to 100 times at 1e-3.
        max_steps: the number of steps of the adaptive solver, accepted or not, after which a sample
            is given up: it is NaN, and outside of `jit` a RuntimeWarning names it.
        sigma_data: the standard deviation of the data (default: the denoiser's own, else 0.5). It
            changes only the error of the solver.
        cond: passed on to the denoiser: any pytree whose leaves have the samples on axis 0.
        return_stats: return `(log_p, Stats)`.

    Raises:
        TypeError: an argument of the wrong kind, such as an implicit solver.
        ValueError: impossible levels, shapes, names or counts; estimates without a key or probes; a
            solver without an error estimate; a plan that goes down, draws noise, uses raw outputs
            or holds its points in the scale of a process.
    """
    x0, cond, flat = solve.checked(denoise, x0, "x0", cond)
    rows = flat.rows(x0)
    ends: dict[str, Any] = {"sigma_min": sigma_min, "sigma_max": sigma_max, "upward": True}
    options = {"plan": plan, "solver": solver, "rtol": rtol, "atol": atol, "max_steps": max_steps}
    route = solve.route(**ends, **options, dtype=flat.dtype)
    if log_prior is not None and not callable(log_prior):
        raise TypeError(
            f"`log_prior` must be a function of x that returns (batch,), got {log_prior!r:.80}."
        )
    return_stats = flag(return_stats, "return_stats")
    found = make_probes(trace, num_probes, probes, key, flat, rows.shape[0])
    data = solve.data_width(denoise, sigma_data)
    end = solve.follow(denoise, rows, route, flat, sigma_data=data, cond=cond, probes=found)
    x = flat.tree(end.x, wide=True)
    if log_prior is None:
        prior = _normal(end.x, route.stop)
    else:
        prior = _of_prior(log_prior(x), rows.shape[:1])
    log_p = prior + flat.dim * _log_stretch(route, data) - jnp.mean(end.ell, axis=-1)
    if not return_stats:
        return log_p
    arrived = jnp.ones(log_p.shape, bool) if end.report is None else end.report.finished
    return log_p, Stats(_standard_error(end.ell, trace), end.nfe, x, arrived)


def _of_prior(values: PyTree, shape: tuple[int, ...]) -> Any:
    if not isinstance(values, jax.Array | np.ndarray | np.generic | float | int):
        raise TypeError(
            f"`log_prior` must return an array of one number a sample, shape {shape}, got "
            f"{values!r:.80}."
        )
    values = jnp.asarray(values)
    if values.shape != shape or jnp.iscomplexobj(values):
        raise ValueError(
            f"`log_prior` must return one real number a sample, shape {shape}, got "
            f"{values.dtype} of shape {values.shape}."
        )
    return values


def _normal(rows: PyTree, sigma: Any) -> Any:
    sigma = jnp.asarray(sigma, rows.dtype)
    constant = jnp.log(sigma) + 0.5 * math.log(2 * math.pi)
    return -jnp.sum(0.5 * (rows / sigma) ** 2, axis=-1) - rows.shape[1] * constant


def _log_stretch(route: solve.Route, data: Any) -> Any:
    """`log(r_max / r_min)`, r = hypot(sigma, data): the change of volume from u = x / r to x."""
    levels = (route.start, route.stop, data)
    if is_traced(*levels):
        return jnp.log(jnp.hypot(route.stop, data) / jnp.hypot(route.start, data))
    return math.log(math.hypot(route.stop, data) / math.hypot(route.start, data))


def _standard_error(ell: Any, trace: str) -> Any:
    count = ell.shape[-1]
    if trace == "exact":
        return jnp.zeros(ell.shape[:1], ell.dtype)
    return jnp.std(ell, axis=-1, ddof=1) / math.sqrt(count) if count > 1 else None
