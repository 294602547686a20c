"""Samplers whose first step takes a Gaussian for the data, and no evaluation."""

from typing import Any

from edmjax._common.arguments import real
from edmjax._common.deprecation import now_keywords
from edmjax._common.typing import Scalar
from edmjax.planning.make import check_sampler
from edmjax.planning.point import Combination
from edmjax.planning.step import Evaluation, Sampler, Step
from edmjax.samplers._f_form import total_at


@now_keywords("sigma_data")
def analytic_first_step(inner: Sampler, *, sigma_data: Scalar = 0.5) -> Sampler:
    """`inner`, with the denoiser of N(0, sigma_data^2) in place of the first evaluation.

        D = sigma_data^2 / (sigma^2 + sigma_data^2) x,    F = 0

    At sigma_max the network's answer differs from this by about `sigma_data / sigma_max`. The guess
    stays in the history of a multistep `inner`. The grid may have one step more for the same number
    of evaluations; a grid of one step keeps its evaluation. `sigma_data` may be traced.

    Raises:
        TypeError: if `inner` is not a sampler.
        ValueError: if `sigma_data` is not positive.

    "AFS" of Dockhorn, Vahdat and Kreis (2022, GENIE), for data of any width.
    """
    check_sampler(inner, "inner")
    width = real(sigma_data, "sigma_data", above=0)

    def step(x: Combination, at: Step) -> Combination:
        if at.index or at.num_steps == 1:
            return inner(x, at)

        def guess(point: Combination, sigma: Scalar, *, raw: bool = False) -> Any:
            denoised = width * width / (sigma * sigma + width * width) * point
            return (denoised, denoised) if raw else denoised

        first, denoised = 1.0 * x, guess(x, at.sigma)
        x = inner(x, at._replace(denoise=guess))
        at.past.insert(0, Evaluation(at.sigma, first, denoised, denoised))
        return x

    return step


@now_keywords("sigma_data")
def teleport(inner: Sampler, *, sigma_data: Scalar = 0.5) -> Sampler:
    """`inner` from the second level on; the first step is the exact flow of N(0, sigma_data^2).

        x_next = sqrt((sigma_next^2 + sigma_data^2) / (sigma^2 + sigma_data^2)) x

    The first step takes no evaluation and leaves nothing in the history. The grid is the first
    level and then the grid of `inner`: `[80.0, *ej.schedules.karras(n, sigma_max=5.0)]` starts at
    80 and evaluates at 5 first. In the coordinates of `gaussian_split` it is the flow of a Gaussian
    of any mean and covariance. `sigma_data` may be traced.

    Raises:
        TypeError: if `inner` is not a sampler.
        ValueError: if `sigma_data` is not positive; by `make_plan`, if the grid is one step to 0.

    Wang and Vastola (2024), "The unreasonable effectiveness of Gaussian score approximation".
    """
    check_sampler(inner, "inner")
    width = real(sigma_data, "sigma_data", above=0)

    def step(x: Combination, at: Step) -> Combination:
        if at.index:
            return inner(x, at)
        if at.last:
            raise ValueError(
                "`teleport` evaluates nothing on the first step, and this grid has no other step: "
                "put the first level to evaluate at between the first level and 0."
            )
        return total_at(at.sigma_next, width) / total_at(at.sigma, width) * x

    return step
