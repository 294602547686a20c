"""EDM2's U-Net equals its equations in NumPy; magnitudes are 1 at the start and after each step."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax import random
from support.networks import build, normal, small

import edmjax as ej
from edmjax import nn, training
from edmjax.nn.edm2_unet import Block
from edmjax.nn.magnitude import MPConditioning, mp_cat, mp_silu, mp_sum
from edmjax.nn.unet import double, halve
from edmjax.training.networks import adapted


def magnitudes(array):
    """The magnitude of each column, over all axes but the last."""
    array = np.asarray(array, float)
    return np.sqrt(np.square(array).mean(tuple(range(array.ndim - 1))))


# ---- the equations of the paper, in float64


def unit(a, axes):
    return a / np.sqrt(np.square(a).mean(axes, keepdims=True))


def silu(a):
    return a / (1 + np.exp(-a)) / 0.596


def weighted(a, b, t):
    return ((1 - t) * a + t * b) / np.sqrt((1 - t) ** 2 + t**2)


def joined(a, b):
    n, m = a.shape[-1], b.shape[-1]
    scale = np.sqrt((n + m) / (0.5**2 + 0.5**2))
    return np.concatenate([0.5 * scale / np.sqrt(n) * a, 0.5 * scale / np.sqrt(m) * b], -1)


def dense(w, name, a):
    kernel = w[f"{name}.kernel"]
    return a @ (kernel / np.linalg.norm(kernel, axis=0))


def conv(w, name, a):
    kernel = w[f"{name}.kernel"]
    kernel = kernel / np.sqrt(np.square(kernel).sum((0, 1, 2)))
    height, width = a.shape[1:3]
    wide = np.pad(a, ((0, 0), (1, 1), (1, 1), (0, 0)))
    return sum(
        wide[:, i : i + height, j : j + width] @ kernel[i, j] for i in range(3) for j in range(3)
    )


def attention(w, name, x, heads):
    batch, height, width, channels = x.shape
    qkv = dense(w, f"{name}.qkv", x).reshape(batch, height * width, 3, heads, channels // heads)
    q, k, v = np.moveaxis(unit(qkv, -1), 2, 0)
    odds = np.exp(np.einsum("bqhd,bkhd->bhqk", q, k) / np.sqrt(channels // heads))
    y = np.einsum("bhqk,bkhd->bqhd", odds / odds.sum(-1, keepdims=True), v)
    return weighted(x, dense(w, f"{name}.out", y.reshape(x.shape)), 0.3)


def block(w, name, x, e, heads, decodes):
    def skipped(x):
        return dense(w, f"{name}.skip", x) if f"{name}.skip.kernel" in w else x

    x = x if decodes else unit(skipped(x), -1)
    c = 1 + w[f"{name}.gain"] * dense(w, f"{name}.modulate", e)
    y = conv(w, f"{name}.conv2", silu(c[:, None, None] * conv(w, f"{name}.conv1", silu(x))))
    x = weighted(skipped(x) if decodes else x, y, 0.3)
    return attention(w, f"{name}.attention", x, heads) if f"{name}.attention.qkv.kernel" in w else x


@pytest.mark.thorough
def test_the_network_equals_its_equations():
    """Two levels, one block each; attention at the finest, and in the first block on the way up."""
    options = dict(channels=(4, 8), num_heads=2, attention=[0], num_classes=3, cond_vector=5)
    apply, params = build(lambda: small("EDM2UNet", (4, 6, 2), cond_image=1, **options))
    w = {name: np.asarray(a, float) for name, a in (params | apply.buffers).items()}
    c, label = np.array([0.1, 0.7]), np.array([2, 3])
    shapes = (2, 4, 6, 2), (2, 5), (2, 4, 6, 1)
    x, vector, image = (np.asarray(normal(i, *shape), float) for i, shape in enumerate(shapes))
    name = "conditioning"
    angles = c[:, None] * w[f"{name}.fourier.frequencies"] + w[f"{name}.fourier.phases"]
    e = dense(w, f"{name}.linear", np.sqrt(2) * np.cos(2 * np.pi * angles))
    classes = w[f"{name}.classes"]
    one_hot = 2 * np.eye(4)[label]  # of magnitude 1: three classes and "no class"
    e = weighted(e, one_hot @ (classes / np.linalg.norm(classes, axis=0)), 0.5)
    told = dense(w, f"{name}.vector.0", np.concatenate([vector, np.ones((2, 1))], 1))
    e = silu(weighted(e, dense(w, f"{name}.vector.1", silu(told)), 0.5))

    h = conv(w, "first", np.concatenate([x, image, np.ones((2, 4, 6, 1))], -1))
    skips = [h, h := block(w, "down.0", h, e, 2, False)]
    h = h.reshape(2, 2, 2, 3, 2, 4).mean((2, 4))
    skips += [h := block(w, "down.1", h, e, 0, False)]
    skips += [h := block(w, "down.2", h, e, 0, False)]
    h = block(w, "up.1", block(w, "up.0", h, e, 2, True), e, 0, True)
    for i in (2, 3):
        h = block(w, f"up.{i}", joined(h, skips.pop()), e, 0, True)
    h = block(w, "up.4", h.repeat(2, 1).repeat(2, 2), e, 2, True)
    for i in (5, 6):
        h = block(w, f"up.{i}", joined(h, skips.pop()), e, 2, True)
    assert not skips and "up.7.gain" not in w
    expected = w["gain"] * conv(w, "last", h)

    given = {"label": label, "vector": np.float32(vector), "image": np.float32(image)}
    run = jax.jit(lambda params: apply(params, jnp.float32(x), np.float32(c), given))
    np.testing.assert_allclose(run(params), expected, rtol=1e-4, atol=1e-4)
    assert not run(params | {"gain": np.float32(0)}).any(), "as it starts"


@pytest.mark.thorough
def test_sums_and_joined_channels_keep_the_magnitude():
    a, b = (normal(seed, 4, 4, 4, n) for seed, n in ((0, 200), (1, 50)))
    np.testing.assert_allclose(mp_sum(a, a[::-1], 0.3), weighted(a, a[::-1], 0.3), atol=1e-6)
    both = np.asarray(mp_cat(a, b))
    np.testing.assert_allclose(both, joined(a, b), atol=1e-5)
    assert np.sqrt(np.square(both).mean()) == pytest.approx(1, abs=0.02)
    shares = np.square(both[..., :200]).sum(), np.square(both[..., 200:]).sum()
    assert shares[0] == pytest.approx(shares[1], rel=0.1)
    silu_of = np.asarray(mp_silu(normal(2, 100_000)))
    assert np.sqrt(np.square(silu_of).mean()) == pytest.approx(1, abs=0.01)


# ---- magnitudes at the start


@pytest.mark.thorough
@pytest.mark.parametrize("heads", [0, 2])
@pytest.mark.parametrize(
    "decodes, resample, side",
    [(False, None, 16), (True, None, 16), (False, halve, 32), (True, double, 8)],
)
def test_a_block_keeps_the_magnitude_of_white_noise_at_the_start(decodes, resample, side, heads):
    options = dict(embed_dim=8, num_heads=heads, decodes=decodes, resample=resample)
    made = Block(96, 64, **options, rngs=nnx.Rngs(0))
    y = nnx.jit(lambda made, x, e: made(x, e))(made, normal(0, 4, side, side, 96), normal(1, 4, 8))
    assert y.shape == (4, 16, 16, 64)
    assert float(jnp.sqrt(jnp.square(y).mean())) == pytest.approx(1, abs=0.1)
    for name, array in nn.functional(made)[1].items():
        np.testing.assert_allclose(magnitudes(array), 0 if name == "gain" else 1, atol=1e-5)


@pytest.mark.thorough
def test_the_embedding_has_magnitude_1_at_the_start():
    @jax.jit
    def start(c_noise, vector):
        made = MPConditioning(64, 1.0, 3, cond_vector=5, rngs=nnx.Rngs(0))
        return made(400, c_noise, jnp.arange(400) % 4, vector)

    e = start(normal(0, 400), normal(1, 400, 5))
    assert float(jnp.sqrt(jnp.square(e).mean())) == pytest.approx(1, abs=0.1)


# ---- and after each step


class Own(nnx.Module):
    """A network of a user's, with one matrix whose columns are kept, and one that is not."""

    def __init__(self):
        self.kept = nn.Normalized(3 * random.normal(random.key(0), (2, 2)))
        self.free = nnx.Param(3 * random.normal(random.key(1), (2, 2)))

    def __call__(self, x, c_noise):
        return x @ nn.normalized(self.kept[...]) @ self.free[...]


def steps(net, optimizer, x):
    """The parameters at the start, and those and their average after each of three steps."""
    apply, params = adapted(net)
    loss = training.make_batch_loss(ej.losses.edm_per_sample, jnp.asarray)
    shares = [training.ema.exponential(0.9)]
    advance = training.make_train_steps(apply, loss, optimizer, shares)
    state = training.init_state(apply, params, optimizer, random.key(1))
    found = []
    for step in range(3):
        batches = np.arange(step, step + 4).reshape(1, 4) % len(x)
        state, _ = advance(state, training.Examples(x), batches)
        found.append(jax.tree.map(np.asarray, (state.params, state.ema[0])))
    return params, found


def check(params, found, kept):
    for after, _ in found:
        for name in kept:
            np.testing.assert_allclose(magnitudes(after[name]), 1, atol=1e-5)
    average = params
    for t, (after, ema) in enumerate(found, 1):  # of weights that were normalised
        decay = min(0.9, t / (9 + t))
        average = jax.tree.map(lambda a, b, d=decay: d * a + (1 - d) * b, average, after)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), average, ema)


@pytest.mark.parametrize("optimizer", [optax.sgd(0.3, momentum=0.9)])
def test_columns_of_a_users_network_have_magnitude_1_after_each_step(optimizer):
    params, found = steps(Own(), optimizer, np.asarray(normal(0, 8, 2)))
    check(params, found, ["kept"])
    for after, _ in found:
        assert np.abs(magnitudes(after["free"]) - 1).max() > 0.1, "other weights are free"
    assert np.abs(found[0][0]["kept"] - found[1][0]["kept"]).max() > 1e-4, "and they move"


OPTIMIZERS = {
    "adamw": dict(name="adamw", weight_decay=0.1),
    "muon": dict(name="muon", decay="inverse_sqrt"),
    "sgd": optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(0.3, momentum=0.9)),
    "lion": optax.lion(1e-2),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_all_weights_have_magnitude_1_after_each_step_of_any_optimiser(name):
    optimizer = OPTIMIZERS[name]
    if isinstance(optimizer, dict):
        options = dict(steps=3, warmup=0.0, learning_rate=0.05, **optimizer)
        optimizer = training.build.build_optimizer(training.OptimConfig(**options))
    config = training.NetConfig("edm2_unet", channels=[16], embed_dim=16)
    net = training.build_net(config, (4, 4, 1), rngs=nnx.Rngs(0))
    x = np.asarray(normal(0, 8, 4, 4, 1))
    params, found = steps(net, optimizer, x)
    weights = [name for name, array in params.items() if array.ndim]
    assert len(weights) == len(params) - 6
    check(params, found, weights)
    assert all(found[-1][0][name] != 0 for name in params.keys() - set(weights)), "gains move"


@pytest.mark.thorough
def test_fit_keeps_the_magnitudes():
    made = ej.training.fit(
        Own(), np.asarray(normal(0, 16, 2)), steps=4, batch_size=4, key=random.key(0),
        optimizer=optax.adam(0.3),
    )  # fmt: skip
    np.testing.assert_allclose(magnitudes(made.net.kept[...]), 1, atol=1e-5)


@pytest.mark.parametrize(
    "attention, says",
    [([2], r"`attention\[0\]` must be from 0 to 1, got 2"), ([True], "must be an integer")],
)
def test_levels_that_do_not_exist_are_a_sentence(attention, says):
    with pytest.raises((ValueError, TypeError), match=says):
        small("EDM2UNet", attention=attention)


@pytest.mark.slow
def test_gradients_are_those_of_finite_differences(x64):
    apply, params = build(lambda: small("EDM2UNet", num_classes=2))
    params = jax.tree.map(lambda a: a.astype(np.float64), params)
    apply = nn.Functional(apply.graphdef, jax.tree.map(lambda a: np.float64(a), apply.buffers))
    x = normal(0, 2, 8, 8, 1).astype(jnp.float64)
    value = jax.jit(lambda p: jnp.sum(jnp.sin(apply(p, x, 0.3, np.array([0, 1])))))
    slopes, rng = jax.jit(jax.grad(value))(params), np.random.default_rng(0)
    for _ in range(3):
        way = {name: rng.normal(size=a.shape) for name, a in params.items()}
        ends = [value({n: a + h * way[n] for n, a in params.items()}) for h in (1e-5, -1e-5)]
        along = sum(float(np.sum(slopes[n] * way[n])) for n in way)
        assert along == pytest.approx(float(ends[0] - ends[1]) / 2e-5, rel=1e-4)
