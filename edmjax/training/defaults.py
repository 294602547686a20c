"""What a configuration leaves to the data: entries that are null, decided before the first step."""

import dataclasses
import math
from typing import NamedTuple

from edmjax.training.config import Config, LossConfig
from edmjax.training.data.dataset import Dataset
from edmjax.training.objectives import SIGMA_DATA, trained_range

# Karras et al. (2022), table 1, for data of standard deviation `SIGMA_DATA`.
SIGMA_MIN, SIGMA_MAX, P_MEAN = 0.002, 80.0, -1.2
# The first level over the data's widest direction: its share of a sample's variance is then 1/400.
LEAST_RATIO = 20.0


# How samples are drawn where nothing is chosen, of digits and mnist, by 35 evaluations.
SAMPLER, NUM_STEPS, NFE = "heun", 18, 35


class NoiseLevels(NamedTuple):
    """The noise levels that a network is for, and how wide its data are, for `ej.recommend`.

    Attributes:
        sigma_min: the lowest level.
        sigma_max: the highest level.
        sigma_data: the standard deviation of the data about their mean.
        spread: the standard deviation along their widest direction; None where the file does not
            say it.
    """

    sigma_min: float
    sigma_max: float
    sigma_data: float
    spread: float | None = None


class Measured(NamedTuple):
    """What the data say, each in four digits: the last ones of a sum depend on the machine.

    Attributes:
        sigma_data: the standard deviation of all numbers that a network sees.
        std: that about the mean of each component.
        spread: that along the widest direction.
    """

    sigma_data: float
    std: float
    spread: float


def measured(dataset: Dataset) -> Measured | None:
    """The widths of the data; None where they have fewer than four samples, or these are alike."""
    found = dataset.widths
    return found and Measured(*(_rounded(width) for width in found))


def resolved(config: Config, dataset: Dataset, known: Measured | None) -> Config:
    """`config` with `loss.sigma_data`, `loss.p_mean` and entries of `sample`, where these are null.

    For `digits` and `mnist` these are the values of Karras et al. (2022), whose `sigma_data` is
    0.5. For other data it is measured, and `p_mean` is -1.2 + log(sigma_data / 0.5).
    """
    loss, known = config.loss, None if dataset.network_units else known
    if loss.sigma_data is None:
        sigma_data = SIGMA_DATA if known is None else known.sigma_data
        loss = dataclasses.replace(loss, sigma_data=sigma_data)
    if loss.p_mean is None:
        shift = math.log((loss.sigma_data or SIGMA_DATA) / SIGMA_DATA)
        loss = dataclasses.replace(loss, p_mean=P_MEAN + round(shift, 4))
    sample = config.sample
    chosen = sample.sampler, sample.schedule, sample.num_steps
    # Where nothing is chosen, the plan follows from the widths: see `recommended`.
    if known is None or any(choice is not None for choice in chosen):
        low, high = trained_levels(loss, None if known is None else known.spread)
        sample = dataclasses.replace(
            sample,
            sampler=sample.sampler or SAMPLER,
            schedule=sample.schedule or karras(low, high),
            num_steps=sample.num_steps or NUM_STEPS,
        )
    return dataclasses.replace(config, loss=loss, sample=sample)


def levels_for(loss: LossConfig, dataset: Dataset, known: Measured | None) -> NoiseLevels | None:
    """The levels of a network of this loss and data; None for digits and mnist."""
    if known is None or dataset.network_units:
        return None
    return NoiseLevels(*trained_levels(loss, known.spread), known.std, known.spread)


def about(config: Config, dataset: Dataset, known: Measured | None) -> str:
    """One paragraph on the data, for the terminal."""
    those = "batches, measured on the first " if dataset.stream is not None else ""
    text = f"{dataset.name}: {those}{len(dataset)} samples, {dataset.units}"
    if dataset.num_classes > 1:
        left = "" if config.net.classes else " (which the network is given with net.classes true)"
        text += f", {dataset.num_classes} classes{left}"
    if dataset.conditions is not None:
        shapes = [f"{kind} {u.shape}" for kind, u in dataset.conditions.units.items()]
        text += f", with the condition {' and '.join(shapes)}"
    text += "."
    if known is None:
        return text
    return (
        f"{text} The network sees numbers of standard deviation {known.sigma_data}, and "
        f"{known.spread} along their widest direction; loss.sigma_data is {config.loss.sigma_data}."
    )


def trained_levels(loss: LossConfig, spread: float | None) -> tuple[float, float]:
    """The least and the greatest noise level that a network of this loss is for.

    They are 0.002 to 80 for data of standard deviation 0.5, and in proportion for others; the
    greatest is at least 20 times the `spread` of the data, where it is known. None is outside the
    levels that the loss draws from, and after Song's loss these are all of them.
    """
    low, high = trained_range(loss)
    if loss.name == "dsm":
        return low, high
    least, greatest = SIGMA_MIN, SIGMA_MAX
    if spread is not None:
        ratio = (loss.sigma_data or SIGMA_DATA) / SIGMA_DATA
        least = _rounded(SIGMA_MIN * ratio)
        greatest = _rounded(max(SIGMA_MAX * ratio, LEAST_RATIO * spread))
    return max(low, least), min(high, greatest)


def karras(low: float, high: float) -> str:
    """The text of Karras' schedule between two levels."""
    if (low, high) == (SIGMA_MIN, SIGMA_MAX):
        return "karras"
    return f"karras(sigma_min={low!r}, sigma_max={high!r})"


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")
