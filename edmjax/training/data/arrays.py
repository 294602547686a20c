"""Data from a file `.npy` or `.npz`."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edmjax._common.typing import Arraylike
from edmjax.training.data.dataset import Dataset
from edmjax.training.errors import DataError

NAMES = ("x", "y", "cond")


def load_arrays(path: Path, **options: Any) -> Dataset:
    """The data of a file; `DataError` where it is damaged or holds other arrays than `NAMES`."""
    try:
        # Never pickles: they run what they hold. An array of a .npy stays on the disk until read.
        found = np.load(path, mmap_mode="r", allow_pickle=False)
        arrays = {"x": found} if isinstance(found, np.ndarray) else dict(found)
    except (ValueError, EOFError, OSError, zipfile.BadZipFile) as err:
        if path.suffix not in (".npy", ".npz"):
            raise DataError(
                f"{path}: data files are .npy and .npz, and this is neither: write the array with "
                "np.save, or pass a directory of images."
            ) from err
        raise DataError(f"{path}: it cannot be read: {err}") from err
    return from_arrays(arrays, str(path), **options)


def from_arrays(arrays: Mapping[str, Arraylike], name: str, **options: Any) -> Dataset:
    """The data of arrays by the names `x`, `y` (classes) and `cond` (conditions)."""
    other = sorted(set(arrays) - set(NAMES))
    if "x" not in arrays or other:
        raise DataError(
            f"{name}: it must hold the samples as `x`, and their classes as `y` or conditions as "
            f"`cond` where there are any, and nothing else; it holds {', '.join(sorted(arrays))}."
        )
    return Dataset.of(
        arrays["x"], labels=arrays.get("y"), cond=arrays.get("cond"), name=name, **options
    )
