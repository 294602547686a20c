"""Prints docs/names.md: the names of other packages, and what they are here.

python docs/make/names.py > docs/names.md
"""

import sys

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
well. Exact names win; only where there is none are names matched loosely: case, spaces,
underscores, hyphens, a leading `sample_` and a trailing `Scheduler` do not matter. A schedule at
the end of a sampler's name, as in A1111's old menu, is left out: the sampler does not depend on it.

A name that stands for several samplers is refused with a sentence that lists them. `package=` says
whose name it is: `"comfyui"`, `"diffusers"`, `"k-diffusion"`, `"a1111"`, or `"edmjax"` for ours.

```python
lms = ej.samplers.from_name("lms", package="comfyui")  # lms(final="denoise")
ours = ej.samplers.from_name("lms", package="edmjax")  # lms()
```

## Flow models

With `flow=True` a name gives what its package samples a flow model with. ComfyUI takes the time of
a flow for the noise level, so its methods step in t (`in_flow_time`), and its ancestral samplers
have noise of another size (`flow_ancestral`). Those that solve the SDE stay in log SNR there, as do
diffusers' DPM-Solver++ and UniPC. All run on levels of `ej.processes.flow`, from pure noise, with
the denoiser of the flow's network:

```python
grid = ej.schedules.from_name("simple", package="comfyui", flow=True)(20, shift=3.0)
sampler = ej.samplers.from_name("dpmpp_2m", package="comfyui", flow=True)
plan_of_a_flow = ej.make_plan(sampler, grid)

sd3 = ej.processes.flow(3.0).grid(28, "linspace")  # FlowMatchEulerDiscreteScheduler(shift=3.0)
flow_match_heun = ej.make_plan(ej.samplers.heun(), sd3)  # FlowMatchHeunDiscreteScheduler
```

`heun`, `dpm_2`, `lms` and the like step in t on such levels by themselves.

## Grids

A name does not include the grid. Other packages take the ends of a schedule from the model; here
they are arguments. A1111 and ComfyUI leave out the level before 0 for some samplers (`dpm_2` and
`dpm_2_ancestral` in both), and diffusers has its own spacings of training steps, for which see
`ej.schedules.ddpm`.

"Run" says what a row was run against, in float64 with the same denoiser, start and draws, and a
bound on the difference between the samples, relative to their largest entry. ComfyUI is commit
a125cd8 of October 2025, k-diffusion 0.1.1.post1, diffusers 0.42.1; "flows" are flow models of shift
1 and 3. The programs are `checks/golden_names.py` and `checks/golden_flow_match.py`.

\\* This spelling stands for several samplers or schedules: pass `package=`.

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
    columns = ["edmjax", *ORIGINS, "run", ""]
    lines = [f"| {' | '.join(columns)} |".replace("|  |", "| |"), "| --- " * len(columns) + "|"]
    for row in names.rows:
        if row.make is not None:
            cells = [", ".join(shown(names, n, row) for n in cell) for cell in row.names]
            note = " ".join(part for part in (row.note, row.flow_note) if part)
            lines.append(f"| `{row.call()}` | {' | '.join(cells)} | {row.run} | {note} |")
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


if __name__ == "__main__":
    print(page(), end="")
