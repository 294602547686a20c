"""A network is given `c_noise` as a scalar, or as one number a sample where it takes only that."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.helpers import later

import edmjax as ej

PLAN = ej.make_plan(ej.samplers.heun(), ej.schedules.karras(3))
X = 80 * np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32)


def scalar(x, c_noise, cond=None):
    """A network of either kind of level."""
    return jnp.tanh(x + jnp.reshape(c_noise, (-1, 1)))


def each(x, c_noise, cond=None):
    """One that embeds the level of each sample, as in training."""
    return jnp.tanh(x + c_noise[:, None])


def joined(x, c_noise, cond=None):
    return jnp.tanh(jnp.concatenate([x, jnp.stack([c_noise, c_noise], 1)], 1)[:, 2:] + x)


MAKERS = {
    "edm": ej.denoisers.edm,
    "vp": ej.denoisers.vp,
    "flow": ej.denoisers.flow,
    "eps": lambda net: ej.denoisers.eps(net, ej.processes.cosine()),
}


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("net", [each, joined])
def test_a_network_of_one_level_a_sample_samples_what_it_was_trained_for(make, net):
    wanted, found = (MAKERS[make](n)(X, 0.7) for n in (scalar, net))
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


@pytest.mark.parametrize("run", ["sample", *later("guided", "in chunks")])
def test_it_is_sampled_guided_and_drawn_in_chunks(run):
    def draw(net):
        denoise = ej.denoisers.edm(net)
        if run == "sample":
            return ej.sample(denoise, PLAN, X)
        if run == "guided":
            guided = ej.guidance.classifier_free(denoise, 1.5, uncond=np.int32(0))
            return ej.sample(guided, PLAN, X, cond=np.ones(5, np.int32))
        sizes = dict(num_samples=5, chunk_size=3, shape=jax.ShapeDtypeStruct((2,), jnp.float32))
        return ej.sample_in_chunks(denoise, PLAN, jax.random.key(0), **sizes)

    np.testing.assert_allclose(draw(each), draw(scalar), rtol=1e-5, atol=1e-6)


def test_a_network_that_takes_the_scalar_is_given_it():
    seen = []

    def net(x, c_noise):
        seen.append(c_noise.shape)
        return scalar(x, c_noise)

    jax.make_jaxpr(lambda x: ej.sample(ej.denoisers.edm(net), PLAN, x))(X)
    assert seen and set(seen) == {()}


def test_a_network_of_neither_gets_both_shapes():
    def net(x, c_noise):
        return x + c_noise.reshape(5, 3)

    says = r"`c_noise` neither as a scalar, shape \(\), nor as one number a sample, shape \(5,\)"
    with pytest.raises(ValueError, match=f"{says}.*TypeError: .*; with one a sample TypeError"):
        ej.sample(ej.denoisers.edm(net), PLAN, X)


def test_an_error_that_is_not_about_the_level_is_the_network_s_own():
    def net(x, c_noise):
        raise ZeroDivisionError("of my own")

    with pytest.raises(ZeroDivisionError, match="of my own"):
        ej.sample(ej.denoisers.edm(net), PLAN, X)
