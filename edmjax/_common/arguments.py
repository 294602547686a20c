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
from edmjax._common.exported import is_symbolic
from edmjax._common.typing import Arraylike, Int, Number, Scalar
from edmjax.scalar import host, is_traced

LONGEST_NAME = 200  # no name that is known has as many characters
LARGEST_SEED = 2**32 - 1  # `jax.random.key` reads 32 bits, and drops those above


def count(value: Int, name: str, *, most: int | None = None) -> Any:
    """`value` as a count from 0 on, or a size that an exported function leaves open, as it is."""
    return value if is_symbolic(value) else whole(value, name, least=0, most=most)


def whole(value: Int, name: str, *, least: int = 1, most: int | None = None) -> int:
    """`value` as an int of at least `least`. A bool or a traced value is refused."""
    if has_no_value(value):
        raise TypeError(
            f"`{name}` decides what is computed, so it must be an integer, got a traced value: "
            "give it outside of jit, or mark it static."
        )
    try:
        # True is the integer 1 to Python, and a slip of the hand where a count is asked for.
        if isinstance(value, bool | np.bool_):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"`{name}` must be an integer, got {value!r:.80}.") from None
    if number < least or (most is not None and number > most):
        limits = f"at least {least}" if most is None else f"from {least} to {most}"
        raise ValueError(f"`{name}` must be {limits}, got {number}.")
    return number


def as_seed(value: Int, name: str = "seed") -> int:
    """`value` as a seed that no other seed equals."""
    return whole(value, name, least=0, most=LARGEST_SEED)


def real(
    value: Scalar,
    name: str,
    *,
    above: float | int = -math.inf,
    least: float | int | None = None,
    below: float | int = math.inf,
    most: float | int | None = None,
) -> Any:
    """`value` as a float greater than `above`, or not less than `least`, and so on.

    It must be finite, unless `most` or `least` is infinite itself. A traced value has no number to
    look at, and is left as it is.
    """
    value = host(value, name)
    if is_traced(value):
        return value
    high_enough = value > above if least is None else value >= least
    low_enough = value < below if most is None else value <= most
    if not (high_enough and low_enough):  # NaN is neither
        raise ValueError(f"`{name}` must be {_range(above, least, below, most)}, got {value}.")
    return value


def _range(
    above: float | int, least: float | int | None, below: float | int, most: float | int | None
) -> str:
    low, high = above if least is None else least, below if most is None else most
    if math.isfinite(low) and math.isfinite(high):
        return f"in {'(['[least is not None]}{low:g}, {high:g}{')]'[most is not None]}"
    words = []
    if math.isfinite(low):
        words.append(f"at least {low:g}" if least is not None else f"above {low:g}")
    if math.isfinite(high):
        words.append(f"at most {high:g}" if most is not None else f"below {high:g}")
    if high == math.inf and most is None:
        words.append("finite")
    return " and ".join(words).replace("above 0 and", "positive and") or "a number"


def one_of(value: object, name: str, known: Iterable[str]) -> str:
    """`value`, which must be one of the names `known`."""
    known = list(known)
    # `in` alone would compare an array with each name.
    if isinstance(value, str) and value in known:
        return value
    *others, last = map(repr, known)
    words = f"{', '.join(others)} or {last}" if others else last
    # A search through a long text would take minutes; no name is near to it.
    near = difflib.get_close_matches(str(value)[:LONGEST_NAME], known, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"`{name}` must be {words}, got {value!r:.80}.{hint}")


def refuse(who: str, why: str, **options: object) -> None:
    """Raises ValueError where one of `options` is given, which `who` has no use for.

    Calls that belong together name the same options, and those that cannot take one say why.
    """
    for name, value in options.items():
        # The defaults of these options say that they are not wanted: a call may spell them out.
        if value is not None and value is not False:
            raise ValueError(f"`{who}` takes no `{name}`: {why}.")


def on_host(value: Arraylike, name: str) -> np.ndarray:
    """`value` as a float64 NumPy array; a sentence if it is traced, complex, or not finite."""
    if has_no_value(value):
        raise TypeError(
            f"`{name}` is prepared on the host in float64, so it cannot be traced: "
            "build the object outside `jit` and pass it in as an argument."
        )
    array = np.asarray(value)
    if array.dtype.kind not in "fiub" and not jnp.issubdtype(array.dtype, jnp.floating):
        raise TypeError(f"`{name}` must hold real numbers, got dtype {array.dtype}.")
    array = np.array(array, np.float64)  # a copy: what the caller does to its own array stays there
    if not np.isfinite(array).all():
        index = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        where = f" at index {index}" if index else ""
        raise ValueError(f"`{name}` must be finite, got {array[index]}{where}.")
    return array


def positive_leaf(value: Scalar, name: str) -> Any:
    """`value` as a positive float64 scalar array, a leaf; left as it is where it is traced."""
    if has_no_value(value):
        return value
    found = on_host(value, name)
    if found.shape != () or found <= 0:
        raise ValueError(f"`{name}` must be one positive number, got {value}.")
    return found


def number(value: Number, name: str) -> float:
    """`value` as a float, or a sentence; a traced value has no place in a host computation."""
    try:
        # `float` would read a number from text: a file of options then fails later, or not at all.
        if isinstance(value, str | bytes):
            raise TypeError
        return float(value)
    except (TypeError, ValueError) as err:
        raise TypeError(
            f"`{name}` must be a number, got {value!r:.80}: schedules are computed on the host; to "
            "trace a grid, write its formula in jax.numpy and give `make_plan` the levels."
        ) from err


def positive(value: Number, name: str) -> float:
    """`number(value, name)`, positive and finite."""
    return real(number(value, name), name, above=0)


def ordered(sigma_min: Number, sigma_max: Number) -> tuple[float, float]:
    """Both as positive floats, the first below the second."""
    low, high = positive(sigma_min, "sigma_min"), positive(sigma_max, "sigma_max")
    if low >= high:
        raise ValueError(f"`sigma_min` must be below `sigma_max`, got {low} and {high}.")
    return low, high


def describe(value: object) -> str:
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        array: Any = value
        return f"an array of {array.dtype}{list(array.shape)}"
    name = getattr(value, "__name__", None)
    return (
        f"the function {name!r}"
        if callable(value) and name
        else f"{type(value).__name__} {' '.join(f'{value!r:.80}'.split())}"
    )
