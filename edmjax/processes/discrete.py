"""The process of a model with training timesteps: its own time counts them.

Its functions interpolate a table of levels. They are written once, for NumPy and for JAX, and `t`
and `sigma` may be arrays of any shape.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import jax
import numpy as np
from jax.tree_util import Partial

from edmjax._common.arguments import number, positive, whole
from edmjax._common.arrays import weighted
from edmjax._common.exported import serializable
from edmjax._common.trees import argument_like, floating_tree
from edmjax._common.typing import Arraylike, Int, Number, PyTree, Values, X
from edmjax.processes.process import Levels, Process, array_module
from edmjax.processes.tables import between, ddpm_table, fits, iddpm_table, spaced
from edmjax.scalar import flag

# The first and the last beta that go with each spacing.
_ENDS = {"linear": (1e-4, 0.02), "scaled_linear": (0.00085, 0.012), "sigmoid": (1e-4, 0.02)}


@serializable
@jax.tree_util.register_pytree_node_class
class DDPM(Process):
    """The variance-preserving process of a table of levels; made by `ddpm`.

    Its time is the training timestep: `sigma(t)` is the table at t = 0 ... T - 1, and `t = -1` is
    the data, where `sigma = 0`. What is linear in `t` in between:

        -1 to 0               sigma
        timestep to timestep  log sigma
        to an infinite level  1 / sigma

    `time(sigma)` is the inverse; levels above the table have the time of its end. Outside [-1, T -
    1] every function is NaN. `drift` and `diffusion` are the slopes of this interpolation: the
    model itself has none.

    Attributes:
        table: (T,), the level of each timestep, ascending; float64 on the host.
        num_timesteps: T.
        knots: the times of the entries of `table`, ascending, where the table has others than the
            timesteps; made by `through`.
    """

    table: Values
    num_timesteps: int
    knots: Values | None
    t_min: ClassVar[float] = -1.0

    def __init__(self, table: Values, num_timesteps: int, knots: Values | None = None):
        object.__setattr__(self, "table", table)
        object.__setattr__(self, "num_timesteps", num_timesteps)
        object.__setattr__(self, "knots", knots)
        functions = (_scale, _sigma, _time, _variance)
        scale, sigma, time, variance = (Partial(function, table, knots) for function in functions)
        Process.__init__(self, scale, sigma, time, variance, num_timesteps - 1.0)

    def tree_flatten(self) -> tuple[tuple[Values, Values | None], int]:
        return (self.table, self.knots), self.num_timesteps

    @classmethod
    def tree_unflatten(cls, num_timesteps: int, children: Sequence[Any]) -> "DDPM":
        table, knots = children
        return cls(table, num_timesteps, knots)

    def through(self, times: Arraylike, sigmas: Arraylike) -> "DDPM":
        """The process whose levels at `times` are `sigmas`, and at other timesteps as before.

        For a grid whose levels another package reads off the table in another way. A denoiser of
        the process that comes back shows its network these times at these levels.

        Raises:
            ValueError: times and levels of different lengths, a time outside [0, T - 1], or levels
                that do not rise with time among those of the table.
        """
        given = np.asarray(times, np.float64), np.asarray(sigmas, np.float64)
        if given[0].ndim != 1 or given[0].shape != given[1].shape:
            raise ValueError(
                "`times` and `sigmas` must be one-dimensional and of one length, got shapes "
                f"{given[0].shape} and {given[1].shape}."
            )
        last = self.num_timesteps - 1
        if not ((given[0] >= 0) & (given[0] <= last)).all():
            raise ValueError(f"`times` must be from 0 to {last}, got {given[0]}.")
        own = np.arange(len(self.table)) if self.knots is None else np.asarray(self.knots)
        kept = ~np.isin(own, given[0])
        knots = np.append(own[kept], given[0])
        order = np.argsort(knots)
        knots, table = knots[order], np.append(np.asarray(self.table)[kept], given[1])[order]
        if not (table[0] > 0 and (np.diff(table) > 0).all() and (np.diff(knots) > 0).all()):
            raise ValueError(
                "Levels must rise with time, among those of the table too: leave out times that "
                "are given twice, and levels out of order."
            )
        return DDPM(table, self.num_timesteps, knots)

    def scale_of(self, sigma: Arraylike) -> Values:
        """`1 / sqrt(1 + sigma^2)`, at any level: the process preserves variance."""
        xp, level = array_module(sigma)
        return 1 / xp.hypot(1, level)

    def timesteps(self, n: Int, spacing: str = "trailing", *, steps_offset: Int = 0) -> np.ndarray:
        """`n` integer timesteps, descending, as diffusers' DDIM and DDPM schedulers have them.

            trailing    round(T - i T / n) - 1                   from the last timestep, not to 0
            leading     (n - 1 - i) floor(T / n) + steps_offset  misses the last timestep
            linspace    round((T - 1) - i (T - 1) / (n - 1))     both ends
            legacy      floor((T - 1) - i (T - 1) / n)           of SDXL's reference code

        Multistep solvers of diffusers take the first `n` of `n + 1` with leading and linspace:
        `timesteps(n + 1, spacing)[:-1]`. Its Euler, Heun, LMS, KDPM2, ancestral and SDE schedulers
        do not round: `grid(n, "linspace", rounded=False)`. Source: Lin et al. (2024), Table 2.

        Raises:
            ValueError: more steps than training timesteps, an unknown spacing, an offset that the
                spacing does not have, or one that leads beyond the training timesteps.
            TypeError: `n` or `steps_offset` is not an integer.
        """
        total, offset = self.num_timesteps, whole(steps_offset, "steps_offset", least=0)
        n = fits(n, total, "The model has {} training timesteps")
        if offset and spacing != "leading":
            raise ValueError(
                f"steps_offset moves the timesteps of 'leading', got {offset} with {spacing!r}: "
                "leave it out."
            )
        steps = spaced(n, total, spacing) + offset
        if steps[0] >= total:
            raise ValueError(
                f"With steps_offset = {offset} and n = {n} the first timestep is {steps[0]}, and "
                f"the last that the model knows is {total - 1}: take fewer steps or less offset."
            )
        return steps

    def grid(
        self,
        n: Int,
        spacing: str = "trailing",
        *,
        steps_offset: Int = 0,
        set_alpha_to_one: bool = True,
        rounded: bool = True,
    ) -> Levels:
        """The levels of `n` steps with their end, for `make_plan`: `timesteps` and one more time.

        The end is the data, `sigma = 0` at `t = -1`, or with `set_alpha_to_one=False` the level of
        timestep 0, above 0 (for other schedulers of diffusers, `final_sigmas_type="sigma_min"`). A
        step leads to the next timestep of the grid, whatever the spacing. (A DDIM step of diffusers
        leads to `t - T // n` instead, which leaves noise in the sample unless the spacing is even.)
        With a zero terminal SNR only trailing, linspace and legacy start at the infinite level.

        With `rounded=False` the times of "linspace" are not whole, and their levels lie linearly
        between those of the two timesteps, as in the Euler, Heun, LMS, KDPM2, ancestral and SDE
        schedulers of diffusers. `log sigma` is linear elsewhere, so that these levels are of a
        process of their own: make the denoiser of `grid.process`.

            grid = process.grid(10, "linspace", rounded=False)
            denoise = ej.denoisers.eps(net, grid.process)

        Raises as `timesteps` does, and ValueError where `set_alpha_to_one=False` asks for a step
        from timestep 0 to itself, or `rounded=False` for another spacing, whose times are whole.
        """
        if not flag(rounded, "rounded"):
            return self._unrounded(n, spacing, steps_offset, set_alpha_to_one)
        steps = self.timesteps(n, spacing, steps_offset=steps_offset)
        if not set_alpha_to_one and steps[-1] == 0:
            raise ValueError(
                f"The last of these {n} {spacing!r} timesteps is 0, where the grid ends with "
                "set_alpha_to_one=False, and a step from a level to itself does nothing: pass "
                "`process.levels(process.timesteps(...))`, or take steps_offset=1 or another "
                "spacing."
            )
        return self.levels(np.append(steps, -1 if set_alpha_to_one else 0))

    def _unrounded(self, n: Int, spacing: str, offset: Int, set_alpha_to_one: bool) -> Levels:
        """The grid of `rounded=False`."""
        if spacing != "linspace" or self.knots is not None:
            what = spacing if self.knots is None else "a process that has such times already"
            raise ValueError(
                f"rounded=False is for the times of 'linspace', got {what!r}, whose times are as "
                "they are: leave it out."
            )
        n = len(self.timesteps(n, spacing, steps_offset=offset))
        if not set_alpha_to_one:
            raise ValueError(
                "The last timestep of 'linspace' is 0, where the grid ends with "
                "set_alpha_to_one=False: leave one of the two out."
            )
        table, last = np.asarray(self.table, np.float64), self.num_timesteps - 1
        times = np.linspace(0, last, n)[::-1] if n > 1 else np.array([float(last)])
        process = self.through(times, np.interp(times, np.arange(last + 1), table))
        return process.levels(np.append(times, -1))

    def get_velocity(self, x0: X, noise: PyTree, t: Arraylike) -> X:
        """`v = alpha noise - s x0` with `(alpha, s) = marginal(t)`: the target of v-prediction.

        `t` is a timestep or one a sample. Source: Salimans and Ho (2022), appendix D.
        """
        x0 = floating_tree(x0, "x0")
        noise = argument_like(noise, x0, "noise", "x0")
        alpha, std = self.marginal(self.within(t, x0))
        return weighted((-std, x0), (alpha, noise))


def ddpm(
    betas: str | Arraylike = "linear",
    beta_start: Number | None = None,
    beta_end: Number | None = None,
    num_timesteps: Int | None = None,
    *,
    rescale_zero_snr: bool = False,
) -> DDPM:
    """The process of a discrete diffusion model: `x_t = sqrt(abar_t) x0 + sqrt(1 - abar_t) n`.

        abar_t = prod_(s <= t) (1 - beta_s),    t = 0 ... T - 1,    abar_(-1) = 1
        scale = sqrt(abar_t),    sigma = sqrt((1 - abar_t) / abar_t)

    The default is the model of Ho et al. (2020), levels 0.01 ... 157.4; Stable Diffusion is
    `ddpm("scaled_linear")`, levels 0.0292 ... 14.61. The names of the spacings are diffusers'; the
    ends are those of the papers, where a scheduler of diffusers has 0.0001 and 0.02, or others, for
    every spacing: pass what its configuration says.

    Args:
        betas: their spacing, or all of them:
            "linear": even, from 1e-4 to 0.02 (Ho et al. 2020);
            "scaled_linear": even in the square root, from 0.00085 to 0.012 (Stable Diffusion);
            "sigmoid": along a sigmoid over [-6, 6], from 1e-4 to 0.02;
            "squaredcos_cap_v2": cosine, no beta above 0.999 (Nichol and Dhariwal 2021, equation
            17), without ends to choose.
        beta_start, beta_end: the first and the last beta, in place of the ones above.
        num_timesteps: T, by default 1000, or as many as `betas` are.
        rescale_zero_snr: shift and stretch `sqrt(abar)` so that it is 0 at the last timestep (Lin
            et al. 2024, Algorithm 1). There the level is infinite, the scale 0 and the variance 1,
            and a network that predicts eps says nothing about the data.

    Raises:
        TypeError: `betas` is neither a name nor a sequence of numbers.
        ValueError: an unknown spacing, a beta outside (0, 1), options that do not go together, or a
            table that is not strictly ascending.
    """
    table = _table(betas, beta_start, beta_end, num_timesteps)
    if rescale_zero_snr:
        if len(table) < 2:
            raise ValueError("A zero terminal SNR needs at least two timesteps, got one.")
        alpha = 1 / np.hypot(1, table)
        alpha = (alpha - alpha[-1]) * (alpha[0] / (alpha[0] - alpha[-1]))
        with np.errstate(divide="ignore"):  # infinite at the last timestep
            # The first stays as it is by construction; computed, it would lose digits.
            table = np.append(table[0], np.sqrt((1 - alpha[1:]) * (1 + alpha[1:])) / alpha[1:])
    return DDPM(table, len(table))


def _table(
    betas: str | Arraylike, start: Number | None, end: Number | None, num_timesteps: Int | None
) -> np.ndarray:
    """The levels of the options of `ddpm`, before any rescaling."""
    given = not isinstance(betas, str)
    for name, value in (("beta_start", start), ("beta_end", end)):
        if value is not None and (given or betas == "squaredcos_cap_v2"):
            what = "given betas" if given else f"{betas!r}"
            raise ValueError(f"With {what} there are no ends to choose, got {name} = {value}.")
    if given:
        if np.ndim(betas) != 1 or not np.issubdtype(np.asarray(betas).dtype, np.number):
            raise TypeError(
                f"`betas` must name a spacing, or be a sequence of numbers, got {betas!r:.80}."
            )
        table = ddpm_table(betas)
        if num_timesteps is not None and number(num_timesteps, "num_timesteps") != len(table):
            raise ValueError(
                f"num_timesteps is {num_timesteps}, but there are {len(table)} betas: leave it out."
            )
        return table
    total = whole(1000 if num_timesteps is None else num_timesteps, "num_timesteps")
    if betas == "squaredcos_cap_v2":
        return iddpm_table(total)
    if betas not in _ENDS:
        raise ValueError(
            "`betas` must be 'linear', 'scaled_linear', 'squaredcos_cap_v2', 'sigmoid' or the "
            f"betas themselves, got {betas!r:.80}."
        )
    first, last = _ENDS[betas]
    first = first if start is None else positive(start, "beta_start")
    last = last if end is None else positive(end, "beta_end")
    return ddpm_table(between(betas, first, last, total))


def _sigma(table, knots, t):
    xp, t, table = array_module(t, table)
    last = len(table) - 1
    if knots is not None:
        _, _, knots = array_module(t, knots)
    inside = (t >= -1) & (t <= (last if knots is None else knots[-1]))
    t = xp.where(inside, t, 0)
    # `t` is the share `w` of the way from the level `a` of timestep `low` to the next, `b`.
    if knots is None:
        low = xp.maximum(xp.floor(t), 0).astype(int)
        w = t - low
    else:
        low = xp.maximum((knots <= t[..., None]).sum(-1) - 1, 0)
        start, end = knots[low], knots[xp.minimum(low + 1, last)]
        w = (t - start) / xp.where(end > start, end - start, 1)
    a, b = table[low], table[xp.minimum(low + 1, last)]
    rises = xp.isfinite(b)
    # A branch that is not taken still gets finite numbers, so that its slope is 0 and not NaN.
    log_linear = a * (xp.where(rises, b, 1) / xp.where(rises, a, 1)) ** w
    with np.errstate(divide="ignore"):
        to_infinity = a / xp.where(rises, 1, 1 - w)
    sigma = xp.where(t < 0, (t + 1) * table[0], xp.where(rises, log_linear, to_infinity))
    return xp.where(inside, sigma, np.nan)[()]


def _time(table, knots, sigma):
    xp, sigma, table = array_module(sigma, table)
    last = len(table) - 1
    # `sigma` is between the levels of timesteps `i` and `i + 1`: -1 below the table, `last` above.
    i = (table <= sigma[..., None]).sum(-1) - 1  # a search by bisection would be a loop on a device
    low = xp.maximum(i, 0)
    a, b = table[low], table[xp.minimum(low + 1, last)]
    between = (i >= 0) & (i < last)
    rises = between & xp.isfinite(b)
    # As in `_sigma`: finite numbers for the branches that are not taken.
    a_, b_, sigma_ = (xp.where(rises, value, e) for value, e in ((a, 1), (b, 2), (sigma, 1)))
    log_linear = xp.log(sigma_ / a_) / xp.log(b_ / a_)
    to_infinity = 1 - xp.where(between, a, 1) / xp.where(between, sigma, 1)
    w = xp.where(rises, log_linear, xp.where(between, to_infinity, 0))
    below = xp.where(i < 0, sigma, 0) / table[0] - 1
    inside = low + w
    if knots is not None:
        _, _, knots = array_module(sigma, knots)
        inside = knots[low] + w * (knots[xp.minimum(low + 1, last)] - knots[low])
    return xp.where(xp.isnan(sigma), np.nan, xp.where(i < 0, below, inside))[()]


def _scale(table, knots, t):
    xp, sigma = array_module(_sigma(table, knots, t))
    return 1 / xp.hypot(1, sigma)


def _variance(table, knots, t):
    xp, sigma = array_module(_sigma(table, knots, t))
    # Two forms of sigma^2 / (1 + sigma^2): one holds at 0, the other at infinity.
    large, small = xp.where(sigma > 1, sigma, 1), xp.where(sigma > 1, 1, sigma)
    return xp.where(sigma > 1, 1 / (1 + 1 / large**2), small**2 / (1 + small**2))[()]
