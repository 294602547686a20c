"""DEIS: the slope of the probability flow as a polynomial in another variable, integrated exactly.

The flow is `dx = eps dsigma`, `eps = (x - D) / sigma`, in the variance-exploding frame, where the
linear part of the paper's equation is gone and `rho` is sigma. The remaining choice is the variable
in which the outputs are extrapolated.
"""

import math
from collections.abc import Sequence

from edmjax._common.arguments import one_of, whole
from edmjax._common.typing import Scalar
from edmjax.planning.point import Combination
from edmjax.planning.step import Sampler, Step
from edmjax.samplers._interpolation import phi, weights_of
from edmjax.samplers._parts import to_denoised
from edmjax.samplers.adams import adams_weights, advance
from edmjax.scalar import flag, log

FEW_STEPS = 15  # on fewer steps the order is lowered at the end


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
        ValueError: if `order` or `kind` is something else.
    """
    order = whole(order, "order", most=3)
    lower_order_final = flag(lower_order_final, "lower_order_final")
    tab = one_of(kind, "kind", ["tab", "rho_ab"]) == "tab"
    weights_on = log_weights if tab else adams_weights

    @to_denoised
    def step(x: Combination, denoised: Combination, at: Step) -> Combination:
        used = order
        if lower_order_final and at.num_steps < FEW_STEPS:
            used = min(order, at.num_steps - at.index)
        past = [old.sigma for old in at.past[: used - 1]]
        return advance(x, denoised, at, weights_on(at.sigma, at.sigma_next, past))

    return step


def log_weights(sigma: Scalar, sigma_next: Scalar, past: Sequence[Scalar]) -> list[Scalar]:
    """The weights of the slopes at `sigma` and `past` that are exact for powers of log sigma.

    With `s = log(sigma' / sigma) / -h` on the step, h = log(sigma / sigma_next), the moments are

        int s^k dsigma' = -h sigma int_0^1 s^k e^(-h s) ds = -h sigma_next k! phi_(k+1)(h)
    """
    h = log(sigma / sigma_next)
    nodes = [0.0, *(log(sigma / old) / h for old in past)]
    moments = [math.factorial(k) * phi(k + 1, h) for k in range(len(nodes))]
    return [-h * sigma_next * w for w in weights_of(nodes, moments)]
