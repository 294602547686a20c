"""The only loop: one `lax.scan` runs any plan, with one evaluation of the network an iteration.

Iteration `k` evaluates point `k` and hands on what that adds to the points after it. Let `c_a` be
what evaluation `k` adds to point `k + 1 + a`, a combination of the point and its outputs, and `s_a`
what has been added so far to point `k + a`, so that `s_0` is the point. Then

    s_a' = s_(a+1) + c_a,    and the noise of a point is added to its s_0

and a solver that looks back over `w` evaluations carries `w` arrays, stacked: one kernel makes the
new stack of the old. On a CPU Heun's method around a trivial network takes 4.4 us an evaluation so,
against 5.4 with a tuple of the `s_a` and 9.4 with windows of past points and outputs. (The sums
`s_0 + ... + s_a` can be updated in place, in 2.1 us, but a small point would be the difference of
large sums: after a step from sigma = 10^4 to 10, a hundred times the rounding error.) What is
carried is float32 at least: half precision would lose what the plan's float64 weights gained.

Noise is carried from the iteration that makes it to the one that adds it. So it comes out of a
buffer, whether it was drawn or given, and the arithmetic on the point is compiled the same: in one
kernel with the draw, sums would round otherwise.
"""

import functools
import math
import operator
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from edmjax._common.arrays import wide
from edmjax._common.functions import outputs_of
from edmjax._common.progress import start_bar, tick_bar
from edmjax._common.trees import check_like
from edmjax.noise.keys import cut_draw, draw, keys_of, padded_draw
from edmjax.noise.paths import Increments, unit_noises
from edmjax.planning.table import Plan
from edmjax.running.declared import Declared


def run(
    denoise: Any,
    plan: Plan,
    x: Any,
    key: Any,
    noise: Any,
    cond: Any,
    corrector: Any,
    *,
    declared: Declared,
    save: Callable[[Any, Any, Any], Any],
    remat: bool,
    batched: bool,
    progress: bool,
    watch: Callable[[Any, Any, bool], Any] | None = None,
    part: tuple[Any, Any, Any] | None = None,
) -> tuple[Any, Any]:
    """Returns (x0, saved). What it is given has been checked.

    With `watch`, what it makes of each point and its outputs is beside what is saved. With `part`,
    (what was carried, start, stop), evaluations `start ... stop - 1` are made alone, and returned
    are the point that comes next and what is carried then; with None carried, nothing is made yet.
    """
    path = key if isinstance(key, Increments) else None
    key = key if path is None else path.key
    key = None if key is None else keys_of(key, x, batched)
    held = _Held(x, batched)
    table = _Table(plan, held.dtype)
    draws, calls = declared.ordinals(plan)
    if path is not None:  # the draws of a row are named by their times, not by their ordinals
        draws = path.times
    make = _noises if path is None else unit_noises
    noises = functools.partial(make, held, key=key, noise=noise)
    late = declared.on_result

    def evaluate(x_in, sigma):
        out = denoise(x_in, sigma) if cond is None else denoise(x_in, sigma, cond)
        return outputs_of(out, x)

    def correct(point, row, call):
        shown = held.show(point, row.unscale)
        source = declared.source(key, noise, call)
        moved = corrector(lambda x_in, sigma: evaluate(x_in, sigma)[0], shown, row.sigma, source)
        moved = held.hold(check_like(moved, x, "The corrector"), row.unscale)
        # The move and not the moved point: in half precision that would round what is carried.
        before = held.hold(shown, row.unscale)
        return jax.tree.map(lambda p, m, b: p + (m - b), point, moved, before)

    def step(carry, slices):
        carry, fresh = carry
        point, *later = _unstack(carry, len(table.ages))
        row = _Row(table, iter(slices["row"]))
        point = _combine(row.draws, held.cut(fresh), [point])
        if corrector is not None and not late:
            point = correct(point, row, slices["call"])
        x_in = held.show(point, row.unscale)
        denoised, raw, log_var = evaluate(x_in, row.sigma)
        vectors = [point, held.hold(denoised), held.hold(raw)]
        new, *later = (
            _combine(weights, vectors, later[age : age + 1])
            for age, weights in enumerate(row.weights)
        )
        fresh = noises(slices["draws"])
        if plan.v is not None:
            if log_var is None:
                raise ValueError(
                    "This plan's noise has the variance that the network learned, and the denoiser "
                    "returned no 'log_var': it must return a dict of 'x0' and 'log_var'."
                )
            fresh = _learned(held.cut(fresh), slices["v"], held.hold(log_var))
        if corrector is not None and late:
            after = _Row(table, iter(slices["after"]))
            new = _combine(after.draws, held.cut(fresh), [new])
            moved = functools.partial(correct, row=after, call=slices["call"])
            new = lax.cond(after.sigma > 0, moved, lambda point: point, new)
            fresh = jax.tree.map(jnp.zeros_like, fresh)
        saved = save(x_in, held.show(vectors[1]), row.sigma)
        if watch is not None:
            saved = saved, watch(x_in, (denoised, raw, log_var), batched)
        return (_stack([new, *later]), fresh), saved

    if remat:
        step = jax.checkpoint(step, prevent_cse=False)  # in a scan there is nothing for CSE to undo
    body = step
    slices = {"row": table.rows, "draws": draws[1:]}
    if plan.v is not None:
        slices["v"] = jnp.asarray(plan.v, held.dtype)[1:]
    if corrector is not None:
        slices["call"] = calls
        if late:
            slices["after"] = jnp.concatenate([table.rows[1:], table.end])
    if progress:
        number = start_bar(plan.nfe)
        slices["iteration"] = jnp.arange(plan.nfe)

        def body(carry, slices):
            carry, saved = step(carry, slices)
            tick_bar(number, slices["iteration"], plan.nfe)
            return carry, saved

    start = [_combine({0: weight}, [held.hold(x)]) for weight in table.first]
    first = noises(draws[0])
    first = first if plan.v is None else held.cut(first)
    if part is None:
        (carry, last), saved = lax.scan(body, (_stack(start), first), slices)
        cells = table.end[0]
    else:
        saved, begin, stop = part
        take = functools.partial(lax.dynamic_index_in_dim, keepdims=False)

        def at(k, carry):
            return body(carry, jax.tree.map(lambda rows: take(rows, k), slices))[0]

        # Of any length by one program, so that no bit depends on where a run was interrupted.
        begins = saved is None
        saved = (_stack(start), first) if begins else lax.fori_loop(begin, stop, at, saved)
        carry, last = saved
        cells = take(jnp.concatenate([table.rows, table.end]), stop)
    end = _Row(table, iter(cells))
    point = _combine(end.draws, held.cut(last), _unstack(carry, len(table.ages))[:1])
    return held.show(point), saved


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
        # What belongs to the row's own point: the weights of its draws, its level, its scale.
        own = [jnp.asarray(plan.z[:, slot]) for slot in range(self.draws)]
        own.append(jnp.concatenate([jnp.asarray(plan.sigmas), jnp.asarray(plan.grid[-1:])]))
        if plan.scale is not None:
            own.append(1 / jnp.asarray(plan.scale))
        columns = [
            *(
                self._column(windows[kind], age)
                for age, kinds in enumerate(self.ages)
                for kind in kinds
            ),
            *(column[:-1] for column in own),
        ]
        self.rows = jnp.stack([jnp.asarray(column, dtype) for column in columns], axis=1)
        # Where the last step ends, as a row with no outputs to multiply.
        blank = [jnp.zeros(1, dtype)] * (len(columns) - len(own))
        ends = [jnp.asarray(column[-1:], dtype) for column in own]
        self.end = jnp.stack([*blank, *ends], axis=1)
        # The starting point stands before evaluation 0: in row a at age a.
        start = [plan.y[a, a] if a < min(plan.y.shape) else 0.0 for a in range(len(self.ages))]
        self.first = [jnp.asarray(weight, dtype) for weight in start]

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

    def __init__(self, x: Any, batched: bool):
        self.x, self.batched = x, batched
        self.wide = jax.tree.map(lambda leaf: wide(leaf.dtype), x)
        self.dtype = jnp.result_type(*jax.tree.leaves(self.wide))
        self.shapes = jax.tree.map(self._shape, x)

    @staticmethod
    def _shape(leaf: Any) -> "_Shape":
        if leaf.ndim < 3 or _split(leaf) or jax.default_backend() != "cpu":
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

    def whole(self, draw: Any) -> Any:
        """A draw, like `x`, as the loop carries it from the iteration that makes it to the next."""

        def leaf(value, like):
            ahead = like.shape[: self.batched]
            return value if _split(like) else padded_draw(value, ahead)

        return jax.tree.map(leaf, draw, self.x)

    def cut(self, draws: list[Any]) -> list[Any]:
        """Draws that were carried, as the loop holds points; held ones stay as they are."""
        return [
            self.hold(jax.tree.map(lambda v, like: cut_draw(v, like.shape), draw, self.x))
            for draw in draws
        ]


def _split(leaf: Any) -> bool:
    """Whether axes after the first are sharded: those cannot be merged."""
    spec = getattr(jax.typeof(leaf).sharding, "spec", ())
    return any(axis is not None for axis in spec[1:])


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
    """The draws of a row, before they are cut."""
    if noise is None:
        return [draw(key, jnp.maximum(ordinal, 0), held.x) for ordinal in ordinals]
    return [
        held.whole(jax.tree.map(functools.partial(_take, ordinal=ordinal), noise))
        for ordinal in ordinals
    ]


def _take(draws: Any, ordinal: Any) -> Any:
    """One of the draws that were given; 0 for a slot without one.

    Beyond the draws that were given there is nothing to take: NaN, not the last one again.
    """
    if draws.shape[0] == 0:  # an axis that JAX does not index
        draws = jnp.full((1, *draws.shape[1:]), jnp.nan, draws.dtype)
    taken = draws.at[jnp.maximum(ordinal, 0)].get(mode="fill", fill_value=jnp.nan)
    return jnp.where(ordinal < 0, 0, taken).astype(draws.dtype)


def _learned(noise: list[Any], exponents: Any, log_var: Any) -> list[Any]:
    """Draws with the variances that the network learned."""
    return [
        jax.tree.map(lambda z, v, c=c: z * jnp.exp(c.astype(v.dtype) * v), draw, log_var)
        for draw, c in zip(noise, exponents, strict=True)
    ]
