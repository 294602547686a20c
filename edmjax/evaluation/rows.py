"""Tables in CSV files that survive being interrupted: a row is in the file when it is added."""

import csv
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any


class Rows:
    """The rows of a CSV file with named columns, of which the first `num_keys` tell rows apart.

    A row is a tuple of texts (the keys) and numbers. What the file holds already is read; a last
    line cut short is dropped. `ValueError` where the file has other columns.
    """

    def __init__(self, path: str | os.PathLike, columns: Sequence[str], num_keys: int):
        self.path, self.columns, self.num_keys = Path(path), tuple(columns), num_keys
        self.rows: dict[tuple[str, ...], dict[str, Any]] = {}
        if self.path.exists():
            self._read()
        else:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._append(self.columns)

    def get(self, *keys: Any) -> dict[str, Any] | None:
        """The row with these keys as a dictionary by column; None where there is none."""
        return self.rows.get(tuple(map(str, keys)))

    def add(self, *cells: Any) -> None:
        """Adds a row: its cells in the order of the columns."""
        texts = [str(cell) for cell in cells[: self.num_keys]]
        numbers = [float(f"{cell:.7g}") for cell in cells[self.num_keys :]]
        self._append([*texts, *(f"{number:.7g}" for number in numbers)])
        self._keep(texts, numbers)

    def _keep(self, texts: Sequence[str], numbers: Sequence[float]) -> None:
        row = dict(zip(self.columns, [*texts, *numbers], strict=True))
        self.rows[tuple(texts)] = row

    def _append(self, cells: Sequence[Any]) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerow(cells)
        # One write of a whole line: an interruption comes before it or after it.
        with open(self.path, "ab", buffering=0) as file:
            file.write(text.getvalue().encode())

    def _read(self) -> None:
        text = self.path.read_text(encoding="utf-8")
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            self.path.write_text(whole, encoding="utf-8")
        header, *lines = csv.reader(io.StringIO(whole)) if whole else [()]
        if tuple(header) != self.columns:
            raise ValueError(
                f"{self.path} is not such a table, or was written by another version: choose "
                "another directory."
            )
        for number, line in enumerate(lines, start=2):
            try:
                self._keep(line[: self.num_keys], [float(cell) for cell in line[self.num_keys :]])
            except ValueError as err:
                raise ValueError(
                    f"{self.path} is damaged in line {number}: {','.join(line)!r:.80}. Delete that "
                    "line, and its row is made again."
                ) from err


def claim(directory: str | os.PathLike, configuration: dict[str, Any]) -> None:
    """Makes a directory for the results of a configuration, which `evaluation.json` records.

    `ValueError`, and nothing written, where it holds those of another one: they would not compare.
    `OSError` where it cannot be written.
    """
    path = Path(directory) / "evaluation.json"
    now = json.loads(json.dumps(configuration))
    if not path.exists():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(now, indent=1) + "\n", encoding="utf-8")
        except OSError as err:
            raise OSError(f"Results cannot be written to {directory}: {err}.") from err
        return
    try:
        before = dict(json.loads(path.read_text(encoding="utf-8")))
    except (TypeError, ValueError) as err:
        raise ValueError(
            f"{path} is damaged, so it is not known how the results beside it were made: choose "
            "another directory, or delete this one."
        ) from err
    different = [
        f"{name} was {before.get(name)!r} and is {now.get(name)!r}"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    ]
    if different:
        raise ValueError(
            f"{path.parent} holds results that would not compare: {'; '.join(different)}. Choose "
            "another directory, or delete this one."
        )
