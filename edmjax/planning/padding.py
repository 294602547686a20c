"""Padding: plans widened to common shapes, so that one compiled program runs all of them."""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from edmjax.planning.table import Plan, PlanLike, check_plan
from edmjax.scalar import is_traced

# The number of rows is a power of two and at least this. Unused rows cost nothing, and a later
# sweep with other lengths finds the program compiled.
_LEAST_ROWS = 64


def padded(plan: Plan, like: PlanLike) -> Plan:
    """`plan` with the shapes of `like`: the same samples, to roundings of sums with zeros.

    Raises:
        TypeError: if `like` is not a plan.
        ValueError: if `plan` takes another number of steps or evaluations, or looks back further,
            draws more a row, or holds its points in a scale where `like` does not.
    """
    check_plan(like, "like")
    ours = len(plan.grid) - 1, plan.nfe
    theirs = like.grid.shape[-1] - 1, like.nfe
    if ours != theirs:
        raise ValueError(
            f"Padding cannot change the number of steps or evaluations: this plan has {ours[0]} "
            f"steps and {ours[1]} evaluations, `like` has {theirs[0]} and {theirs[1]}."
        )
    for name, what in (("y", "points"), ("d", "outputs"), ("z", "draws a row"), ("r", "raws")):
        table, other = getattr(plan, name), getattr(like, name)
        width, room = (0 if t is None else t.shape[-1] for t in (table, other))
        if width > room:
            raise ValueError(
                f"This plan keeps {width} {what} and `like` has room for {room}: make the wider "
                "plan first, and this one like it."
            )
    if plan.scale is not None and like.scale is None:
        raise ValueError(
            "This plan holds its points in the scale of a process and `like` does not: make both "
            "from levels of a process."
        )
    if plan.v is not None and like.v is None:
        raise ValueError(
            "This plan's noise has learned variances and the noise of `like` has not: make this "
            "plan first, and the other like it."
        )
    raw, scale, learned = _optional(plan)
    return dataclasses.replace(
        plan,
        y=_widen(plan.y, like.y),
        d=_widen(plan.d, like.d),
        z=_widen(plan.z, like.z),
        draws=_widen(plan.draws, like.draws, -1),
        intervals=_widen(plan.intervals, like.intervals),
        r=None if like.r is None else _widen(raw, like.r),
        scale=None if like.scale is None else scale,
        v=None if like.v is None else _widen(learned, like.v),
    )


def _optional(plan: Plan) -> tuple[Any, Any, Any]:
    """`r`, `scale` and `v` of the plan; neutral ones where it has none."""
    rows = plan.nfe + 1
    return (
        np.zeros((rows, 0)) if plan.r is None else plan.r,
        np.ones(rows) if plan.scale is None else plan.scale,
        np.zeros(plan.z.shape) if plan.v is None else plan.v,
    )


def _widen(table: Any, like: Any, fill: int = 0) -> Any:
    """`table` with as many columns as `like`, the new ones full of `fill`."""
    added = like.shape[1] - table.shape[1]
    widths = [(0, 0), (0, added), *[(0, 0)] * (table.ndim - 2)]
    return (jnp if is_traced(table) else np).pad(table, widths, constant_values=fill)


class Shape(NamedTuple):
    """The shape that the plans of a sweep are padded to, other lengths among them."""

    rows: int  # more than any plan has evaluations: the row after the last one makes the sample
    y: int
    d: int
    z: int
    r: int | None
    scale: bool
    v: bool

    @staticmethod
    def of(plans: Sequence[Plan]) -> "Shape":
        def widest(tables: Sequence[Any]) -> int:
            return max(table.shape[1] for table in tables)

        raws = [plan.r for plan in plans if plan.r is not None]
        return Shape(
            rows=max(_LEAST_ROWS, 1 << max(plan.nfe for plan in plans).bit_length()),
            y=widest([plan.y for plan in plans]),
            d=widest([plan.d for plan in plans]),
            z=max(plan.z.shape[1] * may_draw(plan) for plan in plans),
            r=widest(raws) if raws else None,
            scale=any(plan.scale is not None for plan in plans),
            v=any(plan.v is not None for plan in plans),
        )

    def padded(self, plan: Plan) -> Plan:
        """What the loop of a sweep reads of `plan`, in this shape; the rest is empty."""

        def table(values: Any, width: int | None, fill: int = 0) -> Any:
            traced = isinstance(values, Tracer)
            if not traced:  # of one dtype, whatever the levels were
                whole = np.issubdtype(values.dtype, np.integer)
                values = np.asarray(values, np.int32 if whole else np.float64)
            widths = [(0, self.rows + 1 - values.shape[0])]
            if width is not None:
                values = values[:, :width]
                widths += [(0, width - values.shape[1])]
            return (jnp if traced else np).pad(values, widths, constant_values=fill)

        raw, scale, learned = _optional(plan)
        return dataclasses.replace(
            plan,
            # One level less than there are rows: the grid has the last.
            sigmas=table(plan.sigmas, None)[:-1],
            grid=plan.grid[-1:],
            step=np.zeros(0, np.int32),
            intervals=np.zeros(0),
            y=table(plan.y, self.y),
            d=table(plan.d, self.d),
            z=table(plan.z, self.z),
            draws=table(plan.draws, self.z, -1),
            r=None if self.r is None else table(raw, self.r),
            scale=table(scale, None, 1) if self.scale else None,
            v=table(learned, self.z) if self.v else None,
        )


def may_draw(plan: Plan) -> bool:
    """Whether the plan draws noise, or might: under `jit` that is not known."""
    return plan.draws.size > 0 and (isinstance(plan.draws, Tracer) or plan.num_draws > 0)
