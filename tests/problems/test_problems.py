"""Exact-score problems against quadrature, brute-force posteriors, derivatives, golden numbers."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.helpers import first, over

from edmjax.problems import Empirical, Gaussian, Mixture

SIGMAS = [1e-4, 0.5, 1e4, 1e-2, 3.0, 80.0]


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


def _covariance(rng, d, rank=None):
    root = rng.standard_normal((d, rank or d))
    return root @ root.T / d


def problems():
    """One of each kind of law and of covariance, with points in three dimensions."""
    rng = np.random.default_rng(0)
    mean, means = rng.standard_normal(3), rng.standard_normal((4, 3))
    weights = np.array([0.1, 0.2, 0.3, 0.4])
    variances = rng.uniform(0.05, 0.5, (4, 3))
    return {
        "gaussian, scalar": Gaussian(mean, 0.3),
        "gaussian, diagonal": Gaussian(mean, variances[0]),
        "gaussian, matrix": Gaussian(mean, _covariance(rng, 3)),
        "mixture, one scalar": Mixture(weights, means, 0.1),
        "mixture, scalars": Mixture(weights, means, variances[:, 0]),
        "mixture, diagonals": Mixture(weights, means, variances),
        "mixture, matrices": Mixture(
            weights, means, np.stack([_covariance(rng, 3) for _ in range(4)])
        ),
        "empirical, blurred": Empirical(means, 0.2),
        "empirical": Empirical(means),
    }


def _compiled(name):
    """A method as one program, where its operations one by one are ten and more."""
    return jax.jit(lambda problem, x, sigma: getattr(problem, name)(x, sigma))


denoise, score, log_prob = map(_compiled, ("denoise", "score", "log_prob"))
vmapped = [jax.jit(jax.vmap(method, (None, 0, 0))) for method in (denoise, score, log_prob)]
sample = jax.jit(lambda problem, key, n, sigma: problem.sample(key, n, sigma), static_argnums=2)


def _points(problem, sigma, n=5):
    """Points where `x0 + sigma n` lies, in float64."""
    return sample(problem, jax.random.key(3), n, sigma)


@jax.jit
@functools.partial(jax.grad, argnums=1)
def gradient_of_log_prob(problem, x, sigma):
    return problem.log_prob(x, sigma).sum()


QUICK = ("gaussian, scalar", "mixture, matrices", "empirical, blurred")
LATER = ("mixture, one scalar",)
everything = pytest.mark.parametrize("name", over(problems(), QUICK, LATER))


@everything
@pytest.mark.parametrize("sigma", first(3, SIGMAS))
def test_score_is_the_gradient_of_log_prob(x64, name, sigma):
    problem = problems()[name]
    x = _points(problem, sigma)
    got = score(problem, x, sigma)
    gradient = gradient_of_log_prob(problem, x, sigma)
    # Both lose eps |x| / sigma^2 to the rounding of x - mean where the data have no variance.
    rounding = 2.3e-16 * np.abs(x).max() / max(0.01, sigma) ** 2
    np.testing.assert_allclose(
        got, gradient, rtol=1e-11, atol=1e-12 * np.abs(got).max() + 8 * rounding
    )


@everything
@pytest.mark.parametrize("sigma", first(3, SIGMAS))
def test_denoised_is_x_plus_sigma_squared_score(x64, name, sigma):
    problem = problems()[name]
    x = _points(problem, sigma)
    denoised = denoise(problem, x, sigma)
    tweedie = np.asarray(x) + sigma**2 * np.asarray(score(problem, x, sigma))
    # The right side adds two numbers as large as x.
    np.testing.assert_allclose(denoised, tweedie, rtol=0, atol=2e-15 * np.abs(x).max())


@everything
def test_a_call_denoises(name):
    problem = problems()[name]
    x = jnp.ones((2, 3))
    np.testing.assert_array_equal(problem(x, 0.5), problem.denoise(x, 0.5))


@everything
def test_one_level_a_sample_and_single_points(x64, name):
    problem = problems()[name]
    sigmas = np.array([0.01, 0.7, 30.0])
    x = np.asarray(_points(problem, sigmas, 3))
    for method, many in zip((denoise, score, log_prob), vmapped, strict=True):
        together = method(problem, x, sigmas)
        alone = np.stack([method(problem, x[i], sigmas[i]) for i in range(3)])
        np.testing.assert_allclose(together, alone, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(many(problem, x, sigmas), together, rtol=1e-12, atol=1e-14)


@everything
@pytest.mark.parametrize("sigma", first(3, SIGMAS))
def test_float32_against_float64(name, sigma):
    with jax.enable_x64(True):
        problem = problems()[name]
        x = np.float32(_points(problem, sigma))
        wide, level = x.astype(float), float(np.float32(sigma))
        methods = denoise, score, log_prob
        wanted = [np.asarray(method(problem, wide, level)) for method in methods]
    eps = 2.0**-24
    # What a rounding of the means becomes when `x - mean` is measured in standard deviations.
    least = np.square(problem.std) if isinstance(problem, Empirical) else problem.variances
    condition = 1 + 3 / math.sqrt(np.min(least) + sigma**2)
    scales = [16 * np.abs(wanted[0]).max(), 8 * condition * np.abs(wanted[1]).max()]
    # Nats: squares of at most 4 standard deviations, and three logarithms of at most 20.
    scales.append(60 + 4 * condition)
    for method, want, scale in zip(methods, wanted, scales, strict=True):
        got = method(problem, x, sigma)
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, want, rtol=0, atol=scale * eps)


@everything
def test_dtype_is_kept(name):
    problem = problems()[name]
    for dtype in (jnp.float16, jnp.bfloat16, jnp.float32):
        x = jnp.ones((2, 3), dtype)
        assert problem.denoise(x, 0.5).dtype == dtype
        assert problem.score(x, 0.5).dtype == dtype
        assert problem.log_prob(x, 0.5).dtype == jnp.float32
        # Computed in float32 and rounded once.
        want = problem.denoise(x.astype(jnp.float32), 0.5).astype(dtype)
        np.testing.assert_array_equal(problem.denoise(x, 0.5), want)


@everything
def test_numbers_travel_through_jit_without_recompiling(name):
    problem = problems()[name]
    traces = []

    @jax.jit
    def run(problem, x, sigma):
        traces.append(None)
        return problem.denoise(x, sigma), problem.score(x, sigma), problem.log_prob(x, sigma)

    x = jnp.ones((2, 3))
    for factor in (1.0, 2.0):
        other = jax.tree.map(lambda leaf, factor=factor: leaf * factor, problem)
        for got, method in zip(run(other, x, 0.5), (denoise, score, log_prob), strict=True):
            # float32 with another order of operations.
            want = method(other, x, 0.5)
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
    assert len(traces) == 1
    assert "callback" not in str(run.lower(problem, x, 0.5).as_text())


ONE_D = {
    "gaussian": (Gaussian([0.3], 0.49), lambda x0: _normal(x0, 0.3, 0.7)),
    "mixture": (
        Mixture([0.25, 0.75], [[-1.0], [0.5]], [0.04, 0.25]),
        lambda x0: 0.25 * _normal(x0, -1.0, 0.2) + 0.75 * _normal(x0, 0.5, 0.5),
    ),
    "empirical": (
        Empirical([[-1.0], [0.0], [1.5]], 0.3),
        lambda x0: sum(_normal(x0, m, 0.3) for m in (-1.0, 0.0, 1.5)) / 3,
    ),
}


def _normal(x, mean, std):
    return np.exp(-0.5 * ((x - mean) / std) ** 2) / (std * math.sqrt(2 * math.pi))


@pytest.mark.parametrize("name", ONE_D)
@pytest.mark.parametrize("sigma", [0.05, 0.5, 3.0])
def test_posterior_mean_and_density_by_quadrature(x64, name, sigma):
    problem, density = ONE_D[name]
    # The trapezoid rule on smooth functions that vanish at the ends is exact to rounding.
    x0 = np.linspace(-8, 8, 20_001)
    for x in (-1.7, 0.0, 0.4, 2.2):
        joint = density(x0) * _normal(x, x0, sigma)
        evidence = joint.sum() * (x0[1] - x0[0])
        mean = (x0 * joint).sum() / joint.sum()
        np.testing.assert_allclose(denoise(problem, np.array([x]), sigma), [mean], rtol=1e-11)
        got = log_prob(problem, np.array([x]), sigma)
        np.testing.assert_allclose(got, math.log(evidence), rtol=1e-11, atol=1e-11)


def test_finite_data_posterior_by_hand(x64):
    rng = np.random.default_rng(1)
    data, sigma = rng.standard_normal((50, 2, 3)), 0.4
    x = data[:7] + sigma * rng.standard_normal((7, 2, 3))
    squares = ((x[:, None] - data) ** 2).sum((-1, -2))
    odds = np.exp(-squares / (2 * sigma**2))
    want = np.einsum("bn,nij->bij", odds / odds.sum(1, keepdims=True), data)
    problem = Empirical(data)
    np.testing.assert_allclose(denoise(problem, x, sigma), want, rtol=1e-12, atol=1e-13)
    density = odds.mean(1) / (2 * np.pi * sigma**2) ** 3
    np.testing.assert_allclose(log_prob(problem, x, sigma), np.log(density), rtol=1e-12)


@pytest.mark.parametrize("std", [0.0, 0.05, 0.7])
@pytest.mark.parametrize("sigma", first(3, SIGMAS))
def test_empirical_is_the_mixture_with_equal_weights(x64, std, sigma):
    data = np.random.default_rng(2).standard_normal((40, 5))
    one, other = Empirical(data, std), Mixture(np.full(40, 1 / 40), data, std**2)
    x = _points(one, sigma)
    total = std**2 + sigma**2
    # The odds come from a matrix product: an error of eps |x| |data| / total where points compete.
    odds = 2e-15 * np.abs(x).max() / min(1.0, total) if total > 1e-4 else 0.0
    np.testing.assert_allclose(
        denoise(one, x, sigma), denoise(other, x, sigma), rtol=0, atol=1e-13 + odds
    )
    np.testing.assert_allclose(
        log_prob(one, x, sigma), log_prob(other, x, sigma), rtol=1e-13, atol=1e-10 + odds
    )


def test_gaussian_is_the_mixture_of_one(x64):
    rng = np.random.default_rng(4)
    mean, cov = rng.standard_normal(3), _covariance(rng, 3)
    x = rng.standard_normal((6, 3))
    one, other = Gaussian(mean, cov), Mixture([1.0], mean[None], cov[None])
    for method in (denoise, score, log_prob):
        np.testing.assert_allclose(method(one, x, 0.7), method(other, x, 0.7), rtol=1e-12)


def test_gaussian_against_linear_algebra(x64):
    rng = np.random.default_rng(5)
    mean, cov, sigma = rng.standard_normal(4), _covariance(rng, 4), 0.3
    x = rng.standard_normal((6, 4))
    inverse = np.linalg.inv(cov + sigma**2 * np.eye(4))
    problem = Gaussian(mean, cov)
    np.testing.assert_allclose(
        problem.denoise(x, sigma), mean + (x - mean) @ inverse @ cov, rtol=1e-11
    )
    np.testing.assert_allclose(problem.score(x, sigma), -(x - mean) @ inverse, rtol=1e-11)
    _, log_det = np.linalg.slogdet(2 * np.pi * (cov + sigma**2 * np.eye(4)))
    want = -0.5 * np.einsum("bi,ij,bj->b", x - mean, inverse, x - mean) - 0.5 * log_det
    np.testing.assert_allclose(problem.log_prob(x, sigma), want, rtol=1e-12)


GOLDEN_MEANS = [
    [1.026, -0.148, -1.208, 1.33], [-1.672, -0.402, 0.096, -0.741], [-0.343, 0.717, 0.112, 2.33]
]  # fmt: skip
GOLDEN_WEIGHTS = [0.183, 0.39, 0.427]
# sigma; x, denoised and score of two points; log p; trace of the denoiser's Jacobian.
# An independent NumPy program in float64.
GOLDEN = [
    (
        0.002,
        [[1.0581017070963936, -0.6375228558434075, -0.8114523989297225, 1.3548065066172084],
         [-2.025044567840188, -0.05508744558873596, 0.39036757809541756, -1.1760794570931303]],
        [[1.0581002804172637, -0.6375011002389522, -0.8114700224842787, 1.3548054041548014],
         [-2.025028877667847, -0.05510286323925867, 0.39035449567338765, -1.1760601210877486]],
        [[-0.3566697824239753, 5.438901113772412, -4.405888639053992, -0.275615601712761],
         [3.9225430851983036, -3.854412630674904, -3.270605507482085, 4.83400134541943]],
        [-2.772169801267249, -2.6955161237402345],
        [3.9998222301231054, 3.9998222301231054],
    ),
    (
        0.5,
        [[1.0883931167755274, -1.0994402650679835, -0.4372671319210707, 1.3782141108419204],
         [-2.3581800489947518, 0.2722618220670959, 0.6681350151219834, -1.5866236701534946]],
        [[1.0411202620283089, -0.3989702173776563, -1.002636973999959, 1.3437816188373066],
         [-1.8536358953183982, -0.2235189294496866, 0.24744750400291654, -0.9648415597378867]],
        [[-0.18909141898887322, 2.8018801907613087, -2.2614793683155545, -0.13772996801845455],
         [2.018176614705415, -1.9831230060671303, -1.6827500444762677, 2.487128441662433]],
        [-5.428965570857123, -5.353699131382657],
        [1.07488686528329, 1.058823529514694],
    ),
    (
        2.0,
        [[1.2424008071621433, -3.4479223627185873, 1.465166903309649, 1.497223133608369],
         [-4.051908620292964, 1.9365721065816008, 2.0803611839997815, -3.6739139852876557]],
        [[-0.27983490206508427, 0.05854863594428722, -0.24909663053278838, 1.158305101317568],
         [-1.68800723852734, -0.3250411533286077, 0.1367134552133067, -0.7320741767391485]],
        [[-0.38055892730680685, 0.8766177496657186, -0.42856588346060936, -0.08472950807270019],
         [0.5909753454414061, -0.5654033149775524, -0.4859119321966187, 0.7354599521371268]],
        [-9.198770048379707, -10.302778010765191],
        [0.8737632172649094, 0.16205391806643016],
    ),
    (
        80.0,
        [[9.586325188859107, -130.68544527715005, 104.53642062630728, 7.944967945637558],
         [-95.8157879860217, 92.1066092443922, 78.5928284081301, -116.7604261484584]],
        [[-0.6185627954501719, 0.11711916784301116, -0.13221450319197908, 0.9379811516619484],
         [-0.6460840454447578, 0.11268394362042139, -0.12338338818177363, 0.9056814414050662]],
        [[-0.0015945137475483248, 0.020437900694530168, -0.01635447423898426,
          -0.0010948416865586889],
         [0.014870266240715148, -0.014374050828245593, -0.01229940809317373,
          0.018385329310916167]],
        [-23.40876474797204, -24.139338308676525],
        [0.0005951837150463793, 0.0005965607742758252],
    ),
]  # fmt: skip


jacobians = jax.jit(
    jax.vmap(jax.jacfwd(lambda problem, x, s: problem.denoise(x, s), 1), (None, 0, None))
)


@pytest.mark.parametrize("sigma, x, denoised, slope, log_p, trace", GOLDEN)
def test_golden_mixture(x64, sigma, x, denoised, slope, log_p, trace):
    problem, x = Mixture(GOLDEN_WEIGHTS, GOLDEN_MEANS, 0.3**2), np.array(x)
    scale = np.abs(x).max()
    np.testing.assert_allclose(denoise(problem, x, sigma), denoised, rtol=0, atol=1e-12 * scale)
    np.testing.assert_allclose(score(problem, x, sigma), slope, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(log_prob(problem, x, sigma), log_p, rtol=1e-12)
    found = np.trace(jacobians(problem, x, sigma), axis1=1, axis2=2)
    np.testing.assert_allclose(found, trace, rtol=1e-9)


@pytest.mark.parametrize("name", [name for name in problems() if name.startswith("gaussian")])
def test_flow_composes_and_solves_the_ode(x64, name):
    problem = problems()[name]
    x = _points(problem, 5.0)
    half_way = problem.flow(x, 5.0, 0.7)
    np.testing.assert_allclose(
        problem.flow(half_way, 0.7, 0.002), problem.flow(x, 5.0, 0.002), rtol=1e-12, atol=1e-13
    )
    np.testing.assert_allclose(problem.flow(half_way, 0.7, 5.0), x, rtol=1e-12)
    np.testing.assert_allclose(problem.flow(x, 5.0, 5.0), x, rtol=0, atol=1e-14)
    h = 1e-4  # a central difference: error h^2 / 6 times the third derivative, of size 1
    slope = (problem.flow(x, 5.0, 0.7 + h) - problem.flow(x, 5.0, 0.7 - h)) / (2 * h)
    want = (half_way - problem.denoise(half_way, 0.7)) / 0.7
    np.testing.assert_allclose(slope, want, rtol=0, atol=1e-8 * float(jnp.abs(want).max()) + 1e-8)


def test_flow_at_the_ends(x64):
    problem = Gaussian([1.0, -2.0], [0.25, 0.0])
    x = jnp.array([[3.0, 4.0]])
    # With variance 0.25 at level sigma: (x - 1) sqrt(0.25 / (0.25 + sigma^2)); with 0: the mean.
    np.testing.assert_allclose(
        problem.flow(x, 2.0, 0.0), [[1 + 2 * math.sqrt(0.25 / 4.25), -2.0]], rtol=1e-15
    )
    assert jnp.isfinite(problem.flow(x, 0.0, 2.0)).all()
    slope = jax.grad(lambda s: problem.flow(x, 2.0, s).sum())(0.0)
    assert jnp.isfinite(slope)
    per_sample = problem.flow(jnp.tile(x, (2, 1)), jnp.array([2.0, 1.0]), jnp.array([0.0, 0.5]))
    np.testing.assert_allclose(per_sample[1], problem.flow(x, 1.0, 0.5)[0], rtol=1e-15)


@pytest.mark.parametrize("name", over(problems(), QUICK[:1], QUICK))
def test_sigma_zero_is_the_limit_from_above(x64, name):
    problem = problems()[name]
    x = _points(problem, 0.1)
    np.testing.assert_allclose(
        problem.denoise(x, 0.0), problem.denoise(x, 1e-8), rtol=1e-12, atol=1e-12
    )
    assert jnp.isfinite(jax.jacfwd(lambda x: problem.denoise(x, 0.0))(x)).all()
    assert jnp.isfinite(jax.jacfwd(lambda s: problem.denoise(x, s))(0.0)).all()


def test_sigma_zero_gives_x_or_the_nearest_data(x64):
    x = jnp.array([[0.4, 0.1], [0.9, 2.0]])
    data = np.array([[0.0, 0.0], [1.0, 1.0]])
    np.testing.assert_allclose(Gaussian([1.0, 2.0], 0.3).denoise(x, 0.0), x, rtol=1e-15)
    np.testing.assert_allclose(Empirical(data, 0.1).denoise(x, 0.0), x, rtol=1e-15)
    np.testing.assert_allclose(Empirical(data).denoise(x, 0.0), data, rtol=1e-15)
    halves = Mixture([0.5, 0.5], data, 0.0)
    np.testing.assert_allclose(halves.denoise(x, 0.0), data, rtol=1e-15)
    halfway = jnp.array([[0.5, 0.5]])  # a tie is shared
    np.testing.assert_allclose(Empirical(data).denoise(halfway, 0.0), [[0.5, 0.5]], rtol=1e-15)


def test_no_density_gets_a_sentence():
    x = jnp.zeros((2, 2))
    for problem in (Empirical([[0.0, 0.0]]), Gaussian([0.0, 0.0], [1.0, 0.0])):
        for method in (problem.score, problem.log_prob):
            with pytest.raises(ValueError, match="no density: some direction has variance 0"):
                method(x, 0.0)
            assert jnp.isfinite(jax.jit(method)(x, 0.0)).all()


def test_a_covariance_of_low_rank(x64):
    cov = _covariance(np.random.default_rng(6), 5, rank=2)
    problem = Gaussian(np.zeros(5), cov)
    assert (problem.variances == 0).sum() == 3
    x = jnp.ones((1, 5))
    projection = cov @ np.linalg.pinv(cov)
    np.testing.assert_allclose(problem.denoise(x, 0.0)[0], projection @ np.ones(5), rtol=1e-12)


@everything
@pytest.mark.parametrize("sigma", [0.0, 0.5])
def test_sample_moments(name, sigma):
    problem, n = problems()[name], 4000
    x = np.asarray(sample(problem, jax.random.key(7), n, sigma), np.float64)
    mean, cov = _moments(problem)
    cov = cov + sigma**2 * np.eye(3)
    std = np.sqrt(np.diag(cov))
    assert np.abs((x.mean(0) - mean) / std * math.sqrt(n)).max() < 4
    products = np.einsum("ni,nj->nij", x - mean, x - mean)
    error = products.std(0) / math.sqrt(n)
    assert np.abs((products.mean(0) - cov) / error).max() < 4


def _moments(problem):
    if isinstance(problem, Gaussian):
        basis = np.eye(3) if problem.basis is None else problem.basis
        return problem.mean, basis @ np.diag(problem.variances) @ basis.T
    if isinstance(problem, Empirical):
        data = problem.centre + problem.centred
        return data.mean(0), np.cov(data.T, bias=True) + problem.std**2 * np.eye(3)
    bases = np.stack([np.eye(3)] * 4) if problem.bases is None else problem.bases
    within = np.einsum("kij,kj,klj->kil", bases, problem.variances, bases)
    mean = problem.weights @ problem.means
    spread = problem.means - mean
    return mean, np.einsum(
        "k,kij->ij", problem.weights, within + spread[:, :, None] * spread[:, None]
    )


@everything
def test_draw_i_depends_on_the_key_and_i_alone(name):
    problem, key = problems()[name], jax.random.key(8)
    many = np.asarray(sample(problem, key, 20, 0.5))
    # Up to a rounding: a CPU computes the last entries of an array with other instructions.
    np.testing.assert_allclose(sample(problem, key, 13, 0.5), many[:13], rtol=0, atol=5e-7)
    levels = np.linspace(0.1, 2.0, 20, dtype=np.float32)
    data = np.asarray(sample(problem, key, 20, 0.0))
    noise = (many - data) / np.float32(0.5)
    again = (np.asarray(sample(problem, key, 20, levels)) - data) / levels[:, None]
    # The same x0 and the same noise at every level, up to the rounding of the sum.
    np.testing.assert_allclose(noise, again, rtol=0, atol=1e-5)


def test_points_of_any_shape(x64):
    rng = np.random.default_rng(9)
    means = rng.standard_normal((3, 2, 2, 1))
    flat = Mixture([0.2, 0.3, 0.5], means.reshape(3, 4), 0.1)
    image = Mixture([0.2, 0.3, 0.5], means, 0.1)
    x = rng.standard_normal((5, 2, 2, 1))
    np.testing.assert_array_equal(
        denoise(image, x, 0.3).reshape(5, 4), denoise(flat, x.reshape(5, 4), 0.3)
    )
    assert sample(image, jax.random.key(0), 6, 0.0).shape == (6, 2, 2, 1)
    assert log_prob(image, x, 0.3).shape == (5,)
    scalar = Gaussian(1.0, 0.25)
    np.testing.assert_allclose(denoise(scalar, np.array([3.0]), 0.5), [2.0])
    np.testing.assert_allclose(denoise(scalar, np.array(3.0), 0.5), 2.0)


def test_much_data_needs_no_array_of_batch_by_data_by_pixels():
    data = np.random.default_rng(10).standard_normal((3000, 96)).astype(np.float32)
    problem, x = Empirical(data), jnp.ones((128, 96))
    memory = jax.jit(Empirical.denoise).lower(problem, x, 1.0).compile().memory_analysis()
    # Odds and the like (128 x 3000 each), the data and copies (3000 x 96): not 128 x 3000 x 96.
    assert memory.temp_size_in_bytes < 4 * (6 * 128 * 3000 + 3 * 3000 * 96)


BAD = [
    (lambda: Gaussian([0.0, np.nan], 1.0), ValueError, "`mean` must be finite, got nan at index"),
    (lambda: Gaussian([0.0, 1.0], -1.0), ValueError, "positive semidefinite, got a variance of -1"),
    (lambda: Gaussian([0.0, 1.0], [1.0, 2.0, 3.0]), ValueError, r"covariance has shape \(3,\)"),
    (lambda: Gaussian([0.0, 1.0], [[1.0, 0.5], [0.0, 1.0]]), ValueError, "must be symmetric"),
    (lambda: Gaussian([0.0, 1.0], [[1.0, 2.0], [2.0, 1.0]]), ValueError, "positive semidefinite"),
    (lambda: Gaussian(np.array([1j]), 1.0), TypeError, "real numbers, got dtype complex128"),
    (lambda: Mixture([0.5, 0.6], [[0.0], [1.0]], 1.0), ValueError, "positive and sum to 1"),
    (lambda: Mixture([1.5, -0.5], [[0.0], [1.0]], 1.0), ValueError, "a least weight of -0.5"),
    (lambda: Mixture([0.0, 1.0], [[0.0], [1.0]], 1.0), ValueError, "a least weight of 0.0"),
    (lambda: Mixture([1.0], [[0.0], [1.0]], 1.0), ValueError, "one weight a component"),
    (lambda: Mixture([0.5, 0.5], [[0.0], [1.0]], [1.0] * 3), ValueError, "for 2 components"),
    (lambda: Mixture([0.5, 0.5], [[0.0], [1.0]], [1.0, -1.0]), ValueError, "semidefinite"),
    (lambda: Empirical(np.zeros((0, 2))), ValueError, "n at least 1"),
    (lambda: Empirical([[0.0]], -0.1), ValueError, "`std` must be one number, 0 or above"),
    (lambda: Empirical([[0.0]], [0.1, 0.2]), ValueError, "`std` must be one number"),
    (lambda: jax.jit(lambda m: Gaussian(m, 1.0))(jnp.ones(2)), TypeError, "outside `jit`"),
    (lambda: Gaussian([0.0, 1.0], 1.0).denoise(jnp.ones((4, 3)), 1.0), ValueError, "has shape"),
    (lambda: Gaussian([0.0, 1.0], 1.0).denoise(jnp.ones(()), 1.0), ValueError, "has shape"),
    (lambda: Gaussian([0.0], 1.0).denoise(jnp.ones((4, 1), int), 1.0), TypeError, "floating"),
    (
        lambda: Gaussian([0.0], 1.0).denoise(jnp.ones((4, 1)), jnp.ones(3)),
        ValueError,
        r"sigma has shape \(3,\): expected a scalar or \(4,\)",
    ),
    (
        lambda: Gaussian([0.0], 1.0).denoise(jnp.ones(1), jnp.ones(1)),
        ValueError,
        "expected a scalar for a single point",
    ),
]  # fmt: skip


@pytest.mark.parametrize("make, error, message", BAD)
def test_bad_input_gets_a_sentence(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_the_callers_arrays_are_left_alone():
    data, mean = np.ones((4, 2)), np.zeros(2)
    problems = Empirical(data), Gaussian(mean, 1.0)
    np.testing.assert_array_equal(data, np.ones((4, 2)))
    mean += 1
    np.testing.assert_array_equal(problems[1].mean, 0)
