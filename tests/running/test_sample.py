"""The loop: right values, one network, no second compilation, any pytree and dtype."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from support.helpers import (
    ALL,
    FEW,
    KINDS,
    MULTISTEP_AT_ZERO,
    STOCHASTIC,
    compilations,
    gaussian,
    later,
    mixture,
    over,
)
from support.papers import single_step
from support.papers.exponential import dpmpp_multistep

import edmjax as ej
from edmjax import samplers as s

GRID = ej.schedules.karras(6)
KEY = jax.random.key(7)


def noise_of(shape, scale=80.0, dtype=jnp.float32):
    return scale * jax.random.normal(jax.random.key(0), shape, dtype)


# ---- the papers' loops


@pytest.mark.parametrize("n", [1, *later(2), 18])
def test_deterministic_samplers_equal_the_papers_loops(x64, n):
    problem, x, t = mixture(), noise_of((64, 2), dtype=jnp.float64), ej.schedules.karras(n)
    denoise = jax.jit(problem.denoise)
    loops = {
        "euler": single_step.flow(denoise, x, t, single_step.euler),
        "heun": single_step.flow(denoise, x, t, single_step.heun),
        "dpmpp_2m": dpmpp_multistep(denoise, x, t, 2),
        "dpm_2": single_step.flow(denoise, x, t, single_step.dpm_2),
    }
    for name, expected in loops.items():
        got = ej.sample(problem, ej.make_plan(ALL[name][0](), t), x)
        # 1e-12 of max |x| is some thousand roundings: both sides divide by sigma_min = 0.002.
        np.testing.assert_allclose(
            got, expected, rtol=0, atol=1e-12 * abs(expected).max(), err_msg=name
        )


@pytest.mark.parametrize("options", [(40.0, 0.05, 50.0, 1.003), *later((80.0, 0.0, np.inf, 1.0))])
def test_churned_heun_equals_algorithm_2(x64, options):
    problem, x, t = mixture(), noise_of((64, 2), dtype=jnp.float64), ej.schedules.karras(18)
    plan = ej.make_plan(s.churn(s.heun(), *options), t)
    noise = ej.draw_noise(plan, KEY, x)
    expected = single_step.churn(jax.jit(problem.denoise), x, t, noise, single_step.heun, *options)
    for got in (ej.sample(problem, plan, x, noise=noise), ej.sample(problem, plan, x, KEY)):
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12 * abs(expected).max())


# ---- the table, whatever it says


def read_off(plan, denoise, x, noise):
    """The sum over a plan's windows, row by row, as `edmjax.Plan` defines it."""
    points, outputs, raws = [x], [], []
    for k in range(plan.nfe + 1):
        point = sum(plan.z[k, s] * noise[j] for s, j in enumerate(plan.draws[k]) if j >= 0)
        for weights, vectors in ((plan.y, points), (plan.d, outputs), (plan.r, raws)):
            newest_first = zip(weights[k], vectors[::-1], strict=False)
            point = point + sum(w * v for w, v in newest_first)
        points, (out, raw) = [*points, point], denoise(point, plan.sigmas[min(k, plan.nfe - 1)])
        outputs, raws = [*outputs, out], [*raws, raw]
    return points[-1]


@pytest.mark.parametrize("widths", [(1, 1, 1), (2, 1, 2), (1, 3, 2), (4, 2, 1), (5, 5, 6)])
def test_a_plan_of_any_windows_runs_as_its_table_says(x64, widths):
    """Weights without any structure: windows wider than those of today's samplers included."""
    rng = np.random.default_rng(0)
    like = ej.make_plan(s.churn(s.euler(), 8.0), ej.schedules.karras(9))
    inside = np.arange(10)[:, None]
    y, d, r = (rng.normal(size=(10, w)) * (np.arange(w) < inside) / w for w in widths)
    y = np.where((np.arange(widths[0]) == inside) & (inside < 9), 0.7, y)  # the starting point
    plan = ej.Plan(**{**vars(like), "y": y, "d": d, "r": r})
    x = rng.normal(size=(3, 2))
    noise = rng.normal(size=(plan.num_draws, 3, 2))

    def outputs(x, sigma):
        return x / (1 + sigma**2), x / (2 + sigma**2)

    def denoise(x, sigma):
        return dict(zip(("x0", "raw"), outputs(x, sigma), strict=True))

    got = ej.sample(denoise, plan, jnp.asarray(x), noise=jnp.asarray(noise))
    expected = read_off(plan, outputs, x, noise)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12 * abs(expected).max())


# ---- evaluations


@pytest.mark.parametrize("name", over(ALL))
def test_the_network_runs_nfe_times(name):
    make, nfe = ALL[name]
    levels = []

    def denoise(x, sigma):
        jax.debug.callback(lambda sigma: levels.append(float(sigma)), sigma, ordered=True)
        return 0.5 * x

    plan = ej.make_plan(make(), ej.schedules.karras(5))
    ej.sample(denoise, plan, noise_of((3, 2)), KEY)
    jax.effects_barrier()
    assert len(levels) == nfe(5) == plan.nfe
    np.testing.assert_allclose(levels, plan.sigmas, rtol=1e-6)


@pytest.mark.parametrize("name", over([name for name in ALL if name not in MULTISTEP_AT_ZERO]))
def test_the_step_to_zero_is_the_denoiser(name):
    plan = ej.make_plan(ALL[name][0](), [2.0, 1.0, 0.0])
    last = jnp.array([[3.25, -0.1]])
    got = ej.sample(
        lambda x, sigma: jnp.where(sigma == plan.sigmas[-1], last, 0.1 * x), plan, last, KEY
    )
    np.testing.assert_array_equal(got, last)


# ---- one network, in one program


def tanh_net(params, x, sigma):
    return jnp.tanh(x @ params)


NET = Partial(tanh_net, 0.3 * jnp.eye(4))


@pytest.mark.parametrize("name", over(ALL))
def test_one_copy_of_the_network(name):
    plan = ej.make_plan(ALL[name][0](), GRID)
    run = jax.jit(lambda net, plan, x, key: ej.sample(net, plan, x, key))
    lowered = run.lower(NET, plan, noise_of((2, 4)), KEY)
    assert lowered.as_text().count("stablehlo.tanh") == 1
    assert lowered.as_text().count("stablehlo.dot_general") == 1  # the network's own
    compiled = lowered.compile().as_text()
    assert compiled.count(" tanh(") == 1
    assert " conditional(" not in compiled


@pytest.mark.parametrize(
    "names", [KINDS, *later(tuple(ALL), mark=pytest.mark.slow)], ids=["kinds", "all"]
)
def test_the_mix_is_multiply_adds(names):
    for name in names:
        plan = ej.make_plan(ALL[name][0](), GRID)
        run = jax.jit(lambda plan, x, key: ej.sample(lambda x, sigma: 0.9 * x, plan, x, key))
        assert "dot_general" not in run.lower(plan, noise_of((2, 4)), KEY).as_text()


@pytest.mark.parametrize("name", ["churn_heun", *later("euler", "heun", "dpmpp_2m")])
def test_memory_does_not_grow_with_the_number_of_steps(name):
    """But for the plan's own weights: a few numbers an evaluation."""
    x, temporary = noise_of((8, 64)), []
    for n in (10, 1000):
        plan = ej.make_plan(ALL[name][0](), ej.schedules.karras(n))
        run = jax.jit(lambda plan, x, key: ej.sample(lambda x, sigma: jnp.tanh(x), plan, x, key))
        memory = run.lower(plan, x, KEY).compile().memory_analysis()
        temporary.append(memory.temp_size_in_bytes - 4 * sum(v.size for v in jax.tree.leaves(plan)))
    assert temporary[1] <= temporary[0] + x.nbytes


@pytest.mark.parametrize(
    "name, arrays",
    [
        pytest.param("euler", 1, marks=pytest.mark.thorough),
        pytest.param("heun", 2, marks=pytest.mark.thorough),
        ("dpmpp_2m", 2),
    ],
)
def test_remat_keeps_the_carry_and_nothing_else(name, arrays):
    x = noise_of((16, 28, 28))
    weights = jnp.eye(28)

    def net(x, sigma):
        return jnp.tanh(jnp.tanh(jnp.tanh(x @ weights) @ weights) @ weights)

    @jax.jit
    def gradient(x, plan, remat=True):
        return jax.grad(lambda x: ej.sample(net, plan, x, remat=remat).sum())(x)

    memory, evaluations = [], []
    for n in (16, 64):
        plan = ej.make_plan(ALL[name][0](), ej.schedules.karras(n))
        analysis = gradient.lower(x, plan).compile().memory_analysis()
        memory.append(analysis.temp_size_in_bytes)
        evaluations.append(plan.nfe)
    carry = arrays * x.nbytes
    assert memory[1] - memory[0] <= 1.2 * (evaluations[1] - evaluations[0]) * carry
    plan = ej.make_plan(ALL[name][0](), GRID)
    with_remat = jax.grad(lambda x: ej.sample(net, plan, x, remat=True).sum())(x)
    without = jax.grad(lambda x: ej.sample(net, plan, x).sum())(x)
    np.testing.assert_allclose(with_remat, without, rtol=1e-4, atol=1e-6)


# ---- no second compilation


def test_one_compilation_in_the_users_jit():
    @jax.jit
    def generate(net, plan, x, key):
        return ej.sample(ej.denoisers.edm(net, sigma_data=0.5), plan, x, key)

    x = noise_of((2, 4))
    plans = [
        ej.make_plan(s.churn(s.heun(), 8.0), ej.schedules.karras(6)),
        ej.make_plan(s.churn(s.heun(), 3.0), ej.schedules.exponential(6)),
        ej.make_plan(s.churn(s.heun(), 8.0, s_noise=1.01), ej.schedules.karras(6, rho=5)),
    ]
    nets = [Partial(tanh_net, scale * jnp.eye(4)) for scale in (0.1, 0.2, 0.3)]
    keys = [jax.random.key(seed) for seed in range(3)]
    results = [jax.block_until_ready(generate(nets[0], plans[0], x, keys[0]))]
    with compilations() as programs:
        for net, plan, key in zip(nets[1:], plans[1:], keys[1:], strict=True):
            results.append(jax.block_until_ready(generate(net, plan, x, key)))
    assert programs == [] and generate._cache_size() == 1
    assert np.ptp([float(result.sum()) for result in results]) > 1e-3


def test_plans_of_equal_shape_share_a_program_whatever_the_solver():
    run = jax.jit(lambda plan, x: ej.sample(lambda x, sigma: 0.9 * x, plan, x))
    for sampler in (s.heun(), s.dpm_2(), s.dpmpp_2m(), s.euler()):
        run(ej.make_plan(sampler, [3.0, 2.0, 1.0]), noise_of((2, 4)))
    # heun keeps 2 points and 2 outputs, dpm_2 2 and 1, dpmpp_2m 1 and 2, euler 1 and 1
    assert run._cache_size() == 4
    run(ej.make_plan(s.heun(), [7.0, 2.5, 0.3]), noise_of((2, 4)))
    assert run._cache_size() == 4


def test_three_bare_calls_compile_once():
    x = noise_of((2, 4))
    denoisers = [
        ej.denoisers.edm(Partial(tanh_net, scale * jnp.eye(4))) for scale in (0.1, 0.2, 0.3)
    ]
    plans = [ej.make_plan(s.ddpm(), ej.schedules.karras(5, rho=rho)) for rho in (5, 6, 7)]
    keys = [jax.random.key(seed) for seed in range(3)]
    with compilations() as programs:
        results = [
            jax.block_until_ready(ej.sample(d, p, x, k))
            for d, p, k in zip(denoisers, plans, keys, strict=True)
        ]
    assert len(programs) == 1, programs
    assert np.ptp([float(result.sum()) for result in results]) > 1e-3


@pytest.mark.parametrize("wrap", [lambda f: f, lambda f: ej.denoisers.edm(f), Partial])
def test_a_plain_function_is_traced_anew_at_each_bare_call(wrap):
    scale = [0.5]

    def closes_over(x, level):
        return scale[0] * x

    denoise, plan, x = wrap(closes_over), ej.make_plan(s.euler(), [1.0, 0.0]), jnp.ones((1, 1))
    first = ej.sample(denoise, plan, x)
    scale[0] = 0.25
    assert ej.sample(denoise, plan, x) != first


def test_a_bound_method_is_traced_anew_at_each_bare_call():
    class Net:
        scale = 0.5

        def denoise(self, x, sigma):
            return self.scale * x

    net, plan, x = Net(), ej.make_plan(s.euler(), [1.0, 0.0]), jnp.ones((1, 1))
    assert ej.sample(net.denoise, plan, x) == 0.5
    net.scale = 0.25
    assert ej.sample(net.denoise, plan, x) == 0.25


# ---- transformations, pytrees, dtypes


@pytest.mark.parametrize("name", over(ALL, ["churn_heun"], FEW))
def test_same_under_jit_vmap_and_for_one_sample(name):
    problem, plan, x = mixture(), ej.make_plan(ALL[name][0](), GRID), noise_of((5, 2))
    bare = ej.sample(problem, plan, x, KEY)
    jitted = jax.jit(lambda plan, x, key: ej.sample(problem, plan, x, key))(plan, x, KEY)
    # The same arithmetic in programs that XLA fuses differently: some roundings, times 1/sigma.
    np.testing.assert_allclose(jitted, bare, rtol=1e-4, atol=1e-5)
    keys = ej.sample_keys(KEY, 5)
    single = jax.vmap(lambda x, key: ej.sample(problem, plan, x, key, batched=False))(x, keys)
    np.testing.assert_allclose(single, bare, rtol=1e-4, atol=1e-5)
    grids = np.stack([GRID, ej.schedules.karras(6, rho=5)])
    plans = [ej.make_plan(ALL[name][0](), grid) for grid in grids]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *plans)
    both = jax.vmap(lambda plan: ej.sample(problem, plan, x, KEY))(stacked)
    expected = [ej.sample(problem, plan, x, KEY) for plan in plans]
    np.testing.assert_allclose(both, jnp.stack(expected), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", over(ALL, ["dpmpp_2m"], FEW))
def test_gradient_in_x_against_finite_differences(x64, name):
    problem, plan = mixture(), ej.make_plan(ALL[name][0](), [5.0, 2.0, 0.7, 0.2, 0.0])
    x = noise_of((2, 2), 5.0, jnp.float64)
    function = jax.jit(lambda x: jnp.sum(jnp.sin(ej.sample(problem, plan, x, KEY))))
    gradient = jax.grad(function)(x)
    for index in np.ndindex(x.shape):
        bump = jnp.zeros_like(x).at[index].set(1e-6)
        slope = (function(x + bump) - function(x - bump)) / 2e-6
        np.testing.assert_allclose(gradient[index], slope, rtol=1e-6, atol=1e-8)


def tree_denoise(x, sigma):
    return jax.tree.map(lambda leaf: leaf / (1 + sigma.astype(leaf.dtype) ** 2), x)


@pytest.mark.parametrize("name", over(ALL, ["churn_heun"], FEW))
def test_any_pytree_keeps_its_structure_shapes_and_dtypes(x64, name):
    plan = ej.make_plan(ALL[name][0](), [3.0, 1.0, 0.1, 0.0])
    dtypes = (jnp.float16, jnp.bfloat16, jnp.float32, jnp.float64)
    leaves = [
        noise_of((4, *shape), 3.0).astype(d)
        for shape, d in zip([(), (2,), (3, 2), (2, 2, 2)], dtypes, strict=True)
    ]
    x = {"a": leaves[0], "b": (leaves[1], [leaves[2]]), "c": leaves[3]}
    got = ej.sample(tree_denoise, plan, x, KEY)
    assert jax.tree.structure(got) == jax.tree.structure(x)
    for g, leaf in zip(jax.tree.leaves(got), jax.tree.leaves(x), strict=True):
        assert g.shape == leaf.shape and g.dtype == leaf.dtype
        assert np.isfinite(np.asarray(g, np.float64)).all()
    # Each leaf is what it would be alone, but for the noise, which knows the leaf's number.
    if plan.num_draws == 0:
        alone = ej.sample(lambda x, sigma: x / (1 + sigma**2), plan, x["c"])
        np.testing.assert_allclose(got["c"], alone, rtol=1e-12)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32, jnp.float64])
def test_what_the_denoiser_sees(x64, dtype):
    seen = []

    def denoise(x, sigma):
        seen.append((x.dtype, x.shape, sigma.dtype, sigma.shape, sigma.weak_type))
        return x / 2

    x = jnp.ones((2, 3, 4, 5), dtype)
    out = ej.sample(denoise, ej.make_plan(s.heun(), [2.0, 1.0]), x)
    assert out.dtype == dtype
    level = jnp.promote_types(dtype, jnp.float32)
    assert set(seen) == {(x.dtype, x.shape, level, (), False)}


@pytest.mark.parametrize("name", over(ALL, ["dpmpp_2m"], FEW))
def test_bfloat16_is_within_roundings_of_float32(name):
    """On a Gaussian, where no rounding can decide for another mode, and with the same noise.

    One rounding, of the result: an exact problem is given the points as the loop holds them.
    """
    plan = ej.make_plan(ALL[name][0](), ej.schedules.karras(18))
    x = noise_of((512, 2)).astype(jnp.bfloat16)
    noise = ej.draw_noise(plan, KEY, x)
    half = ej.sample(gaussian(), plan, x, noise=noise)
    wide = [leaf.astype(jnp.float32) for leaf in (x, noise)]
    full = ej.sample(gaussian(), plan, wide[0], noise=wide[1])
    assert half.dtype == jnp.bfloat16
    gap = jnp.abs(half.astype(jnp.float32) - full) / jnp.abs(full).max()
    assert gap.max() <= jnp.finfo(jnp.bfloat16).eps
    assert jnp.median(gap) <= jnp.finfo(jnp.bfloat16).eps / 4


# ---- cond, outputs, trajectory


def test_cond_reaches_the_denoiser(x64):
    plan, x = ej.make_plan(s.heun(), [2.0, 1.0, 0.0]), noise_of((3, 2), 2.0, jnp.float64)
    cond = {"shift": jnp.arange(3.0)}

    def denoise(x, sigma, cond):
        return 0.5 * x + cond["shift"][:, None]

    shifted = ej.sample(denoise, plan, x, cond=cond)
    for i in range(3):
        alone = ej.sample(lambda x, sigma, i=i: 0.5 * x + cond["shift"][i], plan, x[i : i + 1])
        np.testing.assert_allclose(shifted[i], alone[0], rtol=1e-12)
    with pytest.raises(ValueError, match=r"leaf of `cond` counts the 3 samples.*\(2,\)"):
        ej.sample(denoise, plan, x, cond={"shift": jnp.zeros(2)})


def test_trajectory_saves_every_evaluation():
    problem, plan, x = mixture(), ej.make_plan(s.heun(), GRID), noise_of((4, 2))
    x0, points = ej.trajectory(problem, plan, x)
    np.testing.assert_array_equal(x0, ej.sample(problem, plan, x))
    assert points.shape == (plan.nfe, 4, 2)
    np.testing.assert_allclose(points[0], x)
    x0, saved = ej.trajectory(
        problem, plan, x, save=lambda x, denoised, sigma: (x, denoised, sigma)
    )
    np.testing.assert_allclose(saved[2], plan.sigmas, rtol=1e-6)
    for point, denoised, sigma in zip(*saved, strict=True):
        np.testing.assert_allclose(denoised, problem.denoise(point, sigma), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(saved[1][-1], x0)


# ---- bad input


@pytest.mark.parametrize(
    "change, error, words",
    [
        ({"x": jnp.ones((2, 4), int)}, TypeError, r"floating arrays, got int32\[2, 4\].*astype"),
        ({"x": "noise"}, TypeError, "pytree of floating arrays, got str 'noise'"),
        ({"x": {}}, ValueError, "`x` holds no arrays"),
        ({"x": jnp.float32(1.0)}, ValueError, "Axis 0.*counts samples.*batched=False"),
        ({"x": {"a": jnp.ones((2, 4)), "b": jnp.ones((3, 4))}}, ValueError, r"\(2, 4\), \(3, 4\)"),
        ({"plan": s.heun()}, TypeError, "must be a Plan.*got the function 'step'"),
        ({"plan": GRID}, TypeError, r"must be a Plan.*got an array of float64\[7\]"),
        ({"denoise": 3}, TypeError, "`denoise` must be a function"),
        (
            {"denoise": lambda x, sigma: x[:, :1]},
            ValueError,
            r"shape of `x`, \(2, 4\), got \(2, 1\)",
        ),
        (
            {"denoise": lambda x, sigma: (x, x)},
            ValueError,
            "The denoiser must return the structure",
        ),
        (
            {"denoise": lambda x, sigma: {"x0": x, "raw": x[0]}},
            ValueError,
            "'raw' must return the shape",
        ),
        ({"key": None}, ValueError, "draws noise: pass `key` or `noise`"),
        ({"key": jax.random.PRNGKey(0)}, TypeError, r"typed key.*got an array of uint32\[2\]"),
        ({"key": 0}, TypeError, "typed key.*got 0"),
        ({"key": ej.sample_keys(KEY, 3)}, ValueError, r"each of the 2 samples, got shape \(3,\)"),
        ({"key": jax.random.key(0, impl="rbg")}, ValueError, "rbg.*under vmap.*threefry"),
        (
            {"noise": jnp.zeros((4, 2, 4))},
            ValueError,
            r"\(num_draws, .*\) = \(5, 2, 4\), got \(4, 2, 4\)",
        ),
        ({"noise": jnp.zeros((5, 4, 2))}, ValueError, r"got \(5, 4, 2\); `ej.draw_noise"),
        ({"noise": {"a": jnp.zeros((5, 2, 4))}}, ValueError, "`noise` must have the structure"),
        ({"noise": jnp.zeros((5, 2, 4), int)}, TypeError, "`noise` must hold floating"),
        ({"batched": False, "key": ej.sample_keys(KEY, 2)}, ValueError, "`key` one key, got shape"),
    ],
)
def test_bad_input_gets_a_sentence_before_any_compilation(change, error, words):
    arguments = {
        "denoise": lambda x, sigma: 0.5 * x,
        "plan": ej.make_plan(s.ddpm(), GRID),
        "x": jnp.ones((2, 4)),
        "key": KEY,
    }
    with compilations() as programs, pytest.raises(error, match=words):
        ej.sample(**{**arguments, **change})
    assert programs == []


def test_a_trajectory_without_a_function_gets_a_sentence(unchecked):
    plan = ej.make_plan(s.euler(), GRID)
    with pytest.raises(TypeError, match=r"`save` must be a function.*got None"):
        ej.trajectory(lambda x, sigma: 0.5 * x, plan, jnp.ones((2, 4)), save=None)


def test_too_few_draws_under_jit_show_as_nan():
    """Under jit the number of draws has no value to check; what is missing is not made up."""
    plan, x = ej.make_plan(s.ddpm(), GRID), jnp.ones((2, 4))
    run = jax.jit(
        lambda plan, x, noise: ej.sample(lambda x, sigma: 0.5 * x + 0.1, plan, x, noise=noise)
    )
    noise = ej.draw_noise(plan, KEY, x)
    assert np.isfinite(run(plan, x, noise)).all()
    # The last step is the denoiser at the point that the last draw made.
    assert np.isnan(run(plan, x, noise[:-1])).all()


def test_a_key_for_a_plan_that_draws_nothing_is_ignored():
    plan, x = ej.make_plan(s.euler(), GRID), jnp.ones((2, 4))
    run = lambda **kw: ej.sample(lambda x, sigma: 0.5 * x, plan, x, **kw)  # noqa: E731
    np.testing.assert_array_equal(run(key=KEY), run())
    np.testing.assert_array_equal(run(noise=jnp.zeros((0, 2, 4))), run())


assert set(STOCHASTIC) < set(ALL)
