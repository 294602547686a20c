"""Log-densities, codes and round trips against closed forms and k-diffusion's numbers."""

import json
import pathlib

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.cases import GAUSSIAN, MIXTURE, golden
from support.helpers import compilations, later

import edmjax as ej
from edmjax import likelihood as lk, schedules, terms
from edmjax._common.trees import Flat
from edmjax.likelihood.traces import Probes, make_probes, value_and_traces

LEVELS = {"sigma_min": 0.002, "sigma_max": 80.0}
KEY = jax.random.key(0)


def gaussian():
    return ej.problems.Gaussian(**GAUSSIAN)


def mixture():
    return ej.problems.Mixture(**MIXTURE)


def of_golden():
    stored = golden("problem")
    return ej.problems.Mixture(stored["weights"], stored["means"], stored["std"] ** 2)


def data(problem, n=6, sigma=0.002, seed=1):
    return problem.sample(jax.random.key(seed), n, sigma)


def prior(problem, sigma=80.0):
    return lambda x: problem.log_prob(x, sigma)


def up(n, sampler=None, high=80.0):
    levels = schedules.theta(n + 1, sigma_max=high)
    return ej.make_plan(sampler or ej.samplers.heun(), schedules.reverse(levels))


def down(n, sampler=None):
    return ej.make_plan(sampler or ej.samplers.heun(), schedules.theta(n + 1, final_zero=False))


# ---- the log-density


@pytest.mark.parametrize("make", [pytest.param(gaussian, marks=pytest.mark.slow), mixture])
def test_the_density_with_the_problems_own_prior(x64, make):
    """The issue's 1e-5 nats; at the default tolerance 1e-8 the solver leaves less than 1e-7."""
    problem = make()
    x = data(problem)
    got = lk.log_likelihood(problem, x, **LEVELS, log_prior=prior(problem))
    np.testing.assert_allclose(got, problem.log_prob(x, 0.002), rtol=0, atol=1e-7)


@pytest.mark.thorough
@pytest.mark.parametrize("tolerance", [1e-4, 1e-6])
def test_the_tolerance_is_of_a_step_and_the_result_is_off_by_more(x64, tolerance):
    """Against the closed form of five narrow modes in eight dimensions."""
    means = np.random.default_rng(0).standard_normal((5, 8))
    problem = ej.problems.Mixture(np.ones(5) / 5, means, 0.04)
    x0 = problem.sample(jax.random.key(1), 64, 0.01)
    got = lk.log_likelihood(
        *(problem, x0),
        **{"sigma_min": 0.01, "sigma_max": 80.0, "rtol": tolerance, "atol": tolerance},
        log_prior=prior(problem),
    )
    assert 2 * tolerance < abs(got - problem.log_prob(x0, 0.01)).max() < 40 * tolerance


@pytest.mark.thorough  # docs/likelihood.md has one level of it, in a quick test
def test_of_data_on_a_subspace_it_is_a_density_in_the_whole_space(x64):
    """Points without a centre of mass: what the docstring adds leaves the law in the subspace."""
    atoms, var = 4, 0.25
    centre = np.kron(np.eye(atoms) - 1 / atoms, np.eye(3))
    problem, rank = ej.problems.Gaussian(np.zeros(12), var * centre), 9
    x = np.random.default_rng(0).normal(size=(5, 12)) @ centre
    found = {}
    for sigma_min in (0.05, 0.002):
        found[sigma_min] = lk.log_likelihood(
            problem, x, sigma_min=sigma_min, sigma_max=80.0, log_prior=prior(problem)
        )
        got = found[sigma_min] + (12 - rank) / 2 * np.log(2 * np.pi * sigma_min**2)
        total = var + sigma_min**2
        want = -(x**2).sum(1) / (2 * total) - rank / 2 * np.log(2 * np.pi * total)
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-6)
    assert (found[0.002] - found[0.05] > 9).all(), "as it is, it depends on sigma_min"


def test_the_gaussian_prior_gives_k_diffusions_numbers(x64):
    stored = golden("likelihood")
    x, options = jnp.asarray(stored["x"]), LEVELS | {"rtol": 1e-10, "atol": 1e-10}
    got = lk.log_likelihood(of_golden(), x, **options)
    np.testing.assert_allclose(got, stored["mean_over_probes"], rtol=0, atol=1e-7)


@pytest.mark.slow
def test_each_probe_gives_k_diffusions_number(x64):
    """The probes given, all along one path: their spread and mean are k-diffusion's too."""
    stored = golden("likelihood")
    x = jnp.asarray(stored["x"])
    probes = jnp.broadcast_to(jnp.asarray(stored["probes"])[:, None], (4, *x.shape))
    options = LEVELS | {"trace": "hutchinson", "return_stats": True}
    options |= {"rtol": 1e-10, "atol": 1e-10}
    want = np.asarray(stored["ll_per_probe"])
    got, stats = lk.log_likelihood(of_golden(), x, probes=probes, **options)
    np.testing.assert_allclose(got, want.mean(0), rtol=0, atol=1e-7)
    error = want.std(0, ddof=1) / 2
    np.testing.assert_allclose(stats.standard_error, error, rtol=0, atol=1e-7)
    for probe, numbers in zip(probes[1:3], want[1:3], strict=True):
        got, stats = lk.log_likelihood(of_golden(), x, probes=probe[None], **options)
        np.testing.assert_allclose(got, numbers, rtol=0, atol=1e-7)
        assert stats.standard_error is None


@pytest.mark.slow
def test_the_prior_mismatch_is_that_of_the_mean(x64):
    """Gaussian data of mean m, s.d. s: at most |m| / sigma_max nats beside the spread's share."""
    problem = ej.problems.Gaussian([0.9, -0.4], 0.25)
    x = data(problem, 64)
    off = lk.log_likelihood(problem, x, **LEVELS) - problem.log_prob(x, 0.002)
    size = np.hypot(0.9, 0.4) / 80
    assert size / 2 < np.sqrt(np.mean(off**2)) < 2 * size


@pytest.mark.parametrize("sampler, order", [("heun", 2), ("dpmpp_2m", 2), ("euler", 1)])
@pytest.mark.slow  # two programs each
def test_a_plan_is_of_its_samplers_order(x64, sampler, order):
    """The log-density is one more coordinate of the plan: the same order, on a mixture."""
    problem = mixture()
    x, errors = data(problem, 32), []
    want = problem.log_prob(x, 0.002)
    for n in (320, 640):
        plan = up(n, getattr(ej.samplers, sampler)())
        got, stats = lk.log_likelihood(
            problem, x, plan=plan, log_prior=prior(problem), return_stats=True
        )
        errors.append(np.sqrt(np.mean((got - want) ** 2)))
        assert stats.nfe == plan.nfe
    assert abs(np.log2(errors[0] / errors[1]) - order) < 0.2


@pytest.mark.slow
def test_diffraxs_solver_as_a_plan(x64):
    problem = mixture()
    x = data(problem, 32)
    plan = up(30, _dopri5())
    got = lk.log_likelihood(problem, x, plan=plan, log_prior=prior(problem))
    np.testing.assert_allclose(got, problem.log_prob(x, 0.002), rtol=0, atol=1e-5)


def _dopri5():
    return terms.from_diffrax(diffrax.Dopri5())


@pytest.mark.thorough
def test_reversible_is_of_order_two(x64):
    problem = mixture()
    x, errors = data(problem, 32), []
    for n in (160, 320):
        got = lk.log_likelihood(
            problem, x, **LEVELS, solver=lk.reversible(n), log_prior=prior(problem)
        )
        errors.append(np.sqrt(np.mean((got - problem.log_prob(x, 0.002)) ** 2)))
    assert abs(np.log2(errors[0] / errors[1]) - 2) < 0.2


def test_a_matched_gaussian_takes_no_error_at_all(x64):
    """With sigma_data that of the data both right sides are 0 in theta: any two steps will do."""
    problem = ej.problems.Gaussian(np.zeros(3), 0.09)
    x = data(problem)
    got = lk.log_likelihood(
        problem, x, **LEVELS, sigma_data=0.3, solver=lk.reversible(2), log_prior=prior(problem)
    )
    np.testing.assert_allclose(got, problem.log_prob(x, 0.002), rtol=0, atol=1e-11)


def test_the_denoisers_own_sigma_data_is_taken(x64):
    problem = ej.problems.Gaussian(np.zeros(2), 0.09)

    class Own:
        sigma_data = 0.3

        def __call__(self, x, sigma):
            return problem.denoise(x, sigma)

    x = data(problem)
    got = lk.log_likelihood(Own(), x, **LEVELS, solver=lk.reversible(2), log_prior=prior(problem))
    np.testing.assert_allclose(got, problem.log_prob(x, 0.002), rtol=0, atol=1e-11)


@pytest.mark.slow
def test_float32(x64):
    problem = mixture()
    x = data(problem, 16).astype(jnp.float32)
    want = problem.log_prob(x.astype(float), 0.002)
    for method in ({}, {"plan": up(200)}):
        levels = {} if method else LEVELS
        got = lk.log_likelihood(problem, x, **levels, **method, log_prior=prior(problem))
        # Tolerance 1e-5 and the second order of 200 steps; roundings of half a micronat a step.
        assert got.dtype == jnp.float32
        np.testing.assert_allclose(got, want, rtol=0, atol=5e-3)


# ---- traces


def _rows(denoise, sigma):
    return lambda x: denoise(x, sigma)


def test_the_exact_trace_is_the_golden_trace(x64):
    problem = of_golden()
    for case in golden("likelihood")["traces"]:
        x, sigma = jnp.asarray(case["x"]), case["sigma"]
        value, trace = value_and_traces(_rows(problem, sigma), x, 0.25, Probes(method="exact"))
        np.testing.assert_array_equal(value, problem(x, sigma))
        want = np.array(case["trace_of_denoiser_jacobian"]) - 0.25 * 4
        # The golden trace has the rounding of a difference over 1e-6 in it, a few 1e-10.
        np.testing.assert_allclose(trace[:, 0], want, rtol=0, atol=1e-9)


def test_an_exact_trace_of_many_columns(x64):
    """More columns than are formed at once, and a last group that is not full."""
    a = np.random.default_rng(0).normal(size=(150, 150))
    x = jnp.ones((2, 150))
    _, got = value_and_traces(lambda x: jnp.sin(x) @ a.T, x, 0.5, Probes(method="exact"))
    want = np.trace(a) * np.cos(1) - 75
    np.testing.assert_allclose(got, np.full((2, 1), want), rtol=1e-12)


@pytest.mark.parametrize("law", ["rademacher", *later("gaussian")])
@pytest.mark.parametrize("trace", ["hutchinson", "hutch++"])
@pytest.mark.parametrize("count", [*later(1), 4, *later(9)])
def test_estimates_have_no_bias(x64, trace, law, count):
    """4,000 estimates of an asymmetric matrix's trace, their mean within 4 standard errors."""
    a = np.random.default_rng(1).normal(size=(6, 6))
    n, x = 4000, jnp.zeros((4000, 6))
    probes = make_probes(trace, count, law, KEY, Flat(x), n)
    _, got = value_and_traces(lambda x: x @ a.T, x, 0.3, probes)
    products = count if trace == "hutchinson" else count - 2 * (count // 3)
    assert got.shape == (n, products)
    got = np.asarray(got).mean(1)
    error = got.std(ddof=1) / np.sqrt(n)
    assert error > 0.01
    assert abs(got.mean() - (np.trace(a) - 1.8)) < 4 * error


@pytest.mark.slow
@pytest.mark.parametrize("law", ["rademacher", "gaussian"])
def test_hutch_pp_is_exact_where_the_sketch_spans_all(x64, law):
    rng = np.random.default_rng(2)
    low = rng.normal(size=(8, 2)) @ rng.normal(size=(2, 8))
    x = jnp.zeros((5, 8))
    for a, shift, count in ((low, 0.0, 9), (low, 0.0, 6), (rng.normal(size=(8, 8)), 0.4, 30)):
        probes = make_probes("hutch++", count, law, KEY, Flat(x), 5)
        _, got = value_and_traces(lambda x, a=a: x @ a.T, x, shift, probes)
        want = np.trace(a) - 8 * shift
        np.testing.assert_allclose(got, np.full(got.shape, want), rtol=0, atol=1e-10)


def test_gaussian_probes_of_hutch_pp_take_a_flat_spectrum_exactly(x64):
    """All of one length in what the sketch leaves: a multiple of the identity has no spread."""
    x = jnp.zeros((5, 8))
    probes = make_probes("hutch++", 9, "gaussian", KEY, Flat(x), 5)
    _, got = value_and_traces(lambda x: 0.7 * x, x, 0.2, probes)
    np.testing.assert_allclose(got, np.full((5, 3), 4.0), rtol=1e-12)


@pytest.mark.slow
def test_rademacher_probes_are_exact_on_a_diagonal(x64):
    problem = ej.problems.Gaussian([0.0, 1.0], [0.04, 0.5])
    x = data(problem)
    got, stats = lk.log_likelihood(
        problem, x, **LEVELS, trace="hutchinson", num_probes=3, key=KEY,
        log_prior=prior(problem), return_stats=True,
    )  # fmt: skip
    np.testing.assert_allclose(got, problem.log_prob(x, 0.002), rtol=0, atol=1e-7)
    np.testing.assert_allclose(stats.standard_error, 0, atol=1e-12)


COVERAGE = [
    pytest.param("hutchinson", None, 32, marks=pytest.mark.slow),
    pytest.param("hutchinson", "gaussian", 32, marks=pytest.mark.slow),
]


@pytest.mark.parametrize("trace, law, count", COVERAGE)
def test_95_percent_of_256_points_lie_within_two_standard_errors(x64, trace, law, count):
    """Student's t with 31 degrees of freedom: 2.04. The count is binomial, here within 3 s.d."""
    problem = of_golden()
    x = data(problem, 256)
    got, stats = lk.log_likelihood(
        problem, x, **LEVELS, log_prior=prior(problem), trace=trace, num_probes=count,
        probes=law, key=KEY, return_stats=True, rtol=1e-6, atol=1e-6,
    )  # fmt: skip
    off = np.abs(got - problem.log_prob(x, 0.002))
    inside = np.mean(off < 2.04 * stats.standard_error + 2e-5)
    assert np.mean(stats.standard_error) > 0.01
    assert abs(inside - 0.95) < 3 * np.sqrt(0.95 * 0.05 / 256)


# ---- probes belong to a sample


@pytest.mark.parametrize("trace, law", [("hutchinson", "rademacher"), ("hutch++", "gaussian")])
@pytest.mark.slow
def test_rows_alone_are_rows_of_the_whole(x64, trace, law):
    problem, keys = of_golden(), ej.sample_keys(KEY, 9)
    x = data(problem, 9)
    options = {"trace": trace, "probes": law, "num_probes": 4}
    for method in (LEVELS, {"plan": up(12)}):
        together = lk.log_likelihood(problem, x, key=KEY, **options, **method)
        alone = lk.log_likelihood(problem, x[3:7], key=keys[3:7], **options, **method)
        np.testing.assert_allclose(alone, together[3:7], rtol=1e-12)
        other = lk.log_likelihood(problem, x, key=jax.random.key(1), **options, **method)
        assert (np.abs(other - together) > 1e-6).all()


def test_probes_follow_the_rule_of_draws(x64):
    x = {"a": jnp.zeros((3, 2)), "b": jnp.zeros((3, 1, 4))}
    made = make_probes("hutchinson", 2, "gaussian", KEY, Flat(x), 3).vectors
    signs = make_probes("hutchinson", 2, "rademacher", KEY, Flat(x), 3).vectors
    for i in range(3):
        for k in range(2):
            key = jax.random.fold_in(jax.random.fold_in(KEY, i), k)
            parts = [jax.random.normal(jax.random.fold_in(key, leaf), (n,), float)
                     for leaf, n in enumerate((2, 4))]  # fmt: skip
            np.testing.assert_allclose(made[i, k], np.concatenate(parts), rtol=1e-12)
    np.testing.assert_array_equal(signs, np.sign(made))


# ---- codes


def test_encode_is_the_exact_flow_of_a_gaussian(x64):
    problem = gaussian()
    x = data(problem)
    want = problem.flow(x, 0.002, 80.0)
    code = lk.encode(problem, x, **LEVELS)
    np.testing.assert_allclose(code, want, rtol=0, atol=1e-6)
    np.testing.assert_allclose(lk.decode(problem, want, **LEVELS), x, rtol=0, atol=1e-7)
    by_plan = lk.encode(problem, x, plan=up(200))
    np.testing.assert_allclose(by_plan, want, rtol=0, atol=0.05)
    reversed_ = lk.encode(problem, x, **LEVELS, solver=lk.reversible(400))
    for point in reversed_:
        np.testing.assert_allclose(point, want, rtol=0, atol=0.05)


@pytest.mark.thorough
def test_a_plan_that_encodes_is_what_sample_runs(x64):
    problem = mixture()
    x = data(problem)
    np.testing.assert_allclose(
        lk.encode(problem, x, plan=up(9)), ej.sample(problem, up(9), x), rtol=1e-13
    )
    start = 80 * jax.random.normal(KEY, (4, 2))
    to_zero = ej.make_plan(ej.samplers.heun(), schedules.karras(9))
    got = lk.decode(problem, start, plan=to_zero)
    np.testing.assert_allclose(got, ej.sample(problem, to_zero, start), rtol=1e-12)


@pytest.mark.parametrize("make", [pytest.param(gaussian, marks=pytest.mark.slow), mixture])
def test_the_reversible_round_trip_is_exact_to_rounding(x64, make):
    """1e-9 relative in float64 and 1e-3 in float32 are asked for at 50 steps."""
    problem = make()
    x = data(problem, 64)
    for dtype, bound in ((jnp.float64, 1e-12), (jnp.float32, 1e-4)):
        error = lk.round_trip(problem, x.astype(dtype), **LEVELS, solver=lk.reversible(50))
        assert error.shape == (64,) and error.dtype == dtype
        assert error.max() < bound


@pytest.mark.slow
def test_the_reversible_way_from_noise_and_back(x64):
    """Down and up again: the pair that decoding ends in is not kept, so this one starts as data."""
    problem, solver = mixture(), lk.reversible(50)
    code = lk.encode(problem, data(problem, 8), **LEVELS, solver=solver)
    back = lk.decode(problem, code, **LEVELS, solver=solver)
    alone = lk.decode(problem, code.x, **LEVELS, solver=solver)
    assert np.abs(alone - back).max() > 1e-6  # the companion is what makes it exact
    np.testing.assert_allclose(alone, back, rtol=0, atol=0.05)


@pytest.mark.slow
def test_round_trips_by_solver(x64):
    """Per sample; smaller with the tolerance and with the order; the reversible one smallest."""
    problem = mixture()
    x = data(problem, 16)
    errors = {
        "loose": lk.round_trip(problem, x, **LEVELS, rtol=1e-4, atol=1e-4),
        "tight": lk.round_trip(problem, x, **LEVELS, rtol=1e-8, atol=1e-8),
        "euler": lk.round_trip(
            problem, x, plan=(up(50, ej.samplers.euler()), down(50, ej.samplers.euler()))
        ),
        "heun": lk.round_trip(problem, x, plan=(up(50), down(50))),
        "reversible": lk.round_trip(problem, x, **LEVELS, solver=lk.reversible(50)),
    }
    worst = {name: float(error.max()) for name, error in errors.items()}
    assert all(error.shape == (16,) for error in errors.values())
    assert worst["reversible"] < 1e-12 < worst["tight"] < 1e-6 < worst["loose"] < worst["euler"]
    assert worst["tight"] < worst["heun"] < worst["euler"] / 3
    # The definition, on one of them.
    code = lk.encode(problem, x, **LEVELS, rtol=1e-4, atol=1e-4)
    off = lk.decode(problem, code, **LEVELS, rtol=1e-4, atol=1e-4) - x
    want = np.linalg.norm(off, axis=1) / np.linalg.norm(x, axis=1)
    np.testing.assert_allclose(errors["loose"], want, rtol=1e-9)


@pytest.mark.slow
def test_the_round_trip_of_zero_is_a_number(x64):
    problem = mixture()
    error = lk.round_trip(problem, jnp.zeros((2, 2)), **LEVELS, rtol=1e-4, atol=1e-4)
    assert np.isfinite(error).all() and (error > 0).all()


# ---- shapes, transforms, derivatives


class OfTree:
    """A denoiser of `{"a": (batch, 1), "b": (batch, 1, 1)}` around one of two dimensions."""

    def __init__(self, problem):
        self.problem = problem

    def __call__(self, x, sigma, cond=None):
        rows = jnp.concatenate([x["a"], x["b"][..., 0]], axis=1)
        shift = 0.0 if cond is None else cond
        out = self.problem.denoise(rows - shift, sigma) + shift
        return {"a": out[:, :1], "b": out[:, 1:, None]}


@pytest.mark.slow
def test_pytrees_and_cond(x64):
    """Data shifted by `cond` have the density of the data shifted back."""
    problem = mixture()
    rows, cond = data(problem), jnp.linspace(-1, 1, 6)[:, None]
    x = {"a": rows[:, :1] + cond, "b": (rows[:, 1:] + cond)[..., None]}
    shifted = lambda x: problem.log_prob(  # noqa: E731
        jnp.concatenate([x["a"], x["b"][..., 0]], axis=1) - cond, 80.0
    )
    want = problem.log_prob(rows, 0.002)
    for method, atol in ((LEVELS, 1e-7), ({"plan": up(200)}, 0.05)):
        got, stats = lk.log_likelihood(
            OfTree(problem), x, cond=cond, log_prior=shifted, return_stats=True, **method
        )
        np.testing.assert_allclose(got, want, rtol=0, atol=atol)
        assert jax.tree.map(jnp.shape, stats.x) == jax.tree.map(jnp.shape, x)
    solver = lk.reversible(50)
    assert lk.round_trip(OfTree(problem), x, cond=cond, solver=solver, **LEVELS).max() < 1e-12


@pytest.mark.slow
def test_half_precision_is_carried_in_float32():
    problem = mixture()
    x = data(problem).astype(jnp.bfloat16)
    for method in (LEVELS | {"solver": lk.reversible(20)}, {"plan": up(20)}):
        code = lk.encode(problem, x, **method)
        assert jax.tree.leaves(code)[0].dtype == jnp.float32
        assert lk.log_likelihood(problem, x, **method).dtype == jnp.float32


@pytest.mark.thorough
def test_outputs_in_a_dict_are_read(x64):
    problem = mixture()
    x = data(problem)

    def many(x, sigma):
        return {"x0": problem(x, sigma), "raw": 2 * x}

    for method in ({"plan": up(9)}, LEVELS | {"solver": lk.reversible(9)}):
        want = lk.log_likelihood(problem, x, **method)
        np.testing.assert_allclose(lk.log_likelihood(many, x, **method), want, rtol=1e-12)


@pytest.mark.parametrize(
    "method",
    [
        pytest.param("reversible", marks=pytest.mark.thorough),
        pytest.param("adaptive", marks=pytest.mark.slow),
        pytest.param("plan", marks=pytest.mark.slow),
    ],
)
def test_the_gradient_is_that_of_the_density(x64, method):
    """In the data: the score. In a parameter, the width: its closed derivative."""
    x = data(mixture(), 4)
    options = {
        "adaptive": LEVELS,
        "plan": {"plan": up(60, _dopri5())},
        "reversible": LEVELS | {"solver": lk.reversible(600)},
    }[method]

    def total(x, width):
        problem = ej.problems.Mixture(**MIXTURE)
        object.__setattr__(problem, "variances", width * problem.variances)
        ours = lambda x: problem.log_prob(x, 80.0)  # noqa: E731
        return jnp.sum(lk.log_likelihood(problem, x, log_prior=ours, **options))

    def exact(x, width):
        problem = ej.problems.Mixture(**MIXTURE)
        object.__setattr__(problem, "variances", width * problem.variances)
        return jnp.sum(problem.log_prob(x, 0.002))

    got = jax.jit(jax.grad(total, argnums=(0, 1)))(x, 1.1)
    want = jax.grad(exact, argnums=(0, 1))(x, 1.1)
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-3)


@pytest.mark.slow
def test_gradients_of_hutch_pp_are_finite_where_the_jacobian_has_a_low_rank(x64):
    flat = np.outer([1.0, 2.0, -1.0], [1.0, 0.0, 0.5])
    problem = ej.problems.Gaussian(np.zeros(3), flat @ flat.T)
    x = jnp.ones((2, 3))

    def total(x):
        log_p = lk.log_likelihood(problem, x, trace="hutch++", num_probes=6, key=KEY, plan=up(5))
        return jnp.sum(log_p)

    assert np.isfinite(jax.grad(total)(x)).all()


@pytest.mark.slow
def test_jit_and_vmap(x64):
    problem = mixture()
    x = data(problem, 4)
    for method in (LEVELS, {"plan": up(9)}, LEVELS | {"solver": lk.reversible(9)}):

        def one(problem, x, key, method=method):
            return lk.log_likelihood(
                problem, x, trace="hutchinson", num_probes=2, key=key, **method
            )

        want = one(problem, x, KEY)
        np.testing.assert_allclose(jax.jit(one)(problem, x, KEY), want, rtol=1e-10)
        single = jax.vmap(lambda x, key: one(problem, x[None], key[None])[0])
        np.testing.assert_allclose(single(x, ej.sample_keys(KEY, 4)), want, rtol=1e-10)


@pytest.mark.slow
def test_a_plan_and_levels_may_be_traced(x64):
    problem = mixture()
    x = data(problem, 4)
    run = jax.jit(lambda plan: lk.log_likelihood(problem, x, plan=plan))
    np.testing.assert_allclose(run(up(9)), lk.log_likelihood(problem, x, plan=up(9)), rtol=1e-10)
    solver = lk.reversible(9)
    run = jax.jit(
        lambda high, data: lk.log_likelihood(
            problem, x, sigma_min=0.002, sigma_max=high, sigma_data=data, solver=solver
        )
    )
    want = lk.log_likelihood(problem, x, sigma_min=0.002, sigma_max=50.0, solver=solver)
    np.testing.assert_allclose(run(50.0, 0.5), want, rtol=1e-10)


@pytest.mark.slow
def test_other_numbers_compile_nothing():
    """Parameters, data, keys and levels are data, for a denoiser that is a pytree."""
    problem = mixture()
    x = data(problem, 4)
    for method in ({"plan": up(5)}, LEVELS | {"solver": lk.reversible(5)}, LEVELS):

        def call(problem, x, key, method=method, **new):
            options = method | new
            return lk.log_likelihood(
                problem, x, trace="hutchinson", num_probes=2, key=key, **options
            )

        other = jax.tree.map(lambda leaf: 0.9 * leaf, problem)
        new = {"plan": up(5, high=40.0)} if "plan" in method else {"sigma_max": 40.0}
        jax.block_until_ready(call(problem, x, KEY))
        with compilations() as count:
            jax.block_until_ready(call(other, x + 1, jax.random.key(5), **new))
        assert not [name for name in count if "run" in str(name)]


@pytest.mark.slow
def test_a_function_that_closes_over_something_is_read_anew(x64):
    width = [0.25]
    x = jnp.ones((2, 2))

    def denoise(x, sigma):
        return width[0] / (width[0] + sigma**2) * x

    options = LEVELS | {"solver": lk.reversible(9)}
    first = lk.log_likelihood(denoise, x, **options)
    width[0] = 1.0
    assert np.abs(lk.log_likelihood(denoise, x, **options) - first).min() > 0.1


# ---- evaluations


@pytest.mark.parametrize(
    "name",
    ["Tsit5", *(pytest.param(s, marks=pytest.mark.slow) for s in ("Dopri8", "Bosh3", "Heun"))],
)
def test_evaluations_are_counted(x64, name):
    """`nfe` against a counter in the denoiser, rejected steps included, one sample."""
    problem, calls = mixture(), []

    def counted(x, sigma):
        jax.debug.callback(lambda: calls.append(None))
        return problem.denoise(x, sigma)

    _, stats = lk.log_likelihood(
        counted, data(problem, 1), **LEVELS, rtol=1e-3, atol=1e-3,
        solver=getattr(diffrax, name)(), return_stats=True,
    )  # fmt: skip
    jax.effects_barrier()
    # `linearize` under vmap evaluates once; a counter is called once for each evaluation.
    assert len(calls) == int(stats.nfe[0])


def test_reversible_takes_one_evaluation_a_step(x64):
    problem = mixture()
    _, stats = lk.log_likelihood(
        problem, data(problem), **LEVELS, solver=lk.reversible(12), return_stats=True
    )
    assert stats.nfe == 13 and stats.arrived.all()


# ---- bits


def test_a_uniform_law_of_256_levels_has_eight_bits(x64):
    """The density of [0, 256 step)^d is (256 step)^-d, whatever the scaling."""
    for step in (1.0, 1 / 127.5, 2 / 256):
        log_p = -12 * np.log(256 * step)
        np.testing.assert_allclose(lk.bits_per_dim(log_p, 12, step=step), 8, rtol=1e-14)


@pytest.mark.thorough
def test_bits_of_dequantised_data_bound_the_discrete_law(x64):
    """A Gaussian cut into cells: P of a cell by its integral; fine cells meet the bound."""
    problem, n = ej.problems.Gaussian([0.0], 0.25), 4000
    gaps = []
    for step in (0.5, 0.02):
        k = np.round(np.asarray(problem.sample(KEY, n)) / step) * step
        cdf = lambda x: 0.5 * (1 + jax.scipy.special.erf(x / 0.5 / np.sqrt(2)))  # noqa: E731
        exact = -np.log2(cdf(k + step / 2) - cdf(k - step / 2))[:, 0]
        x = lk.dequantize(jnp.asarray(k), jax.random.key(3), step=step)
        bound = lk.bits_per_dim(problem.log_prob(x, 0.0), 1, step=step)
        gaps.append(float(np.mean(bound - exact)))
    # The gap is step^2 / (24 s^2) nats, as the variance of a cell is step^2 / 12.
    np.testing.assert_allclose(gaps[0], 0.5**2 / (24 * 0.25) / np.log(2), rtol=0.3)
    assert 0 <= gaps[1] + 2e-3 < 5e-3


def test_dequantised_values_fill_their_cells(x64):
    k = jnp.arange(6.0)[:, None] * jnp.ones((6, 500))
    x = np.asarray(lk.dequantize(k, KEY, step=1.0))
    assert (np.round(x) == k).all()
    u = x - np.asarray(k)
    assert abs(u.mean()) < 4 / np.sqrt(12 * u.size)
    assert abs(u.var() - 1 / 12) < 4 * np.sqrt(1 / 180 / u.size)
    assert len(np.unique(u)) == u.size
    keys = ej.sample_keys(KEY, 6)
    np.testing.assert_array_equal(lk.dequantize(k[2:5], keys[2:5], step=1.0), x[2:5])
    # The probes of the same key are other numbers.
    draws = jax.random.normal(jax.random.fold_in(jax.random.fold_in(keys[0], 0), 0), (500,))
    assert abs(np.corrcoef(u[0], draws)[0, 1]) < 0.2


# ---- bad input

X = np.zeros((2, 2), np.float32)
PIXELS = np.arange(256, dtype=np.float32).reshape(2, 128)
P = mixture()


def ll(**options):
    return lambda: lk.log_likelihood(P, X, **{**LEVELS, **options})


BAD = [
    (lambda: lk.log_likelihood(P, X), ValueError, "both `sigma_min` and `sigma_max`"),
    (ll(sigma_min=0.0), ValueError, "0 < sigma_min < sigma_max, got 0.0"),
    (ll(sigma_max=0.001), ValueError, "0 < sigma_min < sigma_max"),
    (ll(sigma_max="80"), TypeError, "real scalar"),
    (ll(trace="exactly"), ValueError, "`trace` must be 'exact', 'hutchinson'"),
    (ll(trace="hutchinson"), ValueError, "draws probes: pass `key`"),
    (ll(trace="hutchinson", key=KEY, num_probes=0), ValueError, "at least 1, got 0"),
    (ll(trace="hutchinson", key=KEY, num_probes=1.5), TypeError, "an integer, got 1.5"),
    (ll(trace="hutchinson", key=KEY, probes="normal"), ValueError, "or the probes themselves"),
    (ll(trace="hutchinson", probes=X), ValueError, r"new axis 0.*got \[\(2, 2\)\]"),
    (ll(trace="hutchinson", probes=np.ones((0, 2, 2))), ValueError, "one probe or more"),
    (ll(trace=np.ones(2)), ValueError, "`trace` must be"),
    (ll(trace="hutchinson", key=3), TypeError, "typed key"),
    (ll(trace="hutchinson", key=ej.sample_keys(KEY, 3)), ValueError, "each of the 2 samples"),
    (ll(log_prior=lambda x: 0.0), ValueError, r"shape \(2,\), got float32 of shape \(\)"),
    (ll(log_prior=lambda x: x), ValueError, r"shape \(2,\), got float32 of shape \(2, 2\)"),
    (ll(log_prior=lambda x: None), TypeError, "must return an array of one number a sample"),
    (ll(log_prior=3.0), TypeError, "`log_prior` must be a function"),
    (ll(return_stats="no"), TypeError, "`return_stats` must be True or False"),
    (ll(sigma_data=-1.0), ValueError, "`sigma_data` must be one positive number"),
    (ll(rtol=0, atol=0), ValueError, "`rtol` and `atol` are both 0"),
    (ll(rtol=np.inf), ValueError, "at least 0 and finite, got inf"),
    (ll(rtol=-1.0), ValueError, "`rtol` must be at least 0 and finite, got -1"),
    (ll(max_steps=0), ValueError, "`max_steps` must be at least 1, got 0"),
    (ll(solver="tsit5"), TypeError, "diffrax"),
    (ll(solver=diffrax.Tsit5), TypeError, "diffrax"),
    (ll(solver=diffrax.Kvaerno5()), TypeError, "explicit"),
    (ll(solver=diffrax.Euler()), ValueError, "Euler has no error estimate"),
    (ll(solver=diffrax.HalfSolver(diffrax.Tsit5())), TypeError, "got HalfSolver"),
    (ll(solver=diffrax.Tsit5(), plan=up(3)), ValueError, "not both"),
    (ll(plan=down(3)), ValueError, "must go up"),
    (ll(plan=up(3), sigma_max=40.0), ValueError, "`sigma_max` is 40.0, but the grid"),
    (ll(plan=ej.samplers.heun()), TypeError, "must be a Plan"),
    (lambda: lk.decode(P, X, plan=up(3)), ValueError, "must go down"),
    (
        lambda: lk.decode(
            P, X, plan=ej.make_plan(ej.samplers.euler_maruyama(), [2.0, 1.0, 0.5])
        ),
        ValueError,
        "draws noise",
    ),
    (
        lambda: lk.decode(
            P, X, plan=ej.make_plan(ej.samplers.heun(), ej.processes.vp().levels([1.0, 0.5, 0.1]))
        ),
        ValueError,
        "scale of a process",
    ),
    (lambda: lk.decode(P, lk.Pair(X, X), **LEVELS), ValueError, "the code of `reversible`"),
    (
        lambda: lk.decode(P, lk.Pair(X, X[:1]), solver=lk.reversible(), **LEVELS),
        ValueError,
        r"of shapes \(2, 2\), got \(1, 2\)",
    ),
    (lambda: lk.encode(P, np.zeros((3, 0)), **LEVELS), ValueError, "holds no numbers"),
    (lambda: lk.round_trip(P, X, plan=up(3)), ValueError, "pair of plans"),
    (lambda: lk.reversible(0), ValueError, "at least 1, got 0"),
    (lambda: lk.log_likelihood(3, X, **LEVELS), TypeError, "function of"),
    (lambda: lk.log_likelihood(P, X.astype(int), **LEVELS), TypeError, "floating"),
    (lambda: lk.log_likelihood(P, np.float32(1), **LEVELS), ValueError, "Axis 0"),
    (lambda: lk.log_likelihood(P, X, cond=np.ones(3), **LEVELS), ValueError, "cond"),
    (lambda: lk.bits_per_dim(1.0, 0, step=1.0), ValueError, "at least 1, got 0"),
    (lambda: lk.bits_per_dim(1.0, 2, step=0.0), ValueError, "`step` must be positive"),
    (lambda: lk.dequantize(X, KEY, step=-1.0), ValueError, "`step` must be positive"),
    (lambda: lk.dequantize(X, 0, step=1.0), TypeError, "typed key"),
    (lambda: lk.dequantize(X, ej.sample_keys(KEY, 3), step=1.0), ValueError, "each of the 2"),
    (lambda: lk.dequantize(X.astype(int), KEY, step=1.0), TypeError, "floating"),
    # Pixels of [0, 1] and of 0 ... 255 with the step of [-1, 1]; 2 / 256 for 2 / 255.
    (lambda: lk.dequantize(PIXELS / 255, KEY, step=1 / 127.5), ValueError, "steps apart"),
    (lambda: lk.dequantize(PIXELS, KEY, step=1 / 127.5), ValueError, "got 0 and .* steps apart"),
    (lambda: lk.dequantize(PIXELS / 127.5 - 1, KEY, step=2 / 256), ValueError, "steps apart"),
]  # fmt: skip


@pytest.mark.parametrize("call, error, message", BAD)
def test_bad_input_gets_a_sentence(call, error, message, unchecked):
    with pytest.raises(error, match=message):
        call()


def test_a_sample_that_is_no_number_is_named():
    x = jnp.asarray(X).at[1, 0].set(jnp.nan)
    with pytest.warns(RuntimeWarning, match=r"1 of 2 samples did not finish .*: 1 \(at"):
        code = lk.encode(P, x, max_steps=50, **LEVELS)
    np.testing.assert_array_equal(np.isnan(code).any(axis=1), [False, True])


def test_an_empty_batch():
    assert lk.encode(P, X[:0], **LEVELS).shape == (0, 2)


@pytest.mark.slow
def test_max_steps_names_the_samples(x64):
    problem = mixture()
    x = data(problem, 6)
    options = LEVELS | {"rtol": 1e-6, "atol": 1e-6, "return_stats": True}
    _, stats = lk.log_likelihood(problem, x, **options)
    steps = (np.asarray(stats.nfe) - 1) // 6
    few = int(np.sort(steps)[2])
    lost = np.flatnonzero(steps > few)
    assert 0 < len(lost) < 6
    names = ".*, ".join(f"{i} \\(at sigma" for i in lost[:4])
    with pytest.warns(RuntimeWarning, match=f"{len(lost)} of 6 samples did not .*: {names}"):
        aloud = lk.log_likelihood(problem, x, max_steps=few, **options)
    run = jax.jit(lambda x: lk.log_likelihood(problem, x, max_steps=few, **options))
    for log_p, stats in (aloud, run(x)):
        np.testing.assert_array_equal(np.flatnonzero(np.isnan(log_p)), lost)
        np.testing.assert_array_equal(np.flatnonzero(~stats.arrived), lost)


def test_the_golden_numbers_agree_with_themselves():
    """The mean over probes is the exact trace's number: no probe was lost in copying."""
    stored = json.loads(
        (pathlib.Path(__file__).parents[1] / "support" / "golden" / "likelihood.json").read_text()
    )
    mean = np.mean(stored["ll_per_probe"], axis=0)
    np.testing.assert_allclose(mean, stored["mean_over_probes"], rtol=0, atol=1e-12)
