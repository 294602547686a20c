"""DDIM and DDPM, whose discrete time is a grid of levels: see `edmjax.processes.ddpm`.

In the frame of sigma their step is

    x_next = D + sigma_down (x - D) / sigma + sigma_up noise

where `(x - D) / sigma` is the predicted noise, and `sigma_up` the standard deviation that the
papers write for points of the variance-preserving process, divided by its scale at the next level.
"""

from edmjax._common.arguments import one_of
from edmjax._common.typing import Scalar
from edmjax.planning.point import Combination
from edmjax.planning.step import Sampler, Step
from edmjax.samplers._parts import interpolated, to_denoised
from edmjax.samplers.runge_kutta import euler
from edmjax.samplers.wrappers import ancestral
from edmjax.scalar import flag, log, not_negative, sqrt


def ddim(
    eta: Scalar = 0.0, *, use_clipped_model_output: bool = True, s_noise: Scalar = 1.0
) -> Sampler:
    """DDIM (Song et al. 2021, eq. 12 and 16).

        sigma_up = eta sigma_next sqrt(1 - sigma_next^2 / sigma^2)
        sigma_down = sqrt(sigma_next^2 - sigma_up^2)

    Equals `ancestral(euler(), eta)`: `euler()` for eta = 0 and `ddpm()` for eta = 1. First order,
    one evaluation a step, one draw a step but the last, none for eta = 0.

    Args:
        eta: the strength of the noise, in [0, 1]; may be traced.
        use_clipped_model_output: whether the noise is predicted from the clipped output,
            `(x - x0) / sigma`, or, if False, from the output before clipping, `(x - raw) / sigma`
            (the default of diffusers). The two differ for a denoiser that returns "raw", such as
            `ej.guidance.clip(denoise)`.
        s_noise: the factor on the noise, at least 0; may be traced.

    Raises:
        ValueError: if `eta` is outside [0, 1], or `s_noise` is negative or NaN.
    """
    clipped = flag(use_clipped_model_output, "use_clipped_model_output")
    return ancestral(euler() if clipped else euler_cfg_pp(), eta, s_noise)


def euler_cfg_pp() -> Sampler:
    """DDIM that adds the noise of the raw output back to the denoised one.

        x_next = x0 + sigma_next (x - raw) / sigma

    With `ej.guidance.cfg_pp` x0 is guided and raw is unconditional: CFG++. With `ej.guidance.clip`
    or `dynamic_threshold` x0 is thresholded and raw is not: DDIM with a clipped x0 and the
    unclipped eps. With a denoiser of one output it is `euler()`. One evaluation a step; x0 itself
    on the step to zero. `ancestral(euler_cfg_pp(), eta)` adds DDIM's noise.

    First order with a denoiser of one output. CFG++ solves no fixed equation: its step is the one
    of `euler()` guided by `lambda / (1 - sigma_next / sigma)`, so a given lambda guides more
    strongly the more steps there are.

    Chung et al. (2024, CFG++), Algorithm 2, in the frame of sigma.
    """

    def step(x: Combination, at: Step) -> Combination:
        x0, raw = at.denoise(x, at.sigma, raw=True)
        return x0 + at.sigma_next / at.sigma * (x - raw)

    return step


def ddpm(variance: str = "fixed_small", *, s_noise: Scalar = 1.0) -> Sampler:
    """DDPM's ancestral sampler (Ho et al. 2020, eq. 6, 7 and Algorithm 2).

        x_next = r^2 x + (1 - r^2) D + sigma_up noise,    r = sigma_next / sigma

    The mean is the posterior's. The variance, for points of the variance-preserving process, is

    - "fixed_small": the posterior's, `sigma_up = sigma_next sqrt(1 - r^2)`; `ddim(eta=1)`.
    - "fixed_large": `beta = 1 - abar / abar_next` of the step, which is
      `sigma_up^2 = (sigma^2 - sigma_next^2) (1 + sigma_next^2) / (1 + sigma^2)`; the sampler that
      DDIM's paper writes with the larger variance (its section 5). diffusers adds it in the step to
      the data too where that does not start at timestep 0, as on trailing timesteps; no noise here.
    - "learned_range": between the two, geometrically, as the network says (Nichol and Dhariwal
      2021, eq. 15): the denoiser returns "log_var", from -1 for the small variance to 1 for the
      large.

    First order (weakly), one evaluation a step, one draw a step but the last. The paper's sampler
    of 2020 clips D to the range of the data: `ej.guidance.clip(denoise)`.

    Args:
        variance: "fixed_small", "fixed_large" or "learned_range".
        s_noise: the factor on the noise, at least 0; may be traced.

    Raises:
        ValueError: if `variance` is something else, or `s_noise` is negative or NaN.
    """
    if variance == "learned":
        raise ValueError(
            "A variance that the network predicts without bounds, 'learned', is not here: train it "
            "between the two bounds, 'learned_range', or take 'fixed_small' or 'fixed_large'."
        )
    variance = one_of(variance, "variance", ["fixed_small", "fixed_large", "learned_range"])
    if variance == "fixed_small":
        return ddim(1.0, s_noise=s_noise)
    s_noise = not_negative(s_noise, "s_noise")

    @to_denoised
    def step(x: Combination, denoised: Combination, at: Step) -> Combination:
        r = at.sigma_next / at.sigma
        mean = interpolated(x, denoised, r**2)
        # (sigma^2 - sigma_next^2) (1 + sigma_next^2) / (1 + sigma^2), safe for large sigma.
        large = sqrt((1 - r**2) / (1 + 1 / at.sigma**2) * (1 + at.sigma_next**2))
        at.forget()
        if variance == "fixed_large":
            return mean + s_noise * large * at.noise(at.sigma, at.sigma_next)
        small = at.sigma_next * sqrt(1 - r**2)
        learned = at.noise(at.sigma, at.sigma_next, log_var=log(large / small) / 2)
        return mean + s_noise * sqrt(small * large) * learned

    return step
