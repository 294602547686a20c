"""Scalar functions that a sampler may use: on numbers they run in float64 on the host, on traced
values they are traced.

A sampler is read once, on the host, in Python floats, where `math` would do. When a level or an
option is traced (to learn a grid, or to sweep an option inside `jit`), the same lines must build a
traced expression whose gradient is finite. These functions do both, so that a sampler is written
once.
"""

import math
from typing import TYPE_CHECKING, Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

__all__ = [
    "Scalar",
    "exp",
    "expm1",
    "flag",
    "host",
    "is_traced",
    "is_zero",
    "log",
    "minimum",
    "not_negative",
    "sqrt",
    "static",
    "where",
]

if TYPE_CHECKING:
    # A Python or NumPy number, or a scalar that may be traced.
    Scalar: TypeAlias = float | jax.Array
else:
    Scalar = Any


def is_traced(*values: Scalar | np.ndarray | None) -> bool:
    """Whether any of `values` is a JAX array or tracer, as opposed to a number on the host."""
    # Nearly all are floats, and this is asked a hundred times a step: no generator.
    for value in values:  # noqa: SIM110
        if type(value) is not float and isinstance(value, jax.Array):
            return True
    return False


def host(value: Scalar, name: str) -> Scalar:
    """`value` as a Python float where it is concrete, as it is where it is traced.

    Concrete JAX scalars become floats too, so that weights are formed in float64.
    """
    if type(value) is float:
        return value
    if isinstance(value, Tracer):
        real = jnp.issubdtype(value.dtype, jnp.floating) or jnp.issubdtype(value.dtype, jnp.integer)
        if value.shape != () or not real:
            raise ValueError(
                f"`{name}` must be a real scalar, got a traced {value.dtype}{list(value.shape)}."
            )
        # Weights are never formed in half precision.
        half = real and value.dtype.itemsize < 4
        return value.astype(jnp.float32) if half else value
    number = np.ndim(value) == 0 and not isinstance(value, str | bytes | bool | np.bool_)
    if not number or np.iscomplexobj(value):
        raise TypeError(f"`{name}` must be a real scalar, got {value!r}.")
    try:
        return float(value)
    except (TypeError, ValueError):
        raise TypeError(f"`{name}` must be a real scalar, got {value!r}.") from None


def static(value: Scalar, name: str) -> float:
    """`value` as a Python float; an error where it is traced, for options that choose."""
    if isinstance(value, Tracer):
        raise TypeError(
            f"`{name}` decides which steps are taken, so it must be a number, got a traced value: "
            "make the plan outside of jit, or mark the option static."
        )
    return float(host(value, name))


def flag(value: object, name: str) -> bool:
    """`value` as a bool; an error where it is traced, or something else."""
    if isinstance(value, Tracer):
        raise TypeError(
            f"`{name}` decides which steps are taken, so it must be True or False, got a traced "
            "value: make the plan outside of jit, or mark the option static."
        )
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"`{name}` must be True or False, got {value!r}.")
    return bool(value)


def not_negative(value: Scalar, name: str) -> Scalar:
    """`host(value, name)`, which must be at least 0 where it is a number."""
    value = host(value, name)
    if not is_traced(value) and not value >= 0:
        raise ValueError(f"`{name}` must not be negative, got {value}.")
    return value


def sqrt(value: Scalar) -> Scalar:
    """The square root; 0, with gradient 0, where rounding made the argument negative."""
    if not is_traced(value):
        return math.sqrt(max(float(value), 0.0))
    # The inner `where` keeps the infinite slope at 0 out of the gradient (inf * 0 = NaN).
    positive = value > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, value, 1.0)), 0.0)


def log(value: Scalar) -> Scalar:
    """The natural logarithm."""
    return jnp.log(value) if is_traced(value) else math.log(value)


def exp(value: Scalar) -> Scalar:
    """The exponential."""
    return jnp.exp(value) if is_traced(value) else math.exp(value)


def expm1(value: Scalar) -> Scalar:
    """`exp(value) - 1` without cancellation near 0."""
    return jnp.expm1(value) if is_traced(value) else math.expm1(value)


def minimum(a: Scalar, b: Scalar) -> Scalar:
    """The smaller of two scalars."""
    return jnp.minimum(a, b) if is_traced(a, b) else min(float(a), float(b))


def where(condition: Scalar, a: Scalar, b: Scalar) -> Scalar:
    """`a` where `condition` holds, else `b`; chosen on the host where the condition is concrete."""
    if is_traced(condition):
        return jnp.where(condition, a, b)
    return a if condition else b


def is_zero(value: Scalar) -> bool:
    """Whether `value` is known on the host to be 0: what it multiplies need not be computed."""
    return not is_traced(value) and bool(value == 0.0)


def __dir__() -> list[str]:
    return __all__
