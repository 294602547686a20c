"""ComfyUI's schedules on the table of a flow model: grids for `make_plan`, from pure noise.

The table of a flow of shift `s` has the flow's time at each training step,

    t_k = s u / (1 + (s - 1) u),    u = k / T,    k = 1 ... T,

and ComfyUI takes times for noise levels: Karras' formula runs from `t_T = 1` to `t_1`, and so on.
"normal" and "sgm_uniform" spread `T t` evenly from `T t_T` to `T t_1`, and shift it once more.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from edmjax import processes
from edmjax._common.arguments import positive, whole
from edmjax._common.typing import Int, Number
from edmjax.processes.flows import first_time, shifted
from edmjax.schedules.discrete import beta_discrete, ddim_uniform, simple
from edmjax.schedules.even import exponential, karras, kl_optimal
from edmjax.schedules.times import linear_quadratic


def on_a_flow(name: str) -> Callable[..., processes.Levels] | None:
    """ComfyUI's schedule `name` for flows, as a function of n, the shift and T; or None."""
    times = _TIMES.get(name)
    if times is None:
        return None

    def levels(
        n: Int,
        shift: Number = 1.0,
        num_timesteps: Int = 1000,
        first: Number = 1.0,
        **options: Any,
    ) -> processes.Levels:
        """The levels of a flow on this schedule; see `edmjax.schedules.flows`.

        `first` is as in `processes.flow().grid`, shifted like the others.
        """
        shift, total = positive(shift, "shift"), whole(num_timesteps, "num_timesteps", least=2)
        table = shifted(shift, np.arange(1, total + 1) / total)
        t = times(n, shift, table, **options)
        if first != 1:
            t[0] = shifted(shift, first_time(first, t / (shift - (shift - 1) * t)))
        return processes.flow().levels(t)

    levels.__name__ = levels.__qualname__ = name
    return levels


def _normal(n: Int, shift: float, table: np.ndarray) -> np.ndarray:
    return np.append(shifted(shift, np.linspace(1, table[0], whole(n, "n"))), 0.0)


def _sgm_uniform(n: Int, shift: float, table: np.ndarray) -> np.ndarray:
    return np.append(shifted(shift, np.linspace(1, table[0], whole(n, "n") + 1)[:-1]), 0.0)


def _of_table(schedule: Callable[..., Any], n: Int, shift: float, table: Any, **options: Any):
    return schedule(n, table, **options)


def _of_ends(schedule: Callable[..., Any], n: Int, shift: float, table: Any, **options: Any):
    return schedule(n, table[0], 1.0, **options)


def _linear_quadratic(n: Int, shift: float, table: np.ndarray, **options: Any) -> np.ndarray:
    return linear_quadratic(n, 0.0, 1.0, **options)


_TIMES: dict[str, Callable[..., np.ndarray]] = {
    "normal": _normal,
    "sgm_uniform": _sgm_uniform,
    "linear_quadratic": _linear_quadratic,
    **{
        name: functools.partial(_of_table, schedule)
        for name, schedule in (
            ("simple", simple),
            ("beta", beta_discrete),
            ("ddim_uniform", ddim_uniform),
        )
    },
    **{
        name: functools.partial(_of_ends, schedule)
        for name, schedule in (
            ("karras", karras),
            ("exponential", exponential),
            ("kl_optimal", kl_optimal),
        )
    },
}

# Our functions, and ComfyUI's names of what is the same schedule on a flow.
KNOWN = {name: name for name in _TIMES if name != "beta"} | {"beta_discrete": "beta"}
