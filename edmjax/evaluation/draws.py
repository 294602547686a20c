"""Samples for a budget of evaluations, from text such as `unipc(order=3)@cosine:10`."""

import inspect
from typing import NamedTuple

import edmjax as ej
from edmjax.planning.table import Plan
from edmjax.training.choices import parse_sampler, parse_schedule, schedule_names

RECOMMENDED, LEARNED = "recommended", "learned"


class Way(NamedTuple):
    """A way to draw samples: a sampler, a schedule, and the evaluations that it may take.

    The sampler "recommended" has no schedule; that of "learned" is the path of a plan's file, where
    `{nfe}` stands for the budget.
    """

    sampler: str
    schedule: str
    budget: int


def parse_way(text: str) -> list[Way]:
    """The ways that `SAMPLER@SCHEDULE:N,N,...` names, one a budget.

    So do `recommended:N,N,...` and `learned@plan{nfe}.json:N,N,...`. `ValueError` where the text is
    not of that form; names are checked by `plan_of`.
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
            f"{text!r} names no way to draw samples: write SAMPLER@SCHEDULE:BUDGETS, such as "
            "'heun@karras:10,20', 'unipc(order=3)@cosine(sigma_max=20):10', 'recommended:8' or "
            "'learned@plan{nfe}.json:8'."
        )
    return [Way(sampler.strip(), schedule.strip(), int(n)) for n in numbers]


def plan_of(way: Way, **defaults: float) -> Plan:
    """The plan with the most steps that takes at most the budget of evaluations.

    `defaults`, such as `sigma_data=0.5`, are told to a schedule that has such an option, unless its
    text does. `ValueError` for names that do not exist, a file that holds no plan of that many
    evaluations, or a budget too small for two levels.
    """
    if way.sampler == RECOMMENDED:
        return ej.make_plan(*ej.recommend(way.budget, **defaults))
    if way.sampler == LEARNED:
        plan = Plan.load(way.schedule.replace("{nfe}", str(way.budget)))
        if plan.nfe != way.budget:
            raise ValueError(
                f"{way.schedule} for {way.budget} evaluations holds a plan of {plan.nfe}: fit one "
                "of that many (scripts/fit_plan.py), or write its own number."
            )
        return plan
    sampler = parse_sampler(way.sampler)
    schedule = _with_defaults(way.schedule, defaults)
    for n in range(way.budget, 1, -1):
        try:
            plan = ej.make_plan(sampler, parse_schedule(schedule, n))
        except ValueError:
            if n > 2:  # some methods and schedules need few levels, or many: what works is tried
                continue
            raise
        if plan.nfe <= way.budget:
            return plan
    raise ValueError(
        f"{way.budget} evaluations are too few for two levels of {way.sampler}@{way.schedule}: "
        "allow more."
    )


def _with_defaults(text: str, defaults: dict[str, float]) -> str:
    name, _, inside = text.partition("(")
    schedule = schedule_names().get(name.strip())
    takes = inspect.signature(schedule).parameters if schedule else {}
    missing = [f"{k}={v!r}" for k, v in defaults.items() if k in takes and k not in inside]
    if not missing:
        return text
    given = [inside.strip().removesuffix(")")] if inside.strip(" )") else []
    return f"{name.strip()}({', '.join(given + missing)})"
