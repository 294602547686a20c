"""Fixed steps: the plans that budgets of evaluations buy, and the few programs that run all."""

import functools
from collections.abc import Sequence

import diffrax
import jax
from jaxtyping import Array

import edmjax as ej
from edmjax.comparison.methods import PROCESS, STOCHASTIC, Run, Series, levels
from edmjax.comparison.targets import Target, perturbed
from edmjax.evaluation.budgets import plan_within
from edmjax.planning.padding import Shape
from edmjax.running.many_plans import runs

KINDS = ("plan", "diffrax-fixed", "stochastic")


def plan_runs(
    series: Sequence[Series], target: Target, starts: Array, seed: int
) -> dict[tuple[Series, float], Run]:
    """The runs of all plans among `series`, by budget; those that draw noise start from `starts`.

    The plans of a batch and a denoiser share a program, as in `ej.sweep`, with those that draw
    noise where they do and look back about as far. With all of them in one, Euler's method would
    carry the 13 arrays of Dopri8, and Heun's the zeros that it does not draw: each up to 1.2 times
    as long around P2's exact denoiser, which is what is to be compared.
    """
    groups: dict[tuple[bool, float, bool, int], dict[tuple[Series, float], ej.Plan]] = {}
    for one in [one for one in series if one.kind in KINDS]:
        for budget, plan in plans_of(one, target.sigma_data).items():
            noisy = one.kind in STOCHASTIC
            alike = noisy, one.perturbation, plan.num_draws > 0, _looks_back(plan)
            groups.setdefault(alike, {})[one, budget] = plan
    found = {}
    for (noisy, size, *_), plans in groups.items():
        x, tables = starts if noisy else target.x, list(plans.values())
        program = ("plans", size > 0, x.shape, Shape.of(tables))
        calls = runs(perturbed(target, size), tables, x, jax.random.key(seed))
        for (what, plan), call in zip(plans.items(), calls, strict=True):
            found[what] = Run(lambda call=call, nfe=plan.nfe: (call(), nfe), program)
    return found


def _looks_back(plan: ej.Plan) -> int:
    """How far a plan looks back: at least 4, and up to a power of two."""
    return max(4, 1 << (max(plan.y.shape[1], plan.d.shape[1]) - 1).bit_length())


@functools.cache
def plans_of(series: Series, sigma_data: float) -> dict[float, ej.Plan]:
    """The plans of the budgets; a budget that buys no more steps than one before it has none."""
    schedule = series.path
    if series.kind == "diffrax-fixed":
        form, schedule = series.path.split(", ")
        solver = getattr(diffrax, series.method)()
        sampler = ej.terms.from_diffrax(solver, form, process=PROCESS, sigma_data=sigma_data)
    else:
        sampler = ej.training.parse_sampler(series.method)
    plans: dict[float, ej.Plan] = {}
    for budget in series.settings:
        made = plan_within(sampler, lambda n: levels(schedule, n + 1, sigma_data), int(budget))
        if made is not None and made.nfe not in {plan.nfe for plan in plans.values()}:
            plans[budget] = made
    return plans
