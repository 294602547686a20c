"""Samplers and schedules by the names that k-diffusion, diffusers, ComfyUI and A1111 give them.

A name may hold both, so one parser reads both. This room does not import the schedules: it knows
their names, and `ej.schedules.from_name` brings the functions.
"""

import functools
import inspect
import sys
from collections.abc import Callable, Set
from types import ModuleType
from typing import Any

from edmjax._common.arguments import LONGEST_NAME
from edmjax.planning.step import Sampler
from edmjax.samplers._names.lookup import ORIGINS, Names, Row, package_of
from edmjax.samplers.flow_time import in_flow_time
from edmjax.scalar import flag

__all__ = ["ORIGINS", "Names", "Row", "from_name", "sampler_names", "schedule", "schedule_names"]


def from_name(
    name: str, *, package: str | None = None, flow: bool = False, **options: Any
) -> Sampler:
    """The sampler that is known as `name`, with the defaults of the package that the name is from.

        from_name("DPM++ 2M Karras")                              # dpmpp_2m()
        from_name("sample_heun", s_churn=40.0)                    # churn(heun(), s_churn=40.0)
        from_name("UniPCMultistepScheduler")                      # unipc(order=2)
        from_name("lms", package="comfyui")                       # lms(final="denoise")
        from_name("dpmpp_2m", package="comfyui", flow=True)       # in_flow_time(dpmpp_2m())

    Knows the functions of k-diffusion, the classes of diffusers, the menu names of ComfyUI and
    A1111, and our own. Exact names win; only where there is none are names matched loosely: case,
    spaces, underscores, hyphens, a leading "sample_" and a trailing "Scheduler" do not matter. A
    name that stands for different samplers in two packages, or in one of them and here, is refused
    with a sentence that lists them: pass `package`. The name of a schedule at the end is left out:
    the sampler does not depend on it, and `ej.schedules.from_name` reads it. `docs/names.md` has
    the table.

    Args:
        name: the name.
        package: whose name it is: "comfyui", "diffusers", "k-diffusion", "a1111", or "edmjax" for
            ours. Other names of that package are not looked at.
        flow: as the package samples a flow model with it: ComfyUI, and k-diffusion's functions
            where they are given the times of a flow, step in the flow's time (`in_flow_time`), with
            ancestral noise of its own size (`flow_ancestral`). Read the sampler on levels of
            `ej.processes.flow`.
        options: passed on to our sampler and, where the table has one, to its wrapper: `s_churn`,
            `s_min`, `s_max`, `s_noise` of `churn`; `eta`, `s_noise` of `ancestral`.

    Raises:
        TypeError: if `name` is not a string.
        ValueError: if no sampler has that name (the message gives the nearest one), several have
            it, or the sampler is not in this package (the message says what to use instead); if an
            option is unknown or missing (the message lists the options), or the sampler refuses its
            value; if `package` is unknown.
    """
    if not isinstance(name, str):
        raise TypeError(f"The name of a sampler is a string, got {name!r:.80}.")
    _refuse_long(name, "sampler")
    package, flow = package_of(package), flag(flow, "flow")
    row, schedule, _ = _parse(name, schedule_names(), package)
    if row is None:
        heads = (head for head, _ in schedule_names().cuts(name))
        hint = (
            "It names a schedule: `ej.schedules.from_name` knows it."
            if schedule
            else sampler_names().hint(*heads, name, package=package)
        )
        raise ValueError(f"No sampler {name!r}{_of(package)}. {hint}")
    if row.choices:
        raise ValueError(_ambiguous(name, "samplers", row))
    if row.make is None:
        raise ValueError(f"There is no sampler like {name!r} here. {row.note}")
    if flow and row.flow_note:
        raise ValueError(f"There is no sampler like {name!r} for flows here. {row.flow_note}")
    wrapper = row.flow_wrapper if flow and row.flow_wrapper else row.wrapper
    inner = inspect.signature(row.make).parameters
    outer = dict(inspect.signature(wrapper).parameters) if wrapper else {}
    outer.pop("inner", None)
    former = getattr(row.make, "former_keywords", {})  # which warn
    _check(name, row, options.keys() - former.keys(), {**inner, **outer})
    # An option that both have, such as `s_noise`, goes to both.
    sampler = row.make(**{k: v for k, v in options.items() if k in inner or k in former})
    if flow and row.in_time:
        sampler = in_flow_time(sampler)
    if wrapper is None:
        return sampler
    return wrapper(sampler, **{k: v for k, v in options.items() if k in outer})


def schedule(name: str, room: ModuleType, package: str | None = None) -> Callable[..., Any]:
    """See `ej.schedules.from_name`; `room` is `ej.schedules`."""
    if not isinstance(name, str):
        raise TypeError(f"The name of a schedule is a string, got {name!r:.80}.")
    _refuse_long(name, "schedule")
    package, names = package_of(package), schedule_names(room)
    sampler, row, asked = _parse(name, names, package)
    if row is None and sampler:
        raise ValueError(
            f"{name!r} names a sampler without a schedule: name the schedule, as in 'Karras' "
            f"or '{name} Karras'."
        )
    if row is None:
        hint = names.hint(name, name.split(" ")[-1], package=package)
        raise ValueError(f"No schedule {name!r}{_of(package)}. {hint}")
    if row.choices:
        raise ValueError(_ambiguous(asked, "schedules", row))
    if row.make is None:
        raise ValueError(f"There is no schedule like {asked!r} here. {row.note}")
    return row.make


def _of(package: str | None) -> str:
    return "" if package is None else f" in {package}"


def _ambiguous(name: str, things: str, row: Row) -> str:
    return f"{name!r} names different {things}: {row.choices}. Say which one by `package`."


@functools.cache
def sampler_names() -> Names:
    """The names of all samplers."""
    ours = _functions(sys.modules["edmjax.samplers"])
    return Names("samplers.toml", {name: f for name, f in ours.items() if name != "from_name"})


@functools.cache
def schedule_names(room: ModuleType | None = None) -> Names:
    """The names of all schedules, with their functions where `room` is `ej.schedules`.

    They are our functions of a number of levels or of evaluations.
    """
    if room is None:
        return Names("schedules.toml")
    counts = {
        name: function
        for name, function in _functions(room).items()
        if next(iter(inspect.signature(function).parameters), "") in ("n", "nfe")
    }
    return Names("schedules.toml", counts)


def _functions(room: ModuleType) -> dict[str, Callable[..., Any]]:
    named = {name: getattr(room, name) for name in room.__all__}
    return {name: thing for name, thing in named.items() if inspect.isfunction(thing)}


def _refuse_long(name: str, kind: str) -> None:
    # Every way to cut it in two is looked up, and every name compared with it.
    if len(name) > LONGEST_NAME:
        raise ValueError(f"No {kind} has a name of {len(name)} characters, got {name!r:.80}.")


def _parse(
    name: str, schedules: Names, package: str | None = None
) -> tuple[Row | None, Row | None, str]:
    """The rows of the sampler and the schedule in `name`, and the part that says the schedule.

    "DPM++ 2M Karras" has both, "Karras" a schedule alone. They are the rows of `name` as a whole,
    or else of its two parts, the longest schedule first.
    """
    samplers = sampler_names()
    sampler, schedule, asked = samplers.find(name, package), schedules.find(name, package), name
    for head, tail in schedules.cuts(name):
        found = samplers.find(head, package)
        if found:
            if not schedule:
                schedule, asked = schedules.find(tail, package), tail
            return sampler or found, schedule, asked
    return sampler, schedule, asked


def _check(
    name: str, row: Row, options: Set[str], parameters: dict[str, inspect.Parameter]
) -> None:
    there = ", ".join(
        p.name if p.default is p.empty else f"{p.name}={p.default!r}" for p in parameters.values()
    )
    has = f"It has {there}." if there else "It has none."
    for option in options:
        if option not in parameters:
            raise ValueError(f"{name!r} has no option {option!r}. {has}")
    for p in parameters.values():
        if p.default is p.empty and p.name not in options:
            raise ValueError(f"{name!r} needs the option {p.name!r}. {has} {row.note}".rstrip())
