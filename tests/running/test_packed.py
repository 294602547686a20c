"""Equinox modules and partials of module-level functions: the second bare call compiles nothing."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.helpers import compilations, over

import edmjax as ej
from edmjax._common.packed import Packed, comparable, pack, unpack

PLAN = ej.make_plan(ej.samplers.euler(), ej.schedules.karras(3))
X = 80 * np.random.default_rng(0).normal(size=(4, 2)).astype(np.float32)


class Net(eqx.Module):
    """Arrays, activations, a flag and a number, all of them leaves to JAX."""

    mlp: eqx.nn.MLP
    dropout: eqx.nn.Dropout

    def __init__(self, seed, activation=jax.nn.silu):
        key = jax.random.key(seed)
        self.mlp = eqx.nn.MLP(3, 2, 4, 1, activation=activation, key=key)
        self.dropout = eqx.nn.Dropout(0.0)

    def __call__(self, x, c_noise, cond=None):
        def one(x):
            return self.dropout(self.mlp(jnp.append(x, c_noise)))

        return jax.vmap(one)(x)


def scaled(scale, x, sigma, *, kind="tanh"):
    return scale * getattr(jnp, kind)(x)


DENOISERS = {
    "equinox": lambda i: ej.denoisers.edm(Net(i)),
    "guided": lambda i: ej.guidance.clip(ej.denoisers.edm(Net(i))),
    "partial": lambda i: functools.partial(scaled, jnp.float32(i)),
    "partial of a network": lambda i: ej.denoisers.edm(functools.partial(scaled, jnp.float32(i))),
    "options": lambda i: functools.partial(scaled, jnp.float32(i), kind="sin"),
}


@pytest.mark.parametrize("name", over(DENOISERS, ("equinox", "partial"), DENOISERS))
def test_the_second_call_compiles_nothing_and_has_its_own_arrays(name):
    first, second = (DENOISERS[name](i) for i in (1, 2))
    before = ej.sample(first, PLAN, X)
    with compilations() as count:
        found = ej.sample(second, PLAN, X)
    assert not count
    np.testing.assert_allclose(found, ej.sample(lambda x, s: second(x, s), PLAN, X), rtol=1e-6)
    assert np.abs(found - before).max() > 1e-3


def test_another_static_part_is_another_program():
    tanh, sin = (functools.partial(scaled, np.float32(1), kind=kind) for kind in ("tanh", "sin"))
    assert np.abs(ej.sample(tanh, PLAN, X) - ej.sample(sin, PLAN, X)).max() > 1e-3
    assert pack(Net(0)).static == pack(Net(1)).static
    other = eqx.tree_at(lambda net: net.dropout.inference, Net(0), True)
    assert pack(other).static != pack(Net(0)).static
    assert pack(Net(0, jax.nn.relu)).static != pack(Net(0)).static


def test_what_hides_what_it_refers_to_is_left_as_it_is():
    for function in (
        lambda x, sigma: x,
        functools.partial(lambda scale, x, sigma: scale * x, 0.5),
        jax.tree_util.Partial(scaled),
        Net(0, lambda x: x),
    ):
        assert not isinstance(pack(function), Packed)
    assert comparable(scaled) and comparable(jax.nn.silu) and not comparable(lambda x: x)
    net = unpack(pack(Net(3)))
    assert eqx.tree_equal(net, Net(3))
