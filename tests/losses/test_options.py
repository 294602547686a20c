"""Options that all losses share: weights of entries, levels and noise of one's own, pytrees, x64.

What is right is written out in NumPy from the papers' equations, with the numbers that are given.
"""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from support.helpers import first, later, over

import edmjax as ej
from edmjax import losses, nn, training

KEY = jax.random.key(7)
RNG = np.random.default_rng(0)
X0 = RNG.normal(0, 0.5, (4, 6, 3))
NOISE = RNG.normal(size=(4, 6, 3))
SIGMA = np.array([0.02, 0.3, 1.5, 40.0])
MASK = (np.arange(6) < 4)[:, None] & np.ones(3, bool)
CELLS = RNG.uniform(0, 2, (6, 1))

NAMES = ("edm", "dsm", "flow", "epsilon", "v_prediction", "sample")


def net(params, x, c_noise, cond=None):
    return jax.tree.map(lambda v: jnp.tanh(0.7 * v + c_noise[:, None, None]), x)


def call(name, each=False, x0=X0, net=net, key=KEY, process=None, **options):
    """The loss of this name in float32; `sigma` are its levels."""
    levels = options.pop("sigma", None)
    if name in ("edm", "dsm"):
        more, rest = {"levels": levels}, ()
        function = f"{name}_per_sample" if each else name
    else:
        process = process or (ej.processes.flow() if name == "flow" else ej.processes.vp())
        times = None if levels is None else np.asarray(process.time(levels))
        more, rest = {"times": times}, () if name == "flow" else (process, name)
        function = name if name == "flow" else "prediction"
        function = f"{function}_per_sample" if each else function
    return getattr(losses, function)(net, None, as_float32(x0), key, *rest, **more, **options)


def as_float32(tree):
    return jax.tree.map(lambda v: jnp.asarray(v, jnp.float32), tree)


def given(keys, like):
    """The noise of the tests, for any of the batches."""
    assert keys.shape == (4,)
    return jax.tree.map(lambda leaf: NOISE[:, :, : leaf.shape[-1]], like)


def errors_by_hand(name, x0=X0, noise=NOISE, sigma=SIGMA, sigma_data=0.5):
    """`F - target` of every entry, by the equation of each loss."""
    s = sigma[:, None, None]
    if name == "edm":  # Karras et al. 2022, equation 8
        total = np.sqrt(s**2 + sigma_data**2)
        c_skip, c_out = sigma_data**2 / total**2, s * sigma_data / total
        x, c = (x0 + s * noise) / total, np.log(s) / 4
        return np.tanh(0.7 * x + c) - (x0 - c_skip * (x0 + s * noise)) / c_out
    if name == "dsm":  # Song's tutorial: sigma^2 = (25^(2 t) - 1) / (2 log 25)
        t = np.log(1 + 2 * s**2 * np.log(25)) / (2 * np.log(25))
        return np.tanh(0.7 * (x0 + s * noise) + t) + noise
    if name == "flow":
        alpha, std, t = 1 / (1 + s), s / (1 + s), s / (1 + s)
        target = noise - x0
    else:  # VP: sigma^2 = exp(0.1 t + 19.9 t^2 / 2) - 1
        alpha, std = 1 / np.sqrt(1 + s**2), s / np.sqrt(1 + s**2)
        t = (np.sqrt(0.1**2 + 2 * 19.9 * np.log(1 + s**2)) - 0.1) / 19.9
        v = alpha * noise - std * x0
        target = {"epsilon": noise, "v_prediction": v, "sample": x0}[name]
    return np.tanh(0.7 * (alpha * x0 + std * noise) + t) - target


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("weights", ["none", *later("mask", "cells")])
def test_weights_levels_and_noise_are_those_that_are_given(name, weights):
    weights = {"none": None, "mask": MASK, "cells": CELLS}[weights]
    options = dict(sigma=SIGMA, noise=given, weights=weights)
    squares = errors_by_hand(name) ** 2 * (1.0 if weights is None else weights)
    each = call(name, each=True, **options)
    np.testing.assert_allclose(each.loss, squares.sum((1, 2)), rtol=2e-4)
    np.testing.assert_allclose(each.sigma, SIGMA, rtol=2e-4)
    np.testing.assert_allclose(call(name, **options), squares.sum((1, 2)).mean(), rtol=2e-4)


@pytest.mark.parametrize("name", over(NAMES, ["edm"], ["flow", "epsilon"]))
def test_a_pytree_is_the_sum_over_its_leaves(name):
    x0 = {"position": X0, "feature": X0[..., :1] ** 2}
    options = dict(sigma=SIGMA, noise=given, x0=x0)
    one = errors_by_hand(name) ** 2
    other = errors_by_hand(name, x0["feature"], NOISE[..., :1]) ** 2
    each = call(name, each=True, **options)
    np.testing.assert_allclose(each.loss, one.sum((1, 2)) + other.sum((1, 2)), rtol=2e-4)
    # One mask for all leaves, or one for each.
    rows = MASK[:, :1]
    both = (one * rows).sum((1, 2)) + (other * rows).sum((1, 2))
    each = call(name, each=True, weights=rows, **options)
    np.testing.assert_allclose(each.loss, both, rtol=2e-4)
    each = call(name, each=True, weights={"position": MASK, "feature": 0.0}, **options)
    np.testing.assert_allclose(each.loss, (one * MASK).sum((1, 2)), rtol=2e-4)


@pytest.mark.parametrize("name", over(NAMES, ["edm"], ["flow", "epsilon"]))
def test_weights_of_one_change_nothing_and_a_mask_keeps_what_it_hides_out(name):
    given = (None, 1.0, np.full((4, 1, 1), 2.0), MASK)
    plain, ones, twos, masked = jax.jit(lambda: [call(name, weights=w) for w in given])()
    np.testing.assert_allclose(ones, plain, rtol=1e-6)
    np.testing.assert_allclose(twos, 2 * plain, rtol=1e-6)

    def odd(params, x, c_noise):
        """A network whose outputs at the last rows are not numbers."""
        return jnp.where(MASK, params * net(None, x, c_noise), jnp.nan)

    def loss(params):
        return call(name, net=lambda _, x, c: odd(params, x, c), weights=MASK)

    value, slope = jax.jit(jax.value_and_grad(loss))(1.0)
    np.testing.assert_allclose(value, masked, rtol=1e-6)
    assert np.isfinite(slope) and slope != 0


@pytest.mark.parametrize("name", ["edm", "dsm", "flow"])
def test_a_law_of_levels_is_asked_for_one_number_a_sample(name):
    def law(key, n):
        """Log-uniform, as in physicsnemo."""
        return 0.01 * 1e4 ** jax.random.uniform(key, (n,))

    keyword = "times" if name == "flow" else "levels"
    scale = (lambda key, n: law(key, n) / 100) if name == "flow" else law
    key_level, _ = jax.random.split(KEY)
    each = getattr(losses, f"{name}_per_sample")(net, None, as_float32(X0), KEY, **{keyword: scale})
    drawn = each.c_noise if name == "flow" else each.sigma
    np.testing.assert_allclose(drawn, scale(key_level, 4), rtol=1e-6)


def test_noise_of_ones_own_gets_a_key_for_each_sample():
    """Noise on a sphere: a sample's noise is a function of its key alone."""

    def sphere(keys, like):
        drawn = jax.vmap(lambda key: jax.random.normal(key, like.shape[1:]))(keys)
        return drawn / jnp.linalg.norm(drawn, axis=(1, 2), keepdims=True)

    seen = {}

    def watch(params, x, c_noise):
        seen["x"] = x
        return x

    losses.flow(watch, None, as_float32(0 * X0), KEY, times=np.full(4, 0.5), noise=sphere)
    keys = ej.sample_keys(jax.random.split(KEY)[1], 4)
    like = jax.ShapeDtypeStruct(X0.shape, jnp.float32)
    np.testing.assert_allclose(seen["x"], 0.5 * sphere(keys, like), rtol=1e-6)


@pytest.mark.parametrize("process", ["flow", *later("vp", "cosine", "ddpm")])
def test_a_perfect_network_loses_nothing_and_its_denoiser_is_the_data(process):
    """The network that the loss asks for is the one that the denoiser takes."""
    process = getattr(ej.processes, process)()
    x0 = jnp.full((3, 2), 0.4, jnp.float32)

    def exact(kind):
        def net(params, x, t):
            alpha, std = (v.reshape(-1, 1) for v in process.marginal(jnp.atleast_1d(t)))
            noise = (x - alpha * 0.4) / std
            v = alpha * noise - std * 0.4
            return {"epsilon": noise, "v_prediction": v, "sample": 0 * x + 0.4}[kind]

        return net

    law = None if isinstance(process, type(ej.processes.ddpm())) else np.array([0.2, 0.5, 0.9])

    @jax.jit
    def both(x0):
        found = {}
        for kind in ("epsilon", "v_prediction", "sample"):
            net = exact(kind)
            loss = losses.prediction(net, None, x0, KEY, process, kind, times=law)
            denoise = ej.denoisers.prediction(lambda x, t, net=net: net(None, x, t), process, kind)
            found[kind] = loss, denoise(x0 + 1.3, 1.5)
        return found

    for kind, (loss, denoised) in both(x0).items():
        assert loss < 1e-6, kind
        np.testing.assert_allclose(denoised, x0, atol=1e-4)


def test_the_network_of_a_flow_is_the_one_that_its_denoiser_takes():
    x0 = jnp.full((3, 2), 0.4, jnp.float32)
    net = lambda params, x, t: (x - 0.4) / jnp.reshape(t, (-1, 1))  # noqa: E731
    denoise = ej.denoisers.flow(lambda x, t: net(None, x, t))
    loss, denoised = jax.jit(lambda: (losses.flow(net, None, x0, KEY), denoise(x0 + 1.3, 1.5)))()
    assert loss < 1e-5
    np.testing.assert_allclose(denoised, x0, atol=1e-4)


@pytest.mark.thorough
def test_the_times_of_a_process_are_uniform_on_its_own():
    """A mean within four standard errors, and the ends."""
    x0, zero = jnp.zeros((4000, 1)), lambda params, x, t: 0 * x
    for process, low, high in (
        (ej.processes.vp(), 0, 1),
        (ej.processes.ddpm(), 0, 999),
    ):
        t = losses.prediction_per_sample(zero, None, x0, KEY, process).c_noise
        spread = (high - low) / np.sqrt(12 * 4000)
        assert abs(t.mean() - (low + high) / 2) < 4 * spread
        assert t.min() >= low and t.max() <= high and t.max() > 0.99 * high
    assert (t == jnp.round(t)).all() and t.dtype == jnp.float32
    whole = losses.prediction_per_sample(
        zero, None, x0[:3], KEY, process, times=np.array([0, 5, 999])
    )
    assert whole.c_noise.dtype == jnp.int32 and np.isfinite(whole.loss).all()


# ---- dtypes

WIDE = re.compile(r":f64\[\d")


def with_draws(name):
    """The losses of this name that draw all that they may, as functions of `x0`."""

    def loss(x0, **more):
        function = getattr(losses, f"{name}_per_sample", losses.prediction_per_sample)
        process = () if hasattr(losses, name) else (ej.processes.vp(), name)
        return function(net, None, x0, KEY, *process, **more)

    options = [{}, {"stratified": True}] if name in ("edm", "dsm") else [{}]
    return [functools.partial(loss, **more) for more in options]


@pytest.mark.parametrize("name", over(NAMES, ["edm"], ["flow"]))
@pytest.mark.parametrize("dtype", ["float32", *later("bfloat16", "float64")])
def test_draws_have_the_precision_of_the_data(x64, name, dtype):
    """Not the precision of x64."""
    wide = jnp.float64 if dtype == "float64" else jnp.float32
    for loss in with_draws(name):
        program = jax.make_jaxpr(loss)(jnp.asarray(X0, dtype))
        assert {v.dtype for v in program.out_avals} == {jnp.dtype(wide)}
        assert (wide == jnp.float64) or not WIDE.search(str(program))


@pytest.mark.thorough
@pytest.mark.parametrize("name", first(2, NAMES))
def test_float32_data_have_the_loss_that_they_have_without_x64(x64, name):
    for loss in with_draws(name):
        found = jax.jit(loss)(as_float32(X0))
        with jax.enable_x64(False):
            expected = jax.jit(loss)(as_float32(X0))
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6)


@pytest.mark.thorough
@pytest.mark.parametrize("optimiser", ["adamw", "muon"])
def test_training_holds_no_array_of_doubles_under_x64(x64, optimiser):
    config = training.OptimConfig(steps=8, batch_size=4, name=optimiser, ema_sigma_rel=[0.1])
    loss = training.LossConfig(uncertainty=True, stratified=True)
    options = dict(channels=(16,), embed_dim=16, num_classes=2)
    net = nnx.eval_shape(lambda: nn.UNet((4, 4, 1), **options, rngs=nnx.Rngs(0)))
    apply, params = nn.functional(net)
    optimizer, averages = training.build_optimizer(config), training.build_averages(config)
    dataset = training.Dataset(
        "grey", np.full((6, 4, 4, 1), 200, np.uint8), np.arange(6) % 2, 255, 2
    )
    batch_loss = training.make_batch_loss(
        training.build_loss(loss), dataset.scale, num_classes=2, label_dropout=0.1
    )

    def begin(params, buffers):
        uncertainty = training.build_uncertainty(loss, (4, 4, 1))
        net = nn.Functional(apply.graphdef, buffers)
        return training.init_state(net, params, optimizer, KEY, uncertainty=uncertainty)

    state = jax.eval_shape(begin, params, apply.buffers)
    assert {str(leaf.dtype) for leaf in jax.tree.leaves(state)} <= {"float32", "int32", "key<fry>"}
    advance = training.make_train_steps(apply, batch_loss, optimizer, averages)
    indices = np.zeros((2, 4), np.int32)
    program = jax.make_jaxpr(advance)(state, dataset.examples(labels=True), indices)
    assert not WIDE.search(str(program))
