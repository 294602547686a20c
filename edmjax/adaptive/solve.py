"""The loop of the adaptive samplers: bounded, with one copy of the network."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from edmjax._common.arguments import positive_leaf, whole
from edmjax._common.arrays import has_no_value, working_dtype
from edmjax._common.functions import checked_inputs, compiled, width_of
from edmjax._common.held import cast, dtypes_of
from edmjax._common.manual import vary_like
from edmjax._common.typing import Denoiser, Int, Keys, PyTree, Scalar, X
from edmjax.adaptive.report import Report, nan_unless, warn_of_unfinished
from edmjax.adaptive.task import Method, task_of
from edmjax.planning.table import check_levels
from edmjax.running.source import source_of_noise
from edmjax.scalar import flag


def sample(
    denoise: Denoiser,
    method: Method,
    x: X,
    key: Keys | None = None,
    *,
    sigma_max: Scalar,
    sigma_min: Scalar,
    noise: PyTree = None,
    cond: PyTree = None,
    max_steps: Int = 200,
    differentiable: bool = False,
) -> tuple[X, Report]:
    """Returns `(x0, report)`: the points at `sigma_min`, like `x`, and what they cost.

    The loop ends when every sample is done, or after `max_steps` steps: a sample that is not done
    by then is NaN, `report.finished` is False there, and outside of `jit` a RuntimeWarning names
    it (`report.check()` makes that an error). Programs are shared as in `edmjax.sample`: a call
    that differs in numbers alone (tolerances, levels, parameters, seeds) compiles nothing.

    Args:
        denoise: as in `edmjax.sample`; `sigma` has shape (batch,), one level a sample.
        method: `multistep(...)` or `dpm_adaptive(...)`.
        x: the points at `sigma_max`, any pytree of floating arrays; axis 0 counts samples.
        key: as in `edmjax.sample`, where the method draws noise: accepted step `j` of sample `i`
            draws `normal(fold_in(fold_in(key_i, j), leaf))`.
        sigma_max, sigma_min: the levels to start and to stop at, `sigma_max > sigma_min > 0`. The
            denoiser at `sigma_min`, one evaluation more, removes what noise is left.
        noise: the draws themselves, leaf shape (num_draws, *leaf.shape), one for each accepted
            step. A sample that needs more is NaN. Or a function, as in `edmjax.sample`.
        cond: passed on to the denoiser.
        max_steps: the bound on the steps of a sample, rejected ones included; the first evaluation
            of `multistep` counts as one.
        differentiable: run a `scan` of `max_steps` iterations in place of a `while_loop`, for
            reverse-mode gradients. Iterations after the end are skipped, but memory is kept for
            `max_steps`. Gradients hold the steps fixed.

    Raises:
        TypeError, ValueError: if an argument is of the wrong kind or shape, a level is out of
            order, or the method draws noise and neither `key` nor `noise` is given.
    """
    if not isinstance(method, Method):
        raise TypeError(
            "`method` must be `ej.adaptive.multistep(...)` or `ej.adaptive.dpm_adaptive(...)`, got "
            f"{method!r:.80}; samplers with plans run in `ej.sample`."
        )
    x, cond = checked_inputs(denoise, x, cond)
    levels = _levels(denoise, method, sigma_max, sigma_min, x)
    key, noise, make = source_of_noise(
        x,
        key,
        noise,
        who="an adaptive sampler",
        batched=True,
        room=method.draws,
        num_draws=None,  # as many as there are accepted steps
        needed="With `eta` above 0 the method draws noise: pass `key` or `noise`.",
    )
    differentiable = flag(differentiable, "differentiable")
    options = {"max_steps": whole(max_steps, "max_steps"), "differentiable": differentiable}
    arrays = (method, x, key, noise, cond, levels)
    x0, report = compiled(_run, (denoise, make), arrays, **options)
    warn_of_unfinished(report, stacklevel=2)
    return x0, report


def _run(denoise, make, method, x, key, noise, cond, levels, *, max_steps, differentiable):
    """Returns (x0, report), from checked arguments."""
    task = task_of(denoise, x, key, noise, make, cond, levels, per_sample=method.per_sample)
    # Its float64 numbers would widen the steps of float32 points where x64 is on.
    method = jax.tree.map(lambda leaf: jnp.asarray(leaf, task.sigma_max.dtype), method)
    attempt = functools.partial(method.attempt, task)
    start = vary_like(method.start(task), (denoise, x, key, noise, cond))
    if differentiable:

        def body(at, _):
            return lax.cond(jnp.all(at.done), lambda at: at, attempt, at), None

        end = lax.scan(body, start, None, length=max_steps)[0]
    else:

        def unfinished(carry):
            return (carry[0] < max_steps) & ~jnp.all(carry[1].done)

        end = lax.while_loop(
            unfinished, lambda carry: (carry[0] + 1, attempt(carry[1])), (0, start)
        )[1]
    x0 = nan_unless(end.done, method.end(task, end))
    x0 = cast(x0, dtypes_of(x))
    return x0, Report(end.nfe, end.accepted, end.rejected, end.sigma, end.done)


def _levels(
    denoise: Denoiser, method: Any, sigma_max: Any, sigma_min: Any, x: PyTree
) -> tuple[Any, Any, Any]:
    high = positive_leaf(sigma_max, "sigma_max")
    low = positive_leaf(sigma_min, "sigma_min")
    # Two levels that are one in float32 leave no step between them.
    dtype = working_dtype(*[leaf.dtype for leaf in jax.tree.leaves(x)])
    if not has_no_value(high) and not has_no_value(low) and high.astype(dtype) <= low.astype(dtype):
        raise ValueError(
            "Levels fall from sigma_max to sigma_min, in the precision of `x` too, got "
            f"{sigma_max} and {sigma_min}."
        )
    check_levels(denoise, low, high)
    return high, low, width_of(denoise, getattr(method, "sigma_data", None))
