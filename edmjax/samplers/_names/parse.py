"""A name taken apart: the sampler and the schedule that it stands for."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

from edmjax import schedules
from edmjax.samplers._names.lookup import Names, Row


class Parsed(NamedTuple):
    """What a name stands for: "DPM++ 2M Karras" has both, "Karras" a schedule alone.

    Attributes:
        sampler: the row of the sampler, or None.
        schedule: the row of the schedule, or None.
        schedule_name: the part of the name that says the schedule.
    """

    sampler: Row | None
    schedule: Row | None
    schedule_name: str


def parse(name: str) -> Parsed:
    """The rows of `name`: as a whole, or else of its two parts, the longest schedule first."""
    sampler, schedule, schedule_name = sampler_names().find(name), schedule_names().find(name), name
    for head, tail in schedule_names().cuts(name):
        found = sampler_names().find(head)
        if found:
            sampler = sampler or found
            if not schedule:
                schedule, schedule_name = schedule_names().find(tail), tail
            break
    return Parsed(sampler, schedule, schedule_name)


@functools.cache
def sampler_names() -> Names:
    """The names of all samplers."""
    from edmjax import samplers  # which imports this module

    own = {name: getattr(samplers, name) for name in samplers.__all__ if name != "from_name"}
    return Names("samplers.toml", _functions(own))


@functools.cache
def schedule_names() -> Names:
    """The names of all schedules: our functions of a number of levels or of evaluations."""
    own = _functions({name: getattr(schedules, name) for name in schedules.__all__})
    return Names("schedules.toml", {k: f for k, f in own.items() if _counts(f)})


def _counts(function: Callable[..., Any]) -> bool:
    return next(iter(inspect.signature(function).parameters), "") in ("n", "nfe")


def _functions(named: dict[str, Any]) -> dict[str, Callable[..., Any]]:
    return {name: thing for name, thing in named.items() if inspect.isfunction(thing)}
