"""Networks that change while they are evaluated: BatchNorm's statistics, the keys of Dropout.

A denoiser is a function: its samples depend neither on one another nor on how often it was called.
So a network is given in its form for sampling, and one that changes its own arrays gets a sentence.
The packages of networks are not imported here: where they are not loaded, no network is theirs.
"""

import contextlib
import inspect
import sys
from collections.abc import Iterator
from typing import Any

import jax

_REMEDY = (
    "take it in its form for sampling, in which BatchNorm uses its running statistics and Dropout "
    "is off: `net.eval()` in Flax NNX, `use_running_average=True` and `deterministic=True` in "
    "Linen, `eqx.nn.inference_mode(net)` in Equinox. To train, take layers without state of this "
    "kind, such as GroupNorm."
)
# What flax raises where a network in its form for training is called as a function.
_RAISED = ("TraceContextError", "ModifyScopeVariableError", "InvalidRngError")


class StateError(ValueError):
    """A network changes its own state while it is evaluated."""


@contextlib.contextmanager
def constant_state(function: object) -> Iterator[None]:
    """Raises ValueError where a call of `function` changes arrays that it holds."""
    before = _state(function)
    try:
        yield
    except Exception as err:
        if type(err).__name__ in _RAISED and type(err).__module__.startswith("flax"):
            raise StateError(
                f"The network changes its own state while it is evaluated ({_first_line(err)}): "
                f"{_REMEDY}"
            ) from err
        raise
    after = _state(function)
    changed = [name for name, array in before.items() if after.get(name) is not array]
    if changed:
        more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
        raise StateError(
            f"The network changes its own state while it is evaluated: {', '.join(changed[:3])}"
            f"{more}. Here these arrays are constant: {_REMEDY}"
        )


@contextlib.contextmanager
def linen_for_sampling() -> Iterator[None]:
    """Raises ValueError where a layer of Flax Linen is called in its form for training.

    `mutable` and `rngs` hide it: the call raises nothing, and what it changed is dropped.
    """
    linen: Any = sys.modules.get("flax.linen")
    if linen is None:
        yield
        return
    flags = {linen.BatchNorm: "use_running_average", linen.Dropout: "deterministic"}

    def look(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        layer, name = context.module, flags.get(type(context.module))
        if name is not None and context.method_name == "__call__":
            own = getattr(layer, name)
            given = kwargs.get(name, args[1] if len(args) > 1 else None)
            if not (own if given is None else given) and getattr(layer, "rate", None) != 0:
                raise StateError(
                    f"The network has a {type(layer).__name__} in its form for training: {_REMEDY}"
                )
        return call(*args, **kwargs)

    with linen.intercept_methods(look):
        yield


def refuse_training_mode(function: object, name: str) -> None:
    """Raises ValueError where an Equinox network has a layer that is not in inference mode."""
    equinox: Any = sys.modules.get("equinox")
    if equinox is None:
        return
    # A bound method, `jax.vmap(net)`, `jax.jit(net)`: the network itself is called.
    function = inspect.unwrap(function) if callable(function) else function
    function = getattr(function, "__self__", function)
    if not isinstance(function, equinox.Module):
        return
    for layer in _layers(function):
        # A Dropout of probability 0, as in every MultiheadAttention, is off in either mode.
        if layer.inference is False and getattr(layer, "p", None) != 0:
            raise ValueError(
                f"`{name}` has a {type(layer).__name__} that is not in inference mode: {_REMEDY}"
            )


def _layers(function: object) -> list[Any]:
    """The layers of an Equinox module with a flag `inference`."""

    def has_flag(node: Any) -> bool:
        return isinstance(getattr(node, "inference", None), bool)

    return [leaf for leaf in jax.tree.leaves(function, is_leaf=has_flag) if has_flag(leaf)]


def _state(function: object) -> dict[str, Any]:
    """The arrays of a module of Flax NNX by their names; empty of anything else."""
    nnx: Any = sys.modules.get("flax.nnx")
    if nnx is None or not isinstance(function, nnx.Module):
        return {}
    leaves, _ = jax.tree_util.tree_flatten_with_path(function)
    names = (jax.tree_util.keystr(path, simple=True, separator=".") for path, _ in leaves)
    return {
        name.removesuffix(".value"): leaf for name, (_, leaf) in zip(names, leaves, strict=True)
    }


def _first_line(err: Exception) -> str:
    # flax ends its sentences with the address of a page.
    return str(err).split("\n")[0].split(" (http")[0].rstrip(".")
