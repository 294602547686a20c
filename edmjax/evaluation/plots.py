"""Quality against evaluations, and loss against the noise level, with labels beside the lines."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from edmjax.evaluation.losses import LevelLoss
from edmjax.evaluation.tables import TEST_IMAGES, Quality

PANELS = {
    "frechet": "Fréchet distance",
    "confident": "share above probability 0.9",
    "precision": "precision",
    "recall": "recall",
}
# Colours of Okabe and Ito, which are told apart by every kind of eye.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


def draw_quality(qualities: Sequence[Quality], path: str | os.PathLike) -> None:
    """A panel a figure: a line a sampler with its schedule, and a broken one for test images."""
    figure = Figure(figsize=(12, 8), layout="constrained")
    names = dict.fromkeys(q.name for q in qualities if q.name != TEST_IMAGES)
    for axes, (key, title) in zip(figure.subplots(2, 2).flat, PANELS.items(), strict=True):
        labels = []
        for i, name in enumerate(names):
            of = sorted((q for q in qualities if q.name == name), key=lambda q: q.evaluations)
            color = COLORS[i % len(COLORS)]
            x, y = [q.evaluations for q in of], [q.figures[key].value for q in of]
            errors = np.nan_to_num([q.figures[key].standard_error for q in of])
            axes.errorbar(x, y, errors, color=color, marker="o", markersize=3, capsize=2)
            labels.append((x[-1], y[-1], name, color))
        for q in qualities:
            if q.name == TEST_IMAGES:
                value = q.figures[key].value
                axes.axhline(value, color="#666666", linestyle="--", linewidth=1)
                right = max((q.evaluations for q in qualities), default=1)
                labels.append((right, value, TEST_IMAGES, "#666666"))
        axes.set(title=title, xlabel="evaluations of the network", xscale="log")
        numbers = sorted({q.evaluations for q in qualities if q.evaluations})
        # Numbers that are nearly the same would be written over one another.
        ticks = [
            n for n, after in zip(numbers, [*numbers[1:], 10**9], strict=True) if after > 1.08 * n
        ]
        axes.set_xticks(ticks, map(str, ticks))
        axes.minorticks_off()
        if key == "frechet":
            axes.set_yscale("log")
        _finish(axes, labels)
    figure.savefig(path, dpi=100)


def draw_levels(levels: dict[str, list[LevelLoss]], path: str | os.PathLike) -> None:
    """The loss by noise level of the network and of the best denoiser for the training set."""
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes, labels = figure.subplots(), []
    for style, (split, losses) in zip("-:", levels.items(), strict=False):
        for i, who in enumerate(("network", "best")):
            x, y = [at.sigma for at in losses], [getattr(at, who).value for at in losses]
            axes.plot(x, y, style, color=COLORS[i], marker="o", markersize=3)
            labels.append((x[-1], y[-1], f"{who}, {split}", COLORS[i]))
    # On images that it does not know the best denoiser loses thousands at the lowest levels.
    highest = max((at.network.value for losses in levels.values() for at in losses), default=1)
    axes.set_ylim(0, 1.2 * highest)
    axes.set(
        title="Loss by noise level: the network, and the best denoiser for the training set",
        xlabel="sigma",
        ylabel="weighted squared error, mean a pixel",
        xscale="log",
    )
    _finish(axes, labels)
    figure.savefig(path, dpi=100)


def _finish(axes: Any, labels: Sequence[tuple[Any, Any, str, str]]) -> None:
    """Labels in a column on the right, in the order of their lines' ends and never over another."""
    axes.grid(True, color="#e4e4e4", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.autoscale_view()  # settles the limits, which the next lines read
    # In shares of the panel's height, where labels have one size.
    at = [
        axes.transAxes.inverted().transform(axes.transData.transform((x, y)))[1]
        for x, y, _, _ in labels
    ]
    order = np.argsort(at)
    heights = spread([at[i] for i in order], 0.055)
    for i, height in zip(order, heights, strict=True):
        x, y, name, color = labels[i]
        axes.annotate(
            name,
            (x, y),
            (1.03, height),
            textcoords="axes fraction",
            color=color,
            va="center",
            fontsize=9,
            arrowprops=dict(arrowstyle="-", color=color, linewidth=0.5, alpha=0.6),
        )


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """Ascending heights moved to be `gap` apart or more, and, where there is room, at most 1."""
    moved = list(heights)
    for i in range(1, len(moved)):
        moved[i] = max(moved[i], moved[i - 1] + gap)
    top = 1.0
    for i in reversed(range(len(moved))):
        moved[i] = min(moved[i], top)
        top = moved[i] - gap
    return moved
