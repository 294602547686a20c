"""Discrete schedules: `n` levels of the table that a model was trained at.

A table is ascending; entry `t` is the level of training step `t` (see `ddpm_table`). Without a
table it is Stable Diffusion's. Training steps are counted from 0 to `T - 1`. The tables of
`align_your_steps` were optimised for sampling, and published as numbers.
"""

import numpy as np

from edmjax import processes
from edmjax._common.arguments import ordered, positive, whole
from edmjax._common.deprecation import renamed
from edmjax._common.typing import Arraylike, Int, Levels, Number
from edmjax.processes.tables import checked, fits, iddpm_table, spaced
from edmjax.schedules._ends import close

# Sabour et al. (2024), for ten steps; the last level of each is replaced by 0.
_ALIGN_YOUR_STEPS = {
    "sd": (14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029),
    "sdxl": (14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.380, 0.234, 0.113, 0.029),
    "svd": (700.0, 54.5, 15.886, 7.977, 4.248, 1.789, 0.981, 0.403, 0.173, 0.034, 0.002),
}


@renamed(linear_start="beta_start", linear_end="beta_end")
def ddpm(
    n: Int,
    beta_start: Number | None = None,
    beta_end: Number | None = None,
    num_timesteps: Int | None = None,
    *,
    betas: str | Arraylike = "scaled_linear",
    spacing: str = "legacy",
    table: Arraylike | None = None,
    final_zero: bool = True,
) -> Levels:
    """Levels of a DDPM at evenly spaced timesteps, by default Stable Diffusion's.

    The timesteps, for `i` from 0 to `n - 1`, with `spacing`:

        legacy      floor((T - 1) - i (T - 1) / n)           first the last step of the table
        trailing    round(T - i T / n) - 1                   likewise
        leading     (n - 1 - i) floor(T / n)                 ends at step 0, misses the last
        linspace    round((T - 1) - i (T - 1) / (n - 1))     both

    The table belongs to `ej.processes.ddpm(betas, beta_start, beta_end, num_timesteps)`, by the
    same names, or `table` where it is given. The default here, "scaled_linear", is Stable
    Diffusion's, from 14.6; the default of the process, "linear", is Ho et al.'s, from 157.4. `n`
    levels, then 0. Raises ValueError if `n` is more than the number of levels in the table. Source:
    `LegacyDDPMDiscretization` of Stability's generative-models for `legacy`; Lin et al. (2024),
    Table 2, for the others.
    """
    if table is None:
        table = processes.ddpm(betas, beta_start, beta_end, num_timesteps).table
    levels = checked(table)
    total = len(levels)
    return close(levels[spaced(fits(n, total), total, spacing)], final_zero)


def iddpm(
    n: Int,
    sigma_min: Number = 0.002,
    sigma_max: Number = 81.0,
    num_timesteps: Int = 1000,
    *,
    c1: Number = 0.001,
    c2: Number = 0.008,
    final_zero: bool = True,
) -> Levels:
    """Levels of the iDDPM table inside `[sigma_min, sigma_max]`, evenly spaced by rounded index.

    The ends are levels of the table, 80.2 and 0.00643 by default. `n` levels, then 0. Raises
    ValueError if the range holds fewer than `n` levels. Source: Karras et al. (2022), Table 1.
    """
    low, high = ordered(sigma_min, sigma_max)
    table = iddpm_table(num_timesteps, c1=c1, c2=c2)[::-1]
    levels = table[(table >= low) & (table <= high)]
    n = whole(n, "n")
    if n > len(levels):
        raise ValueError(
            f"The table has {len(levels)} levels in [{low}, {high}], got n = {n}: ask for fewer, "
            "or widen the range."
        )
    # In the order of the published code, which decides how halves are rounded.
    stride = (len(levels) - 1) / max(n - 1, 1)
    return close(levels[np.round(stride * np.arange(n)).astype(int)], final_zero)


def normal(
    n: Int, table: Arraylike | None = None, *, interpolate: bool = True, final_zero: bool = True
) -> Levels:
    """Levels evenly spaced in the model's step, from its last one to step 0.

        sigma(t) at t = (T - 1) - i (T - 1) / (n - 1),    log sigma linear between steps

    The "normal" or automatic schedule of k-diffusion's discrete models. For a model that only knows
    whole steps take `interpolate=False`, the nearest levels of the table. `n` levels, then 0.
    Raises ValueError if `n` is more than the number of levels in the table.
    """
    levels = checked(table)
    steps = np.linspace(len(levels) - 1, 0, fits(n, len(levels)))
    return close(_read(levels, steps, interpolate), final_zero)


def sgm_uniform(
    n: Int, table: Arraylike | None = None, *, interpolate: bool = True, final_zero: bool = True
) -> Levels:
    """Levels evenly spaced in the model's step, all but the last of `n + 1`.

        sigma(t) at t = (T - 1) - i (T - 1) / n,    log sigma linear between steps

    Unlike `normal` it leaves a whole step for 0. `ddpm` takes the levels of the table below these;
    `interpolate=False` takes the nearest. `n` levels, then 0. Raises ValueError if `n` is more than
    the number of levels in the table.
    """
    levels = checked(table)
    n = fits(n, len(levels))
    steps = np.linspace(len(levels) - 1, 0, n + 1)[:-1]
    if not interpolate and n == len(levels):  # steps shorter than 1: two would round to one
        steps = np.arange(n)[::-1]
    return close(_read(levels, steps, interpolate), final_zero)


def simple(n: Int, table: Arraylike | None = None, *, final_zero: bool = True) -> Levels:
    """Every `T / n`-th level of the table from its last: step `T - 1 - floor(i T / n)`.

    `n` levels, then 0. Raises ValueError if `n` is more than the number of levels in the table.
    """
    levels = checked(table)
    n = fits(n, len(levels))
    # In floats, as in the published code: the floor of 19 * (1000 / 38) is 499.
    back = (np.arange(n) * (len(levels) / n)).astype(int)
    return close(levels[len(levels) - 1 - back], final_zero)


def ddim_uniform(n: Int, table: Arraylike | None = None, *, final_zero: bool = True) -> Levels:
    """Every `floor(T / n)`-th level of the table from step 1 up, as in ComfyUI and A1111.

        step 1 + i floor(T / n),    i = ceil((T - 1) / floor(T / n)) - 1 ... 0

    `n` or a few more levels (8 for n = 7 of 1000), then 0; the first is not the last of the table.
    Raises ValueError if `n` is more than the number of levels in the table, or the table has one.
    """
    levels = checked(table)
    if len(levels) < 2:
        raise ValueError("The levels start at step 1 of the table, and this one has step 0 alone.")
    stride = len(levels) // fits(n, len(levels))
    return close(levels[1::stride][::-1].copy(), final_zero)


def beta_discrete(
    n: Int,
    table: Arraylike | None = None,
    *,
    alpha: Number = 0.6,
    beta: Number = 0.6,
    final_zero: bool = True,
) -> Levels:
    """Levels of the table at the quantiles of a Beta distribution of its steps.

        t = round((T - 1) Q(1 - i / n)),    Q the quantile function

    `beta` has the quantiles of sigma itself. `n` levels, then 0. Raises ValueError if two of the
    steps are equal; common code then drops one and takes fewer steps than requested.
    Source: Lee et al. (2024), "Beta Sampling is All You Need".
    """
    from scipy.special import betaincinv  # loaded when it is first used

    levels = checked(table)
    n, alpha, beta = fits(n, len(levels)), positive(alpha, "alpha"), positive(beta, "beta")
    share = betaincinv(alpha, beta, 1 - np.linspace(0, 1, n, endpoint=False))
    steps = np.rint((len(levels) - 1) * share).astype(int)
    if not (np.diff(steps) < 0).all():
        repeated = steps[:-1][np.diff(steps) == 0][0]
        raise ValueError(
            f"n = {n} quantiles of {len(levels)} steps fall more than once on step {repeated}: "
            "ask for fewer levels, or take alpha and beta nearer to 1."
        )
    return close(levels[steps], final_zero)


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
    places = np.linspace(0, len(table) - 1, n + 1)[:-1]
    return close(_read(table, places, interpolate=True), final_zero)


def _read(levels: np.ndarray, steps: np.ndarray, interpolate: bool) -> np.ndarray:
    """The levels at steps that need not be whole; at whole steps exactly those of the table."""
    nearest = np.round(steps).astype(int)
    if not interpolate:
        return levels[nearest]
    between = np.exp(np.interp(steps, np.arange(len(levels)), np.log(levels)))
    return np.where(nearest == steps, levels[nearest], between)
