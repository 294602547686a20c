"""Tables: the levels that a model with discrete steps was trained at, in ascending order."""

import numpy as np

from edmjax._common.arguments import number, positive, real, whole
from edmjax._common.deprecation import renamed
from edmjax._common.typing import Arraylike, Int, Levels, Number


@renamed(linear_start="beta_start", linear_end="beta_end")
def ddpm_table(
    betas: Arraylike | None = None,
    *,
    beta_start: Number = 0.00085,
    beta_end: Number = 0.012,
    num_timesteps: Int = 1000,
) -> Levels:
    """The levels of a discrete diffusion model: entry `t` is the level of its step `t`.

        sigma_t = sqrt((1 - abar_t) / abar_t),    abar_t = prod_(s <= t) (1 - beta_s)

    `betas` are the model's own. Without them `sqrt(beta)` is evenly spaced from `sqrt(beta_start)`
    to `sqrt(beta_end)` over `num_timesteps` steps, by default the table of Stable Diffusion: 0.0292
    ... 14.6146. (The table of Ho et al. is `processes.ddpm().table`.) Raises ValueError unless
    every beta is in (0, 1). Source: Ho et al. (2020); Rombach et al. (2022) for the spacing.
    """
    if betas is None:
        start, end = positive(beta_start, "beta_start"), positive(beta_end, "beta_end")
        betas = between("scaled_linear", start, end, whole(num_timesteps, "num_timesteps"))
    betas = np.asarray(betas, np.float64)
    if betas.ndim != 1 or not len(betas):
        raise ValueError(f"`betas` must be a sequence of numbers, got shape {betas.shape}.")
    inside = (betas > 0) & (betas < 1)  # false for NaN too
    if not inside.all():
        i = int(np.argmin(inside))
        raise ValueError(
            f"Every beta must be in (0, 1), got betas[{i}] = {betas[i]}: at 1 nothing is left of "
            "the data, and the level is infinite; leave that step out."
        )
    abar = np.cumprod(1 - betas)
    with np.errstate(divide="ignore", over="ignore"):  # abar may be 0 in float64
        return checked(np.sqrt((1 - abar) / abar))


def between(spacing: str, start: float, end: float, num_timesteps: int) -> np.ndarray:
    """Betas from `start` to `end`, by the words of diffusers.

    `linear`: evenly spaced (Ho et al. 2020); `scaled_linear`: evenly spaced in their square roots
    (Rombach et al. 2022); `sigmoid`: along a sigmoid over [-6, 6].
    """
    if spacing == "linear":
        return np.linspace(start, end, num_timesteps)
    if spacing == "scaled_linear":
        return np.linspace(start**0.5, end**0.5, num_timesteps) ** 2
    return start + (end - start) / (1 + np.exp(-np.linspace(-6, 6, num_timesteps)))


def iddpm_table(num_timesteps: Int = 1000, *, c1: Number = 0.001, c2: Number = 0.008) -> Levels:
    """The levels of iDDPM's cosine schedule, ascending: 0.00643 ... 20291 by default.

        u_(j-1) = sqrt((u_j^2 + 1) / max(abar_(j-1) / abar_j, c1) - 1),    u_M = 0
        abar_j = sin^2(pi j / (2 M (c2 + 1))),    M = num_timesteps

    In Karras's order: entry `i` is `u_(M-1-i)`, the level of the model's step `i`. Source: Karras
    et al. (2022), Table 1; Nichol and Dhariwal (2021), equation 17, with `c2` their offset and `1 -
    c1` their largest beta.
    """
    m = whole(num_timesteps, "num_timesteps")
    c1 = real(number(c1, "c1"), "c1", above=0, below=1)
    c2 = real(number(c2, "c2"), "c2", least=0)
    abar = np.sin(np.pi / 2 * np.arange(m + 1) / (m * (c2 + 1))) ** 2
    u = np.zeros(m + 1)
    # The recursion that all such models were trained with: a log form is 2e-12 off at u_(M-1).
    for j in range(m, 0, -1):
        u[j - 1] = np.sqrt((u[j] ** 2 + 1) / max(abar[j - 1] / abar[j], c1) - 1)
    return u[:-1][::-1].copy()


def checked(table: Arraylike | None) -> Levels:
    """`table` as ascending float64 levels, Stable Diffusion's for None; raises for other tables."""
    if table is None:
        return ddpm_table()
    if hasattr(table, "process"):  # `Levels`, of the file that the processes come from
        raise TypeError(
            "A table holds noise levels alone, got levels of a process, whose scale the schedule "
            "would lose: pass `levels.sigmas`, or take `process.levels(times)`."
        )
    levels = np.asarray(table, np.float64)
    if levels.ndim != 1 or not len(levels):
        raise ValueError(f"`table` must be a sequence of levels, got shape {levels.shape}.")
    if not (np.isfinite(levels) & (levels > 0)).all():
        raise ValueError("The levels of a table must be positive and finite: leave out the others.")
    if not (np.diff(levels) > 0).all():
        raise ValueError(
            "A table holds the level of each training step, strictly ascending as the steps do, "
            f"got {levels[0]} ... {levels[-1]} out of order: reverse or sort it."
        )
    return levels


def fits(n: Int, total: int, has: str = "The table has {} levels") -> int:
    """`n`, if there are as many levels."""
    n = whole(n, "n")
    if n > total:
        raise ValueError(f"{has.format(total)}, got n = {n}: ask for at most {total}.")
    return n


def spaced(n: int, num_timesteps: int, spacing: str) -> np.ndarray:
    """`n` of the steps 0 ... `num_timesteps - 1`, descending. See `schedules.ddpm` for names."""
    last = num_timesteps - 1
    if spacing == "legacy":
        return np.linspace(last, 0, n, endpoint=False).astype(int)
    if spacing == "leading":
        return np.arange(n)[::-1] * (num_timesteps // n)
    # The order of the operations decides where halves go, so it is the one of diffusers. Its
    # `arange` may yield one number too many, and its single step of `linspace` would be step 0.
    if spacing == "trailing":
        return np.round(np.arange(num_timesteps, 0, -num_timesteps / n)[:n]).astype(int) - 1
    if spacing == "linspace":
        return np.round(np.linspace(0, last, n))[::-1].astype(int) if n > 1 else np.array([last])
    raise ValueError(
        f"spacing must be 'legacy', 'trailing', 'leading' or 'linspace', got {spacing!r:.80}."
    )
