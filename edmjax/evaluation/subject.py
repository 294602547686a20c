"""What is evaluated: a trained network, and what its file says of it."""

import math
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from edmjax.evaluation.stored import sha256
from edmjax.training.checkpoints import WEIGHTS, load_weights
from edmjax.training.pretrained import load_trained


class Subject(NamedTuple):
    """A denoiser of MNIST with its averaged parameters.

    Attributes:
        denoise: the denoiser.
        image_shape: (28, 28, 1).
        own: `sigma_data`, `p_mean` and `p_std` of its loss; None where it was trained with another.
        sigma_data, sigma_max: what schedules are told; None for a schedule's own `sigma_max`.
        num_classes: 0 for a network that knows no labels.
        sha256: of the file.
    """

    denoise: Any
    image_shape: tuple[int, ...]
    own: dict[str, Any] | None
    sigma_data: float
    sigma_max: float | None
    num_classes: int
    sha256: str

    def labels(self, training_labels: np.ndarray, n: int, seed: int) -> np.ndarray | None:
        """Labels for `n` samples with the training set's shares; None where none are taken."""
        if not self.num_classes:
            return None
        return np.random.default_rng(seed).choice(training_labels, n).astype(np.int32)


def load_subject(path: str | os.PathLike) -> Subject:
    """The network of a run's directory or its `weights.safetensors`.

    `FileNotFoundError` and `ValueError` as `training.load_denoiser` raises them; `ValueError` where
    it was not trained on MNIST.
    """
    _, config = load_weights(path)
    trained = load_trained(path)
    data = config.get("data")
    if data != "mnist" or trained.image_shape != (28, 28, 1):
        raise ValueError(
            f"{path} was trained on {data!r} with images of shape {trained.image_shape}, and what "
            "judges samples here is a classifier of MNIST, (28, 28, 1): pass a network that was "
            "trained on mnist."
        )
    loss = config["loss"]
    song = loss.get("name") == "dsm"
    own = None if song else {name: float(loss[name]) for name in ("sigma_data", "p_mean", "p_std")}
    log_sigma = math.log(loss["sigma"]) if song else 0.0
    path = Path(path)
    return Subject(
        denoise=trained.denoise,
        image_shape=trained.image_shape,
        own=own,
        sigma_data=own["sigma_data"] if own else 0.5,
        # The most noise that Song's process puts on data, at time 1.
        sigma_max=math.sqrt(math.expm1(2 * log_sigma) / (2 * log_sigma)) if song else None,
        num_classes=trained.num_classes,
        sha256=sha256(path / WEIGHTS if path.is_dir() else path),
    )
