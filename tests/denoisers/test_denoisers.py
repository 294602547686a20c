"""Denoisers: coefficients, conversions at both ends of the noise range, pytrees through `jit`."""

import dataclasses
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.tree_util import Partial

from edmjax import denoisers
from edmjax.problems import Gaussian

SIGMAS = [1e-4, 1e-2, 0.5, 3.0, 80.0, 1e4]
HALF = 2.0**-24  # half a unit in the last place of float32, relative


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


def _scale(net_input, c_noise, cond=None):
    """A network of one number: distinguishes its input from its level, and both from cond."""
    total = 2.0 * net_input + 0.25 * c_noise.reshape(c_noise.shape + (1,) * (net_input.ndim - 1))
    return total if cond is None else total + cond


class Linear(nnx.Module):
    def __init__(self, value):
        self.scale = nnx.Param(jnp.array([value, value]))

    def __call__(self, x, level):
        return x * self.scale[...] + level


# Coefficients by an independent NumPy program in float64:
# sigma, c_skip, c_out, c_in, c_noise; sigma_data 0.5, then 1.
SIGMA = [0.002, 0.05, 0.5, 1.0, 3.0, 80.0]
GOLDEN = {
    0.5: [
        [0.9999840002559959, 0.9900990099009901, 0.5, 0.2, 0.02702702702702703,
         3.906097418069607e-05],
        [0.0019999840001919972, 0.049751859510499465, 0.35355339059327373, 0.4472135954999579,
         0.4931969619160719, 0.49999023466109294],
        [1.9999840001919975, 1.9900743804199785, 1.414213562373095, 0.8944271909999159,
         0.3287979746107146, 0.012499755866527323],
        [-1.5536520246055479, -0.7489330683884977, -0.17328679513998632, 0.0,
         0.27465307216702745, 1.0955066586684703],
    ],
    1.0: [
        [0.9999960000160001, 0.9975062344139651, 0.8, 0.5, 0.1, 0.0001562255897516013],
        [0.0019999960000120004, 0.04993761694389223, 0.4472135954999579, 0.7071067811865475,
         0.9486832980505138, 0.9999218841540816],
        [0.9999980000060001, 0.9987523388778446, 0.8944271909999159, 0.7071067811865475,
         0.31622776601683794, 0.01249902355192602],
        [-1.5536520246055479, -0.7489330683884977, -0.17328679513998632, 0.0,
         0.27465307216702745, 1.0955066586684703],
    ],
}  # fmt: skip


@pytest.mark.parametrize("sigma_data", GOLDEN)
def test_edm_coefficients_are_the_golden_ones(x64, sigma_data):
    got = denoisers.edm(_scale, sigma_data).coefficients(jnp.array(SIGMA))
    np.testing.assert_allclose(got, GOLDEN[sigma_data], rtol=1e-13, atol=1e-16)


@pytest.mark.parametrize("sigma_data", GOLDEN)
def test_edm_is_equation_7(x64, sigma_data):
    x = np.random.default_rng(0).standard_normal((6, 3))
    c_skip, c_out, c_in, c_noise = (np.array(c)[:, None] for c in GOLDEN[sigma_data])
    want = c_skip * x + c_out * (2 * c_in * x + 0.25 * c_noise)
    denoise = denoisers.edm(_scale, sigma_data)
    np.testing.assert_allclose(denoise(x, jnp.array(SIGMA)), want, rtol=1e-12)
    for i, sigma in enumerate(SIGMA):
        np.testing.assert_allclose(denoise(x[i : i + 1], sigma), want[i : i + 1], rtol=1e-12)


@pytest.mark.parametrize("sigma", SIGMAS)
def test_a_network_of_zero_is_exact_for_gaussian_data_of_sigma_data(x64, sigma):
    x = sigma * jax.random.normal(jax.random.key(0), (4, 3))
    exact = Gaussian(np.zeros(3), 0.7**2).denoise(x, sigma)
    denoise = denoisers.edm(lambda x, c_noise: jnp.zeros_like(x), 0.7)
    np.testing.assert_allclose(denoise(x, sigma), exact, rtol=1e-14)


def _everything():
    """Every denoiser made of one function, by name."""
    return {
        "edm": lambda fn: denoisers.edm(fn),
        "song": lambda fn: denoisers.song(fn),
        "from_score": denoisers.from_score,
        "from_eps": denoisers.from_eps,
        "from_v": denoisers.from_v,
        "from_x0": denoisers.from_x0,
        "to_score": denoisers.to_score,
        "to_eps": denoisers.to_eps,
        "to_v": denoisers.to_v,
    }


everything = pytest.mark.parametrize("make", _everything().values(), ids=_everything())


@everything
@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32, jnp.float64])
def test_dtypes(make, dtype):
    with jax.enable_x64(dtype == jnp.float64):
        seen = []

        def fn(x, level):
            seen.append((x.dtype, level.dtype, level.shape))
            return jnp.tanh(x)

        x, wide = jnp.ones((4, 2), dtype), jnp.promote_types(dtype, jnp.float32)
        assert make(fn)(x, 0.5).dtype == dtype
        assert make(fn)(x, jnp.full(4, 0.5)).dtype == dtype
        assert seen == [(dtype, wide, ()), (dtype, wide, (4,))]


@everything
@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
@pytest.mark.parametrize("sigma", SIGMAS)
def test_half_precision_x_is_finite_and_rounded_once(make, dtype, sigma):
    x = (sigma * jnp.linspace(-3, 3, 24) + 0.3).reshape(8, 3).astype(dtype)

    def fn(x, level):  # of the size that the network or function has at this level
        return jnp.sin(x.astype(jnp.float32)) / jnp.maximum(level, 1e-3)

    got = make(fn)(x, sigma)
    # The network sees c_in x in half precision both times.
    want = make(lambda x, level: fn(x.astype(dtype), level))(x.astype(jnp.float32), sigma)
    # float16 ends at 65504; a sigma^2 of 1e8 must not count among what has to fit.
    assert jnp.isfinite(got).all() or float(jnp.abs(want).max()) > 6e4
    np.testing.assert_array_equal(got, want.astype(dtype))


@everything
def test_one_level_a_sample_on_a_tree(make):
    x = {
        "image": jnp.linspace(-1, 1, 60, dtype=jnp.float32).reshape(5, 2, 3, 2),
        "flat": jnp.linspace(-2, 2, 10, dtype=jnp.bfloat16).reshape(5, 2),
        "number": jnp.linspace(0, 1, 5, dtype=jnp.float32),
    }
    sigma = jnp.array([0.01, 0.5, 1.0, 10.0, 1000.0])
    denoise = make(lambda x, level: jax.tree.map(jnp.sin, x))
    got = denoise(x, sigma)
    assert jax.tree.map(lambda v: (v.shape, v.dtype), got) == jax.tree.map(
        lambda v: (v.shape, v.dtype), x
    )
    for i in range(5):
        alone = denoise(jax.tree.map(lambda v, i=i: v[i : i + 1], x), sigma[i])
        for one, many in zip(jax.tree.leaves(alone), jax.tree.leaves(got), strict=True):
            np.testing.assert_allclose(
                np.float32(one[0]), np.float32(many[i]), rtol=1e-2 if one.dtype != "f4" else 1e-6
            )


@everything
def test_a_level_of_a_schedule_is_taken_without_a_warning(make):
    denoise, x = make(lambda x, level: jnp.sin(x)), jnp.ones((2, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for sigma in (np.float64(0.5), np.full(2, 0.5), 1):
            assert denoise(x, sigma).dtype == jnp.float32


@everything
def test_one_sample_without_a_batch(make):
    x = jnp.linspace(-1, 1, 6).reshape(2, 3)
    denoise = make(lambda x, level: jnp.sin(x))
    np.testing.assert_allclose(denoise(x[0], 0.5), denoise(x, 0.5)[0], rtol=1e-6)
    np.testing.assert_allclose(
        jax.vmap(denoise)(x, jnp.array([0.5, 0.5])), denoise(x, 0.5), rtol=1e-6
    )


@everything
def test_cond_reaches_the_function(make):
    x, cond = jnp.ones((2, 3)), jnp.array([[1.0], [2.0]])
    seen = []

    def fn(x, level, *more):
        seen.append(more)
        return x

    make(fn)(x, 0.5)
    make(fn)(x, 0.5, cond)
    make(fn)(x, 0.5, cond=cond)
    assert seen[0] == () and seen[1][0] is cond and seen[2][0] is cond


@everything
def test_gradients_are_finite_where_sigma_is_small_or_large(make):
    denoise = make(Partial(lambda w, x, level: w * jnp.sin(x), jnp.float32(0.5)))
    for sigma in SIGMAS:
        x = jnp.linspace(-1, 1, 6).reshape(2, 3) * max(sigma, 1.0)
        gradient = jax.grad(
            lambda denoise, x, sigma: denoise(x, sigma).astype(jnp.float32).sum(), (0, 1, 2)
        )(denoise, x, jnp.float32(sigma))
        assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


@pytest.mark.parametrize("sigma", [1e-4, 1e-2, 0.5, 3.0, 80.0, 1e4, 1e19])
def test_edm_float32_against_float64(sigma):
    x = np.float32(np.random.default_rng(1).standard_normal((4, 3)) * np.hypot(sigma, 0.5))
    output = np.float32(np.random.default_rng(2).standard_normal((4, 3)))

    def net(x, c_noise):
        return jnp.asarray(output, x.dtype)

    got = denoisers.edm(net)(x, sigma)
    with jax.enable_x64(True):
        want = np.asarray(denoisers.edm(net)(x.astype(np.float64), float(np.float32(sigma))))
    # Two products and a sum of numbers below 4, with five roundings in each coefficient.
    assert np.isfinite(got).all()
    np.testing.assert_allclose(got, want, rtol=0, atol=16 * HALF * np.abs(want).max())


def test_sigma_zero_gives_x():
    seen = []

    def net(x, c_noise):
        seen.append(c_noise)
        return jnp.sin(x) + c_noise.reshape(-1, 1)

    denoise = denoisers.edm(net)
    x = jnp.linspace(-1, 1, 6).reshape(2, 3)
    np.testing.assert_array_equal(denoise(x, 0.0), x)
    np.testing.assert_array_equal(denoise(x, jnp.array([0.0, 0.0])), x)
    assert all(np.isfinite(c).all() for c in seen)
    assert jnp.isfinite(jax.jacfwd(lambda sigma: denoise(x, sigma))(0.0)).all()
    assert jnp.isfinite(jax.jacrev(lambda sigma: denoise(x, sigma))(0.0)).all()
    for make in (denoisers.song, denoisers.from_score, denoisers.from_eps, denoisers.from_v):
        np.testing.assert_array_equal(make(lambda x, level: jnp.sin(x))(x, 0.0), x)


def _truth(sigma, dtype):
    """x0, n and x = x0 + sigma n, and what eps, score and v then are, in float64."""
    rng = np.random.default_rng(3)
    x0, n = rng.uniform(-1, 1, (2, 4, 3))
    # Rounded so that x is what the dtype can hold, and x0 is what belongs to that x.
    x = (x0 + sigma * n).astype(dtype).astype(np.float64)
    n = (x - x0) / sigma
    alpha = 1 / np.sqrt(1 + sigma**2)
    return x, x0, {"score": -n / sigma, "eps": n, "v": alpha * n - sigma * alpha * x0}


KINDS = ["score", "eps", "v"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sigma", SIGMAS)
def test_conversions_in_float64(x64, kind, sigma):
    x, x0, others = _truth(sigma, np.float64)
    to = getattr(denoisers, f"denoised_from_{kind}")(x, others[kind], sigma)
    back = getattr(denoisers, f"{kind}_from_denoised")(x, x0, sigma)
    eps = 2.0**-53
    # Denoised: the largest term is x. Back: the rounding of x over sigma, relative to n.
    np.testing.assert_allclose(to, x0, rtol=0, atol=8 * eps * np.abs(x).max())
    unit = np.abs(others[kind]).max() * (1 + np.abs(x).max() / sigma)
    np.testing.assert_allclose(back, others[kind], rtol=0, atol=16 * eps * unit)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sigma", SIGMAS)
def test_conversions_float32_against_float64(kind, sigma):
    sigma = float(np.float32(sigma))
    x, x0, others = _truth(sigma, np.float32)
    other, x0 = others[kind].astype(np.float32), x0.astype(np.float32)
    to = getattr(denoisers, f"denoised_from_{kind}")
    back = getattr(denoisers, f"{kind}_from_denoised")
    narrow = to(x.astype(np.float32), other, sigma), back(x.astype(np.float32), x0, sigma)
    with jax.enable_x64(True):
        wide = to(x, other.astype(np.float64), sigma), back(x, x0.astype(np.float64), sigma)
        wide = [np.asarray(value) for value in wide]
    for got, want, terms in zip(
        narrow, wide, (np.abs(x).max(), np.abs(wide[1]).max()), strict=True
    ):
        assert np.isfinite(got).all() and got.dtype == jnp.float32
        # In units of the rounding of the largest term; the difference x - x0 itself is exact.
        np.testing.assert_allclose(
            got, want, rtol=0, atol=8 * HALF * max(terms, np.abs(want).max())
        )


@pytest.mark.parametrize("kind", [*KINDS, "x0"])
@pytest.mark.parametrize("sigma", [1e-2, 0.5, 80.0])
def test_wrappers_agree_with_a_problem(x64, kind, sigma):
    problem = Gaussian(np.array([1.0, -0.5, 0.0]), np.array([0.2, 0.5, 1.0]))
    x = problem.sample(jax.random.key(1), 5, sigma)
    scale = float(jnp.abs(x).max())
    fn = problem
    if kind != "x0":
        fn = getattr(denoisers, f"to_{kind}")(problem)
        direct = getattr(denoisers, f"{kind}_from_denoised")(x, problem.denoise(x, sigma), sigma)
        np.testing.assert_array_equal(fn(x, sigma), direct)
    if kind == "score":
        np.testing.assert_allclose(fn(x, sigma), problem.score(x, sigma), rtol=1e-9)
    denoise = getattr(denoisers, f"from_{kind}")(fn)
    np.testing.assert_allclose(denoise(x, sigma), problem.denoise(x, sigma), atol=1e-14 * scale)


def test_a_denoiser_of_several_outputs_is_converted_by_its_x0():
    x = jnp.ones((2, 3))
    several = denoisers.to_eps(lambda x, sigma: {"x0": 0.25 * x, "raw": 9.0 * x})
    np.testing.assert_allclose(several(x, 0.5), 1.5 * np.ones((2, 3)), rtol=1e-6)


# std(t) of dx = 25^t dw, by an independent NumPy program in float64.
STD = {
    0.001: 0.031673739823351046, 0.01: 0.10163123359182097, 0.1: 0.3746570968487605,
    0.3: 0.9572142210615898, 0.5: 1.9308054296996553, 0.8: 5.160860997200112,
    1.0: 9.845214562989446,
}  # fmt: skip


def test_song_is_x_plus_std_squared_score(x64):
    times, stds = np.array(list(STD)), np.array(list(STD.values()))
    x = np.random.default_rng(4).standard_normal((len(times), 3))
    got = denoisers.song(lambda x, t: jnp.sin(x) + t[:, None])(x, stds)
    score = (np.sin(x) + times[:, None]) / stds[:, None]
    np.testing.assert_allclose(got, x + stds[:, None] ** 2 * score, rtol=1e-12)
    other = denoisers.song(lambda x, t: jnp.zeros_like(x) + t, sigma=10.0)(x, 2.0)
    # (10^(2 t) - 1) / (2 log 10) = 4
    np.testing.assert_allclose(other, x + 2.0 * np.log10(8 * np.log(10) + 1) / 2, rtol=1e-13)


def _apply(scale, x, level):
    return x * scale + level


MODELS = {
    "Partial": lambda value: Partial(_apply, jnp.array([value, value])),
    "nnx.Module": Linear,
}


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
@everything
def test_two_parameter_sets_compile_once(make, model):
    traces = []

    @jax.jit
    def run(denoise, x, sigma):
        traces.append(None)
        return denoise(x, sigma)

    x = jnp.ones((2, 2))
    first, second = (run(make(model(value)), x, 0.5) for value in (1.0, 3.0))
    assert len(traces) == 1
    np.testing.assert_allclose(first, make(model(1.0))(x, 0.5), rtol=1e-6)
    assert jnp.abs(first - second).max() > 0.1
    run(make(model(2.0)), x, 0.7)
    assert len(traces) == 1


def test_real_options_are_leaves():
    traces = []

    @jax.jit
    def run(denoise, x):
        traces.append(None)
        return denoise(x, 0.5)

    x, net = jnp.ones((2, 2)), Linear(1.0)
    for sigma_data in (0.5, 1, np.float32(2.0), jnp.array(0.3)):
        run(denoisers.edm(net, sigma_data), x)
    assert len(traces) == 1
    for sigma in (25.0, 10):
        run(denoisers.song(net, sigma), x)
    assert len(traces) == 2
    slope = jax.grad(lambda s: denoisers.edm(net, s)(x, 0.5).sum())(0.5)
    h = 1e-2
    ends = (float(denoisers.edm(net, 0.5 + e)(x, 0.5).sum()) for e in (h, -h))
    # A central difference: h^2 / 6 times a third derivative of size 100, plus its own rounding.
    assert abs(float(slope) - (next(ends) - next(ends)) / (2 * h)) < 1e-2


def test_networks_of_stacked_parameters_are_mapped_over():
    """In the two ways that docs/training.md has; a denoiser of a stack is not one of them."""
    x, scales = jnp.linspace(-1, 1, 6).reshape(3, 2), jnp.array([0.2, 0.9])

    def make(scale):
        return denoisers.edm(Partial(lambda scale, x, c_noise: jnp.tanh(scale * x), scale))

    @jax.jit
    def all_three():
        want = jnp.stack([make(scale)(x, 1.5) for scale in scales])
        within = jax.vmap(lambda scale: make(scale)(x, 1.5))(scales)
        return want, within, jax.vmap(lambda d: d(x, 1.5))(jax.vmap(make)(scales))

    want, within, of_stack = all_three()
    np.testing.assert_allclose(within, want, rtol=1e-6)
    np.testing.assert_allclose(of_stack, want, rtol=1e-6)
    with pytest.raises(ValueError, match="its rank should be at least 1"):
        jax.vmap(lambda d: d(x, 1.5))(make(scales))


def test_inside_jit_and_as_a_child():
    x, net = jnp.ones((2, 2)), Linear(1.0)
    inside = jax.jit(lambda net, x: denoisers.edm(net, sigma_data=0.5)(x, 0.5))(net, x)
    np.testing.assert_allclose(inside, denoisers.edm(net)(x, 0.5), rtol=1e-6)
    assert denoisers.edm(net).net is net
    assert isinstance(denoisers.edm(_scale).net, Partial)
    chain = denoisers.from_eps(denoisers.to_eps(denoisers.edm(net)))
    assert len(jax.tree.leaves(chain)) == 2  # the parameter and sigma_data
    np.testing.assert_allclose(chain(x, 0.5), denoisers.edm(net)(x, 0.5), rtol=1e-6)
    mapped = jax.tree.map(lambda leaf: 2 * leaf, denoisers.edm(net))
    assert type(mapped) is type(denoisers.edm(net)) and float(mapped.sigma_data) == 1.0
    with pytest.raises(dataclasses.FrozenInstanceError):
        mapped.sigma_data = 3.0


X = jnp.ones((4, 2))
BAD = [
    (lambda: denoisers.edm(3.0), TypeError, "`net` must be a function of"),
    (lambda: denoisers.from_eps({"w": X}), TypeError, "`eps_fn` must be a function of"),
    (lambda: denoisers.edm(_scale, 0.0), ValueError, "`sigma_data` must be one positive number"),
    (lambda: denoisers.edm(_scale, -1.0), ValueError, "positive number, got -1.0"),
    (lambda: denoisers.edm(_scale, float("nan")), ValueError, "`sigma_data` must be finite, got"),
    (lambda: denoisers.edm(_scale, [0.5, 0.5]), ValueError, "one positive number"),
    (lambda: denoisers.song(_scale, 1.0), ValueError, "`sigma` must be above 1"),
    (lambda: denoisers.edm(_scale)(jnp.ones((4, 2), int), 0.5), TypeError, "floating"),
    (lambda: denoisers.edm(_scale)(X, jnp.ones(3)), ValueError, r"sigma has shape \(3,\)"),
    (
        lambda: denoisers.edm(lambda x, c: x[:, :1])(X, 0.5),
        ValueError,
        r"The network must return the shape of `x`, \(4, 2\), got \(4, 1\)",
    ),
    (
        lambda: denoisers.edm(lambda x, c: (x, x))(X, 0.5),
        ValueError,
        "The network must return the structure of `x`",
    ),
    (
        lambda: denoisers.from_v(lambda x, c: x[:2])(X, 0.5),
        ValueError,
        r"`v_fn` must return the shape of `x`, \(4, 2\), got \(2, 2\)",
    ),
    (
        lambda: denoisers.to_v(lambda x, c: x[:2])(X, 0.5),
        ValueError,
        r"The denoiser must return the shape of `x`, \(4, 2\), got \(2, 2\)",
    ),
    (
        lambda: denoisers.denoised_from_eps(X, X[:1], 0.5),
        ValueError,
        r"`eps` must have the shape of `x`, \(4, 2\), got \(1, 2\)",
    ),
    (lambda: denoisers.eps_from_denoised(X, X, 0.0), ValueError, "At sigma = 0"),
    (
        lambda: denoisers.to_score(lambda x, sigma: x)(X, jnp.array([1.0, 0, 1, 1])),
        ValueError,
        "At sigma = 0",
    ),
    (lambda: denoisers.to_eps(_scale), TypeError, r"this function takes \(x, c_noise\), as a net"),
    (lambda: denoisers.edm(denoisers.edm(_scale)), TypeError, "got the denoiser EDM: it goes"),
]  # fmt: skip


@pytest.mark.parametrize("make, error, message", BAD)
def test_bad_input_gets_a_sentence(make, error, message):
    with pytest.raises(error, match=message):
        make()
