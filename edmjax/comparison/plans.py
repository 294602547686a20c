"""Fixed steps: the plans that budgets of evaluations buy, and the few programs that run all."""

import functools
from collections.abc import Iterator, Sequence

import diffrax
import jax
from jaxtyping import Array

import edmjax as ej
from edmjax.comparison.methods import PROCESS, STOCHASTIC, Run, Series, levels
from edmjax.comparison.targets import Target, perturbed
from edmjax.evaluation.budgets import most_steps
from edmjax.planning.padding import Shape
from edmjax.running.many_plans import runs

KINDS = ("plan", "diffrax-fixed", "stochastic")


class Plans:
    """The runs of all plans among `series`; those that draw noise start from `starts`.

    The plans of a batch and a denoiser share a program, as in `ej.sweep`, with those that draw
    noise where they do and look back about as far. With all of them in one, Euler's method would
    carry the 13 arrays of Dopri8, and Heun's the zeros that it does not draw: each up to 1.2 times
    as long around P2's exact denoiser, which is what is to be compared.
    """

    def __init__(self, series: Sequence[Series], target: Target, starts: Array, seed: int):
        self.series = [one for one in series if one.kind in KINDS]
        self.target, self.starts, self.seed = target, starts, seed

    def run(self, series: Series, setting: float) -> Run | None:
        """The run of a series at a budget; None where the budget buys no new run."""
        bought = plans_of(series, self.target.sigma_data)
        return self._runs[series, setting] if setting in bought else None

    @functools.cached_property  # where all have results, none is made
    def _runs(self) -> dict[tuple[Series, float], Run]:
        groups: dict[tuple[bool, float, bool, int], dict[tuple[Series, float], ej.Plan]] = {}
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

    def _group(
        self, plans: dict[tuple[Series, float], ej.Plan], x: Array, size: float
    ) -> Iterator[tuple[tuple[Series, float], Run]]:
        denoise, key = perturbed(self.target, size), jax.random.key(self.seed)
        calls = runs(denoise, list(plans.values()), x, key)
        program = ("plans", size > 0, x.shape, Shape.of(list(plans.values())))
        for (what, plan), call in zip(plans.items(), calls, strict=True):
            yield what, Run(lambda call=call, nfe=plan.nfe: (call(), nfe), program)


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
        made = plan_within(sampler, schedule, int(budget), sigma_data)
        if made is not None and made.nfe not in {plan.nfe for plan in plans.values()}:
            plans[budget] = made
    return plans


def plan_within(
    sampler: ej.Sampler, schedule: str, budget: int, sigma_data: float
) -> ej.Plan | None:
    """The plan with the most steps that takes at most `budget` evaluations; None if none does."""
    return most_steps(
        lambda steps: ej.make_plan(sampler, levels(schedule, steps + 1, sigma_data)), budget
    )
