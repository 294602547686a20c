"""Datasets by name, and the batch of a step."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import random
from jaxtyping import Array, Float, Int, Key, UInt8

from edmjax._common.arguments import one_of, real
from edmjax.training.files import StrPath
from edmjax.training.mnist import load_mnist


class Examples(NamedTuple):
    """Images as they were stored, and their labels where a network is given them."""

    images: np.ndarray | jax.Array
    labels: np.ndarray | jax.Array | None = None


@dataclass(frozen=True)
class Dataset:
    """Images as they were stored, `(n, height, width, channels)` of whole numbers, with labels.

    `scale(images)` gives what a network sees: float32 from -1 (0) to 1 (`largest`).
    """

    name: str
    images: UInt8[np.ndarray, "n height width channels"]
    labels: Int[np.ndarray, " n"]
    largest: int
    num_classes: int

    @property
    def image_shape(self) -> tuple[int, ...]:
        return self.images.shape[1:]

    def examples(self, *, labels: bool) -> Examples:
        """All images, with their labels or without."""
        return Examples(self.images, self.labels if labels else None)

    def scale(self, images: UInt8[Array | np.ndarray, "..."]) -> Float[Array, "..."]:
        return jnp.asarray(images).astype(jnp.float32) * (2 / self.largest) - 1


def load_dataset(name: str, data_dir: StrPath | None = None) -> Dataset:
    """The dataset of this name; `ValueError` where there is none, with the nearest name.

    "digits" is the 1,797 real handwritten digits of 8x8 pixels in 17 greys that come with
    scikit-learn (the test part of UCI's Optical Recognition of Handwritten Digits). "mnist" is the
    60,000 training images of MNIST, 28x28, with `data_dir` the directory of its files (see
    `load_mnist`).
    """
    return DATASETS[one_of(name, "data", DATASETS)](data_dir)


def _digits(data_dir: StrPath | None) -> Dataset:
    del data_dir  # part of an installed package
    from sklearn.datasets import load_digits

    digits: Any = load_digits()
    images = digits.images.astype(np.uint8)[..., None]
    return Dataset("digits", images, digits.target.astype(np.int32), 16, 10)


def _mnist(data_dir: StrPath | None) -> Dataset:
    images, labels = load_mnist(data_dir)
    return Dataset("mnist", images[..., None], labels.astype(np.int32), 255, 10)


DATASETS: dict[str, Callable[..., Dataset]] = {"digits": _digits, "mnist": _mnist}


def drop_labels(
    labels: Int[Array, " batch"], key: Key[Array, ""], rate: float, num_classes: int
) -> Int[Array, " batch"]:
    """The labels, each replaced by `num_classes`, "no class", with probability `rate`.

    Source: Ho and Salimans 2022, algorithm 1.
    """
    rate = real(rate, "rate", least=0, most=1)
    return jnp.where(random.bernoulli(key, rate, labels.shape), num_classes, labels)


def batch_indices(seed: int, step: int, batch_size: int, n: int) -> Int[np.ndarray, " batch"]:
    """The indices of the batch of a step: a pure function of its arguments.

    Every epoch is a permutation of all `n` samples drawn from `(seed, epoch)` with the Philox
    generator, and the steps read the permutations one after the other, so that every sample is
    used equally often. Training resumes from `step` alone.
    """
    positions = np.arange(step * batch_size, (step + 1) * batch_size)
    epochs, within = np.divmod(positions, n)
    return np.concatenate(
        [_permutation(seed, int(e), n)[within[epochs == e]] for e in np.unique(epochs)]
    )


@lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, n: int) -> np.ndarray:
    order = np.random.Generator(np.random.Philox(key=[seed, epoch])).permutation(n)
    return order.astype(np.int32)
