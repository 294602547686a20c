"""Weights of 8 bits, for networks that come with the package.

A matrix or a kernel is kept as whole numbers from -127 to 127 (int8) with one float32 scale for
each output, the last axis: `name` and `name@scale`. All other arrays are kept as they are.
"""

import numpy as np

from edmjax.nn.functional import Arrays

SCALE = "@scale"


def compact(arrays: Arrays) -> Arrays:
    """`arrays` with those of two axes or more rounded to 8 bits."""
    found: Arrays = {}
    for name, array in arrays.items():
        values = np.asarray(array, np.float32)
        if values.ndim < 2:
            found[name] = values
            continue
        scale = np.abs(values).max(axis=tuple(range(values.ndim - 1))) / 127
        rounded = np.rint(values / np.where(scale == 0, 1, scale))
        found[name], found[name + SCALE] = rounded.astype(np.int8), scale.astype(np.float32)
    return found


def expanded(arrays: Arrays) -> Arrays:
    """The float32 arrays of `compact`, and any other arrays as they are.

    `KeyError` where a scale or what it is for is missing; `ValueError` where they do not fit.
    """
    found: Arrays = {}
    for name, array in arrays.items():
        if name.endswith(SCALE):
            if arrays[name.removesuffix(SCALE)].dtype != np.int8:
                raise ValueError(f"{name!r:.80} is the scale of an array that has none")
        elif array.dtype == np.int8:
            scale = arrays[name + SCALE]
            if scale.shape != array.shape[-1:]:
                raise ValueError(f"{name!r:.80} has {array.shape[-1:]} outputs and other scales")
            found[name] = array.astype(np.float32) * scale
        else:
            found[name] = array
    return found
