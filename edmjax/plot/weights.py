"""A plan as a matrix of weights."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import SymLogNorm

from edmjax.planning.table import PlanLike, check_plan
from edmjax.plot._figure import array, axes_of


def plan(plan: PlanLike, *, ax: Axes | None = None) -> Axes:
    """Draws a plan as a matrix of weights: a row for each point, a column for each of its parts.

    Row `k` is the point of evaluation `k`, the last row the sample. Columns: `x` the start, `x0,
    x1, ...` the points of earlier evaluations, `D0, D1, ...` their denoised outputs, `R0, R1, ...`
    their raw outputs where the plan uses them, `z0, z1, ...` the draws of noise. Columns without a
    weight are left out. The colour is the weight, logarithmic above 1; `print(plan)` shows the
    numbers.

    Args:
        plan: from `ej.make_plan`.
        ax: where to draw; by default a new figure. A bar of colours takes some of its room.

    Raises:
        TypeError: if `plan` is not a plan, or is traced.
        ValueError: if it is a stack of plans.
    """
    check_plan(plan)
    matrix, names = _matrix(plan)
    ax = axes_of(ax)
    # White is a weight of zero. Above 1 the colours are logarithmic: noise at high levels has
    # weights of tens, beside which all others would be white.
    most = float(np.abs(matrix).max(initial=1))
    norm = SymLogNorm(linthresh=1.0, vmin=-most, vmax=most)
    image = ax.imshow(matrix, cmap="RdBu", norm=norm, aspect="auto")
    levels = [f"{k}: {float(sigma):.3g}" for k, sigma in enumerate(plan.sigmas)]
    rows = _some(plan.nfe + 1)
    ax.set_yticks(rows, [[*levels, "sample"][k] for k in rows])
    columns = _some(len(names))
    ax.set_xticks(columns, [names[j] for j in columns], rotation=90, fontsize="small")
    ax.set(xlabel="made of", ylabel="evaluation: sigma")
    ax.figure.colorbar(image, ax=ax, label="weight")
    return ax


def _matrix(plan: Any) -> tuple[np.ndarray, list[str]]:
    """The weights of a plan, and the names of its columns."""
    nfe = plan.nfe
    blocks, names = [], []
    for letter, window in {"x": plan.y, "D": plan.d, "R": plan.r}.items():
        if window is None:
            continue
        block = np.zeros((nfe + 1, nfe + 1))
        for (k, age), weight in np.ndenumerate(array(window, "plan")):
            # Point and output number k - 1 - age stand in column k - age; column 0 is the start.
            if age <= k:
                block[k, k - age] += weight
        blocks.append(block)
        names += ["x" if letter == "x" else "", *(f"{letter}{k}" for k in range(nfe))]
    noise = np.zeros((nfe + 1, plan.num_draws))
    for (k, slot), ordinal in np.ndenumerate(array(plan.draws, "plan").astype(int)):
        if ordinal >= 0:
            noise[k, ordinal] += array(plan.z, "plan")[k, slot]
    matrix = np.concatenate([*blocks, noise], axis=1)
    names += [f"z{draw}" for draw in range(plan.num_draws)]
    used = np.flatnonzero(matrix.any(0))
    return matrix[:, used], [names[j] for j in used]


def _some(count: int, most: int = 40) -> list[int]:
    """At most `most` of the numbers below `count`, evenly spaced from 0, to be legible."""
    return list(range(0, count, -(-count // most)))
