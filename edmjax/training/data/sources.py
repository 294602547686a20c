"""Data by name: what is built in, files, directories of images, functions of the user's."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edmjax._common.arguments import one_of
from edmjax._common.extras import missing
from edmjax.training.data.arrays import load_arrays
from edmjax.training.data.dataset import Dataset
from edmjax.training.data.folder import load_folder
from edmjax.training.data.mnist import load_mnist
from edmjax.training.data.own import dataset_of, look_up
from edmjax.training.errors import DataError
from edmjax.training.files import StrPath

OWN = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def load_dataset(
    name: str,
    data_dir: StrPath | None = None,
    *,
    size: int | None = None,
    channels: str | None = None,
    scale: str | None = None,
) -> Dataset:
    """The data that `name` says, checked to the last entry.

    - "digits": the 1,797 real handwritten digits of 8x8 pixels in 17 greys that come with
      scikit-learn (the test part of UCI's Optical Recognition of Handwritten Digits).
    - "mnist": its 60,000 training images, 28x28, with `data_dir` the directory of its files (see
      `load_mnist`).
    - A file `.npy`, an array with samples on axis 0, or `.npz` with the array `x`, and maybe
      classes `y`, whole numbers from 0 on, and conditions `cond`, floats.
    - A directory of PNG, JPEG and WebP images; a sub-folder is a class.
    - "package.module:function", looked up from the working directory too: the function is called
      without arguments, and returns a `Dataset`, an array, or a dictionary as of an `.npz`.

    Args:
        name: as above.
        data_dir: for the built-in names.
        size: images of a directory are resized and cropped to this height and width.
        channels: where a sample has its channels, as for `Dataset.of`.
        scale: what a network sees of the data, as for `Dataset.of`; None is "auto".

    Raises:
        ValueError: there are no such data, or they are not as above. The message begins with the
            name of the file.
        OSError: a file cannot be read, or downloaded.
    """
    if not isinstance(name, str):
        one_of(name, "data", DATASETS)
    if name in DATASETS:
        _refuse(name, "its own", size=size, channels=channels, scale=scale)
        return DATASETS[name](data_dir)
    options: dict[str, Any] = {"channels": channels, "scale": scale or "auto"}
    path, found = Path(name).expanduser(), None
    if OWN.fullmatch(name) and not path.exists():
        found = look_up(name)()  # what the user's function raises keeps its traceback
    try:
        if path.is_dir():
            return load_folder(path, size=size, **options)
        _refuse(name, "for directories of images", size=size)
        if path.is_file():
            return load_arrays(path, **options)
        if found is not None or OWN.fullmatch(name):
            return dataset_of(found, name, **options)
    except DataError:
        raise
    except (TypeError, ValueError) as err:
        raise DataError(str(err)) from err
    if path.suffix in (".npy", ".npz") or "/" in name:
        raise DataError(f"{name}: there is no such file or directory.")
    one_of(name, "data", DATASETS)
    raise AssertionError


def _refuse(name: str, why: str, **options: object) -> None:
    given = [f"data_{option}" for option, value in options.items() if value is not None]
    if given:
        raise DataError(f"{name}: {given[0]} is {why}; leave it out.")


def _digits(data_dir: StrPath | None) -> Dataset:
    del data_dir  # part of an installed package
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError as err:
        raise missing(err, "The dataset digits", "train") from err
    digits: Any = load_digits()
    images = digits.images.astype(np.uint8)[..., None]
    return Dataset("digits", images, digits.target.astype(np.int32), 16, 10, network_units=True)


def _mnist(data_dir: StrPath | None) -> Dataset:
    images, labels = load_mnist(data_dir)
    labels = labels.astype(np.int32)
    return Dataset("mnist", images[..., None], labels, 255, 10, network_units=True)


DATASETS: dict[str, Callable[..., Dataset]] = {"digits": _digits, "mnist": _mnist}
