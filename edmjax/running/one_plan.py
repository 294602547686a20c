"""Calls that run one plan: `sample`, `trajectory`, and the noise that they would draw."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer

from edmjax._common.arrays import has_tracers
from edmjax._common.functions import check_function, checked_inputs, compiled
from edmjax._common.progress import require_tqdm, start_bar, tick_bar
from edmjax._common.trees import check_batch_axis, floating_tree
from edmjax._common.typing import Corrector, Denoiser, Keys, NoiseFunction, PyTree, X
from edmjax.noise.keys import check_keys, draw_all, keys_of
from edmjax.noise.own import all_own_draws
from edmjax.noise.paths import Brownian, Increments, KeyLike, draw_path
from edmjax.planning.table import PlanLike, check_plan
from edmjax.running.body import Body, Visit
from edmjax.running.declared import Declared, check_corrector_fits
from edmjax.running.layout import check_reach
from edmjax.running.sizes import check_start
from edmjax.running.source import NO_INCREMENTS, function_of_noise, no_draws, source_of_noise
from edmjax.scalar import flag

if TYPE_CHECKING:
    # What `trajectory` keeps of an evaluation: a function of the point, its denoised output, sigma.
    Save: TypeAlias = Callable[[PyTree, PyTree, jax.Array], PyTree]
else:
    Save = Any


def _point(x: PyTree, denoised: PyTree, sigma: jax.Array) -> PyTree:
    return x


def sample(
    denoise: Denoiser,
    plan: PlanLike,
    x: X,
    key: KeyLike | None = None,
    *,
    noise: PyTree = None,
    cond: PyTree = None,
    corrector: Corrector | None = None,
    remat: bool = False,
    batched: bool = True,
    progress: bool = False,
) -> X:
    """Returns the sample `x0` that `plan` makes of `x`, with the structure and dtypes of `x`.

    Under `jit` it becomes part of the caller's program. Outside of it, one compiled function of
    (denoise, corrector, plan, x, key, noise, cond) runs. So calls that differ only in numbers
    compile once, if the denoiser and the corrector are pytrees of arrays, such as
    `ej.denoisers.edm(net)`. A plain function is traced anew in each such call, because what it
    closes over may have changed. (A `Partial` that holds arrays counts as a pytree: what its
    function closes over must not change, as in `jax.jit`.)

    Args:
        denoise: `denoise(x, sigma)`, or `denoise(x, sigma, cond)` where `cond` is given, returns
            `E[x0 | x]` like `x`, or a dict of `"x0"` and optionally `"raw"`, the output before
            clipping or guidance. `sigma` is a float32 scalar (float64 for float64 `x`).
        plan: what to run, from `ej.make_plan`.
        x: the point at the first level, any pytree of floating arrays: `plan.grid[0]` times
            standard normal noise. If the grid came from a process, the point is multiplied by the
            scale of the process at that level too, `levels.scale[0]`, and the result is in the
            scale of the process. From an infinite first level, `x` is `process.prior_std` times
            noise. Axis 0 of every leaf counts samples. In a NumPy array, a size that is far from
            this gets a RuntimeWarning; of JAX arrays only `sample_checked` says it, as this
            function never waits for the device.
        key: one typed key, of which sample `i` uses `fold_in(key, i)`, or one key per sample; or
            `ej.brownian(key)`, for noise of one path. Needed if the plan draws noise, or if the
            corrector declares draws. Ignored if the plan draws none and there is no corrector.
        noise: the draws themselves, used instead of `key`, leaf shape (num_draws, *leaf.shape);
            `ej.draw_noise` makes them. Or a function `(keys, like) -> noise`, in place of white
            noise: `keys`, shape (batch,), has the key `fold_in(key_i, j)` of each sample for draw
            `j`; `like` has the structure and shapes of `x`, and the dtypes to return, at least
            float32; with batched=False both are of a batch of one. A function at the top of a
            module is compiled once, as is one that is a pytree of arrays; any other one is traced
            in each call outside of `jit`.
        cond: passed on to the denoiser: any pytree whose leaves have the samples on axis 0. A leaf
            with axis 0 of length 1 is shared by all samples: the denoiser is given it as it is,
            without a copy for each, to broadcast. A number is such a leaf, and a list of numbers is
            one leaf.
        corrector: `(denoise, x, sigma, key) -> x`, run on the point that starts a step, before its
            evaluation; with an attribute `on_result = True`, on the point that a step ends in.
            Never run at sigma 0. `key` is one key a sample, shape (batch,). With an attribute
            `num_draws = m` it is `m` of them, shape (m, batch), or with `noise` the draws
            themselves, leaf shape (m, *leaf.shape); `ej.normal_like(key[0], x)` takes either. The
            `denoise(x, sigma)` that it is given returns the denoised output, and passes on `cond`
            itself.
        remat: recompute each evaluation in the backward pass, so that a gradient keeps what is
            carried from iteration to iteration and not what the network computed.
        batched: False where `x` is one sample, without the axis of samples.
        progress: draw a tqdm bar while the loop runs. Not within `jax.checkpoint`, or a `lax.cond`
            under `vmap`, where JAX allows no callback that returns a number.

    Raises:
        TypeError: if an argument is of the wrong kind.
        ValueError: if `x`, `noise`, `key` or `cond` has the wrong shape, if the plan or the
            corrector draws noise and neither `key` nor `noise` is given, if the denoiser returns
            another structure or shape, if `noise` is given with a corrector that declares no
            `num_draws`, or if a corrector meets a plan with inner evaluations, history or rising
            levels.
    """
    options: dict[str, Any] = {"remat": remat, "batched": batched, "progress": progress}
    return dispatch(run, denoise, plan, x, key, noise, cond, corrector, **options)[0]


def trajectory(
    denoise: Denoiser,
    plan: PlanLike,
    x: X,
    key: KeyLike | None = None,
    *,
    noise: PyTree = None,
    cond: PyTree = None,
    corrector: Corrector | None = None,
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
    options = {"remat": remat, "batched": batched, "progress": progress, "look": _saved}
    # The default never changes, so it is not passed on: any plain function would be traced anew in
    # each call.
    given = None if save is _point else save
    return dispatch(run, denoise, plan, x, key, noise, cond, corrector, given, **options)


def _nothing(visit: Visit, save: None) -> None:
    return None


def _saved(visit: Visit, save: Callable[[Any, Any, Any], Any] | None) -> Any:
    return visit.x if save is None else save(visit.x, visit.denoised, visit.sigma)


def draw_noise(
    plan: PlanLike,
    key: KeyLike,
    x: X,
    *,
    noise: NoiseFunction | None = None,
    corrector: Corrector | None = None,
    batched: bool = True,
) -> X:
    """Returns the noise that `sample` would draw, leaf shape (num_draws, *leaf.shape).

    Passed to `sample` as `noise`, it gives the same sample to the bit. With a key, draw `j` of leaf
    `l` of sample `i` is `normal(fold_in(fold_in(key_i, j), l))`; with `ej.brownian(key)` it is an
    increment of the path. Draws are made in float32 (float64 for float64 leaves) and then cast to
    the leaf's dtype. `x` may hold arrays or `jax.ShapeDtypeStruct`s. With a function `noise`, as
    `sample` takes it, draw `j` is what it makes of the keys `fold_in(key_i, j)`.

    Raises:
        TypeError: if the plan is traced (under jit), so that its number of draws has no value, or
            `key` is not a typed key.
        ValueError: if the keys do not fit `x`, their generator depends on the batch, or `key` is a
            path and the corrector draws, or `noise` is given with it.
    """
    check_plan(plan)
    floating_tree(x, "x", shapes=True)
    check_batch_axis(x, "x", batched)
    declared = Declared.read(corrector)
    # The number of draws is a shape of the result, so the plan must have values.
    num_draws = plan.num_draws + declared.calls(plan) * declared.draws
    make = None if noise is None else function_of_noise(noise, key)
    if isinstance(key, Brownian):
        if declared.draws:
            raise ValueError(NO_INCREMENTS.format(who="a corrector"))
        path, keys = key.over(plan, x, batched), keys_of(key.key, x, batched)
        return draw_path(path, keys, np.asarray(plan.draws), num_draws, x)
    check_keys(key, x, batched)
    keys = keys_of(key, x, batched)
    if make is not None:
        return all_own_draws(make, keys, num_draws, x)
    return draw_all(keys, num_draws, x)


def run(
    denoise: Denoiser,
    corrector: Corrector | None,
    save: Callable[..., Any] | None,
    make: NoiseFunction | None,
    plan: PlanLike,
    x: PyTree,
    key: Keys | Increments | None,
    noise: PyTree,
    cond: PyTree,
    *,
    declared: Declared,
    look: Callable[[Visit, Any], Any] = _nothing,
    batched: bool,
    remat: bool,
    progress: bool,
) -> tuple[Any, Any]:
    """The sample, and `look(visit, save)` of each evaluation. The arguments have been checked."""
    body = Body(
        denoise,
        plan,
        x,
        key,
        noise,
        cond,
        batched=batched,
        make=make,
        corrector=corrector,
        declared=declared,
        look=lambda visit: look(visit, save),
    )
    # The table of the plan is the scan's input, so its weights are data to the compiled program.
    advance, rows = body.advance, body.rows
    if remat:
        advance = jax.checkpoint(advance, prevent_cse=False)  # in a scan, CSE cannot undo it
    if progress:
        advance, rows = _with_bar(advance, rows, plan.nfe)
    carry, seen = lax.scan(advance, body.start(), rows)
    return body.finish(carry, body.table.end[0]), seen


def _with_bar(advance: Callable[..., Any], rows: Any, total: int) -> tuple[Callable[..., Any], Any]:
    """`advance` and its rows, with a report of each evaluation to a bar."""
    bar = start_bar(total)

    def advance_and_tick(carry: Any, slices: Any) -> Any:
        slices, iteration = slices
        carry, seen = advance(carry, slices)
        tick_bar(bar, iteration, total)
        return carry, seen

    return advance_and_tick, (rows, jnp.arange(total))


def dispatch(
    run: Callable[..., Any],
    denoise: Denoiser,
    plan: PlanLike,
    x: PyTree,
    key: KeyLike | None,
    noise: PyTree,
    cond: PyTree,
    corrector: Corrector | None,
    save: Callable[..., Any] | None = None,
    *extra: Any,
    batched: bool,
    begins: bool = True,
    **options: Any,
) -> Any:
    """`run` on checked arguments, in the caller's program or in one of its own.

    `run` takes the functions denoiser, corrector, `save` and that of the noise, then the plan, `x`,
    the key, the noise, `cond` and `extra`; `options` and what the corrector declares are static.
    `begins` says whether `x` is the start of the plan, of a size to look at.
    """
    batched = flag(batched, "batched")
    flags = {"remat", "progress"} & options.keys()
    options |= {name: flag(options[name], name) for name in flags}
    check_plan(plan)
    plan.check_range(denoise)
    start = None if isinstance(x, jax.Array) or not begins else x
    x, cond = checked_inputs(denoise, x, cond, batched=batched)
    check_reach(denoise, plan, x)
    if start is not None:
        check_start(denoise, plan, start, batched, stacklevel=3)
    # Read here, as `jit` drops the attributes of functions.
    declared = Declared.read(corrector)
    if declared.there:
        check_corrector_fits(plan)
    key, noise, make = _source(plan, x, key, noise, declared, batched)
    if options.get("progress"):
        require_tqdm()
    arrays = (plan, x, key, noise, cond, *extra)
    options |= {"batched": batched, "declared": declared}
    return compiled(run, (denoise, corrector, save, make), arrays, **options)


def _source(
    plan: PlanLike, x: PyTree, key: KeyLike | None, noise: PyTree, declared: Declared, batched: bool
) -> tuple[Any, Any, Any]:
    """`(key, noise, make)` to draw from; see `source_of_noise`. The key may be a path."""
    drawing = plan.z.shape[-1] > 0
    if noise is not None and declared.there and declared.num_draws is None:
        raise ValueError(
            "With `noise`, a corrector must declare how many draws a call takes: give it an "
            "attribute `num_draws`."
        )
    if isinstance(key, Brownian) and noise is None and drawing and not declared.there:
        return key.over(plan, x, batched), None, None
    # A plan may be padded with room for draws and make none.
    padded = drawing and not isinstance(plan.draws, Tracer) and plan.num_draws == 0
    concrete = noise is not None and not callable(noise) and not has_tracers(plan)
    # Counted only if draws were given, to compare their number.
    draws = plan.num_draws + declared.calls(plan) * declared.draws if concrete else None
    takes_noise = declared.draws > 0 if noise is not None else declared.there
    needed = bool(declared.num_draws) or (drawing and not padded)
    key, noise, make = source_of_noise(
        x,
        key,
        noise,
        who="a corrector",
        batched=batched,
        room=drawing or takes_noise,
        num_draws=draws,
        needed="The plan or its corrector draws noise: pass `key` or `noise`." if needed else None,
    )
    return key, no_draws(x) if padded and key is None and noise is None else noise, make


def total_nfe(plan: PlanLike, corrector: Corrector | None = None) -> int:
    """Returns how often `sample` evaluates the denoiser: `plan.nfe`, and what the corrector adds.

    A corrector adds its attribute `num_evaluations` in each call, 0 where it declares none.
    """
    check_plan(plan)
    declared = Declared.read(corrector)
    return plan.nfe + declared.calls(plan) * declared.num_evaluations
