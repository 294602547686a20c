"""Fixed steps: the plans that budgets of evaluations buy, and the few programs that run all."""

import functools
from collections.abc import Sequence
from typing import Any

import diffrax
import jax
import numpy as np

import edmjax as ej
from edmjax.cli.comparison.methods import PROCESS, STOCHASTIC, Run, Series, levels
from edmjax.cli.comparison.targets import Target, perturbed
from edmjax.planning.padding import Shape
from edmjax.running import many_plans as _sweep

KINDS = ("plan", "diffrax-fixed", "stochastic")


class Plans:
    """The runs of all plans among `series`; those that draw noise start from `starts`.

    The plans of a batch and a denoiser share a program, as in `ej.sweep`, with those that draw
    noise where they do and look back about as far. With all of them in one, Euler's method would
    carry the 13 arrays of Dopri8, and Heun's the zeros that it does not draw: each up to 1.2 times
    as long around P2's exact denoiser, which is what is to be compared.
    """

    def __init__(self, series: Sequence[Series], target: Target, starts: Any, seed: int):
        self.series = [one for one in series if one.kind in KINDS]
        self.target, self.starts, self.seed = target, starts, seed

    def run(self, series: Series, setting: float) -> Run | None:
        """The run of a series at a budget; None where the budget buys no new run."""
        bought = plans_of(series, self.target.sigma_data)
        return self._runs[series, setting] if setting in bought else None

    @functools.cached_property  # where all have rows, none is made
    def _runs(self) -> dict[tuple[Series, float], Run]:
        groups: dict[Any, dict[tuple[Series, float], Any]] = {}
        for series in self.series:
            noisy = series.kind in STOCHASTIC
            for setting, plan in plans_of(series, self.target.sigma_data).items():
                alike = noisy, series.perturbation, plan.num_draws > 0, _looks_back(plan)
                groups.setdefault(alike, {})[series, setting] = plan
        return dict(
            item
            for (noisy, size, *_), plans in groups.items()
            for item in self._group(plans, self.starts if noisy else self.target.x, size)
        )

    def _group(self, plans: dict[tuple[Series, float], Any], x: Any, size: float) -> Any:
        denoise, key = perturbed(self.target, size), jax.random.key(self.seed)
        calls = _sweep.runs(denoise, list(plans.values()), x, key)
        program = ("plans", size > 0, x.shape, Shape.of(list(plans.values())))
        for (what, plan), call in zip(plans.items(), calls, strict=True):
            yield what, Run(lambda call=call, nfe=plan.nfe: (call(), nfe), program)


def _looks_back(plan: Any) -> int:
    """How far a plan looks back: at least 4, and up to a power of two."""
    return max(4, 1 << (max(plan.y.shape[1], plan.d.shape[1]) - 1).bit_length())


@functools.cache
def plans_of(series: Series, sigma_data: float) -> dict[float, Any]:
    """The plans of the budgets; a budget that buys no more steps than one before it has none."""
    schedule = series.path.split(", ")[1] if series.kind == "diffrax-fixed" else series.path
    sampler, plans, counts = sampler_of(series, sigma_data), {}, set()
    for budget in series.settings:
        made = plan_within(sampler, schedule, int(budget), sigma_data)
        if made is not None and made.nfe not in counts:
            counts.add(made.nfe)
            plans[budget] = made
    return plans


def sampler_of(series: Series, sigma_data: float) -> Any:
    if series.kind == "diffrax-fixed":
        solver, form = getattr(diffrax, series.method)(), series.path.split(", ")[0]
        return ej.terms.from_diffrax(solver, form, process=PROCESS, sigma_data=sigma_data)
    return ej.training.parse_sampler(series.method)


def plan_within(sampler: Any, schedule: str, budget: int, sigma_data: float) -> Any:
    """The plan with the most steps that takes at most `budget` evaluations; None if none does."""

    def plan(steps):
        return ej.make_plan(sampler, levels(schedule, steps + 1, sigma_data))

    steps = budget
    while steps > 0:
        made = plan(steps)
        if made.nfe <= budget:
            return made
        # Evaluations rise with steps, by `nfe / steps` or more for each.
        steps = min(steps - 1, max(1, int(np.ceil(steps * budget / made.nfe))))
    return None
