"""Losses of networks that return statistics beside their output."""

import jax
import numpy as np
import pytest
from jax import random

from edmjax import losses, processes

KEY = random.key(0)
X0 = random.normal(random.key(1), (5, 3))
COND = random.normal(random.key(2), (5, 3))

LOSSES = {
    "edm_per_sample": losses.edm_per_sample,
    "flow, coupled": lambda *a, **k: losses.flow(*a, **({"coupled": True} | k | {"cond": None})),
    "prediction": lambda *a, **k: losses.prediction(*a, processes.cosine(), **k),
    "of a user, by keyword": lambda net, w, x0, key, cond: (net(w, x0, c_noise=0.0) - x0).sum(),
}


@pytest.mark.parametrize("name", LOSSES)
def test_the_value_and_its_gradient_stay_and_aux_is_what_the_network_saw(name):
    def plain(w, x, c_noise, cond=None):
        return w * x

    def with_mean(w, x, c_noise, cond=None):
        return w * x, {"mean": x.mean(0), "w": w}

    def total(value):
        return value.loss.sum() if isinstance(value, losses.PerSample) else value

    def own(w):
        value, aux = losses.with_aux(LOSSES[name])(with_mean, w, X0, KEY, cond=COND)
        return total(value), aux

    def by_itself(w):
        return total(LOSSES[name](plain, w, X0, KEY, cond=COND))

    (value, aux), slope = jax.value_and_grad(own, has_aux=True)(0.5)
    expected, wanted = jax.value_and_grad(by_itself)(0.5)
    np.testing.assert_allclose([value, slope], [expected, wanted], rtol=1e-6)
    seen = []
    LOSSES[name](lambda w, x, c_noise, cond=None: seen.append(x) or x, 0.5, X0, KEY, cond=COND)
    np.testing.assert_allclose(aux["mean"], seen[0].mean(0), rtol=1e-5, atol=1e-6)
    assert aux["w"] == 0.5


def test_of_several_calls_the_last_counts():
    def twice(net, w, x0):
        return net(w, x0)[0, 0] + net(w, 2 * x0)[0, 0]

    _, aux = losses.with_aux(twice)(lambda w, x: (x, x[0]), None, X0)
    np.testing.assert_array_equal(aux, 2 * X0[0])


def test_bad_input_is_a_sentence():
    loss = losses.with_aux(losses.edm)
    with pytest.raises(TypeError, match=r"`net` must return a pair \(F, aux\), got"):
        loss(lambda w, x, c: x, None, X0, KEY)
    with pytest.raises(TypeError, match=r"`net` must be a function that returns .*, got int"):
        loss(3, None, X0, KEY)
    with pytest.raises(TypeError, match="does not take them"):
        loss(lambda w, x: (x, 0), None, X0, KEY)
    with pytest.raises(ValueError, match="must call its network"):
        losses.with_aux(lambda net, w: 0.0)(lambda w, x, c: (x, 0), None)
