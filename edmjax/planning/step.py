"""What a sampler sees: one interval of the grid, the steps before it, the network and the noise.

    Sampler = Callable[[Combination, Step], Combination]

takes the point at `at.sigma` and returns the point at `at.sigma_next`. Time runs from high noise to
low, except on an encoding grid, whose levels go up.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeAlias

from edmjax.planning.point import Combination
from edmjax.scalar import Scalar


class Evaluation(NamedTuple):
    """One evaluation of the denoiser, as later steps see it in `at.past`."""

    sigma: Scalar  # the level it was made at
    x: Combination  # the point it was made at
    denoised: Combination  # the denoiser's answer
    raw: Combination  # the answer before clipping or guidance


class Step(NamedTuple):
    """One interval of the grid, as a sampler sees it.

    Levels are Python floats, or traced scalars where the grid is traced. Wrappers call an inner
    sampler with `at._replace(sigma=...)` or `at._replace(sigma_next=...)`; the other fields, `time`
    too, still describe the grid's own interval.

    Attributes:
        sigma: the level of the point that the sampler is given.
        sigma_next: the level of the point that it returns.
        index: the number of this step, from 0.
        levels: all levels of the grid, first to last.
        last: this step ends at sigma = 0, where the answer is the denoiser's and nothing may be
            divided by `sigma_next`.
        time: the process's own time at `sigma`; None where the grid was not made from times.
        time_next: the same at `sigma_next`.
        past: the first evaluation of each earlier step, newest first. Emptied by `forget`. Those at
            nearly the level of this one are left out, where a difference of outputs is rounding.
        memory: what a method carries from step to step. Emptied by `forget`, and by `make_plan`.
        denoise: `denoise(x, sigma)` evaluates the network at `x` and returns the denoised output;
            `denoise(x, sigma, raw=True)` returns the pair (denoised, raw).
        noise: `noise()` is a fresh standard normal draw; `noise(sigma_from, sigma_to)` names the
            interval of which it is the unit-variance increment, so that plans of one path with
            different numbers of steps can share it. `noise(..., log_var=c)` is multiplied, point by
            point, by `exp(c log_var)` of the last evaluation, for a network that learned variances;
            it must enter the point that follows that evaluation.
        in_flow: the levels are those of a flow, where methods that are linear in sigma step in the
            flow's own time.
        forget: `forget()` empties `past` and `memory`. Called by what adds fresh noise: a history
            from before the noise extrapolates a path that is no longer followed.
    """

    sigma: Scalar
    sigma_next: Scalar
    index: int
    levels: tuple[Scalar, ...]
    last: bool
    time: Scalar | None
    time_next: Scalar | None
    past: list[Evaluation]
    memory: dict[Any, Any]
    denoise: Callable[..., Any]
    noise: Callable[..., Combination]
    forget: Callable[[], None]
    in_flow: bool = False

    @property
    def num_steps(self) -> int:
        """The number of steps of the grid."""
        return len(self.levels) - 1


if TYPE_CHECKING:
    Sampler: TypeAlias = Callable[[Combination, Step], Combination]
else:
    # Functions that take a sampler raise their own message for anything else, so the run-time type
    # checker must not raise first. The tag tells functions that return a sampler from functions
    # that return just anything.
    Sampler = Annotated[Any, "a sampler"]
