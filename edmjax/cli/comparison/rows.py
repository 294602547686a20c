"""The rows of a comparison, in a CSV file that survives being interrupted."""

import csv
import dataclasses
import io
import json
import math
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from edmjax.cli.comparison import Mistake


class Key(NamedTuple):
    """What a row is about; a run skips the rows that the file has."""

    problem: str
    kind: str  # a key of `methods.KINDS`
    method: str
    path: str  # the schedule, or the form
    setting: float  # the budget of evaluations, or the tolerance
    perturbation: float


@dataclasses.dataclass(frozen=True)
class Row:
    """One run of one method. Errors and distances are in units of the data, NaN where not taken.

    Attributes:
        evaluations, evaluations_max: the mean over samples and the most of one; of the batch where
            its samples share their steps. Rejected steps count.
        rms: the root mean square error over samples and coordinates.
        median: the median over samples of each sample's root mean square error.
        diverged: the share of samples whose error is above 0.25 sigma_data: in another mode.
        seconds: to run the compiled program on all samples.
        compile_seconds: to trace and compile it. Runs of one program have one compilation.
    """

    problem: str
    kind: str
    method: str
    path: str
    setting: float
    perturbation: float
    evaluations: float
    evaluations_max: float
    rms: float = math.nan
    median: float = math.nan
    diverged: float = math.nan
    sliced_w2: float = math.nan
    sliced_w2_error: float = math.nan
    energy: float = math.nan
    energy_error: float = math.nan
    seconds: float = math.nan
    compile_seconds: float = math.nan

    @property
    def key(self) -> Key:
        return Key(*(getattr(self, name) for name in Key._fields))


FIELDS = tuple(field.name for field in dataclasses.fields(Row))
_TEXTS = ("problem", "kind", "method", "path")


def errors(x0: Any, reference: np.ndarray, sigma_data: float) -> dict[str, float]:
    """`rms`, `median` and `diverged` of a row; a sample that is not finite has infinite error."""
    off = np.asarray(x0, np.float64) - reference
    squares = np.mean(off**2, axis=tuple(range(1, off.ndim)))
    squares = np.where(np.isfinite(squares), squares, np.inf)
    each = np.sqrt(squares)
    return {
        "rms": float(np.sqrt(squares.mean())),
        "median": float(np.median(each)),
        "diverged": float(np.mean(each > 0.25 * sigma_data)),
    }


class Table:
    """The rows of a file, and the way of new ones into it.

    `configuration` is what all rows have in common; it is kept beside the file, and another one is
    refused, as its rows would not compare.

    Raises:
        Mistake: if the file is there and was made with another configuration, or is not such a
            file or damaged, or cannot be written.
    """

    def __init__(self, path: Path, configuration: dict[str, Any]):
        self.path, self.rows = path, {}
        beside = path.with_suffix(".json")
        try:
            if path.exists():
                self._check(beside, configuration)
                self._read()
                self._append(None)  # nothing, to see that it can be written
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                beside.write_text(json.dumps(configuration, indent=1) + "\n", encoding="utf-8")
                self._append(FIELDS)
        except OSError as error:
            raise Mistake(
                f"{path.parent} cannot be written to ({error.strerror}): pass another --out, a "
                "directory or the name of a new one."
            ) from error

    def add(self, row: Row) -> None:
        cells = [getattr(row, name) for name in FIELDS]
        self._append([cell if isinstance(cell, str) else f"{cell:.6g}" for cell in cells])
        self.rows[_rounded(row.key)] = row

    def get(self, key: Key) -> Row | None:
        return self.rows.get(_rounded(key))

    def _append(self, cells: Any) -> None:
        text = io.StringIO()
        if cells is not None:
            csv.writer(text, lineterminator="\n").writerow(cells)
        # One write of a whole line: an interrupt comes before it or after it.
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(descriptor, text.getvalue().encode())
        finally:
            os.close(descriptor)

    def _read(self) -> None:
        text = self.path.read_text(encoding="utf-8", errors="replace")
        whole = text[: text.rfind("\n") + 1]
        if whole != text:  # the power failed in the middle of a line
            self.path.write_text(whole, encoding="utf-8")
        header, *lines = csv.reader(io.StringIO(whole)) if whole else [()]
        if tuple(header) != FIELDS:
            raise Mistake(
                f"{self.path} is not a file of this comparison, or of another version of it: pass "
                "another --out."
            )
        for number, line in enumerate(lines, start=2):
            try:
                cells: dict[str, Any] = {
                    name: cell if name in _TEXTS else float(cell)
                    for name, cell in zip(FIELDS, line, strict=True)
                }
            except ValueError:
                raise Mistake(
                    f"Line {number} of {self.path} is damaged: remove it, and it is run again, or "
                    "pass another --out."
                ) from None
            row = Row(**cells)
            self.rows[_rounded(row.key)] = row

    def _check(self, beside: Path, configuration: dict[str, Any]) -> None:
        if not beside.exists():
            raise Mistake(
                f"{self.path} has no {beside.name} beside it, which says how it was made: pass "
                "another --out."
            )
        try:
            before = dict(json.loads(beside.read_text(encoding="utf-8")))
        except (TypeError, ValueError):
            raise Mistake(f"{beside} is damaged: pass another --out.") from None
        now = json.loads(json.dumps(configuration))
        differing = [
            f"{name} was {before.get(name)!r} and is {now.get(name)!r}"
            for name in sorted(before.keys() | now.keys())
            if before.get(name) != now.get(name)
        ]
        if differing:
            raise Mistake(
                f"{self.path} was made with another configuration, so new rows would not compare "
                f"with its own: {'; '.join(differing)}. Pass another --out, or the old options."
            )


def _rounded(key: Key) -> Key:
    """The key as it is written: six digits."""
    setting, perturbation = (float(f"{v:.6g}") for v in (key.setting, key.perturbation))
    return key._replace(setting=setting, perturbation=perturbation)
