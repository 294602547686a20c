"""The only loop: one `lax.scan` runs any plan, with one evaluation of the network an iteration.

Iteration `k` evaluates point `k` and hands on what that adds to the points after it. Let `c_a` be
what evaluation `k` adds to point `k + 1 + a`, a combination of the point and its outputs, and `s_a`
what earlier ones have added to point `k + a`. Then

    point' = s_1 + c_0 (+ noise),    s_a' = s_(a+1) + c_a

and a solver that looks back over `w` evaluations carries `w` arrays. The loop carries the running
sums `u_a = point + s_1 + ... + s_a` instead of the `s_a`:

    u_last' = u_last - point + c_0 + ... + c_last + noise
    u_a'    = u_(a+1)' - c_(a+1) - s_(a+2),    point' = u_0',    s_a = u_a - u_(a-1)

because then, for the two arrays of most solvers, every line overwrites its own array and XLA copies
none: on a CPU Heun's method around a trivial network takes 2.1 us an evaluation, against 5.4 with
the `s_a` and 9.4 with windows of past points and outputs. What is carried is float32 at least: half
precision would lose what the plan's float64 weights gained.
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
    save: Callable[[Any, Any, Any], Any],
    remat: bool,
    batched: bool,
    progress: bool,
) -> tuple[Any, Any]:
    """Returns (x0, saved). What it is given has been checked."""
    key = None if key is None else _random.keys_of(key, x, batched)
    held = _Held(x)
    table = _Table(plan, held.dtype)
    draws, calls = _corrector.ordinals(plan, corrector)
    noises = functools.partial(_noises, held, key=key, noise=noise)
    late = _corrector.on_result(corrector)

    def correct(point, row, call):
        source = _corrector.source(corrector, key, noise, call)
        moved = corrector(denoise, held.show(point, row.unscale), row.sigma, source)
        return held.hold(_checks.like(moved, x, "The corrector"), row.unscale)

    def step(carry, slices):
        point, *sums = carry
        row = _Row(table, iter(slices["row"]))
        if corrector is not None and not late:
            point = correct(point, row, slices["call"])
        x_in = held.show(point, row.unscale)
        out = denoise(x_in, row.sigma) if cond is None else denoise(x_in, row.sigma, cond)
        denoised, raw = _checks.outputs(out, x)
        vectors = [point, held.hold(denoised), held.hold(raw)]
        new = _combine(row.total, vectors, sums[-1:])
        new = _combine(row.draws, noises(slices["draws"]), [new])
        carry = [new]
        for age, weights in zip(range(len(sums) - 1, -1, -1), row.back, strict=True):
            carry.append(_combine(weights, vectors, [_without(carry[-1], sums, age + 1)]))
        carry.reverse()
        if corrector is not None and late:
            after = _Row(table, iter(slices["after"]))
            moved = functools.partial(correct, row=after, call=slices["call"])
            carry[0] = lax.cond(after.sigma > 0, moved, lambda point: point, carry[0])
        return tuple(carry), save(x_in, held.show(vectors[1]), row.sigma)

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

    carry = [_combine([weight], [held.hold(x)]) for weight in table.first]
    carry = [_combine(table.first_draws, noises(draws[0]), [u]) for u in carry]
    (point, *_), saved = lax.scan(body, tuple(carry), slices)
    return held.show(point), saved


class _Table:
    """The plan as one array, a row an evaluation: each array that a scan slices costs a kernel.

    Windows look back from a row; turned around, age `a` of evaluation `k` is its weight in row
    `k + 1 + a`. The sums over ages are taken here, in the precision of the plan.
    """

    def __init__(self, plan: Plan, dtype: Any):
        windows = [plan.y, plan.d] if plan.r is None else [plan.y, plan.d, plan.r]
        self.dtype, self.kinds, self.draws = dtype, len(windows), plan.z.shape[1]
        self.ages = max(window.shape[1] for window in windows)
        self.scaled = plan.scale is not None
        # ages[a][i] is what evaluation k has in row k + 1 + a; nothing enters beyond the last row.
        ages = [[self._column(window, age) for window in windows] for age in range(self.ages)]
        total = [functools.reduce(operator.add, kinds) for kinds in zip(*ages, strict=True)]
        if self.ages > 1:  # the last running sum contains the point itself
            total[0] = total[0] - 1
        back = [-weight for age in reversed(ages[1:]) for weight in age]
        level = [jnp.concatenate([jnp.asarray(plan.sigmas), jnp.asarray(plan.grid[-1:])])]
        if plan.scale is not None:
            level.append(1 / jnp.asarray(plan.scale))
        draws = [plan.z[1:, slot] for slot in range(self.draws)]
        columns = [*total, *back, *draws, *(column[:-1] for column in level)]
        self.rows = jnp.stack([jnp.asarray(column, dtype) for column in columns], axis=1)
        # The level that the last step ends in, as a row with nothing to multiply.
        blank = [jnp.zeros(1, dtype)] * (len(columns) - len(level))
        ends = [jnp.asarray(column[-1:], dtype) for column in level]
        self.end = jnp.stack([*blank, *ends], axis=1)
        # The starting point stands before evaluation 0: in row a at age a. Running sums again.
        start = [plan.y[a, a] if a < min(plan.y.shape) else 0.0 for a in range(self.ages)]
        sums = [functools.reduce(operator.add, start[: a + 1]) for a in range(self.ages)]
        self.first = [jnp.asarray(weight, dtype) for weight in sums]
        self.first_draws = [jnp.asarray(weight, dtype) for weight in plan.z[0]]

    def _column(self, window: Any, age: int) -> Any:
        if age >= window.shape[1]:
            return jnp.zeros(window.shape[0] - 1, self.dtype)
        column = jnp.asarray(window[1 + age :, age])
        return jnp.pad(column, (0, window.shape[0] - 1 - column.shape[0]))


class _Row:
    """One row of the table, taken apart in the order in which it was put together."""

    def __init__(self, table: _Table, cells: Iterator[Any]):
        def take(count: int) -> list[Any]:
            return [next(cells) for _ in range(count)]

        self.total = take(table.kinds)
        self.back = [take(table.kinds) for _ in range(table.ages - 1)]
        self.draws = take(table.draws)
        self.sigma = next(cells)
        self.unscale = next(cells) if table.scaled else None


class _Held:
    """How the loop holds points: wide, and on a CPU as matrices.

    XLA's CPU loops run vectorised along the last axis alone, so an image of 28 x 28 takes five
    times as long as its 784 pixels in a row.
    """

    def __init__(self, x: Any):
        self.x = x
        self.wide = jax.tree.map(lambda leaf: jnp.promote_types(leaf.dtype, jnp.float32), x)
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


def _combine(weights: list[Any], vectors: Any, added: list[Any] | None = None) -> Any:
    """`added + sum(weights * vectors)`: multiply-adds, since matrix units would round weights.

    What is added comes first, so that the step to zero is exactly the denoised output.
    """
    pairs = list(zip(weights, vectors, strict=False))

    def combine(*leaves):
        terms = [w.astype(v.dtype) * v for (w, _), v in zip(pairs, leaves, strict=False)]
        return functools.reduce(operator.add, [*leaves[len(pairs) :], *terms])

    return jax.tree.map(combine, *(vector for _, vector in pairs), *(added or []))


def _without(running: Any, sums: list[Any], age: int) -> Any:
    """`running - s_(age + 1)`, where something was to come at that age."""
    if age == len(sums):
        return running
    # Equal sums have the difference 0, so the step to zero stays exactly the denoised output.
    return jax.tree.map(lambda r, u, v: r - (u - v), running, sums[age], sums[age - 1])


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
