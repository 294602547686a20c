"""`fit_schedule`: the levels of a given sampler, fitted to a denoiser."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from edmjax._common.arguments import whole
from edmjax._common.typing import Denoiser, Int, Keys, Levels, Number, PyTree
from edmjax.learning import grids
from edmjax.learning.descent import best_start, descend
from edmjax.learning.task import FitReport, report_of, task_of
from edmjax.planning.make import make_plan
from edmjax.planning.step import Sampler
from edmjax.running.one_plan import sample
from edmjax.scalar import flag


def fit_schedule(
    denoise: Denoiser,
    sampler: Sampler,
    nfe: Int,
    x: PyTree,
    key: Keys,
    *,
    cond: PyTree = None,
    sigma_min: Number = 0.002,
    sigma_max: Number = 80.0,
    final_zero: bool = True,
    updates: Int = 100,
    batch_size: Int = 64,
    reference_nfe: Int | None = None,
    progress: bool = False,
) -> tuple[Levels, FitReport]:
    """The grid on which `sampler` ends nearest to the flow in `nfe` evaluations, and a report.

        sigmas, report = ej.learning.fit_schedule(denoise, ej.samplers.unipc(3), 8, x, key)
        plan = ej.make_plan(ej.samplers.unipc(3), sigmas)    # plan.nfe == 8

    The mean logarithm of the samples' errors descends along its gradient through the plan and the
    loop, with the ends of the grid fixed. (The mean square would follow the few samples that end in
    the wrong mode.) The fit starts from the best of several hand-made grids, and returns the best
    iterate on the noises held out, as NumPy float64.

    A fit takes about `(reference_nfe + 10 nfe) len(x) + 4 updates nfe batch_size` evaluations of
    single samples, and compiles the sampler over traced levels once, which takes seconds for the
    ten steps of a multistep method.

    Args:
        sampler: one step of a method without noise, such as `ej.samplers.unipc(3)`.
        denoise, nfe, x, key, cond, sigma_min, sigma_max, final_zero, updates, batch_size,
            reference_nfe, progress: as for `fit_plan`.

    Raises:
        TypeError: as `fit_plan` does, or if `sampler` is not a function of one step.
        ValueError: as `fit_plan` does, or if `sampler` draws noise, or no number of its steps takes
            `nfe` evaluations.
        ImportError: if progress=True and tqdm is not installed.

    Grids were learned by Sabour et al. (2024), "Align Your Steps", and by Tong et al. (2025),
    "Learning to discretize denoising diffusion ODEs", the latter with gradients through the solver.
    """
    nfe = whole(nfe, "nfe")
    steps = _steps(sampler, nfe, flag(final_zero, "final_zero"))
    shown, moves = flag(progress, "progress"), whole(updates, "updates", least=0)
    size = whole(batch_size, "batch_size", least=4)
    task = task_of(denoise, nfe, x, key, cond, sigma_min, sigma_max, final_zero, reference_nfe)
    size = min(size, len(task.train.end))

    def errors(logits, denoise, part):
        sigmas = grids.levels(logits, task.low, task.high)
        if task.final_zero:
            sigmas = sigmas.at[-1].set(0)
        plan = make_plan(sampler, sigmas, ends_at_zero=task.final_zero)
        x = task.flat.tree(part.points[0])
        x0 = sample(denoise, plan, x, cond=part.cond, remat=True)
        return jnp.sqrt(jnp.mean((task.flat.rows(x0) - part.end) ** 2, axis=1))

    def loss(logits, data, rows):
        return _size(errors(logits, data[0], data[1].take(rows)))

    def score(logits, data):
        held = errors(logits, data[0], data[2])
        return _size(held), (errors(logits, data[0], data[1]), held)

    data = (task.denoise, task.train, task.validation)
    name, sigmas, start = best_start(task, steps, score, data)
    if start.score == math.inf:
        raise ValueError(
            "The sampler returns NaN or infinity from these noises on every hand-made grid: check "
            "the denoiser, or choose another range of levels."
        )
    train, held = start.found
    if moves and steps > 1:
        batches = task.batches(moves, size)
        best = descend(loss, score, start.params, data, batches, 0.05, shown, "fitting the grid")
        if best.score < start.score:
            logits = np.asarray(best.params, np.float64)
            sigmas, (train, held) = grids.levels(logits, task.low, task.high), best.found
    report = report_of(train, held, start.found[1], name)
    return grids.ending(sigmas, task.final_zero), report


def _size(errors: jax.Array) -> jax.Array:
    return jnp.mean(jnp.log(errors + jnp.finfo(errors.dtype).tiny))


def _steps(sampler: Sampler, nfe: int, final_zero: bool) -> int:
    """How many steps of the sampler take `nfe` evaluations."""
    counts = []
    for steps in range(1, nfe + 3):
        levels = grids.ending(np.geomspace(80.0, 0.002, steps + 1), final_zero)
        try:
            plan = make_plan(sampler, levels)
        except ValueError:
            if steps > 1:  # some samplers need at least two steps
                raise
            continue
        if plan.num_draws:
            raise ValueError(
                "This sampler draws noise, so its samples do not follow the flow: fit the grid of "
                "a sampler without noise, such as `ej.samplers.unipc(3)`."
            )
        if plan.nfe == nfe:
            return steps
        counts.append(plan.nfe)
        if plan.nfe > nfe:
            break
    near = sorted(counts, key=lambda n: abs(n - nfe))[:2]
    raise ValueError(
        f"This sampler never takes nfe = {nfe} evaluations: ask for "
        f"{' or '.join(str(n) for n in sorted(near))}, or take another sampler."
    )
