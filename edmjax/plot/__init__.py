"""Pictures of grids, plans, paths and samples with matplotlib: `pip install 'edmjax[plot]'`.

    from matplotlib.figure import Figure

    figure = Figure(layout="constrained")
    grids = {"karras": ej.schedules.karras(18), "theta": ej.schedules.theta(18)}
    ej.plot.sigmas(grids, ax=figure.subplots())
    figure.savefig("grids.png")

Every function draws into `ax`, or into a new figure where that is None, and returns the Axes.
Nothing is shown, and neither pyplot nor the backend is touched: pyplot does not know a new figure,
which is freed when nothing refers to it. In a notebook `ax.figure` at the end of a cell shows it.
Noise levels go from high to low, as they are visited.
"""

from edmjax._common.extras import missing

try:
    from edmjax.plot.curves import sigmas, work_precision
    from edmjax.plot.images import preview, samples
    from edmjax.plot.paths import trajectories
    from edmjax.plot.weights import plan
except ModuleNotFoundError as _err:
    raise missing(_err, "edmjax.plot", "plot") from _err

__all__ = [
    "plan",
    "preview",
    "samples",
    "sigmas",
    "trajectories",
    "work_precision",
]


def __dir__() -> list[str]:
    return __all__
