"""Rows over seeds as means with standard errors, and all of it as Markdown."""

import csv
import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from edmjax.evaluation.losses import LevelLoss, Mean, mean_of
from edmjax.evaluation.quality import FIGURES

# Of `samples.csv`, a line a set of samples; the first four tell them apart.
SAMPLE_COLUMNS = ("sampler", "schedule", "budget", "seed", "evaluations", *FIGURES)
# The name of the test images in the place of a sampler.
TEST_IMAGES = "test images"
SHOWN = ("frechet", "confident", "off_class", "precision", "recall", "copied", "distance_50")


class Quality(NamedTuple):
    """What a way to draw samples gives, each figure with its mean and standard error over seeds."""

    sampler: str
    schedule: str
    budget: int
    evaluations: int
    seeds: int
    figures: dict[str, Mean]

    @property
    def name(self) -> str:
        return f"{self.sampler}, {self.schedule}" if self.schedule else self.sampler


def over_seeds(rows: Iterable[dict[str, Any]]) -> list[Quality]:
    """The rows of `samples.csv`, those that differ in their seed alone taken together."""
    groups: dict[tuple[str, str, int], list[dict[str, Any]]] = {}
    for row in rows:
        key = row["sampler"], row["schedule"], int(row["budget"])
        groups.setdefault(key, []).append(row)
    return [
        Quality(
            *key,
            int(group[0]["evaluations"]),
            len(group),
            {name: mean_of([row[name] for row in group]) for name in FIGURES},
        )
        for key, group in groups.items()
    ]


def write_csv(qualities: Sequence[Quality], path: str | os.PathLike) -> None:
    """A line a way to draw samples, each figure in two columns."""
    columns = [column for name in FIGURES for column in (name, f"{name}_error")]
    lines = [
        [*quality[:5], *(f"{v:.6g}" for name in FIGURES for v in quality.figures[name])]
        for quality in qualities
    ]
    temporary = Path(f"{path}.tmp")
    with temporary.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([["sampler", "schedule", "budget", "evaluations", "seeds", *columns]])
        writer.writerows(lines)
    os.replace(temporary, path)


def markdown(
    summary: dict[str, Mean], levels: dict[str, list[LevelLoss]], qualities: Sequence[Quality]
) -> str:
    """All results as tables."""
    parts = [table(["", "value"], [[name, plus_minus(mean)] for name, mean in summary.items()])]
    for split, losses in levels.items():
        parts += [
            f"Loss by noise level on {split} images, of the network and of the best denoiser for "
            "the training set:",
            table(
                ["sigma", "network", "best", "excess"],
                [[f"{x.sigma:.3g}", *map(plus_minus, x[1:])] for x in losses],
            ),
        ]
    lines = [
        [q.name, str(q.evaluations or ""), *(plus_minus(q.figures[name]) for name in SHOWN)]
        for q in sorted(qualities, key=lambda q: (q.name != TEST_IMAGES, q.name, q.evaluations))
    ]
    said = "\n".join(f"- {name}: {FIGURES[name]}" for name in SHOWN)
    parts += [table(["sampler", "evaluations", *SHOWN], lines), said]
    return "\n\n".join(parts) + "\n"


def plus_minus(mean: Mean) -> str:
    """`0.1903 ± 0.0004`: one digit of the error and as many of the value; four where it is NaN."""
    value, error = mean
    if math.isnan(error) or error == 0:
        return f"{value:.4g}"
    if error < 1e-6:
        return f"{value:.0e} ± {error:.0e}"
    digits = max(0, -math.floor(math.log10(error)))
    return f"{value:.{digits}f} ± {error:.{digits}f}"


def table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)
