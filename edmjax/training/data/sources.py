"""Data by name: what is built in, files, directories of images, functions of the user's."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edmjax._common.arguments import one_of
from edmjax._common.extras import missing
from edmjax.training.data.arrays import load_arrays
from edmjax.training.data.cifar import load_cifar10
from edmjax.training.data.dataset import Dataset
from edmjax.training.data.folder import load_folder
from edmjax.training.data.mnist import load_fashion_mnist, load_mnist
from edmjax.training.data.own import called, dataset_of
from edmjax.training.data.streams import source_of, stream_of
from edmjax.training.data.tables import load_table
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
    columns: str | None = None,
    in_memory: str | None = None,
) -> Dataset:
    """The data that `name` says, checked to the last entry.

    - "digits": the 1,797 real handwritten digits of 8x8 pixels in 17 greys that come with
      scikit-learn (the test part of UCI's Optical Recognition of Handwritten Digits).
    - "mnist": its 60,000 training images, 28x28, with `data_dir` the directory of its files (see
      `load_mnist`); "fashion_mnist" likewise, and "cifar10", 50,000 images of 32x32x3.
    - A file `.npy`, an array with samples on axis 0, or `.npz` with the array `x`, and maybe
      classes `y`, whole numbers from 0 on, and conditions `cond`, floats.
    - A directory of PNG, JPEG and WebP images; a sub-folder is a class.
    - "hf:NAME_OR_PATH": data of the library `datasets`, a name on its hub, a directory or a file.
    - "package.module:function", looked up from the working directory too: the function is called
      without arguments, and returns a `Dataset`, an array, a dictionary as of an `.npz`, or a
      source of batches: a function of the number of a step, or an iterator.

    Args:
        name: as above.
        data_dir: for the built-in names.
        size: images of a directory are resized and cropped to this height and width.
        channels: where a sample has its channels, as for `Dataset.of`.
        scale: what a network sees of the data, as for `Dataset.of`; None is "auto".
        columns: of `hf:`, the columns of the samples, classes and conditions, commas between.
        in_memory: whether images are decoded now, "yes", or when they are read, "no"; None is
            "auto", which decodes what fits. Images that are read later are checked by their
            headers.

    Raises:
        ValueError: there are no such data, or they are not as above. The message begins with the
            name of the file.
        ImportError: a library is not installed that reads such data.
        OSError: a file cannot be read, or downloaded.
    """
    if not isinstance(name, str):
        one_of(name, "data", DATASETS)
    options: dict[str, Any] = {"channels": channels, "scale": scale or "auto"}
    reading = {"size": size, "columns": columns, "in_memory": in_memory}
    path, found = Path(name).expanduser(), None
    own = OWN.fullmatch(name) and not name.startswith("hf:") and not path.exists()
    if own:
        found = called(name)  # what the user's function raises keeps its traceback
        source = source_of(found, name)
        if source is not None:
            _refuse(name, "not for batches", size=size, columns=columns)
            return stream_of(source, **options)
    try:
        if name in OWN_SCALE:
            _refuse(name, "its own", size=size, channels=channels, scale=scale, columns=columns)
            return DATASETS[name](data_dir)
        if name in DATASETS:
            _refuse(name, "its own", size=size, columns=columns)
            return DATASETS[name](data_dir, **options)
        if name.startswith("hf:"):
            return load_table(name, **reading, **options)
        if own:
            return dataset_of(found, name, reading, **options)
        _refuse(name, "for data of the library `datasets`", columns=columns)
        if path.is_dir():
            return load_folder(path, size=size, in_memory=in_memory, **options)
        _refuse(name, "for directories of images", size=size)
        if path.is_file():
            return load_arrays(path, **options)
    except DataError:
        raise
    except (TypeError, ValueError) as err:
        raise DataError(str(err)) from err
    if path.suffix in (".npy", ".npz") or "/" in name:
        raise DataError(f"{name}: there is no such file or directory.")
    try:
        one_of(name, "data", DATASETS)
    except ValueError as err:
        raise DataError(
            f"{name}: there is no such file or directory, and there are no data of this name: {err}"
        ) from err
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


def _fashion(data_dir: StrPath | None, **options: Any) -> Dataset:
    images, labels = load_fashion_mnist(data_dir)
    return Dataset.of(images, labels=labels, name="fashion_mnist", **options)


def _cifar10(data_dir: StrPath | None, **options: Any) -> Dataset:
    images, labels = load_cifar10(data_dir)
    return Dataset.of(images, labels=labels, name="cifar10", **options)


DATASETS: dict[str, Callable[..., Dataset]] = {
    "digits": _digits,
    "mnist": _mnist,
    "fashion_mnist": _fashion,
    "cifar10": _cifar10,
}
OWN_SCALE = ("digits", "mnist")  # their samples are written from -1 to 1
