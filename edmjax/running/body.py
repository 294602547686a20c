"""One evaluation of any plan: what every loop over a plan runs.

Evaluation `k` is made at point `k`, and adds to the points after it. Let `c_a` be what it adds to
point `k + 1 + a`, a combination of the point and its outputs. Let `s_a` be what has been added so
far to point `k + a`. Point `k` is then `s_0` plus its noise, and the evaluation makes

    s_a' = s_(a+1) + c_a.

So a solver that looks back over `w` evaluations carries `w` arrays. They are stacked, and one
kernel makes the new stack from the old. On a CPU Heun's method around a trivial network takes 4.4
us an evaluation in this form, 5.4 us with a tuple of the `s_a`, and 9.4 us with windows of past
points and outputs. (The sums `s_0 + ... + s_a` can be updated in place, in 2.1 us, but then a small
point would be the difference of large sums: after a step from sigma = 10^4 to 10, rounding errors
are a hundred times as large.)

Noise is drawn in the iteration before the one that adds it, and carried there. So it is read from a
buffer whether it was drawn or given, and XLA compiles the sums in the same way: if the draw were
fused into the same kernel, they would be rounded differently.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from edmjax._common.exported import serializable_tuple
from edmjax._common.functions import outputs_of
from edmjax._common.held import cast, evaluate, is_far
from edmjax._common.manual import vary_like
from edmjax._common.trees import check_like
from edmjax._common.typing import Array, Corrector, Denoiser, Keys, NoiseFunction, PyTree, Scalar
from edmjax.noise.keys import keys_of
from edmjax.noise.paths import Increments
from edmjax.planning.scale import STAND_IN
from edmjax.planning.table import Plan
from edmjax.running.declared import Declared
from edmjax.running.layout import Points, Row, Table, combine, most_of, stack, unstack
from edmjax.running.source import draws_of_row


@serializable_tuple
class Carry(NamedTuple):
    """What one evaluation hands to the next. A denoiser with a state would add one entry."""

    sums: Any  # the s_a of the module's docstring, stacked
    fresh: list[Any]  # the draws that the next point takes: packed, or held if they are scaled


class Visit(NamedTuple):
    """One evaluation, as a caller may look at it."""

    x: PyTree  # the point, in the shapes and dtypes of the user's `x`
    denoised: Any  # the denoised output, likewise
    sigma: Array
    outputs: tuple[Any, Any, Any]  # the denoised and the raw output, and `log_var`, as they came
    batched: bool


class Body:
    """The three parts of any loop over a plan: `start`, `advance` for each row, `finish`.

    Attributes:
        rows: what `advance` needs to know of each row: a dict of arrays, one row per evaluation.
        ends: row `k` is what `finish` needs for a run that ends after `k` evaluations.
    """

    def __init__(
        self,
        denoise: Denoiser,
        plan: Plan,
        x: PyTree,
        key: Keys | Increments | None,
        noise: PyTree,
        cond: PyTree,
        *,
        batched: bool,
        make: NoiseFunction | None = None,
        corrector: Corrector | None = None,
        declared: Declared = Declared(),  # noqa: B008 (immutable)
        look: Callable[[Visit], Any] = lambda visit: None,
        skip: bool = False,
    ):
        self.denoise: Denoiser = denoise
        self.x: PyTree = x
        self.cond: PyTree = cond
        self.look: Callable[[Visit], Any] = look
        self.points: Points = Points(x, batched)
        # What a user wrote of the level must still be resolved by the working dtype.
        far = is_far(denoise) and corrector is None
        most = min(most_of(x), STAND_IN if far else STAND_IN / 2)
        self.table: Table = Table(plan, self.points.dtype, most)
        self.corrector: Corrector | None = corrector
        self.declared: Declared = declared
        asked, calls = declared.ordinals(plan)
        if isinstance(key, Increments):  # draws of a path are named by times, not by ordinals
            asked, key = key.times, Increments(keys_of(key.key, x, batched), key.times)
        elif key is not None:
            key = keys_of(key, x, batched)
        self.key: Keys | Increments | None = key
        self.noise: PyTree = noise
        self.make: NoiseFunction | None = make
        # With `skip`, the generator does not run for rows without a draw. Only plans that were
        # padded to one shape have many of those; elsewhere the branch costs more than it saves.
        self.draws: Callable[[Any], list[Any]] = functools.partial(
            draws_of_row, self.points, key=key, noise=noise, make=make, skip=skip
        )
        self.learned: bool = plan.v is not None
        self.first_draws: Any = asked[0]

        # Row `k` has the draws of point `k + 1`, which are made one iteration ahead.
        self.rows: dict[str, Any] = {"cells": self.table.rows, "draws": asked[1:]}
        if self.learned:
            self.rows["exponents"] = jnp.asarray(plan.v, self.points.dtype)[1:]
        self.ends: Array = jnp.concatenate([self.table.rows, self.table.end])
        if corrector is not None:
            self.rows["call"] = calls
            if declared.on_result:
                self.rows["after"] = self.ends[1:]

    def start(self) -> Carry:
        """Before the first evaluation: the user's `x`, and the noise of the first point."""
        held = self.points.hold(self.x)
        sums = [combine({0: weight}, [held]) for weight in self.table.first]
        fresh = self.draws(self.first_draws)
        # Where evaluations scale the draws, the carry has them held, so the first ones are too.
        return self._typed(Carry(stack(sums), self.points.unpack(fresh) if self.learned else fresh))

    def advance(self, carry: Carry, slices: dict[str, Any]) -> tuple[Carry, Any]:
        """One evaluation: the new carry, and what `look` made of the visit."""
        row = self.table.row(slices["cells"])
        point, later = self._point(carry, row, slices)
        # The point keeps its full precision from here to `_absorb`. What a user wrote sees a copy
        # in the dtypes of `x`, so the rounding of that copy reaches only the denoiser's answer.
        x = self.points.show_wide(point, row.unscale)
        outputs = self._evaluate(x, row.sigma)
        held = [point, self.points.hold(outputs[0]), self.points.hold(outputs[1])]
        carry = self._typed(self._absorb(held, outputs[2], later, row, slices))
        denoised = self.points.show(held[1])
        seen = cast(x, self.points.dtypes)
        return carry, self.look(Visit(seen, denoised, row.sigma, outputs, self.points.batched))

    def _typed(self, carry: Carry) -> Carry:
        """`carry`, of one type in all iterations: in `shard_map` each argument may vary or not."""
        return vary_like(carry, (self.denoise, self.x, self.key, self.noise, self.cond))

    def edited(self, carry: Carry, before: PyTree) -> Carry:
        """The carry of a run whose next point was `before`, and now is `x`."""
        first, *later = unstack(carry.sums, len(self.table.ages))
        new, old = self.points.hold(self.x), self.points.hold(before)
        # What the point has beside the sum are its draws, which `x` holds already.
        first = jax.tree.map(lambda s, n, o: jnp.where(n == o, s, n + (s - o)), first, new, old)
        return carry._replace(sums=stack([first, *later]))

    def finish(self, carry: Carry, cells: Array) -> Any:
        """The next point, in the form of the user's `x`; after the last evaluation, the sample."""
        # The point of any row is s_0 and its noise, so a run may end before any evaluation.
        row = self.table.row(cells)
        sums = unstack(carry.sums, len(self.table.ages))
        return self.points.show(combine(row.draws, self.points.unpack(carry.fresh), sums[:1]))

    def _point(self, carry: Carry, row: Row, slices: dict[str, Any]) -> tuple[Any, list[Any]]:
        """The point of a row, held, and what has been added so far to the points after it."""
        point, *later = unstack(carry.sums, len(self.table.ages))
        point = combine(row.draws, self.points.unpack(carry.fresh), [point])
        if self.corrector is not None and not self.declared.on_result:
            point = self._corrected(point, row, slices["call"])
        return point, later

    def _evaluate(self, x: PyTree, sigma: Array) -> tuple[Any, Any, Any]:
        """The denoised and the raw output at a point, and its `log_var`."""
        out = evaluate(self.denoise, x, sigma, self.cond, self.points.dtypes)
        return outputs_of(out, self.x)

    def _absorb(
        self, held: list[Any], log_var: PyTree, later: list[Any], row: Row, slices: dict[str, Any]
    ) -> Carry:
        """The carry, once the point and its outputs are added to the points after it."""
        new, *later = (
            combine(weights, held, later[age : age + 1]) for age, weights in enumerate(row.weights)
        )
        fresh = self.draws(slices["draws"])
        if self.learned:
            fresh = self._scaled(fresh, log_var, slices["exponents"])
        if self.corrector is not None and self.declared.on_result:
            after = self.table.row(slices["after"])
            new = combine(after.draws, self.points.unpack(fresh), [new])
            moved = functools.partial(self._corrected, row=after, call=slices["call"])
            # At sigma 0 the sample is done, and a corrector would add noise to it.
            new = lax.cond(after.sigma > 0, moved, lambda point: point, new)
            # The next point has its noise already.
            fresh = jax.tree.map(jnp.zeros_like, fresh)
        return Carry(stack([new, *later]), fresh)

    def _corrected(self, point: PyTree, row: Row, call: Array) -> Any:
        """A held point, after a call of the corrector at its level."""
        shown = self.points.show(point, row.unscale)
        assert self.corrector is not None and not isinstance(self.key, Increments)
        source = self.declared.source(self.key, self.noise, self.make, call, self.x)
        moved = self.corrector(lambda x, s: self._evaluate(x, s)[0], shown, row.sigma, source)
        moved = self.points.hold(check_like(moved, self.x, "The corrector"), row.unscale)
        # Add the move to the held point. The moved point itself would carry the rounding of what
        # the corrector was shown, in half precision.
        before = self.points.hold(shown, row.unscale)
        return jax.tree.map(lambda p, m, b: p + (m - b), point, moved, before)

    def _scaled(self, fresh: list[Any], log_var: PyTree, exponents: Array) -> list[Any]:
        """Draws times the standard deviations that the network learned, in held form."""
        if log_var is None:
            raise ValueError(
                "This plan's noise has the variance that the network learned, and the denoiser "
                "returned no 'log_var': it must return a dict of 'x0' and 'log_var'."
            )
        fresh, log_var = self.points.unpack(fresh), self.points.hold(log_var)
        return [
            jax.tree.map(lambda z, v, c=c: z * jnp.exp(c.astype(v.dtype) * v), draw, log_var)
            for draw, c in zip(fresh, exponents, strict=True)
        ]


def run_rows(body: Body, carry: Carry, begin: Scalar, stop: Scalar) -> tuple[Any, Carry]:
    """Evaluations `begin ... stop - 1`: the point that comes next, and the carry.

    `begin` and `stop` are data, so one program makes runs of any length. Plans that are padded to
    one shape share it, and no bit depends on where a run was interrupted.
    """
    row = functools.partial(lax.dynamic_index_in_dim, keepdims=False)

    def step(k: Any, carry: Carry) -> Carry:
        return body.advance(carry, jax.tree.map(lambda rows: row(rows, k), body.rows))[0]

    carry = lax.fori_loop(begin, stop, step, carry)
    return body.finish(carry, row(body.ends, stop)), carry
