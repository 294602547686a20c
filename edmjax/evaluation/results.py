"""What was measured, over seeds: means with standard errors, as CSV, Markdown and plots."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from edmjax.evaluation.losses import LevelLoss, Mean, mean_of
from edmjax.evaluation.quality import FIGURES
from edmjax.evaluation.report import COLORS, Table, csv_lines, label_lines, markdown_table
from edmjax.training.files import StrPath, write_file

# The first columns of `samples.csv`; the four before the evaluations tell its rows apart.
SAMPLE_COLUMNS: dict[str, type[Any]] = dict(
    sampler=str, schedule=str, budget=int, seed=int, evaluations=int
)
# The names of real images or samples, that the network never saw, in the place of a sampler.
TEST_IMAGES, HELD_OUT = REAL = ("test images", "held-out samples")
SHOWN = ("frechet", "confident", "off_class", "precision", "recall", "copied", "distance_50")
PANELS = {
    "frechet": "Fréchet distance",
    "confident": "share above probability 0.9",
    "precision": "precision",
    "recall": "recall",
}
# The figures of a network of any data that are shown, with their titles in a plot.
TITLES = {
    "frechet": "Fréchet distance",
    "c2st": "classifier two-sample test",
    "precision": "precision",
    "recall": "recall",
    "sliced_wasserstein": "sliced Wasserstein distance",
    "energy": "energy distance",
}
LOSSES = ("network", "best", "excess")


class Quality(NamedTuple):
    """How good the samples of a method are: each figure a mean over seeds."""

    sampler: str
    schedule: str
    budget: int
    evaluations: int
    seeds: int
    figures: dict[str, Mean]

    @property
    def name(self) -> str:
        """The sampler and its schedule."""
        return f"{self.sampler}, {self.schedule}" if self.schedule else self.sampler


def over_seeds(rows: Iterable[Mapping[str, Any]], names: Iterable[str] = FIGURES) -> list[Quality]:
    """The rows of `samples.csv`, those that differ in their seed alone taken together."""
    names = [*names]
    groups: dict[tuple[str, str, int], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["sampler"], row["schedule"], row["budget"]), []).append(row)
    found = []
    for key, group in groups.items():
        figures = {n: mean_of([row[n] for row in group]) for n in names if n in group[0]}
        found.append(Quality(*key, group[0]["evaluations"], len(group), figures))
    return found


def write_quality(qualities: Sequence[Quality], path: StrPath) -> None:
    """Writes a CSV file: a line for each method, each figure in two columns."""
    columns = [column for name in qualities[0].figures for column in (name, f"{name}_error")]
    # The figures are those of one table, so all qualities have them in the same order.
    lines = [
        [*quality[:5], *(f"{v:.6g}" for mean in quality.figures.values() for v in mean)]
        for quality in qualities
    ]
    write_file(path, csv_lines([[*Quality._fields[:5], *columns], *lines]))


def levels_table(path: StrPath) -> Table:
    """The file `levels.csv`: a line for each part of the data and each level."""
    columns = {"split": str, "sigma": float}
    return Table(path, columns | {f"{n}{e}": float for n in LOSSES for e in ("", "_error")}, 2)


def levels_of(
    rows: Table, splits: Iterable[str], sigmas: Sequence[float]
) -> dict[str, list[LevelLoss]]:
    """The losses in `levels.csv`."""
    return {
        split: [
            LevelLoss(row["sigma"], *(Mean(row[name], row[f"{name}_error"]) for name in LOSSES))
            for sigma in sigmas
            if (row := rows.get(split, sigma))
        ]
        for split in splits
    }


def markdown(
    summary: Mapping[str, Mean],
    levels: Mapping[str, Sequence[LevelLoss]],
    qualities: Sequence[Quality],
    *,
    what: str = "images",
    shown: Sequence[str] = SHOWN,
    said: Mapping[str, str] = FIGURES,
) -> str:
    """All results as tables; `what` samples are called, and `said` of each figure `shown`."""
    lines = [[name, plus_minus(mean)] for name, mean in summary.items()]
    parts = [markdown_table([["", "value"], *lines])]
    for split, losses in levels.items():
        lines = [[f"{x.sigma:.3g}", *map(plus_minus, x[1:])] for x in losses]
        parts += [
            f"Loss by noise level on {split} {what}, of the network and of the best denoiser for "
            "the training set:",
            markdown_table([["sigma", "network", "best", "excess"], *lines]),
        ]
    shown = [name for name in shown if name in qualities[0].figures]
    lines = [
        [q.name, str(q.evaluations or ""), *(plus_minus(q.figures[name]) for name in shown)]
        for q in sorted(qualities, key=lambda q: (q.name not in REAL, q.name, q.evaluations))
    ]
    parts.append(markdown_table([["sampler", "evaluations", *shown], *lines]))
    parts.append("\n".join(f"- {name}: {said[name]}" for name in shown))
    return "\n\n".join(parts) + "\n"


def plus_minus(mean: Mean) -> str:
    """`0.1903 ± 0.0004`: one digit of the error and as many of the value; four where it is NaN.

    Empty where there is no value.
    """
    value, error = mean
    if math.isnan(value):
        return ""
    if math.isnan(error) or error == 0:
        return f"{value:.4g}"
    if error < 1e-6:
        return f"{value:.0e} ± {error:.0e}"
    digits = max(0, -math.floor(math.log10(error)))
    return f"{value:.{digits}f} ± {error:.{digits}f}"


def draw_quality(
    qualities: Sequence[Quality], path: StrPath, panels: Mapping[str, str] = PANELS
) -> None:
    """A panel for each figure: a line for each sampler with its schedule, real images dashed."""
    rows = -(-len(panels) // 2)
    figure = Figure(figsize=(12, 4 * rows), layout="constrained")
    names = dict.fromkeys(q.name for q in qualities if q.name not in REAL)
    for axes, (key, title) in zip(figure.subplots(rows, 2).flat, panels.items(), strict=False):
        labels = []
        for i, name in enumerate(names):
            of = sorted((q for q in qualities if q.name == name), key=lambda q: q.evaluations)
            color = COLORS[i % len(COLORS)]
            x, y = [q.evaluations for q in of], [q.figures[key].value for q in of]
            errors = np.nan_to_num([q.figures[key].standard_error for q in of])
            axes.errorbar(x, y, errors, color=color, marker="o", markersize=3, capsize=2)
            labels.append((x[-1], y[-1], name, color))
        numbers = sorted({q.evaluations for q in qualities if q.evaluations})
        for value, name in [(q.figures[key].value, q.name) for q in qualities if q.name in REAL]:
            axes.axhline(value, color="#666666", linestyle="--", linewidth=1)
            labels.append((max(numbers, default=0), value, name, "#666666"))
        axes.set(title=title, xlabel="evaluations of the network", xscale="log")
        # Numbers that are nearly the same would be written over one another.
        ticks = [
            n for n, after in zip(numbers, [*numbers[1:], 10**9], strict=True) if after > 1.08 * n
        ]
        axes.set_xticks(ticks, map(str, ticks))
        axes.minorticks_off()
        if key == "frechet":
            axes.set_yscale("log")
        label_lines(axes, labels)
    figure.savefig(path, dpi=100)


def draw_levels(levels: Mapping[str, Sequence[LevelLoss]], path: StrPath) -> None:
    """The loss by noise level of the network and of the best denoiser for the training set."""
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes, labels = figure.subplots(), []
    for style, (split, losses) in zip("-:", levels.items(), strict=False):
        for color, who in zip(COLORS, ("network", "best"), strict=False):
            x, y = [at.sigma for at in losses], [getattr(at, who).value for at in losses]
            if not np.isfinite(y).all():
                continue  # the best denoiser is not known
            axes.plot(x, y, style, color=color, marker="o", markersize=3)
            labels.append((x[-1], y[-1], f"{who}, {split}", color))
    # On images that it does not know the best denoiser loses thousands at the lowest levels.
    highest = max(at.network.value for losses in levels.values() for at in losses)
    axes.set_ylim(0, 1.2 * highest)
    axes.set(
        title="Loss by noise level: the network, and the best denoiser for the training set",
        xlabel="sigma",
        ylabel="weighted squared error, mean a pixel",
        xscale="log",
    )
    label_lines(axes, labels)
    figure.savefig(path, dpi=100)
