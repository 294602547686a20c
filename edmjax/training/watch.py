"""What a run shows of itself while it runs: curves, pictures of samples, events for TensorBoard."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from jax.sharding import Mesh

from edmjax._common.extras import missing
from edmjax.training.config import Config
from edmjax.training.data import Dataset
from edmjax.training.defaults import Measured, levels_for
from edmjax.training.devices import is_first
from edmjax.training.files import make_directory
from edmjax.training.loop import Callback, Progress
from edmjax.training.outputs import plot_losses
from edmjax.training.samples import conditions_in_turn, generate, write_picture


def watchers(
    config: Config,
    dataset: Dataset,
    known: Measured | None,
    num_classes: int,
    mesh: Mesh | None,
) -> list[Callback]:
    """The callbacks that a configuration asks for.

    `ModuleNotFoundError` with a sentence where TensorBoard's writer is not installed, `ValueError`
    where samples are asked for that are no pictures.
    """
    found: list[Callback] = []
    if config.tensorboard and is_first():
        found.append(_events(Path(config.out) / "tensorboard"))
    shape = dataset.image_shape
    pictures = len(shape) == 3 and shape[-1] in (1, 3)
    if config.watch_samples is not None and not pictures:
        raise ValueError(
            "watch_samples draws pictures, of images with one channel or three, and a sample of "
            f"these data has the shape {shape}: leave it null."
        )
    if config.watch_every is not None or config.watch_samples is not None:
        found.append(_looks(config, dataset, known, num_classes, mesh))
    return found


def _events(directory: Path) -> Callback:
    try:
        from tensorboardX import SummaryWriter
    except ModuleNotFoundError as err:
        raise missing(err, "tensorboard", "tensorboard") from err
    writer: Any = None

    def write(now: Progress) -> None:
        nonlocal writer
        first = now.step - len(now.losses)
        if writer is None:
            # Events of later steps, of before an interruption, are no longer shown.
            writer = SummaryWriter(str(directory), purge_step=first + 1)
        for number, loss in enumerate(now.losses.tolist(), first + 1):
            writer.add_scalar("loss", loss, number)
        if now.held_out is not None:
            writer.add_scalar("held_out", now.held_out, now.step)
        writer.flush()
        if now.step == now.total:
            writer.close()

    return write


def _looks(
    config: Config,
    dataset: Dataset,
    known: Measured | None,
    num_classes: int,
    mesh: Mesh | None,
) -> Callback:
    levels = levels_for(config.loss, dataset, known)
    out, every = Path(config.out), config.watch_every or config.checkpoint_every
    number = config.watch_samples
    sample = replace(config.sample, clip=dataset.clips(config.sample.clip))

    def look(now: Progress) -> None:
        if not now.passed(every):
            return
        if is_first():
            plot_losses(out / "loss.csv", out / "loss.png")
        if number is None:
            return
        labels, cond, _ = conditions_in_turn(dataset, number, num_classes)
        samples = generate(
            now.denoiser(),
            replace(sample, num_samples=number),
            dataset.image_shape,
            labels=labels,
            cond=cond,
            levels=levels,
            mesh=mesh,
            progress=False,
        )
        if is_first():
            make_directory(out / "watch")
            units = dataset.sample_units
            shown = samples if units is None else units.to_data(samples)
            write_picture(shown, out / "watch" / f"{now.step:07d}.png", units)

    return look
