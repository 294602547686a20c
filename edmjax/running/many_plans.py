"""Many plans in one program: plans of any length, width and kind, padded to one shape.

A plan's length is data here. Its rows are padded to a common number, and the loop stops after the
plan's own `nfe` evaluations, so that padded rows never run; windows are widened with weights of 0.
"""

import functools
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer

from edmjax._common.arguments import refuse
from edmjax._common.arrays import has_tracers
from edmjax._common.functions import checked_inputs, program
from edmjax._common.packed import unpack
from edmjax._common.typing import Denoiser, Keys, NoiseFunction, PyTree
from edmjax.noise.paths import KeyLike
from edmjax.planning.padding import Shape, may_draw
from edmjax.planning.table import Plan, check_plan
from edmjax.running.body import Body, run_rows
from edmjax.running.layout import check_reach
from edmjax.running.sizes import check_start
from edmjax.running.source import source_of_noise

if TYPE_CHECKING:
    # Plans in lists, tuples and dicts by name, which may be nested; or one plan.
    Plans: TypeAlias = Plan | Sequence["Plans"] | Mapping[Any, "Plans"]
else:
    Plans = Any


def sweep(
    denoise: Denoiser,
    plans: Plans,
    x: PyTree,
    key: KeyLike | None = None,
    *,
    noise: PyTree = None,
    cond: PyTree = None,
    corrector: None = None,
    remat: bool = False,
    batched: bool = True,
    progress: bool = False,
) -> PyTree:
    """Returns the samples that `ej.sample` makes of `x` by each plan, with one compiled program.

    The result has the structure of `plans`, with a sample like `x` in place of each plan. It equals
    `sample(denoise, plan, x, key)` up to roundings, from the same noise to the bit, and the
    denoiser is called `sum(plan.nfe)` times.

    Plans of any length and solver share the program. A later call reuses it if its plans need the
    same history length, draws per row and optional tables (raw outputs, scale, learned variances);
    any other combination, smaller ones included, compiles a new one. Every plan carries as many
    arrays as the plan that looks back furthest. Under `jit` the plans run in a `lax.map`, so that
    the program holds one copy of the network. Only forward gradients exist (`jax.jvp`): a loop of
    unknown length has no reverse mode.

    Args:
        denoise: as for `sample`; a plain function is traced once a call, a denoiser that is a
            pytree of arrays once for all calls.
        plans: the plans, in a list, a tuple or a dict by name, which may be nested; or one plan.
        x: the point that every plan starts from, as for `sample`. The plans should agree in their
            first level and in their scale.
        key: as for `sample`, but not a path; each plan draws from it what it would draw alone.
            Needed where a plan draws noise.
        noise: the draws themselves, leaf shape (num_draws, *leaf.shape) for the plan with the most
            draws; a plan with fewer takes the first ones. `ej.draw_noise` makes them. Or a
            function, as for `sample`.
        cond, batched: as for `sample`.
        corrector, remat, progress: refused; `sample` takes them.

    Raises:
        TypeError: if an argument is of the wrong kind.
        ValueError: if `x`, `noise`, `key` or `cond` has the wrong shape, if a plan draws noise and
            neither `key` nor `noise` is given, if a plan refuses the denoiser for its
            `sigma_range`, if the denoiser returns another structure or shape, or if a corrector,
            `remat` or `progress` is asked for.
    """
    refuse(
        "sweep", "run each plan by `ej.sample`", corrector=corrector, remat=remat, progress=progress
    )
    waiting = runs(denoise, _listed(plans), x, key, noise, cond, batched)
    if not isinstance(x, jax.Array):
        for plan in _listed(plans):
            check_start(denoise, plan, x, batched, stacklevel=2)
    made = [run() for run in waiting]
    return _like(plans, iter(made))


# Not `jax.tree`, which sorts the names of a dict: names need not compare, and the order in which
# they were given is kept.
def _listed(plans: Any) -> list[Any]:
    """The plans of a tree of lists, tuples and dicts, in its order."""
    if not isinstance(plans, list | tuple | dict):
        return [plans]
    parts = plans.values() if isinstance(plans, dict) else plans
    return [plan for part in parts for plan in _listed(part)]


def _like(plans: Any, made: Iterator[Any]) -> Any:
    """What was made of the plans of such a tree, in its structure."""
    if isinstance(plans, dict):
        filled = plans.copy()
        filled.update({name: _like(part, made) for name, part in plans.items()})
        return filled
    if isinstance(plans, list | tuple):
        parts = [_like(part, made) for part in plans]
        return type(plans)(*parts) if hasattr(plans, "_fields") else type(plans)(parts)
    return next(made)


def runs(
    denoise: Denoiser,
    plans: Sequence[Any],
    x: PyTree,
    key: KeyLike | None = None,
    noise: PyTree = None,
    cond: PyTree = None,
    batched: bool = True,
) -> list[Callable[[], Any]]:
    """Returns a function for each plan that makes its sample alone, by the program of the `sweep`.

    So each plan can be timed; the first call compiles. Under `jit` all samples are made together.
    """
    for i, plan in enumerate(plans):
        check_plan(plan, f"plans[{i}]")
        plan.check_range(denoise)
    x, cond = checked_inputs(denoise, x, cond, batched=batched)
    for plan in plans:
        check_reach(denoise, plan, x)
    if not plans:
        return []
    shape = Shape.of(plans)
    key, noise, make = _source(plans, shape, x, key, noise, batched)
    # NumPy numbers: a Python number is weakly typed, and `jit` would compile again for it.
    padded = [shape.padded(plan) for plan in plans]
    lengths = [np.int32(plan.nfe) for plan in plans]

    arrays = (x, key, noise, cond)
    if has_tracers((denoise, make, padded, arrays)):
        # Inside a caller's `jit` a call for each plan would be a copy of the network for each.
        together = jax.tree.map(lambda *tables: jnp.stack(tables), *padded)
        samples = lax.map(
            lambda row: _run(denoise, unpack(make), row[0], row[1], *arrays, batched=batched),
            (together, jnp.asarray(lengths)),
        )
        return [
            functools.partial(jax.tree.map, operator.itemgetter(i), samples)
            for i in range(len(plans))
        ]
    run = program(_run, denoise, make, batched=batched)
    return [
        functools.partial(run, plan, length, *arrays)
        for plan, length in zip(padded, lengths, strict=True)
    ]


def _source(
    plans: Sequence[Plan],
    shape: Shape,
    x: PyTree,
    key: KeyLike | None,
    noise: PyTree,
    batched: bool,
) -> tuple[Keys | None, PyTree, Any]:
    """Where noise comes from; see `source_of_noise`."""
    known = (
        noise is not None
        and not callable(noise)
        and not any(isinstance(plan.draws, Tracer) for plan in plans)
    )
    first = next((i for i, plan in enumerate(plans) if may_draw(plan)), None)
    return source_of_noise(
        x,
        key,
        noise,
        who="`sweep`",
        batched=batched,
        room=shape.z > 0,
        num_draws=max(plan.num_draws for plan in plans) if known else None,
        needed=f"plans[{first}] draws noise: pass `key` or `noise` to `sweep`.",
    )


def _run(
    denoise: Denoiser,
    make: NoiseFunction | None,
    plan: Plan,
    length: Any,
    x: PyTree,
    key: Keys | None,
    noise: PyTree,
    cond: PyTree,
    *,
    batched: bool,
) -> Any:
    """The sample of a padded plan whose first `length` rows are its own."""
    # A draw that a row does not make is skipped: a plan without noise pays nothing for one beside
    # it that has some.
    body = Body(denoise, plan, x, key, noise, cond, batched=batched, make=make, skip=True)
    return run_rows(body, body.start(), 0, length)[0]
