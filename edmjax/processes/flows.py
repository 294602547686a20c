"""Rectified flow: the process of SD3, Flux and their kind, with the shift of its clock.

    x_process = (1 - t) x0 + t n,    sigma = t / (1 - t)

`t` is the flow's own time, the one that its network is given. With a shift the process counts
another time `u`, which is spread evenly and then shifted:

    t = shift u / (1 + (shift - 1) u),    sigma = shift u / (1 - u)

A shift above 1 stays longer at high noise, as large images need (Esser et al. 2024, eq. 23).
"""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.tree_util import Partial

from edmjax._common.arguments import number, one_of, positive_leaf, real, whole
from edmjax._common.arrays import check_sigma, has_no_value
from edmjax._common.exported import serializable
from edmjax._common.typing import Int, Number, Scalar, Values
from edmjax.processes.process import Levels, Process, array_module


@serializable
@jax.tree_util.register_pytree_node_class
class Flow(Process):
    """The process of a rectified flow; made by `flow`.

    Attributes:
        shift: the shift of the clock, a float64 scalar; 1 where the process counts the flow's time.
    """

    shift: Scalar

    def __init__(self, shift: Scalar):
        object.__setattr__(self, "shift", shift)
        functions = (_scale, _sigma, _time, _variance)
        scale, sigma, time, variance = (Partial(function, shift) for function in functions)
        Process.__init__(self, scale, sigma, time, variance)

    def tree_flatten(self) -> tuple[tuple[Scalar], None]:
        return (self.shift,), None

    @classmethod
    def tree_unflatten(cls, _: None, children: Sequence[Any]) -> "Flow":
        return cls(*children)

    def grid(
        self,
        n: Int,
        spacing: str = "trailing",
        *,
        shift_terminal: Number | None = None,
        num_timesteps: Int = 1000,
        first: Number = 1.0,
    ) -> Levels:
        """The levels of `n` steps from pure noise to the data, for `make_plan`.

            trailing    u = 1 - i / n                    as the pipelines of Flux, LTX and Wan do
            linspace    u from 1 to t(1 / num_timesteps), evenly, i = 0 ... n - 1

        and then 0, the data. "linspace" is what diffusers' FlowMatch schedulers do where they are
        given a number of steps alone (SD3): the last time before 0 is the first training time,
        which they shift twice. The first level is infinite.

        Args:
            n: the number of steps.
            spacing: "trailing" or "linspace".
            shift_terminal: stretch the flow's times, `1 - t` by one factor, so that the last one
                before 0 is this (LTX, 0.1). In (0, 1).
            num_timesteps: the number of training times, for "linspace".
            first: the first `u`. A sampler of the SDE that looks inside a step, `dpmpp_sde`, has no
                limit at 1. For all of the SDE ComfyUI takes 0.9999, and starts from plain noise.

        Raises:
            TypeError: `n` or `num_timesteps` is not an integer.
            ValueError: `n` below 1, an unknown spacing, `shift_terminal` outside (0, 1) or with one
                step, which has nothing to stretch; `first` not above the next time or above 1; or a
                shift that is traced.

        Source: diffusers, `FlowMatchEulerDiscreteScheduler.set_timesteps`.
        """
        n, total = whole(n, "n"), whole(num_timesteps, "num_timesteps")
        if has_no_value(self.shift):
            raise ValueError("A grid is made on the host: the shift must be a number, not traced.")
        spacing = one_of(spacing, "spacing", ["trailing", "linspace"])
        if spacing == "trailing":
            u = 1 - np.arange(n) / n
        else:
            u = np.linspace(1, shifted(float(self.shift), 1 / total), n)
        if shift_terminal is not None:
            u = self._ending_at(u, _terminal(shift_terminal))
        u[0] = first_time(first, u)
        return self.levels(np.append(u, 0.0))

    def _ending_at(self, u: np.ndarray, terminal: float) -> np.ndarray:
        """`u` such that the last of the flow's times is `terminal`."""
        if len(u) < 2:
            raise ValueError(
                "`shift_terminal` moves the last time before 0, and one step starts at it: leave "
                "it out."
            )
        # In `1 - t`, which is exactly 0 at the first time, and stays so.
        shift = float(self.shift)
        left = (1 - u) / (1 + (shift - 1) * u)
        left = left * ((1 - terminal) / left[-1])
        return 1 - shift * left / (1 + (shift - 1) * left)


def flow(shift: Scalar = 1.0) -> Flow:
    """Rectified flow, `x_process(t) = (1 - t) x0 + t n`: `scale = 1 - t`, `sigma = t / (1 - t)`.

        f = -1 / (1 - t),    g^2 = 2 t / (1 - t)

    At `t = 1` the scale is 0 and the level infinite. With a `shift` the process counts a time `u`:

        t = shift u / (1 + (shift - 1) u),    scale = 1 - t,    sigma = shift u / (1 - u)

    so that times spread evenly over `u` are shifted: `flow(3.0).grid(28)` is SD3's, with `shift`
    3. What a network is given is `t`: `ej.denoisers.flow` finds it from the level, whatever the
    shift. Flux's dynamic shift, `e^mu / (e^mu + 1/u - 1)`, is `shift = exp(mu)`; diffusers'
    "linear" one is `shift = mu`.

    On the levels of a flow `heun`, `midpoint`, `dpm_2`, `heunpp2`, `lms`, `ipndm`, `ipndm_v`,
    `gradient_estimation` and `pndm` step in the flow's own time and scale, where the way from noise
    to data is nearly straight (`ej.samplers.in_flow_time`).

    Raises ValueError where `shift` is not positive. Source: Liu et al. (2023); Lipman et al. (2023)
    with time reversed; Esser et al. (2024), eq. 23, for the shift.
    """
    return Flow(positive_leaf(shift, "shift"))


def first_time(first: Number, times: np.ndarray) -> float:
    """`first`, which replaces the first of `times`; checked."""
    after = float(times[1]) if len(times) > 1 else 0.0
    return real(number(first, "first"), "first", above=after, most=1)


def _terminal(value: Number) -> float:
    return real(number(value, "shift_terminal"), "shift_terminal", above=0, below=1)


def shifted(shift: Any, u: Any) -> Any:
    """The flow's time of `u`."""
    return shift * u / (1 + (shift - 1) * u)


def _scale(shift, u):
    _, u, shift = array_module(u, shift)
    return 1 - u if _is_one(shift) else (1 - u) / (1 + (shift - 1) * u)


def _sigma(shift, u):
    _, u, shift = array_module(u, shift)
    with np.errstate(divide="ignore"):  # infinite at u = 1
        return (u if _is_one(shift) else shift * u) / (1 - u)


def _time(shift, sigma):
    _, sigma, shift = _of_level(sigma, shift)
    return _share(sigma if _is_one(shift) else sigma / shift)


def _variance(shift, u):
    _, u, shift = array_module(u, shift)
    return (u if _is_one(shift) else shifted(shift, u)) ** 2


def _is_one(shift: Any) -> bool:
    """Whether there is no shift: then the formulas, and compiled programs, are those without."""
    return not has_no_value(shift) and bool(np.all(np.asarray(shift) == 1))


def _of_level(sigma, *numbers):
    """`array_module` of a level; a negative one has no time."""
    check_sigma(sigma)
    return array_module(sigma, *numbers)


def _share(sigma: Values) -> Values:
    xp, sigma = array_module(sigma)
    # Two forms of sigma / (1 + sigma): one holds at 0, the other at infinity.
    large = xp.where(sigma > 1, sigma, 1)
    small = xp.where(sigma > 1, 1, sigma)
    return xp.where(sigma > 1, 1 / (1 + 1 / large), small / (1 + small))[()]
