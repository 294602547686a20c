"""The predictors of Song et al.; their updates and orders are also in `certificates.predictors`."""

import itertools

import jax
import numpy as np
import pytest
from scipy.integrate import quad
from support.cases import MIXTURE, Mixture
from support.helpers import later
from support.laws import check_slopes, finite_slopes, same, weak_order
from support.orders import run

import edmjax as ej
from edmjax import samplers as s

# f and g^2 as the papers write them, and the marginal's scale and level.
BETA = {"beta": lambda t: 0.1 + 19.9 * t, "total": lambda t: 0.1 * t + 19.9 * t**2 / 2}
PAPERS = {
    "vp": (
        ej.processes.vp,
        lambda t: -BETA["beta"](t) / 2,
        lambda t: BETA["beta"](t),
        lambda t: np.exp(-BETA["total"](t) / 2),
        lambda t: np.sqrt(np.expm1(BETA["total"](t))),
    ),
    "sub_vp": (
        ej.processes.sub_vp,
        lambda t: -BETA["beta"](t) / 2,
        lambda t: BETA["beta"](t) * -np.expm1(-2 * BETA["total"](t)),
        lambda t: np.exp(-BETA["total"](t) / 2),
        lambda t: 2 * np.sinh(BETA["total"](t) / 2),
    ),
    "ve": (
        lambda: ej.processes.ve(0.01, 50.0),
        lambda t: 0.0,
        lambda t: (0.01 * 5000.0**t) ** 2 * 2 * np.log(5000.0),
        lambda t: 1.0,
        lambda t: 0.01 * 5000.0**t,
    ),
    "song_ve": (
        ej.processes.song_ve,
        lambda t: 0.0,
        lambda t: 25.0 ** (2 * t),
        lambda t: 1.0,
        lambda t: np.sqrt((25.0 ** (2 * t) - 1) / (2 * np.log(25.0))),
    ),
    "flow": (
        ej.processes.flow,
        lambda t: -1 / (1 - t),
        lambda t: 2 * t / (1 - t),
        lambda t: 1 - t,
        lambda t: t / (1 - t),
    ),
}
TIMES = np.linspace(0.9, 0.05, 8)


@pytest.mark.parametrize("name", PAPERS)
@pytest.mark.parametrize("lam", [0.0, 0.6, 1.0])
def test_the_forward_step_run_backwards(name, lam):
    """Eq. 46 with the forward step of the SDE, by quadrature of the paper's f and g^2."""
    make, f, g2, scale, sigma = PAPERS[name]
    denoise, rng = Mixture(**MIXTURE).denoise, np.random.default_rng(0)
    plan = ej.make_plan(s.reverse_diffusion(make(), lam), make().levels(TIMES))
    noise = rng.normal(size=(plan.num_draws, 16, 2))
    y = start = rng.normal(size=(16, 2))

    def integral(function, low, high):
        return quad(function, low, high, epsabs=0, epsrel=1e-12)[0]

    for i, (t, down) in enumerate(itertools.pairwise(TIMES)):
        r = np.exp(integral(f, down, t) if f(t) else 0.0)
        grow = (lambda u, t=t: np.exp(2 * integral(f, u, t))) if f(t) else (lambda u: 1.0)
        spread = np.sqrt(integral(lambda u, grow=grow: grow(u) * g2(u), down, t))
        score = (denoise(y / scale(t), sigma(t)) - y / scale(t)) / sigma(t) ** 2 / scale(t)
        y = y - (r - 1) * y + (1 + lam**2) / 2 * spread**2 * score
        if lam:
            y = y + lam * spread * noise[i]
    np.testing.assert_allclose(run_in_scale(plan, start, noise), y, rtol=0, atol=1e-9)


def run_in_scale(plan, y, noise):
    """The rows of a plan that holds points as its process does."""
    denoise = Mixture(**MIXTURE).denoise
    scales = dict(zip(plan.sigmas, plan.scale, strict=False))

    def held(point, level):
        return denoise(point / scales[level], level)

    return run(held, plan, y, noise)


def test_with_exact_steps_of_the_variance_it_is_euler_maruyama():
    """In a process with sigma = sqrt(t), f = 0 and g = 1, Euler's steps of g^2 are exact."""
    process = ej.processes.Process(
        scale=lambda t: np.ones_like(t) if isinstance(t, np.ndarray | float) else t**0,
        sigma=lambda t: t**0.5,
        time=lambda sigma: sigma**2,
    )
    for lam in (0.0, 0.6, 1.0):
        one, other = s.reverse_diffusion(eta=lam), s.euler_maruyama(process, lam)
        assert same(one, other)
        assert same(s.reverse_diffusion(ej.processes.ve(), lam), one)
    assert not same(s.reverse_diffusion(), s.euler_maruyama())
    assert not same(s.reverse_diffusion(), s.reverse_diffusion(ej.processes.vp()))


def test_ancestral_sampling_is_ddpm_where_the_scale_is_constant():
    for process in (None, ej.processes.edm(), ej.processes.ve(), ej.processes.song_ve()):
        assert same(s.ancestral_sampling(process), s.ddpm())
    assert not same(s.ancestral_sampling(ej.processes.vp()), s.ddpm())


@pytest.mark.parametrize("name", ["sub_vp", *later("flow")])
@pytest.mark.parametrize("make", [s.reverse_diffusion, s.ancestral_sampling])
def test_weak_order(name, make):
    process = PAPERS[name][0]()
    assert abs(weak_order(lambda n: make(process)) - 1) < 0.15


def test_the_last_step():
    process = ej.processes.vp()
    above, to_zero = process.levels(TIMES), process.levels(np.append(TIMES, 0.0))
    for make in (s.reverse_diffusion, s.ancestral_sampling):
        assert ej.make_plan(make(process), above).num_draws == 7
        assert ej.make_plan(make(process, final="method"), above).num_draws == 6
        plan = ej.make_plan(make(process), to_zero)
        assert plan.num_draws == 7 and plan.d[-1, 0] == 1.0 and plan.y[-1, 0] == 0.0
    # y' = (2 - r) y - (1 - ratio^2) (y - scale D), at t = 0.05 with scale_next = 1 and ratio 0.
    plan = ej.make_plan(s.reverse_diffusion(process, final="method"), to_zero)
    r = np.exp(-(0.1 * 0.05 + 19.9 * 0.05**2 / 2) / 2)
    np.testing.assert_allclose([plan.y[-1, 0], plan.d[-1, 0]], [1 - r, r], rtol=1e-12)


@pytest.mark.parametrize("make", [s.reverse_diffusion, s.ancestral_sampling])
@pytest.mark.parametrize("process", [ej.processes.flow(), ej.processes.cosine()])
def test_from_an_infinite_level(make, process):
    """At t = 1 nothing of the data is left: y = n, and the weights are limits."""
    times = np.array([1.0, 0.7, 0.3, 0.0])
    plan = ej.make_plan(make(process), process.levels(times))
    near = ej.make_plan(make(process), process.levels(times - [1e-7, 0, 0, 0]))
    for one, other in ((plan.y, near.y), (plan.d, near.d), (plan.z, near.z)):
        np.testing.assert_allclose(one, other, atol=3e-7)


@pytest.mark.slow
def test_slopes_in_lam_the_levels_and_the_process(x64):
    def make(beta_max, lam, *levels):
        process = ej.processes.vp(0.1, beta_max)
        return ej.make_plan(s.reverse_diffusion(process, lam), list(levels), ends_at_zero=False)

    def ancestral(beta_max, *levels):
        sampler = s.ancestral_sampling(ej.processes.vp(0.1, beta_max))
        return ej.make_plan(sampler, list(levels), ends_at_zero=False)

    def exploding(*levels):
        return ej.make_plan(s.ancestral_sampling(), list(levels), ends_at_zero=False)

    check_slopes(make, [20.0, 0.7, 5.0, 2.0, 0.5])
    check_slopes(ancestral, [20.0, 5.0, 2.0, 0.5])
    check_slopes(exploding, [5.0, 2.0, 0.5])
    assert finite_slopes(lambda lam: ej.make_plan(s.reverse_diffusion(eta=lam), [2.0, 1.0]), 0.0)


def test_traced_levels_in_an_exploding_process_keep_its_variance(x64):
    """Whether the scale is constant is then decided in the program."""
    levels = np.array([5.0, 2.0, 0.5])

    @jax.jit
    def plan_of(levels):
        sampler = s.ancestral_sampling(ej.processes.ve())
        return ej.make_plan(sampler, levels, ends_at_zero=False)

    np.testing.assert_allclose(plan_of(levels).z, ej.make_plan(s.ddpm(), levels).z, rtol=1e-12)


def test_bad_options_get_a_sentence(unchecked):
    for make in (s.reverse_diffusion, s.ancestral_sampling):
        with pytest.raises(TypeError, match=r"such as `ej.processes.vp\(\)`, got <function vp"):
            make(ej.processes.vp)
        with pytest.raises(ValueError, match="`final` must be 'denoise' or 'method', got 'noise'"):
            make(final="noise")
        with pytest.raises(ValueError, match="go up"):
            ej.make_plan(make(), [0.1, 1.0])
    for lam in (-1.0, np.nan):
        with pytest.raises(ValueError, match="`eta` must not be negative"):
            s.reverse_diffusion(eta=lam)
