"""Data that a function of the user's returns."""

import importlib
import inspect
import sys
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from edmjax._common.arguments import describe
from edmjax.training.data.arrays import from_arrays
from edmjax.training.data.dataset import Dataset
from edmjax.training.data.tables import from_table
from edmjax.training.errors import DataError


def dataset_of(
    found: object, name: str, reading: Mapping[str, Any] | None = None, **options: Any
) -> Dataset:
    """The data that the function `name` returned.

    They are a `Dataset`, an array, a dictionary of arrays, or a set of the library `datasets`,
    which `reading` is for. `DataError` where it is something else.
    """
    if isinstance(found, Dataset):
        return found
    if isinstance(found, np.ndarray | jax.Array):
        return Dataset.of(found, name=name, **options)
    if type(found).__module__.startswith("datasets."):
        return from_table(found, name, **(reading or {}), **options)
    if isinstance(found, Mapping):
        return from_arrays(found, name, **options)
    raise DataError(
        f"{name} must return a `Dataset`, an array, a dictionary with the array `x`, a function "
        f"of the number of a step, or an iterator of batches, got {describe(found)}."
    )


def called(name: str) -> object:
    """What the function `name` returns, which is called without arguments.

    `DataError` where it is no function, or needs arguments. What it raises itself is not caught.
    """
    function = look_up(name)
    try:
        inspect.signature(function).bind()
    except ValueError:  # the signature is not known
        pass
    except TypeError as err:
        raise DataError(
            f"{name} must be a function without arguments, got {describe(function)} ({err})."
        ) from err
    return function()


def look_up(name: str) -> Any:
    """The object `package.module:name`, the working directory first on the path.

    `DataError` where there is no such module, or nothing of this name in it. What importing the
    module raises is not caught.
    """
    module, _, attribute = name.partition(":")
    sys.path.insert(0, "")
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as err:
        if err.name and not f"{module}.".startswith(f"{err.name}."):
            raise  # the module is there, and imports another that is not
        raise DataError(
            f"{name}: there is no module {module} in the working directory or among the installed "
            "packages."
        ) from err
    finally:
        sys.path.remove("")
    if not hasattr(found, attribute):
        raise DataError(f"{name}: {found.__name__} has no {attribute}.")
    return getattr(found, attribute)
