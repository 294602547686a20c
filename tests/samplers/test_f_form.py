"""The family on the network's own output: weights, exactness on a Gaussian, zero, its wrappers."""

import dataclasses
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad
from support.cases import MIXTURE, Gaussian, Mixture, uniform
from support.laws import check_gradient_in_the_levels, check_traced_levels, recursion, same, widths
from support.orders import run, start
from support.papers import f_form

import edmjax as ej
from edmjax import samplers as s
from edmjax.samplers._f_form import VARIABLES, integrals

ORDERS = [1, 2, 3, 4]
FAMILY = [
    *((s.f_ab, order) for order in ORDERS),
    *((s.f_pc, order) for order in ORDERS),
    *((s.f_rk, order) for order in ORDERS[1:]),
]
GRID = ej.schedules.karras(9, 0.01, 20.0)
everyone = pytest.mark.parametrize("make, order", FAMILY)
of_every_variable = pytest.mark.parametrize("variable", VARIABLES)


# ---- weights


@of_every_variable
@pytest.mark.parametrize("width", [0.5, 2.0])
def test_weights_are_the_integrals_of_the_lagrange_polynomials(variable, width):
    """Against SciPy's adaptive quadrature over theta, on steps short and long, down and up."""
    position, _ = f_form.POSITIONS[variable]
    for levels, a, b in (
        ([0.8, 1.0, 1.5, 3.0], 0.8, 0.3),
        ([5.0, 20.0, 80.0], 5.0, 0.002),
        ([2.0, 80.0], 2.0, 1.9999),
        ([0.3, 0.8, 1.0], 0.8, 0.3),  # a corrector's: the end is a node
        ([1.0, 0.5, 0.1], 1.0, 4.0),  # encoding
    ):
        got = integrals(levels, a, b, variable, width)
        for j, weight in enumerate(got):

            def polynomial(theta, j=j, levels=levels):
                u = position(width * math.tan(theta), width)
                return math.prod(
                    (u - position(other, width))
                    / (position(levels[j], width) - position(other, width))
                    for k, other in enumerate(levels)
                    if k != j
                )

            ends = math.atan(b / width), math.atan(a / width)
            expected, _ = quad(polynomial, *ends, epsabs=1e-14, epsrel=1e-13, limit=200)
            np.testing.assert_allclose(weight, expected, rtol=1e-10, atol=1e-12)
        # A constant is integrated exactly.
        np.testing.assert_allclose(
            sum(got), math.atan(a / width) - math.atan(b / width), rtol=1e-11, atol=1e-15
        )


def test_equal_angles_give_the_classical_weights():
    """3/2 and -1/2 and so on, on the grid of `theta` (Liu et al. 2022, eq. 12)."""
    levels = ej.schedules.theta(9, 0.05, 20.0, sigma_data=0.5, final_zero=False)[::-1].tolist()
    step = math.atan(levels[1] / 0.5) - math.atan(levels[0] / 0.5)
    for order, (weights, divisor) in enumerate([([1], 1), ([3, -1], 2), ([23, -16, 5], 12)], 1):
        got = integrals(levels[1 : order + 1], levels[1], levels[0], "theta", 0.5)
        np.testing.assert_allclose(got, step * np.array(weights) / divisor, rtol=1e-9)


@pytest.mark.slow
@of_every_variable
@everyone
def test_every_variable_is_the_transcription(make, order, variable):
    denoise = Mixture(**MIXTURE).denoise
    algorithm = getattr(f_form, make.__name__)
    for grid in (GRID, uniform(7)):
        x = start(grid[0], (8, 2))
        got = run(denoise, ej.make_plan(make(order, variable, 0.7), grid), x)
        expected = algorithm(denoise, x, grid, order, variable, 0.7)
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-9 * np.abs(expected).max())


# ---- a Gaussian


@of_every_variable
@everyone
def test_a_step_of_any_length_is_exact_on_the_gaussian_of_its_width(make, order, variable):
    """F is 0 there. On any other the errors are those of the order, as the certificates have it."""
    gaussian = Gaussian([0.0, 0.0], 0.49 * np.eye(2))
    for grid in ([80.0, 0.002], [80.0, 3.0, 0.1, 0.03], [0.1, 2.0, 60.0]):
        plan = ej.make_plan(make(order, variable, 0.7), grid)
        x = start(grid[0])
        expected = gaussian.flow(x, grid[0], grid[-1])
        np.testing.assert_allclose(run(gaussian.denoise, plan, x), expected, rtol=1e-9)
    # And of another width it is not: that is what the steps are for.
    _, variance = recursion(ej.make_plan(make(order, variable, 0.7), [3.0, 0.5]), 0.0, 1.0, 3.0)
    assert abs(variance - 9 * 1.25 / 10) > 1e-6


# ---- zero, windows, counts


@of_every_variable
@everyone
def test_the_step_to_zero_is_the_denoiser_and_counts_are_what_is_said(make, order, variable):
    for n in (1, 2, 5):
        plan = ej.make_plan(make(order, variable), ej.schedules.karras(n))
        np.testing.assert_array_equal(plan.y[-1], 0)
        np.testing.assert_array_equal(plan.d[-1], np.eye(plan.d.shape[1])[0])
        stages = order if make is s.f_rk else 1
        assert plan.nfe == stages * (n - 1) + 1
        above = ej.schedules.karras(n + 1, final_zero=False)
        assert ej.make_plan(make(order, variable), above).nfe == stages * n


@pytest.mark.parametrize(
    "make, order",
    [pytest.param(*one, marks=() if one[1] == 3 else pytest.mark.slow) for one in FAMILY],
)
def test_windows_do_not_grow(make, order):
    assert widths(make(order), 20) == widths(make(order), 200)
    assert max(widths(make(order), 20)) <= order + 1


@pytest.mark.parametrize("make", [s.f_ab, s.f_pc])
def test_order_1_corrected_is_another_method(make):
    assert not same(make(1), s.euler())
    assert not same(s.f_ab(1), s.f_pc(1))
    # On one step there is nothing to correct.
    np.testing.assert_allclose(
        ej.make_plan(s.f_ab(3), [2.0, 1.0]).d, ej.make_plan(s.f_pc(3), [2.0, 1.0]).d
    )


@pytest.mark.parametrize("make", [s.f_ab, s.f_pc])
def test_fresh_noise_starts_it_again(make):
    assert same(s.ancestral(make(4)), s.ancestral(make(1) if make is s.f_ab else s.f_ab(1)))
    assert same(s.churn(make(4), 8.0), s.churn(s.f_ab(1), 8.0))


@pytest.mark.slow
@everyone
def test_gradient_in_the_levels(x64, make, order):
    for variable in VARIABLES:
        check_gradient_in_the_levels(make(order, variable))
        check_traced_levels(make(order, variable))


@pytest.mark.slow
def test_gradient_of_f_trig_in_the_levels(x64):
    for sampler in (s.f_trig(False), s.f_trig(), s.f_trig(above=0.3)):
        check_gradient_in_the_levels(sampler)
        check_traced_levels(sampler)


@pytest.mark.slow
def test_sigma_data_may_be_traced(x64):
    def total(width):
        plan = ej.make_plan(s.f_pc(2, "theta", sigma_data=width), GRID)
        return jnp.sum(jnp.sin(plan.d)) + jnp.sum(jnp.cos(plan.y))

    slope = (total(0.5 + 1e-5) - total(0.5 - 1e-5)) / 2e-5
    np.testing.assert_allclose(jax.jit(jax.grad(total))(0.5), slope, rtol=1e-7)


# ---- trigonometric functions


def test_weights_of_f_trig_are_exact_for_sines_and_cosines():
    """From exact outputs `F = 2 sin(theta) - 3 cos(theta)` at levels before, and one after."""
    width, levels = 0.7, [50.0, 9.0, 2.0, 0.6, 0.01]

    def slope(theta):
        return 2 * math.sin(theta) - 3 * math.cos(theta)

    def integral(theta):
        return -2 * math.cos(theta) - 3 * math.sin(theta)

    def y(sigma):  # dy = -F dtheta
        return -integral(math.atan(sigma / width))

    def denoise(x, sigma):
        # F whatever x is: then a method is a rule of quadrature.
        theta = math.atan(sigma / width)
        return width * (slope(theta) * math.sin(theta) + math.cos(theta) * x / total(sigma))

    def total(sigma):
        return math.hypot(sigma, width)

    for corrected in (False, True):
        plan = ej.make_plan(s.f_trig(corrected, sigma_data=width), levels)
        points, outputs = [y(50.0) * total(50.0)], []
        for k in range(plan.nfe + 1):
            point = sum(w * v for w, v in zip(plan.y[k], reversed(points), strict=False))
            point += sum(w * v for w, v in zip(plan.d[k], reversed(outputs), strict=False))
            points.append(point)
            if k < plan.nfe:
                outputs.append(denoise(point, plan.sigmas[k]))
        change = points[-1] / total(levels[-1]) - y(levels[-1])
        # The first step knows of the sine alone, and only what corrects it mends that.
        first = points[2] / total(levels[1]) - y(levels[1])
        assert abs(first) > 1e-3
        np.testing.assert_allclose(change, 0.0 if corrected else first, atol=1e-12)


@pytest.mark.parametrize("corrected", [False, True])
def test_f_trig_is_exact_on_a_moved_gaussian_and_nearly_on_a_point(corrected):
    mean, width, x = np.array([5.0, -3.0]), 0.5, np.array([[70.0, -9.0], [-1.0, 100.0]])
    plan = ej.make_plan(s.f_trig(corrected, sigma_data=width), [80.0, 6.0, 1.3, 0.9, 0.1])

    def of_variance(variance):
        return lambda x, sigma: mean + variance / (variance + sigma**2) * (x - mean)

    shrunk = np.sqrt((0.1**2 + width**2) / (80.0**2 + width**2))
    got = run(of_variance(width**2), plan, x)
    np.testing.assert_allclose(got, mean + shrunk * (x - mean), atol=1e-12)
    # Of one point F is of sines and cosines, which the first step, of sines alone, cannot know.
    after = ej.make_plan(s.f_trig(corrected, sigma_data=width), [80.0, 78.0, 6.0, 1.3, 0.9, 0.1])
    off = np.abs(run(of_variance(0.0), after, x) - (mean + 0.1 / 80.0 * (x - mean)))
    assert off.max() < 1e-4


def test_f_trig_starts_again_after_noise():
    assert same(s.churn(s.f_trig(), 8.0), s.churn(s.f_trig(False), 8.0))


# ---- the wrappers


@pytest.mark.parametrize("inner", [s.f_ab(3), s.f_pc(3), s.unipc(), s.dpmpp_2m(), s.f_rk(3)])
def test_an_analytic_first_step_replaces_the_first_output(inner):
    """The same plan around the Gaussian's answer at the first level, for an evaluation less."""
    mixture, x = Mixture(**MIXTURE), start(GRID[0])

    def guessed(x, sigma):
        above = sigma > GRID[1]
        return 0.25 / (0.25 + sigma**2) * x if above else mixture.denoise(x, sigma)

    # The inner rows of the first step are guesses too, and those of f_rk lie above level 1.
    plan = ej.make_plan(s.analytic_first_step(inner), GRID)
    whole = ej.make_plan(inner, GRID)
    first = int(np.sum(whole.step == 0))
    assert plan.nfe == whole.nfe - first and plan.sigmas[0] == GRID[1]
    got, expected = run(mixture.denoise, plan, x), run(guessed, whole, x)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-11)


def test_teleport_is_the_flow_of_the_gaussian_and_then_the_inner_sampler():
    mixture, x = Mixture(**MIXTURE), start(80.0)
    for inner in (s.f_pc(3), s.dpmpp_2m(), s.heun()):
        grid = [80.0, *GRID[3:]]
        plan = ej.make_plan(s.teleport(inner, sigma_data=0.7), grid)
        assert plan.nfe == ej.make_plan(inner, grid[1:]).nfe
        skipped = Gaussian([0.0, 0.0], 0.49 * np.eye(2)).flow(x, 80.0, grid[1])
        expected = run(mixture.denoise, ej.make_plan(inner, grid[1:]), skipped)
        np.testing.assert_allclose(run(mixture.denoise, plan, x), expected, rtol=1e-12)
    with pytest.raises(ValueError, match="evaluates nothing on the first step"):
        ej.make_plan(s.teleport(s.f_ab()), [80.0, 0.0])


# ---- gaussian_split


COV = np.array([[0.25, 0.1, 0.0], [0.1, 0.16, 0.02], [0.0, 0.02, 1.3]])
MEAN = np.array([3.0, -0.2, 1.0])


@pytest.mark.parametrize("cov", [COV, np.diag(COV), 0.3])
def test_split_coordinates_make_its_gaussian_the_one_of_sigma_data(x64, cov):
    """The denoiser is that of N(0, sigma_data^2), and one step of any length is exact."""
    problem, split = ej.problems.Gaussian(MEAN, cov), s.gaussian_split(MEAN, cov, 0.7)
    x = np.random.default_rng(1).normal(size=(5, 3)) * 80
    z = split.enter(x, 80.0)
    np.testing.assert_allclose(split.leave(z, 80.0), x, rtol=1e-12)
    np.testing.assert_allclose(split(problem)(z, 2.0), 0.49 / 4.49 * z, rtol=1e-9, atol=1e-12)
    for sampler in (s.f_ab(3, sigma_data=0.7), s.f_rk(4, sigma_data=0.7)):
        plan = ej.make_plan(sampler, [80.0, 0.1])
        got = split.leave(ej.sample(split(problem), plan, z), 0.1)
        np.testing.assert_allclose(got, problem.flow(x, 80.0, 0.1), rtol=1e-9)
    sampler = s.teleport(s.f_ab(sigma_data=0.7), sigma_data=0.7)
    plan = ej.make_plan(sampler, [80.0, 1.0, 0.1])
    got = split.leave(ej.sample(split(problem), plan, z), 0.1)
    np.testing.assert_allclose(got, problem.flow(x, 80.0, 0.1), rtol=1e-9)


def test_split_coordinates_change_no_flow(x64):
    """A fine plan ends at the same points in either coordinates, of a mixture too."""
    problem = ej.problems.Mixture(**MIXTURE)
    split = s.gaussian_split([0.1, -0.3], [[0.6, 0.1], [0.1, 0.2]])
    x = start(5.0, (16, 2))
    plan = ej.make_plan(s.f_pc(3, sigma_data=float(split.sigma_data)), uniform(300))
    direct = ej.sample(problem, ej.make_plan(s.f_pc(3), uniform(300)), x)
    through = split.leave(ej.sample(split(problem), plan, split.enter(x, 5.0)), 0.5)
    np.testing.assert_allclose(through, direct, atol=2e-8)


def test_centring_is_what_a_scalar_covariance_does(x64):
    """Data moved by a mean give samples moved by it, which they do not without."""
    plain, shift = ej.problems.Mixture(**MIXTURE), np.array([2.0, -1.0])
    moved = ej.problems.Mixture(
        MIXTURE["weights"], np.array(MIXTURE["means"]) + shift, MIXTURE["covs"]
    )
    plan, x = ej.make_plan(s.f_pc(2), ej.schedules.karras(6)), start(80.0, (16, 2))
    split = s.gaussian_split(shift, 0.25)
    expected = ej.sample(plain, plan, x)
    through = split.leave(ej.sample(split(moved), plan, split.enter(x + shift, 80.0)), 0.0)
    np.testing.assert_allclose(through - shift, expected, atol=1e-9)
    assert np.abs(ej.sample(moved, plan, x + shift) - shift - expected).max() > 1e-3


def test_a_direction_of_no_variance_stays_finite(x64):
    problem = ej.problems.Gaussian([1.0, 2.0], [[1.0, 0.0], [0.0, 0.0]])
    split = s.gaussian_split([1.0, 2.0], [[1.0, 0.0], [0.0, 0.0]])
    plan = ej.make_plan(s.f_pc(2, sigma_data=float(split.sigma_data)), ej.schedules.karras(12))
    x = start(80.0)
    got = split.leave(ej.sample(split(problem), plan, split.enter(x, 80.0)), 0.0)
    assert np.isfinite(got).all()
    np.testing.assert_allclose(got[:, 1], 2.0, atol=2e-2)


def test_the_split_denoiser_declares_the_range_of_the_one_inside():
    class Declares:
        sigma_range = (0.01, 50.0)

        def __call__(self, x, sigma, cond=None):
            return 0.5 * x

    split, plan = s.gaussian_split(MEAN, COV), ej.make_plan(s.heun(), ej.schedules.karras(3))
    x, guidance = np.zeros((2, 3), np.float32), ej.guidance
    inside = split(guidance.classifier_free(Declares(), 2.0, uncond=np.zeros(())))
    for made in (split(Declares()), inside, guidance.clip(split(Declares()), -1.0, 1.0)):
        with pytest.raises(ValueError, match=r"declares `sigma_range` \(0.01, 50\)"):
            ej.sample(made, plan, x, cond=np.zeros(2))
    assert split(lambda x, sigma: x).sigma_range is None
    assert split(ej.problems.Gaussian(MEAN, COV)).sigma_range is None


def test_bare_calls_with_a_split_denoiser_compile_once():
    traces = []

    @jax.tree_util.register_dataclass
    @dataclasses.dataclass(frozen=True)
    class Counts:
        scale: jax.Array

        def __call__(self, x, sigma):
            traces.append(None)
            return self.scale * x

    plan, x = ej.make_plan(s.f_ab(2), ej.schedules.karras(4)), jnp.ones((2, 3))
    ej.sample(s.gaussian_split(MEAN, COV)(Counts(jnp.float32(0.5))), plan, x)
    first = len(traces)
    ej.sample(s.gaussian_split(-MEAN, 2 * COV)(Counts(jnp.float32(0.2))), plan, x)
    assert first and len(traces) == first


def test_the_split_denoiser_is_an_argument_of_jit():
    problem, split = ej.problems.Gaussian(MEAN, COV), s.gaussian_split(MEAN, COV)
    x = jnp.ones((4, 3), jnp.float32)
    got = jax.jit(lambda denoise, x: denoise(x, jnp.float32(2.0)))(split(problem), x)
    assert got.dtype == jnp.float32 and got.shape == x.shape
    np.testing.assert_allclose(got, split(problem)(x, 2.0), rtol=1e-5)
    levels = jnp.array([0.1, 1.0, 2.0, 3.0])
    rows = [split(problem)(x[i], levels[i]) for i in range(4)]
    np.testing.assert_allclose(split(problem)(x, levels), rows, rtol=1e-5, atol=1e-6)


# ---- bad options


@everyone
def test_bad_options_get_a_sentence(make, order):
    lowest = 2 if make is s.f_rk else 1
    with pytest.raises(ValueError, match=f"`order` must be from {lowest} to 4, got 5"):
        make(5)
    with pytest.raises(ValueError, match=f"got {lowest - 1}"):
        make(lowest - 1)
    with pytest.raises(ValueError, match=r"`variable` must be 'theta', 'log_sigma' or .*, got 't'"):
        make(order, "t")
    for width in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="`sigma_data` must be positive and finite"):
            make(order, sigma_data=width)


def test_bad_splits_get_a_sentence():
    with pytest.raises(ValueError, match="a direction of positive variance"):
        s.gaussian_split([0.0, 1.0], 0.0)
    with pytest.raises(ValueError, match="positive semidefinite"):
        s.gaussian_split([0.0, 1.0], [-1.0, 1.0])
    with pytest.raises(ValueError, match="`sigma_data` must be one positive number"):
        s.gaussian_split([0.0, 1.0], 1.0, -1.0)
    split = s.gaussian_split([0.0, 1.0], 1.0)
    with pytest.raises(ValueError, match=r"x has shape \(4, 3\), but the mean has shape \(2,\)"):
        split.enter(np.zeros((4, 3)), 1.0)
    with pytest.raises(ValueError, match=r"sigma has shape \(3,\)"):
        split.enter(np.zeros((4, 2)), np.ones(3))
    with pytest.raises(TypeError, match="returns one array of the shape of `x`"):
        split(lambda x, sigma: {"x0": x, "raw": x})(jnp.zeros((4, 2)), 1.0)


def test_pairs_of_steps_share_no_state():
    sampler = s.analytic_first_step(s.f_pc(3))
    one, two = (ej.make_plan(sampler, GRID) for _ in range(2))
    for name, (a, b) in zip(
        ("y", "d"), itertools.zip_longest((one.y, one.d), (two.y, two.d)), strict=False
    ):
        np.testing.assert_array_equal(a, b, err_msg=name)
