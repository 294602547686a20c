"""Schedules by the names that ComfyUI, A1111 and k-diffusion give them."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

from edmjax.samplers import lookup as _names
from edmjax.samplers.lookup import Row
from edmjax.schedules.angles import kl_optimal
from edmjax.schedules.discrete import beta_discrete, normal, sgm_uniform, simple
from edmjax.schedules.powers import exponential, karras, polyexponential
from edmjax.schedules.published import align_your_steps
from edmjax.schedules.quantiles import beta, laplace
from edmjax.schedules.times import linear_quadratic, vp

ROWS = (
    Row(karras, k_diffusion="get_sigmas_karras", comfyui="karras, KarrasScheduler", a1111="Karras"),
    Row(
        exponential,
        k_diffusion="get_sigmas_exponential",
        comfyui="exponential, ExponentialScheduler",
        a1111="Exponential",
    ),
    Row(
        polyexponential,
        k_diffusion="get_sigmas_polyexponential",
        comfyui="PolyexponentialScheduler",
        a1111="Polyexponential",
    ),
    Row(
        vp,
        k_diffusion="get_sigmas_vp",
        comfyui="VPScheduler",
        note="k-diffusion computes `exp(c) - 1`, which loses digits at the low end.",
    ),
    Row(normal, comfyui="normal", a1111="Normal, Uniform"),
    Row(sgm_uniform, comfyui="sgm_uniform", a1111="SGM Uniform"),
    Row(simple, comfyui="simple", a1111="Simple"),
    Row(beta, a1111="Beta", note="Quantiles of sigma."),
    Row(
        beta_discrete,
        comfyui="beta, BetaSamplingScheduler",
        note="Quantiles of the training step. Where two of them fall together ComfyUI takes fewer "
        "steps; here it is an error.",
    ),
    Row(
        kl_optimal,
        comfyui="kl_optimal",
        a1111="KL Optimal",
        note="ComfyUI's, `n` levels and then 0. A1111's ends above 0: `kl_optimal(n + 1, "
        "final_zero=False)`.",
    ),
    Row(
        align_your_steps,
        comfyui="AlignYourStepsScheduler",
        a1111="Align Your Steps",
        note="ComfyUI's and the authors', in which the last level of the table gives way to 0. "
        "A1111 keeps it and puts 0 after it.",
    ),
    Row(
        laplace,
        comfyui="LaplaceScheduler",
        note="ComfyUI clips, so that several levels may equal an end; here none do, and 0 follows.",
    ),
    Row(
        functools.partial(linear_quadratic, sigma_min=0.0),
        comfyui="linear_quadratic",
        note="It runs down to 0 by itself; our own default stops at `sigma_min` and puts 0 after "
        "it.",
    ),
    Row(
        None,
        comfyui="ddim_uniform",
        a1111="DDIM",
        note="It takes every `T // n`-th training step from step 1 on, which may be more than `n` "
        'of them: use `ej.schedules.ddpm(n, spacing="leading")`, which starts at step 0.',
    ),
    Row(
        None,
        a1111="Automatic",
        note="It leaves the choice to the sampler: name a schedule, such as 'Karras'.",
    ),
)


def from_name(name: Any) -> Callable[..., Any]:
    """The schedule that is known as `name`: a function of the number of levels `n`.

        sigmas = from_name("Karras")(18, sigma_min=0.03, sigma_max=14.6)

    Knows the scheduler names of ComfyUI and A1111, k-diffusion's functions, and names of samplers
    that carry a schedule, such as "DPM++ 2M Karras"; also our own. Case, spaces, underscores and
    hyphens do not matter. Those packages take the ends from the model; here they are arguments, or
    the schedule's own. `docs/names.md` has the table.

    Raises:
        TypeError: if `name` is no text.
        ValueError: if no schedule has that name (with the nearest), or it is one of a kind that is
            not here (with what to take instead), or a sampler's without a schedule.
    """
    if not isinstance(name, str):
        raise TypeError(f"The name of a schedule is a text, got {name!r:.80}.")
    row, asked = table().find(name), name
    if row is None:
        row, asked = _with_sampler(name)
    if row is None:
        # Here and not above, as the names of samplers need those of schedules.
        from edmjax.samplers.names import table as samplers

        if samplers().find(name):
            raise ValueError(
                f"{name!r} names a sampler without a schedule: name the schedule, as in 'Karras' "
                f"or '{name} Karras'."
            )
        hint = table().hint(name, name.split(" ")[-1])
        raise ValueError(f"No schedule {name!r}. {hint}")
    if row.make is None:
        raise ValueError(f"There is no schedule like {asked!r} here. {row.note}")
    return row.make


@functools.cache
def table() -> _names.Names:
    """The names of all schedules."""
    from edmjax import schedules  # which imports this module

    ours = {
        name: function
        for name, function in vars(schedules).items()
        if inspect.isfunction(function)
        and next(iter(inspect.signature(function).parameters), "") in ("n", "nfe")
    }
    return _names.Names(ours, ROWS)


def _with_sampler(name: str) -> tuple[Row | None, str]:
    """The schedule that `name` ends with where it begins with the name of a sampler."""
    from edmjax.samplers.names import table as samplers

    for sampler, schedule in table().cuts(name):
        if samplers().find(sampler):
            return table().find(schedule), schedule
    return None, name
