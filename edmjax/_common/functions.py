"""Functions that a user passes in: what they take, what they return, whether they are data."""

import functools
import inspect
import types
from collections.abc import Callable
from typing import Any

import jax
from jax.tree_util import Partial

from edmjax._common.arguments import describe
from edmjax._common.arrays import has_tracers
from edmjax._common.packed import (
    ARRAYS,
    DATA,
    Packed,
    data_of_partial,
    is_module,
    nodes,
    pack,
    unpack,
)
from edmjax._common.states import constant_state, refuse_training_mode
from edmjax._common.trees import check_batch_axis, check_like, conditions, floating_tree
from edmjax._common.typing import Denoiser, PyTree


def check_function(function: object, name: str, *arguments: str) -> None:
    """Raises unless `function` is a function that takes `arguments`."""
    says = f"`{name}` must be a function of ({', '.join(arguments)})"
    if not callable(function):
        raise TypeError(f"{says}, got {describe(function)}.")
    if not isinstance(function, types.FunctionType | types.MethodType | functools.partial):
        return  # an object: ours know their arguments, and a look would cost a call of `sample`
    try:
        inspect.signature(function).bind(*arguments)
    except TypeError as err:
        raise TypeError(f"{says}, and {describe(function)} does not take them: {err}.") from None
    except ValueError:  # a callable without a signature
        pass


def checked_inputs(
    denoise: Denoiser, x: PyTree, cond: PyTree, *, batched: bool = True, name: str = "x"
) -> tuple[Any, Any]:
    """`x` as JAX arrays and `cond`, once `denoise`, `x` and `cond` go together."""
    # Mistakes in the order in which a user meets them: the function, its inputs, their batch.
    check_denoiser(denoise, cond)
    x = floating_tree(x, name)
    check_batch_axis(x, name, batched)
    if cond is not None and batched:
        cond = conditions(cond, jax.tree.leaves(x)[0].shape[0], f" of `{name}`")
    return x, cond


def check_denoiser(denoise: Denoiser, cond: PyTree) -> None:
    """Raises unless `denoise` is a function of (x, sigma), and of `cond` where there is one."""
    told = () if cond is None else ("cond",)
    check_function(denoise, "denoise", "x", "sigma", *told)
    refuse_training_mode(denoise, "denoise")
    refuse_network(denoise, "denoise")


def outputs_of(out: PyTree, x: PyTree) -> tuple[Any, Any, Any]:
    """The denoised and the raw output of an evaluation and its `log_var`, each like `x`.

    The raw output is the denoised one where there is no other; `log_var` may be None.
    """
    # A user's own points may be a dict with an entry "x0": then the output is one of those.
    many = isinstance(out, dict) and "x0" in out and not (isinstance(x, dict) and "x0" in x)
    if not many:
        denoised = check_like(out, x, "The denoiser")
        return denoised, denoised, None
    denoised = check_like(out["x0"], x, "The denoiser's 'x0'")
    raw = check_like(out["raw"], x, "The denoiser's 'raw'") if "raw" in out else denoised
    log_var = (
        check_like(out["log_var"], x, "The denoiser's 'log_var'") if "log_var" in out else None
    )
    return denoised, raw, log_var


def with_cond(function: Callable[..., Any], *arguments: Any, cond: PyTree) -> Any:
    """`function(*arguments)`, or `function(*arguments, cond)` where there is a condition.

    ValueError where the function is a network that changes its own state.
    """
    given = arguments if cond is None else (*arguments, cond)
    with constant_state(function):
        return function(*given)


def program(run: Callable[..., Any], *functions: Any, **static: Any) -> Callable[..., Any]:
    """The compiled `run(*functions, *arrays, **static)`, as a function of the arrays alone.

    Functions that are data travel as arguments: calls which differ in numbers alone, now or later,
    share a program. Any other function hides what it closes over, which may have changed since the
    last call, so the program is made anew and is for the calls of this one alone.
    """
    data = as_data(functions)
    if data is None:
        return jax.jit(functools.partial(run, *map(unpack, functions), **static))
    return functools.partial(_jitted(run, tuple(sorted(static))), *data, **static)


def compiled(
    run: Callable[..., Any], functions: tuple[Any, ...], arrays: tuple[Any, ...], **static: Any
) -> Any:
    """`run(*functions, *arrays, **static)`, by a `program`, or as a part of the caller's."""
    # Within the caller's program another `jit` would share nothing, as the function is not data.
    if as_data(functions) is None and has_tracers((functions, arrays)):
        return run(*map(unpack, functions), *arrays, **static)
    return program(run, *functions, **static)(*arrays)


@functools.cache
def _jitted(run: Callable[..., Any], static: tuple[str, ...]) -> Callable[..., Any]:
    @functools.wraps(run)
    def unpacked(*arguments: Any, **options: Any) -> Any:
        return run(*map(unpack, arguments), **options)

    return jax.jit(unpacked, static_argnames=static)


def is_data(function: object) -> bool:
    """Whether a callable may travel through jit as an argument: a pytree of arrays throughout.

    A `Partial` without arrays is a plain function in disguise.
    """

    # A plain function is a leaf of itself, and an object that is no pytree too: neither is data.
    leaves = nodes(function)
    return bool(leaves) and all(
        isinstance(leaf, DATA)
        or (is_module(leaf) and all(isinstance(part, ARRAYS) for part in jax.tree.leaves(leaf)))
        for leaf in leaves
    )


def as_data(functions: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """These functions, some of them `Packed`, as arguments of a program; None where one hides data.

    A function that is None, as it was not given, stays None.
    """
    found = []
    for function in functions:
        if function is not None and not is_data(function):
            function = pack(function)
            if not isinstance(function, Packed):
                return None
        found.append(function)
    return tuple(found)


def as_pytree(function: Any, name: str, what: str = "a function of (x, sigma)") -> Any:
    """`function` as a child: itself where it is a pytree with arrays, else within a `Partial`."""
    if not callable(function):
        raise TypeError(f"`{name}` must be {what}, got {function!r:.80}.")
    refuse_training_mode(function, name)
    if isinstance(function, functools.partial) and not isinstance(function, Partial):
        function = data_of_partial(function)
    has_arrays = any(isinstance(leaf, ARRAYS) for leaf in jax.tree.leaves(function))
    return function if has_arrays else Partial(function)


def denoiser_as_pytree(denoise: Denoiser, name: str) -> Any:
    """`as_pytree` of a denoiser, which must not be a network."""
    child = as_pytree(denoise, name, "a denoiser of (x, sigma)")
    refuse_network(denoise, name)
    return child


def width_of(denoise: Denoiser, given: Any = None) -> Any:
    """`given`, else the denoiser's own `sigma_data`, else 0.5."""
    own = getattr(denoise, "sigma_data", None) if given is None else given
    return 0.5 if own is None else own


def refuse_network(denoise: Denoiser, name: str) -> None:
    """Raises where the second argument is called `c_noise`, as that of a network `F` is.

    Networks and denoisers are called alike, so a network in a denoiser's place would run and give
    samples of nothing. Only the name of the argument tells them apart.
    """
    # Arguments that a `partial` holds come first, so the second one of a call lies behind them.
    given = 0
    function = denoise
    if isinstance(function, functools.partial):  # a `Partial` too
        function, given = function.func, len(function.args)
    if isinstance(function, types.FunctionType):
        names = _names_of(function)
    else:  # a class is looked at once: this runs at each bare call of `sample`
        names, given = _names_of_call(type(function)), given + 1
    if names[given + 1 : given + 2] == ("c_noise",):
        raise TypeError(
            f"`{name}` is called with (x, sigma), but this {type(denoise).__name__} takes (x, "
            "c_noise), as a network does: make it a denoiser by the preconditioning that it was "
            "trained with, such as `ej.denoisers.edm(net)`."
        )


def _names_of(function: Any) -> tuple[str, ...]:
    """The names of the positional arguments; empty where there is no Python code."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    return code.co_varnames[: code.co_argcount] if code else ()


@functools.lru_cache(maxsize=256)
def _names_of_call(kind: type) -> tuple[str, ...]:
    return _names_of(kind.__call__)
