"""The noise levels that a trained network is for, from what its run wrote down."""

import os
from typing import NamedTuple

from edmjax import processes
from edmjax.training import LossConfig, load_weights


class Levels(NamedTuple):
    """What `ej.recommend` and the fits want to know of a network."""

    sigma_min: float
    sigma_max: float
    sigma_data: float


def levels_of(path: str | os.PathLike) -> Levels:
    """The levels of a run's network: 0.002 to 80 with the EDM loss, else those of its SDE.

    `FileNotFoundError` where there is no network, `ValueError` where its file is damaged or of
    another version.
    """
    _, config = load_weights(path)
    try:
        loss = LossConfig(**config["loss"])
    except (KeyError, TypeError) as err:
        raise ValueError(
            f"{path} was written by another version: its configuration has {err}."
        ) from err
    if loss.name == "dsm":
        # The times that the loss draws from are eps to 1.
        process = processes.song_ve(loss.sigma)
        return Levels(float(process.sigma(loss.eps)), float(process.sigma(1.0)), loss.sigma_data)
    return Levels(0.002, 80.0, loss.sigma_data)
