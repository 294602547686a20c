"""Arguments that are counts, numbers in a range, or one of a few names: as such, or a sentence.

For levels and the options of samplers, which may be traced, see `scalar`.
"""

import difflib
import math
import operator
from collections.abc import Iterable
from typing import Any

import jax.numpy as jnp
import numpy as np

from edmjax._common.arrays import has_no_value
from edmjax._common.typing import Arraylike, Int, Number, Scalar
from edmjax.scalar import host, is_traced

LARGEST_SEED = 2**32 - 1  # `jax.random.key` reads 32 bits, and drops those above


def whole(value: Int, name: str, *, least: int = 1, most: int | None = None) -> int:
    """`value` as an int of at least `least`. A bool or a traced value is refused."""
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


def as_seed(value: Int, name: str = "seed") -> int:
    """`value` as a seed that no other seed equals."""
    return whole(value, name, least=0, most=LARGEST_SEED)


def real(
    value: Scalar,
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


def one_of(value: object, name: str, known: Iterable[str]) -> str:
    """`value`, which must be one of the names `known`."""
    known = list(known)
    if isinstance(value, str) and value in known:
        return value
    near = difflib.get_close_matches(str(value), known, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"`{name}` must be one of {', '.join(known)}, got {value!r:.80}.{hint}")


def refuse(who: str, why: str, **options: object) -> None:
    """Raises ValueError where one of `options` is given, which `who` has no use for.

    Calls that belong together name the same options, and those that cannot take one say why.
    """
    for name, value in options.items():
        if value is not None and value is not False:
            raise ValueError(f"`{who}` takes no `{name}`: {why}.")


def on_host(name: str, value: Arraylike) -> np.ndarray:
    """`value` as a float64 NumPy array; a sentence if it is traced, complex, or not finite."""
    if has_no_value(value):
        raise TypeError(
            f"{name} is prepared on the host in float64, so it cannot be traced: "
            "build the object outside `jit` and pass it in as an argument."
        )
    array = np.asarray(value)
    if array.dtype.kind not in "fiub" and not jnp.issubdtype(array.dtype, jnp.floating):
        raise TypeError(f"{name} must hold real numbers, got dtype {array.dtype}.")
    array = np.array(array, np.float64)  # a copy: what the caller does to its own array stays there
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite, got {_first_bad(array)}.")
    return array


def positive_number(name: str, value: Scalar) -> Any:
    """`value` as a positive float64 scalar array, a leaf; left as it is where it is traced."""
    if has_no_value(value):
        return value
    number = on_host(name, value)
    if number.shape != () or number <= 0:
        raise ValueError(f"{name} must be one positive number, got {value}.")
    return number


def _first_bad(array: np.ndarray) -> str:
    index = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
    return f"{array[index]}" + (f" at index {index}" if index else "")


def count(n: Int, name: str = "The number of levels n", *, least: int = 1) -> int:
    """`n` as an int of at least `least`, or a sentence."""
    if not isinstance(n, int | np.integer) or isinstance(n, bool):
        raise TypeError(f"{name} must be an integer, got {n!r}.")
    if n < least:
        if least == 1 and name.endswith(" n"):
            raise ValueError(f"A schedule has at least n = 1 positive level, got n = {n}.")
        raise ValueError(f"{name} must be {least} at least, got {n}.")
    return int(n)


def number(name: str, value: Number) -> float:
    """`value` as a float, or a sentence; a traced value has no place in a host computation."""
    try:
        if isinstance(value, str | bytes):
            raise TypeError
        return float(value)
    except (TypeError, ValueError) as err:
        raise TypeError(
            f"{name} must be a number, got {value!r:.80}: schedules are computed on the host; to "
            "trace a grid, write its formula in jax.numpy and give `make_plan` the levels."
        ) from err


def positive(name: str, value: Number) -> float:
    found = number(name, value)
    if not 0 < found < math.inf:  # false for NaN too
        raise ValueError(f"{name} must be positive and finite, got {found}.")
    return found


def ordered(sigma_min: Number, sigma_max: Number) -> tuple[float, float]:
    low, high = positive("sigma_min", sigma_min), positive("sigma_max", sigma_max)
    if low >= high:
        raise ValueError(f"sigma_min must be below sigma_max, got {low} and {high}.")
    return low, high


def describe(value: object) -> str:
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        array: Any = value
        return f"an array of {array.dtype}{list(array.shape)}"
    name = getattr(value, "__name__", None)
    return (
        f"the function {name!r}"
        if callable(value) and name
        else f"{type(value).__name__} {value!r:.80}"
    )
