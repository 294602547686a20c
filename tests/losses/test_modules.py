"""Networks that hold their own parameters, given to a loss as they are."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from support.helpers import later

from edmjax import losses, nn, processes

KEY = jax.random.key(0)
X0 = np.random.default_rng(0).normal(0, 0.5, (6, 3)).astype(np.float32)
LOSSES = {
    "edm": losses.edm,
    "dsm": losses.dsm,
    "flow": losses.flow,
    "prediction": lambda *of, **more: losses.prediction(*of, processes.vp(), **more),
}


class Net(nnx.Module):
    def __init__(self, *, rate=0.0, norm=False):
        rngs = nnx.Rngs(1)
        self.linear = nnx.Linear(3, 3, rngs=rngs)
        self.dropout = nnx.Dropout(rate, rngs=rngs)
        self.norm = nnx.BatchNorm(3, rngs=rngs) if norm else None

    def __call__(self, x, c_noise, cond=None):
        x = self.linear(x) + c_noise[:, None]
        x = x if self.norm is None else self.norm(x)
        return self.dropout(x) + (0.0 if cond is None else cond)


@pytest.mark.parametrize("name", ["edm", *later("dsm", "flow", "prediction")])
def test_a_module_has_the_loss_and_the_gradient_of_its_function(name):
    net, loss = Net(), LOSSES[name]
    apply, params = nn.functional(net)

    @jax.jit
    def both(params):
        cond = jnp.ones((6, 1))
        plain = lambda params, x, c, cond: apply(params, x, c, cond)  # noqa: E731
        return jax.value_and_grad(lambda p: loss(plain, p, X0, KEY, cond=cond))(params)

    @nnx.jit
    def own(net):
        cond = jnp.ones((6, 1))
        return nnx.value_and_grad(lambda net: loss(net, None, X0, KEY, cond=cond))(net)

    (value, slopes), (expected, wanted) = own(net), both(params)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    found = {
        "linear.kernel": slopes["linear"]["kernel"][...],
        "linear.bias": slopes["linear"]["bias"][...],
    }
    for key, slope in found.items():
        np.testing.assert_allclose(slope, wanted[key], rtol=1e-5, atol=1e-6)


def test_dropout_and_batch_norm_of_a_module_in_training_are_its_own():
    """Each call has a new mask, and the statistics move; not so after `eval`."""
    net = Net(rate=0.5, norm=True)

    @nnx.jit
    def loss(net):
        return nnx.value_and_grad(lambda net: losses.edm(net, None, X0, KEY))(net)[0]

    before = np.asarray(net.norm.mean[...])
    first, second = loss(net), loss(net)
    assert first != second and not np.allclose(net.norm.mean[...], before)
    net.eval()
    before = np.asarray(net.norm.mean[...])
    assert loss(net) == loss(net)
    np.testing.assert_array_equal(net.norm.mean[...], before)


@pytest.mark.thorough
def test_a_module_of_equinox_goes_without_params_too():
    net = eqx.nn.Linear(3, 3, key=KEY)

    class Scaled(eqx.Module):
        linear: eqx.nn.Linear

        def __call__(self, x, c_noise):
            return jax.vmap(self.linear)(x) + c_noise[:, None]

    def by_hand(params, x, c):
        return x @ params.weight.T + params.bias + c[:, None]

    found, slopes = eqx.filter_value_and_grad(lambda n: losses.edm(n, None, X0, KEY))(Scaled(net))
    expected, wanted = jax.value_and_grad(lambda n: losses.edm(by_hand, n, X0, KEY))(net)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    np.testing.assert_allclose(slopes.linear.weight, wanted.weight, rtol=1e-4, atol=1e-5)


def test_a_module_with_params_beside_it_is_a_sentence():
    with pytest.raises(TypeError, match="`params` must be None where `net` is a module of flax"):
        losses.edm(Net(), {}, X0, KEY)
