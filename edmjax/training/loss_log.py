"""The loss of every step, as a CSV file that survives interruptions and as a picture."""

import csv
import io
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from edmjax.training.files import write_file


class LossLog:
    """`loss.csv` with the columns step and loss, each step once, steps counted from 1.

    Opened for a run that has taken `step` steps: rows of later steps, which an interrupted run
    wrote after its last checkpoint, are dropped, because those steps will be taken again.
    """

    def __init__(self, path: str | os.PathLike, step: int):
        self.path, self.step = Path(path), step
        kept = [row for row in read_losses(self.path) if row[0] <= step]
        write_file(self.path, _rows([("step", "loss"), *kept]).encode())

    def append(self, losses: Iterable[float]) -> None:
        """Adds the losses of the next steps; they are in the file when this returns.

        `OSError` with a sentence where they cannot be written.
        """
        rows = list(enumerate(losses, self.step + 1))
        try:
            with self.path.open("a", newline="") as file:
                file.write(_rows(rows))
        except OSError as err:
            raise OSError(
                f"{self.path} could not be written: {err.strerror}. The last checkpoint is kept: "
                "make room and run the same command again."
            ) from err
        self.step += len(rows)


def _rows(rows: Iterable[tuple]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()


def read_losses(path: str | os.PathLike) -> list[tuple[int, float]]:
    """The rows of a `loss.csv`; none where there is no file. A last line cut short is left out."""
    if not Path(path).is_file():
        return []
    with open(path, newline="") as file:
        lines = file.read().split("\n")[:-1]  # what follows the last newline is unfinished
    return [(int(step), float(loss)) for step, loss in csv.reader(lines[1:])]


def plot_losses(csv_path: str | os.PathLike, png_path: str | os.PathLike) -> None:
    """Draws the loss of every step, and its mean over windows of a fiftieth of the run."""
    rows = np.array(read_losses(csv_path))
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(*rows.T, linewidth=0.5, alpha=0.4, label="each step")
    window = max(1, len(rows) // 50)
    means = rows[: len(rows) // window * window].reshape(-1, window, 2).mean(axis=1)
    axes.plot(*means.T, label=f"mean of {window} steps")
    axes.set(xlabel="step", ylabel="loss", yscale="log", title="Training loss")
    axes.legend()
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=100)
    write_file(png_path, picture.getvalue())
