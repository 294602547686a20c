"""Work-precision plots: error against evaluations and against seconds, a column a problem."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from edmjax.cli.comparison.rows import Row


class Line(NamedTuple):
    """One line of the plot: the lower envelope of some rows."""

    label: str
    color: str
    style: str
    takes: Callable[[Row], bool]


# Colours of Okabe and Ito, which are told apart by every kind of eye.
LINES = (
    Line("edmjax plans, best", "#0072B2", "-", lambda r: r.kind == "plan"),
    Line("edmjax adaptive", "#009E73", "-", lambda r: r.method.startswith("adaptive(")),
    Line("dpmpp_2m, karras", "#56B4E9", "--", lambda r: _is(r, "dpmpp_2m", "karras")),
    Line("heun, karras", "#888888", "--", lambda r: _is(r, "heun", "karras")),
    Line("dpm_adaptive", "#CC79A7", "--", lambda r: r.method.startswith("dpm_adaptive(")),
    Line("diffrax in theta", "#D55E00", "-", lambda r: _adaptive_in(r, "theta")),
    Line("diffrax in log sigma", "#E69F00", "-", lambda r: _adaptive_in(r, "log_sigma")),
    Line("diffrax in sigma", "#000000", "-", lambda r: _adaptive_in(r, "sigma")),
    Line("diffrax, fixed steps", "#B8860B", ":", lambda r: r.kind == "diffrax-fixed"),
)


def _is(row: Row, method: str, path: str) -> bool:
    return row.kind == "plan" and row.method == method and row.path == path


def _adaptive_in(row: Row, form: str) -> bool:
    return row.kind == "diffrax-adaptive" and row.path == form


def envelope(points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points (cost, error), cheapest first, that no cheaper one is as good as."""
    kept: list[tuple[float, float]] = []
    for cost, error in sorted(point for point in points if np.isfinite(point).all()):
        if not kept or error < kept[-1][1]:
            kept.append((cost, error))
    return kept


def draw(rows: Sequence[Row], problems: dict[str, str], path: Path) -> None:
    """Writes `path` (.png) and its twin (.svg). `problems` says which error each is judged by."""
    width, height = 6.2 * len(problems), 10
    figure = Figure(figsize=(width, height))
    axes = figure.subplots(2, len(problems), squeeze=False)
    figure.subplots_adjust(
        left=0.7 / width, right=1 - 0.1 / width, bottom=0.06, top=0.96, wspace=0.1, hspace=0.17
    )
    for column, (problem, error) in enumerate(problems.items()):
        of = [row for row in rows if row.problem == problem]
        for row, cost in enumerate(("evaluations", "seconds")):
            _panel(axes[row, column], of, cost, error)
        axes[0, column].set_title(f"{problem}: {_NAMES[error]}")
        axes[1, column].set_xlabel("seconds for the batch, compilation not counted")
        axes[0, column].set_xlabel("evaluations of the denoiser, mean over samples")
    for row in axes:
        row[0].set_ylabel("error, in units of the data")
    figure.savefig(path, dpi=80)
    with Image.open(path) as image:  # a few colours are enough, in a third of the bytes
        image.quantize(128).save(path, optimize=True)
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})


_NAMES = {"rms": "root mean square error", "median": "median error"}


def _panel(ax: Any, rows: Sequence[Row], cost: str, error: str) -> None:
    ends = []
    ax.set_xscale("log")
    ax.set_yscale("log")
    for line in LINES:
        points = envelope((getattr(r, cost), getattr(r, error)) for r in rows if line.takes(r))
        # Above 1 a sample is as wrong as noise, and the picture has better uses for its room.
        points = [point for point in points if 1e-7 < point[1] < 1]
        if not points:
            continue
        x, y = zip(*points, strict=True)
        ax.plot(x, y, line.style, color=line.color, marker="o", markersize=2.5, linewidth=1.4)
        ends.append((x[-1], y[-1], line))
    if not ends:
        ax.text(0.5, 0.5, "no run", transform=ax.transAxes, ha="center")
        return
    low, high = ax.get_xlim()
    ax.set_xlim(low, high * (high / low) ** 0.42)  # room for the labels
    ax.grid(True, which="major", color="#e4e4e4", linewidth=0.6)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    _label(ax, ends, high)


def _label(ax: Any, ends: list[tuple[float, float, Line]], right: float) -> None:
    """Labels in a column on the right, in the order of the ends of their lines, hairs between."""
    ends = sorted(ends, key=lambda end: end[1])
    low, high = np.log10(ax.get_ylim())
    gap = (high - low) / 24
    heights = [float(np.log10(y)) for _, y, _ in ends]
    for i in range(1, len(heights)):
        heights[i] = max(heights[i], heights[i - 1] + gap)
    over = heights[-1] - high
    if over > 0:  # from the top down again
        heights[-1] = high
        for i in reversed(range(len(heights) - 1)):
            heights[i] = min(heights[i], heights[i + 1] - gap)
    left, end = np.log10(ax.get_xlim())
    at = 10 ** (np.log10(right) + 0.015 * (end - left))
    for (x, y, line), height in zip(ends, heights, strict=True):
        ax.plot([x, at], [y, 10**height], color=line.color, linewidth=0.5, alpha=0.6)
        ax.text(at, 10**height, " " + line.label, color=line.color, fontsize=9, va="center")
    ax.set_ylim(10**low, 10**high)
