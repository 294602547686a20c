"""Losses of networks that return more than their output: statistics of a batch, features."""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from edmjax._common.arguments import describe
from edmjax._common.typing import PyTree
from edmjax.losses.batch import ParametricNetwork

Value = TypeVar("Value")


def with_aux(loss: Callable[..., Value]) -> Callable[..., tuple[Value, PyTree]]:
    """`loss` for a network that returns a pair `(F, aux)`, as one that returns `(value, aux)`.

    `loss` is any function of `(net, params, ...)`, such as those of `ej.losses`, with the mean or
    per sample, and `aux` is any pytree; of several calls of `net` it is that of the last.
    Differentiate with `jax.value_and_grad(..., has_aux=True)`. The network closes over the state
    that it reads and over the key of Dropout, one for each step:

        def net(params, x, c_noise):
            held = {"params": params, "batch_stats": stats}
            return model.apply(held, x, c_noise, rngs={"dropout": key}, mutable=["batch_stats"])

        value, new = ej.losses.with_aux(ej.losses.edm)(net, params, x0, key_loss)

    Raises as `loss` does; TypeError where `loss` or `net` is not a function, or `net` returns
    anything but a pair; ValueError where `loss` does not call `net`.
    """
    if not callable(loss):
        raise TypeError(f"`loss` must be a function of (net, params, ...), got {describe(loss)}.")

    @wraps(loss)
    def paired(net: ParametricNetwork, *args: Any, **options: Any) -> tuple[Value, PyTree]:
        if not callable(net):
            raise TypeError(f"`net` must be a function that returns (F, aux), got {describe(net)}.")
        seen: list[PyTree] = []

        @wraps(net)
        def output(*given: Any, **named: Any) -> PyTree:
            pair = net(*given, **named)
            if not isinstance(pair, tuple) or len(pair) != 2:
                raise TypeError(f"`net` must return a pair (F, aux), got {describe(pair)}.")
            seen.append(pair[1])
            return pair[0]

        value = loss(output, *args, **options)
        if not seen:
            raise ValueError("`loss` must call its network, which returns `aux`, and did not.")
        return value, seen[-1]

    return paired
