"""PNDM: pseudo numerical methods, classical formulas with DDIM's step in place of Euler's.

In the variance-exploding frame DDIM's step is Euler's, `x + (sigma_next - sigma) eps`. So the
pseudo methods are the classical ones, with the weights of equal steps on any grid.
"""

from typing import TYPE_CHECKING, Any, TypeAlias

from edmjax._common.arguments import one_of
from edmjax._common.deprecation import renamed_words
from edmjax._common.typing import Scalar
from edmjax.planning.point import Combination
from edmjax.planning.step import Sampler, Step
from edmjax.processes.process import Process
from edmjax.samplers.adams import advance, equal_weights
from edmjax.scalar import flag, sqrt

if TYPE_CHECKING:
    Timed: TypeAlias = Process
else:
    Timed = Any  # anything that has `time` and `sigma` will do


@renamed_words("final", multistep="method")
def pndm(runge_kutta: bool = True, process: Timed | None = None, final: str = "method") -> Sampler:
    """PNDM (Liu et al. 2022, Algorithm 2 and eq. 12): a start, then Adams-Bashforth of order 4.

        x_next = x + (sigma_next - sigma) (55 eps_0 - 59 eps_1 + 37 eps_2 - 9 eps_3) / 24

    With `runge_kutta` the first three steps are Runge-Kutta steps of four evaluations (eq. 13):
    n steps take n + 9. Without (PLMS, as in Stable Diffusion) the first is an improved Euler step
    of two evaluations, and 3/2, -1/2 and 23/12, -16/12, 5/12 follow: n steps take n + 1. Second
    order, since the weights are meant for equal steps. The step to zero is never a starting step.

    Args:
        runge_kutta: whether to start with Runge-Kutta steps.
        process: the process in whose time the middle of a Runge-Kutta step lies, such as the one
            that the network was trained on; without one, the middle is `sqrt(sigma sigma_next)`.
        final: the step to zero. "method": the multistep formula over the outputs that there are, as
            in diffusers' `PNDMScheduler`; "denoise": the denoiser.

    Raises:
        ValueError: if `final` is something else.
        TypeError: if `process` has no `time` and `sigma`.
    """
    final = one_of(final, "final", ["method", "denoise"])
    runge_kutta = flag(runge_kutta, "runge_kutta")
    if process is not None and not (hasattr(process, "time") and hasattr(process, "sigma")):
        raise TypeError(f"`process` must be a process or None, got {process!r:.80}.")

    def middle(at: Step) -> Scalar:
        if process is None:
            return sqrt(at.sigma * at.sigma_next)
        return process.sigma((process.time(at.sigma) + process.time(at.sigma_next)) / 2)

    def step(x: Combination, at: Step) -> Combination:
        h, past = at.sigma_next - at.sigma, [old.sigma for old in at.past[:3]]
        denoised = at.denoise(x, at.sigma)
        if at.last and final == "denoise":
            return denoised
        if at.last or len(past) == 3 or (past and not runge_kutta):
            return advance(x, denoised, at, equal_weights(at.sigma, at.sigma_next, past))

        def eps(point: Combination, sigma: Scalar) -> Combination:
            # The call makes `point` a basis vector, and the difference is formed after it.
            return (point - at.denoise(point, sigma)) / sigma

        eps_1 = (x - denoised) / at.sigma
        if not runge_kutta:
            eps_2 = eps(x + h * eps_1, at.sigma_next)
            return x + h / 2 * (eps_1 + eps_2)
        sigma_mid = middle(at)
        to_mid = sigma_mid - at.sigma
        eps_2 = eps(x + to_mid * eps_1, sigma_mid)
        eps_3 = eps(x + to_mid * eps_2, sigma_mid)
        eps_4 = eps(x + h * eps_3, at.sigma_next)
        return x + h / 6 * (eps_1 + 2 * eps_2 + 2 * eps_3 + eps_4)

    return step
