"""How the loop holds what it works on: points as wide matrices, a plan as one array of rows."""

import functools
import math
import operator
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from edmjax._common.arrays import has_tracers, working_dtype
from edmjax._common.held import cast, dtypes_of, is_held
from edmjax._common.typing import Array, Denoiser, PyTree, Shape
from edmjax.noise.keys import cut_draw, padded_draw
from edmjax.planning.scale import STAND_IN, nearer
from edmjax.planning.table import Plan


def most_of(x: PyTree) -> float:
    """The highest level whose noise the dtypes of `x` hold: of 10^15 draws the largest is 8."""
    return min(float(jnp.finfo(leaf.dtype).max) / 8 for leaf in jax.tree.leaves(x))


def check_reach(denoise: Denoiser, plan: Plan, x: PyTree) -> None:
    """Raises where points in the dtypes of `x`, such as float16, would overflow."""
    if all(leaf.dtype.itemsize > 2 for leaf in jax.tree.leaves(x)) or has_tracers(plan):
        return
    if plan.scale is not None and is_held(denoise):
        return  # neither `x` nor what the network is shown has the size of the level
    sigmas = np.asarray(plan.sigmas)
    highest, most = float(sigmas[sigmas != STAND_IN].max(initial=0)), most_of(x)
    if highest > most:
        raise ValueError(
            f"Noise at sigma = {highest:g} overflows points of float16, which reach up to {most:g}:"
            " pass `x` in float32 or bfloat16, or make the plan on `levels` of a process and the "
            "denoiser with `ej.denoisers`, which hold points in the scale of the process."
        )


class Points:
    """Points between two evaluations, which are held in another form than the user's `x`.

    They are held at least in float32: half precision would lose what the plan's float64 weights
    gained. They are held as matrices: XLA's CPU loops are vectorised along the last axis alone, so
    an image of 28 x 28 takes up to twice as long as its 784 pixels in a row. The form is the
    same for every platform, so that a program does not depend on the machine that lowers it. On a
    GPU a reshape moves nothing. On a TPU an evaluation of a small U-Net reads and writes 2 to 3 %
    more bytes (compiled for a v5e, 28 x 28 x 1 and 64 x 64 x 3).
    """

    def __init__(self, x: PyTree, batched: bool):
        self.x: PyTree = x
        self.dtypes: Any = dtypes_of(x)
        self.batched: bool = batched
        self.wide: Any = jax.tree.map(lambda leaf: working_dtype(leaf.dtype), x)
        # Weights are one array for all leaves, so it has the widest of their precisions.
        self.dtype: Any = jnp.result_type(*jax.tree.leaves(self.wide))
        self.shapes: Any = jax.tree.map(self._shape, x)

    @staticmethod
    def _shape(leaf: Array) -> "_Shape":
        # Merging the axes of an array that is split over devices would gather it.
        if leaf.ndim < 3 or _is_split(leaf):
            return _Shape(leaf.shape)
        return _Shape((leaf.shape[0], math.prod(leaf.shape[1:])))

    def hold(self, values: PyTree, unscale: Array | None = None) -> Any:
        """`values`, a tree like `x`, as the loop holds them, divided by `unscale` if given."""

        def leaf(value, dtype, shape):
            value = jnp.asarray(value, dtype).reshape(shape.shape)
            return value if unscale is None else value / unscale.astype(dtype)

        return jax.tree.map(leaf, values, self.wide, self.shapes)

    def show(self, point: PyTree, unscale: Array | None = None) -> Any:
        """A held point as the user sees it, in the shapes and dtypes of `x`; undoes `hold`."""
        return cast(self.show_wide(point, unscale), self.dtypes)

    def show_wide(self, point: PyTree, unscale: Array | None = None) -> Any:
        """A held point in the shapes of `x`, in the precision in which it is held."""

        def leaf(value, like):
            value = value if unscale is None else value * unscale.astype(value.dtype)
            return value.reshape(like.shape)

        return jax.tree.map(leaf, point, self.x)

    def pack(self, draw: PyTree) -> Any:
        """A draw like `x`, in the form in which it is carried to the next iteration."""

        def leaf(value, like):
            ahead = like.shape[: self.batched]
            # A draw is carried whole, as it left the generator: cut and reshaped here, XLA would
            # fuse it with the sums, and they would be rounded as no given noise is.
            return value if _is_split(like) else padded_draw(value, ahead)

        return jax.tree.map(leaf, draw, self.x)

    def unpack(self, draws: list[Any]) -> list[Any]:
        """Carried draws, held like points; draws that are held already stay as they are."""
        return [
            self.hold(jax.tree.map(lambda v, like: cut_draw(v, like.shape), draw, self.x))
            for draw in draws
        ]


def _is_split(leaf: Array) -> bool:
    """Whether axes after the first are sharded: those cannot be merged into one."""
    spec = getattr(jax.typeof(leaf).sharding, "spec", ())
    return any(axis is not None for axis in spec[1:])


class _Shape:
    """A shape as a leaf of a pytree: a tuple would be taken for a part of the tree."""

    def __init__(self, shape: Shape):
        self.shape = shape


class Table:
    """The plan as one array with a row for each evaluation: a scan pays a kernel for each array.

    A plan's windows look back: row `k` holds the weights with which point `k` is made of earlier
    ones. The loop looks ahead: after evaluation `k` it adds what that evaluation contributes to
    each later point. So each column is shifted, and evaluation `k` finds its weight in the point
    `age + 1` rows later beside its own level.

    `most` is the highest level to show in place of an infinite one; see `planning.scale.nearer`.
    """

    def __init__(self, plan: Plan, dtype: DTypeLike, most: float):
        if plan.scale is not None and most < STAND_IN:
            plan = nearer(plan, dtype, most)
        # Raw outputs have a column only where a sampler asks for them: most never do.
        windows = [plan.y, plan.d] if plan.r is None else [plan.y, plan.d, plan.r]
        self.draws: int = plan.z.shape[1]
        # For each age, the kinds of window (points, outputs, raw outputs) that reach back so far.
        self.ages: list[list[int]] = [
            [kind for kind, window in enumerate(windows) if age < window.shape[1]]
            for age in range(max(window.shape[1] for window in windows))
        ]
        self.scaled: bool = plan.scale is not None
        # What belongs to the row's own point: the weights of its draws, its level, its scale.
        own = [jnp.asarray(plan.z[:, slot]) for slot in range(self.draws)]
        own.append(jnp.concatenate([jnp.asarray(plan.sigmas), jnp.asarray(plan.grid[-1:])]))
        if plan.scale is not None:
            # Divided once here, in the plan's precision, and not in every evaluation.
            own.append(1 / jnp.asarray(plan.scale))
        columns = [
            *(
                self._column(windows[kind], age)
                for age, kinds in enumerate(self.ages)
                for kind in kinds
            ),
            *(column[:-1] for column in own),
        ]
        self.rows: Array = jnp.stack([jnp.asarray(column, dtype) for column in columns], axis=1)
        # Where the last step ends, as a row whose outputs are multiplied by nothing.
        blank = [jnp.zeros(1, dtype)] * (len(columns) - len(own))
        ends = [jnp.asarray(column[-1:], dtype) for column in own]
        self.end: Array = jnp.stack([*blank, *ends], axis=1)
        # The starting point stands before evaluation 0: in row a at age a.
        start = [plan.y[a, a] if a < min(plan.y.shape) else 0.0 for a in range(len(self.ages))]
        self.first: list[Array] = [jnp.asarray(weight, dtype) for weight in start]

    @staticmethod
    def _column(window: Any, age: int) -> Any:
        # Entry `k` is what evaluation `k` adds to point `k + 1 + age`. The last evaluations would
        # add to points past the end of the plan: there the weight is 0.
        column = jnp.asarray(window[1 + age :, age])
        return jnp.pad(column, (0, window.shape[0] - 1 - column.shape[0]))

    def row(self, cells: Array) -> "Row":
        """One row of `rows`, or `end[0]`, by what its numbers mean."""
        return Row(self, iter(cells))


class Row:
    """One row of the table, taken apart in the order in which it was put together.

    Attributes:
        weights: for each age, the weights by kind (0 point, 1 output, 2 raw output) with which this
            evaluation enters the point `age + 1` rows later.
        draws: the weights of the draws that this row's own point takes.
        sigma: the noise level of its point.
        unscale: what its point is multiplied by for the denoiser, in the scale of a process.
    """

    def __init__(self, table: Table, cells: Iterator[Any]):
        self.weights: list[dict[int, Any]] = [
            {kind: next(cells) for kind in kinds} for kinds in table.ages
        ]
        self.draws: dict[int, Any] = dict(enumerate(next(cells) for _ in range(table.draws)))
        self.sigma: Any = next(cells)
        self.unscale: Any = next(cells) if table.scaled else None


def stack(trees: list[Any]) -> Any:
    """One tree of stacked arrays; a tree alone stays as it is."""
    # A method without history carries one array: an axis of length 1 would cost a copy.
    return trees[0] if len(trees) == 1 else jax.tree.map(lambda *v: jnp.stack(v), *trees)


def unstack(stacked: PyTree, count: int) -> list[Any]:
    """The `count` trees that `stack` was given."""
    if count == 1:
        return [stacked]
    return [jax.tree.map(lambda v, i=i: v[i], stacked) for i in range(count)]


def combine(weights: dict[int, Any], vectors: PyTree, added: list[Any] | None = None) -> Any:
    """`added + sum(weights[i] * vectors[i])`, as multiplications and additions.

    Not as a product of matrices: matrix units would round the weights. What is added comes first,
    so that the step to zero is exactly the denoised output.
    """
    pairs = [(weight, vectors[i]) for i, weight in weights.items()]

    def leaf(*leaves):
        terms = [w.astype(v.dtype) * v for (w, _), v in zip(pairs, leaves, strict=False)]
        return functools.reduce(operator.add, [*leaves[len(pairs) :], *terms])

    return jax.tree.map(leaf, *(vector for _, vector in pairs), *(added or []))
