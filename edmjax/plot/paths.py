"""The paths of points of the plane from noise to data."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from edmjax._common.functions import width_of
from edmjax._common.typing import Denoiser, Keys, PyTree, Scalar
from edmjax.planning.table import PlanLike, check_plan
from edmjax.plot._figure import COLORS, array, axes_of, finish, points
from edmjax.running.one_plan import trajectory
from edmjax.scalar import host


def trajectories(
    denoise: Denoiser,
    plan: PlanLike,
    x: PyTree,
    key: Keys | None = None,
    *,
    cond: PyTree = None,
    sigma_data: Scalar | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Runs a plan on points of the plane and draws the path of each, and a dot where it ends.

    A point at level `sigma` is drawn at `x / sqrt(1 + (sigma / sigma_data)^2)`, so that noise and
    data are about as wide and the sample stays where it is. `sigma_data=math.inf` draws `x`.

    Args:
        denoise, plan, x, key, cond: as for `ej.sample`; `x` has shape (samples, 2).
        sigma_data: the standard deviation of the data, above 0; by default the denoiser's own, else
            0.5.
        ax: where to draw; by default a new figure.

    Raises:
        TypeError: if `plan` is not a plan, `x` not an array of real numbers, or `sigma_data` not a
            number.
        ValueError: if `x` has another shape or NaN, `sigma_data` is not above 0, or the plan holds
            its points in the scale of a process; and as `ej.sample`.
    """
    check_plan(plan)
    shape = points(x, "`x`").shape
    if shape[1:] != (2,) or not shape[0]:
        raise ValueError(f"Paths are drawn in the plane: `x` is (samples, 2), got {shape}.")
    own = width_of(denoise, sigma_data)
    width = array(host(own, "sigma_data"), "`sigma_data`")
    if not width > 0:
        raise ValueError(f"`sigma_data` is the width of the data, above 0; got {own}.")
    if plan.scale is not None:
        raise ValueError(
            "This plan holds its points in the scale of a process: make one on the levels alone, "
            "`grid.sigmas`."
        )
    end, visited = trajectory(denoise, plan, x, key, cond=cond)
    paths = np.concatenate([array(visited, "`x`"), array(end, "`x`")[None]])
    levels = np.append(array(plan.sigmas, "plan"), array(plan.grid, "plan")[-1])
    paths = paths / np.sqrt(1 + (levels / width) ** 2)[:, None, None]
    ax = axes_of(ax, 6.0, 6.0)
    ax.add_collection(LineCollection(list(paths.transpose(1, 0, 2)), colors="#888888", lw=0.6))
    ax.plot(*paths[-1].T, ".", color=COLORS[1], markersize=4)
    ax.autoscale_view()  # a collection does not change the limits by itself
    ax.set_aspect("equal", "datalim")
    return finish(ax)
