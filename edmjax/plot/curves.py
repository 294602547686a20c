"""Curves on logarithmic axes: noise levels, and errors against evaluations."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from edmjax.plot._figure import COLORS, array, axes_of, finish


def sigmas(grids: Any, *, ax: Axes | None = None) -> Axes:
    """Draws noise levels against their number, on a logarithmic axis.

    Args:
        grids: one grid, shape (n + 1,), or a dict of grids by name. Levels that the axis has no
            place for, zero and infinity, are left out.
        ax: where to draw; a new figure without.

    Raises:
        TypeError: if a grid is traced.
        ValueError: if a grid is not one row of at least one level, or has one that is negative or
            NaN.
    """
    named = grids if isinstance(grids, Mapping) else {"": grids}
    if not named:
        raise ValueError("`grids` is empty: pass a grid, or a dict of grids by name.")
    rows = {}
    for name, grid in named.items():
        levels = array(grid, f"The grid {name!r}" if name else "`grids`")
        if levels.ndim != 1 or not levels.size or not (levels >= 0).all():
            raise ValueError(
                "A grid is one row of levels, none below zero, as `ej.schedules` returns it; got "
                f"shape {levels.shape}" + (f" for {name!r}." if name else ".")
            )
        rows[str(name)] = levels
    ax = axes_of(ax)
    for i, (name, levels) in enumerate(rows.items()):
        there = (levels > 0) & np.isfinite(levels)
        steps = np.arange(levels.size)[there]
        ax.plot(steps, levels[there], ".-", color=COLORS[i % len(COLORS)], label=name or None)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set(xlabel="number of the level", ylabel="sigma", yscale="log")
    return finish(ax, legend=any(rows))


def work_precision(runs: Mapping[str, Any], *, ax: Axes | None = None) -> Axes:
    """Draws error against evaluations, a line a method, on logarithmic axes.

    Args:
        runs: by name, pairs (evaluations, error) in any order, shape (n, 2). Pairs that the axes
            have no place for (an error of zero, infinity or NaN) are left out.
        ax: where to draw; a new figure without.

    Raises:
        ValueError: if there are no runs, or one is not a list of pairs.
    """
    if not runs:
        raise ValueError("`runs` is empty: pass a dict of lists of pairs (evaluations, error).")
    lines = {}
    for name, pairs in runs.items():
        points = array(pairs, f"The run {name!r}")
        if points.ndim != 2 or points.shape[1] != 2:
            raise ValueError(
                f"The run {name!r} must be a list of pairs (evaluations, error), got shape "
                f"{points.shape}."
            )
        points = points[(np.isfinite(points) & (points > 0)).all(1)]
        lines[name] = points[np.argsort(points[:, 0], kind="stable")]
    ax = axes_of(ax)
    for i, (name, points) in enumerate(lines.items()):
        ax.plot(*points.T, ".-", color=COLORS[i % len(COLORS)], label=name)
    ax.set(xlabel="evaluations of the denoiser", ylabel="error", xscale="log", yscale="log")
    return finish(ax, legend=True)
