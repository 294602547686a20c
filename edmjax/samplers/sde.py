"""Discretisations of the reverse stochastic differential equation, in sigma.

With `lam` between the probability flow (0) and the reverse diffusion (1), and time running down,

    dx = (1 + lam^2) (x - D(x, sigma)) / sigma dsigma + lam sqrt(2 sigma) dW

has the marginals of the data plus noise of standard deviation sigma for every `lam`.
"""

from edmjax.combination import Combination
from edmjax.scalar import Scalar, is_zero, not_negative, sqrt
from edmjax.step import Sampler, Step


def euler_maruyama(lam: Scalar = 1.0, final: str = "denoise") -> Sampler:
    """Euler-Maruyama on the reverse SDE (Song et al. 2021, eq. 6; Karras et al. 2022, eq. 6).

        x_next = x + (1 + lam^2) h (x - D) / sigma + lam sqrt(2 sigma |h|) noise,
        h = sigma_next - sigma

    First order (weakly), one evaluation and one draw a step; no draw with `lam = 0`, which is
    `euler()`. The step to zero adds no noise: with `final="denoise"` it is the denoiser, with
    `final="mean"` the mean of the step, `x - (1 + lam^2) (x - D)`.

    Raises:
        ValueError: if `lam` is negative or NaN, or `final` is something else.
    """
    lam = not_negative(lam, "lam")
    if final not in ("denoise", "mean"):
        raise ValueError(f"`final` must be 'denoise' or 'mean', got {final!r}.")

    def step(x: Combination, at: Step) -> Combination:
        denoised = at.denoise(x, at.sigma)
        if at.last and final == "denoise":
            return denoised
        move = (1 + lam**2) * (at.sigma_next - at.sigma) / at.sigma
        mean = (1 + move) * x - move * denoised
        if at.last or is_zero(lam):
            return mean
        spread = lam * sqrt(2 * at.sigma * (at.sigma - at.sigma_next))
        at.forget()
        return mean + spread * at.noise(at.sigma, at.sigma_next)

    return step
