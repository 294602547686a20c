"""The only loop: one `lax.scan` runs any plan, with one evaluation of the network an iteration.

Iteration `k` evaluates point `k` and mixes point `k + 1` from what is kept; the last point made is
the sample. Windows are tuples of arrays: stacked ones would be sliced out and written back at every
iteration. They are float32 at least: in half precision they would lose what the plan's float64
weights gained.
"""

import functools
import operator
from collections.abc import Callable
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
    """Returns (x0, saved). `key` holds one key a sample (or the one, unbatched), or is None."""
    del batched  # told by the shape of `key`; part of the signature so that programs are not shared
    wide = jax.tree.map(lambda leaf: jnp.promote_types(leaf.dtype, jnp.float32), x)
    widest = jnp.result_type(*jax.tree.leaves(wide))
    table = _Table(plan, widest)
    draws, calls = _corrector.ordinals(plan, corrector)
    noises = functools.partial(_noises, key=key, noise=noise, x=x)
    evaluate = functools.partial(_evaluate, denoise, cond, x)

    def correct(point, row, call):
        at_key = _corrector.key_of(corrector, key, noise, call)
        moved = corrector(denoise, _like(x, row.held(point)), row.sigma, at_key)
        return row.hold(_widen(wide, _checks.like(moved, x, "The corrector")))

    def step(carry, slices):
        points, outputs, raws = carry
        row = table.row(slices["row"])
        if corrector is not None and not _corrector.on_result(corrector):
            points = (correct(points[0], row, slices["call"]), *points[1:])
        x_in = _like(x, row.held(points[0]))
        denoised, raw = (_widen(wide, output) for output in evaluate(x_in, row.sigma))
        outputs = (denoised, *outputs)
        raws = (raw, *raws) if table.raws else ()
        new = row.mix(points, outputs, raws, noises(slices["draws"]))
        if corrector is not None and _corrector.on_result(corrector):
            after = table.row(slices["next"])
            moved = functools.partial(correct, row=after, call=slices["call"])
            new = lax.cond(after.sigma > 0, moved, lambda point: point, new)
        saved = save(x_in, _like(x, denoised), row.sigma)
        kept = ((new, *points[:-1]), outputs[:-1], raws[:-1])
        return kept, saved

    if remat:
        step = jax.checkpoint(step, prevent_cse=False)  # in a scan there is nothing for CSE to undo
    body = step
    slices = {"row": table.rows[1:], "draws": draws[1:]}
    if corrector is not None:
        slices["call"] = calls
        if _corrector.on_result(corrector):
            slices["next"] = jnp.concatenate([table.rows[2:], table.final])
    if progress:
        run_number = _progress.start(plan.nfe)
        slices["iteration"] = jnp.arange(plan.nfe)

        def body(carry, slices):
            carry, saved = step(carry, slices)
            _progress.tick(run_number, slices["iteration"], plan.nfe)
            return carry, saved

    def blank(count):
        zeros = lambda: jax.tree.map(lambda leaf, dtype: jnp.zeros(leaf.shape, dtype), x, wide)  # noqa: E731
        return tuple(zeros() for _ in range(count))

    first = table.row(table.rows[0]).mix((_widen(wide, x),), (), (), noises(draws[0]))
    carry = ((first, *blank(table.points - 1)), blank(table.outputs - 1), blank(table.raws - 1))
    (points, _, _), saved = lax.scan(body, carry, slices)
    return _like(x, points[0]), saved


class _Table:
    """The plan as one array, a row an iteration: each array that a scan slices costs a kernel.

    Row `k` of `rows` holds the weights that make point `k`, and then the level (and the inverse
    scale) of evaluation `k - 1`: what iteration `k - 1` needs. Row 0 makes the first point.
    """

    def __init__(self, plan: Plan, dtype: Any):
        self.points, self.outputs = plan.y.shape[-1], plan.d.shape[-1]
        self.raws = 0 if plan.r is None else plan.r.shape[-1]
        self.draws = plan.z.shape[-1]
        self.scaled = plan.scale is not None
        level = _column(plan.sigmas, dtype)
        columns = [plan.y, plan.d, *([] if plan.r is None else [plan.r]), plan.z]
        columns = [jnp.asarray(column, dtype) for column in columns]
        levels = [jnp.concatenate([level[:1], level])]
        final = [_column(plan.grid[-1:], dtype)]
        if self.scaled:
            unscale = 1 / _column(plan.scale, dtype)
            levels.append(jnp.concatenate([unscale[:1], unscale[:-1]]))
            final.append(unscale[-1:])
        self.rows = jnp.concatenate([*columns, *levels], axis=1)
        width = sum(column.shape[1] for column in columns)
        self.final = jnp.concatenate([jnp.zeros((1, width), dtype), *final], axis=1)

    def row(self, values: Any) -> "_Row":
        return _Row(self, values)


def _column(values: Any, dtype: Any) -> Any:
    return jnp.asarray(values, dtype)[:, None]


class _Row:
    """One row of the table, taken apart."""

    def __init__(self, table: _Table, values: Any):
        ends = [table.points, table.outputs, table.raws, table.draws]
        cells = iter(values)
        self.weights = [[next(cells) for _ in range(count)] for count in ends]
        self.sigma = next(cells)
        self.unscale = next(cells) if table.scaled else None

    def mix(self, *windows: tuple[Any, ...]) -> Any:
        """The next point: multiply-adds only, since matrix units would round the weights."""
        pairs = zip(self.weights, windows, strict=True)
        weights, vectors = zip(
            *(p for ws, vs in pairs for p in zip(ws, vs, strict=False)), strict=True
        )

        def combine(*leaves):
            terms = (w.astype(v.dtype) * v for w, v in zip(weights, leaves, strict=True))
            return functools.reduce(operator.add, terms)

        return jax.tree.map(combine, *vectors)

    def held(self, point: Any) -> Any:
        """The point as the denoiser sees it, out of the scale that the plan holds it in."""
        if self.unscale is None:
            return point
        return jax.tree.map(lambda leaf: leaf * self.unscale.astype(leaf.dtype), point)

    def hold(self, x: Any) -> Any:
        """The inverse of `held`."""
        if self.unscale is None:
            return x
        return jax.tree.map(lambda leaf: leaf / self.unscale.astype(leaf.dtype), x)


def _like(x: Any, values: Any) -> Any:
    """`values` in the dtypes of `x`."""
    return jax.tree.map(lambda leaf, value: value.astype(leaf.dtype), x, values)


def _widen(wide: Any, values: Any) -> Any:
    return jax.tree.map(lambda dtype, value: jnp.asarray(value, dtype), wide, values)


def _evaluate(denoise: Any, cond: Any, x: Any, x_in: Any, sigma: Any) -> tuple[Any, Any]:
    out = denoise(x_in, sigma) if cond is None else denoise(x_in, sigma, cond)
    return _checks.outputs(out, x)


def _noises(ordinals: Any, *, key: Any, noise: Any, x: Any) -> tuple[Any, ...]:
    """The draws of a row, in float32 at least."""
    wide = jax.tree.map(lambda leaf: jnp.promote_types(leaf.dtype, jnp.float32), x)
    if noise is None:
        drawn = (_random.draw(key, ordinal, x) for ordinal in ordinals)
    else:
        # Beyond the draws that were given there is nothing to take: NaN, not the last one again.
        take = lambda leaf, j: leaf.at[j].get(mode="fill", fill_value=jnp.nan)  # noqa: E731
        drawn = (jax.tree.map(lambda leaf, j=j: take(leaf, j), noise) for j in ordinals)
    # Behind the barrier it cannot matter to rounding where the noise came from: without it, XLA
    # contracts the last multiplication of a drawn normal into the mix, but not that of a given one.
    return tuple(lax.optimization_barrier(_widen(wide, values)) for values in drawn)
