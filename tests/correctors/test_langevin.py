"""Langevin correctors: the published codes' numbers, exact laws, cost and refusals.

The loop that runs a corrector is tested in `test_correctors.py`.
"""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import random
from support import orders
from support.cases import golden, golden_problem
from support.helpers import compilations, final, first, later, mixture

import edmjax as ej
from edmjax import correctors as c, samplers as s

KEY = random.key(7)
TIMES = np.linspace(0.9, 0.05, 5)
VP = ej.processes.vp()


def stored_problem():
    stored = golden("problem")
    return ej.problems.Mixture(stored["weights"], stored["means"], stored["std"] ** 2)


@pytest.mark.parametrize("case", golden("song_sde")["cases"], ids=lambda case: f"{case['n']}")
def test_songs_predictor_corrector(x64, case):
    """Its tutorial: the corrector, then Euler-Maruyama, whose last step is a mean."""
    _, noise, bank = golden_problem()
    process, times = ej.processes.song_ve(case["sigma"]), np.linspace(1, case["eps"], case["n"])
    # One step more than the grid has, of the same size: beyond the data.
    levels = ej.processes.Levels(
        np.append(process.sigma(times), 0.0), np.append(times, 2 * times[-1] - times[-2]), process
    )
    plan = ej.make_plan(s.euler_maruyama(process, final="method"), levels)
    corrector = c.langevin(case["snr"], norm="batch_sqrt_d")
    bank = bank[: case["n_draws_pc"] - 1]  # its last draw is not used
    got = ej.sample(stored_problem(), plan, noise * plan.grid[0], noise=bank, corrector=corrector)
    expected = np.array(case["pc"])
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-11 * np.abs(expected).max())
    assert ej.total_nfe(plan, corrector) == case["nfe"]["pc"]


@pytest.mark.slow
@pytest.mark.parametrize("case", golden("song_sde")["cases"][:1], ids=lambda case: f"{case['n']}")
def test_songs_probability_flow(case):
    """The exact solution, by 5,000 steps of third order."""
    problem, noise, _ = golden_problem()
    sigma = ej.processes.song_ve(case["sigma"]).sigma
    grid = np.geomspace(sigma(1.0), sigma(case["eps"]), 5001)
    got = orders.run(problem.denoise, ej.make_plan(s.dpm_solver(3), grid), noise * grid[0])
    expected = np.array(case["pf_ode"])
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-11 * np.abs(expected).max())


# ---- the rule of the step


def moved(problem, y, t, noise, snr, norm, alpha):
    """Algorithms 4 and 5 of Song et al. in the process's own scale, y = scale x."""
    scale, sigma = VP.scale(t), VP.sigma(t)
    score = (np.asarray(problem.denoise(y / scale, sigma)) - y / scale) / sigma**2 / scale
    length = np.linalg.norm(score, axis=1, keepdims=True)
    drawn = np.linalg.norm(noise, axis=1, keepdims=True)
    if norm == "annealed":
        ratio = scale * sigma  # the standard deviation of the marginal
    else:
        drawn = math.sqrt(y.shape[1]) if norm.endswith("sqrt_d") else drawn
        ratio = drawn.mean() / length.mean() if norm == "batch" else drawn / length
        ratio = drawn / length.mean() if norm == "batch_sqrt_d" else ratio
    step = 2 * alpha * (snr * ratio) ** 2
    return y + step * score + np.sqrt(2 * step) * noise


@pytest.mark.parametrize("norm", [*first(1, c.NORMS, pytest.mark.thorough), "annealed"])
@pytest.mark.parametrize("on_result", [*later(False), True])
def test_the_papers_algorithms(x64, norm, on_result):
    """Two moves a step between probability-flow steps of the VP process, whose alpha is abar."""
    problem, rng = mixture(), np.random.default_rng(1)
    y = start = rng.normal(size=(6, 2))
    options = {"num_steps": 2, "process": VP, "on_result": on_result}
    if norm == "annealed":
        corrector = c.annealed_langevin(0.3, **options)
    else:
        corrector = c.langevin(0.3, norm=norm, **options)
    plan = ej.make_plan(s.euler(), VP.levels(TIMES))
    noise = rng.normal(size=(8, 6, 2))
    draws = iter(noise)

    def correct(y, t):
        for _ in range(2):
            y = moved(problem, y, t, next(draws), 0.3, norm, VP.scale(t) ** 2)
        return y

    for t, down in itertools.pairwise(TIMES):
        y = y if on_result else correct(y, t)
        x, ratio = y / VP.scale(t), VP.sigma(down) / VP.sigma(t)
        y = VP.scale(down) * (ratio * x + (1 - ratio) * np.asarray(problem.denoise(x, VP.sigma(t))))
        y = correct(y, down) if on_result else y
    got = ej.sample(problem, plan, start, noise=noise, corrector=corrector)
    np.testing.assert_allclose(got, y, rtol=0, atol=1e-11 * np.abs(y).max())


@pytest.mark.parametrize("norm", c.NORMS)
def test_a_norm_is_over_all_leaves_and_of_each_sample_alone(x64, norm):
    problem, rng = mixture(), np.random.default_rng(3)
    x, noise, corrector = (
        2 * rng.normal(size=(5, 2)),
        rng.normal(size=(1, 5, 2)),
        c.langevin(norm=norm),
    )

    def split(v):
        return {"a": v[..., 0], "b": v[..., 1:]}

    def of_tree(x, sigma):
        return split(problem.denoise(jnp.concatenate([x["a"][:, None], x["b"]], 1), sigma))

    whole = corrector(problem.denoise, jnp.asarray(x), 2.0, jnp.asarray(noise))
    tree = corrector(of_tree, *jax.tree.map(jnp.asarray, (split(x), 2.0, split(noise))))
    np.testing.assert_allclose(tree["a"], whole[:, 0], rtol=1e-12)
    np.testing.assert_allclose(tree["b"], whole[:, 1:], rtol=1e-12)
    rows = corrector(problem.denoise, jnp.asarray(x[2:4]), 2.0, jnp.asarray(noise[:, 2:4]))
    assert np.allclose(rows, whole[2:4], rtol=1e-12) == (not norm.startswith("batch"))


@pytest.mark.slow
def test_one_sample_alone(x64):
    plan, x = ej.make_plan(s.euler(), [2.0, 1.0]), 2 * random.normal(KEY, (5, 2), jnp.float64)

    def run(x, key, batched):
        return ej.sample(mixture(), plan, x, key, corrector=c.langevin(0.1, 2), batched=batched)

    alone = jax.vmap(lambda x, key: run(x, key, False))(x, ej.sample_keys(KEY, 5))
    np.testing.assert_allclose(alone, run(x, KEY, True), rtol=1e-11)


def test_where_nothing_moves():
    x, noise = 2 * random.normal(KEY, (4, 3)), random.normal(random.key(1), (3, 4, 3))
    problem = ej.problems.Gaussian([0.2, 0.0, -0.1], 0.3)
    for corrector in (c.langevin(0.0), c.annealed_langevin(0.0, 3)):
        np.testing.assert_array_equal(corrector(problem.denoise, x, 1.0, noise), x)
    # A score of zero sets no step.
    np.testing.assert_array_equal(c.langevin()(lambda x, sigma: x, x, 1.0, noise), x)


def test_with_a_ratio_of_zero_it_is_the_predictor():
    process, x = ej.processes.ve(), random.normal(KEY, (4, 2))
    plan = ej.make_plan(s.reverse_diffusion(process), process.levels(TIMES))
    noise = ej.draw_noise(plan, KEY, x, corrector=c.langevin(0.0))
    got = ej.sample(mixture(), plan, x, noise=noise, corrector=c.langevin(0.0))
    want = ej.sample(mixture(), plan, x, noise=noise[1::2])  # the predictor's draws
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


# ---- laws on Gaussian data


def exact_variance(denoise, plan, corrector=None):
    """The variance of what `ej.sample` makes of x ~ N(0, 1), on one-dimensional data of mean 0.

    Where everything is linear, the sample is a sum of multiples of the start and of the draws,
    and each sample of this batch is given one of them alone.
    """
    moves = 0 if corrector is None else corrector.num_draws * (ej.total_nfe(plan, corrector)
        - plan.nfe) // corrector.num_evaluations  # fmt: skip
    units = np.eye(1 + plan.num_draws + moves)[:, :, None]
    got = ej.sample(denoise, plan, units[0], noise=units[1:], corrector=corrector)
    return float(np.sum(np.asarray(got) ** 2))


@pytest.mark.parametrize("on_result", [False, *later(True)])
def test_the_exact_variance_with_an_annealed_corrector(x64, on_result):
    """In the scale of VP: DDPM's posterior and the moves, as a recursion of variances by hand."""
    data, times = 0.3, np.append(TIMES, 0.0)
    plan = ej.make_plan(s.ddpm(), VP.levels(times))
    corrector = c.annealed_langevin(0.25, 2, process=VP, on_result=on_result)

    def law(t):
        return VP.scale(t) ** 2, VP.variance(t)

    def moved(variance, t):
        abar, noise = law(t)
        step = 2 * abar * 0.25**2 * noise
        for _ in range(2):
            variance = (1 - step / (abar * data + noise)) ** 2 * variance + 2 * step
        return variance

    variance = 1.0
    for t, down in itertools.pairwise(times):
        variance = variance if on_result else moved(variance, t)
        (abar, noise), (abar_next, noise_next) = law(t), law(down)
        beta = 1 - abar / abar_next
        gain = np.sqrt(abar) * data / (abar * data + noise)  # of E[x0 | y]
        factor = np.sqrt(abar_next) * beta / noise * gain + np.sqrt(1 - beta) * noise_next / noise
        variance = factor**2 * variance + beta * noise_next / noise
        variance = moved(variance, down) if on_result and down > 0 else variance
    got = exact_variance(ej.problems.Gaussian([0.0], data), plan, corrector)
    np.testing.assert_allclose(got, variance, rtol=1e-11)


def test_the_law_that_annealed_moves_leave_alone(x64):
    data, level, snr = 0.49, 0.8, 0.4
    problem, total = ej.problems.Gaussian([0.0], data), data + level**2
    still = total / (1 - snr**2 * level**2 / total)
    corrector = c.annealed_langevin(snr, 400)
    draws = np.eye(401)[:, :, None]
    got = corrector(problem.denoise, jnp.asarray(draws[0]), level, jnp.asarray(draws[1:]))
    np.testing.assert_allclose(np.sum(np.asarray(got) ** 2), still, rtol=1e-11)


@pytest.mark.parametrize("norm", ["sample", *later("sqrt_d")])
def test_the_law_of_a_move_by_the_norm(norm):
    """By z-score: E|x'|^2 of one move from the exact law N(0, v) in d dimensions.

    With R = |x|, S = |z| and r the ratio, x' = (1 - 2 r^2 v S^2 / R^2) x + 2 r v (S / R) z, where
    E S^2 = d, E S^4 = d (d + 2) and E R^-2 = 1 / (v (d - 2)); with sqrt(d) for S, S^2 = d.
    """
    n, d, data, level, r = 20000, 8, 0.4, 0.7, 0.3
    v = data + level**2
    x = np.sqrt(v) * random.normal(random.key(1), (n, d))
    noise = random.normal(random.key(2), (1, n, d))
    problem = ej.problems.Gaussian(np.zeros(d), data)
    got = c.langevin(r, norm=norm)(problem.denoise, x, level, noise)
    fourth = d + 2 if norm == "sample" else d
    exact = v * (1 - 4 * r**2 + 4 * r**4 * fourth / (d - 2) + 4 * r**2 * fourth / (d - 2))
    squares = np.mean(np.asarray(got, np.float64) ** 2, axis=1)
    z = (squares.mean() - exact) / (squares.std() / math.sqrt(n))
    assert abs(z) < 4
    # So it is not the law that it started from, in eight dimensions.
    assert squares.mean() - v > 8 * squares.std() / math.sqrt(n)


# ---- the program


def test_one_copy_of_the_network_and_one_loop_more():
    plan, x = ej.make_plan(s.ddpm(), [5.0, 2.0, 1.0, 0.0]), jnp.ones((2, 2))

    def net(x, sigma):
        return jnp.tanh(x)

    def counts(corrector):
        noise = ej.draw_noise(plan, KEY, x, corrector=corrector)
        run = jax.jit(lambda x: ej.sample(net, plan, x, noise=noise, corrector=corrector))
        text = run.lower(x).as_text()
        return text.count("stablehlo.tanh"), text.count("stablehlo.while")

    assert counts(None) == (1, 1)
    copies, loops = counts(c.langevin(0.1))  # one of them searches for the number of a draw
    assert copies == counts(c.annealed_langevin(0.1, on_result=True))[0] == 2
    assert counts(c.langevin(0.1, 5)) == (2, loops + 1)  # the moves


def test_other_ratios_processes_and_grids_are_not_compiled_for_again():
    x, denoise = random.normal(KEY, (4, 2)), ej.denoisers.song(jax.tree_util.Partial(
        lambda w, x, t: -w * x, jnp.float32(0.1)))  # fmt: skip

    def run(snr, beta, times):
        process = ej.processes.vp(0.1, beta)
        plan = ej.make_plan(s.reverse_diffusion(process), process.levels(times))
        return final(ej.sample(denoise, plan, x, KEY, corrector=c.langevin(snr, process=process)))

    first = run(0.1, 20.0, TIMES)
    with compilations() as programs:
        other = run(np.float32(0.2), 20.0, TIMES)
        run(0, 10.0, TIMES + 0.01)
    assert programs == []
    assert not np.allclose(first, other)


@pytest.mark.slow
def test_slopes_in_the_ratio(x64):
    problem, x = mixture(), random.normal(KEY, (3, 2), jnp.float64)
    plan = ej.make_plan(s.euler(), [2.0, 1.0])
    noise = random.normal(random.key(1), (2, 3, 2), jnp.float64)

    def loss(snr):
        corrector = c.langevin(snr, 2)
        return jnp.sum(jnp.sin(ej.sample(problem, plan, x, noise=noise, corrector=corrector)))

    slope = jax.jit(jax.grad(loss))
    difference = (loss(0.2 + 1e-6) - loss(0.2 - 1e-6)) / 2e-6
    np.testing.assert_allclose(slope(0.2), difference, rtol=1e-7)
    assert np.isfinite(slope(0.0))


def test_half_precision_is_widened():
    """Three moves are carried in float32, on whose rounding to bfloat16 the denoiser is called."""
    x, noise = random.normal(KEY, (4, 2)), random.normal(random.key(1), (3, 4, 2))
    narrow, seen = x.astype(jnp.bfloat16), []

    def denoise(x, sigma):
        seen.append(x.dtype)
        return 0.5 * x

    got = c.annealed_langevin(0.01, 3)(denoise, narrow, 1.0, noise)
    want = c.annealed_langevin(0.01, 3)(denoise, narrow.astype(jnp.float32), 1.0, noise)
    assert got.dtype == jnp.float32 and set(seen) == {jnp.dtype(jnp.bfloat16), got.dtype}
    # A move is 1e-2 and less than the rounding of many a bfloat16, which the sum has not.
    np.testing.assert_allclose(got, want, atol=1e-3)


@pytest.mark.parametrize(
    ("make", "error", "sentence"),
    [
        (lambda: c.langevin(-0.1), ValueError, "`snr` must not be negative, got -0.1"),
        (lambda: c.annealed_langevin(math.nan), ValueError, "`snr` must not be negative, got nan"),
        (lambda: c.langevin("0.1"), TypeError, "`snr` must be a real scalar"),
        (lambda: c.langevin(norm="max"), ValueError, "'sqrt_d' or 'batch_sqrt_d', got 'max'"),
        (lambda: c.langevin(num_steps=0), ValueError, "`num_steps` must be at least 1, got 0"),
        (lambda: c.langevin(num_steps=1.5), TypeError, "`num_steps` must be an integer, got 1.5"),
        (lambda: c.langevin(process=ej.processes.vp), TypeError, "such as `ej.processes.vp\\(\\)`"),
    ],
)
def test_bad_input_gets_a_sentence(make, error, sentence, unchecked):
    with pytest.raises(error, match=sentence):
        make()
