"""Schedules by the names that ComfyUI, A1111 and k-diffusion give them."""

import sys
from collections.abc import Callable

from edmjax._common.typing import Levels


def from_name(name: str) -> Callable[..., Levels]:
    """The schedule that is known as `name`: a function of the number of positive levels `n`.

        sigmas = from_name("Karras")(18, sigma_min=0.03, sigma_max=14.6)

    Knows the scheduler names of ComfyUI and A1111, k-diffusion's functions, names of samplers that
    carry a schedule, such as "DPM++ 2M Karras", and our own. Case, spaces, underscores and hyphens
    do not matter. Those packages take the ends from the model; here they are arguments, or the
    schedule's own. `docs/names.md` has the table.

    Raises:
        TypeError: if `name` is not a string.
        ValueError: if no schedule has that name (the message gives the nearest one), if the
            schedule is not in this package (the message says what to use instead), or if the name
            is a sampler's without a schedule.
    """
    # The one import from a room above, made when it is called: a name may hold a sampler and a
    # schedule, so one parser reads both. It lies with the samplers, and is given our functions.
    from edmjax.samplers.names import schedule

    return schedule(name, sys.modules["edmjax.schedules"])
