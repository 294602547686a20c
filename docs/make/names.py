"""Prints docs/names.md: the names of other packages, and what they are here.

python docs/make/names.py > docs/names.md
"""

import functools
import inspect
import sys
from collections.abc import Callable
from typing import Any

import edmjax as ej
from edmjax.samplers.names import ORIGINS, Names, Row, sampler_names, schedule_names

PAGE = """\
# Names

Printed by `python docs/make/names.py`.

`ej.samplers.from_name` takes the names that people know and returns our sampler, with the defaults
of the package that the name is from:

```python
import edmjax as ej

sigmas = ej.schedules.from_name("DPM++ 2M Karras")(20, sigma_min=0.03, sigma_max=14.6)
plan = ej.make_plan(ej.samplers.from_name("DPM++ 2M Karras"), sigmas)
sampler = ej.samplers.from_name("sample_heun", s_churn=40.0)  # churn(heun(), s_churn=40.0)
```

Options are those of our sampler, and of its wrapper where the table has one. Our own names work as
well. Exact names of ours win, then exact names of the other packages. Only then are names matched
loosely: case, spaces, underscores, hyphens, a leading `sample_` and a trailing `Scheduler` do not
matter. A schedule at the end of a sampler's name, as in A1111's old menu, is left out: the sampler
does not depend on it.

A name does not include the grid. Other packages take the ends of a schedule from the model; here
they are arguments. A1111 and ComfyUI leave out the level before 0 for some samplers (`dpm_2` and
`dpm_2_ancestral` in both), and diffusers has its own spacings of training steps, for which see
`ej.schedules.ddpm`.

\\* This spelling belongs to another row, or is our own name: write the call instead.

## Samplers

{samplers}

### Without one here

An error says what to use instead.

{no_samplers}

## Schedules

{schedules}

### Without one here

{no_schedules}
"""


def page() -> str:
    of_samplers, of_schedules = sampler_names(), schedule_names(sys.modules[ej.schedules.__name__])
    return PAGE.format(
        samplers=table(of_samplers),
        no_samplers=without(of_samplers),
        schedules=table(of_schedules),
        no_schedules=without(of_schedules),
    )


def table(names: Names) -> str:
    """The rows that have a function of ours, in Markdown."""
    lines = ["| edmjax | " + " | ".join(ORIGINS) + " | |", "| --- " * (len(ORIGINS) + 2) + "|"]
    for row in names.rows:
        if row.make is not None:
            cells = [", ".join(shown(names, n, row) for n in cell) for cell in row.names]
            lines.append(f"| `{call(row)}` | {' | '.join(cells)} | {row.note} |")
    return "\n".join(lines)


def without(names: Names) -> str:
    """The rows that have none, in Markdown."""
    lines = ["| name | from | |", "| --- | --- | --- |"]
    for row in names.rows:
        if row.make is None:
            origins = [o for o, cell in zip(ORIGINS, row.names, strict=True) if cell]
            # A name that several packages share is shown once.
            once = dict.fromkeys(shown(names, n, row) for cell in row.names for n in cell)
            lines.append(f"| {', '.join(once)} | {', '.join(origins)} | {row.note} |")
    return "\n".join(lines)


def shown(names: Names, name: str, row: Row) -> str:
    return f"`{name}`" if names.find(name) is row else f"`{name}`\\*"


def call(row: Row) -> str:
    """The row's function as one calls it, such as `ancestral(euler())`."""

    def text(function: Callable[..., Any] | None, *first: str) -> str:
        assert function is not None
        parameters = inspect.signature(function).parameters.values()
        needed = [p.name for p in parameters if p.default is p.empty]
        given: dict[str, Any] = {}
        if isinstance(function, functools.partial):
            function, given = function.func, function.keywords
        arguments = [*first, *needed[len(first) :]]
        arguments += [f"{name}={value!r}" for name, value in given.items()]
        return f"{function.__name__}({', '.join(arguments)})"

    return text(row.wrapper, text(row.make)) if row.wrapper else text(row.make)


if __name__ == "__main__":
    print(page(), end="")
