"""What the adaptive methods ask of their options, in sentences."""

import operator
from typing import Any

from edmjax._common.arguments import on_host
from edmjax._common.arrays import has_no_value


def tolerances(rtol: Any, atol: Any) -> tuple[Any, Any]:
    """`rtol` and `atol` as float64 scalars, leaves; as they are where they are traced."""
    rtol, atol = at_least_zero("rtol", rtol), at_least_zero("atol", atol)
    if not has_no_value(rtol) and not has_no_value(atol) and rtol == 0 and atol == 0:
        raise ValueError("rtol and atol are both 0, an error that no step has: raise one of them.")
    return rtol, atol


def at_least_zero(name: str, value: Any) -> Any:
    """`value` as a float64 scalar array that is not negative; as it is where it is traced."""
    if has_no_value(value):
        return value
    number = on_host(name, value)
    if number.shape != () or number < 0:
        raise ValueError(f"{name} must be one number, 0 or above, got {value}.")
    return number


def check_order(order: Any, known: tuple[int, ...]) -> None:
    """Raises where `order` is not one of `known`."""
    try:
        right = not isinstance(order, bool) and operator.index(order) in known
    except TypeError:
        right = False
    if not right:
        orders = f"{', '.join(map(str, known[:-1]))} or {known[-1]}"
        raise ValueError(f"order must be {orders}, got {order!r}.")
