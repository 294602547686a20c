"""Distances between sets of samples, against closed forms."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.helpers import OPTIMIZED

import edmjax as ej

sliced, energy = ej.metrics.sliced_wasserstein, ej.metrics.energy_distance


def normals(seed, n, *shape):
    return np.random.default_rng(seed).normal(size=(n, *shape)).astype(np.float32)


def test_between_two_points_both_are_known():
    x, y = np.zeros((16, 1)), np.full((16, 1), 3.0)
    for found, distance in ((sliced(x, y, jax.random.key(0)), 3.0), (energy(x, y), 6.0)):
        np.testing.assert_allclose(found, (distance, 0), atol=1e-6)


def test_sliced_wasserstein_of_two_normal_laws():
    # Along a direction u the laws are N(0, 1) and N(m u, s^2), so W2^2 = (m u)^2 + (1 - s)^2; the
    # mean of (m u)^2 over directions is |m|^2 / d.
    mean, spread, d = np.array([0.9, -1.2, 0.5], np.float32), 1.5, 3
    x, y = normals(0, 16_000, d), mean + spread * normals(1, 16_000, d)
    run = jax.jit(sliced, static_argnames="num_projections", compiler_options=OPTIMIZED)
    found = run(x, y, jax.random.key(0), num_projections=512)
    exact = math.sqrt(mean @ mean / d + (1 - spread) ** 2)
    # A set of 2,000 adds a bias of about 1e-3 to the square.
    assert abs(found.value - exact) < 4 * found.standard_error + 1e-3
    assert 0 < found.standard_error < 0.02


def mean_length(mean, variance):
    """E|N(mean, variance)|."""
    root = math.sqrt(2 * variance)
    return root / math.sqrt(math.pi) * math.exp(-(mean**2) / root**2) + mean * math.erf(mean / root)


@pytest.mark.parametrize("mean, spread", [(0.0, 1.0), (0.7, 1.3)])
def test_energy_distance_has_no_bias_and_an_honest_error_bar(mean, spread):
    exact = 2 * mean_length(mean, 1 + spread**2) - (2 + 2 * spread) / math.sqrt(math.pi)
    repeats = 60
    found = [
        energy(normals(2 * i, 160, 1), mean + spread * normals(2 * i + 1, 160, 1))
        for i in range(repeats)
    ]
    z = np.array([(value - exact) / error for value, error in found])
    # With 8 groups z has Student's law of 7 degrees of freedom, of standard deviation 1.18.
    assert abs(z.mean()) < 4 * 1.18 / math.sqrt(repeats)
    assert 0.7 < z.std() < 1.8


def test_the_axes_of_a_sample_are_one_point():
    x, y, key = normals(0, 33, 2, 3), normals(1, 33, 2, 3), jax.random.key(0)
    for distance in (lambda x, y: sliced(x, y, key), energy):
        flat = distance(x.reshape(33, 6), y.reshape(33, 6))
        np.testing.assert_array_equal(distance(x, y), flat)
        # 33 samples are 8 groups of 4, and one is left over.
        np.testing.assert_array_equal(distance(x[:32], y[:32]), flat)


def test_one_group_is_the_distance_itself_without_an_error_bar():
    x, y = normals(0, 6, 2), normals(1, 6, 2)
    value, error = energy(x, y, num_groups=1)
    between, within_x, within_y = (
        np.sqrt(((a[:, None] - b) ** 2).sum(-1)).sum() for a, b in ((x, y), (x, x), (y, y))
    )
    np.testing.assert_allclose(value, 2 * between / 36 - (within_x + within_y) / 30, rtol=1e-5)
    assert jnp.isnan(error)


def test_mistakes_are_sentences(unchecked):
    x, key = normals(0, 16, 2), jax.random.key(0)
    for error, phrase, call in (
        (ValueError, "one shape and size", lambda: energy(x, x[:8])),
        (ValueError, "one shape and size", lambda: sliced(x, x[:, :1], key)),
        (ValueError, "make no 9 groups", lambda: energy(x, x, num_groups=9)),
        (TypeError, "`num_groups` must be an integer", lambda: energy(x, x, num_groups=2.5)),
        (
            ValueError,
            "`num_projections` must be at",
            lambda: sliced(x, x, key, num_projections=0),
        ),
        (TypeError, "`key` must be a typed key", lambda: sliced(x, x, 0)),
        (TypeError, "`key` must be a single key", lambda: sliced(x, x, jax.random.split(key, 2))),
    ):
        with pytest.raises(error, match=phrase):
            call()
