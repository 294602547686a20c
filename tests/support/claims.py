"""What `certificates` claims, measured: each claim is a finding that holds or does not."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import edmjax as ej
from support import orders
from support.cases import MIXTURE, Mixture, alternating
from support.certificates import CERTIFICATES, Certificate, build
from support.laws import same, weak_order

WEAK_WITHIN = 0.15
NINETY_NINTH = 5e-5  # of the differences between float32 and float64, in units of sigma_data


@dataclasses.dataclass(frozen=True)
class Finding:
    """One claim of one sampler: its kind, what was claimed, what was measured, whether it holds."""

    kind: str
    claimed: str
    measured: str
    holds: bool


def findings(entry: Certificate, make: Callable | None = None) -> Iterator[Finding]:
    """The claims of an entry, the cheapest first; with `make`, of another sampler in its place."""
    make = make or entry.make
    sampler = make()
    yield from _evaluations(entry, sampler)
    yield from _zero(entry, sampler)
    for parity in entry.parity:
        error = parity.error(sampler)
        holds = error <= parity.tolerance  # not where it is NaN
        yield Finding("parity", parity.against, f"{error:.0e}", holds)
    for other in entry.equals:
        code = CERTIFICATES[other].code if other in CERTIFICATES else other
        holds = same(sampler, build(code))
        yield Finding("equals", other, "equal" if holds else "different", holds)
    yield from _in_few_digits(entry, sampler)
    if entry.order is not None:
        measured = orders.as_shipped(sampler, entry.steps)
        holds = orders.as_claimed(measured, entry.order, entry.highest)
        yield Finding("order", str(entry.order), _pair(measured), holds)
        yield uneven(entry, sampler)
    if entry.formal is not None:
        order, history = entry.formal
        measured = orders.formal(sampler, history, entry.steps)
        yield Finding(
            "formal", str(order), _pair(measured), orders.as_claimed(measured, order, entry.highest)
        )
    if entry.weak is not None:
        measured = weak_order(lambda n: sampler, entry.weak_steps)
        holds = abs(measured - entry.weak) < WEAK_WITHIN
        yield Finding("weak", str(entry.weak), f"{measured:.2f}", bool(holds))


def differences(sampler, n: int, num_samples: int = 1024):
    """How far each sample of n steps from 80 to zero is from itself in float64, in sigma_data.

    A pair: in float32, and, of a quarter of them, with points of bfloat16. The weights are formed
    in float64; they, the points, the draws and the denoiser are in float32.
    """
    plan, rng = ej.make_plan(sampler, ej.schedules.karras(n)), np.random.default_rng(0)
    # Numbers of float32, and of bfloat16, so that all start from the same ones.
    x = (80.0 * rng.standard_normal((num_samples, 2))).astype(np.float32)
    noise = rng.standard_normal((plan.num_draws, *x.shape), np.float32)
    some = slice(num_samples // 4)
    x = np.concatenate([x, x[some].astype(jnp.bfloat16).astype(np.float32)])
    noise = np.concatenate([noise, noise[:, some]], axis=1)
    tables = ("y", "d", "z", "sigmas") if plan.r is None else ("y", "d", "z", "sigmas", "r")
    narrow = dataclasses.replace(plan, **{name: np.float32(getattr(plan, name)) for name in tables})
    exact = orders.run(Mixture(**MIXTURE).denoise, plan, x.astype(float), noise.astype(float))
    one, other = slice(num_samples), slice(num_samples, None)
    single = orders.run(Mixture(**MIXTURE, dtype=np.float32).denoise, narrow, x[one], noise[:, one])
    half = orders.run(in_bfloat16, narrow, x[other], noise[:, other])
    assert single.dtype == half.dtype == np.float32
    gaps = single - exact[one], half.astype(jnp.bfloat16).astype(float) - exact[other]
    return [np.sqrt(np.mean(gap**2, axis=1)) / SIGMA_DATA for gap in gaps]


def in_bfloat16(x, sigma):
    """The mixture's denoiser as that of a network: `edm(network)` at a point held in float32."""
    total = np.hypot(np.float32(1), sigma)
    c_skip, c_out, c_in = 1 / total**2, sigma / total, 1 / total
    out = network((c_in * x).astype(jnp.bfloat16), sigma)
    return c_skip * x + c_out * out.astype(np.float32)


def network(x, sigma):
    """`F(c_in x)` of the mixture, EDM's network for `sigma_data` 1, rounded to the dtype of `x`."""
    total, wide = np.hypot(np.float32(1), sigma), x.astype(np.float32)
    denoised = Mixture(**MIXTURE, dtype=np.float32).denoise(total * wide, sigma)
    return ((total * denoised - wide) / sigma).astype(x.dtype)


def _sigma_data() -> float:
    weights, means = np.array(MIXTURE["weights"])[:, None], np.array(MIXTURE["means"])
    within = weights[:, 0] @ np.array(MIXTURE["covs"])
    between = weights * (means - (weights * means).sum(axis=0)) ** 2
    return float(np.sqrt(within + between.sum() / 2))


SIGMA_DATA = _sigma_data()


def _in_few_digits(entry: Certificate, sampler) -> Iterator[Finding]:
    """The median and the 99th percentile, of 10 and of 100 steps the worse."""
    quantiles = [
        [np.quantile(found, (0.5, 0.99)) for found in differences(sampler, n)] for n in (10, 100)
    ]
    single, half = np.max(quantiles, axis=0)
    holds = bool(single[0] < entry.float32 and single[1] < NINETY_NINTH)
    yield Finding("float32", f"{entry.float32:.0e}", "{:.1e}, {:.1e}".format(*single), holds)
    holds = bool(half[0] < entry.bfloat16)
    yield Finding("bfloat16", f"{entry.bfloat16:.0e}", "{:.1e}, {:.1e}".format(*half), holds)


def uneven(entry: Certificate, sampler: Any = None) -> Finding:
    """The order where steps alternate, of a multistep method from exact starting values."""
    sampler = sampler or entry.make()
    steps = entry.steps[1:]
    if entry.formal is None:
        measured = orders.as_shipped(sampler, steps, alternating)
    else:
        measured = orders.formal(sampler, entry.formal[1], steps, alternating)
    holds = orders.as_claimed(measured, entry.uneven_order, entry.highest)
    return Finding("uneven", str(entry.uneven_order), _pair(measured), holds)


def _pair(slopes) -> str:
    return ", ".join(f"{slope:.2f}" for slope in slopes)


def _evaluations(entry: Certificate, sampler) -> Iterator[Finding]:
    """Counted while the plan runs, down to zero."""
    for n in (2, 5, 12):
        levels = []

        def denoise(x, sigma, levels=levels):
            levels.append(sigma)
            return 0.5 * x

        plan = ej.make_plan(sampler, ej.schedules.karras(n))
        orders.run(denoise, plan, np.ones((1, 1)), np.zeros((plan.num_draws, 1, 1)))
        want = entry.evaluations(n)
        holds = len(levels) == want == plan.nfe and min(levels) > 0
        yield Finding("evaluations", f"{entry.nfe} = {want} for n = {n}", str(len(levels)), holds)


def _zero(entry: Certificate, sampler) -> Iterator[Finding]:
    """Whether the last row is `1 * D` and nothing else, exactly."""
    exact = []
    for grid in ([2.0, 1.0, 0.0], ej.schedules.karras(5), ej.schedules.karras(12)):
        plan = ej.make_plan(sampler, grid)
        only = np.eye(plan.d.shape[1])[0]
        exact.append(
            not plan.y[-1].any()
            and not plan.z[-1].any()
            and np.array_equal(plan.d[-1], only)
            and (plan.r is None or not plan.r[-1].any())
        )
        if not (np.isfinite(plan.y).all() and np.isfinite(plan.d).all()):
            yield Finding("zero", "finite", "not finite", False)
    measured = "denoiser" if all(exact) else "own" if not any(exact) else "either"
    yield Finding("zero", entry.zero, measured, measured == entry.zero)


# Of the entries, one of each kind of plan: these also run through the package's own loop.
THROUGH_THE_LOOP = ("euler", "heun", "dpmpp_2m", "unipc", "ddpm", "two_draws")


def loop_findings(entry: Certificate) -> Iterator[Finding]:
    """Whether `ej.sample` makes of a plan what its rows say: other claims are of the rows.

    In float64, and with points of bfloat16 around a network that is shown points of bfloat16.
    """
    problem, grid = ej.problems.Mixture(**MIXTURE), ej.schedules.karras(9)
    plan, x = ej.make_plan(entry.make(), grid), orders.start(80.0)
    noise = np.random.default_rng(5).normal(size=(plan.num_draws, *x.shape))
    with jax.enable_x64(True):
        got = np.asarray(ej.sample(problem, plan, x, noise=noise))
    expected = orders.run(Mixture(**MIXTURE).denoise, plan, x, noise)
    error = np.max(np.abs(got - expected)) / np.max(np.abs(expected))
    yield Finding("loop", "ej.sample", f"{error:.0e}", bool(error < 1e-12))

    def net(x, c_noise):
        sigma, wide = jnp.exp(4 * c_noise), x.astype(jnp.float32)
        total = jnp.hypot(1, sigma)
        return ((total * problem.denoise(total * wide, sigma) - wide) / sigma).astype(x.dtype)

    narrow = x.astype(jnp.bfloat16)
    drawn = noise.astype(jnp.bfloat16)
    got = ej.sample(ej.denoisers.edm(net, 1.0), plan, narrow, noise=drawn).astype(np.float32)
    expected = orders.run(in_bfloat16, plan, narrow.astype(np.float32), drawn.astype(np.float32))
    # Single entries differ by more, where a rounding of float32 decides for another neighbour.
    error = np.median(np.abs(got - expected)) / SIGMA_DATA
    holds = bool(error < jnp.finfo(jnp.bfloat16).eps)
    yield Finding("loop in bfloat16", "ej.sample", f"{error:.0e}", holds)
