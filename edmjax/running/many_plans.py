"""Many plans in one program: plans of any length, width and kind, padded to one shape.

A plan's length is data here. Its rows are padded to a common number and a `fori_loop` stops after
its own `nfe` evaluations, so that what padding added never runs; windows are widened with weights
of 0. The body is that of the scan in `_loop`, in the same order of sums. A draw that a row does not
make is skipped by a `lax.cond`: a plan without noise pays nothing for one beside it that has some.
"""

import functools
import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer

from edmjax._common.functions import checked_inputs, is_data, outputs_of
from edmjax._common.trees import floating_tree
from edmjax._common.typing import X
from edmjax.noise.keys import check_keys, keys_of
from edmjax.planning.padding import Shape, may_draw
from edmjax.planning.table import Plan, check_plan
from edmjax.running import loop as _loop
from edmjax.running.source import check_noise


def sweep(
    denoise: Any,
    plans: Any,
    x: X,
    key: Any = None,
    *,
    noise: Any = None,
    cond: Any = None,
    batched: bool = True,
) -> Any:
    """Returns the samples that `ej.sample` makes of `x` by each plan, with one compiled program.

    What comes back has the structure of `plans`, with a sample like `x` in the place of each plan,
    equal to `sample(denoise, plan, x, key)` up to roundings: the same noise to the bit, and the
    denoiser is called `sum(plan.nfe)` times. Plans of other lengths and other solvers share the
    program, also in a later call whose plans together look back as far, draw as many a row, and use
    raw outputs, a scale or learned variances or do not, as those before did; others, of less too,
    compile one of their own. Every plan carries as many arrays as the one that looks back furthest.
    Under `jit` the plans run in a `lax.map`, so that the program holds one copy of the network. A
    gradient can be taken forwards alone (`jax.jvp`): a loop of unknown length has no reverse mode.

    Args:
        denoise: as for `sample`; a plain function is traced once a call, a denoiser that is a
            pytree of arrays once for all calls.
        plans: the plans, in a list, a tuple or a dict by name, which may be nested; or one plan.
        x: the point that every plan starts from, as for `sample`: the plans should agree in their
            first level, and in the scale that they hold points in.
        key: as for `sample`; each plan draws from it what it would draw alone. Needed where a plan
            draws noise.
        noise: the draws themselves, leaf shape (num_draws, *leaf.shape) for the plan with the most
            draws; a plan with fewer takes the first ones. `ej.draw_noise` makes them.
        cond: as for `sample`.
        batched: as for `sample`.

    Raises:
        TypeError: if an argument is of the wrong kind.
        ValueError: if `x`, `noise`, `key` or `cond` has the wrong shape, if a plan draws noise and
            neither `key` nor `noise` is given, if a plan refuses the denoiser for its
            `sigma_range`, or if the denoiser returns another structure or shape.
    """
    made = [run() for run in runs(denoise, _listed(plans), x, key, noise, cond, batched)]
    return _like(plans, iter(made))


# Not `jax.tree`, which sorts the names of a dict: who goes through two of them side by side, or has
# names that do not compare, is given them in the order that they came in.
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
    denoise: Any,
    plans: Sequence[Any],
    x: Any,
    key: Any = None,
    noise: Any = None,
    cond: Any = None,
    batched: bool = True,
) -> list[Callable[[], Any]]:
    """Returns a call for each plan, which makes its sample alone, by the program of the `sweep`.

    So each can be timed; the first call compiles. Under `jit` they were all made together.
    """
    for i, plan in enumerate(plans):
        check_plan(plan, f"plans[{i}]")
        plan.check_range(denoise)
    x = checked_inputs(denoise, x, cond, batched=batched)
    if not plans:
        return []
    shape = Shape.of(plans)
    key, noise = _source(plans, shape, x, key, noise, batched)
    padded = [shape.padded(plan) for plan in plans]
    lengths = [np.int32(plan.nfe) for plan in plans]

    arrays = (x, key, noise, cond)
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves((denoise, padded, *arrays))):
        together = jax.tree.map(lambda *tables: jnp.stack(tables), *padded)
        samples = lax.map(
            lambda row: _run(denoise, row[0], row[1], *arrays, batched=batched),
            (together, jnp.asarray(lengths)),
        )
        return [
            functools.partial(jax.tree.map, operator.itemgetter(i), samples)
            for i in range(len(plans))
        ]
    run = functools.partial(_compiled, denoise)
    if not is_data(denoise):
        # A function hides what it closes over, which may have changed since the last call.
        run = jax.jit(functools.partial(_run, denoise), static_argnames="batched")
    return [
        functools.partial(run, plan, length, *arrays, batched=batched)
        for plan, length in zip(padded, lengths, strict=True)
    ]


def _source(
    plans: Sequence[Plan], shape: Shape, x: Any, key: Any, noise: Any, batched: bool
) -> tuple[Any, Any]:
    """Where noise comes from: the keys of the samples, or the given draws, or (None, None)."""
    if noise is not None:
        traced = any(isinstance(plan.draws, Tracer) for plan in plans)
        most = None if traced else max(plan.num_draws for plan in plans)
        noise = floating_tree(noise, "noise")
        check_noise(noise, x, most)
        return None, noise if shape.z else None
    if not shape.z:
        return None, None
    if key is None:
        first = next(i for i, plan in enumerate(plans) if may_draw(plan))
        raise ValueError(f"plans[{first}] draws noise: pass `key` or `noise` to `sweep`.")
    check_keys(key, x, batched)
    return key, None


def _run(
    denoise: Any,
    plan: Plan,
    length: Any,
    x: Any,
    key: Any,
    noise: Any,
    cond: Any,
    *,
    batched: bool,
) -> Any:
    """The sample of a padded plan whose first `length` rows are its own."""
    key = None if key is None else keys_of(key, x, batched)
    held = _loop._Held(x, batched)
    table = _loop._Table(plan, held.dtype)
    draws = jnp.asarray(plan.draws)
    learned = None if plan.v is None else jnp.asarray(plan.v, held.dtype)

    def at(rows, k):
        return lax.dynamic_index_in_dim(rows, k, keepdims=False)

    def noises(k):
        make = functools.partial(_loop._noises, held, key=key, noise=noise)

        def none(ordinals):
            shapes = jax.eval_shape(make, ordinals)
            return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)

        ordinals = at(draws, k)
        return [
            lax.cond(ordinals[slot] >= 0, make, none, ordinals[slot : slot + 1])[0]
            for slot in range(table.draws)
        ]

    def step(k, carry):
        carry, fresh = carry
        point, *later = _loop._unstack(carry, len(table.ages))
        row = _loop._Row(table, iter(at(table.rows, k)))
        point = _loop._combine(row.draws, held.cut(fresh), [point])
        x_in = held.show(point, row.unscale)
        out = denoise(x_in, row.sigma) if cond is None else denoise(x_in, row.sigma, cond)
        denoised, raw, log_var = outputs_of(out, x)
        vectors = [point, held.hold(denoised), held.hold(raw)]
        new = [
            _loop._combine(weights, vectors, later[age : age + 1])
            for age, weights in enumerate(row.weights)
        ]
        fresh = noises(k + 1)
        if learned is not None:
            if log_var is None:
                raise ValueError(
                    "A plan's noise has the variance that the network learned, and the denoiser "
                    "returned no 'log_var': it must return a dict of 'x0' and 'log_var'."
                )
            fresh = _loop._learned(held.cut(fresh), at(learned, k + 1), held.hold(log_var))
        return _loop._stack(new), fresh

    start = _loop._stack([_loop._combine({0: weight}, [held.hold(x)]) for weight in table.first])
    first = noises(0)
    first = first if learned is None else held.cut(first)
    carry, last = lax.fori_loop(0, length, step, (start, first))
    end = _loop._Row(table, iter(at(table.rows, length)))
    point = _loop._unstack(carry, len(table.ages))[0]
    return held.show(_loop._combine(end.draws, held.cut(last), [point]))


_compiled = jax.jit(_run, static_argnames="batched")
