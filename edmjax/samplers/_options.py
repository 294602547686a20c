"""Options that many samplers have, checked: each function returns the option or raises.

For numbers of any size, flags and traced values see `edmjax.scalar`.
"""

from edmjax._common.typing import Scalar
from edmjax.scalar import host, is_traced, static


def order_of(order: int, highest: int, name: str = "order", lowest: int = 1) -> int:
    """`order` as an int from `lowest` to `highest`."""
    value = static(order, name)
    if value not in range(lowest, highest + 1):
        known = ", ".join(str(k) for k in range(lowest, highest))
        raise ValueError(f"`{name}` must be {known} or {highest}, got {order!r}.")
    return int(value)


def choice(value: str, name: str, *known: str) -> str:
    """`value`, which must be one of the words `known`."""
    if not isinstance(value, str) or value not in known:
        words = f"{', '.join(map(repr, known[:-1]))} or {known[-1]!r}"
        raise ValueError(f"`{name}` must be {words}, got {value!r}.")
    return value


def share(value: Scalar, name: str) -> Scalar:
    """`value` in [0, 1]: how much noise, where 1 is all that there may be; may be traced."""
    value = host(value, name)
    if not is_traced(value) and not 0 <= value <= 1:
        raise ValueError(f"`{name}` must be in [0, 1], got {value}.")
    return value


def place(value: Scalar, name: str) -> Scalar:
    """`value` in (0, 1]: where a point lies inside a step; may be traced."""
    value = host(value, name)
    if not is_traced(value) and not 0 < value <= 1:
        raise ValueError(
            f"`{name}` must be in (0, 1], got {value}: it is the place of a point inside the step."
        )
    return value
