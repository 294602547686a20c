"""Curves on logarithmic axes: noise levels, and errors against evaluations."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from edmjax._common.typing import Arraylike, Grid
from edmjax.plot._figure import COLORS, array, axes_of, finish


def sigmas(grids: Grid | Mapping[str, Grid], *, ax: Axes | None = None) -> Axes:
    """Draws noise levels against their number, on a logarithmic axis.

    Args:
        grids: one grid, shape (n + 1,), or a dict of grids by name. Levels that a logarithmic axis
            cannot show, zero and infinity, are left out.
        ax: where to draw; by default a new figure.

    Raises:
        TypeError: if a grid is traced, or does not hold numbers.
        ValueError: if a grid is not one row of at least one level, or has a level that is negative
            or NaN.
    """
    named = grids if isinstance(grids, Mapping) else {"": grids}
    if not named:
        raise ValueError("`grids` is empty: pass a grid, or a dict of grids by name.")
    rows = {}
    for name, grid in named.items():
        which = f"The grid {name!r}" if name else "`grids`"
        levels = array(grid, f"{which}, such as `ej.schedules.karras(18)` returns it,")
        row = levels.ndim == 1 and levels.size
        if not row or not (levels >= 0).all():
            got = f"{levels[~(levels >= 0)][0]}" if row else f"shape {levels.shape}"
            raise ValueError(
                f"{which} must be one row of levels, none below zero or NaN, as `ej.schedules` "
                f"returns it; got {got}."
            )
        rows[str(name)] = levels
    ax = axes_of(ax)
    for i, (name, levels) in enumerate(rows.items()):
        there = (levels > 0) & np.isfinite(levels)
        steps = np.arange(levels.size)[there]
        ax.plot(steps, levels[there], ".-", color=COLORS[i % len(COLORS)], label=name or None)
    # Half a level is no level.
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set(xlabel="number of the level", ylabel="sigma", yscale="log")
    return finish(ax, legend=any(rows))


def work_precision(runs: Mapping[str, Arraylike], *, ax: Axes | None = None) -> Axes:
    """Draws error against evaluations, a line a method, on logarithmic axes.

    Args:
        runs: by name, pairs (evaluations, error) in any order, shape (n, 2). Pairs whose error a
            logarithmic axis cannot show (zero or less, infinity or NaN) are left out.
        ax: where to draw; by default a new figure.

    Raises:
        TypeError: if `runs` is not a dict, or a run is traced or does not hold numbers.
        ValueError: if there are no runs, or one is not a list of pairs or has a number of
            evaluations that is not above 0 and finite.
    """
    if not isinstance(runs, Mapping):
        raise TypeError(
            "`runs` must be a dict of lists of pairs (evaluations, error) by name, got "
            f"{runs!r:.80}."
        )
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
        there = np.isfinite(points) & (points > 0)
        if not there[:, 0].all():
            raise ValueError(
                f"The run {name!r} has pairs (evaluations, error), and evaluations are above 0 and "
                f"finite: got {points[~there[:, 0], 0][0]}."
            )
        points = points[there[:, 1]]
        # Along the line, whatever the order of the pairs.
        lines[name] = points[np.argsort(points[:, 0], kind="stable")]
    ax = axes_of(ax)
    for i, (name, points) in enumerate(lines.items()):
        ax.plot(*points.T, ".-", color=COLORS[i % len(COLORS)], label=name)
    ax.set(xlabel="evaluations of the denoiser", ylabel="error", xscale="log", yscale="log")
    return finish(ax, legend=True)
