"""Reads a sampler over a grid and writes down the weights that it forms.

The sampler runs once, in Python, on symbolic points: combinations of the points, outputs and draws
before them. Each evaluation adds a row to the plan: the weights of the point that it was made at.
"""

import functools
import inspect
import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from edmjax._common.typing import Grid
from edmjax.planning.grid import goes_up, last_is_zero, levels_of
from edmjax.planning.padding import padded
from edmjax.planning.point import Combination, Name
from edmjax.planning.scale import from_infinity, in_scale
from edmjax.planning.step import Evaluation, Sampler, Step
from edmjax.planning.table import Plan, PlanLike
from edmjax.processes.flows import Flow
from edmjax.processes.process import Levels
from edmjax.scalar import Scalar, host, is_traced, is_zero

# A step that is a smaller share of the step after it leads to a neighbour. The smallest shares of
# the package's schedules are 0.025, and 0.0086 before the step to zero (`ve` with 999 steps).
_NEXT_TO, _NEXT_TO_AT_ZERO = 0.015, 0.005


def make_plan(
    sampler: Sampler,
    sigmas: Grid | Levels,
    *,
    ends_at_zero: bool | None = None,
    like: PlanLike | None = None,
) -> Plan:
    """Returns the plan of `sampler` over `sigmas`: its weights, in float64, computed on the host.

    If a level or an option is traced, the tables that depend on it are JAX arrays in JAX's default
    precision.

    Args:
        sampler: one step of the method, such as `ej.samplers.heun()`.
        sigmas: n + 1 noise levels, in the units of the data, first to last: an array, a sequence of
            numbers or traced scalars, or the levels of a process (`process.levels(times)`). With
            those the plan holds its points in the scale of the process, and on levels of a flow
            methods that are linear in sigma step in the flow's time (`ej.processes.flow`). Levels
            go down and may end at 0, or go up from above 0 (encoding). The first level of a process
            may be infinite: the weights are then limits, as that level grows.
        ends_at_zero: whether the last level is 0. Known if that level is a number; required if it
            is traced.
        like: another plan. This one is padded with weights of 0 to the shapes of `like`, so that
            both run the same compiled program: `eta` 0 like `eta` 1, say, or Euler like DPM++(2M).

    Raises:
        TypeError: if the sampler is not a function of one step, or not linear.
        ValueError: if the levels are fewer than two, NaN, infinite, negative or not strictly
            monotone, or disagree with `ends_at_zero`; if the sampler draws noise on a grid that
            goes up; if the plan has another number of steps or evaluations than `like`, or does not
            fit in it; if the first level is infinite and the weights have no limit there.
    """
    check_sampler(sampler, "sampler")
    if isinstance(sigmas, Plan):
        # The grid of a plan is levels alone: with a scale there is a process that they came from.
        had = (
            "`plan.grid`" if sigmas.scale is None else "the levels of the process it was made from"
        )
        raise TypeError(f"`sigmas` must be noise levels, got a Plan: pass {had}.")
    times, process = getattr(sigmas, "times", None), getattr(sigmas, "process", None)
    # Levels of a process carry its times, so that a sampler reads them without a root search.
    grid: Any = getattr(sigmas, "sigmas", sigmas)
    levels = levels_of(grid, infinite=process is not None)
    read = functools.partial(
        _read,
        sampler,
        times=times,
        ends_at_zero=last_is_zero(levels, ends_at_zero),
        in_flow=isinstance(process, Flow),
    )
    if process is None:
        plan = read(levels)
    elif not is_traced(levels[0]) and levels[0] == math.inf:
        plan = from_infinity(read, levels, process)
    else:
        plan = in_scale(read(levels), process)
    return plan if like is None else padded(plan, like)


def check_sampler(sampler: object, name: str) -> None:
    """Raises TypeError where `sampler`, the argument `name`, is no function of one step."""
    says = f"`{name}` must be a function of one step (x, at)"
    if isinstance(sampler, str):
        call = f"ej.samplers.from_name({sampler!r:.80})"
        raise TypeError(f"{says}, got {sampler!r:.80}: pass `{call}`.")
    if not callable(sampler):
        raise TypeError(f"{says}, got {sampler!r:.80}.")
    # `samplers.heun` in place of `samplers.heun()` is a function too. Its signature gives it away:
    # a step takes two arguments without defaults.
    given = getattr(sampler, "__name__", repr(sampler))
    try:
        signature = inspect.signature(sampler)
        signature.bind(None, None)
    except TypeError:
        raise TypeError(
            f"{says}, and `{given}` does not take two arguments: pass what `{given}(...)` returns."
        ) from None
    except ValueError:  # a callable without a signature
        return
    first = list(signature.parameters.values())[:2]
    if first[0].name == "inner" or any(p.default is not p.empty for p in first):
        raise TypeError(
            f"{says}, and `{given}` makes one from its options: pass what `{given}(...)` returns."
        )


def _read(
    sampler: Sampler, levels: tuple[Scalar, ...], times: Any, ends_at_zero: bool, in_flow: bool
) -> Plan:
    """The plan in the package's frame."""
    reading = _Reading(upward=goes_up(levels))
    x = Combination({("x", 0): 1.0})
    for index in range(len(levels) - 1):
        x = reading.step(
            sampler,
            x,
            Step(
                sigma=levels[index],
                sigma_next=levels[index + 1],
                index=index,
                levels=levels,
                last=ends_at_zero and index == len(levels) - 2,
                time=None if times is None else host(times[index], "time"),
                time_next=None if times is None else host(times[index + 1], "time"),
                past=reading.past,
                memory=reading.memory,
                denoise=reading.denoise,
                noise=reading.noise,
                forget=reading.forget,
                in_flow=in_flow,
            ),
        )
    if not reading.rows:
        raise ValueError("The sampler never called `at.denoise`: there is nothing to evaluate.")
    return _assemble(reading, x, levels)


class _Reading:
    """Records a sampler while it is read: evaluations and draws become basis vectors."""

    def __init__(self, upward: bool):
        self.upward = upward
        self.sigmas: list[Scalar] = []  # the level of each evaluation
        self.steps: list[int] = []  # the step it belongs to
        self.rows: list[dict[Name, Scalar]] = []  # the point it was made at
        self.intervals: list[tuple[Scalar, Scalar]] = []  # the interval of each draw
        self.learned: dict[int, tuple[int, Scalar]] = {}  # draw -> (evaluation, exponent)
        self.past: list[Evaluation] = []
        self.memory: dict[Any, Any] = {}
        self._first: Evaluation | None = None  # the first one of the step being read
        self._index = 0

    def step(self, sampler: Sampler, x: Combination, at: Step) -> Combination:
        self._first, self._index = None, at.index
        self._leave_out(at)
        x = sampler(x, at)
        if not isinstance(x, Combination):
            raise TypeError(
                "A sampler takes (x, at) and returns the next point, a combination of points, "
                f"outputs and noises; step {at.index} returned {x!r}."
            )
        # Kept after the step, so that a sampler finds only earlier steps in `at.past`.
        if self._first is not None:
            self.past.insert(0, self._first)
        return x

    def _leave_out(self, at: Step) -> None:
        """Forgets the newest evaluations that lie next to this one, compared with the step ahead.

        A multistep method divides the difference of two outputs by the step between them, and
        multiplies it by the step ahead. Where the levels are nearly equal, that difference is of
        errors: of rounding, or of the corrector that moved the point. Without the neighbour the
        method extrapolates from the evaluations before it, at the same order.
        """
        share = _NEXT_TO_AT_ZERO if at.last else _NEXT_TO
        while self.past and _is_next_to(self.past[0].sigma, at.sigma, at.sigma_next, share):
            del self.past[0]
            # What a method carries belongs to the step that led here, which is no longer seen.
            self.memory.clear()

    def denoise(self, x: Any, sigma: Scalar, *, raw: bool = False) -> Any:
        if not isinstance(x, Combination):
            raise TypeError(f"`at.denoise(x, sigma)` takes a point of the sampler, got {x!r}.")
        # Only the grid may hold infinity: the network has to be given a number.
        k = len(self.rows)
        self.sigmas.append(host(sigma, "sigma"))
        if not is_traced(self.sigmas[k]) and not 0 <= self.sigmas[k] < np.inf:
            raise ValueError(
                f"Step {self._index} evaluates the denoiser at sigma = {self.sigmas[k]}: a level "
                "must be finite and not negative."
            )
        self.steps.append(self._index)
        self.rows.append(x.weights)
        # The evaluated point becomes a basis vector: what follows is written in terms of it, which
        # is what keeps windows as short as the method's own history.
        x.weights = {("y", k): 1.0}
        evaluation = Evaluation(
            self.sigmas[k],
            Combination(x.weights),
            Combination({("d", k): 1.0}),
            Combination({("r", k): 1.0}),
        )
        if self._first is None:
            self._first = evaluation
        # Copies: `x.weights` of a point is replaced when it is evaluated, and the record must stay.
        denoised = Combination(evaluation.denoised.weights)
        return (denoised, Combination(evaluation.raw.weights)) if raw else denoised

    def noise(
        self, sigma_from: Scalar = 0.0, sigma_to: Scalar = 0.0, *, log_var: Scalar | None = None
    ) -> Combination:
        if self.upward:
            raise ValueError(
                "The levels go up (encoding), where fresh noise makes no sense: use a "
                "deterministic sampler."
            )
        if log_var is not None:
            self.learned[len(self.intervals)] = len(self.rows) - 1, host(log_var, "log_var")
        self.intervals.append((host(sigma_from, "sigma_from"), host(sigma_to, "sigma_to")))
        return Combination({("z", len(self.intervals) - 1): 1.0})

    def forget(self) -> None:
        self.past.clear()
        self.memory.clear()
        self._first = None


def _is_next_to(before: Scalar, here: Scalar, after: Scalar, share: float) -> bool:
    """Whether the step to `here` is below `share` of the step ahead, in sigma and in its log."""
    if is_traced(before, here, after) or not 0 < here < np.inf or not before > 0:
        return False
    before, here, after = float(before), float(here), float(after)
    if not abs(here - before) < share * abs(after - here):
        return False
    return after == 0 or abs(math.log(here / before)) < share * abs(math.log(after / here))


def _assemble(reading: _Reading, x: Combination, levels: tuple[Scalar, ...]) -> Plan:
    """Packs the rows into tables with a column for each age, and a slot for each draw of a row."""
    rows = [*reading.rows, x.weights]
    cells: dict[str, dict[tuple[int, int], Scalar]] = {name: {} for name in "ydrzv"}
    used = sorted(
        {j for row in rows for (kind, j), w in row.items() if kind == "z" and not is_zero(w)}
    )
    ordinal = {j: i for i, j in enumerate(used)}  # draws that are never used are dropped
    draws: dict[tuple[int, int], int] = {}
    for k, row in enumerate(rows):
        slots = 0
        for (kind, j), weight in sorted(row.items(), key=lambda item: item[0]):
            # A weight of 0 would widen the windows, and carry an array for nothing.
            if is_zero(weight):
                continue
            if not is_traced(weight) and not np.isfinite(weight):
                raise ValueError(
                    f"The sampler formed the weight {weight} for point {k}: it divided by zero, "
                    "or took the logarithm of zero. `at.last` is True on the step to zero."
                )
            if kind == "z":
                cells["z"][k, slots], draws[k, slots] = weight, ordinal[j]
                if j in reading.learned:
                    evaluation, cells["v"][k, slots] = reading.learned[j]
                    if evaluation != k - 1:
                        raise ValueError(
                            "A draw with `log_var` must enter the point after the evaluation that "
                            f"it follows: this one belongs in point {evaluation + 1}, and the "
                            f"sampler added it to point {k}."
                        )
                slots += 1
            else:
                # The starting point stands in the window where a point before row 0 would.
                kind, j = ("y", -1) if kind == "x" else (kind, j)
                cells[kind][k, k - 1 - j] = weight
    slots = 1 + max((s for _, s in draws), default=-1)
    draw_table = np.full((len(rows), slots), -1, np.int32)
    interval_cells = {}
    for (k, s), j in draws.items():
        draw_table[k, s] = j
        interval_cells[k, s, 0], interval_cells[k, s, 1] = reading.intervals[used[j]]

    # As wide as the oldest entry that is used: a method without history carries one array.
    def width(kind: str, least: int) -> int:
        return max([age + 1 for _, age in cells[kind]] + [least])

    return Plan(
        sigmas=_vector(reading.sigmas),
        grid=_vector(levels),
        step=np.array(reading.steps, np.int32),
        y=_fill(cells["y"], (len(rows), width("y", 1))),
        d=_fill(cells["d"], (len(rows), width("d", 1))),
        z=_fill(cells["z"], (len(rows), slots)),
        draws=draw_table,
        intervals=_fill(interval_cells, (len(rows), slots, 2)),
        r=_fill(cells["r"], (len(rows), width("r", 1))) if cells["r"] else None,
        v=_fill(cells["v"], (len(rows), slots)) if cells["v"] else None,
    )


def _vector(values: Sequence[Scalar]) -> Any:
    return _fill({(i,): value for i, value in enumerate(values)}, (len(values),))


def _fill(cells: dict[Any, Scalar], shape: tuple[int, ...]) -> Any:
    """An array with the given cells: NumPy float64, or a JAX array where a cell is traced."""
    table = np.zeros(shape)
    traced = {at: value for at, value in cells.items() if is_traced(value)}
    for at, value in cells.items():
        if at not in traced:
            table[at] = value
    if not traced:
        return table
    # One scatter for all traced cells: one for each would be thousands of operations to compile.
    dtype = jnp.result_type(float)
    index = tuple(np.array(i) for i in zip(*traced, strict=True))
    values = jnp.stack([jnp.asarray(value, dtype) for value in traced.values()])
    return jnp.asarray(table, dtype).at[index].set(values)
