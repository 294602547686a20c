"""The arrays of a file and those of a module: the same paths, with other last names and axes.

In a file a kernel is `weight`, its outputs first: `(out, in)` or `(out, in, height, width)`. Here
it is `kernel`, `(in, out)` or `(height, width, in, out)`; the factor of a norm is `scale`, the
table of an embedding `embedding`. Files of before diffusers 0.15 name the arrays of an attention
`query`, `key`, `value` and `proj_attn`.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

_LAST = {"kernel": "weight", "scale": "weight", "embedding": "weight"}
_CONSTANTS = ("freqs", "phases", "u")  # of NVlabs' networks
_OLD = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
# Attentions over pixels alone had other names: those of words are within transformer blocks.
_OLD_PLACE = re.compile(r"(.*\battentions\.\d+)\.(to_q|to_k|to_v|to_out\.0)\.(weight|bias)")


def in_file(name: str) -> str:
    """The name in a file of the array that a module calls `name`."""
    path, dot, last = name.rpartition(".")
    return f"{path}{dot}{_LAST.get(last, last)}"


def is_constant(name: str) -> bool:
    """Whether an array is a table that a narrow dtype would spoil: frequencies and levels."""
    return _last(name) in _CONSTANTS


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def formerly(name: str) -> str | None:
    """The name that older files have for the array that files call `name`, if it is another."""
    found = _OLD_PLACE.fullmatch(name)
    return f"{found[1]}.{_OLD[found[2]]}.{found[3]}" if found else None


def shape_in_file(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape in a file of the array that a module calls `name`."""
    if _last(name) != "kernel":
        return shape
    return shape[::-1] if len(shape) == 2 else (shape[3], shape[2], shape[0], shape[1])


def from_file(name: str, array: np.ndarray) -> np.ndarray:
    """The array as the module has it: a view with its axes in another order."""
    if _last(name) != "kernel":
        return array
    return array.T if array.ndim == 2 else array.transpose(2, 3, 1, 0)


def matched(
    wanted: Mapping[str, Any], found: Mapping[str, tuple[int, ...]], where: str
) -> dict[str, str]:
    """For each name of a module the name in the file.

    `wanted` has the arrays of the module, or their shapes alone; `found` the shapes in the file.

    Raises:
        ValueError: an array is missing, one is left over, or one has another shape.
    """
    names = {}
    if any("all_modules." in name for name in found):
        raise ValueError(
            f"{where} has the arrays of score_sde, whose own files edmjax does not read: NVlabs "
            "publish such networks as theirs (baseline-*.pkl), which can be converted as the page "
            "on pretrained networks shows."
        )
    for name in wanted:
        new = in_file(name)
        old = formerly(new)
        names[name] = old if new not in found and old in found else new
    missing = [file for file in names.values() if file not in found]
    if missing:
        raise ValueError(
            f"{where} has no array {missing[0]!r}{_more(missing)}, which its configuration calls "
            f"for; it has {len(found)} arrays, and the network {len(wanted)}."
        )
    left = sorted(set(found) - set(names.values()))
    if left:
        raise ValueError(
            f"{where} has the array {left[0]!r}{_more(left)}, for which the network of its "
            "configuration has no place."
        )
    for name, file in names.items():
        shape = shape_in_file(name, wanted[name].shape)
        if tuple(found[file]) != shape:
            raise ValueError(
                f"{where}: {file!r} has shape {tuple(found[file])}, and the configuration calls "
                f"for {shape}."
            )
    return names


def _more(names: list[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""
