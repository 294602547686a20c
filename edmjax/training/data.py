"""Datasets by name, and the batch of a step."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import random
from jaxtyping import Array, Float, Int, Key, Shaped

from edmjax._common.arguments import describe, one_of, real, whole
from edmjax._common.extras import missing
from edmjax.training.errors import TrainingWarning
from edmjax.training.files import StrPath
from edmjax.training.mnist import load_mnist

if TYPE_CHECKING:
    Images: TypeAlias = Shaped[np.ndarray, "n height width channels"]
    Labels: TypeAlias = Int[np.ndarray, " n"]
else:
    Images = Labels = Any  # wrong ones must reach the messages of `Dataset`


class Examples(NamedTuple):
    """Images as they were stored, and their labels where a network is given them."""

    images: np.ndarray | jax.Array
    labels: np.ndarray | jax.Array | None = None


@dataclass(frozen=True)
class Dataset:
    """Images with labels, checked: `(n, height, width, channels)` and `(n,)`.

    `scale(images)` gives what a network sees, in float32. Images of whole numbers (uint8) have
    `largest`, the number that white has: `scale` maps 0 to -1 and `largest` to 1, and samples are
    clipped to that range. Other data, such as latents, are floats with `largest` None: the network
    sees them as they are, and samples are not clipped. `loss.sigma_data` is their standard
    deviation.

    Labels are whole numbers `0 ... num_classes - 1`, held as int32. Data without classes have
    `np.zeros(n, np.int32)` and `num_classes` 1. The arrays are not copied: do not change them.

    Raises:
        TypeError: `images` or `labels` are no arrays, or of another dtype; `largest` or
            `num_classes` is no integer.
        ValueError: `images` have another shape than above, no entries, channels in front, entries
            above `largest` or not finite; or there is not one label an image, from 0 to
            `num_classes - 1`.
    """

    name: str
    images: Images
    labels: Labels
    largest: int | None
    num_classes: int

    def __post_init__(self) -> None:
        _check_images(self.images)
        largest = None if self.largest is None else whole(self.largest, "largest", most=255)
        _check_entries(self.images, largest)
        num_classes = whole(self.num_classes, "num_classes")
        _check_labels(self.labels, len(self.images), num_classes)
        # The dataclass is frozen; a narrow dtype could not hold the label for "no class".
        object.__setattr__(self, "labels", self.labels.astype(np.int32))
        object.__setattr__(self, "largest", largest)
        object.__setattr__(self, "num_classes", num_classes)

    @property
    def image_shape(self) -> tuple[int, ...]:
        return self.images.shape[1:]

    def clips(self, clip: bool | None) -> bool:
        """Whether samples are cut to [-1, 1], with `clip` what `sample.clip` says of it."""
        return self.largest is not None if clip is None else clip

    def examples(self, *, labels: bool) -> Examples:
        """All images, with their labels or without."""
        return Examples(self.images, self.labels if labels else None)

    def scale(self, images: Shaped[Array | np.ndarray, "..."]) -> Float[Array, "..."]:
        values = jnp.asarray(images).astype(jnp.float32)
        return values if self.largest is None else values * (2 / self.largest) - 1


def _check_images(images: Any) -> None:
    """TypeError or ValueError where `images` is not an array that a dataset can hold."""
    if not isinstance(images, np.ndarray):
        raise TypeError(
            f"`images` must be a NumPy array, got {describe(images)}: convert it with np.asarray."
        )
    if images.dtype not in (np.uint8, np.float32, np.float16):
        raise TypeError(
            "`images` must be uint8, whole numbers from 0 to `largest`, or float32 with `largest` "
            f"None, got {images.dtype}: convert them with images.astype, and look at the range."
        )
    shape = images.shape
    if images.ndim != 4 or 0 in shape:
        grey = " Grey images want a last axis: images[..., None]." if images.ndim == 3 else ""
        raise ValueError(
            "`images` must have the shape (n, height, width, channels), no axis empty, got "
            f"{shape}.{grey}"
        )
    # No network is for images of four pixels by many with more channels than that.
    if shape[1] <= 4 < min(shape[2], shape[3]):
        raise ValueError(
            "`images` have the channels last, (n, height, width, channels), and the shape "
            f"{shape} looks as if they came first: pass images.transpose(0, 2, 3, 1). Where the "
            f"height is {shape[1]} indeed, exchange height and width."
        )


def _check_entries(images: np.ndarray, largest: int | None) -> None:
    """TypeError or ValueError where the entries of images are not those that `largest` tells of."""
    if images.dtype != np.uint8:
        if largest is not None:
            raise TypeError(
                f"`largest` is for images of whole numbers, and these are {images.dtype}: pass "
                "`largest` None, and the network sees the floats as they are; or pass the images "
                "as they were stored, in uint8."
            )
        bad = len(images) - int(np.isfinite(images).reshape(len(images), -1).all(1).sum())
        if bad:
            raise ValueError(
                f"`images` must be finite, and {bad} of {len(images)} are not: leave them out."
            )
        return
    if largest is None:
        raise TypeError(
            "`largest` must be the number that white has in images of uint8, such as 255, got None."
        )
    highest = int(images.max())
    if highest > largest:
        raise ValueError(
            f"`largest` must be the number that white has, and `images` hold {highest}, above the "
            f"{largest} that was given: pass 255, or what the images were stored with."
        )
    if 2 * highest <= largest:
        warnings.warn(
            f"The highest entry of `images` is {highest}, and `largest` is {largest}, so all of "
            "them are dark: is `largest` the number that white has?",
            TrainingWarning,
            stacklevel=4,
        )


def _check_labels(labels: Any, n: int, num_classes: int) -> None:
    """TypeError or ValueError where there is not one label an image, from 0 on."""
    if not isinstance(labels, np.ndarray) or not np.issubdtype(labels.dtype, np.integer):
        raise TypeError(
            "`labels` must be a NumPy array of integers, one an image, got "
            f"{describe(labels)}: for data without classes pass np.zeros(n, np.int32) and "
            "`num_classes` 1."
        )
    if labels.shape != (n,):
        hot = " Of one-hot rows take labels.argmax(axis=1)." if labels.ndim == 2 else ""
        raise ValueError(
            f"`labels` must be one label for each of the {n} images, shape ({n},), got "
            f"{labels.shape}.{hot}"
        )
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= num_classes:
        shift = f" Subtract {low} from them." if low > 0 and high - low < num_classes else ""
        raise ValueError(
            f"`labels` must be from 0 to num_classes - 1 = {num_classes - 1}, and these are from "
            f"{low} to {high}.{shift or ' Number the classes from 0, or raise `num_classes`.'}"
        )


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
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError as err:
        raise missing(err, "The dataset digits", "train") from err
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
    rate = jnp.float32(real(rate, "rate", least=0, most=1))  # the draws have its dtype
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
