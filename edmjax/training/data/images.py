"""What images with labels must be that `Dataset` is given by its fields."""

import warnings

import numpy as np

from edmjax._common.arguments import describe
from edmjax.training.errors import TrainingWarning


def check_images(images: object) -> None:
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


def check_entries(images: np.ndarray, largest: int | None) -> None:
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


def one_hot_hint(labels: np.ndarray) -> str:
    """What to do with labels that have a row a sample; empty for others."""
    return " Of one-hot rows take labels.argmax(axis=1)." if labels.ndim == 2 else ""


def check_labels(labels: object, n: int, num_classes: int) -> None:
    """TypeError or ValueError where there is not one label an image, from 0 on."""
    if not isinstance(labels, np.ndarray) or not np.issubdtype(labels.dtype, np.integer):
        raise TypeError(
            "`labels` must be a NumPy array of integers, one an image, got "
            f"{describe(labels)}: for data without classes pass np.zeros(n, np.int32) and "
            "`num_classes` 1."
        )
    if labels.shape != (n,):
        raise ValueError(
            f"`labels` must be one label for each of the {n} images, shape ({n},), got "
            f"{labels.shape}.{one_hot_hint(labels)}"
        )
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= num_classes:
        shift = f" Subtract {low} from them." if low > 0 and high - low < num_classes else ""
        raise ValueError(
            f"`labels` must be from 0 to num_classes - 1 = {num_classes - 1}, and these are from "
            f"{low} to {high}.{shift or ' Number the classes from 0, or raise `num_classes`.'}"
        )
