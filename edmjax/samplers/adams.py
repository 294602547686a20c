"""Adams-Bashforth methods for the probability flow `dx/dsigma = eps`, `eps = (x - D) / sigma`.

Each step extrapolates the slope from past evaluations, so it costs one evaluation. A method of
order p starts with the orders 1, 2, ... while its history fills. The first step is Euler's and its
error remains, so the whole is of second order however smooth the problem. Nothing is singular at
sigma = 0 in this form, so the formula holds on the step to zero too.

This is the variance-exploding frame, where the linear part of the equation of DEIS is gone and its
`rho` is sigma, and where DDIM's step, of which PNDM makes its pseudo methods, is Euler's. On the
levels of a flow all but `deis(kind="tab")` step in the flow's time; see `flow_time`.
"""

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

from edmjax._common.arguments import one_of, real, whole
from edmjax._common.deprecation import renamed_words
from edmjax._common.typing import Scalar
from edmjax.planning.point import Combination
from edmjax.planning.step import Evaluation, Sampler, Step
from edmjax.processes.process import ProcessLike
from edmjax.samplers._parts import interpolated, phi, to_denoised, weights_of
from edmjax.samplers.flow_time import by_time_in_a_flow
from edmjax.scalar import flag, log, sqrt

# The weights of the slopes at `sigma` and at the levels `past`, from `(sigma, sigma_next, past)`.
Rule: TypeAlias = Callable[[Scalar, Scalar, Sequence[Scalar]], list[Scalar]]

FEW_STEPS = 15  # on fewer steps the order is lowered at the end
# The weights of equally spaced steps, newest first.
CONSTANT = (
    (1.0,),
    (3 / 2, -1 / 2),
    (23 / 12, -16 / 12, 5 / 12),
    (55 / 24, -59 / 24, 37 / 24, -9 / 24),
)


@renamed_words("final", multistep="method")
def lms(order: int = 4, final: str = "method") -> Sampler:
    """The linear multistep method of Katherine Crowson: Adams-Bashforth on the grid of sigma.

        x_next = x + sum_j w_j eps_j,    w_j = int_sigma^sigma_next prod_(i != j)
                                               (s - sigma_i) / (sigma_j - sigma_i) ds

    over the last `order` evaluations, with exact integrals. Order `order` from exact starting
    values and 2 from its own start (1 for `order=1`, which is `euler()`); one evaluation a step.
    Hairer, Norsett and Wanner (1993), Section III.5.

    Args:
        order: 1, 2, 3 or 4.
        final: the step to zero. "method": the same formula, as in k-diffusion's `sample_lms`;
            "denoise": the denoiser.

    Raises:
        TypeError: if `order` is not an integer.
        ValueError: if `order` is not 1, 2, 3 or 4, or `final` is something else.
    """
    return by_time_in_a_flow(_adams(order, final, adams_weights))


@renamed_words("final", multistep="method")
def ipndm(order: int = 4, final: str = "method") -> Sampler:
    """Adams-Bashforth with the weights of equal steps on whatever grid (improved PNDM, "iPNDM").

        x_next = x + (sigma_next - sigma) (55 eps_0 - 59 eps_1 + 37 eps_2 - 9 eps_3) / 24

    with the newest output first, and 3/2, -1/2 and 23/12, -16/12, 5/12 while the history fills.
    Second order for `order` above 1 on grids whose steps change smoothly, such as Karras's. First
    order where the steps alternate (1:2:1:2), whatever their number. One evaluation a step;
    `order=1` is `euler()`. Zhang and Chen (2023, DEIS), Appendix; the weights are from Liu et al.
    (2022, PNDM), eq. 12.

    Args:
        order: 1, 2, 3 or 4.
        final: the step to zero. "method": the same formula, as in diffusers' `IPNDMScheduler`;
            "denoise": the denoiser.

    Raises:
        TypeError: if `order` is not an integer.
        ValueError: if `order` is not 1, 2, 3 or 4, or `final` is something else.
    """
    return by_time_in_a_flow(_adams(order, final, equal_weights))


@renamed_words("final", multistep="method")
def ipndm_v(order: int = 4, final: str = "denoise") -> Sampler:
    """iPNDM with weights for the actual steps: `lms`, except that it ends with the denoiser.

    Order `order` from exact starting values and 2 from its own start (1 for `order=1`); one
    evaluation a step; the denoiser on the step to zero unless `final="method"`. Zhou et al. (2024,
    "Fast ODE-based sampling for diffusion models in around 5 steps"), whose formulas are `lms`
    written out for 2, 3 and 4 outputs.

    Raises:
        TypeError: if `order` is not an integer.
        ValueError: if `order` is not 1, 2, 3 or 4, or `final` is something else.
    """
    return lms(order, final)


def adams_weights(sigma: Scalar, sigma_next: Scalar, past: Sequence[Scalar]) -> list[Scalar]:
    """The weights of the slopes at `sigma` and at the levels of `past`, by exact integration."""
    h = sigma_next - sigma
    nodes = [0.0, *((old - sigma) / h for old in past)]
    return [h * w for w in weights_of(nodes, [1 / (k + 1) for k in range(len(nodes))])]


def equal_weights(sigma: Scalar, sigma_next: Scalar, past: Sequence[Scalar]) -> list[Scalar]:
    """The same for equal steps, whatever the steps are."""
    return [(sigma_next - sigma) * weight for weight in CONSTANT[len(past)]]


def slope(evaluation: Evaluation) -> Combination:
    """`eps = (x - D) / sigma`, the slope of the probability flow at an evaluation."""
    return (evaluation.x - evaluation.denoised) / evaluation.sigma


def _velocity(evaluation: Evaluation) -> Combination:
    """`v = alpha eps - s x0` of an evaluation, with `alpha = 1 / sqrt(1 + sigma^2)`."""
    sigma = evaluation.sigma
    return (slope(evaluation) - sigma * evaluation.denoised) / sqrt(1 + sigma**2)


def _slope_of_velocity(v: Combination, at: Evaluation) -> Combination:
    """`eps = alpha v + s x_process` for a `v` that is taken to belong to the point of `at`."""
    square = 1 + at.sigma**2
    return v / sqrt(square) + at.sigma / square * at.x


def advance(
    x: Combination, denoised: Combination, at: Step, weights: Sequence[Scalar]
) -> Combination:
    """`x + sum_j w_j eps_j` over this evaluation and the newest of `at.past`.

    The weights add up to `sigma_next - sigma`, so this is Euler's step and a correction of it, and
    without a past the step to zero is the denoiser itself:

        r x + (1 - r) D + sum_(j > 0) w_j (eps_j - eps_0),    r = sigma_next / sigma
    """
    # One weight of x and one of D: as `sigma_next - sigma` times a slope, the step to zero would
    # leave a rounding of x in the sample.
    kept = at.sigma_next / at.sigma
    corrections = []
    for w, old in zip(weights[1:], at.past, strict=False):
        kept = kept - w / at.sigma
        corrections.append(w / old.sigma * (old.x - old.denoised))
    return sum(corrections, interpolated(x, denoised, kept))


def _adams(order: int, final: str, rule: Rule, most: int = 4, lowered: bool = False) -> Sampler:
    order, final = whole(order, "order", most=most), one_of(final, "final", ["method", "denoise"])

    def step(x: Combination, at: Step) -> Combination:
        denoised = at.denoise(x, at.sigma)
        if at.last and final == "denoise":
            return denoised
        # Large steps overshoot where they extrapolate far from their outputs.
        few = lowered and at.num_steps < FEW_STEPS
        used = min(order, at.num_steps - at.index) if few else order
        past = [old.sigma for old in at.past[: used - 1]]
        return advance(x, denoised, at, rule(at.sigma, at.sigma_next, past))

    return step


def gradient_estimation(gamma: Scalar = 2.0) -> Sampler:
    """The sampler of Permenter and Yuan (2024), Algorithm 2, in the frame of sigma.

        d = (x - D(x, sigma)) / sigma
        x_next = x + (sigma_next - sigma) (gamma d + (1 - gamma) d_prev)

    First order, one evaluation a step; Euler on the first step, and the denoiser on the step to
    zero. `gamma = 1` is `euler()`. With `gamma = 3/2`, the weight of Adams and Bashforth, even
    steps in sigma are of second order; the paper's 2 is for few steps.

    Raises:
        ValueError: if `gamma` is infinite or NaN.
    """
    gamma = real(gamma, "gamma")

    @by_time_in_a_flow
    @to_denoised
    def step(x: Combination, denoised: Combination, at: Step) -> Combination:
        d = (x - denoised) / at.sigma
        if at.past:
            old = at.past[0]
            d = gamma * d + (1 - gamma) * (old.x - old.denoised) / old.sigma
        return x + (at.sigma_next - at.sigma) * d

    return step


def deis(order: int = 3, kind: str = "tab", lower_order_final: bool = True) -> Sampler:
    """The exponential integrator with multistep extrapolation of Zhang and Chen (2023, DEIS).

        x_next = x + sum_j w_j eps_j,    w_j = int_sigma^sigma_next l_j(s) ds

    with `l_j` the Lagrange polynomials over the last `order` evaluations: in the time `log sigma`
    for `kind="tab"` (tAB-DEIS, eq. 15, as diffusers' `DEISMultistepScheduler` has it), in sigma
    itself for `kind="rho_ab"` (rhoAB-DEIS, which in this frame is `lms`). Both with exact weights.

    Order `order` from exact starting values and 2 from its own start (1 for `order=1`, which is
    `euler()`); one evaluation a step; the denoiser on the step to zero.

    Args:
        order: 1, 2 or 3.
        kind: "tab" or "rho_ab".
        lower_order_final: on grids of fewer than 15 steps the last step is of order 1 and the one
            before it of at most order 2, as in diffusers: large steps overshoot where they
            extrapolate far from their outputs.

    Raises:
        TypeError: if `order` is not an integer.
        ValueError: if `order` or `kind` is something else.
    """
    tab = one_of(kind, "kind", ["tab", "rho_ab"]) == "tab"
    lowered = flag(lower_order_final, "lower_order_final")
    made = _adams(order, "denoise", log_weights if tab else adams_weights, 3, lowered)
    return made if tab else by_time_in_a_flow(made)


def log_weights(sigma: Scalar, sigma_next: Scalar, past: Sequence[Scalar]) -> list[Scalar]:
    """The weights of the slopes at `sigma` and `past` that are exact for powers of log sigma.

    With `s = log(sigma' / sigma) / -h` on the step, h = log(sigma / sigma_next), the moments are

        int s^k dsigma' = -h sigma int_0^1 s^k e^(-h s) ds = -h sigma_next k! phi_(k+1)(h)
    """
    h = log(sigma / sigma_next)
    nodes = [0.0, *(log(sigma / old) / h for old in past)]
    moments = [math.factorial(k) * phi(k + 1, h) for k in range(len(nodes))]
    return [-h * sigma_next * w for w in weights_of(nodes, moments)]


@renamed_words("final", multistep="method")
def pndm(
    runge_kutta: bool = True,
    process: ProcessLike | None = None,
    final: str = "method",
    average: str = "eps",
) -> Sampler:
    """PNDM (Liu et al. 2022, Algorithm 2 and eq. 12): a start, then Adams-Bashforth of order 4.

        x_next = x + (sigma_next - sigma) (55 eps_0 - 59 eps_1 + 37 eps_2 - 9 eps_3) / 24

    With `runge_kutta` the first three steps are Runge-Kutta steps of four evaluations (eq. 13):
    n steps take n + 9. Without (PLMS, as in Stable Diffusion) the first is an improved Euler step
    of two evaluations, and 3/2, -1/2 and 23/12, -16/12, 5/12 follow: n steps take n + 1. Weights of
    equal steps are of second order on grids whose steps change smoothly, and of first where they
    alternate (1:2:1:2). The step to zero is never a starting step.

    Args:
        runge_kutta: whether to start with Runge-Kutta steps.
        process: the process in whose time the middle of a Runge-Kutta step lies, such as the one
            that the network was trained on; without one, the middle is `sqrt(sigma sigma_next)`.
        final: the step to zero. "method": the multistep formula over the outputs that there are, as
            in diffusers' `PNDMScheduler`; "denoise": the denoiser.
        average: what the weights are for, "eps" or "v". With "v" it is v = alpha eps - s x0, of
            levels apart, and eps = alpha v + s x is formed afterwards, at the level of the step:
            what diffusers' `PNDMScheduler` does for `prediction_type="v_prediction"`. The two
            differ by 28 % at 10 steps.

    Raises:
        ValueError: if `final` or `average` is something else.
        TypeError: if `process` has no `time` and `sigma`.
    """
    final = one_of(final, "final", ["method", "denoise"])
    averages_v = one_of(average, "average", ["eps", "v"]) == "v"
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
        first = Evaluation(at.sigma, x, denoised, denoised)
        if at.last or len(past) == 3 or (past and not runge_kutta):
            if not averages_v:
                return advance(x, denoised, at, equal_weights(at.sigma, at.sigma_next, past))
            made = zip(CONSTANT[len(past)], [first, *at.past[:3]], strict=True)
            mean = sum((w * _velocity(old) for w, old in made), Combination({}))
            return x + h * _slope_of_velocity(mean, first)

        def eps(point: Combination, sigma: Scalar) -> Combination:
            # The call makes `point` a basis vector, and the difference is formed after it.
            denoised = at.denoise(point, sigma)
            made = Evaluation(sigma, point, denoised, denoised)
            return _slope_of_velocity(_velocity(made), first) if averages_v else slope(made)

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

    # The middle is in the time of `process` where there is one, and the formulas of v are in sigma.
    return step if process is not None or averages_v else by_time_in_a_flow(step)
