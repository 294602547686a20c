"""Sampling that says where numbers stopped being finite: values that the loop carries out.

Nothing calls back to the host, so it runs wherever `sample` does: under `jit`, `grad` and `vmap`.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from edmjax._common.arrays import has_tracers
from edmjax._common.exported import serializable_tuple
from edmjax._common.functions import checked_inputs
from edmjax._common.typing import Array, Corrector, Denoiser, PyTree, X
from edmjax.noise.paths import KeyLike
from edmjax.planning.table import PlanLike, check_plan
from edmjax.running.body import Visit
from edmjax.running.one_plan import dispatch, run
from edmjax.running.sizes import expected_start, is_wrong, relative_size, warn_of_size
from edmjax.scalar import flag


@serializable_tuple
class Report(NamedTuple):
    """What `sample_checked` found; a pytree of arrays. `print(report)` says it in a sentence.

    Attributes:
        evaluation: int32, the first evaluation that met or made a number that is not finite; the
            plan's `nfe` where the sample alone has one; -1 where all is finite.
        sigma: the noise level of that evaluation; -1 where there is none.
        samples: (batch,) bool, which samples have such a number there. A scalar with batched=False.
        in_point: bool, whether the evaluated point already has it. Then it comes from `x`, the
            noise, a corrector, or the sums of a step; otherwise the denoiser made it.
        evaluations: (batch,) int32, `evaluation` for each sample.
        start: how many times as large as a point at the plan's first level `x` is: 1 where it may
            be one, less where it is smaller than the noise of that level, more where its spread is
            larger than that of noise and data, with the denoiser's `sigma_data` or 0.5. 1 where the
            size is not known, as of a plan that is traced or goes up.
    """

    evaluation: Any
    sigma: Array
    samples: Any
    in_point: Any
    evaluations: Any
    start: Any = 1.0

    @property
    def finite(self) -> Any:
        """Whether every number was finite: a bool, traced under `jit`."""
        return self.evaluation < 0

    def __str__(self) -> str:
        # Under `jit` and `vmap` there is no one evaluation to speak of.
        if isinstance(self.evaluation, Tracer) or np.ndim(self.evaluation):
            return repr(self)
        size = f" `x` is {self.start:.3g} times as large as a point at the plan's first level."
        size = size if is_wrong(float(self.start)) else ""
        if self.evaluation < 0:
            return f"Every number was finite.{size}"
        which = np.flatnonzero(self.samples)
        shown = ", ".join(map(str, which[:8])) + (", ..." if len(which) > 8 else "")
        what = "The point of" if self.in_point else "The denoiser's output in"
        return (
            f"{what} evaluation {self.evaluation} (sigma {self.sigma:.6g}) is not finite for "
            f"{len(which)} of {np.size(self.samples)} samples: {shown}.{size}"
        )


def sample_checked(
    denoise: Denoiser,
    plan: PlanLike,
    x: X,
    key: KeyLike | None = None,
    *,
    noise: PyTree = None,
    cond: PyTree = None,
    corrector: Corrector | None = None,
    remat: bool = False,
    batched: bool = True,
    progress: bool = False,
) -> tuple[X, Report]:
    """Returns `(x0, report)`: what `sample` returns, and where a number was first not finite.

        x0, report = ej.sample_checked(denoise, plan, x, key)
        if not report.finite:
            raise FloatingPointError(str(report))

    Every evaluated point, every output of the denoiser and the sample are checked. Each evaluation
    costs one pass over its arrays, and a byte a sample. Arguments and errors are as for `sample`.

    The size of `x` is looked at as well: where it is a quarter of that of the plan's first level,
    or ten times as large, a RuntimeWarning says so, outside of `jit`. For that the call waits for
    `x`, and not for the samples.
    """
    check_plan(plan)
    batched = flag(batched, "batched")
    x, cond = checked_inputs(denoise, x, cond, batched=batched)
    expected = expected_start(denoise, plan)
    start = 1.0 if expected is None else _relative_size(x, expected, batched=batched)
    options = {"remat": remat, "batched": batched, "progress": progress, "look": _watch}
    options["begins"] = False  # it is looked at here, wherever it lies
    x0, seen = dispatch(run, denoise, plan, x, key, noise, cond, corrector, **options)
    if expected is not None and not has_tracers((start, expected)):
        warn_of_size(float(start), expected, stacklevel=2)
    return x0, _report(x0, seen, plan.sigmas, plan.grid[-1:], batched)._replace(start=start)


_relative_size = jax.jit(relative_size, static_argnames="batched")


def _watch(visit: Visit, save: None) -> tuple[Any, Any]:
    # As they came, in the user's dtype: what overflows in float16 is infinite there alone.
    return _not_finite(visit.x, visit.batched), _not_finite(visit.outputs, visit.batched)


def _not_finite(tree: PyTree, batched: bool) -> Any:
    """Which samples have a number in `tree` that is not finite."""
    ahead = 1 if batched else 0
    bad = [
        jnp.any(~jnp.isfinite(leaf), axis=tuple(range(ahead, jnp.ndim(leaf))))
        for leaf in jax.tree.leaves(tree)
    ]
    return jnp.any(jnp.stack(bad), axis=0)


def _report(x0: PyTree, seen: Any, sigmas: Any, last: Any, batched: bool) -> Report:
    # The sample is one more row, without a level and without outputs.
    points, outputs = seen
    rows = jnp.concatenate([points | outputs, _not_finite(x0, batched)[None]])
    levels = jnp.concatenate([jnp.asarray(sigmas), jnp.asarray(last)])
    some = jnp.any(rows)
    first = jnp.argmax(jnp.any(rows.reshape(len(rows), -1), axis=1))
    # The sample is never a point that came in: at its row the sums of the last step are at fault.
    came = jnp.concatenate([points, jnp.zeros_like(rows[:1])])
    return Report(
        evaluation=jnp.where(some, first, -1).astype(jnp.int32),
        sigma=jnp.where(some, levels[first], -1.0),
        samples=rows[first],
        in_point=jnp.any(came[first]),
        evaluations=jnp.where(jnp.any(rows, axis=0), jnp.argmax(rows, axis=0), -1).astype("int32"),
    )
