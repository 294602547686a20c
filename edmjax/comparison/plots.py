"""Work-precision plots: error against evaluations and against seconds, a column a problem."""

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from edmjax.comparison.results import Result
from edmjax.evaluation.report import label_lines

# Each line is the lower envelope of some results: its label, its color (of Okabe and Ito, and two
# more), its style, and patterns of the results' kind, method and path.
LINES: tuple[tuple[str, str, str, tuple[str, str, str]], ...] = (
    ("edmjax plans, best", "#0072B2", "-", ("plan", "*", "*")),
    ("edmjax adaptive", "#009E73", "-", ("*", "adaptive(*", "*")),
    ("dpmpp_2m, karras", "#56B4E9", "--", ("plan", "dpmpp_2m", "karras")),
    ("heun, karras", "#888888", "--", ("plan", "heun", "karras")),
    ("dpm_adaptive", "#CC79A7", "--", ("*", "dpm_adaptive(*", "*")),
    ("diffrax in theta", "#D55E00", "-", ("diffrax-adaptive", "*", "theta")),
    ("diffrax in log sigma", "#E69F00", "-", ("diffrax-adaptive", "*", "log_sigma")),
    ("diffrax in sigma", "#000000", "-", ("diffrax-adaptive", "*", "sigma")),
    ("diffrax, fixed steps", "#B8860B", ":", ("diffrax-fixed", "*", "*")),
)
TITLES = {"rms": "root mean square error", "median": "median error"}


def envelope(points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points (cost, error), cheapest first, that no cheaper one is as good as."""
    kept: list[tuple[float, float]] = []
    for cost, error in sorted(point for point in points if np.isfinite(point).all()):
        if not kept or error < kept[-1][1]:
            kept.append((cost, error))
    return kept


def draw(results: Sequence[Result], problems: Mapping[str, str], path: Path) -> None:
    """Writes `path` (.png) and its twin (.svg). `problems` says which error each is judged by."""
    figure = Figure(figsize=(7 * len(problems), 10), layout="constrained")
    axes = figure.subplots(2, len(problems), squeeze=False)
    for column, (problem, error) in enumerate(problems.items()):
        of = [result for result in results if result.problem == problem]
        for row, cost in enumerate(("evaluations", "seconds")):
            _panel(axes[row, column], of, cost, error)
        axes[0, column].set_title(f"{problem}: {TITLES[error]}")
        axes[1, column].set_xlabel("seconds for the batch, compilation not counted")
        axes[0, column].set_xlabel("evaluations of the denoiser, mean over samples")
    for row in axes:
        row[0].set_ylabel("error, in units of the data")
    figure.savefig(path, dpi=80)
    with Image.open(path) as image:  # a few colours are enough, in a third of the bytes
        image.quantize(128).save(path, optimize=True)
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})


def _panel(axes: Axes, results: Sequence[Result], cost: str, error: str) -> None:
    labels = []
    axes.set(xscale="log", yscale="log")
    axes.tick_params(axis="x", which="minor", labelsize=6)  # or they touch within a decade
    for label, color, style, patterns in LINES:
        of = [r for r in results if all(map(fnmatchcase, (r.kind, r.method, r.path), patterns))]
        points = envelope((getattr(r, cost), getattr(r, error)) for r in of)
        # Above 1 a sample is as wrong as noise, and the picture has better uses for its room.
        points = [point for point in points if 1e-7 < point[1] < 1]
        if points:
            x, y = zip(*points, strict=True)
            axes.plot(x, y, style, color=color, marker="o", markersize=2.5, linewidth=1.4)
            labels.append((x[-1], y[-1], label, color))
    if labels:
        label_lines(axes, labels)
    else:
        axes.text(0.5, 0.5, "no run", transform=axes.transAxes, ha="center")
