"""Operators against their matrices, programs that are compiled once, and bad input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import edmjax as ej
from edmjax import posterior
from edmjax._common.trees import Flat

RNG = np.random.default_rng(0)
SHAPE = (4, 6, 2)


def made(name, y=None):
    """A measurement of samples of `SHAPE`, noise 0.3."""
    rng = np.random.default_rng(1)
    keep = rng.uniform(size=SHAPE) > 0.5
    makers = {
        "mask": lambda y: posterior.mask(keep, y, 0.3),
        "blur": lambda y: posterior.blur(rng.normal(size=(3, 2)), y, 0.3),
        "downsample": lambda y: posterior.downsample(2, SHAPE[:2], y, 0.3),
        "separable": lambda y: posterior.separable(
            [rng.normal(size=(3, 4)), rng.normal(size=(7, 6))], y, 0.3
        ),
        "matrix": lambda y: posterior.matrix(rng.normal(size=(5, 48)), y, 0.3),
        "fourier": lambda y: posterior.fourier(keep[..., 0], y, 0.3),
    }
    shapes = {
        "mask": SHAPE,
        "blur": SHAPE,
        "downsample": (2, 3, 2),
        "separable": (3, 7, 2),
        "matrix": (5,),
        "fourier": (*SHAPE, 2),
    }
    return makers[name](rng.normal(size=shapes[name]) if y is None else y)


OTHERS = ["mask", "blur", "downsample", "separable", "fourier"]
NAMES = [pytest.param(name, marks=pytest.mark.thorough) for name in OTHERS]


@pytest.mark.parametrize("name", ["matrix", *NAMES])
def test_solves_are_those_of_the_matrix(name, x64):
    measurement, n = made(name), 48
    seen = measurement.on(Flat(jnp.zeros((1, *SHAPE))), 3)
    a = measurement.in_matrices(SHAPE)[0]
    operator = measurement.apply
    squares = np.asarray(operator.squares(SHAPE, np.dtype(np.float64))).ravel()
    values = np.linalg.svd(a, compute_uv=False)
    want = np.sort(np.pad(values, (0, n - min(n, len(values))))[:n] ** 2)
    np.testing.assert_allclose(np.sort(squares), want, atol=1e-10)
    right = jnp.asarray(RNG.normal(size=(3, len(a))))
    for of_data, noise in ((1.3, 0.09), (0.7, 0.0)):
        total = of_data * a @ a.T + noise * np.eye(len(a))
        want = right @ np.linalg.pinv(total, rcond=1e-10) @ a
        got = seen.pull(right, of_data, noise)
        np.testing.assert_allclose(got, want, atol=1e-8)
    np.testing.assert_allclose(seen.adjoint(right), right @ a, atol=1e-12)
    x = jnp.asarray(RNG.normal(size=(2, *SHAPE)))
    np.testing.assert_allclose(operator.from_basis(operator.to_basis(x)), x, atol=1e-12)


def test_the_blur_is_a_circular_convolution_about_its_centre(x64):
    x, kernel = jnp.asarray(RNG.normal(size=(5, 4))), RNG.normal(size=(3, 3))
    want = sum(
        kernel[i, j] * np.roll(x, (i - 1, j - 1), (0, 1)) for i in range(3) for j in range(3)
    )
    operator = posterior.blur(kernel, np.zeros((5, 4)), 0.1).apply
    np.testing.assert_allclose(operator(x), want, atol=1e-12)


def test_one_program_for_every_measurement(x64):
    prior = ej.problems.Gaussian(np.zeros(4), 1.0)
    plan, x = (
        ej.make_plan(ej.samplers.euler(), ej.schedules.karras(3)),
        80 * RNG.normal(size=(2, 4)),
    )

    @jax.jit
    def draw(keep, y, std):
        return ej.sample(posterior.mmps(prior, posterior.mask(keep, y, std)), plan, x)

    for i in range(3):
        draw(np.eye(4)[i], RNG.normal(size=4), 0.1 * (i + 1))
    assert draw._cache_size() == 1


def test_trees_of_samples_and_of_measurements(x64):
    def prior(x, sigma):
        return jax.tree.map(lambda leaf: leaf / (1 + sigma**2), x)

    measured = posterior.linear(
        lambda x: {"sum": x["a"].sum() + x["b"], "first": x["a"][:1]},
        {"sum": np.array(0.3), "first": np.ones(1)},
        {"sum": np.array(0.5), "first": np.full(1, 0.1)},
    )
    x = {"a": RNG.normal(size=(3, 2)), "b": RNG.normal(size=3)}
    got = posterior.mmps(prior, measured)(x, 0.7)
    a, noise = np.array([[1.0, 0, 0], [1, 1, 1]]), np.array([0.01, 0.25])
    rows = np.concatenate([x["a"], x["b"][:, None]], axis=1)
    cov = 0.49 / 1.49 * np.eye(3)
    mean = rows / 1.49
    gain = cov @ a.T @ np.linalg.inv(a @ cov @ a.T + np.diag(noise))
    want = mean + (np.array([1.0, 0.3]) - mean @ a.T) @ gain.T
    np.testing.assert_allclose(got["a"], want[:, :2], atol=1e-12)
    np.testing.assert_allclose(got["b"], want[:, 2], atol=1e-12)


def half(x, sigma):
    return 0.5 * x


@pytest.mark.parametrize(
    "make, error, says",
    [
        (lambda: posterior.linear(jnp.square, np.ones(3), 0.1), ValueError, "is not linear in"),
        (lambda: posterior.linear(lambda x: x + 1, np.ones(3), 0.1), ValueError, "of zeros it"),
        (lambda: posterior.linear(lambda x: x[:2], np.ones(3), 0.1), ValueError, "`y` has shape"),
        (lambda: posterior.linear(lambda x: x[:0], np.ones(0), 0.1), ValueError, "sees nothing"),
        (lambda: posterior.mask(np.zeros(3), np.ones(3), 0.1), ValueError, "sees nothing"),
        (lambda: posterior.mask(np.ones(4), np.ones(4), 0.1), ValueError, "mask has shape"),
        (lambda: posterior.linear(lambda x: x, np.ones(3), -0.1), ValueError, "must be 0 or above"),
        (lambda: posterior.linear(lambda x: x, np.ones(3), np.ones(2)), ValueError, "`noise_std`"),
        (lambda: posterior.linear(lambda x: x, np.full(3, np.nan), 0.1), ValueError, "finite"),
        (lambda: posterior.nonlinear(jnp.square, np.ones(3), 0.1), TypeError, "needs a linear"),
        (lambda: posterior.downsample(2, [3], np.ones(1), 0.1), ValueError, "must divide"),
        (lambda: posterior.matrix(np.ones((2, 4)), np.ones(2), 0.1), ValueError, "as many columns"),
        (lambda: posterior.blur(np.ones(5), np.ones(3), 0.1), ValueError, "must fit into"),
    ],
)
def test_bad_input_is_a_sentence(make, error, says, unchecked):
    with pytest.raises(error, match=says):
        posterior.mmps(half, make())(np.ones((2, 3)), 1.0)


def test_tmpd_refuses_a_large_measurement(unchecked):
    measured = posterior.mask(np.ones(300), np.ones(300), 0.1)
    with pytest.raises(ValueError, match="use mmps"):
        posterior.tmpd(half, measured)(np.ones((1, 300)), 1.0)


def test_a_density_needs_noise():
    measured = posterior.matrix(np.eye(3), np.ones(3), 0.0)
    with pytest.raises(ValueError, match="divides by the noise"):
        measured.log_prob(np.ones((2, 3)))


def test_the_density_of_a_measurement(x64):
    measured, x = posterior.nonlinear(jnp.square, np.ones(2), [0.3, 0.5]), RNG.normal(size=(4, 2))
    std = np.array([0.3, 0.5])
    want = (-0.5 * ((1 - x**2) / std) ** 2 - np.log(std) - 0.5 * np.log(2 * np.pi)).sum(1)
    np.testing.assert_allclose(measured.log_prob(x), want, rtol=1e-12)
    other = posterior.likelihood(lambda x: -x @ x)
    np.testing.assert_allclose(other.log_prob(x), -(x**2).sum(1), rtol=1e-12)
