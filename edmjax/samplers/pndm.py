"""PNDM: pseudo numerical methods, classical formulas with DDIM's step in the place of Euler's.

In the variance-exploding frame DDIM's step is Euler's, `x + (sigma_next - sigma) eps`, so that the
pseudo methods are the classical ones, with the weights of equal steps on whatever grid.
"""

from typing import Any

from edmjax.planning.point import Combination
from edmjax.planning.step import Sampler, Step
from edmjax.samplers._options import choice
from edmjax.samplers.adams import CONSTANT, advance
from edmjax.scalar import Scalar, flag, sqrt


def pndm(runge_kutta: bool = True, process: Any = None, final: str = "multistep") -> Sampler:
    """PNDM (Liu et al. 2022, Algorithm 2 and eq. 12): a start, then Adams-Bashforth of order 4.

        x_next = x + (sigma_next - sigma) (55 eps_0 - 59 eps_1 + 37 eps_2 - 9 eps_3) / 24

    With `runge_kutta` the first three steps are Runge-Kutta steps of four evaluations (eq. 13):
    n steps take n + 9. Without (PLMS, as in Stable Diffusion) the first is an improved Euler step
    of two evaluations, and 3/2, -1/2 and 23/12, -16/12, 5/12 follow: n steps take n + 1. Second
    order, since the weights are those of equal steps. No start on the step to zero, which takes
    the multistep formula of what history there is, as diffusers' `PNDMScheduler` does; with
    `final="denoise"` it is the denoiser.

    Args:
        runge_kutta: whether to start with Runge-Kutta steps.
        process: what has the middle of a Runge-Kutta step in the middle of its own time, such as
            the one that the network was trained on; without one, `sqrt(sigma sigma_next)`.
        final: "multistep" or "denoise".

    Raises:
        ValueError: if `final` is something else.
        TypeError: if `process` has no `time` and `sigma`.
    """
    final = choice(final, "final", "multistep", "denoise")
    runge_kutta = flag(runge_kutta, "runge_kutta")
    if process is not None and not (hasattr(process, "time") and hasattr(process, "sigma")):
        raise TypeError(f"`process` must be a process or None, got {process!r:.80}.")

    def middle(at: Step) -> Scalar:
        if process is None:
            return sqrt(at.sigma * at.sigma_next)
        return process.sigma((process.time(at.sigma) + process.time(at.sigma_next)) / 2)

    def step(x: Combination, at: Step) -> Combination:
        h, past = at.sigma_next - at.sigma, len(at.past[:3])
        denoised = at.denoise(x, at.sigma)
        if at.last and final == "denoise":
            return denoised
        if at.last or past == 3 or (past and not runge_kutta):
            return advance(x, denoised, at, [h * weight for weight in CONSTANT[past]])

        def eps(point: Combination, sigma: Scalar) -> Combination:
            # Reading an evaluation makes the point it was made at what it is from then on.
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
