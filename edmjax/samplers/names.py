"""Samplers by the names that k-diffusion, diffusers, ComfyUI and A1111 give them."""

import functools
import inspect
from typing import Any

from edmjax.planning.step import Sampler
from edmjax.samplers import lookup as _names
from edmjax.samplers._name_table import ROWS
from edmjax.samplers.lookup import Row
from edmjax.schedules.names import table as schedules


def from_name(name: Any, **options: Any) -> Sampler:
    """The sampler that is known as `name`, with the defaults of the package that says so.

        from_name("DPM++ 2M Karras")             # dpmpp_2m()
        from_name("sample_heun", s_churn=40.0)   # churn(heun(), s_churn=40.0)
        from_name("UniPCMultistepScheduler")     # unipc(order=2)

    Knows the functions of k-diffusion, the classes of diffusers, and the menu names of ComfyUI and
    A1111; also our own. A name spelled as ours is ours, then one spelled as a package spells it is
    that package's; otherwise case, spaces, underscores, hyphens, a leading "sample_" and a trailing
    "Scheduler" do not matter. The name of a schedule at the end is left out: the sampler does not
    depend on it, and `ej.schedules.from_name` reads it. `docs/names.md` has the table.

    Args:
        name: the name.
        options: passed on to our sampler and, where the table has one, to its wrapper: `s_churn`,
            `s_min`, `s_max`, `s_noise` of `churn`; `eta`, `s_noise` of `ancestral`.

    Raises:
        TypeError: if `name` is no text.
        ValueError: if no sampler has that name (with the nearest), or it is one that is not here
            (with what to take instead); if an option is unknown or missing (with those there are),
            or the sampler refuses its value.
    """
    if not isinstance(name, str):
        raise TypeError(f"The name of a sampler is a text, got {name!r:.80}.")
    row = table().find(name) or _without_schedule(name)
    if row is None:
        raise ValueError(f"No sampler {name!r}. {_hint(name)}")
    if row.make is None:
        raise ValueError(f"There is no sampler like {name!r} here. {row.note}")
    inner = inspect.signature(row.make).parameters
    outer = dict(inspect.signature(row.wrapper).parameters) if row.wrapper else {}
    outer.pop("inner", None)
    _check(name, row, options, {**inner, **outer})
    sampler = row.make(**{k: v for k, v in options.items() if k in inner})
    if row.wrapper is None:
        return sampler
    return row.wrapper(sampler, **{k: v for k, v in options.items() if k in outer})


@functools.cache
def table() -> _names.Names:
    """The names of all samplers."""
    from edmjax import samplers  # which imports this module

    ours = {k: f for k, f in vars(samplers).items() if inspect.isfunction(f) and f is not from_name}
    return _names.Names(ours, ROWS)


def _without_schedule(name: str) -> Row | None:
    heads = (table().find(head) for head, _ in schedules().cuts(name))
    return next((row for row in heads if row), None)


def _hint(name: str) -> str:
    if schedules().find(name):
        return "It names a schedule: `ej.schedules.from_name` knows it."
    return table().hint(*(head for head, _ in schedules().cuts(name)), name)


def _check(
    name: str, row: Row, options: dict[str, Any], parameters: dict[str, inspect.Parameter]
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
