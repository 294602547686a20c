"""What `sample` asks of its arguments and of the denoiser, in sentences, before it compiles."""

import functools
import inspect
import types
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from edmjax.plan import Plan


def plan_of(plan: Any, name: str = "plan") -> None:
    if not isinstance(plan, Plan):
        raise TypeError(
            f"`{name}` must be a Plan, as `ej.make_plan(sampler, sigmas)` returns it, got "
            f"{_describe(plan)}."
        )
    if np.ndim(plan.sigmas) != 1:
        raise ValueError(
            f"`{name}` is a stack of plans, its `sigmas` of shape {np.shape(plan.sigmas)}: take "
            "one, `jax.tree.map(lambda leaf: leaf[0], plans)`, or map over them with `jax.vmap`."
        )


def function_of(function: Any, name: str, *arguments: str) -> None:
    """Raises where `function` is none, or does not take `arguments`."""
    says = f"`{name}` must be a function of ({', '.join(arguments)})"
    if not callable(function):
        raise TypeError(f"{says}, got {_describe(function)}.")
    if not isinstance(function, types.FunctionType | types.MethodType | functools.partial):
        return  # an object: ours know their arguments, and a look would cost a call of `sample`
    try:
        inspect.signature(function).bind(*arguments)
    except TypeError as err:
        raise TypeError(f"{says}, and {_describe(function)} does not take them: {err}.") from None
    except ValueError:  # a callable without a signature
        pass


def floating_tree(x: Any, name: str, shapes: bool = False) -> Any:
    """`x` with its leaves as JAX arrays, which must be floating; with `shapes`, as they are."""
    leaves, treedef = jax.tree.flatten(x)
    if not leaves:
        raise ValueError(f"`{name}` holds no arrays.")
    arrays = jax.Array | np.ndarray | (jax.ShapeDtypeStruct if shapes else np.generic | float | int)
    for leaf in leaves:
        text = isinstance(leaf, np.ndarray) and leaf.dtype.kind not in "biufcV"  # V: bfloat16's
        if text or not isinstance(leaf, arrays):
            raise TypeError(f"`{name}` must be a pytree of floating arrays, got {_describe(leaf)}.")
    if not shapes:
        # Strongly typed: a weakly typed array of the same shape would be compiled for again.
        leaves = [jnp.asarray(leaf, jnp.asarray(leaf).dtype) for leaf in leaves]
    for leaf in leaves:
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise TypeError(
                f"`{name}` must hold floating arrays, got {leaf.dtype}{list(leaf.shape)}: convert "
                f"it with `{name}.astype(jnp.float32)`."
            )
    return treedef.unflatten(leaves)


def inputs(denoise: Any, x: Any, cond: Any, *, batched: bool = True, name: str = "x") -> Any:
    """`x` as JAX arrays, once `denoise`, `x` and `cond` go together."""
    told = () if cond is None else ("cond",)
    function_of(denoise, "denoise", "x", "sigma", *told)
    x = floating_tree(x, name)
    batch_axis(x, name, batched)
    if cond is not None and batched:
        cond_like(cond, x, name)
    return x


def batch_axis(x: Any, name: str, batched: bool) -> None:
    """Checks that axis 0 of every leaf counts the same samples."""
    if not batched:
        return
    shapes = [tuple(leaf.shape) for leaf in jax.tree.leaves(x)]
    if any(shape == () for shape in shapes) or len({shape[0] for shape in shapes}) > 1:
        raise ValueError(
            f"Axis 0 of every leaf of `{name}` counts samples, got shapes {shapes}; for one sample "
            "without that axis pass batched=False."
        )


def noise_like(noise: Any, x: Any, num_draws: int | None) -> None:
    """Checks the injected draws; `num_draws` is None where the plan is traced."""
    if jax.tree.structure(noise) != jax.tree.structure(x):
        raise ValueError(
            f"`noise` must have the structure of `x`, {jax.tree.structure(x)}, got "
            f"{jax.tree.structure(noise)}."
        )
    for draws, leaf in zip(jax.tree.leaves(noise), jax.tree.leaves(x), strict=True):
        count = "num_draws" if num_draws is None else num_draws
        right = draws.ndim == leaf.ndim + 1 and draws.shape[1:] == leaf.shape
        if not right or (num_draws is not None and draws.shape[0] != num_draws):
            want = f"({', '.join(str(n) for n in (count, *leaf.shape))})"
            raise ValueError(
                f"`noise` must hold every draw of the plan, leaf shape (num_draws, *leaf.shape) = "
                f"{want}, got {tuple(draws.shape)}; `ej.draw_noise(plan, key, x)` makes it."
            )


def cond_like(cond: Any, x: Any, name: str = "x") -> None:
    batch = jax.tree.leaves(x)[0].shape[0]
    for leaf in jax.tree.leaves(cond):
        if np.ndim(leaf) == 0 or np.shape(leaf)[0] != batch:
            raise ValueError(
                f"Axis 0 of every leaf of `cond` counts the {batch} samples of `{name}`, got shape "
                f"{np.shape(leaf)}."
            )


def corrector_fits(plan: Plan) -> None:
    """Refuses a corrector where it would be paid at every row, or make a history stale.

    What it is itself, `_corrector.Declared.read` looks at.
    """
    traced = isinstance(plan.step, Tracer)
    if plan.nfe != plan.grid.shape[-1] - 1 or not (
        traced or np.array_equal(plan.step, np.arange(plan.nfe))
    ):
        raise ValueError(
            f"A corrector runs once a step, and this plan has inner evaluations ({plan.nfe} in "
            f"{plan.grid.shape[-1] - 1} steps), where it would be paid at each: use a sampler with "
            "one evaluation a step, such as `euler`."
        )
    raws = 1 if plan.r is None else plan.r.shape[-1]
    if max(plan.y.shape[-1], plan.d.shape[-1], raws) > 1:
        raise ValueError(
            "A corrector moves the point, which makes the history of a multistep method stale: use "
            "a sampler without history, such as `euler` or `euler_maruyama`."
        )
    if not isinstance(plan.grid, Tracer) and plan.grid[-1] > plan.grid[0]:
        raise ValueError(
            "The levels of this plan go up (encoding), where a corrector makes no sense."
        )


def like(values: Any, x: Any, who: str, name: str = "x") -> Any:
    """`values`, which `who` returned, and which must have the structure and shapes of `x`."""
    return _alike(values, x, f"{who} must return", name)


def argument_like(values: Any, x: Any, argument: str, name: str) -> Any:
    """The argument `values`, floating, which must have the structure and shapes of `x`."""
    values = floating_tree(values, argument)
    return _alike(values, x, f"`{argument}` must have", name)


def _alike(values: Any, x: Any, says: str, name: str) -> Any:
    if jax.tree.structure(values) != jax.tree.structure(x):
        raise ValueError(
            f"{says} the structure of `{name}`, {jax.tree.structure(x)}, got "
            f"{jax.tree.structure(values)}."
        )
    for value, leaf in zip(jax.tree.leaves(values), jax.tree.leaves(x), strict=True):
        if np.shape(value) != leaf.shape:
            raise ValueError(f"{says} the shape of `{name}`, {leaf.shape}, got {np.shape(value)}.")
        if jnp.iscomplexobj(value):
            raise TypeError(f"{says} real numbers, got {value.dtype}.")
    return values


def outputs(out: Any, x: Any) -> tuple[Any, Any, Any]:
    """The denoised and the raw output of an evaluation and its `log_var`, each like `x`.

    Without a raw output the denoised one is it; without a `log_var` it is None.
    """
    many = isinstance(out, dict) and "x0" in out and not (isinstance(x, dict) and "x0" in x)
    if not many:
        denoised = like(out, x, "The denoiser")
        return denoised, denoised, None
    denoised = like(out["x0"], x, "The denoiser's 'x0'")
    raw = like(out["raw"], x, "The denoiser's 'raw'") if "raw" in out else denoised
    log_var = like(out["log_var"], x, "The denoiser's 'log_var'") if "log_var" in out else None
    return denoised, raw, log_var


def _describe(value: Any) -> str:
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"an array of {value.dtype}{list(value.shape)}"
    name = getattr(value, "__name__", None)
    return (
        f"the function {name!r}"
        if callable(value) and name
        else f"{type(value).__name__} {value!r:.80}"
    )
