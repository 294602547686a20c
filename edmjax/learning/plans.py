"""`fit_plan`: the levels and the weights of a solver, fitted to a denoiser."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np

from edmjax._common.arguments import whole
from edmjax._common.typing import Arraylike, Denoiser, Int, Keys, Number, PyTree
from edmjax.few_steps import recommend
from edmjax.few_steps.measured import widths
from edmjax.few_steps.tuned import tuned
from edmjax.learning import grids
from edmjax.learning.descent import best_start, descend
from edmjax.learning.regression import fit_rows, plan_of, run_rows
from edmjax.learning.task import Part, Task, interpolate, report_of, task_of
from edmjax.planning.file import About, pair_of_levels
from edmjax.planning.make import make_plan
from edmjax.planning.table import Plan
from edmjax.running.many_plans import sweep
from edmjax.samplers import dpmpp_2m, unipc
from edmjax.scalar import flag


def fit_plan(
    denoise: Denoiser,
    nfe: Int,
    x: PyTree,
    key: Keys,
    *,
    cond: PyTree = None,
    sigma_min: Number = 0.002,
    sigma_max: Number = 80.0,
    final_zero: bool = True,
    window: Int = 8,
    updates: Int = 200,
    batch_size: Int | None = None,
    reference_nfe: Int | None = None,
    progress: bool = False,
) -> Plan:
    """The plan of `nfe` evaluations that ends nearest to the flow of this denoiser.

    It is a non-stationary solver: every row has its own weights for the point and the last `window`
    outputs. Whatever is fitted, the weights of a row sum to 1, and the noise that it leaves has
    the level that it should. On several hand-made grids the weights are found by least squares, row
    by row. From the best of these, weights and levels descend together along the gradient of two
    errors: of the samples, and of the denoiser's outputs on the way to them. The best iterate on
    the noises held out is returned, or a hand-made plan where no iterate is better there. Its
    `about` says what it was fitted on, with the errors on both parts of `x`.

    A fit takes about `(reference_nfe + 20 nfe) len(x) + 4 updates nfe batch_size` evaluations of
    single samples, and holds `2 reference_nfe` arrays like `x`. Gradients compute every evaluation
    twice, so that they keep no activations of the network.

    Args:
        denoise: as for `sample`. Gradients pass through it. All components of the data should have
            about one scale, as their errors count alike.
        nfe: how many evaluations the plan should have, at least 1.
        x: noise at `sigma_max`, which is `sigma_max` times standard normal noise: any tree of
            floating arrays with at least 16 samples on axis 0. A plan that holds for other noises
            needs a few hundred. Three quarters are fitted to; a quarter is held out.
        key: a typed key, which decides the noises that are held out, and the batches.
        cond: passed on to the denoiser, with the samples on axis 0 of every leaf.
        sigma_min: where the grid ends, in the units of the data.
        sigma_max: where it starts.
        final_zero: whether 0 stands in place of `sigma_min`, so that samples are without noise.
        window: how many outputs a row may use; the plan carries as many arrays like `x`.
        updates: how often weights and levels are moved; 0 leaves them as they start. (`edmjax
            fit-plan` makes 100 by default, for a network that takes minutes.)
        batch_size: noises of one update; by default 64, or more where a sample has fewer than 128
            components.
        reference_nfe: evaluations with which the flow is solved: by default 16 times `nfe`, but at
            least 128 and at most 320. The reference's own error is fitted as well, and is not
            visible in the reported errors.
        progress: whether to draw a tqdm bar.

    Raises:
        TypeError: if an argument is of the wrong kind.
        ValueError: if `nfe` or another number is too small, `x` is not noise at `sigma_max`, holds
            too few noises or does not fit `cond`, or the denoiser is not finite, returns another
            structure or shape than `x`, or declares a `sigma_range` that does not hold the grid.
        ImportError: if progress=True and tqdm is not installed.

    The family of solvers is due to Shaul et al. (2024), "Bespoke non-stationary solvers"; they fit
    it by gradients alone.
    """
    shown, moves = flag(progress, "progress"), whole(updates, "updates", least=0)
    width = whole(window, "window")
    size = None if batch_size is None else whole(batch_size, "batch_size", least=4)
    task = task_of(denoise, nfe, x, key, cond, sigma_min, sigma_max, final_zero, reference_nfe)
    width = max(min(width, task.nfe), 2)
    # A small sample is cheap, and each says little, so a batch takes more of them.
    size = min(size or max(64, 8192 // task.flat.dim), len(task.train.end))

    def fit(logits, data):
        denoise, train, validation = data
        sigmas = grids.levels(logits, task.low, task.high)
        rows = fit_rows(task, denoise, sigmas, train, width)
        return _size(task, denoise, sigmas, validation, rows.c), rows

    data = (task.denoise, task.train, task.validation)
    _, _, (logits, _, rows) = best_start(task, task.nfe, fit, data)
    plans = {"levels by hand": _plan(task, logits, rows.c)}

    def run(params, denoise, part, rows):
        moved, z = params
        sigmas = grids.levels(moved, task.low, task.high)
        c = rows.c + jnp.einsum("kij,kj->ki", rows.directions, z)
        return _size(task, denoise, sigmas, part, c), c

    def loss(params, data, chosen):
        return run(params, data[0], data[1].take(chosen), data[3])[0]

    def score(params, data):
        return run(params, data[0], data[2], data[3])

    if moves and task.nfe > 1:
        start, batches = (logits, jnp.zeros_like(rows.c)), task.batches(moves, size)
        best = descend(
            loss, score, start, (*data, rows), batches, (0.01, 0.05), shown, "fitting the plan"
        )
        plans["levels and weights"] = _plan(task, best.params[0], best.found)
    return _best(task, plans, denoise)


def _size(task: Task, denoise: Denoiser, sigmas: jax.Array, part: Part, c: jax.Array) -> jax.Array:
    """How far rows of weights `c` end from the flow, as the mean of two logarithms.

    These are of the error of the samples, and of the error of the outputs on the way.

    A sample that ends in the wrong mode went wrong at levels of about the width of the data, and
    among a few hundred noises hardly one does. But for every sample the denoiser's output amplifies
    the errors that decide the mode, so its error says how often other noises would end in the wrong
    one. The mean over samples is taken of errors and not of their squares, in which the one noise
    that does end in the wrong mode would outweigh all others.
    """
    found = run_rows(task, denoise, sigmas, part, c)
    tiny = jnp.finfo(found.x.dtype).tiny
    ends = jnp.mean(jnp.log(jnp.sqrt(jnp.mean((found.x - part.end) ** 2, axis=1) + tiny)))
    if task.nfe == 1:
        return ends
    outputs = interpolate(part.outputs, sigmas[1:-1], task.low, task.high)
    between = jnp.mean(jnp.sqrt(jnp.mean((found.outputs[1:] - outputs) ** 2, axis=(0, 2)) + tiny))
    return 0.5 * (ends + jnp.log(between))


def _plan(task: Task, logits: Arraylike, c: Arraylike) -> Plan:
    sigmas = grids.levels(np.asarray(logits, np.float64), task.low, task.high)
    return plan_of(grids.ending(sigmas, task.final_zero), np.asarray(c, np.float64))


def _best(task: Task, fitted: dict[str, Plan], denoise: Denoiser) -> Plan:
    """The best of the fitted plans and of those made by hand, on the noises held out."""
    end = np.concatenate([task.validation.end, task.train.end])
    plans = fitted | _by_hand(task, end)
    samples = sweep(denoise, plans, task.x, cond=task.cond)
    held = len(task.validation.end)
    errors = {
        name: np.sqrt(np.mean((np.asarray(task.flat.rows(x0)) - end) ** 2, axis=1))
        for name, x0 in samples.items()
    }
    means = {name: float(np.mean(values[:held])) for name, values in errors.items()}
    means = {name: mean for name, mean in means.items() if math.isfinite(mean)}
    if not means:
        raise ValueError(
            "No plan that was tried gives finite samples from these noises: the denoiser returns "
            "very large values on the way. Check it, or choose another range of levels."
        )
    choice = min(means, key=means.__getitem__)
    by_hand = [name for name in means if name not in fitted]
    start = min(by_hand, key=means.__getitem__, default=choice)
    best = errors[choice]
    report = report_of(best[held:], best[:held], errors[start][:held], start)
    declared = getattr(denoise, "sigma_range", None)
    ends = (task.low, task.high) if declared is None else pair_of_levels(declared, "sigma_range")
    fitted_on = f"{'' if choice in fitted else f'none of it, as {choice} did better: '}{report}"
    about = About(fitted_on, report.validation_error, task.nfe, ends)
    return dataclasses.replace(plans[choice], about=about)


def _by_hand(task: Task, end: np.ndarray) -> dict[str, Plan]:
    """The plans that a user would take without a fit, for the samples `end` of the flow."""
    starts = grids.starts(task.nfe, task.low, task.high, task.width)
    pairs = ("dpmpp_2m", dpmpp_2m(), "karras"), ("unipc(2)", unipc(2), "theta(2)")
    made = {
        f"{name} on {grid}": make_plan(sampler, grids.ending(starts[grid], task.final_zero))
        for name, sampler, grid in pairs
        if grid in starts
    }
    ends = {"sigma_min": task.low, "sigma_max": task.high, "final_zero": task.final_zero}
    width, spread = widths(np.asarray(end, np.float64), task.low)
    pair = recommend(task.nfe, sigma_data=width, spread=spread, **ends)
    made["the recommended plan"] = make_plan(*pair)
    pair = tuned(task.nfe, task.low, task.high, task.width, task.final_zero)
    return made | {"the pair tuned on three problems": make_plan(*pair)}
