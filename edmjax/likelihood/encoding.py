"""Data to noise along the flow, and back."""

from typing import Any

import jax
import jax.numpy as jnp

from edmjax._common.trees import floating_tree
from edmjax._common.typing import Denoiser, Int, PyTree, Scalar, X
from edmjax.likelihood import solve
from edmjax.likelihood.reversing import Pair, Reversible
from edmjax.likelihood.traces import Probes
from edmjax.planning.table import PlanLike


def encode(
    denoise: Denoiser,
    x0: X,
    *,
    sigma_min: Scalar | None = None,
    sigma_max: Scalar | None = None,
    plan: PlanLike | None = None,
    solver: "solve.Solver | None" = None,
    rtol: Scalar | None = None,
    atol: Scalar | None = None,
    max_steps: Int = 4096,
    sigma_data: Scalar | None = None,
    cond: PyTree = None,
) -> X | Pair:
    """Returns the code of `x0`: where the flow takes it from `sigma_min` to `sigma_max`.

    For data its law is nearly N(0, sigma_max^2). It has the structure and shapes of `x0`, in at
    least float32, since half precision would lose it. With `solver=reversible()` it is a `Pair` of
    that and its companion, which `decode` takes. Arguments, errors and what becomes of a sample
    that does not arrive are as in `log_likelihood`; a `plan` goes up.
    """
    options = {"plan": plan, "solver": solver, "rtol": rtol, "atol": atol, "max_steps": max_steps}
    ends = {"sigma_min": sigma_min, "sigma_max": sigma_max, "upward": True}
    return _move(denoise, x0, "x0", ends, options, sigma_data, cond)


def decode(
    denoise: Denoiser,
    x: X | Pair,
    *,
    sigma_min: Scalar | None = None,
    sigma_max: Scalar | None = None,
    plan: PlanLike | None = None,
    solver: "solve.Solver | None" = None,
    rtol: Scalar | None = None,
    atol: Scalar | None = None,
    max_steps: Int = 4096,
    sigma_data: Scalar | None = None,
    cond: PyTree = None,
) -> X:
    """Returns where the flow takes `x` from `sigma_max` to `sigma_min`: the inverse of `encode`.

    `x` is what `encode` returned, or a point such as `sigma_max` times noise. The result has its
    structure and shapes, in at least float32. Arguments and errors are as in `log_likelihood`; a
    `plan` goes down, and may end at 0.
    """
    options = {"plan": plan, "solver": solver, "rtol": rtol, "atol": atol, "max_steps": max_steps}
    ends = {"sigma_min": sigma_min, "sigma_max": sigma_max, "upward": False}
    x0 = _move(denoise, x, "x", ends, options, sigma_data, cond)
    return x0.x if isinstance(x0, Pair) else x0


def round_trip(
    denoise: Denoiser,
    x0: PyTree,
    *,
    sigma_min: Scalar | None = None,
    sigma_max: Scalar | None = None,
    plan: tuple[PlanLike, PlanLike] | list[PlanLike] | None = None,
    solver: "solve.Solver | None" = None,
    rtol: Scalar | None = None,
    atol: Scalar | None = None,
    max_steps: Int = 4096,
    sigma_data: Scalar | None = None,
    cond: PyTree = None,
) -> jax.Array:
    """Returns how far `decode(encode(x0))` is from `x0`, (batch,): |difference| / |x0|.

    The norms are Euclidean, over all numbers of a sample; where `x0` is 0, it is the norm of the
    difference. It is the error of the solver and of rounding: the flow itself leads back. `plan` is
    a pair, the plan up and the plan down; other arguments and errors are as in `encode`.
    """
    options: dict[str, Any] = {"sigma_min": sigma_min, "sigma_max": sigma_max, "solver": solver}
    options |= {"rtol": rtol, "atol": atol, "max_steps": max_steps}
    options |= {"sigma_data": sigma_data, "cond": cond}
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
    x0, _, flat = solve.checked(denoise, x0, "x0", None)
    there, here = flat.rows(x0), flat.rows(back)
    size = jnp.linalg.norm(there, axis=1)
    return jnp.linalg.norm(here - there, axis=1) / jnp.where(size > 0, size, 1)


def _move(
    denoise: Denoiser, x: PyTree, name: str, ends: Any, options: Any, sigma_data: Any, cond: PyTree
) -> Any:
    companion = None
    if isinstance(x, Pair):
        if not isinstance(options["solver"], Reversible):
            raise ValueError(
                "A `Pair` is the code of `reversible`: decode it with that solver, or decode its "
                "`x`, the point, with another."
            )
        x, companion = x
    x, cond, flat = solve.checked(denoise, x, name, cond)
    if companion is not None:
        companion = floating_tree(companion, "companion")
        given, wanted = (jax.tree.map(jnp.shape, tree) for tree in (companion, x))
        if given != wanted:
            raise ValueError(
                f"The companion of a `Pair` is like its `x`, of shapes {wanted}, got {given}."
            )
    end = solve.follow(
        denoise,
        flat.rows(x),
        solve.route(**ends, **options, dtype=flat.dtype),
        flat,
        sigma_data=solve.data_width(denoise, sigma_data),
        cond=cond,
        probes=Probes(),
        companion=None if companion is None else flat.rows(companion),
        stacklevel=4,
    )
    point = flat.tree(end.x, wide=True)
    if end.companion is None:
        return point
    return Pair(point, flat.tree(end.companion, wide=True))
