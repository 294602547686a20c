"""Padding: a plan with the shapes of another, so that one compiled program runs both."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from edmjax import _checks
from edmjax.plan import Plan, PlanLike
from edmjax.scalar import is_traced


def padded(plan: Plan, like: PlanLike) -> Plan:
    """`plan` with the shapes of `like`: the same samples, to roundings of sums with zeros.

    Raises:
        TypeError: if `like` is not a plan.
        ValueError: if `plan` takes another number of steps or evaluations, or looks back further,
            draws more a row, or holds its points in a scale where `like` does not.
    """
    _checks.plan_of(like, "like")
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
            "This plan's noise has learned variances and that of `like` does not: make this one "
            "first, and the other like it."
        )
    rows = plan.nfe + 1
    learned = np.zeros(plan.z.shape) if plan.v is None else plan.v
    raw = np.zeros((rows, 0)) if plan.r is None else plan.r
    scale = np.ones(rows) if plan.scale is None else plan.scale
    return Plan(
        sigmas=plan.sigmas,
        grid=plan.grid,
        step=plan.step,
        y=_widen(plan.y, like.y),
        d=_widen(plan.d, like.d),
        z=_widen(plan.z, like.z),
        draws=_widen(plan.draws, like.draws, -1),
        intervals=_widen(plan.intervals, like.intervals),
        r=None if like.r is None else _widen(raw, like.r),
        scale=None if like.scale is None else scale,
        v=None if like.v is None else _widen(learned, like.v),
        about=plan.about,
    )


def _widen(table: Any, like: Any, fill: int = 0) -> Any:
    """`table` with as many columns as `like`, the new ones full of `fill`."""
    added = like.shape[1] - table.shape[1]
    widths = [(0, 0), (0, added), *[(0, 0)] * (table.ndim - 2)]
    return (jnp if is_traced(table) else np).pad(table, widths, constant_values=fill)
