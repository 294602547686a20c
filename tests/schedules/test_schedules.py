"""Schedules: exact end points, strict decrease, formulas, and sentences for bad arguments."""

import itertools
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import edmjax as ej
from edmjax import processes, schedules
from edmjax._common.arguments import number

# Each continuous schedule with the function of the level that it spaces evenly, at the defaults
# and the ends that it is given here: the inverse of what it computes.
LOW, HIGH = 0.03, 14.61
EVEN = {
    schedules.karras: lambda s: s ** (1 / 7),
    schedules.linear: lambda s: s,
    schedules.exponential: np.log,
    schedules.ve: lambda s: np.log(s**2),
    schedules.polyexponential: np.log,
    schedules.theta: lambda s: np.arctan(s / 0.5),
    schedules.cosine: lambda s: np.arctan(s),
    schedules.kl_optimal: lambda s: np.arctan(s),
    schedules.logistic: lambda s: 1 / (1 + np.exp(-(np.log(s) - np.log(0.25)) / 1.2)),
    schedules.laplace: lambda s: stats.laplace.cdf(np.log(s), 0, 0.5),
    schedules.beta: lambda s: stats.beta.cdf((s - LOW) / (HIGH - LOW), 0.6, 0.6),
    schedules.vp: lambda s: np.roots([19.9 / 2, 0.1, -np.log1p(s**2)]).max(),
}
ALL = [*EVEN, schedules.linear_quadratic]
DISCRETE = {
    "ddpm": schedules.ddpm,
    "ddpm trailing": lambda n, **kw: schedules.ddpm(n, spacing="trailing", **kw),
    "ddpm leading": lambda n, **kw: schedules.ddpm(n, spacing="leading", **kw),
    "ddpm linspace": lambda n, **kw: schedules.ddpm(n, spacing="linspace", **kw),
    "iddpm": schedules.iddpm,
    "normal": schedules.normal,
    "normal nearest": lambda n, **kw: schedules.normal(n, interpolate=False, **kw),
    "sgm_uniform": schedules.sgm_uniform,
    "sgm_uniform nearest": lambda n, **kw: schedules.sgm_uniform(n, interpolate=False, **kw),
    "simple": schedules.simple,
    "beta_discrete": schedules.beta_discrete,
}
LARGEST = {"iddpm": 992, "beta_discrete": 138}  # the others have 1000


@pytest.mark.parametrize("schedule", ALL)
@pytest.mark.parametrize("n", [1, 2, 3, 18, 1000])
@pytest.mark.parametrize("ends", [(0.002, 80.0), (0.03, 14.61), (1 / 3, 0.7), (1e-4, 1e4)])
def test_shape_dtype_end_points_and_decrease(schedule, n, ends):
    sigmas = schedule(n, *ends)
    assert isinstance(sigmas, np.ndarray) and sigmas.dtype == np.float64
    assert sigmas.shape == (n + 1,) and sigmas[-1] == 0.0
    assert sigmas[0] == ends[1]
    assert n == 1 or sigmas[-2] == ends[0]
    assert (np.diff(sigmas) < 0).all()
    np.testing.assert_array_equal(schedule(n, *ends, final_zero=False), sigmas[:-1])


@pytest.mark.parametrize("schedule", ALL)
def test_one_level_is_sigma_max(schedule):
    np.testing.assert_array_equal(schedule(1, 0.01, 5.0), [5.0, 0.0])
    np.testing.assert_array_equal(schedule(1, 0.01, 5.0, final_zero=False), [5.0])


def test_karras_is_linear_at_rho_1_and_exponential_without_bound():
    np.testing.assert_allclose(
        schedules.karras(9, 1.0, 9.0, rho=1, final_zero=False), np.arange(9.0, 0.0, -1), rtol=1e-14
    )
    # The next term of the expansion in 1 / rho is log(80 / 0.002)^2 / (8 rho) < 15 / rho.
    np.testing.assert_allclose(schedules.karras(9, rho=1e9), schedules.exponential(9), rtol=1.5e-8)
    assert np.isfinite(schedules.karras(9, rho=1e-3)).all()  # 80 ** 1000 overflows


def test_numpy_numbers_are_taken():
    sigmas = schedules.karras(np.int64(4), np.float64(0.1), np.float32(2.0), np.int32(7))
    np.testing.assert_array_equal(sigmas, schedules.karras(4, 0.1, 2.0, 7.0))


@pytest.mark.parametrize("schedule", EVEN)
@pytest.mark.parametrize(
    "args, error, message",
    [
        ((0,), ValueError, "`n` must be at least 1, got 0"),
        ((-3,), ValueError, "got -3"),
        ((2.5,), TypeError, "must be an integer, got 2.5"),
        ((18.0,), TypeError, "must be an integer, got 18.0"),
        ((math.nan,), TypeError, "must be an integer, got nan"),
        ((5, 0.0), ValueError, "`sigma_min` must be positive and finite, got 0.0"),
        ((5, -1.0), ValueError, "`sigma_min` must be positive and finite, got -1.0"),
        ((5, math.nan), ValueError, "`sigma_min` must be positive and finite, got nan"),
        ((5, 0.1, math.nan), ValueError, "`sigma_max` must be positive and finite, got nan"),
        ((5, 0.1, math.inf), ValueError, "`sigma_max` must be positive and finite, got inf"),
        ((5, 1.0, 1.0), ValueError, "`sigma_min` must be below `sigma_max`, got 1.0 and 1.0"),
        ((5, 80.0, 0.002), ValueError, "`sigma_min` must be below `sigma_max`, got 80.0 and 0.002"),
        ((True,), TypeError, "must be an integer, got True"),
    ],
)
def test_bad_levels_get_a_sentence(schedule, args, error, message):
    with pytest.raises(error, match=re.escape(message)):
        schedule(*args)


@pytest.mark.parametrize("schedule", [schedules.karras, schedules.polyexponential])
@pytest.mark.parametrize("rho", [0.0, -7.0, math.nan, math.inf])
def test_bad_rho_gets_a_sentence(schedule, rho):
    with pytest.raises(ValueError, match="`rho` must be positive and finite, got"):
        schedule(5, 0.1, 10.0, rho)


@pytest.mark.parametrize("schedule", EVEN)
def test_levels_equal_in_float64_are_refused(schedule):
    with pytest.raises(ValueError, match="not all different in float64: ask for fewer levels"):
        schedule(100, 1.0, 1.0 + 1e-15)


@pytest.mark.parametrize("value", ["80", None, 1j])
def test_what_is_no_number_gets_a_sentence(value):
    with pytest.raises(TypeError, match=r"`sigma_max` must be a number, got .* computed on the"):
        number(value, "sigma_max")


def test_a_traced_number_gets_a_sentence():
    with pytest.raises(TypeError, match=r"`sigma_max` must be a number, got .* give `make_plan`"):
        jax.jit(lambda high: number(high, "sigma_max"))(2.0)


@pytest.mark.parametrize("schedule", EVEN, ids=lambda f: f.__name__)
@pytest.mark.parametrize("n", [2, 7, 40])
def test_what_is_spaced_evenly(schedule, n):
    levels = schedule(n, LOW, HIGH, final_zero=False)
    even = np.array([EVEN[schedule](level) for level in levels])
    want = np.linspace(even[0], even[-1], n)
    # Of the range that is spaced; the inverse has roundings of its own.
    np.testing.assert_allclose(even, want, rtol=0, atol=2e-14 * np.abs(even).max())


def test_defaults_are_the_fields():
    ends = {schedule.__name__: tuple(schedule(5)[[0, -2]]) for schedule in ALL}
    assert ends.pop("ve") == (100.0, 0.02)
    vp = ends.pop("vp")
    np.testing.assert_allclose(vp, (152.1670, 0.0104860), rtol=1e-5)
    assert set(ends.values()) == {(80.0, 0.002)}


def test_options_do_what_they_say():
    for sigma_data in (0.2, 3.0):
        levels = schedules.theta(9, LOW, HIGH, sigma_data=sigma_data, final_zero=False)
        np.testing.assert_allclose(np.ptp(np.diff(np.arctan(levels / sigma_data))), 0, atol=1e-14)
        with pytest.warns(DeprecationWarning, match=r"write theta\(..., sigma_data=...\)"):
            former = schedules.kl_optimal(9, LOW, HIGH, sigma_data, final_zero=False)
        np.testing.assert_array_equal(former, levels)
        np.testing.assert_array_equal(
            schedules.logistic(9, LOW, HIGH, sigma_data=sigma_data),
            schedules.logistic(9, LOW, HIGH, center=math.log(sigma_data / 2)),
        )
    levels = schedules.logistic(9, LOW, HIGH, 0.7, 0.4, final_zero=False)
    even = stats.logistic.cdf(np.log(levels), 0.7, 0.4)
    np.testing.assert_allclose(even, np.linspace(even[0], even[-1], 9), rtol=1e-13)
    levels = schedules.laplace(9, LOW, HIGH, -1.0, 0.8, final_zero=False)
    even = stats.laplace.cdf(np.log(levels), -1.0, 0.8)
    np.testing.assert_allclose(even, np.linspace(even[0], even[-1], 9), rtol=1e-13)
    levels = schedules.beta(9, LOW, HIGH, 2.0, 0.7, final_zero=False)
    want = LOW + (HIGH - LOW) * stats.beta.ppf(1 - np.arange(9) / 8, 2.0, 0.7)
    np.testing.assert_allclose(levels, want, rtol=1e-12)


def test_identities():
    near = {"rtol": 1e-13}
    np.testing.assert_array_equal(schedules.ve(9), schedules.exponential(9, 0.02, 100.0))
    np.testing.assert_array_equal(schedules.cosine(9), schedules.theta(9, sigma_data=1.0))
    np.testing.assert_array_equal(schedules.cosine(9), schedules.kl_optimal(9))
    np.testing.assert_allclose(schedules.linear(9), schedules.karras(9, rho=1), rtol=1e-11)
    np.testing.assert_allclose(schedules.beta(9, alpha=1, beta=1), schedules.linear(9), **near)
    wide = schedules.logistic(9, scale=1e5)
    np.testing.assert_allclose(wide, schedules.exponential(9), rtol=1e-4)
    np.testing.assert_allclose(schedules.theta(9, sigma_data=1e7), schedules.linear(9), rtol=1e-9)
    cosine = schedules.uniform(9, processes.cosine(), t_min=0.1, t_max=0.9)
    np.testing.assert_allclose(cosine, schedules.cosine(9, cosine[-2], cosine[0]), **near)
    vp = schedules.uniform(9, processes.vp())
    np.testing.assert_allclose(vp, schedules.vp(9), rtol=1e-12)


@pytest.mark.parametrize("schedule", [schedules.theta, schedules.logistic, schedules.laplace])
@pytest.mark.parametrize("ends", [(1e-12, 1e12), (1e-150, 1e-140), (1e140, 1e150)])
def test_no_digits_are_lost_far_from_the_data(schedule, ends):
    # By a mirror: in each of these a level and its inverse have the same law.
    options = {"sigma_data": 1.0} if schedule is schedules.theta else {}
    if schedule is schedules.logistic:
        options = {"center": 0.0}
    low, high = ends
    levels = schedule(9, low, high, **options, final_zero=False)
    mirrored = 1 / schedule(9, 1 / high, 1 / low, **options, final_zero=False)[::-1]
    np.testing.assert_allclose(levels, mirrored, rtol=1e-10)


def test_uniform_is_even_in_the_time_of_the_process():
    levels = schedules.uniform(9, processes.flow(), 0.01, 0.98)
    t = levels[:-1] / (1 + levels[:-1])
    np.testing.assert_allclose(t, np.linspace(0.98, 0.01, 9), rtol=1e-13)
    quadratic = schedules.uniform(9, processes.flow(), 0.01, 0.98, rho=2)
    root = np.sqrt(quadratic[:-1] / (1 + quadratic[:-1]))
    np.testing.assert_allclose(root, np.linspace(0.98**0.5, 0.1, 9), rtol=1e-13)
    np.testing.assert_array_equal(schedules.uniform(9, lambda t: t / (1 - t), 0.01, 0.98), levels)
    # The ends are the levels of the times given, exactly, and a process brings its own last time.
    assert levels[0] == processes.flow().sigma(0.98) and levels[-2] == 0.01 / 0.99
    assert schedules.uniform(3, processes.edm(7.0), 0.5)[0] == 7.0
    np.testing.assert_array_equal(schedules.uniform(1, np.sqrt, t_max=4.0), [2.0, 0.0])


@pytest.mark.parametrize(
    "args, error, message",
    [
        ((3, 5.0), TypeError, "must be a process or its function sigma(t), got 5.0: take one from"),
        ((3, processes.flow()), ValueError, "sigma(1.0) = inf is not a positive, finite level"),
        ((3, processes.song_ve(), 0.0), ValueError, "sigma(0.0) = 0.0 is not a positive, finite"),
        ((3, np.sqrt, 2.0), ValueError, "`t_min` must be in [0, 1), got 2.0"),
        ((3, np.sqrt, -1.0), ValueError, "`t_min` must be in [0, 1), got -1.0"),
        ((3, np.sqrt, 0.1, math.inf), ValueError, "`t_max` must be positive and finite, got inf"),
        ((3, np.sqrt, 0.1, 1.0, 0.0), ValueError, "`rho` must be positive and finite, got 0.0"),
        ((3, lambda t: 1 - t / 2), ValueError, "not all different in float64"),
        ((0, np.sqrt), ValueError, "`n` must be at least 1, got 0"),
    ],
)
def test_uniform_says_what_is_wrong(unchecked, args, error, message):
    with pytest.raises(error, match=re.escape(message)):
        schedules.uniform(*args)


@pytest.mark.parametrize(
    "schedule, options, message",
    [
        (schedules.theta, {"sigma_data": 0.0}, "`sigma_data` must be positive and finite, got 0.0"),
        (schedules.kl_optimal, {"sigma_data": math.nan}, "`sigma_data` must be positive and"),
        (schedules.logistic, {"scale": -1.0}, "`scale` must be positive and finite, got -1.0"),
        (schedules.logistic, {"sigma_data": 0.0}, "`sigma_data` must be positive and finite, got"),
        (schedules.laplace, {"beta": 0.0}, "`beta` must be positive and finite, got 0.0"),
        (schedules.laplace, {"mu": 1e6}, "not all different in float64"),
        (schedules.beta, {"alpha": 0.0}, "`alpha` must be positive and finite, got 0.0"),
        (schedules.beta, {"beta": math.inf}, "`beta` must be positive and finite, got inf"),
        (schedules.vp, {"beta_max": 0.1}, "`beta_max` must be above `beta_min`, got 0.1 and 0.1"),
        (schedules.vp, {"beta_min": -0.1}, "`beta_min` must be positive and finite, got -0.1"),
        (schedules.vp, {"eps_s": 0.0}, "`eps_s` must be positive and finite, got 0.0"),
        (schedules.vp, {"eps_s": 1.0}, "`eps_s` must be below 1, where the times start, got 1.0"),
        (schedules.vp, {"beta_max": 1e5}, "`sigma_max` must be positive and finite, got inf"),
        (
            schedules.linear_quadratic,
            {"sigma_min": -1.0},
            "`sigma_min` must be positive and finite, got -1.0",
        ),
        (
            schedules.linear_quadratic,
            {"sigma_min": 90.0},
            "`sigma_min` must be below `sigma_max`, got 90.0 and 80.0",
        ),
        (
            schedules.linear_quadratic,
            {"threshold_noise": 1.0},
            "`threshold_noise` must be in (0, 1), got 1.0",
        ),
        (
            schedules.linear_quadratic,
            {"linear_steps": 9},
            "`linear_steps` must be below the 8 steps, got 9",
        ),
        (
            schedules.linear_quadratic,
            {"linear_steps": 0},
            "`linear_steps` must be at least 1, got 0",
        ),
        (
            schedules.linear_quadratic,
            {"threshold_noise": 0.9},
            "the curve turns back: take a lower threshold_noise or more linear_steps",
        ),
    ],
)
def test_bad_options_get_a_sentence(schedule, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        schedule(9, **options)


def test_linear_quadratic_by_hand():
    # threshold 0.1 in 2 of 4 steps: 0, 0.05, 0.1, then 0.05 more a step and 0.2 (i - 2)^2.
    published = schedules.linear_quadratic(4, 0.0, 1.0, 0.1)
    np.testing.assert_allclose(published, [1.0, 0.95, 0.9, 0.65, 0.0], rtol=1e-14)
    shifted = schedules.linear_quadratic(5, 1.0, 3.0, 0.1)
    np.testing.assert_allclose(shifted, [3.0, 2.9, 2.8, 2.3, 1.0, 0.0], rtol=1e-14)
    np.testing.assert_array_equal(schedules.linear_quadratic(1, 0.0, 5.0), [5.0, 0.0])
    with pytest.raises(ValueError, match="With 1 step there is nothing to choose"):
        schedules.linear_quadratic(2, linear_steps=1)


@pytest.mark.parametrize("n, flat", [(8, None), (9, 3), (50, None), (1000, 700)])
def test_linear_quadratic_is_straight_then_bends_once(n, flat):
    levels = schedules.linear_quadratic(n, 0.0, 1.0, linear_steps=flat)
    y, flat = 1 - levels, flat or n // 2
    np.testing.assert_allclose(y[: flat + 1], 0.025 * np.arange(flat + 1) / flat, atol=1e-15)
    # A parabola with the slope of the line where they meet: its first difference of slopes is half
    # of the others, which are all equal.
    bends = np.diff(y, 2)[flat - 1 :]
    np.testing.assert_allclose(bends[1:], 2 * bends[0], rtol=0, atol=1e-15)


def test_the_order_of_steps_of_dpm_fast():
    for nfe in range(1, 40):
        # As in k-diffusion: steps of order 3, and at the end one of what is left, or 2 and 1.
        steps = nfe // 3 + 1
        orders = [3] * (steps - 2) + [2, 1] if nfe % 3 == 0 else [3] * (steps - 1) + [nfe % 3]
        assert sum(orders) == nfe
        levels = schedules.dpm_fast(nfe, 0.1, 20.0)
        assert len(levels) == len(orders) + 1 and levels[0] == 20.0 and levels[-1] == 0.1
        np.testing.assert_allclose(np.ptp(np.diff(np.log(levels))), 0, atol=1e-13)
    np.testing.assert_array_equal(schedules.dpm_fast(7, final_zero=True)[-2:], [0.002, 0.0])
    with pytest.raises(ValueError, match="`nfe` must be at least 1, got 0"):
        schedules.dpm_fast(0)


@pytest.mark.parametrize("name", DISCRETE)
@pytest.mark.parametrize("every", [29, pytest.param(1, marks=pytest.mark.slow)])
def test_discrete_levels_are_those_of_the_table(name, every):
    schedule, largest = DISCRETE[name], LARGEST.get(name, 1000)
    table = schedules.iddpm_table() if name == "iddpm" else schedules.ddpm_table()
    if largest < 1000:
        with pytest.raises(ValueError, match=r"got n = \d+: ask|fall more than once on step"):
            schedule(largest + 1)
    for n in [*range(1, largest, every), largest]:
        levels = schedule(n)
        assert isinstance(levels, np.ndarray) and levels.dtype == np.float64
        assert levels.shape == (n + 1,) and levels[-1] == 0
        assert (np.diff(levels) < 0).all()
        np.testing.assert_array_equal(schedule(n, final_zero=False), levels[:-1])
        if name not in ("normal", "sgm_uniform"):
            assert np.isin(levels[:-1], table).all()
        if name not in ("iddpm", "ddpm leading"):
            assert levels[0] == table[-1]
    with pytest.raises(ValueError, match="got n = 1001: ask for"):
        schedule(1001)
    with pytest.raises(ValueError, match="`n` must be at least 1, got 0"):
        schedule(0)
    with pytest.raises(TypeError, match=r"must be an integer, got 4\.0"):
        schedule(4.0)


@pytest.mark.parametrize("n", [1, 2, 5, 38, 97, 1000])
def test_discrete_steps_one_by_one(n):
    table, last = np.arange(1.0, 1001.0), 999

    def steps(schedule, **options):
        return schedule(n, table=table, final_zero=False, **options) - 1

    np.testing.assert_array_equal(
        steps(schedules.ddpm), [int(last - i * (last / n)) for i in range(n)]
    )
    np.testing.assert_array_equal(
        steps(schedules.simple), [last - int(i * (1000 / n)) for i in range(n)]
    )
    whole = np.exp(np.arange(1000) / 100)  # log sigma is linear in the step, also between steps
    between = np.log(schedules.sgm_uniform(n, whole, final_zero=False)) * 100
    want = [last * (n - i) / n for i in range(n)]
    np.testing.assert_allclose(between, want, rtol=0, atol=1e-10)
    if n > 1:
        between = np.log(schedules.normal(n, whole, final_zero=False)) * 100
        want = [last * (n - 1 - i) / (n - 1) for i in range(n)]
        np.testing.assert_allclose(between, want, rtol=0, atol=1e-10)
    if n <= LARGEST["beta_discrete"]:
        want = [round(last * stats.beta.ppf(1 - i / n, 0.6, 0.6)) for i in range(n)]
        np.testing.assert_array_equal(steps(schedules.beta_discrete), want)


def test_discrete_tables_of_ones_own():
    table = schedules.ddpm_table(np.full(50, 0.1))
    np.testing.assert_allclose(table**2, 0.9 ** -np.arange(1.0, 51.0) - 1, rtol=1e-13)
    for schedule in (schedules.ddpm, schedules.normal, schedules.sgm_uniform, schedules.simple):
        assert schedule(50, table=table)[0] == table[-1]
        with pytest.raises(ValueError, match="50 levels, got n = 51: ask for at most 50"):
            schedule(51, table=table)
    inside = schedules.iddpm(20, 0.1, 10.0, final_zero=False)
    assert 0.1 <= inside[-1] < 0.105 and 9.5 < inside[0] <= 10
    with pytest.raises(ValueError, match=r"has 0 levels in \[1e-05, 0.0001\], got n = 3"):
        schedules.iddpm(3, 1e-5, 1e-4)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: schedules.simple(3, [1.0, 3.0, 2.0, 4.0]), "1.0 ... 4.0 out of order: reverse or"),
        (lambda: schedules.normal(2, [4.0, 2.0]), "4.0 ... 2.0 out of order"),
        (lambda: schedules.normal(2, [0.0, 2.0]), "must be positive and finite: leave out"),
        (lambda: schedules.normal(1, [2.0, math.inf]), "must be positive and finite: leave out"),
        (
            lambda: schedules.normal(1, [[2.0]]),
            "`table` must be a sequence of levels, got shape",
        ),
        (
            lambda: schedules.ddpm_table([0.1, 1.0]),
            "got betas[1] = 1.0: at 1 nothing is left",
        ),
        (lambda: schedules.ddpm_table([math.nan]), "Every beta must be in (0, 1), got betas[0]"),
        (lambda: schedules.ddpm_table([]), "`betas` must be a sequence of numbers, got shape (0,)"),
        (lambda: schedules.ddpm_table(linear_end=2.0), "Every beta must be in (0, 1), got betas["),
        (lambda: schedules.ddpm_table(num_timesteps=0), "`num_timesteps` must be at least 1, got"),
        (lambda: schedules.ddpm_table([0.9] * 400), "must be positive and finite: leave out"),
        (lambda: schedules.ddpm(3, spacing="even"), "or 'linspace', got 'even'"),
        (lambda: schedules.iddpm_table(c1=1.0), "`c1` must be in (0, 1), got 1.0"),
        (lambda: schedules.iddpm_table(c2=-1.0), "`c2` must be at least 0 and finite, got -1.0"),
        (lambda: schedules.iddpm(5, 3.0, 2.0), "`sigma_min` must be below `sigma_max`, got 3.0"),
        (lambda: schedules.beta_discrete(139), "n = 139 quantiles of 1000 steps fall more than"),
    ],
)
def test_bad_tables_get_a_sentence(call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


def test_align_your_steps_is_the_published_table():
    # Sabour et al. (2024); the steps are those that the page gives beside the levels, an
    # independent way to the same numbers within the three digits to which they were tuned.
    steps = {
        "sd": [999, 850, 736, 645, 545, 455, 343, 233, 124, 24],
        "sdxl": [999, 845, 730, 587, 443, 310, 193, 116, 53, 13],
    }
    for model, at in steps.items():
        levels = schedules.align_your_steps(10, model)
        assert levels.shape == (11,) and levels[-1] == 0
        np.testing.assert_allclose(levels[:-1], schedules.ddpm_table()[at], rtol=0.015)
    svd = [700.0, 54.5, 15.886, 7.977, 4.248, 1.789, 0.981, 0.403, 0.173, 0.034, 0.0]
    np.testing.assert_array_equal(schedules.align_your_steps(10, "svd"), svd)
    np.testing.assert_array_equal(schedules.align_your_steps(), schedules.align_your_steps(10))


@pytest.mark.parametrize("model", ["sd", "sdxl", "svd"])
def test_align_your_steps_between_its_levels(model):
    table = schedules.align_your_steps(10, model, final_zero=False)
    end = {"sd": 0.029, "sdxl": 0.029, "svd": 0.002}[model]
    np.testing.assert_array_equal(schedules.align_your_steps(5, model)[:-1], table[::2])
    twice = schedules.align_your_steps(20, model)[:-1]
    np.testing.assert_array_equal(twice[::2], table)
    means = [math.sqrt(a * b) for a, b in itertools.pairwise([*table, end])]
    np.testing.assert_allclose(twice[1::2], means, rtol=1e-14)
    np.testing.assert_array_equal(schedules.align_your_steps(1, model), [table[0], 0.0])
    for n in (3, 7, 18, 1000):
        levels = schedules.align_your_steps(n, model)
        assert levels.shape == (n + 1,) and (np.diff(levels) < 0).all()
    with pytest.raises(ValueError, match="must be one of 'sd', 'sdxl', 'svd', got 'SD3': for"):
        schedules.align_your_steps(10, "SD3")
    with pytest.raises(ValueError, match="`n` must be at least 1, got 0"):
        schedules.align_your_steps(0, model)


@pytest.mark.parametrize(
    "n, strength, kept",
    [(10, 1.0, 10), (10, 0.75, 7), (10, 0.7, 7), (10, 0.1, 1), (18, 0.5, 9), (100, 0.29, 29),
     (50, 0.58, 29), (3, 0.999, 2), (1, 1.0, 1)],
)  # fmt: skip
def test_truncate_keeps_the_last_steps(n, strength, kept):
    sigmas = schedules.karras(n)
    np.testing.assert_array_equal(schedules.truncate(sigmas, strength), sigmas[-(kept + 1) :])
    np.testing.assert_array_equal(
        schedules.truncate([*sigmas[:-1], 1e-3], strength)[:-1], sigmas[-(kept + 1) : -1]
    )


def test_reverse_goes_up_without_zero_and_can_be_planned():
    sigmas = schedules.karras(6)
    up = schedules.reverse(sigmas)
    np.testing.assert_array_equal(up, sigmas[-2::-1])
    np.testing.assert_array_equal(schedules.reverse(sigmas[:-1]), up)
    assert ej.make_plan(ej.samplers.euler(), up).nfe == 5
    up[0] = sigmas[0] = 7.0  # neither is a view of the other
    assert sigmas[-2] == 0.002 and up[-1] == 80.0
    down = schedules.karras(6)
    schedules.truncate(down, 0.5)[:] = 7.0
    np.testing.assert_array_equal(down, schedules.karras(6))
    levels = processes.vp().levels(np.linspace(1.0, 0.1, 5))
    np.testing.assert_array_equal(schedules.reverse(levels), np.asarray(levels)[::-1])


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: schedules.truncate([2.0, 1.0, 0.0], 0.0), "`strength` must be in (0, 1], got 0.0"),
        (lambda: schedules.truncate([2.0, 1.0, 0.0], 1.5), "`strength` must be in (0, 1], got 1.5"),
        (lambda: schedules.truncate([2.0, 1.0], math.nan), "`strength` must be in (0, 1], got nan"),
        (
            lambda: schedules.truncate([2.0, 1.0, 0.0], 0.4),
            "none of the 2 steps: take at least 0.5",
        ),
        (lambda: schedules.truncate([2.0], 1.0), "at least two levels, got one"),
        (lambda: schedules.truncate([1.0, 2.0], 1.0), "must be strictly decreasing, got [1. 2.]"),
        (lambda: schedules.reverse([1.0, 1.0, 0.0]), "must be strictly decreasing, got"),
        (lambda: schedules.reverse([0.0]), "has a positive level, got 0 alone"),
        (
            lambda: schedules.reverse([]),
            "must be a sequence of noise levels, got an array of shape",
        ),
        (lambda: schedules.reverse([2.0, math.nan]), "must be finite and not negative"),
        (lambda: schedules.reverse([2.0, -1.0]), "must be finite and not negative"),
        (lambda: schedules.reverse([[2.0]]), "got an array of shape (1, 1)"),
    ],
)
def test_bad_grids_get_a_sentence(call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


GRIDS = {
    "DDPM": processes.ddpm("linear").grid(50),
    "Stable Diffusion": processes.ddpm("scaled_linear", 0.00085, 0.012).grid(20, "leading"),
    "zero terminal SNR": processes.ddpm("scaled_linear", rescale_zero_snr=True).grid(12),
    "VP": processes.vp().levels(np.linspace(1, 0, 21)),
    "sub-VP": processes.sub_vp().levels(np.linspace(1, 0, 21)),
    "flow": processes.flow().levels(np.linspace(1, 0, 11)),
    "its own frame": processes.edm(10.0).levels(np.linspace(10, 0, 11)),
}


SLOWER = pytest.mark.thorough
SOME = [name if name in ("DDPM", "VP") else pytest.param(name, marks=SLOWER) for name in GRIDS]


@pytest.mark.parametrize("name", SOME)
@pytest.mark.parametrize(
    "strength", [0.52, pytest.param(1.0, marks=SLOWER), pytest.param(0.1, marks=SLOWER)]
)
def test_image_to_image_stays_in_the_scale_of_the_process(name, strength):
    """From `add_noise` the rest of a DDIM grid runs as the same grid written as times does; on a
    Gaussian DDIM is a product of numbers, so that the sample is known."""
    grid = GRIDS[name]
    process, half = grid.process, schedules.truncate(grid, strength)
    kept = max(math.floor(strength * (len(grid) - 1)), 1)
    assert len(half) == kept + 1 and half.process is process
    np.testing.assert_array_equal(half.times, grid.times[-kept - 1 :])
    by_hand = process.levels(grid.times[-kept - 1 :])
    part = grid[len(grid) - kept - 1 :]
    problem = ej.problems.Gaussian([0.3], 0.25)
    x0, n = np.array([[0.7], [-0.2]]), np.array([[1.1], [0.4]])
    start = process.add_noise(jnp.asarray(x0, jnp.float32), jnp.asarray(n), half.times[0])
    runs = [
        ej.sample(problem, ej.make_plan(ej.samplers.ddim(), levels), start)
        for levels in (half, part, by_hand)
    ]
    for run in runs[:2]:
        np.testing.assert_array_equal(run, runs[2])
    if np.isfinite(half.sigmas[0]):
        # x - m shrinks in a step by (v + sigma sigma_next) / (v + sigma^2), the paper's DDIM.
        x = x0 + half.sigmas[0] * n - 0.3
        for sigma, below in itertools.pairwise(np.asarray(half)):
            x = x * (0.25 + sigma * below) / (0.25 + sigma**2)
        np.testing.assert_allclose(runs[0], (x + 0.3) * half.scale[-1], rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("name", SOME)
def test_a_reversed_grid_of_a_process_is_in_its_scale(name):
    grid = GRIDS[name]
    if grid.sigmas[0] == math.inf:
        with pytest.raises(ValueError, match=r"starts at infinity: leave .* `reverse\(levels\[1:"):
            schedules.reverse(grid)
        grid = grid[1:]
    up = schedules.reverse(grid)
    np.testing.assert_array_equal(up.times, np.asarray(grid.times)[-2::-1])
    assert up.process is grid.process and (np.diff(up.sigmas) > 0).all()
    problem, x = ej.problems.Gaussian([0.3], 0.25), np.array([[0.7], [-0.2]])
    first, last = (float(up.process.scale(t)) for t in (up.times[0], up.times[-1]))
    plan = ej.make_plan(ej.samplers.ddim(), up)
    got = ej.sample(problem, plan, jnp.asarray(first * x, jnp.float32))
    for sigma, above in itertools.pairwise(np.asarray(up)):
        x = 0.3 + (x - 0.3) * (0.25 + sigma * above) / (0.25 + sigma**2)
    np.testing.assert_allclose(got, last * x, rtol=1e-4, atol=1e-5)


def test_a_part_of_the_levels_of_a_process():
    grid = GRIDS["DDPM"]
    for index in (slice(24, None), slice(None, None, 5), slice(3, 9), [0, 7, 50], np.arange(5, 9)):
        part = grid[index]
        assert isinstance(part, processes.Levels) and part.process is grid.process
        np.testing.assert_array_equal(part.sigmas, np.asarray(grid)[np.asarray(index)
                                      if isinstance(index, list) else index])  # fmt: skip
        np.testing.assert_array_equal(part.sigmas, grid.process.sigma(part.times))
    assert grid[0] == grid.sigmas[0] and grid[-1] == 0.0
    with pytest.raises(IndexError):
        grid[51]
    np.testing.assert_array_equal(np.diff(grid), np.diff(grid.sigmas))  # read, not made into a grid
    traced = jax.jit(lambda t: ej.sample(
        ej.problems.Gaussian([0.3], 0.25),
        ej.make_plan(ej.samplers.ddim(), processes.vp().levels(t)[2:], ends_at_zero=False),
        jnp.ones((1, 1)),
    ))(jnp.linspace(1.0, 0.1, 6))  # fmt: skip
    by_hand = ej.make_plan(ej.samplers.ddim(), processes.vp().levels(np.linspace(1, 0.1, 6)[2:]))
    whole = ej.sample(ej.problems.Gaussian([0.3], 0.25), by_hand, jnp.ones((1, 1)))
    np.testing.assert_allclose(traced, whole, rtol=1e-4)


@pytest.mark.parametrize(
    "call",
    [
        lambda grid: np.append(grid, 0.0),
        lambda grid: np.concatenate([grid, [0.0]]),
        lambda grid: np.insert(grid, 1, 3.0),
        lambda grid: np.delete(grid, 1),
        lambda grid: np.flip(grid),
        lambda grid: [*grid, 0.0],
        lambda grid: list(grid),
        lambda grid: list(reversed(grid)),
        lambda grid: schedules.simple(2, grid),
        lambda grid: schedules.normal(2, grid),
        lambda grid: schedules.ddpm(2, table=grid),
        lambda grid: jax.jit(
            lambda t: schedules.truncate(grid.process.levels(t), 0.5)
        )(jnp.linspace(1.0, 0.1, 5)),
        lambda grid: jax.jit(
            lambda t: schedules.reverse(grid.process.levels(t))
        )(jnp.linspace(1.0, 0.1, 5)),
        lambda grid: ej.make_plan(ej.samplers.euler(), ej.make_plan(ej.samplers.euler(), grid)),
    ],
)  # fmt: skip
def test_what_would_lose_the_process_is_refused(call):
    with pytest.raises(TypeError, match=r"process|traced"):
        call(GRIDS["VP"])
