"""The flow as a diffrax term in four forms, and diffrax's Runge-Kutta solvers as samplers."""

import itertools
import subprocess
import sys

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from support import laws, orders
from support.cases import GAUSSIAN, MIXTURE, Gaussian, Mixture, uniform
from support.helpers import later

import edmjax as ej

SOLVERS = {  # evaluations a step, order
    "Euler": (1, 1),
    "Heun": (2, 2),
    "Midpoint": (2, 2),
    "Ralston": (2, 2),
    "Bosh3": (3, 3),
    "Dopri5": (6, 5),
    "Tsit5": (6, 5),
    "Dopri8": (13, 8),
}
FORMS = ("theta", "log_sigma", "sigma", "t")
PROCESSES = {
    name: getattr(ej.processes, name) for name in ("edm", "vp", "sub_vp", "ve", "flow", "cosine")
}
WIDTH = 0.7  # sigma_data


def solver_of(name):
    return getattr(diffrax, name)()


def forms():
    """Every form, and "t" in every process."""
    yield from ((ej.terms.make_form(name, sigma_data=WIDTH), name) for name in FORMS[:3])
    yield from ((ej.terms.make_form("t", make()), name) for name, make in PROCESSES.items())


# ---- the forms


def test_each_form_is_the_flow(x64):
    """dy/ds by the chain rule from dx/dsigma = (x - D) / sigma, slopes by central differences."""
    problem, sigma = ej.problems.Mixture(**MIXTURE), 0.8
    x = jnp.asarray(orders.start(1.0, (5, 2)))
    slope = (x - problem(x, sigma)) / sigma
    for form, name in forms():
        flow = ej.terms.ode_term(problem, form=form).vector_field
        h = 1e-6
        # Along the flow, x(sigma + h) is x + h slope to the second order.
        before, after = (form.enter(x + d * slope, sigma + d) for d in (-h, h))
        ds = form.time(sigma + h) - form.time(sigma - h)
        got = flow(jnp.asarray(form.time(sigma)), form.enter(x, sigma), None)
        np.testing.assert_allclose(got, (after - before) / ds, rtol=1e-6, atol=1e-7, err_msg=name)


def test_times_are_ends_and_levels_and_the_way_back(x64):
    x = jnp.asarray(orders.start(3.0, (4, 2)))
    sigmas = ej.schedules.karras(12)[:-1]
    for form, name in forms():
        times = form.times(sigmas, x)
        assert times.dtype == jnp.float64 and (np.diff(times) < 0).all(), name
        np.testing.assert_allclose(form.level(times), sigmas, rtol=1e-9, err_msg=name)
        np.testing.assert_allclose(form.leave(form.enter(x, 1.3), 1.3), x, rtol=1e-12)
    assert form.times(sigmas, x.astype(jnp.bfloat16)).dtype == jnp.float32
    np.testing.assert_allclose(
        ej.terms.make_form("theta", sigma_data=2.0).enter(x, 1.5), x / 2.5, rtol=1e-15
    )


def test_theta_integrates_what_the_network_returns(x64):
    seen = []

    def net(x, c_noise, cond):
        seen.append((x, c_noise))
        return jnp.sin(3 * x) + c_noise * cond

    denoise = ej.denoisers.edm(net, sigma_data=0.4)
    y, cond = jnp.asarray(orders.start(1.0, (3, 2))), jnp.ones((3, 1))
    direct = ej.terms.ode_term(denoise).vector_field
    sigma, theta = 0.3, jnp.arctan(0.3 / 0.4)
    got = direct(theta, y, cond)
    assert seen[-1][0] is y  # at the point itself: no difference is formed
    np.testing.assert_allclose(seen[-1][1], np.log(sigma) / 4, rtol=1e-12)
    np.testing.assert_allclose(got, -(np.sin(3 * y) + np.log(sigma) / 4), rtol=1e-12)
    # By way of the denoised output, which is how any other denoiser of that width is integrated.
    around = ej.terms.ode_term(lambda x, s, c: denoise(x, s, c), sigma_data=0.4).vector_field
    np.testing.assert_allclose(around(theta, y, cond), got, rtol=1e-10, atol=1e-12)
    # Another width is another variable of the same flow, in which F is no longer the slope.
    other, by_way = (
        ej.terms.ode_term(d, sigma_data=0.5).vector_field(theta, y, cond)
        for d in (denoise, lambda x, s, c: denoise(x, s, c))
    )
    np.testing.assert_allclose(other, by_way, rtol=1e-10, atol=1e-12)


def test_terms_pass_through_jit_as_arguments():
    traces = []

    def net(scale, x, c_noise):
        return scale * x

    @jax.jit
    def slope(term, y):
        traces.append(1)
        return term.vf(jnp.float32(0.5), y, None)

    y = jnp.ones((2, 3))
    for scale in (0.5, 0.25):
        term = ej.terms.ode_term(ej.denoisers.edm(Partial(net, jnp.float32(scale))))
        np.testing.assert_allclose(slope(term, y), -scale * y, rtol=1e-6)
    assert len(traces) == 1


# ---- Runge-Kutta solvers as plans


@pytest.mark.parametrize("name", SOLVERS)
def test_a_sampler_makes_the_solvers_steps(name):
    """In NumPy: the tableau's own stages, on slopes written out for each form."""
    mixture, x, solver = Mixture(**MIXTURE), orders.start(6.0, (4, 2)), solver_of(name)
    vp = ej.processes.vp()
    # y of x, s of sigma, sigma of s, and dy/ds.
    written = {
        "theta": (
            lambda x, sigma: x / np.hypot(sigma, WIDTH),
            lambda sigma: np.arctan(sigma / WIDTH),
            lambda s: WIDTH * np.tan(s),
            lambda x, sigma: -output(mixture, x, sigma),
        ),
        "log_sigma": (lambda x, _: x, np.log, np.exp, lambda x, s: x - mixture.denoise(x, s)),
        "sigma": (
            lambda x, _: x,
            lambda s: s,
            lambda s: s,
            lambda x, s: (x - mixture.denoise(x, s)) / s,
        ),
        "t": (
            lambda x, sigma: x / np.sqrt(1 + sigma**2),
            vp.time,
            vp.sigma,
            lambda x, sigma: vp_slope(mixture, x, sigma),
        ),
    }
    grid = ej.schedules.karras(6, 0.05, 6.0)[:-1]
    for form, (enter, time, level, slope) in written.items():
        sampler = ej.terms.from_diffrax(solver, form, process=vp, sigma_data=WIDTH)
        plan = ej.make_plan(sampler, grid)
        assert plan.nfe == SOLVERS[name][0] * 5
        assert plan.y.shape[1] <= plan.nfe // 5 and plan.d.shape[1] <= plan.nfe // 5
        want = x
        for sigma, sigma_next in itertools.pairwise(grid):
            want = rk_step(solver, want, sigma, sigma_next, enter, time, level, slope)
        got = orders.run(mixture.denoise, plan, x)
        np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-10, err_msg=form)


def output(mixture, x, sigma):
    """EDM's F: D = c_skip x + c_out F."""
    c_skip = WIDTH**2 / (sigma**2 + WIDTH**2)
    c_out = sigma * WIDTH / np.hypot(sigma, WIDTH)
    return (mixture.denoise(x, sigma) - c_skip * x) / c_out


def vp_slope(mixture, x, sigma):
    """f y - g^2 / 2 score of the VP SDE, f = -beta / 2, g^2 = beta."""
    alpha = 1 / np.sqrt(1 + sigma**2)
    t = ej.processes.vp().time(sigma)
    beta = 0.1 + 19.9 * t
    score = (mixture.denoise(x, sigma) - x) / sigma**2 / alpha
    return -beta / 2 * (alpha * x + score)


def rk_step(solver, x, sigma, sigma_next, enter, time, level, slope):
    """All stages of the tableau, those without weight in the result too."""
    tableau = getattr(solver, "tableau", None)
    rows = [[]] if tableau is None else [[], *tableau.a_lower]
    weights = [1.0] if tableau is None else tableau.b_sol
    nodes = [0.0] if tableau is None else [0.0, *tableau.c]
    s, h, y, slopes = time(sigma), time(sigma_next) - time(sigma), enter(x, sigma), []
    for row, node in zip(rows, nodes, strict=True):
        y_i = y + h * sum((a * k for a, k in zip(row, slopes, strict=True)), 0 * y)
        sigma_i = level(s + node * h)
        slopes.append(slope(y_i / enter(1.0, sigma_i), sigma_i))
    y = y + h * sum(b * k for b, k in zip(weights, slopes, strict=True))
    return y / enter(1.0, sigma_next)


@pytest.mark.parametrize("form", ["theta", *later("log_sigma")])
@pytest.mark.parametrize(
    "name, steps", [("Bosh3", (120, 160)), ("Dopri5", (60, 80)), ("Dopri8", (16, 24))]
)
def test_orders(name, steps, form):
    """On the mixture, between grids whose errors are above rounding: 3.0, 5.1 and 8.1 to 8.3."""
    sampler = ej.terms.from_diffrax(solver_of(name), form, sigma_data=WIDTH)
    denoise, want = orders.problems()["mixture"]
    errors = [
        np.sqrt(np.mean((orders.run(denoise, plan, orders.start()) - want) ** 2))
        for plan in (ej.make_plan(sampler, uniform(n)) for n in steps)
    ]
    measured = np.log(errors[0] / errors[1]) / np.log(steps[1] / steps[0])
    assert abs(measured - SOLVERS[name][1]) < 0.4, measured


def test_it_is_euler_and_heun_of_the_package():
    for name, ours in (("Euler", ej.samplers.euler), ("Heun", ej.samplers.heun)):
        assert laws.same(ej.terms.from_diffrax(solver_of(name), "sigma"), ours())
    # The midpoint in log sigma is DPM-Solver-2's, but its slope is x - D and not eps.
    assert laws.same(ej.terms.from_diffrax(diffrax.Midpoint(), "sigma"), ej.samplers.midpoint())


def test_it_works_like_any_sampler():
    sampler = ej.terms.from_diffrax(diffrax.Bosh3())
    plan = ej.make_plan(sampler, ej.schedules.karras(18))
    assert plan.nfe == 3 * 17 + 1  # the step to zero is the denoiser
    assert plan.y[-1, 0] == 0 and plan.d[-1, 0] == 1
    np.testing.assert_array_equal(plan.sigmas[::3], plan.grid[:-1])  # levels to the bit
    churned = ej.make_plan(ej.samplers.churn(sampler, s_churn=40.0), ej.schedules.karras(18))
    assert churned.num_draws == 18 and churned.nfe == plan.nfe
    # Encoding and back: the flow of a Gaussian, whose exact end is known.
    gaussian, x = Gaussian(**GAUSSIAN), orders.start(0.5, (8, 2))
    up = ej.make_plan(sampler, uniform(60)[::-1])
    encoded = orders.run(gaussian.denoise, up, x)
    np.testing.assert_allclose(encoded, gaussian.flow(x, 0.5, 5.0), rtol=1e-4)
    # From the times of a process, whose scale the plan then holds its points in.
    process = ej.processes.vp()
    levels = process.levels(np.linspace(process.time(5.0), process.time(0.5), 60))
    own = ej.terms.from_diffrax(diffrax.Bosh3(), "t", process=process)
    plan, start = ej.make_plan(own, levels), orders.start(5.0, (8, 2))
    ends = plan.scale[0], plan.scale[-1]
    np.testing.assert_allclose(ends, [1 / np.sqrt(26), 1 / np.sqrt(1.25)], rtol=1e-12)
    got = laws.run(ej.problems.Gaussian(**GAUSSIAN), ej.make_plan(own, levels.sigmas), start)
    np.testing.assert_allclose(got, gaussian.flow(start, 5.0, 0.5), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["flow", *later("cosine")])
def test_theta_form_starts_at_an_infinite_level(name, x64):
    """From zero terminal SNR to the Gaussian's exact end, where `n` has become
    `mean + sqrt(v + sigma^2) n`, with an error of order 3 from grid to grid."""
    process, noise = PROCESSES[name](), orders.start(1.0, (6, 2))
    mean, variances = np.array([0.3, -0.2]), np.array([0.25, 0.04])
    problem, errors = ej.problems.Gaussian(mean, variances), []
    for steps in (20, 40):
        # The point is held in the scale of the process, in which it starts as noise.
        times = np.linspace(1.0, 0.05, steps + 1)
        levels = process.levels(times)
        plan = ej.make_plan(ej.terms.from_diffrax(diffrax.Bosh3()), levels)
        assert plan.grid[0] == np.inf
        sigma = levels.sigmas[-1]
        want = process.scale(times[-1]) * (mean + np.sqrt(variances + sigma**2) * noise)
        errors.append(np.abs(ej.sample(problem, plan, noise) - want).max())
    assert errors[1] < 1e-4 and abs(np.log2(errors[0] / errors[1]) - 3) < 0.3


@pytest.mark.slow
def test_levels_can_be_learned(x64):
    laws.check_traced_levels(ej.terms.from_diffrax(diffrax.Bosh3()))
    laws.check_slopes(
        lambda *levels: ej.make_plan(
            ej.terms.from_diffrax(diffrax.Bosh3()), list(levels), ends_at_zero=False
        ),
        [3.0, 1.1, 0.4],
    )


# ---- against diffrax


def by_diffrax(problem, x, solver, form, sigmas, process=None):
    term = ej.terms.ode_term(problem, process, form, sigma_data=WIDTH)
    form = term.vector_field.form
    ts = form.times(sigmas, x)

    @jax.jit
    def run(term, y):
        return diffrax.diffeqsolve(
            term,
            solver,
            ts[0],
            ts[-1],
            None,
            y,
            stepsize_controller=diffrax.StepTo(ts),
            max_steps=len(ts) - 1,
        ).ys

    return form.leave(run(term, form.enter(x, sigmas[0]))[0], sigmas[-1])


CASES = [("Heun", "sigma")] + [
    pytest.param(name, form, marks=pytest.mark.slow)
    for name, form in (
        ("Euler", "sigma"),
        ("Tsit5", "theta"),
        ("Bosh3", "log_sigma"),
        ("Dopri5", "t"),
    )
]


@pytest.mark.parametrize("name, form", CASES)
def test_the_scan_is_diffraxs_loop(name, form, x64):
    """karras(18) without its 0 in float64: to 1e-10 of max |x|, measured below 1e-13."""
    problem, sigmas = ej.problems.Mixture(**MIXTURE), ej.schedules.karras(18)[:-1]
    x = jnp.asarray(orders.start(80.0, (32, 2)))
    want = by_diffrax(problem, x, solver_of(name), form, sigmas, ej.processes.vp())
    samplers = [
        ej.terms.from_diffrax(solver_of(name), form, process=ej.processes.vp(), sigma_data=WIDTH)
    ]
    if form == "sigma":
        samplers.append({"Euler": ej.samplers.euler, "Heun": ej.samplers.heun}[name]())
    for sampler in samplers:
        got = ej.sample(problem, ej.make_plan(sampler, sigmas), x)
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-10 * np.abs(want).max())


# ---- mistakes


def test_mistakes_are_sentences(unchecked):
    problem, x = ej.problems.Gaussian(0.0, 1.0), jnp.ones(3)
    sampler = ej.terms.from_diffrax

    def from_the_end_of_a_process():
        flow = ej.processes.flow()
        ej.make_plan(sampler(diffrax.Bosh3(), "t", process=flow), flow.levels([1.0, 0.5, 0.1]))

    for error, text, call in (
        (
            ValueError,
            "`form` must be 'theta'.*got 'angle'",
            lambda: ej.terms.ode_term(problem, form="angle"),
        ),
        (TypeError, "`process` must be a process", lambda: ej.terms.ode_term(problem, "vp")),
        (TypeError, "`denoise` must be a denoiser", lambda: ej.terms.ode_term(3.0)),
        (ValueError, "one positive number", lambda: ej.terms.ode_term(problem, sigma_data=-1.0)),
        (ValueError, "`form` must be 'theta'", lambda: sampler(diffrax.Tsit5(), "angle")),
        (TypeError, r"pass `diffrax.Tsit5\(\)`", lambda: sampler(diffrax.Tsit5)),
        (TypeError, "Kvaerno5 is implicit", lambda: sampler(diffrax.Kvaerno5())),
        (TypeError, "ShARK is a solver of SDEs", lambda: sampler(diffrax.ShARK())),
        (TypeError, "got ReversibleHeun", lambda: sampler(diffrax.ReversibleHeun())),
        (TypeError, "got 'heun'", lambda: sampler("heun")),
        (TypeError, "got HalfSolver", lambda: sampler(diffrax.HalfSolver(diffrax.Tsit5()))),
        (ValueError, "no slope at the end of the process.*'theta'", from_the_end_of_a_process),
        (ValueError, "`form` must be 'theta'", lambda: ej.terms.ode_term(problem, form=np.ones(2))),
        (TypeError, "Levels must be numbers", lambda: ej.terms.make_form().times("high", x)),
        (ValueError, "positive and finite", lambda: ej.terms.make_form().times([80.0, 0.0], x)),
        (ValueError, "positive and finite", lambda: ej.terms.make_form().enter(x, np.inf)),
    ):
        with pytest.raises(error, match=text):
            call()


def test_times_have_the_dtype_of_the_state(x64):
    term = ej.terms.ode_term(ej.problems.Gaussian(0.0, 1.0))
    with pytest.raises(TypeError, match="times are float32 and the state is float64"):
        term.vf(jnp.float32(0.5), jnp.ones(3), None)
    with pytest.raises(TypeError, match="times are float64 and the state is float32"):
        term.vf(jnp.float64(0.5), jnp.ones(3, jnp.float32), None)
    assert term.vf(0.5, jnp.ones(3, jnp.float32), None).dtype == jnp.float32


def test_a_missing_extra_names_the_pip_command():
    code = """
import sys
sys.modules["diffrax"] = None
import edmjax
try:
    edmjax.terms
except ImportError as err:
    print(err)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'edmjax[diffrax]'" in run.stdout
