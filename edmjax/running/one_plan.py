"""The calls that run a plan: `sample`, `trajectory`, and the noise that they would draw."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

from edmjax._common.functions import check_function, checked_inputs, is_data
from edmjax._common.progress import require_tqdm
from edmjax._common.trees import check_batch_axis, floating_tree
from edmjax._common.typing import X
from edmjax.noise.keys import check_keys, draw_all, keys_of
from edmjax.noise.paths import Brownian, draw_path
from edmjax.planning.table import PlanLike, check_plan
from edmjax.running import loop as _loop
from edmjax.running.declared import Declared, check_corrector_fits
from edmjax.running.source import check_noise
from edmjax.scalar import flag

Save = Callable[[Any, Any, Any], Any]


def sample(
    denoise: Any,
    plan: PlanLike,
    x: X,
    key: Any = None,
    *,
    noise: Any = None,
    cond: Any = None,
    corrector: Any = None,
    remat: bool = False,
    batched: bool = True,
    progress: bool = False,
) -> X:
    """Returns the sample `x0` that `plan` makes of `x`, with the structure and dtypes of `x`.

    Under `jit` it is part of the caller's program. Called bare, it runs one compiled function of
    (denoise, plan, x, key, noise, cond), so calls that differ in numbers alone compile once. That
    needs a denoiser that is a pytree of arrays, such as `ej.denoisers.edm(net)`; a plain function
    is traced anew at each bare call, because what it closes over may have changed. (A `Partial`
    with arrays is known by its function, as in `jax.jit`.)

    Args:
        denoise: `denoise(x, sigma)`, or `denoise(x, sigma, cond)` where `cond` is given, returns
            `E[x0 | x]` like `x`, or a dict of `"x0"` and optionally `"raw"`, the output before
            clipping or guidance. `sigma` is a float32 scalar (float64 for float64 `x`).
        plan: what to run, from `ej.make_plan`.
        x: the point at the first level, any pytree of floating arrays: `sigmas[0]` times standard
            normal noise, and times `plan.scale[0]` where the grid came from a process, whose scale
            the result then has too. Axis 0 of every leaf counts samples.
        key: one typed key, of which sample `i` uses `fold_in(key, i)`, or one key a sample; or
            `ej.brownian(key)`, for noise of one path. Needed where the plan draws noise; ignored
            where it draws none.
        noise: the draws themselves, used instead of `key`: leaf shape (num_draws, *leaf.shape), as
            `ej.draw_noise` makes them.
        cond: passed on to the denoiser: any pytree whose leaves have the samples on axis 0.
        corrector: `(denoise, x, sigma, key) -> x`, run on the point that starts a step, before its
            evaluation; with an attribute `on_result = True`, on the point that a step ends in.
            Never run at sigma 0. `key` is one key a sample, shape (batch,). With an attribute
            `num_draws = m` it is `m` of them, shape (m, batch), or with `noise` the draws
            themselves, leaf shape (m, *leaf.shape); `ej.normal_like(key[0], x)` takes either. Its
            `denoise(x, sigma)` is the denoised output, with `cond` where that is given.
        remat: recompute each evaluation in the backward pass, so that a gradient keeps what is
            carried from iteration to iteration and not what the network computed.
        batched: False where `x` is one sample, without the axis of samples.
        progress: draw a tqdm bar while the loop runs. Not within `jax.checkpoint`, or a `lax.cond`
            under `vmap`, where JAX allows no callback that returns a number.

    Raises:
        TypeError: if an argument is of the wrong kind.
        ValueError: if `x`, `noise`, `key` or `cond` has the wrong shape, if the plan draws noise
            and neither `key` nor `noise` is given, if the denoiser returns another structure or
            shape, or if a corrector meets a plan with inner evaluations, history or rising levels.
    """
    options = {"remat": remat, "batched": batched, "progress": progress, "save": _nothing}
    return _dispatch(denoise, plan, x, key, noise, cond, corrector, **options)[0]


def _nothing(x: Any, denoised: Any, sigma: Any) -> None:
    return None


def _point(x: Any, denoised: Any, sigma: Any) -> Any:
    return x


def trajectory(
    denoise: Any,
    plan: PlanLike,
    x: X,
    key: Any = None,
    *,
    noise: Any = None,
    cond: Any = None,
    corrector: Any = None,
    remat: bool = False,
    batched: bool = True,
    progress: bool = False,
    save: Save = _point,
) -> tuple[X, Any]:
    """Returns `(x0, saved)`: the sample, and `save(x, denoised, sigma)` of every evaluation.

    `saved` has the evaluations on a new axis 0 of every leaf, so its memory grows with them; `x`
    and `denoised` come in the dtypes of `x`. Without `save`, the evaluated points are saved. Every
    other argument and error is as in `sample`.
    """
    check_function(save, "save", "x", "denoised", "sigma")
    options = {"remat": remat, "batched": batched, "progress": progress, "save": save}
    return _dispatch(denoise, plan, x, key, noise, cond, corrector, **options)


def draw_noise(plan: PlanLike, key: Any, x: X, *, corrector: Any = None, batched: bool = True) -> X:
    """Returns the noise that `sample` would draw, leaf shape (num_draws, *leaf.shape).

    Passed to `sample` as `noise`, it gives the same sample to the bit. Draw `j` of leaf `l` of
    sample `i` is `normal(fold_in(fold_in(key_i, j), l))`, in float32 (float64 for float64 leaves)
    and then cast to the leaf's dtype. `x` may hold arrays or `jax.ShapeDtypeStruct`s.

    Raises:
        TypeError: if the plan is traced (under jit), so that its number of draws has no value, or
            `key` is not a typed key.
        ValueError: if the keys do not fit `x`, or their generator depends on the batch.
    """
    check_plan(plan)
    floating_tree(x, "x", shapes=True)
    check_batch_axis(x, "x", batched)
    declared = Declared.read(corrector)
    num_draws = plan.num_draws + declared.calls(plan) * declared.draws
    if isinstance(key, Brownian):
        path, keys = key.over(plan, x, batched), keys_of(key.key, x, batched)
        return draw_path(path, keys, plan.draws, num_draws, x)
    check_keys(key, x, batched)
    return draw_all(keys_of(key, x, batched), num_draws, x)


_STATIC = ("declared", "save", "remat", "batched", "progress", "watch")
_run = jax.jit(_loop.run, static_argnames=_STATIC)


def _dispatch(
    denoise: Any,
    plan: PlanLike,
    x: Any,
    key: Any,
    noise: Any,
    cond: Any,
    corrector: Any,
    *,
    batched: bool,
    part: Any = None,
    **options: Any,
) -> tuple[Any, Any]:
    """Checks the arguments, and runs the loop in the caller's program or in one of its own."""
    batched = flag(batched, "batched")
    options |= {name: flag(options[name], name) for name in ("remat", "progress")}
    check_plan(plan)
    plan.check_range(denoise)
    x = checked_inputs(denoise, x, cond, batched=batched)
    declared = Declared.read(corrector)
    if declared.there:
        check_corrector_fits(plan)
    key, noise = _source(plan, x, key, noise, declared, batched)
    if options["progress"]:
        require_tqdm()
    options |= {"batched": batched, "declared": declared}

    arrays = (plan, x, key, noise, cond)
    functions = (denoise,) if corrector is None else (denoise, corrector)
    if all(map(is_data, functions)) and options["save"] in (_nothing, _point):
        return _run(denoise, *arrays, corrector, part=part, **options)
    # A function hides what it closes over, which may have changed since the last call.
    fresh = functools.partial(_loop.run, denoise, corrector=corrector, **options)
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves((denoise, *arrays, part))):
        return fresh(*arrays, part=part)
    return jax.jit(lambda *arrays, part: fresh(*arrays, part=part))(*arrays, part=part)


def _source(
    plan: PlanLike, x: Any, key: Any, noise: Any, declared: Declared, batched: bool
) -> tuple[Any, Any]:
    """Where noise comes from: the keys of the samples, or the given draws, or (None, None)."""
    drawing = plan.z.shape[-1] > 0
    if noise is not None:
        if declared.there and declared.num_draws is None:
            raise ValueError(
                "With `noise`, a corrector must declare how many draws a call takes: give it an "
                "attribute `num_draws`."
            )
        concrete = not any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(plan))
        total = plan.num_draws + declared.calls(plan) * declared.draws if concrete else None
        noise = floating_tree(noise, "noise")
        check_noise(noise, x, total)
        return None, noise if drawing or declared.draws else None
    if not drawing and not declared.there:
        return None, None
    if isinstance(key, Brownian):
        if declared.there:
            raise ValueError(
                "A corrector's draws are no increments of a path: pass a key in the place of "
                "`ej.brownian(key)`."
            )
        return key.over(plan, x, batched), None
    if key is not None:
        check_keys(key, x, batched)
        return key, None
    padded = drawing and not isinstance(plan.draws, Tracer) and plan.num_draws == 0
    if declared.num_draws or (drawing and not padded):
        raise ValueError("This plan draws noise: pass `key` or `noise` to `sample`.")
    # Room for draws, and none made: no draws are given.
    none = jax.tree.map(lambda leaf: np.zeros((0, *leaf.shape), leaf.dtype), x)
    return None, none if padded else None


def total_nfe(plan: PlanLike, corrector: Any = None) -> int:
    """Returns how often `sample` evaluates the denoiser: `plan.nfe`, and what the corrector adds.

    A corrector adds its attribute `num_evaluations` in each call, 0 where it declares none.
    """
    check_plan(plan)
    declared = Declared.read(corrector)
    return plan.nfe + declared.calls(plan) * declared.num_evaluations
