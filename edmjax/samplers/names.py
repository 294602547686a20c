"""Samplers and schedules by the names that k-diffusion, diffusers, ComfyUI and A1111 give them."""

import inspect
from collections.abc import Callable, Set
from typing import Any

from edmjax._common.typing import Levels
from edmjax.planning.step import Sampler
from edmjax.samplers._names.lookup import ORIGINS, Names, Row
from edmjax.samplers._names.parse import parse, sampler_names, schedule_names

__all__ = ["ORIGINS", "Names", "Row", "from_name", "sampler_names", "schedule", "schedule_names"]


def from_name(name: str, **options: Any) -> Sampler:
    """The sampler that is known as `name`, with the defaults of the package that the name is from.

        from_name("DPM++ 2M Karras")             # dpmpp_2m()
        from_name("sample_heun", s_churn=40.0)   # churn(heun(), s_churn=40.0)
        from_name("UniPCMultistepScheduler")     # unipc(order=2)

    Knows the functions of k-diffusion, the classes of diffusers, the menu names of ComfyUI and
    A1111, and our own. Exact names of ours win, then exact names of the other packages; only then
    are names matched loosely: case, spaces, underscores, hyphens, a leading "sample_" and a
    trailing "Scheduler" do not matter. The name of a schedule at the end is left out: the sampler
    does not depend on it, and `ej.schedules.from_name` reads it. `docs/names.md` has the table.

    Args:
        name: the name.
        options: passed on to our sampler and, where the table has one, to its wrapper: `s_churn`,
            `s_min`, `s_max`, `s_noise` of `churn`; `eta`, `s_noise` of `ancestral`.

    Raises:
        TypeError: if `name` is not a string.
        ValueError: if no sampler has that name (the message gives the nearest one), or the sampler
            is not in this package (the message says what to use instead); if an option is unknown
            or missing (the message lists the options), or the sampler refuses its value.
    """
    if not isinstance(name, str):
        raise TypeError(f"The name of a sampler is a string, got {name!r:.80}.")
    row, schedule, _ = parse(name)
    if row is None:
        heads = (head for head, _ in schedule_names().cuts(name))
        hint = (
            "It names a schedule: `ej.schedules.from_name` knows it."
            if schedule
            else sampler_names().hint(*heads, name)
        )
        raise ValueError(f"No sampler {name!r}. {hint}")
    if row.make is None:
        raise ValueError(f"There is no sampler like {name!r} here. {row.note}")
    inner = inspect.signature(row.make).parameters
    outer = dict(inspect.signature(row.wrapper).parameters) if row.wrapper else {}
    outer.pop("inner", None)
    former = getattr(row.make, "former_keywords", {})  # which warn
    _check(name, row, options.keys() - former.keys(), {**inner, **outer})
    sampler = row.make(**{k: v for k, v in options.items() if k in inner or k in former})
    if row.wrapper is None:
        return sampler
    return row.wrapper(sampler, **{k: v for k, v in options.items() if k in outer})


def schedule(name: str) -> Callable[..., Levels]:
    """See `ej.schedules.from_name`."""
    if not isinstance(name, str):
        raise TypeError(f"The name of a schedule is a string, got {name!r:.80}.")
    sampler, row, asked = parse(name)
    if row is None and sampler:
        raise ValueError(
            f"{name!r} names a sampler without a schedule: name the schedule, as in 'Karras' "
            f"or '{name} Karras'."
        )
    if row is None:
        hint = schedule_names().hint(name, name.split(" ")[-1])
        raise ValueError(f"No schedule {name!r}. {hint}")
    if row.make is None:
        raise ValueError(f"There is no schedule like {asked!r} here. {row.note}")
    return row.make


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
