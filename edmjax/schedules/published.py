"""Schedules optimised for one model and published as numbers."""

import numpy as np

from edmjax._common.arguments import whole
from edmjax._common.typing import Int, Levels
from edmjax.schedules._ends import close

# Sabour et al. (2024), for ten steps; the last level of each is replaced by 0.
_ALIGN_YOUR_STEPS = {
    "sd": (14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029),
    "sdxl": (14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.380, 0.234, 0.113, 0.029),
    "svd": (700.0, 54.5, 15.886, 7.977, 4.248, 1.789, 0.981, 0.403, 0.173, 0.034, 0.002),
}


def align_your_steps(n: Int = 10, model: str = "sd", *, final_zero: bool = True) -> Levels:
    """The "Align Your Steps" levels of a model: "sd" (1.5), "sdxl" or "svd".

    Optimised for ten steps; for another `n`, `log sigma` is interpolated linearly at `n + 1` even
    places, of which the last is replaced by 0. `n` levels, then 0.

    Raises:
        ValueError: n below 1, or a model without a table.
        TypeError: n not an integer.

    Source: Sabour et al. (2024), "Align Your Steps: Optimizing Sampling Schedules in Diffusion
    Models", and the project's page on its use.
    """
    n = whole(n, "n")
    if model not in _ALIGN_YOUR_STEPS:
        known = ", ".join(map(repr, _ALIGN_YOUR_STEPS))
        raise ValueError(
            f"`model` must be one of {known}, got {model!r}: for another model take kl_optimal, "
            "which needs no table."
        )
    table = np.array(_ALIGN_YOUR_STEPS[model])
    place = np.linspace(0, len(table) - 1, n + 1)[:-1]
    nearest = np.round(place).astype(int)
    between = np.exp(np.interp(place, np.arange(len(table)), np.log(table)))
    return close(np.where(nearest == place, table[nearest], between), final_zero)
