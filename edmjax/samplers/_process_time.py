"""A step of the grid, written in the time and the scale of a process."""

import functools
from typing import Any, NamedTuple

import numpy as np

from edmjax._common.typing import Values
from edmjax.planning.step import Step
from edmjax.processes.process import Process, check_process
from edmjax.scalar import Scalar, host, is_traced


class Move(NamedTuple):
    """The numbers of a step in a process, for points in the package's frame."""

    h: Scalar  # t_next - t, negative on the way down
    rescale: Scalar  # scale / scale_next: what a point is multiplied by to keep its own scale
    shrink: Scalar  # f
    slope: Scalar  # g / (scale sigma): the score is (D - x) / sigma^2 / scale
    spread: Scalar  # g / scale_next: the noise of the process in the frame of the next level


class ProcessTime:
    """Reads the times of a step, and the rates of the process there."""

    def __init__(self, process: Any):
        check_process(process)
        self.process: Process = process
        # The rates of a whole grid at once: each call of the process costs some 100 us.
        self._rates_of = functools.lru_cache(maxsize=1)(self._rates_at)

    def __call__(self, at: Step) -> Move:
        t, t_next = self._times(at)
        f, g = self._rates(at, t)
        scale, scale_next = pair(self.process.scale(t), self.process.scale(t_next))
        return Move(t_next - t, scale / scale_next, f, g / (scale * at.sigma), g / scale_next)

    def _times(self, at: Step) -> tuple[Scalar, Scalar]:
        """The times of the grid if they are this process's; otherwise the times of the levels."""
        given = at.time is not None and not is_traced(at.sigma, at.time, at.time_next)
        if given and np.isclose(self.process.sigma(at.time), at.sigma, rtol=1e-9, atol=0):
            return pair(at.time, at.time_next)
        t, t_next = pair(self.process.time(at.sigma), self.process.time(at.sigma_next))
        if not is_traced(t_next) and not np.isfinite(t_next):
            raise ValueError(
                f"This process has no time at sigma = {at.sigma_next}: end the grid above, or with "
                "the denoiser (`final='denoise'`)."
            )
        return t, t_next

    def _rates(self, at: Step, t: Scalar) -> tuple[Scalar, Scalar]:
        numbers = set(map(type, at.levels)) == {float} and not is_traced(at.sigma, t)
        if not numbers or at.sigma != at.levels[at.index]:
            return pair(*self.process.rates(t))
        f, g = self._rates_of(at.levels)
        return pair(f[at.index], g[at.index])

    def _rates_at(self, levels: tuple[float, ...]) -> tuple[Values, Values]:
        return self.process.rates(self.process.time(np.array([v for v in levels if v > 0])))


def pair(one: Any, other: Any) -> tuple[Scalar, Scalar]:
    """Both, as floats where they are numbers."""
    return host(one, "time"), host(other, "time")
