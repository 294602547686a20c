"""What is evaluated: a trained network; and MNIST."""

import os
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8

from edmjax._common.typing import Denoiser
from edmjax.training.checkpoints import load_weights, weights_file
from edmjax.training.data.mnist import load_mnist
from edmjax.training.files import sha256
from edmjax.training.pretrained import NoiseLevels, Trained, levels_of, load_trained

SHAPE = (28, 28, 1)
# Karras et al. 2022, table 1: what a loss has that says nothing else.
PAPER: dict[str, Any] = {"sigma_data": 0.5, "p_mean": -1.2, "p_std": 1.2}


class Subject(NamedTuple):
    """A denoiser with its averaged parameters.

    Attributes:
        denoise: the denoiser.
        own: `sigma_data`, `p_mean` and `p_std` of its loss; None where it was trained with another.
        levels: the noise levels that it is for, and the widths of its data, for `ej.recommend`.
        schedule: the options that schedules get: `sigma_data`, and `sigma_max` unless that is
            each schedule's own.
        num_classes: 0 for a network without classes.
        sha256: of the file.
    """

    denoise: Denoiser
    own: dict[str, Any] | None
    levels: NoiseLevels
    schedule: dict[str, float]
    num_classes: int
    sha256: str

    @property
    def sigma_max(self) -> float:
        """The highest noise level."""
        return self.levels.sigma_max

    def cond(self, labels: np.ndarray) -> np.ndarray | None:
        """The labels, for a network with classes; else None."""
        return labels if self.num_classes else None


class Network(NamedTuple):
    """A trained network as an evaluation takes it, and the configuration that lies with it."""

    subject: Subject
    trained: Trained
    config: dict[str, Any]


def load_network(path: str | os.PathLike[str]) -> Network:
    """The network of a run's directory or its `weights.safetensors`.

    `FileNotFoundError` and `ValueError` as `training.load_denoiser` raises them.
    """
    _, config = load_weights(path)
    trained = load_trained(path)
    loss, own, levels = config["loss"], None, levels_of(path)
    if loss.get("name") != "edm":
        schedule = {"sigma_data": 0.5 if trained.units is None else levels.sigma_data}
        if levels.sigma_max != 80:
            schedule["sigma_max"] = levels.sigma_max
    else:
        given = {name: loss[name] for name in PAPER if loss[name] is not None}
        own = {name: float(value) for name, value in (PAPER | given).items()}
        schedule = {"sigma_data": own["sigma_data"]}
    digest = sha256(weights_file(path))
    subject = Subject(trained.denoise, own, levels, schedule, trained.num_classes, digest)
    return Network(subject, trained, config)


def load_subject(path: str | os.PathLike[str]) -> Subject:
    """The network of MNIST at `path`, as `load_network` loads it, with its errors.

    `ValueError` where it was not trained on MNIST.
    """
    subject, trained, config = load_network(path)
    if config.get("data") != "mnist" or trained.image_shape != SHAPE:
        raise ValueError(
            f"{path} was trained on {config.get('data')!r} with images of shape "
            f"{trained.image_shape}, and this evaluation is for MNIST, {SHAPE}: pass a network "
            "that was trained on mnist."
        )
    return subject


class Images(NamedTuple):
    """Images with values from -1 to 1, float32, and their labels."""

    images: Float[np.ndarray, "n 28 28 1"]
    labels: Int[np.ndarray, " n"]

    def some(self, count: int) -> "Images":
        """The same `count` of them at every call, in a random order."""
        which = np.random.default_rng(0).permutation(len(self.images))[:count]
        return Images(self.images[which], self.labels[which])


def load_images(data_dir: str | os.PathLike[str] | None, split: str) -> Images:
    """MNIST's "train" or "test" images, as networks see them; errors as of `load_mnist`."""
    images, labels = load_mnist(data_dir, split=split)
    return Images(scaled(images), labels.astype(np.int32))


def scaled(images: UInt8[np.ndarray, "n 28 28"]) -> Float[np.ndarray, "n 28 28 1"]:
    """Images of 0 to 255 as networks see them: from -1 to 1, float32."""
    return images[..., None].astype(np.float32) * np.float32(2 / 255) - np.float32(1)
