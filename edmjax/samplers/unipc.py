"""UniPC: a multistep predictor and a corrector that costs no evaluation of its own.

With `h = log(sigma / sigma_next)` the flow is solved by

    x_next = r x + (1 - r) D - sum_j w_j (D_j - D),    r = sigma_next / sigma,    predict="x0"
    x_next = x + (sigma_next - sigma) eps - sigma_next sum_j w_j (eps_j - eps),   predict="eps"

with weights `w_j` that are exact for outputs that are low powers of log sigma. In the code they are
functions of `z`, which is -h in the first formula and h in the second. The predictor uses outputs
up to the start of the step. The corrector also uses the output at its end: the next step needs that
output anyway, and starts from the corrected point.
"""

import math
from collections.abc import Collection, Sequence

from edmjax._common.arguments import one_of, whole
from edmjax._common.typing import Scalar
from edmjax.planning.point import Combination
from edmjax.planning.step import Sampler, Step
from edmjax.samplers._parts import added, outputs_so_far, phi, to_denoised, weights_of
from edmjax.samplers.adams import slope
from edmjax.scalar import expm1, flag, log


def unipc(
    order: int = 3,
    variant: str = "bh2",
    lower_order_final: bool = True,
    predict: str = "x0",
    disable_corrector: Collection[int] = (),
) -> Sampler:
    """UniPC, the unified predictor-corrector (Zhao et al. 2023, Algorithms 1 and 2).

        x_c    = x + (what the corrector of the last step adds, now that D(x) is known)
        x_next = the predictor's step of order `order` from x_c

    The network is evaluated at the predicted `x` alone: x_c enters as an increment on it.

    From exact starting values `order=p` converges with order p + 1, or p without the corrector.
    From its own start it is 2 for p = 1 and 3 for higher p, because the first step is a corrected
    step of order 1. With `lower_order_final` it is 2, because the last step is not corrected. One
    evaluation per step. The step to zero returns the denoised output, for every order and variant.
    `order=1` with every step in `disable_corrector` is `euler()`.

    Args:
        order: 1, 2 or 3, the order of the predictor. The corrector raises it by one.
        variant: "bh1" takes B(z) = z and "bh2" B(z) = e^z - 1. The variants differ where the paper
            fixes a weight at B / 2: in the corrector of a step of order 1 and in the predictor of
            order 2. All other weights are the same.
        lower_order_final: the last step has order 1, the one before it at most 2.
        predict: what is extrapolated, "x0" (the denoised outputs) or "eps" (the slopes).
        disable_corrector: the numbers, from 0, of the steps whose result is not corrected.

    Raises:
        TypeError: if `order` is not an integer.
        ValueError: if `order`, `variant` or `predict` is not one of these values, or
            `disable_corrector` holds anything but numbers of steps.
    """
    order = whole(order, "order", most=3)
    lower_order_final = flag(lower_order_final, "lower_order_final")
    variant = one_of(variant, "variant", ["bh1", "bh2"])
    predict = one_of(predict, "predict", ["x0", "eps"])
    uncorrected = _step_numbers(disable_corrector)

    @to_denoised
    def step(x: Combination, denoised: Combination, at: Step) -> Combination:
        made, levels = outputs_so_far(x, denoised, at, order)
        # What is added to x by the corrector goes through the step of x.
        kept = at.sigma_next / at.sigma if predict == "x0" else 1.0
        used = at.memory.get("unipc", 0)  # the order of the step that led here
        corrected: list[Scalar] = []
        if used and at.index - 1 not in uncorrected:
            corrected = [kept * w for w in correction(levels[: used + 1], predict, variant)]
        used = min(order, len(at.past) + 1)
        if lower_order_final:
            used = min(used, at.num_steps - at.index)
        at.memory["unipc"] = used
        total = added(
            len(made), corrected, prediction(levels[:used], at.sigma_next, predict, variant)
        )
        outputs = (old.denoised if predict == "x0" else slope(old) for old in made)
        return sum((w * out for w, out in zip(total, outputs, strict=True)), kept * x)

    return step


def prediction(
    levels: Sequence[Scalar], sigma_next: Scalar, predict: str, variant: str
) -> list[Scalar]:
    """The weights of the outputs at `levels`, newest first, in the predictor's step."""
    z, scale, nodes = _frame(levels, sigma_next, predict)
    first = 1 - sigma_next / levels[0] if predict == "x0" else sigma_next - levels[0]
    weights = [scale * w for w in predictor_weights(z, nodes, variant)]
    return [first + sum(weights), *(-w for w in weights)]


def correction(levels: Sequence[Scalar], predict: str, variant: str) -> list[Scalar]:
    """The weights of the outputs at `levels`, newest first, in what the corrector adds.

    The step led from `levels[1]` to `levels[0]`, where the output is now known. What is added is
    the corrector's step minus the predictor's.
    """
    z, scale, nodes = _frame(levels[1:], levels[0], predict)
    *after, end = corrector_weights(z, nodes, variant)
    before = predictor_weights(z, nodes, variant)
    weights = [scale * (a - b) for a, b in zip(after, before, strict=True)]
    return [-scale * end, scale * end + sum(weights), *(-w for w in weights)]


def _frame(
    levels: Sequence[Scalar], sigma_next: Scalar, predict: str
) -> tuple[Scalar, Scalar, list[Scalar]]:
    """`z`, the factor on the weights, and the nodes `(lambda_j - lambda) / h` before the step."""
    h = log(levels[0] / sigma_next)
    nodes = [log(levels[0] / level) / h for level in levels[1:]]
    return (-h, 1.0, nodes) if predict == "x0" else (h, sigma_next, nodes)


def predictor_weights(z: Scalar, nodes: Sequence[Scalar], variant: str) -> list[Scalar]:
    """The `w_j` of the outputs at `nodes`, all before the step."""
    return [_half(z, variant) / nodes[0]] if len(nodes) == 1 else _exact(z, nodes)


def corrector_weights(z: Scalar, nodes: Sequence[Scalar], variant: str) -> list[Scalar]:
    """The same with the output at the end of the step, whose node is 1, as the last."""
    return _exact(z, [*nodes, 1.0]) if nodes else [_half(z, variant)]


def _half(z: Scalar, variant: str) -> Scalar:
    """`B(z) / 2`, which the paper uses in place of the exact weight of a single node."""
    return (z if variant == "bh1" else expm1(z)) / 2


def _exact(z: Scalar, nodes: Sequence[Scalar]) -> list[Scalar]:
    """Zhao et al. (2023), Theorem 3.1: the conditions up to the order hold, and B(h) cancels."""
    moments = [z * math.factorial(k) * phi(k + 1, z) for k in range(1, len(nodes) + 1)]
    return [w / node for w, node in zip(weights_of(nodes, moments), nodes, strict=True)]


def _step_numbers(numbers: Collection[int]) -> frozenset[int]:
    try:
        kept = frozenset(int(number) for number in numbers)
        right = all(number == int(number) >= 0 for number in numbers)
    except (TypeError, ValueError):
        right = False
    if not right:
        raise ValueError(
            f"`disable_corrector` must hold the numbers of steps, from 0, got {numbers!r}."
        )
    return kept
