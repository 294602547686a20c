"""Schedules by the names that ComfyUI, A1111 and k-diffusion give them."""

import sys
from collections.abc import Callable

from edmjax._common.typing import Levels
from edmjax.processes.process import Levels as ProcessLevels
from edmjax.scalar import flag
from edmjax.schedules.flows import KNOWN, on_a_flow


def from_name(
    name: str, *, package: str | None = None, flow: bool = False
) -> Callable[..., Levels | ProcessLevels]:
    """The schedule that is known as `name`: a function of the number of positive levels `n`.

        sigmas = from_name("Karras")(18, sigma_min=0.03, sigma_max=14.6)
        grid = from_name("simple", package="comfyui", flow=True)(28, shift=3.0)

    Knows the scheduler names of ComfyUI and A1111, k-diffusion's functions, names of samplers that
    carry a schedule, such as "DPM++ 2M Karras", and our own. Case, spaces, underscores and hyphens
    do not matter. Those packages take the ends from the model; here they are arguments, or the
    schedule's own. `docs/names.md` has the table.

    Args:
        name: the name.
        package: whose name it is: "comfyui", "k-diffusion", "a1111" or "edmjax", for a name that
            stands for several schedules.
        flow: ComfyUI's schedule for flow models, which takes the flow's times for levels: a
            function `(n, shift=1.0, num_timesteps=1000, first=1.0)` that returns levels of
            `processes.flow()`, from pure noise to 0; `first=0.9999` for its samplers of the SDE.

    Raises:
        TypeError: if `name` is not a string.
        ValueError: if no schedule has that name (the message gives the nearest one) or several have
            it (the message lists them), if the schedule is not in this package, or has none for
            flows (the message says what to use instead), or if the name is a sampler's without a
            schedule.
    """
    # The one import from a room above, made when it is called: a name may hold a sampler and a
    # schedule, so one parser reads both. It lies with the samplers, and is given our functions.
    from edmjax.samplers.names import schedule

    room = sys.modules["edmjax.schedules"]
    if not flag(flow, "flow"):
        return schedule(name, room, package)
    made = schedule(name, room, "ComfyUI" if package is None else package)
    found = on_a_flow(KNOWN.get(getattr(made, "func", made).__name__, ""))
    if found is None:
        raise ValueError(
            f"{name!r} is no schedule for flows: take one of ComfyUI's, "
            f"{', '.join(KNOWN.values())}, or `ej.processes.flow(shift).grid(n)`."
        )
    return found
