"""Weights of interpolatory formulas, against exact arithmetic."""

import math
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from edmjax.samplers._parts import phi, weights_of


def exact(k, z):
    """`sum_j z^j / (j + k)!` in exact arithmetic: 90 terms reach 1e-40 at |z| = 12."""
    return float(sum(Fraction(z) ** j / math.factorial(j + k) for j in range(90)))


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_phi_is_its_series(x64, k):
    """On both sides of the switch between series and recursion; 1e-14 is what three divided
    differences lose at |z| = 1."""
    for z in [-12.0, -3.0, -1.0, -0.999, -0.1, -1e-9, 0.0, 1e-9, 0.1, 0.999, 1.0, 3.0, 9.0]:
        np.testing.assert_allclose(phi(k, z), exact(k, z), rtol=1e-14)
        np.testing.assert_allclose(jax.jit(lambda z: phi(k, z))(z), exact(k, z), rtol=1e-14)
    assert phi(0, 0.3) == math.exp(0.3)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_the_slope_of_phi(x64, k):
    """phi_k' = phi_k - k phi_(k+1), by parts under its integral; at 0 too."""
    for z in [-12.0, -1.0, -0.5, 0.0, 1e-8, 0.999, 1.0, 4.0]:
        slope = jax.grad(lambda z: phi(k, z))(jnp.array(z))
        expected = exact(k, z) - k * exact(k + 1, z)
        np.testing.assert_allclose(slope, expected, rtol=1e-12)


@pytest.mark.parametrize("n", [0, 1, 2, 3, 4, 5])
def test_weights_solve_the_moment_equations(x64, n):
    rng = np.random.default_rng(n)
    nodes = list(-np.cumsum(rng.uniform(0.2, 2.0, n)))
    moments = list(rng.normal(size=n))
    w = weights_of(nodes, moments)
    for k in range(n):
        terms = [weight * node**k for weight, node in zip(w, nodes, strict=True)]
        np.testing.assert_allclose(sum(terms), moments[k], atol=1e-13 * sum(map(abs, terms)))
    if n:
        traced = jax.jit(lambda nodes: weights_of(list(nodes), moments))(jnp.array(nodes))
        np.testing.assert_allclose(traced, w, rtol=1e-11)


def test_close_nodes_cost_few_digits(x64):
    """Nodes 1e-5 apart and powers integrated over [0, 1]: the weights of a third derivative."""
    nodes = [0.0, 1e-5, 2e-5]
    a, b, c = map(Fraction, nodes)
    products = {0: (b, c), 1: (a, c), 2: (a, b)}
    moments = [1.0, 0.5, 1 / 3]
    for j, (p, q) in products.items():
        own = Fraction(nodes[j])
        weight = (Fraction(moments[2]) - (p + q) * Fraction(moments[1]) + p * q) / (
            (own - p) * (own - q)
        )
        np.testing.assert_allclose(weights_of(nodes, moments)[j], float(weight), rtol=1e-14)
