"""Prints docs/names.md: the names of other packages, and what they are here.

python docs/make/names.py > docs/names.md
"""

from edmjax.samplers.names import table as samplers
from edmjax.schedules.names import table as schedules

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

Options are those of our sampler and of the wrapper that the table has around it. Our own names work
as well. A name spelled as ours is ours; otherwise one spelled as a package spells it is that
package's; otherwise case, spaces, underscores, hyphens, a leading `sample_` and a trailing
`Scheduler` do not matter. A schedule at the end of a sampler's name, as in A1111's old menu, is
left out: the sampler does not depend on it.

What a name stands for does not include the grid. Packages take the ends of a schedule from the
model; here they are arguments. A1111 and ComfyUI leave out the level before 0 for some samplers
(`dpm_2` and `dpm_2_ancestral` in both), and diffusers has its own spacings of training steps, for
which see `ej.schedules.ddpm`.

\\* This name, spelled so, is that of another row, or our own: write the call instead.

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
    return PAGE.format(
        samplers=samplers().table(),
        no_samplers=samplers().without(),
        schedules=schedules().table(),
        no_schedules=schedules().without(),
    )


if __name__ == "__main__":
    print(page(), end="")
