"""Plans: what a sampler sees while it is read, and the table that comes out."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.helpers import ALL, FEW, SAMPLERS, WINDOWS, later, mixture, over, uniform

import edmjax as ej
from edmjax import samplers as s

GRID = [5.0, 2.0, 1.0, 0.5, 0.0]


def same(a, b):
    """Whether two plans are equal to the bit, dtypes and structure included."""
    la, lb = jax.tree.leaves(a), jax.tree.leaves(b)
    return jax.tree.structure(a) == jax.tree.structure(b) and all(
        x.dtype == y.dtype and np.array_equal(x, y) for x, y in zip(la, lb, strict=True)
    )


@pytest.mark.parametrize("name", ALL)
def test_reading_twice_gives_equal_plans(name):
    sampler = ALL[name][0]()
    assert same(ej.make_plan(sampler, GRID), ej.make_plan(sampler, GRID))


@pytest.mark.parametrize("name", over(ALL))
def test_evaluations_are_a_shape(name):
    make, nfe = ALL[name]
    for n in (1, 2, 7):
        plan = ej.make_plan(make(), ej.schedules.karras(n))
        assert plan.nfe == nfe(n) == plan.sigmas.shape[0]
        assert jax.jit(lambda plan: jnp.zeros(plan.nfe))(plan).shape == (nfe(n),)


@pytest.mark.parametrize("name", over(ALL))
def test_windows_do_not_grow_with_the_number_of_steps(name):
    widths = []
    for n in (20, 200):
        plan = ej.make_plan(ALL[name][0](), ej.schedules.karras(n))
        widths.append((plan.y.shape[1], plan.d.shape[1], plan.z.shape[1]))
    assert widths[0] == widths[1]
    assert max(widths[0]) <= WINDOWS.get(name, 4)


@pytest.mark.parametrize("name", ALL)
def test_leaves_are_strongly_typed_host_arrays(name):
    plan = ej.make_plan(ALL[name][0](), GRID)
    for leaf in jax.tree.leaves(plan):
        assert isinstance(leaf, np.ndarray)
        assert leaf.dtype == (np.int32 if leaf is plan.draws or leaf is plan.step else np.float64)


def test_treedef_knows_nothing_but_the_structure():
    plans = [
        ej.make_plan(s.churn(s.euler(), 3.0), GRID),
        ej.make_plan(s.ddpm(), ej.schedules.karras(9)),
        ej.make_plan(s.heun(), uniform(3)),
    ]
    assert len({jax.tree.structure(plan) for plan in plans}) == 1


def test_the_table_of_a_plan_by_hand():
    """Heun on 4 -> 2 -> 0: x1 = x/2 + D/2; x2 = x + (h/2)(d1 + d2), h = -2; then the denoiser."""
    plan = ej.make_plan(s.heun(), [4.0, 2.0, 0.0])
    np.testing.assert_array_equal(plan.sigmas, [4, 2, 2])
    np.testing.assert_array_equal(plan.grid, [4, 2, 0])
    np.testing.assert_array_equal(plan.step, [0, 0, 1])
    # x2 = x0 - (x0 - D0)/4 - (x1 - D1)/2; columns: newest first.
    np.testing.assert_allclose(plan.y, [[1, 0], [0.5, 0], [-0.5, 0.75], [0, 0]])
    np.testing.assert_allclose(plan.d, [[0, 0], [0.5, 0], [0.5, 0.25], [1, 0]])
    assert plan.num_draws == 0 and plan.z.shape == (4, 0)


def test_draws_are_numbered_in_order_and_the_unused_are_dropped():
    grid = ej.schedules.karras(6)
    all_steps = ej.make_plan(s.churn(s.heun(), 40.0), grid)
    assert all_steps.num_draws == 6
    inside = sum(0.01 <= sigma <= 10 for sigma in grid)
    windowed = ej.make_plan(s.churn(s.heun(), 40.0, s_min=0.01, s_max=10.0), grid)
    assert windowed.num_draws == inside < 6
    used = windowed.draws[windowed.draws >= 0]
    np.testing.assert_array_equal(np.sort(used), np.arange(inside))

    def wasteful(x, at):
        at.noise()
        return s.euler()(x + 0.0 * at.noise() + 1.0 * at.noise(), at)

    assert ej.make_plan(wasteful, GRID).num_draws == 4
    for quiet in (s.churn(s.heun(), 0.0), s.churn(s.heun(), 1, s_noise=0.0), s.ddim(0.0)):
        assert ej.make_plan(quiet, GRID).num_draws == 0


def test_one_draw_may_enter_several_points():
    def sampler(x, at):
        z = at.noise(at.sigma, at.sigma_next)
        middle = 0.5 * x + 0.5 * at.denoise(x + z, at.sigma)
        return at.denoise(middle, at.sigma / 2) + 0.1 * z

    plan = ej.make_plan(sampler, [4.0, 2.0, 1.0])
    assert plan.num_draws == 2
    # x_1 = D1 + 0.1 z0 is not a point that was evaluated, so z0 stays in what is made of it.
    np.testing.assert_array_equal(plan.draws, [[0, -1], [-1, -1], [0, 1], [0, -1], [1, -1]])
    np.testing.assert_allclose(plan.z, [[1, 0], [0, 0], [0.1, 1], [0.05, 0], [0.1, 0]])
    np.testing.assert_array_equal(plan.intervals[0, 0], [4, 2])


def test_draws_keep_their_intervals():
    plan = ej.make_plan(s.ddpm(), GRID)
    np.testing.assert_array_equal(plan.intervals[1:4, 0], [[5, 2], [2, 1], [1, 0.5]])
    unnamed = ej.make_plan(s.churn(s.euler(), 4.0), GRID)
    np.testing.assert_array_equal(unnamed.intervals, 0)


def test_num_draws_is_an_int_outside_jit_and_an_error_inside():
    plan = ej.make_plan(s.ddpm(), GRID)
    assert plan.num_draws == 3 and type(plan.num_draws) is int
    with pytest.raises(TypeError, match="outside of jit"):
        jax.jit(lambda plan: plan.num_draws)(plan)


# ---- what a step sees


def test_a_step_sees_its_levels_index_and_last():
    seen = []

    def spy(x, at):
        seen.append((at.sigma, at.sigma_next, at.index, at.last, at.num_steps, at.levels))
        return at.denoise(x, at.sigma)

    ej.make_plan(spy, [3.0, 1.0, 0.0])
    levels = (3.0, 1.0, 0.0)
    assert seen == [(3.0, 1.0, 0, False, 2, levels), (1.0, 0.0, 1, True, 2, levels)]
    seen.clear()
    ej.make_plan(spy, [3.0, 1.0])
    assert [last for _, _, _, last, *_ in seen] == [False]
    assert all(type(level) is float for level in seen[0][-1])


def test_a_step_sees_its_past_newest_first():
    lengths, levels = [], []

    def spy(x, at):
        lengths.append(len(at.past))
        levels.append([evaluation.sigma for evaluation in at.past])
        x = at.denoise(x, at.sigma)
        return at.denoise(x, at.sigma / 2)

    ej.make_plan(spy, [4.0, 3.0, 2.0, 1.0])
    assert lengths == [0, 1, 2]
    assert levels == [[], [4.0], [3.0, 4.0]]  # the first evaluation of each step


def test_past_holds_points_and_outputs():
    def eps_form(x, at):
        """Adams-Bashforth 2 in sigma with constant weights, written on past slopes."""
        d = (x - at.denoise(x, at.sigma)) / at.sigma
        if at.past:
            old = at.past[0]
            d = 1.5 * d - 0.5 * (old.x - old.denoised) / old.sigma
        return x + (at.sigma_next - at.sigma) * d

    plan = ej.make_plan(eps_form, [4.0, 2.0, 1.0])
    # x2 = x1 - (3/2)(x1 - D1)/2 + (1/2)(x0 - D0)/4
    np.testing.assert_allclose(plan.y[2], [0.25, 0.125])
    np.testing.assert_allclose(plan.d[2], [0.75, -0.125])


def test_memory_is_carried_and_emptied():
    def counting(x, at):
        at.memory["steps"] = at.memory.get("steps", 0) + 1
        counts.append(at.memory["steps"])
        return at.denoise(x, at.sigma)

    counts = []
    ej.make_plan(counting, GRID)
    ej.make_plan(counting, GRID)
    assert counts == [1, 2, 3, 4] * 2
    counts.clear()
    ej.make_plan(s.churn(counting, 1.0), GRID)
    assert counts == [1, 1, 1, 1]


@pytest.mark.parametrize("wrap", [lambda i: s.churn(i, 1.0), s.ancestral])
def test_fresh_noise_makes_history_start_again(wrap):
    """A multistep method under fresh noise is its own first step: Euler."""
    assert same(ej.make_plan(wrap(s.dpmpp_2m()), GRID), ej.make_plan(wrap(s.euler()), GRID))


def test_raw_outputs_have_weights_of_their_own():
    """DDIM with a clipped x0 and the unclipped eps: x_next = D + sigma_next (x - R) / sigma."""

    def clipped(x, at):
        denoised, raw = at.denoise(x, at.sigma, raw=True)
        return denoised + at.sigma_next / at.sigma * (x - raw)

    plan = ej.make_plan(clipped, [4.0, 2.0, 0.0])
    np.testing.assert_allclose(plan.r, [[0], [-0.5], [0]])
    assert ej.make_plan(s.euler(), GRID).r is None

    def denoise(x, sigma):
        return {"x0": jnp.clip(2 * x, -1, 1), "raw": 2 * x}

    x = jnp.array([[3.0], [0.1]])
    expected = x
    for sigma, sigma_next in ((4.0, 2.0), (2.0, 0.0)):
        raw = 2 * expected
        expected = jnp.clip(raw, -1, 1) + sigma_next / sigma * (expected - raw)
    np.testing.assert_allclose(ej.sample(denoise, plan, x), expected, rtol=1e-6)
    # A denoiser with one output has that for its raw output too.
    one = ej.sample(lambda x, sigma: 0.5 * x, plan, x)
    np.testing.assert_allclose(
        one,
        ej.sample(lambda x, sigma: 0.5 * x, ej.make_plan(s.euler(), [4.0, 2.0, 0.0]), x),
        rtol=1e-6,
    )


# ---- scale and time


class VP:
    """The variance-preserving scale, with t = sigma: enough of a process for a plan."""

    @staticmethod
    def scale(t):
        return 1 / (1 + t * t) ** 0.5

    @staticmethod
    def time(sigma):
        return sigma


class Levels:
    def __init__(self, sigmas):
        self.sigmas, self.times, self.process = np.asarray(sigmas), 100 * np.asarray(sigmas), VP


@pytest.mark.parametrize("name", over(ALL, ("heun", "dpmpp_2m", "two_draws"), FEW))
@pytest.mark.parametrize("grid", [GRID, [5.0, 2.0, 1.0]])
def test_a_plan_may_hold_points_in_the_scale_of_a_process(x64, name, grid):
    sampler, problem = ALL[name][0](), mixture()
    plan, scaled = ej.make_plan(sampler, grid), ej.make_plan(sampler, Levels(grid))
    assert scaled.scale.shape == (scaled.nfe + 1,)
    x = 5 * jax.random.normal(jax.random.key(0), (8, 2))
    noise = ej.draw_noise(plan, jax.random.key(1), x)
    plain = ej.sample(problem, plan, x, noise=noise)
    vp = ej.sample(problem, scaled, VP.scale(grid[0]) * x, noise=noise)
    np.testing.assert_allclose(vp, VP.scale(grid[-1]) * plain, rtol=1e-12, atol=1e-13)


def test_a_step_sees_the_time_of_the_process():
    times = []

    def spy(x, at):
        times.append((at.time, at.time_next))
        return at.denoise(x, at.sigma)

    ej.make_plan(spy, Levels([2.0, 1.0]))
    ej.make_plan(spy, [2.0, 1.0])
    assert times == [(200.0, 100.0), (None, None)]


# ---- traced levels and options


def loss(plan, x, key=None):
    problem = mixture()
    return jnp.sum(jnp.sin(ej.sample(problem, plan, x, key)) ** 2)


def check_gradient(function, value, step=1e-5, rtol=1e-5):
    """`jax.grad` against central differences, every component."""
    gradient = jax.grad(function)(value)
    flat = np.asarray(value, float)
    for i in np.ndindex(flat.shape):
        bump = np.zeros_like(flat)
        bump[i] = step
        slope = (function(value + bump) - function(value - bump)) / (2 * step)
        np.testing.assert_allclose(gradient[i], slope, rtol=rtol, atol=1e-6)


@pytest.mark.parametrize(
    "name", over(["heun", "ddpm", "euler", "dpm_2", "dpmpp_2m", "churn_heun"], ["ddpm"], ["heun"])
)
def test_gradient_in_the_levels_against_finite_differences(x64, name):
    x = 5 * jax.random.normal(jax.random.key(0), (4, 2))
    key = jax.random.key(1)

    def function(log_sigmas):
        levels = [*jnp.exp(log_sigmas), 0.0]
        return loss(ej.make_plan(ALL[name][0](), levels), x, key)

    check_gradient(jax.jit(function), jnp.log(jnp.array([5.0, 2.0, 0.7])))


@pytest.mark.parametrize(
    "make, values",
    [
        (lambda v: s.ancestral(s.euler(), v), [0.0, 0.5, 1.0]),
        pytest.param(lambda v: s.churn(s.heun(), v), [0.0, 0.8, 3.0], marks=pytest.mark.thorough),
        *(
            pytest.param(make, [0.0, 1.0], marks=pytest.mark.slow)
            for make in (
                lambda v: s.churn(s.heun(), 1.0, s_noise=v),
                lambda v: s.ancestral(s.dpm_2(), 1.0, s_noise=v),
                lambda v: s.euler_maruyama(eta=v),
            )
        ),
    ],
)
def test_gradient_in_an_option(x64, make, values):
    """Finite at the ends of its range, and right inside it."""
    x, key = 5 * jax.random.normal(jax.random.key(0), (4, 2)), jax.random.key(1)
    function = jax.jit(lambda v: loss(ej.make_plan(make(v), GRID), x, key))
    for value in values:
        assert np.isfinite(jax.grad(function)(value))
    check_gradient(function, 0.6)


def test_gradient_in_the_weights_of_a_plan(x64):
    plan = ej.make_plan(s.dpmpp_2m(), GRID)
    x = jax.random.normal(jax.random.key(0), (3, 2))

    def function(d):
        return loss(ej.Plan(**{**vars(plan), "d": d}), x)

    check_gradient(function, jnp.asarray(plan.d))


@pytest.mark.parametrize("name", ["dpmpp_2m", *later("heun", "ddpm", "euler_maruyama")])
def test_traced_and_concrete_levels_agree(x64, name):
    x, key = 5 * jax.random.normal(jax.random.key(0), (4, 2)), jax.random.key(1)
    problem, sampler = mixture(), ALL[name][0]()

    @jax.jit
    def traced(levels):
        return ej.sample(problem, ej.make_plan(sampler, levels, ends_at_zero=True), x, key)

    concrete = ej.sample(problem, ej.make_plan(sampler, GRID), x, key)
    np.testing.assert_allclose(traced(jnp.array(GRID)), concrete, rtol=1e-12)


def test_a_gate_on_a_traced_level_is_a_where_and_its_draw_is_made(x64):
    sampler = s.churn(s.heun(), 4.0, s_min=0.6, s_max=3.0)
    concrete = ej.make_plan(sampler, GRID)
    traced = jax.jit(lambda g: ej.make_plan(sampler, g, ends_at_zero=True))(jnp.array(GRID))
    assert concrete.num_draws == 2 and traced.num_draws == 4
    assert isinstance(traced.y, jax.Array) and not traced.y.weak_type
    x = 5 * jax.random.normal(jax.random.key(0), (4, 2))
    noise = ej.draw_noise(traced, jax.random.key(1), x)
    full = ej.sample(mixture(), traced, x, noise=noise)
    np.testing.assert_allclose(
        full, ej.sample(mixture(), concrete, x, noise=noise[1:3]), rtol=1e-12
    )


def test_options_that_choose_are_static():
    with pytest.raises(TypeError, match=r"s_min.*number, got a traced value"):
        jax.jit(lambda v: s.churn(s.heun(), 1.0, s_min=v))(0.1)


def test_weights_are_formed_in_float64_without_x64():
    levels = jnp.asarray(ej.schedules.karras(18), jnp.float32)
    plan = ej.make_plan(s.heun(), levels)
    assert plan.y.dtype == np.float64
    expected = ej.make_plan(s.heun(), np.asarray(levels, np.float64))
    assert same(plan, expected)
    traced = jax.jit(lambda p: jax.tree.map(jnp.asarray, p))(plan)
    assert traced.y.dtype == jnp.float32 and traced.draws.dtype == jnp.int32


# ---- encoding


@pytest.mark.parametrize("name", over(SAMPLERS, ["dpmpp_2m"], ["dpmpp_2s"]))
def test_an_upward_grid_encodes(x64, name):
    problem = ej.problems.Gaussian([0.3, -0.2], 0.25)
    x0 = problem.sample(jax.random.key(0), 5)
    up = np.exp(np.linspace(math.log(0.01), math.log(5), 200))
    plan = ej.make_plan(ALL[name][0](), up)
    z = ej.sample(problem, plan, jnp.asarray(x0, jnp.float64))
    np.testing.assert_allclose(z, problem.flow(x0, up[0], up[-1]), rtol=0.05, atol=0.02)


@pytest.mark.parametrize("name", STOCH := ["ddpm", "churn_heun", "euler_maruyama"])
def test_an_upward_grid_refuses_fresh_noise(name):
    with pytest.raises(ValueError, match=r"go up.*deterministic"):
        ej.make_plan(ALL[name][0](), [0.1, 1.0, 2.0])


# ---- bad input


@pytest.mark.parametrize(
    "sigmas, words",
    [
        ([1.0], "at least two noise levels, got 1"),
        ([], "at least two noise levels, got 0"),
        ([2.0, 1.0, 1.5], r"strictly decreasing.*sigmas\[1\] = 1.0, sigmas\[2\] = 1.5"),
        ([2.0, 1.0, 1.0], "strictly decreasing"),
        ([1.0, 2.0, 1.5], "strictly increasing"),
        ([2.0, 1.0, -0.5], r"not negative, got sigmas\[2\] = -0.5"),
        ([2.0, float("nan"), 0.0], r"finite.*sigmas\[1\] = nan"),
        ([float("inf"), 1.0, 0.0], r"finite.*sigmas\[0\] = inf"),
        ([2.0, 0.0, 0.0], "Only the last level"),
        ([0.0, 1.0], "start encoding above 0"),
        (np.ones((2, 2)), r"sequence of noise levels, got an array of shape \(2, 2\)"),
        (3.0, "sequence of noise levels, got 3.0"),
    ],
)
def test_bad_levels_get_a_sentence(sigmas, words):
    with pytest.raises(ValueError, match=words):
        ej.make_plan(s.euler(), sigmas)


def test_ends_at_zero_must_agree_with_the_last_level():
    with pytest.raises(ValueError, match=r"must be 0, got 0\.5"):
        ej.make_plan(s.euler(), [2.0, 0.5], ends_at_zero=True)
    with pytest.raises(ValueError, match="must not be 0"):
        ej.make_plan(s.euler(), [2.0, 0.0], ends_at_zero=False)
    with pytest.raises(ValueError, match="pass `ends_at_zero=True`"):
        jax.jit(lambda g: ej.make_plan(s.euler(), g))(jnp.array([2.0, 0.0]))


def test_what_is_not_a_sampler_gets_a_sentence():
    with pytest.raises(TypeError, match="function of one step"):
        ej.make_plan("heun", GRID)
    with pytest.raises(TypeError, match="step 0 returned None"):
        ej.make_plan(lambda x, at: None, GRID)
    with pytest.raises(ValueError, match=r"never called `at.denoise`"):
        ej.make_plan(lambda x, at: 0.5 * x, GRID)
    with pytest.raises(TypeError, match="linear combinations"):
        ej.make_plan(lambda x, at: x * at.denoise(x, at.sigma), GRID)
    with pytest.raises(TypeError, match="linear combinations"):
        ej.make_plan(lambda x, at: at.denoise(x, at.sigma) + 1.0, GRID)
    with pytest.raises(TypeError, match="branch on levels"):
        ej.make_plan(lambda x, at: at.denoise(x, at.sigma) if x else x, GRID)
    with pytest.raises(AttributeError, match="no `clip` while a sampler is read"):
        ej.make_plan(lambda x, at: at.denoise(x, at.sigma).clip(-1, 1), GRID)
    with pytest.raises(TypeError, match="takes a point"):
        ej.make_plan(lambda x, at: at.denoise(at.sigma, x), GRID)
    with pytest.raises(TypeError, match=r"`heun` does not take two .*: pass what `heun\(...\)`"):
        ej.make_plan(s.heun, GRID)
    with pytest.raises(TypeError, match=r"linear combinations.*\*\*"):
        ej.make_plan(lambda x, at: at.denoise(x, at.sigma) ** 2, GRID)
    with pytest.raises(TypeError, match="linear combinations"):
        ej.make_plan(lambda x, at: abs(at.denoise(x, at.sigma)), GRID)
    with pytest.raises(TypeError, match="cannot branch on the value"):
        ej.make_plan(lambda x, at: x if x > 0 else at.denoise(x, at.sigma), GRID)


def test_what_is_not_called_gets_a_sentence():
    """A function that makes a sampler, or a schedule, in the place of what it returns; a name."""
    for name in s.__all__:
        if name != "gaussian_split":
            with pytest.raises(TypeError, match=rf"pass what `{name}\(...\)` returns"):
                ej.make_plan(getattr(s, name), GRID)
    for name in ej.schedules.__all__:
        with pytest.raises(ValueError, match=rf"the function `{name}`: pass what it returns"):
            ej.make_plan(s.heun(), getattr(ej.schedules, name))
    with pytest.raises(TypeError, match=r"got 'heun': pass `ej.samplers.from_name\('heun'\)`"):
        ej.make_plan("heun", GRID)


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: s.churn(s.heun(), -1.0), "`s_churn` must not be negative, got -1"),
        (lambda: s.churn(s.heun(), float("nan")), "`s_churn` must not be negative, got nan"),
        (lambda: s.churn(s.heun(), 1.0, s_noise=-1), "`s_noise` must not be negative"),
        (lambda: s.churn(s.heun(), 1.0, s_min=2, s_max=1), "`s_min` must not exceed `s_max`"),
        (lambda: s.ancestral(s.euler(), 1.5), r"`eta` must be in \[0, 1\], got 1.5"),
        (lambda: s.ddim(-0.1), r"`eta` must be in \[0, 1\], got -0.1"),
        (lambda: s.euler_maruyama(eta=-1), "`eta` must not be negative"),
        (lambda: s.euler_maruyama(final="noise"), "`final` must be 'denoise' or 'method'"),
    ],
)
def test_bad_options_get_a_sentence(make, words):
    with pytest.raises(ValueError, match=words):
        make()


# ---- text


def test_repr_is_a_table():
    text = repr(ej.make_plan(s.churn(s.heun(), 4.0), GRID))
    lines = text.splitlines()
    assert "4 steps, 7 evaluations, 4 draws" in lines[0]
    assert len(lines) == 2 + 8
    assert "D0" in text and "z3" in text and lines[-1].split() == ["7", "end", "+1", "D6"]
    assert len(repr(ej.make_plan(s.euler(), ej.schedules.karras(1000))).splitlines()) < 50
    shown = []
    jax.jit(lambda plan: shown.append(repr(plan)))(ej.make_plan(s.euler(), GRID))
    assert "sigmas=(4,)" in shown[0]


def test_a_plan_of_something_else_than_arrays_prints_too():
    plan = ej.make_plan(s.euler(), GRID)
    assert "sigmas=0" in repr(jax.tree.map(lambda _: 0, plan))
    assert "sigmas=(4,)" in repr(jax.eval_shape(lambda: jax.tree.map(jnp.asarray, plan)))


def test_mistakes_with_grids_and_weights_get_a_sentence():
    plan = ej.make_plan(s.euler(), GRID)
    with pytest.raises(TypeError, match=r"got a Plan: pass `plan.grid`"):
        ej.make_plan(s.euler(), plan)
    with pytest.raises(ValueError, match="sequence of noise levels, got '951'"):
        ej.make_plan(s.euler(), "951")
    for wrong in (["5", "1"], [True, False], np.array([5 + 1j, 1])):
        with pytest.raises(TypeError, match="must be a real scalar"):
            ej.make_plan(s.euler(), wrong)
    with pytest.raises(ValueError, match="evaluates the denoiser at sigma = nan"):
        ej.make_plan(lambda x, at: at.denoise(x, float("nan")), GRID)
    with pytest.raises(ValueError, match="formed the weight inf for point 1"):
        ej.make_plan(lambda x, at: float("inf") * at.denoise(x, at.sigma), GRID)


def test_traced_half_precision_levels_form_their_weights_in_float32():
    grid = jnp.array(GRID, jnp.bfloat16)
    traced = jax.jit(lambda g: ej.make_plan(s.heun(), g, ends_at_zero=True))(grid)
    np.testing.assert_allclose(traced.y, ej.make_plan(s.heun(), grid).y, rtol=1e-5, atol=1e-6)


def test_without_churn_traced_levels_make_no_draw():
    def made(sampler):
        return jax.jit(lambda g: ej.make_plan(sampler, g, ends_at_zero=True))(jnp.array(GRID))

    plan, plain = made(s.churn(s.heun(), 0)), made(s.heun())
    assert plan.num_draws == 0 and plan.z.shape == plain.z.shape
    np.testing.assert_array_equal(plan.y, plain.y)
    np.testing.assert_array_equal(plan.d, plain.d)


def test_a_plan_that_draws_nothing_knows_so_under_jit():
    assert jax.jit(lambda p: jnp.zeros(p.num_draws))(ej.make_plan(s.euler(), GRID)).shape == (0,)
