"""Arguments that are counts, numbers in a range, or one of a few names: as such, or a sentence.

For levels and the options of samplers, which may be traced, see `scalar`.
"""

import difflib
import math
import operator
from collections.abc import Iterable
from typing import Any

import numpy as np

from edmjax.scalar import host, is_traced

LARGEST_SEED = 2**32 - 1  # `jax.random.key` reads 32 bits, and drops those above


def whole(value: Any, name: str, *, least: int = 1, most: int | None = None) -> int:
    """`value` as an int of at least `least`; a bool and a traced value are none."""
    try:
        if isinstance(value, bool | np.bool_):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"`{name}` must be an integer, got {value!r:.80}.") from None
    if number < least or (most is not None and number > most):
        limits = f"at least {least}" + (f" and at most {most}" if most is not None else "")
        raise ValueError(f"`{name}` must be {limits}, got {number}.")
    return number


def seed(value: Any, name: str = "seed") -> int:
    """`value` as a seed that no other seed equals."""
    return whole(value, name, least=0, most=LARGEST_SEED)


def real(
    value: Any,
    name: str,
    *,
    above: float | int | None = None,
    least: float | int | None = None,
    below: float | int | None = None,
    most: float | int | None = None,
) -> Any:
    """`value` as a finite float greater than `above`, not less than `least` and so on.

    A traced value has no number to look at, and is left as it is.
    """
    value = host(value, name)
    if is_traced(value):
        return value
    inside = (
        math.isfinite(value)
        and (above is None or value > above)
        and (least is None or value >= least)
        and (below is None or value < below)
        and (most is None or value <= most)
    )
    if not inside:
        limits = {"above": above, "at least": least, "below": below, "at most": most}
        words = [f"{word} {limit:g}" for word, limit in limits.items() if limit is not None]
        words += ["finite"] if below is None and most is None else []
        raise ValueError(f"`{name}` must be {' and '.join(words)}, got {value:g}.")
    return value


def one_of(value: Any, name: str, known: Iterable[str]) -> str:
    """`value`, which must be one of the names `known`."""
    known = list(known)
    if isinstance(value, str) and value in known:
        return value
    near = difflib.get_close_matches(str(value), known, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"`{name}` must be one of {', '.join(known)}, got {value!r:.80}.{hint}")
