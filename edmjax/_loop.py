"""The only loop: one `lax.scan` runs any plan, with one evaluation of the network an iteration.

Iteration `k` evaluates point `k` and hands on what that adds to the points after it. Let `c_a` be
what evaluation `k` adds to point `k + 1 + a`, a combination of the point and its outputs, and `s_a`
what has been added so far to point `k + a`, so that `s_0` is the point. Then

    s_a' = s_(a+1) + c_a,    and noise is added to s_0'

and a solver that looks back over `w` evaluations carries `w` arrays, stacked: one kernel makes the
new stack of the old. On a CPU Heun's method around a trivial network takes 4.4 us an evaluation so,
against 5.4 with a tuple of the `s_a` and 9.4 with windows of past points and outputs. (The sums
`s_0 + ... + s_a` can be updated in place, in 2.1 us, but a small point would be the difference of
large sums: after a step from sigma = 10^4 to 10, a hundred times the rounding error.) What is
carried is float32 at least: half precision would lose what the plan's float64 weights gained.
"""

import functools
import math
import operator
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from edmjax import _checks, _corrector, _progress, _random
from edmjax._random import wide
from edmjax.plan import Plan


def run(
    denoise: Any,
    plan: Plan,
    x: Any,
    key: Any,
    noise: Any,
    cond: Any,
    corrector: Any,
    *,
    declared: _corrector.Declared,
    save: Callable[[Any, Any, Any], Any],
    remat: bool,
    batched: bool,
    progress: bool,
) -> tuple[Any, Any]:
    """Returns (x0, saved). What it is given has been checked."""
    key = None if key is None else _random.keys_of(key, x, batched)
    held = _Held(x)
    table = _Table(plan, held.dtype)
    draws, calls = declared.ordinals(plan)
    noises = functools.partial(_noises, held, key=key, noise=noise)
    late = declared.on_result

    def evaluate(x_in, sigma):
        out = denoise(x_in, sigma) if cond is None else denoise(x_in, sigma, cond)
        return _checks.outputs(out, x)

    def correct(point, row, call):
        shown = held.show(point, row.unscale)
        source = declared.source(key, noise, call)
        moved = corrector(lambda x_in, sigma: evaluate(x_in, sigma)[0], shown, row.sigma, source)
        moved = held.hold(_checks.like(moved, x, "The corrector"), row.unscale)
        # The move and not the moved point: in half precision that would round what is carried.
        before = held.hold(shown, row.unscale)
        return jax.tree.map(lambda p, m, b: p + (m - b), point, moved, before)

    def step(carry, slices):
        point, *later = _unstack(carry, len(table.ages))
        row = _Row(table, iter(slices["row"]))
        if corrector is not None and not late:
            point = correct(point, row, slices["call"])
        x_in = held.show(point, row.unscale)
        denoised, raw = evaluate(x_in, row.sigma)
        vectors = [point, held.hold(denoised), held.hold(raw)]
        new, *later = (
            _combine(weights, vectors, later[age : age + 1])
            for age, weights in enumerate(row.weights)
        )
        new = _combine(row.draws, noises(slices["draws"]), [new])
        if corrector is not None and late:
            after = _Row(table, iter(slices["after"]))
            moved = functools.partial(correct, row=after, call=slices["call"])
            new = lax.cond(after.sigma > 0, moved, lambda point: point, new)
        return _stack([new, *later]), save(x_in, held.show(vectors[1]), row.sigma)

    if remat:
        step = jax.checkpoint(step, prevent_cse=False)  # in a scan there is nothing for CSE to undo
    body = step
    slices = {"row": table.rows, "draws": draws[1:]}
    if corrector is not None:
        slices["call"] = calls
        if late:
            slices["after"] = jnp.concatenate([table.rows[1:], table.end])
    if progress:
        number = _progress.start(plan.nfe)
        slices["iteration"] = jnp.arange(plan.nfe)

        def body(carry, slices):
            carry, saved = step(carry, slices)
            _progress.tick(number, slices["iteration"], plan.nfe)
            return carry, saved

    first, *later = (_combine({0: weight}, [held.hold(x)]) for weight in table.first)
    first = _combine(dict(enumerate(table.first_draws)), noises(draws[0]), [first])
    carry, saved = lax.scan(body, _stack([first, *later]), slices)
    return held.show(_unstack(carry, len(table.ages))[0]), saved


def _stack(trees: list[Any]) -> Any:
    """One tree of stacked arrays; a tree alone stays as it is."""
    return trees[0] if len(trees) == 1 else jax.tree.map(lambda *v: jnp.stack(v), *trees)


def _unstack(carry: Any, count: int) -> list[Any]:
    """What `_stack` was given."""
    return (
        [carry] if count == 1 else [jax.tree.map(lambda v, i=i: v[i], carry) for i in range(count)]
    )


class _Table:
    """The plan as one array, a row an evaluation: each array that a scan slices costs a kernel.

    Windows look back from a row; turned around, evaluation `k` has the weights of age `a` in row
    `k + 1 + a`.
    """

    def __init__(self, plan: Plan, dtype: Any):
        windows = [plan.y, plan.d] if plan.r is None else [plan.y, plan.d, plan.r]
        self.draws = plan.z.shape[1]
        # The windows that reach back to each age.
        self.ages = [
            [kind for kind, window in enumerate(windows) if age < window.shape[1]]
            for age in range(max(window.shape[1] for window in windows))
        ]
        self.scaled = plan.scale is not None
        level = [jnp.concatenate([jnp.asarray(plan.sigmas), jnp.asarray(plan.grid[-1:])])]
        if plan.scale is not None:
            level.append(1 / jnp.asarray(plan.scale))
        columns = [
            *(
                self._column(windows[kind], age)
                for age, kinds in enumerate(self.ages)
                for kind in kinds
            ),
            *(plan.z[1:, slot] for slot in range(self.draws)),
            *(column[:-1] for column in level),
        ]
        self.rows = jnp.stack([jnp.asarray(column, dtype) for column in columns], axis=1)
        # The level that the last step ends in, as a row with nothing to multiply.
        blank = [jnp.zeros(1, dtype)] * (len(columns) - len(level))
        ends = [jnp.asarray(column[-1:], dtype) for column in level]
        self.end = jnp.stack([*blank, *ends], axis=1)
        # The starting point stands before evaluation 0: in row a at age a.
        start = [plan.y[a, a] if a < min(plan.y.shape) else 0.0 for a in range(len(self.ages))]
        self.first = [jnp.asarray(weight, dtype) for weight in start]
        self.first_draws = [jnp.asarray(weight, dtype) for weight in plan.z[0]]

    @staticmethod
    def _column(window: Any, age: int) -> Any:
        column = jnp.asarray(window[1 + age :, age])
        return jnp.pad(column, (0, window.shape[0] - 1 - column.shape[0]))


class _Row:
    """One row of the table, taken apart in the order in which it was put together."""

    def __init__(self, table: _Table, cells: Iterator[Any]):
        self.weights = [{kind: next(cells) for kind in kinds} for kinds in table.ages]
        self.draws = dict(enumerate(next(cells) for _ in range(table.draws)))
        self.sigma = next(cells)
        self.unscale = next(cells) if table.scaled else None


class _Held:
    """How the loop holds points: wide, and on a CPU as matrices.

    XLA's CPU loops run vectorised along the last axis alone, so an image of 28 x 28 takes five
    times as long as its 784 pixels in a row.
    """

    def __init__(self, x: Any):
        self.x = x
        self.wide = jax.tree.map(lambda leaf: wide(leaf.dtype), x)
        self.dtype = jnp.result_type(*jax.tree.leaves(self.wide))
        self.shapes = jax.tree.map(self._shape, x)

    @staticmethod
    def _shape(leaf: Any) -> "_Shape":
        spec = getattr(jax.typeof(leaf).sharding, "spec", ())
        split = any(axis is not None for axis in spec[1:])  # a sharded axis cannot be merged
        if leaf.ndim < 3 or split or jax.default_backend() != "cpu":
            return _Shape(leaf.shape)
        return _Shape((leaf.shape[0], math.prod(leaf.shape[1:])))

    def hold(self, values: Any, unscale: Any = None) -> Any:
        """`values`, like `x`, as the loop holds them."""

        def leaf(value, dtype, shape):
            value = jnp.asarray(value, dtype).reshape(shape.shape)
            return value if unscale is None else value / unscale.astype(dtype)

        return jax.tree.map(leaf, values, self.wide, self.shapes)

    def show(self, point: Any, unscale: Any = None) -> Any:
        """A point that the loop holds, as the denoiser sees it: like `x`."""

        def leaf(value, like):
            value = value if unscale is None else value * unscale.astype(value.dtype)
            return value.reshape(like.shape).astype(like.dtype)

        return jax.tree.map(leaf, point, self.x)


class _Shape:
    """A shape as a leaf: a tuple would be taken for a part of the tree."""

    def __init__(self, shape: tuple[int, ...]):
        self.shape = shape


def _combine(weights: dict[int, Any], vectors: Any, added: list[Any] | None = None) -> Any:
    """`added + sum(weights[i] * vectors[i])`: multiply-adds; matrix units would round weights.

    What is added comes first, so that the step to zero is exactly the denoised output.
    """
    pairs = [(weight, vectors[i]) for i, weight in weights.items()]

    def combine(*leaves):
        terms = [w.astype(v.dtype) * v for (w, _), v in zip(pairs, leaves, strict=False)]
        return functools.reduce(operator.add, [*leaves[len(pairs) :], *terms])

    return jax.tree.map(combine, *(vector for _, vector in pairs), *(added or []))


def _noises(held: _Held, ordinals: Any, *, key: Any, noise: Any) -> list[Any]:
    """The draws of a row, as the loop holds points."""
    if noise is None:
        drawn = [_random.draw(key, ordinal, held.x) for ordinal in ordinals]
    else:
        # Beyond the draws that were given there is nothing to take: NaN, not the last one again.
        take = lambda leaf, j: leaf.at[j].get(mode="fill", fill_value=jnp.nan)  # noqa: E731
        drawn = [jax.tree.map(lambda leaf, j=j: take(leaf, j), noise) for j in ordinals]
    # Behind the barrier it cannot matter to rounding where the noise came from: without it, XLA
    # contracts the last multiplication of a drawn normal into the sum, but not that of a given one.
    return [lax.optimization_barrier(held.hold(values)) for values in drawn]
