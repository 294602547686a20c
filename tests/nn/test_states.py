"""Networks with BatchNorm or Dropout: a sentence in training mode, samples in the other.

Everything is traced and nothing compiled, unless a value is the claim.
"""

import equinox as eqx
import flax.linen as linen
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from support.helpers import later

import edmjax as ej
from edmjax import training

KEY = jax.random.key(0)
PLAN = ej.make_plan(ej.samplers.euler(), ej.schedules.karras(3))
X = np.ones((5, 2), np.float32)
CHANGES = "The network changes its own state while it is evaluated"


class Net(nnx.Module):
    """A linear map of `x`, and a layer with state behind it."""

    def __init__(self, layer):
        rngs = nnx.Rngs(0)
        self.linear = nnx.Linear(2, 2, rngs=rngs)
        self.layer = {
            "batchnorm": lambda: nnx.BatchNorm(2, rngs=rngs),
            "dropout": lambda: nnx.Dropout(0.5, rngs=rngs),
            "own": lambda: Counter(),
        }[layer]()

    def __call__(self, x, c_noise, cond=None):
        return self.layer(self.linear(x))


class Counter(nnx.Module):
    """Counts its calls, as no layer of flax does."""

    def __init__(self):
        self.calls = nnx.Variable(jnp.zeros((), jnp.int32))

    def __call__(self, x):
        self.calls[...] = self.calls[...] + 1
        return x


LAYERS = {
    "batchnorm": r"layer\.mean, layer\.var\.",
    "dropout": r"layer\.rngs\.count\.",
    "own": r"layer\.calls\.",
}
FORMS = {
    "a denoiser": lambda net: ej.denoisers.edm(net)(X, 1.0),
    "within jit": lambda net: jax.jit(lambda net: ej.denoisers.edm(net)(X, 1.0))(net),
    "sample": lambda net: ej.sample(ej.denoisers.edm(net), PLAN, X),
    "a function": lambda net: ej.sample(ej.denoisers.edm(lambda x, c: net(x, c)), PLAN, X),
    "a user's denoiser": lambda net: ej.sample(lambda x, sigma: net(x, sigma), PLAN, X),
    "functional": lambda net: apart(net)(X, 0.0),
    "functional in sample": lambda net: ej.sample(ej.denoisers.edm(apart(net)), PLAN, X),
    "a loss": lambda net: loss(*ej.nn.functional(net)),
}


def apart(net):
    apply, params = ej.nn.functional(net)
    return apply.bind(params)


def loss(apply, params):
    return jax.grad(lambda p: ej.losses.edm(apply, p, jnp.asarray(X), jax.random.key(0)))(params)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("layer", LAYERS)
def test_a_network_that_changes_its_state_is_a_sentence(layer, form):
    with pytest.raises(ValueError, match=CHANGES) as told:
        jax.eval_shape(lambda: FORMS[form](Net(layer)))
    assert "`net.eval()`" in str(told.value)


@pytest.mark.parametrize("layer", LAYERS)
def test_the_arrays_that_change_are_named(layer):
    with pytest.raises(ValueError, match=f"{CHANGES}: {LAYERS[layer]}"):
        jax.eval_shape(lambda: apart(Net(layer))(X, 0.0))


def test_training_steps_refuse_it_before_they_run():
    apply, params = ej.nn.functional(Net("batchnorm"))
    optimizer = optax.sgd(0.1)
    state = training.init_state(apply, params, optimizer, jax.random.key(0))
    batch_loss = training.make_batch_loss(ej.losses.edm_per_sample, lambda x: x)
    advance = training.make_train_steps(apply, batch_loss, optimizer, [lambda t: 1.0])
    with pytest.raises(ValueError, match=CHANGES):
        advance(state, training.Examples(X), np.zeros((2, 3), np.int32))


@pytest.mark.parametrize("layer", ["batchnorm", *later("dropout")])
def test_in_its_form_for_sampling_a_sample_does_not_depend_on_its_batch(layer):
    net = Net(layer)
    net.eval()
    x = 80 * np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32)
    for denoise in (ej.denoisers.edm(net), ej.denoisers.edm(apart(net))):
        both = ej.sample(denoise, PLAN, x)
        np.testing.assert_allclose(ej.sample(denoise, PLAN, x[:1]), both[:1], atol=1e-6)


class Linen(linen.Module):
    @linen.compact
    def __call__(self, x, c_noise, train):
        x = linen.BatchNorm(use_running_average=not train)(x)
        return linen.Dropout(0.5, deterministic=not train)(x)


@pytest.fixture(scope="module")
def variables():
    return jax.tree.map(
        jnp.ones_like, jax.eval_shape(lambda: Linen().init(jax.random.key(0), X, 0.0, False))
    )


@pytest.mark.parametrize("mutable, rngs", [(False, None), (["batch_stats"], {"dropout": KEY})])
def test_linen_in_training_mode_is_a_sentence(variables, mutable, rngs):
    def net(x, c_noise):
        out = Linen().apply(variables, x, c_noise, True, mutable=mutable, rngs=rngs)
        return out[0] if mutable else out

    with pytest.raises(ValueError, match="has a BatchNorm in its form for training"):
        jax.eval_shape(lambda: ej.sample(ej.denoisers.edm(net), PLAN, X))


@pytest.mark.parametrize("given", [{}, {"deterministic": False}])
def test_a_mask_of_linen_that_is_the_same_in_all_steps_is_a_sentence(given):
    layer = linen.Dropout(0.5, deterministic=None if given else False)

    def denoise(x, sigma):
        return layer.apply({}, x, rngs={"dropout": KEY}, **given)

    with pytest.raises(ValueError, match="has a Dropout in its form for training"):
        jax.eval_shape(lambda: ej.sample(denoise, PLAN, X))


def test_what_linen_gathers_while_it_is_sampled_is_accepted(variables):
    """`mutable` is for more than training: `sow` keeps activations in a collection."""

    def pair(x, c_noise):
        return Linen().apply(variables, x, c_noise, False, mutable=["intermediates"])

    def run(net):
        return jax.eval_shape(lambda: ej.sample(ej.denoisers.edm(net), PLAN, X))

    assert run(lambda x, c_noise: pair(x, c_noise)[0]).shape == X.shape
    with pytest.raises(ValueError, match=r"The network must return the structure.*output alone"):
        run(pair)


def test_linen_for_sampling_is_accepted(variables):
    net = jax.tree_util.Partial(
        lambda v, x, c_noise: Linen().apply(v, x, c_noise, False), variables
    )
    assert jax.eval_shape(lambda: ej.sample(ej.denoisers.edm(net), PLAN, X)).shape == X.shape


class Equinox(eqx.Module):
    """A Dropout with a key of its own, so that Equinox has nothing to say."""

    dropout: eqx.nn.Dropout

    def __call__(self, x, c_noise, cond=None):
        return self.dropout(x, key=jax.random.key(0))


def test_equinox_out_of_inference_mode_is_a_sentence():
    net = Equinox(eqx.nn.Dropout(0.5))
    with pytest.raises(ValueError, match=r"`net` has a Dropout that is not in inference mode"):
        ej.denoisers.edm(net)
    with pytest.raises(ValueError, match=r"`denoise` has a Dropout that is not in inference mode"):
        ej.sample(net, PLAN, X)
    for called in (net.__call__, jax.vmap(net, (0, None)), jax.jit(net)):
        with pytest.raises(ValueError, match="a Dropout that is not in inference mode"):
            ej.denoisers.edm(called)


def test_a_module_of_another_package_has_no_functional_form(unchecked):
    with pytest.raises(TypeError, match=r"`net` must be a module of flax\.nnx, got"):
        ej.nn.functional(Equinox(eqx.nn.Dropout(0.0)))
