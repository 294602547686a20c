"""DPM-Solver-12 and -23: two orders from the same evaluations, and a controller of the step.

Time is `t = -log sigma`, rising; `eps = (x - denoised) / sigma`. A step of length `h` from `t`
evaluates at `t`, `t + h / 3` and `t + 2 h / 3` (order 3) or at `t` and `t + h / 2` (order 2).
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from edmjax._common.arguments import real, whole
from edmjax._common.arrays import has_no_value, weighted
from edmjax._common.manual import vary_like
from edmjax._common.typing import Int, PyTree, Scalar
from edmjax.adaptive.task import Method, Task, select, tolerances
from edmjax.scalar import flag

_CLOSE = 1e-5  # a step as short as this, in log sigma, is not taken


class State(NamedTuple):
    """Between steps; all but `x` and `low` of shape (batch,)."""

    t: Any
    x: PyTree
    low: Any  # the last accepted result of the lower order: the scale of rtol
    step: Any
    inverses: Any  # (2, batch): 1 / error of the last accepted steps, newest first
    nfe: Any
    accepted: Any
    rejected: Any
    done: Any

    @property
    def sigma(self) -> Any:
        return jnp.exp(-self.t)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class DPMAdaptive(Method):
    """What `dpm_adaptive` returns."""

    rtol: Any
    atol: Any
    h_init: Any
    pcoeff: Any
    icoeff: Any
    dcoeff: Any
    accept_safety: Any
    eta: Any
    s_noise: Any
    order: int = dataclasses.field(metadata={"static": True})
    per_sample: bool = dataclasses.field(metadata={"static": True})
    draws: bool = dataclasses.field(metadata={"static": True})

    def start(self, task: Task) -> State:
        batch, dtype = task.sigma_max.shape, task.sigma_max.dtype
        counts = jnp.zeros(batch, jnp.int32)
        return State(
            t=-jnp.log(task.sigma_max),
            x=task.x,
            low=task.x,
            step=jnp.broadcast_to(jnp.asarray(self.h_init, dtype), batch),
            inverses=jnp.zeros((2, *batch), dtype),
            nfe=counts,
            accepted=counts,
            rejected=counts,
            done=jnp.zeros(batch, bool),
        )

    def attempt(self, task: Task, at: State) -> State:
        active, end = ~at.done, -jnp.log(task.sigma_min)
        t_next = jnp.where(active, jnp.minimum(end, at.t + at.step), at.t)
        t_down, spread = self._split(at.t, t_next, end)
        # A length of 1 keeps the quotients finite where a sample is done.
        h = jnp.where(active & (t_down > at.t), t_down - at.t, 1.0)
        low, high = self._solve(task, at.x, at.t, h)

        def excess(a, b, last):
            scale = jnp.maximum(self.atol, self.rtol * jnp.maximum(jnp.abs(a), jnp.abs(last)))
            return (a - b) / scale.astype(a.dtype)

        error = lax.stop_gradient(task.norm(jax.tree.map(excess, low, high, at.low)))
        inverse, (newer, older) = 1 / (error + 1e-8), at.inverses
        first = at.nfe == 0
        newer, older = jnp.where(first, inverse, newer), jnp.where(first, inverse, older)
        p, i, d = self.pcoeff, self.icoeff, self.dcoeff
        order = 1.5 if self.draws else self.order
        factor = inverse ** ((p + i + d) / order) * newer ** (-(p + 2 * d) / order)
        factor = factor * older ** (d / order)
        # NaN, from a denoiser that diverges, is as bad an error as an infinite one.
        factor = 1 + jnp.arctan(jnp.where(jnp.isfinite(error), factor, 0.0) - 1)
        good = factor >= self.accept_safety
        if self.draws:
            high = weighted((1.0, high), (spread * self.s_noise, task.draw(at.accepted)))
        moved = active & good
        t = jnp.where(moved, t_next, at.t)
        return State(
            t=t,
            x=select(moved, high, at.x),
            low=select(moved, low, at.low),
            step=jnp.where(active, at.step * factor, at.step),
            inverses=jnp.where(moved, jnp.stack([inverse, newer]), jnp.stack([newer, older])),
            nfe=at.nfe + self.order * active,
            accepted=at.accepted + moved,
            rejected=at.rejected + (active & ~good),
            done=at.done | (t >= end - _CLOSE),
        )

    def end(self, task: Task, at: State) -> Any:
        return at.x

    def _split(self, t: Any, t_next: Any, end: Any) -> tuple[Any, Any]:
        """Where the deterministic part of a step ends, and the spread of the noise after it."""
        if not self.draws:
            return t_next, None
        sigma, target = jnp.exp(-t), jnp.exp(-t_next)
        up = self.eta * target * jnp.sqrt(jnp.maximum(1 - (target / sigma) ** 2, 0))
        down = jnp.maximum(target**2 - jnp.minimum(up, target) ** 2, jnp.exp(-2 * end))
        t_down = -jnp.log(down) / 2
        spread = jnp.sqrt(jnp.maximum(target**2 - jnp.exp(-2 * t_down), 0))
        return t_down, spread

    def _solve(self, task: Task, x: PyTree, t: Any, h: Any) -> tuple[Any, Any]:
        """The results of the lower and the higher order at `t + h`."""
        table = _coefficients(self.order, t, h)
        stages, results = table[: self.order], table[self.order :]

        def mix(weights, known):
            outputs = (jax.tree.map(lambda v, j=j: v[j], known) for j in range(self.order))
            return weighted((1.0, x), *zip(weights, outputs, strict=True))

        def stage(known, slices):
            weights, level, index = slices
            point = mix(weights, known)
            denoised = task.denoise(point, level)
            eps = weighted((1 / level, point), (-1 / level, denoised))
            known = jax.tree.map(
                lambda row, new: lax.dynamic_update_index_in_dim(row, new, index, 0), known, eps
            )
            return known, None

        empty = jax.tree.map(lambda v: jnp.zeros((self.order, *v.shape), v.dtype), x)
        empty = vary_like(empty, x)
        levels = jnp.exp(-(t + jnp.arange(self.order)[:, None].astype(t.dtype) / self.order * h))
        known = lax.scan(stage, empty, (stages, levels, jnp.arange(self.order)))[0]
        return mix(results[0], known), mix(results[1], known)


def _coefficients(order: int, t: Any, h: Any) -> Any:
    """The weights of `eps` in each stage, then in both results: (order + 2, order, batch).

    DPM-Solver-1, 2 and 3 of Lu et al. (2022), algorithms 1 and 2 (and equation 3.7), for the
    variance-exploding frame, where alpha is 1 and lambda is t.
    """
    zero = jnp.zeros_like(h)

    def growth(part):  # sigma at t + part, and e^part - 1
        return jnp.exp(-(t + part)), jnp.expm1(part)

    level, whole = growth(h)
    if order == 2:
        middle, half = growth(h / 2)
        rows = [
            (zero, zero),
            (-middle * half, zero),
            (-level * whole, zero),
            (zero, -level * whole),
        ]
    else:
        (one, first), (two, second) = growth(h / 3), growth(2 * h / 3)
        inner = 2 * (second / (2 * h / 3) - 1)
        outer = 1.5 * (whole / h - 1)
        rows = [
            (zero, zero, zero),
            (-one * first, zero, zero),
            (-two * (second - inner), -two * inner, zero),
            (level * whole / 2, -1.5 * level * whole, zero),
            (-level * (whole - outer), zero, -level * outer),
        ]
    return jnp.stack([jnp.stack(row) for row in rows])


def dpm_adaptive(
    order: Int = 3,
    rtol: Scalar = 0.05,
    atol: Scalar = 0.0078,
    *,
    h_init: Scalar = 0.05,
    pcoeff: Scalar = 0.0,
    icoeff: Scalar = 1.0,
    dcoeff: Scalar = 0.0,
    accept_safety: Scalar = 0.81,
    eta: Scalar = 0.0,
    s_noise: Scalar = 1.0,
    per_sample: bool = True,
) -> Method:
    """DPM-Solver-12 (`order=2`) or -23 (`order=3`) with a PID controller of the step.

    `order` evaluations a step give the results `low` and `high` of two orders. The error is the RMS
    over a sample's entries of

        (low - high) / max(atol, rtol |low|, rtol |last accepted low|).

    The controller multiplies the length of the next step by `1 + arctan(f - 1)`, with `f` a product
    of powers of inverse errors: `(pcoeff + icoeff + dcoeff) / order` of this step's,
    `-(pcoeff + 2 dcoeff) / order` and `dcoeff / order` of the last two accepted ones. Where `eta`
    is above 0, 1.5 stands for the order. A step is accepted, with `high` as its result, where that
    factor is at least `accept_safety`.

    Args:
        order: 2 or 3.
        rtol, atol: the tolerances of a step, not both 0.
        h_init: the length of the first step, in log sigma.
        pcoeff, icoeff, dcoeff, accept_safety: of the controller.
        eta: strength of noise: each step ends in fresh noise, `eta` times as much as an ancestral
            step adds; 0 draws zero.
        s_noise: a factor on that noise.
        per_sample: whether each sample has its own steps. False: one error for the whole batch, as
            in k-diffusion, so that a sample depends on the samples beside it.

    Raises:
        TypeError: an option that is not a number, a `per_sample` that is not True or False.
        ValueError: an order other than 2 and 3, an option below 0.

    Source: Lu et al. (2022), "DPM-Solver", appendix C (Algorithm 3). The controller and `eta` are
    k-diffusion's (`sample_dpm_adaptive`); samples and counts agree with it.
    """
    order = whole(order, "order", least=2, most=3)
    rtol, atol = tolerances(rtol, atol)
    eta = real(eta, "eta", least=0)
    numbers = {"pcoeff": pcoeff, "icoeff": icoeff, "dcoeff": dcoeff, "s_noise": s_noise}
    numbers["accept_safety"] = accept_safety
    return DPMAdaptive(
        rtol=rtol,
        atol=atol,
        h_init=real(h_init, "h_init", above=0),
        eta=eta,
        **{name: real(value, name, least=0) for name, value in numbers.items()},
        order=order,
        per_sample=flag(per_sample, "per_sample"),
        draws=has_no_value(eta) or bool(eta > 0),
    )
