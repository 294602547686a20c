"""Data to noise along the flow, and back."""

from typing import Any

import jax
import jax.numpy as jnp

from edmjax._common.trees import floating_tree
from edmjax._common.typing import X
from edmjax.likelihood import _solve
from edmjax.likelihood._traces import Probes
from edmjax.likelihood.reversing import Pair, Reversible


def encode(
    denoise: Any,
    x0: X,
    *,
    sigma_min: Any = None,
    sigma_max: Any = None,
    plan: Any = None,
    solver: Any = None,
    rtol: Any = None,
    atol: Any = None,
    max_steps: int = 4096,
    sigma_data: Any = None,
    cond: Any = None,
) -> Any:
    """Returns where the flow takes `x0`, at `sigma_min`, at `sigma_max`: nearly N(0, sigma_max^2).

    In the structure and shapes of `x0`, float32 at least, since half precision would lose it. With
    `solver=reversible()`, a `Pair` of that and its companion, which `decode` takes. Arguments and
    errors are as in `log_likelihood`; a `plan` goes up.
    """
    options = {"plan": plan, "solver": solver, "rtol": rtol, "atol": atol, "max_steps": max_steps}
    ends = {"sigma_min": sigma_min, "sigma_max": sigma_max, "upward": True}
    return _move(denoise, x0, "x0", ends, options, sigma_data, cond)


def decode(
    denoise: Any,
    x: Any,
    *,
    sigma_min: Any = None,
    sigma_max: Any = None,
    plan: Any = None,
    solver: Any = None,
    rtol: Any = None,
    atol: Any = None,
    max_steps: int = 4096,
    sigma_data: Any = None,
    cond: Any = None,
) -> X:
    """Returns where the flow takes `x`, at `sigma_max`, at `sigma_min`: the inverse of `encode`.

    `x` is what `encode` returned, or a point such as `sigma_max` times noise. In its structure and
    shapes, float32 at least. Arguments and errors are as in `log_likelihood`; a `plan` goes down,
    and may end at 0.
    """
    options = {"plan": plan, "solver": solver, "rtol": rtol, "atol": atol, "max_steps": max_steps}
    ends = {"sigma_min": sigma_min, "sigma_max": sigma_max, "upward": False}
    x0 = _move(denoise, x, "x", ends, options, sigma_data, cond)
    return x0.x if isinstance(x0, Pair) else x0


def round_trip(denoise: Any, x0: X, *, plan: Any = None, **options: Any) -> Any:
    """Returns how far `decode(encode(x0))` is from `x0`, (batch,): |difference| / |x0|.

    The norms are Euclidean, over all numbers of a sample; where `x0` is 0, that of the difference.
    It is the error of the solver and of rounding: the flow itself leads back. `plan` is a pair, the
    plan up and the plan down; other arguments and errors are those of `encode`.
    """
    up = down = None
    if plan is not None:
        if not isinstance(plan, tuple | list) or len(plan) != 2:
            raise ValueError(
                "`plan` must be a pair of plans, (up, down), from the same levels in both orders, "
                f"got {type(plan).__name__}."
            )
        up, down = plan
    code = encode(denoise, x0, plan=up, **options)
    back = decode(denoise, code, plan=down, **options)
    x0, flat = _solve.checked(denoise, x0, "x0", None)
    there, here = flat.rows(x0), flat.rows(back)
    size = jnp.linalg.norm(there, axis=1)
    return jnp.linalg.norm(here - there, axis=1) / jnp.where(size > 0, size, 1)


def _move(
    denoise: Any, x: Any, name: str, ends: Any, options: Any, sigma_data: Any, cond: Any
) -> Any:
    companion = None
    if isinstance(x, Pair):
        if not isinstance(options["solver"], Reversible):
            raise ValueError(
                "A `Pair` is the code of `reversible`: decode it with that solver, or its `x`, the "
                "point, with another."
            )
        x, companion = x
    x, flat = _solve.checked(denoise, x, name, cond)
    if companion is not None:
        companion = floating_tree(companion, "companion")
        given, wanted = (jax.tree.map(jnp.shape, tree) for tree in (companion, x))
        if given != wanted:
            raise ValueError(
                f"The companion of a `Pair` is like its `x`, of shapes {wanted}, got {given}."
            )
    way = _solve.way(**ends, **options, dtype=flat.dtype)
    end = _solve.follow(
        denoise,
        flat.rows(x),
        way,
        flat,
        sigma_data=_solve.data_width(denoise, sigma_data),
        cond=cond,
        probes=Probes(),
        companion=None if companion is None else flat.rows(companion),
    )
    point = flat.tree(end.x, wide=True)
    if end.companion is None:
        return point
    return Pair(point, flat.tree(end.companion, wide=True))
