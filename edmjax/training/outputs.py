"""What a run leaves in its directory beside its checkpoints: losses, weights, configuration."""

import csv
import dataclasses
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from jaxtyping import Float
from matplotlib.figure import Figure

from edmjax._common.mesh import to_host
from edmjax.training.checkpoints import WEIGHTS, save_weights
from edmjax.training.config import Config, identity
from edmjax.training.data import Dataset
from edmjax.training.data.units import Units
from edmjax.training.defaults import Measured, trained_levels
from edmjax.training.devices import agree, gather_flags, is_first
from edmjax.training.ema import save_snapshots
from edmjax.training.files import StrPath, advice, make_directory, write_file
from edmjax.training.state import TrainState

# What the commands write into a run's directory.
FILES = (
    "config.yaml",
    "loss.csv",
    "held_out.csv",
    "loss.png",
    WEIGHTS,
    "samples.npz",
    "samples.png",
)


class Outputs:
    """The files of a run that has taken `step` steps; every process has one, the first writes.

    Made, it has written `config.yaml`, and cut `loss.csv` back to the steps that were taken.
    """

    def __init__(
        self,
        config: Config,
        dataset: Dataset,
        known: Measured | None,
        num_classes: int,
        step: int,
        about: Mapping[str, Any] | None = None,
    ):
        self.out: Path = Path(config.out)
        self.snapshots: bool = bool(config.optim.ema_sigma_rel)
        self.description: dict[str, Any] = describe_run(config, dataset, known, num_classes, about)
        self.log: LossLog | None = None
        self.held_out: LossLog | None = None
        if is_first():
            make_directory(self.out, *FILES)
            values = yaml.safe_dump(dataclasses.asdict(config), sort_keys=False)
            write_file(self.out / "config.yaml", values.encode())
            self.log = LossLog(self.out / "loss.csv", step)
            if config.held_out is not None:
                self.held_out = LossLog(self.out / "held_out.csv", step)
        gather_flags(0)  # until process 0 is here
        agree(int(self.out.is_dir()), f"whether there is a directory {self.out}")

    def append(self, losses: Float[np.ndarray, " steps"]) -> None:
        """Logs the losses of the next steps, up to the first that is not finite."""
        if self.log is not None:
            finite = np.isfinite(losses)
            self.log.append(losses[: len(losses) if finite.all() else finite.argmin()].tolist())

    def append_held_out(self, step: int, loss: float) -> None:
        """Logs the held-out loss after so many steps."""
        if self.held_out is not None:
            self.held_out.add(step, loss)

    def save_weights(self, state: TrainState, *, snapshots: bool) -> None:
        """Writes the weights that samples are drawn with; with `snapshots`, all averages too."""
        averages, kept = to_host(
            (state.ema, (state.kept, state.buffers))
        )  # all processes take part
        if is_first():
            if snapshots and self.snapshots:
                about = self.description
                save_snapshots(self.out, int(state.step), averages, kept[1], about)
            params, buffers = kept[0]
            save_weights(self.out / WEIGHTS, params | buffers, self.description)

    def plot(self) -> None:
        """Draws `loss.png`."""
        if self.log is not None:
            plot_losses(self.out / "loss.csv", self.out / "loss.png")

    @property
    def losses(self) -> Float[np.ndarray, " steps"]:
        """The losses of all steps that were taken, as every process reads them."""
        return np.asarray([loss for _, loss in read_losses(self.out / "loss.csv")], np.float32)


def describe_run(
    config: Config,
    dataset: Dataset,
    known: Measured | None,
    num_classes: int,
    about: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The metadata of a run's weights; `about` in place of the configuration's identity."""
    # Not where it lies: the same run in two directories leaves files with the same bytes.
    single = isinstance(dataset.units, Units)
    found: dict[str, Any] = {
        **(identity(config) if about is None else about),
        "image_shape": list(dataset.image_shape) if single else None,
        "num_classes": num_classes,
        "clip": dataset.clips(config.sample.clip),
    }
    # Without them samples are written as the network gives them.
    if dataset.sample_units is not None and single:
        found["units"] = dataset.sample_units.describe()
    if dataset.conditions is not None:
        found["cond"] = dataset.conditions.describe()
    if known is not None:
        found |= {"std": known.std, "spread": known.spread}
        if not dataset.network_units:
            found["levels"] = list(trained_levels(config.loss, known.spread))
    return found


class LossLog:
    """`loss.csv` with the columns step and loss, each step once, steps counted from 1.

    Opened for a run that has taken `step` steps: rows of later steps, which an interrupted run
    wrote after its last checkpoint, are dropped, because those steps will be taken again.
    """

    def __init__(self, path: StrPath, step: int):
        self.path: Path = Path(path)
        self.step: int = step
        kept = [row for row in read_losses(self.path) if row[0] <= step]
        write_file(self.path, _rows([("step", "loss"), *kept]).encode())

    def append(self, losses: Iterable[float]) -> None:
        """Adds the losses of the next steps; they are in the file when this returns.

        `OSError` with a sentence where they cannot be written.
        """
        rows = list(enumerate(losses, self.step + 1))
        self._write(rows)
        self.step += len(rows)

    def add(self, step: int, loss: float) -> None:
        """Adds the loss of one step, which is later than those in the file."""
        self._write([(step, loss)])

    def _write(self, rows: Iterable[tuple]) -> None:
        then = "The last checkpoint is kept: make room and run the same command again."
        failed = f"{self.path} could not be written"
        with advice(failed, then), self.path.open("a", newline="") as file:
            file.write(_rows(rows))


def _rows(rows: Iterable[tuple]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()


def read_losses(path: StrPath) -> list[tuple[int, float]]:
    """The rows of a `loss.csv`, without a last line that was cut short; none without a file."""
    if not Path(path).is_file():
        return []
    with open(path, newline="") as file:
        lines = file.read().split("\n")[:-1]  # what follows the last newline is unfinished
    return [(int(step), float(loss)) for step, loss in csv.reader(lines[1:])]


def plot_losses(csv_path: StrPath, png_path: StrPath) -> None:
    """Draws the loss of every step, and its mean over windows of a fiftieth of the run.

    Where there is a `held_out.csv` beside it, it is drawn too.
    """
    rows = np.array(read_losses(csv_path)).reshape(-1, 2)
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(*rows.T, linewidth=0.5, alpha=0.4, label="each step")
    window = max(1, len(rows) // 50)
    means = rows[: len(rows) // window * window].reshape(-1, window, 2).mean(axis=1)
    axes.plot(*means.T, label=f"mean of {window} steps")
    held_out = np.array(read_losses(Path(csv_path).with_name("held_out.csv"))).reshape(-1, 2)
    if len(held_out):
        axes.plot(*held_out.T, label="held out", color="black")
    axes.set(xlabel="step", ylabel="loss", yscale="log", title="Training loss")
    axes.legend()
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=100)
    write_file(png_path, picture.getvalue())
