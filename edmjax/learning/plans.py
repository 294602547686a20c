"""`fit_plan`: the levels and the weights of a solver, fitted to a denoiser."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from edmjax._common.arguments import count
from edmjax._common.typing import X
from edmjax.few_steps import recommend
from edmjax.learning import _grids
from edmjax.learning._descent import descend
from edmjax.learning._regression import Way, fit_rows, plan_of, run_rows
from edmjax.learning._report import report_of
from edmjax.learning._task import Part, Task, interpolate, task_of
from edmjax.planning.file import About, pair_of_levels
from edmjax.planning.make import make_plan
from edmjax.planning.table import Plan
from edmjax.running import many_plans as _sweep
from edmjax.samplers import dpmpp_2m, unipc
from edmjax.scalar import flag


def fit_plan(
    denoise: Any,
    nfe: Any,
    x: X,
    key: Any,
    *,
    cond: Any = None,
    sigma_min: Any = 0.002,
    sigma_max: Any = 80.0,
    final_zero: Any = True,
    window: Any = 8,
    updates: Any = 200,
    batch_size: Any = None,
    reference_nfe: Any = None,
    progress: Any = False,
) -> Plan:
    """The plan of `nfe` evaluations that ends nearest to the flow of this denoiser.

    A non-stationary solver: every row has weights of its own, on the last `window` outputs. They
    sum to 1 with that of the point, and the noise that a row leaves is that of its level, whatever
    was fitted. On several hand-made grids the weights are least squares, row by row. From the best
    of these, weights and levels descend together along the gradient of the errors: those of the
    samples, and those of the denoiser's outputs on the way to them. The best iterate on the noises
    that are held out is returned; or a hand-made plan, where none is better there. Its `about` says
    what it was fitted on, with the errors on both parts of `x`.

    Takes about `(reference_nfe + 20 nfe) len(x) + 4 updates nfe batch_size` evaluations of single
    samples, and holds `2 reference_nfe` arrays like `x`; what a gradient keeps is bounded by
    computing every evaluation twice.

    Args:
        denoise: as for `sample`. Gradients pass through it. The data should be of one scale in all
            components, as errors are.
        nfe: how many evaluations the plan is to have, 1 at least.
        x: noises at `sigma_max`, `sigma_max` times standard normal: any tree of floating arrays,
            the samples on axis 0, 16 at least. Some hundreds are needed for a plan that holds for
            others. Three quarters are fitted to, a quarter chooses.
        key: a typed key: which noises are which, and the batches.
        cond: passed on to the denoiser: the samples on axis 0 of every leaf.
        sigma_min: where the grid ends, in the units of the data.
        sigma_max: where it starts.
        final_zero: whether 0 stands in the place of `sigma_min`, so that samples are without noise.
        window: how many outputs a row may use; as many arrays like `x` are carried as it runs.
        updates: how often weights and levels are moved; 0 leaves them as they start.
        batch_size: noises of one update; by default 64, and more where a sample has less than 128
            components.
        reference_nfe: evaluations that the flow is followed with: by default 16 times `nfe`, 128 at
            least and 320 at most. What it is wrong by is learned too, and no error that is reported
            shows it.
        progress: whether to draw a tqdm bar.

    Raises:
        TypeError: if an argument is of the wrong kind.
        ValueError: if `nfe` or another number is too small, `x` is not noise at `sigma_max`, holds
            too few noises or does not fit `cond`, or the denoiser is not finite, returns another
            structure or shape than `x`, or declares a `sigma_range` that does not hold the grid.
        ImportError: if progress=True and tqdm is not installed.

    The family is that of Shaul et al. (2024), "Bespoke non-stationary solvers"; they fit it by
    gradients alone.
    """
    shown, moves = flag(progress, "progress"), count(updates, "`updates`", least=0)
    width = count(window, "`window`")
    size = None if batch_size is None else count(batch_size, "`batch_size`", least=4)
    task = task_of(
        denoise,
        nfe,
        x,
        key,
        cond=cond,
        sigma_min=sigma_min,
        sigma_max=sigma_max,
        final_zero=final_zero,
        reference_nfe=reference_nfe,
    )
    width = max(min(width, task.nfe), 2)
    size = min(size or _batch(task), task.train.end.shape[0])

    def fit(logits, data):
        denoise, train, validation = data
        sigmas = _grids.levels(logits, task.low, task.high)
        rows, _ = fit_rows(task, denoise, sigmas, train, width)
        held = run_rows(task, denoise, sigmas, validation, rows.c)
        return _size(task, sigmas, validation, held), rows

    data = (task.denoise, task.train, task.validation)
    first = jax.jit(fit)
    starts = {}
    for name, grid in _grids.starts(task.nfe, task.low, task.high, task.width).items():
        logits = jnp.asarray(_grids.logits_of(grid), task.flat.dtype)
        value, rows = first(logits, data)
        starts[name] = (float(value) if math.isfinite(value) else math.inf, logits, rows)
    _, logits, rows = min(starts.values(), key=lambda start: start[0])
    plans = {"levels by hand": _plan(task, logits, rows.c)}

    def run(params, denoise, part, rows):
        moved, z = params
        sigmas = _grids.levels(moved, task.low, task.high)
        c = rows.c + jnp.einsum("kij,kj->ki", rows.directions, z)
        return _size(task, sigmas, part, run_rows(task, denoise, sigmas, part, c)), c

    def loss(params, data, chosen):
        return run(params, data[0], data[1].take(chosen), data[3])[0]

    def score(params, data):
        return run(params, data[0], data[2], data[3])

    if moves and task.nfe > 1:
        best = descend(
            loss,
            score,
            (logits, jnp.zeros_like(rows.c)),
            (*data, rows),
            task.batches(moves, size),
            rates=(0.01, 0.05),
            progress=shown,
            label="fitting the plan",
        )
        plans["levels and weights"] = _plan(task, best.params[0], best.found)
    return _best(task, plans, denoise)


def _size(task: Task, sigmas: Any, part: Part, way: Way) -> Any:
    """The mean of two logarithms of errors: of the ends, and of the outputs on the way.

    A sample that ends in another mode has gone wrong at levels of about the width of the data, and
    among a few hundred noises hardly one does. The output of the denoiser amplifies the errors that
    decide it, of every sample, and so says how often it would happen among others. The mean over
    samples is that of the errors and not of their squares, where the one noise that does end in
    another mode would be all that counts.
    """
    tiny = jnp.finfo(way.x.dtype).tiny
    ends = jnp.mean(jnp.log(jnp.sqrt(jnp.mean((way.x - part.end) ** 2, axis=1) + tiny)))
    if task.nfe == 1:
        return ends
    outputs = interpolate(part.outputs, sigmas[1:-1], task.low, task.high)
    between = jnp.mean(jnp.sqrt(jnp.mean((way.outputs[1:] - outputs) ** 2, axis=(0, 2)) + tiny))
    return 0.5 * (ends + jnp.log(between))


def _batch(task: Task) -> int:
    """Small samples are cheap, and say little each."""
    return max(64, 8192 // task.train.end.shape[1])


def _plan(task: Task, logits: Any, c: Any) -> Plan:
    sigmas = _grids.levels(np.asarray(logits, np.float64), task.low, task.high)
    return plan_of(_grids.ending(sigmas, task.final_zero), np.asarray(c, np.float64))


def _best(task: Task, fitted: dict[str, Plan], denoise: Any) -> Plan:
    """Of what was fitted and of plans made by hand, the best on the noises that choose."""
    plans = fitted | _by_hand(task)
    samples = _sweep.sweep(denoise, plans, task.x, cond=task.cond)
    end = np.concatenate([task.validation.end, task.train.end])
    held = len(task.validation.end)
    errors = {
        name: np.sqrt(np.mean((np.asarray(task.flat.rows(x0)) - end) ** 2, axis=1))
        for name, x0 in samples.items()
    }
    means = {name: float(np.mean(values[:held])) for name, values in errors.items()}
    finite = [name for name in plans if math.isfinite(means[name])]
    if not finite:
        raise ValueError(
            "No plan that was tried ends in finite samples on these noises: the denoiser returns "
            "very large values on the way. Check it, or choose another range of levels."
        )
    choice = min(finite, key=means.__getitem__)
    start = min((name for name in finite if name not in fitted), key=means.__getitem__, default="")
    report = report_of(
        errors[choice][held:],
        errors[choice][:held],
        errors[start or choice][:held],
        start or choice,
    )
    declared = getattr(denoise, "sigma_range", None)
    ends = (task.low, task.high) if declared is None else pair_of_levels(declared, "sigma_range")
    about = About(
        fitted_on=f"{'' if choice in fitted else f'none of it, as {choice} did better: '}{report}",
        validation_error=report.validation_error,
        budget=task.nfe,
        sigma_range=ends,
    )
    return dataclasses.replace(plans[choice], about=about)


def _by_hand(task: Task) -> dict[str, Plan]:
    """What a user would take without a fit."""
    made = {}
    for name, sampler, grid in (
        ("dpmpp_2m on karras", dpmpp_2m(), "karras"),
        ("unipc(2) on theta(2)", unipc(2), "theta(2)"),
    ):
        sigmas = _grids.starts(task.nfe, task.low, task.high, task.width).get(grid)
        if sigmas is not None:
            made[name] = make_plan(sampler, _grids.ending(sigmas, task.final_zero))
    sampler, sigmas = recommend(
        task.nfe,
        sigma_min=task.low,
        sigma_max=task.high,
        sigma_data=task.width,
        final_zero=task.final_zero,
    )
    return made | {"the recommended plan": make_plan(sampler, sigmas)}
