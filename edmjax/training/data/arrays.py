"""Data from a file `.npy` or `.npz`."""

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edmjax._common.typing import Arraylike
from edmjax.training.data.dataset import Dataset
from edmjax.training.errors import DataError
from edmjax.training.files import StrPath

COND = ("cond_vector", "cond_image", "cond_sequence", "cond_mask")
NAMES = ("x", "y", "cond", *COND)


def load_arrays(path: Path, **options: Any) -> Dataset:
    """The data of a file; `DataError` where it is damaged or holds other arrays than `NAMES`."""
    return from_arrays(_load(path, "x"), str(path), **options)


def _load(path: Path, single: str) -> dict[str, Any]:
    """The arrays of a file by their names; the one of an `.npy` is named `single`."""
    try:
        # Never pickles: they run what they hold. An array of a .npy stays on the disk until read.
        found = np.load(path, mmap_mode="r", allow_pickle=False)
        return {single: found} if isinstance(found, np.ndarray) else dict(found)
    except FileNotFoundError as err:
        raise DataError(f"{path}: there is no such file.") from err
    except (ValueError, EOFError, OSError, zipfile.BadZipFile, zlib.error) as err:
        if path.suffix not in (".npy", ".npz"):
            raise DataError(
                f"{path}: data files are .npy and .npz, and this is neither: write the array with "
                "np.save, or pass a directory of images."
            ) from err
        why: object = err
        if "pickle" in str(err):  # what NumPy takes any other file for
            why = "it holds Python objects, or is no file of NumPy. Write numbers with np.save"
        raise DataError(f"{path}: it cannot be read: {why}") from err


def from_arrays(arrays: Mapping[str, Arraylike], name: str, **options: Any) -> Dataset:
    """The data of arrays by the names `x`, `y` (classes) and `cond` (conditions).

    Conditions of several kinds are `cond_vector`, `cond_image`, `cond_sequence` and `cond_mask`.
    """
    other = sorted(set(arrays) - set(NAMES))
    if "x" not in arrays or other:
        raise DataError(
            f"{name}: it must hold the samples as `x`, and their classes as `y` or conditions as "
            f"`cond` where there are any, and nothing else; it holds {', '.join(sorted(arrays))}."
        )
    cond: Any = conditions_of(arrays, name)
    return Dataset.of(arrays["x"], labels=arrays.get("y"), cond=cond, name=name, **options)


def load_conditions(path: StrPath) -> Any:
    """The conditions in a file, `.npy` or `.npz` with the names of `from_arrays`.

    `DataError` where it cannot be read, or holds none.
    """
    arrays = _load(Path(path), "cond")
    found = conditions_of(arrays, str(path))
    if found is None:
        raise DataError(
            f"{path}: it must hold the conditions as `cond`, or as {', '.join(COND)}; it holds "
            f"{', '.join(sorted(arrays))}."
        )
    return found


def conditions_of(arrays: Mapping[str, Arraylike], name: str) -> Any:
    """The array `cond`, or a dictionary of those by kind; None where there are none."""
    kinds = {kind.removeprefix("cond_"): arrays[kind] for kind in COND if kind in arrays}
    if "cond" in arrays and kinds:
        raise DataError(f"{name}: it holds `cond` and {', '.join(kinds)}: give one or the other.")
    return kinds or arrays.get("cond")
