"""Plans for a budget of evaluations, from text such as `unipc(order=3)@cosine:10`."""

import inspect
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import edmjax as ej
from edmjax._common.deprecation import renamed
from edmjax._common.typing import Levels
from edmjax.planning.step import Sampler
from edmjax.planning.table import Plan
from edmjax.training.choices import parse_sampler, parse_schedule, schedule_names
from edmjax.training.pretrained import NoiseLevels

RECOMMENDED, LEARNED = "recommended", "learned"


class Method(NamedTuple):
    """A sampler, a schedule, and the evaluations that a sample may take.

    The sampler "recommended" has no schedule; the schedule of "learned" is the path of a plan's
    file, in which `{nfe}` stands for the budget.
    """

    sampler: str
    schedule: str
    budget: int


def parse_methods(text: str) -> list[Method]:
    """The methods that `SAMPLER@SCHEDULE:N,N,...` names, one for each budget.

    The text may also be `recommended:N,N,...` or `learned@plan{nfe}.json:N,N,...`. `ValueError`
    where it has another form; `plan_of` checks the names.
    """
    methods, _, budgets = text.rpartition(":")
    sampler, _, schedule = methods.rpartition("@")
    numbers = budgets.split(",")
    if methods.strip() == RECOMMENDED:
        sampler, schedule = RECOMMENDED, ""
    elif not schedule.strip():
        sampler = ""
    if not sampler.strip() or not all(n.strip().isdigit() for n in numbers):
        raise ValueError(
            f"{text!r:.200} does not say how to draw samples: write SAMPLER@SCHEDULE:BUDGETS, such "
            "as 'heun@karras:10,20', 'unipc(order=3)@cosine(sigma_max=20):10', 'recommended:8' or "
            "'learned@plan{nfe}.json:8'."
        )
    return [Method(sampler.strip(), schedule.strip(), int(n)) for n in numbers]


@renamed(way="method")
def plan_of(method: Method, levels: NoiseLevels | None = None, **options: float) -> Plan:
    """The plan with the most steps whose evaluations are within the budget.

    `options`, such as `sigma_data=0.5`, are passed to a schedule that takes them, unless its text
    has them, and to `ej.recommend` where there are no `levels`, which are for it alone.
    `ValueError` for names that do not exist, a file without a plan of that many evaluations, or a
    budget too small for two levels.
    """
    if method.sampler == RECOMMENDED:
        known: dict[str, Any] = options if levels is None else levels._asdict()
        return ej.make_plan(*ej.recommend(method.budget, **known))
    if method.sampler == LEARNED:
        plan = Plan.load(method.schedule.replace("{nfe}", str(method.budget)))
        if plan.nfe != method.budget:
            raise ValueError(
                f"{method.schedule} for {method.budget} evaluations holds a plan of {plan.nfe}: "
                "fit one of that many (edmjax fit-plan), or write its own number."
            )
        return plan
    sampler, schedule = parse_sampler(method.sampler), with_options(method.schedule, **options)
    plan = plan_within(sampler, lambda n: parse_schedule(schedule, n), method.budget, least=2)
    if plan is None:
        raise ValueError(
            f"{method.budget} evaluations are too few for two levels of "
            f"{method.sampler}@{method.schedule}: allow more."
        )
    return plan


def plan_within(
    sampler: Sampler, levels: Callable[[int], Levels], budget: int, least: int = 1
) -> Plan | None:
    """The plan on `levels(n)` with the largest `n` whose evaluations are within `budget`.

    None where there is none from `least` on. `ValueError` as for `levels(least)`.
    """
    n = budget
    while n >= least:
        try:
            plan = ej.make_plan(sampler, levels(n))
        except ValueError:
            if n == least:
                raise
            n -= 1  # some samplers and schedules take few levels only, or many
            continue
        if plan.nfe <= budget:
            return plan
        # Evaluations grow with steps, by about `nfe / n` for each: skip what is too many anyway.
        n = min(n - 1, max(least, math.ceil(n * budget / plan.nfe)))
    return None


def with_options(text: str, **options: float) -> str:
    """The text of a schedule with those of `options` that it takes and does not name."""
    name, _, inside = text.partition("(")
    schedule = schedule_names().get(name.strip())
    takes = inspect.signature(schedule).parameters if schedule else {}
    missing = [f"{k}={v!r}" for k, v in options.items() if k in takes and k not in inside]
    if not missing:
        return text
    given = [inside.strip().removesuffix(")")] if inside.strip(" )") else []
    return f"{name.strip()}({', '.join(given + missing)})"
