"""Networks of every package in the loop: Dropout's keys, batch statistics, and what comes back."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

from edmjax import nn
from edmjax.training.networks import adapted

KEY = jax.random.key(0)
X = jax.random.normal(KEY, (6, 4))
C = jnp.zeros(6)


class Nnx(nnx.Module):
    def __init__(self, rngs):
        self.norm = nnx.BatchNorm(4, momentum=0.9, rngs=rngs)
        self.drop = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x, c_noise, cond=None):
        return self.drop(self.norm(x))


class Linen(linen.Module):
    @linen.compact
    def __call__(self, x, c_noise, cond=None, train=False):
        x = linen.BatchNorm(use_running_average=not train, momentum=0.9)(x)
        return linen.Dropout(0.5, deterministic=not train)(x)


class Equinox(eqx.Module):
    scale: jax.Array
    drop: eqx.nn.Dropout

    def __call__(self, x, c_noise, cond=None, key=None):
        return self.drop(x * self.scale, key=key)


def with_state(params, state, x, c_noise, cond=None, key=None):
    """BatchNorm and Dropout by hand."""
    if key is None:
        return (x - state["mean"]) / jnp.sqrt(state["var"] + 1e-5) * params["scale"], state
    mean, var = x.mean(0), x.var(0)
    y = (x - mean) / jnp.sqrt(var + 1e-5) * params["scale"]
    new = {"mean": 0.9 * state["mean"] + 0.1 * mean, "var": 0.9 * state["var"] + 0.1 * var}
    return jnp.where(jax.random.bernoulli(key, 0.5, y.shape), y / 0.5, 0), new


def nets():
    linen_net = Linen()
    ones, zeros = jnp.ones(4), jnp.zeros(4)
    return {
        "nnx": Nnx(nnx.Rngs(0)),
        "linen": (linen_net, linen_net.init(KEY, X, C)),
        "equinox": Equinox(jnp.ones(4), eqx.nn.Dropout(0.5)),
        "state": (with_state, {"scale": ones}, {"mean": zeros, "var": ones}),
    }


@pytest.mark.parametrize("name", ["nnx", "linen", "equinox", "state"])
def test_dropout_and_batch_statistics_are_on_in_training_and_off_in_sampling(name):
    apply, params = adapted(nets()[name])
    train = jax.jit(lambda apply, params, key: apply.train(params, key, X, C, None))
    y, after = train(apply, params, KEY)
    np.testing.assert_array_equal(y, train(apply, params, KEY)[0])
    assert not np.array_equal(y, train(apply, params, jax.random.key(1))[0])
    assert 0.2 < np.mean(np.asarray(y) == 0) < 0.8  # Dropout at 0.5
    if after:  # the batch's mean and variance enter with a tenth
        mean, var = (next(v for n, v in after.items() if part in n) for part in ("mean", "var"))
        np.testing.assert_allclose(mean, 0.1 * X.mean(0), rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(var, 0.9 + 0.1 * X.var(0), rtol=1e-4)
    # In sampling it is a function: mean 0 and variance 1 are those it started with.
    expected = X / np.sqrt(1 + 1e-5) if after else X
    np.testing.assert_allclose(apply(params, X, C), expected, rtol=1e-5)


@pytest.mark.parametrize("name", ["nnx", "linen", "equinox", "state"])
def test_a_network_comes_back_as_it_was_given(name):
    given = nets()[name]
    apply, params = adapted(given)
    doubled = {key: 2 * value for key, value in params.items()}
    back = apply.merge(doubled)
    assert type(back) is type(given)
    again, found = adapted(back)
    assert found.keys() == params.keys() and again.buffers.keys() == apply.buffers.keys()
    for key, value in doubled.items():
        np.testing.assert_array_equal(found[key], value)
    _, untouched = adapted(given)
    for key, value in params.items():
        np.testing.assert_array_equal(untouched[key], value)


def test_a_condition_that_all_samples_share_reaches_a_network_as_in_training():
    apply, params = adapted((lambda p, x, c, cond: x * p["w"] + cond, {"w": jnp.float32(2)}))
    cond = jnp.arange(4.0)[None]
    np.testing.assert_allclose(apply(params, X, C, cond), 2 * X + cond, rtol=1e-6)
    seen = {}

    def shape(p, x, c, cond):
        seen["cond"] = cond.shape
        return x * p

    adapted((shape, jnp.float32(1)))[0]({"array": jnp.float32(1)}, X, C, cond)
    assert seen["cond"] == (6, 4)


def test_networks_of_our_own_are_functional():
    apply, params = adapted(nn.MLP((4,), width=8, num_blocks=1, rngs=nnx.Rngs(0)))
    assert isinstance(apply, nn.Functional) and apply(params, X, C).shape == X.shape


@pytest.mark.parametrize(
    "net, says",
    [
        (3, "must be a module of flax.nnx or Equinox"),
        ((Linen(), {"batch_stats": {}}), "go its variables"),
        (("no", {}), "got tuple"),
        ((lambda p, x, c: x, {"n": jnp.arange(3)}), "must be floating arrays, and n is"),
    ],
)
def test_what_is_no_network_is_a_sentence(net, says):
    with pytest.raises((TypeError, ValueError), match=says):
        adapted(net)


def test_a_state_of_another_structure_is_a_sentence():
    apply, params = adapted((lambda p, s, x, c: (x, {}), {"w": X}, {"s": X}))
    with pytest.raises(ValueError, match="must return its state as it was given"):
        apply(params, X, C)


def test_a_state_that_is_not_returned_is_a_sentence():
    apply, params = adapted((lambda p, s, x, c: x, {"w": X}, {"s": X}))
    with pytest.raises(ValueError, match=r"must return \(output, state\), got an array"):
        apply.train(params, KEY, X, C, None)


class Noisy(linen.Module):
    """Draws from a stream of its own, and not from that of Dropout."""

    @linen.compact
    def __call__(self, x, c_noise, train=False):
        scale = self.param("scale", lambda key: jnp.ones(4))
        return scale * (x + jax.random.normal(self.make_rng("noise"), x.shape) if train else x)


def test_other_streams_of_linen_have_keys_in_training():
    net = Noisy()
    apply, params = adapted((net, net.init(KEY, X, C)))
    zeros = jnp.zeros((2400, 4))
    noise, _ = apply.train(params, KEY, zeros, jnp.zeros(2400), None)
    np.testing.assert_allclose(np.std(noise), 1, rtol=0.03)  # of 9,600 standard normal numbers
    assert abs(np.mean(noise)) < 0.04
    np.testing.assert_array_equal(apply(params, X, C), X)
