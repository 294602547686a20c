"""How measurements are kept and shown: CSV tables that can be resumed, Markdown, and plots."""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from matplotlib.axes import Axes
from tqdm import tqdm

import edmjax as ej
from edmjax.training.checkpoints import differences
from edmjax.training.files import StrPath, make_directory, write_file

# Colours of Okabe and Ito, which every kind of eye can tell apart.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
Cell = str | int | float


class Table:
    """The rows of a CSV file, which is whole after an interruption: `add` writes a whole line.

    `columns` has the name of each column and the type of its cells (`str`, `int` or `float`); the
    first `num_keys` of them tell rows apart. The rows that the file already has are read, without
    a last line that was cut short. Floats keep 7 digits.

    Raises:
        ValueError: the file has other columns, or a damaged line.
        OSError: the file cannot be written.
    """

    def __init__(self, path: StrPath, columns: Mapping[str, type[Any]], num_keys: int):
        self.path: Path = Path(path)
        self.columns: dict[str, type[Any]] = dict(columns)
        self.num_keys: int = num_keys
        self.rows: dict[tuple[str, ...], dict[str, Any]] = {}
        make_directory(self.path.parent)
        if not self.path.exists():
            self._append(columns)
        text = self.path.read_text(encoding="utf-8", errors="replace")
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            self.path.write_text(whole, encoding="utf-8")
        header, *lines = csv.reader(io.StringIO(whole)) if whole else [[]]
        if header != list(columns):
            raise ValueError(
                f"{self.path} does not hold this table, or another version wrote it: choose "
                "another directory."
            )
        for number, line in enumerate(lines, start=2):
            try:
                self._keep(line)
            except ValueError as err:
                raise ValueError(
                    f"Line {number} of {self.path} is damaged: {','.join(line)!r:.80}. Delete the "
                    "line, and its row is measured again."
                ) from err

    def get(self, *keys: Cell) -> dict[str, Any] | None:
        """The row with these keys, by column; None where there is none."""
        return self.rows.get(tuple(map(_text, keys)))

    def add(self, *cells: Cell) -> None:
        """Adds a row: its cells in the order of the columns."""
        texts = [*map(_text, cells)]
        self._append(texts)
        self._keep(texts)

    def _keep(self, texts: Sequence[str]) -> None:
        cells = zip(self.columns.items(), texts, strict=True)
        row = {name: kind(text) for (name, kind), text in cells}
        self.rows[tuple(texts[: self.num_keys])] = row

    def _append(self, texts: Iterable[str]) -> None:
        # One write of a whole line: an interruption comes before it or after it.
        with self.path.open("ab", buffering=0) as file:
            file.write(csv_lines([texts]))


def csv_lines(rows: Iterable[Iterable[Cell]]) -> bytes:
    """Rows as the lines of a CSV file."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def _text(cell: Cell) -> str:
    return str(cell) if isinstance(cell, str | int) else f"{cell:.7g}"


def progress_bar(what: str, total: int, unit: str = "eval") -> Any:
    """A progress bar, which is not shown where there is nothing to do."""
    return tqdm(total=total, desc=what, unit=unit, unit_scale=True, disable=not total)


def setup() -> dict[str, str]:
    """The versions and the device that measurements were made with."""
    return {
        "edmjax": ej.__version__,
        "jax": jax.__version__,
        "device": jax.devices()[0].device_kind,
    }


def claim(record: Path, configuration: Mapping[str, Any], table: Path) -> None:
    """Writes what all rows of a table have in common to `record`, a JSON file.

    Raises:
        ValueError: the table has rows of another configuration, which would not compare, or of an
            unknown one; nothing is written.
        OSError: the directory cannot be written.
    """
    now = json.loads(json.dumps(dict(configuration)))
    advice = "Choose another directory, or delete this one."
    if not record.exists():
        if table.exists():
            raise ValueError(
                f"{table} has no {record.name} beside it, which says how it was made. {advice}"
            )
        make_directory(record.parent)
        write_file(record, (json.dumps(now, indent=1) + "\n").encode())
        return
    try:
        before = dict(json.loads(record.read_text(encoding="utf-8")))
    except (TypeError, ValueError, RecursionError) as err:
        raise ValueError(
            f"{record} is damaged, so nobody knows how {table.name} was made. {advice}"
        ) from err
    different = "; ".join(differences(before, now))
    if different:
        raise ValueError(
            f"{record.parent} holds results that would not compare: {different}. {advice}"
        )


def markdown_table(lines: Sequence[Sequence[str]]) -> str:
    """A table in Markdown, whose head is the first of the lines."""
    head, *body = lines
    rows = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def label_lines(axes: Axes, labels: Sequence[tuple[float | int, float | int, str, str]]) -> None:
    """Finishes a plot: its grid, and labels `(x, y, text, color)` of lines that end at `(x, y)`.

    The labels stand in a column on the right, in the order of the lines' ends, apart from each
    other.
    """
    axes.grid(True, color="#e4e4e4", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.autoscale_view()  # settles the limits, which the next lines read
    # In shares of the panel's height, where labels have one size.
    to_share = axes.transData + axes.transAxes.inverted()
    heights = np.array([to_share.transform((x, y))[1] for x, y, _, _ in labels])
    order = np.argsort(heights)
    for i, height in zip(order, spread(heights[order], 0.055), strict=True):
        x, y, text, color = labels[i]
        axes.annotate(
            text,
            (x, y),
            (1.03, height),
            textcoords="axes fraction",
            color=color,
            va="center",
            fontsize=9,
            arrowprops=dict(arrowstyle="-", color=color, linewidth=0.5, alpha=0.6),
        )


def spread(heights: Sequence[float] | np.ndarray, gap: float) -> np.ndarray:
    """Ascending heights, moved to be at least `gap` apart and, if there is room, at most 1."""
    steps = gap * np.arange(len(heights))
    apart = np.maximum.accumulate(heights - steps) + steps  # upwards, from the lowest
    return np.minimum(apart, 1 - steps[::-1])  # and the highest ones down again
