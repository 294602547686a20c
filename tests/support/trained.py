"""Networks trained on a known mixture by the recipe of `edmjax train`, and their excess loss."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import random

import edmjax as ej
from edmjax import training
from edmjax.training import build


class Trained(NamedTuple):
    """What `train` returns."""

    denoise: Callable[..., Any]
    loss: training.LossConfig
    parameters: int
    cpu: float  # seconds of the process, compilation included


# Chosen on images(1): entries of `net` and `optim`, as `edmjax train` takes them.
MUON = dict(name="muon", learning_rate=1e-2, newton_schulz_steps=3)
RECIPES = {
    "unet": (dict(channels=[16, 32]), dict(steps=1000, learning_rate=3e-3)),
    "patch_unet": (
        dict(channels=[48, 96], num_blocks=[2, 2], fourier_scale=1.0), MUON | dict(steps=500),
    ),
    # Its weights have magnitude 1, ten times that of others, and so has its learning rate.
    "edm2_unet": (
        dict(channels=[16, 32]),
        MUON | dict(steps=500, learning_rate=0.1, adam_learning_rate=0.02),
    ),
    "dit": (dict(width=128, num_blocks=3, num_heads=4), MUON | dict(steps=750)),
    "score_net": (
        dict(channels=[32, 64, 128, 256], fourier_scale=1.0), MUON | dict(steps=500),
    ),
}  # fmt: skip


def images(seed, modes=4, rank=3, side=8):
    """Smooth images of 8x8 pixels: modes of low rank, each with its own place and directions."""
    rng = np.random.default_rng(seed)
    k = np.arange(side)
    waves = np.cos(np.pi * (k[:, None] + 0.5) * k / side)

    def smooth(*n):
        size = rng.normal(size=(*n, side, side)) / (1 + k[:, None] + k)
        return np.einsum("iu,...uv,jv->...ij", waves, size, waves)

    means, ways = smooth(modes), smooth(modes, rank).reshape(modes, rank, -1)
    means *= 0.5 / means.std()
    ways *= 0.25 / np.sqrt(rank) / ways.std()
    covs = np.einsum("kri,krj->kij", ways, ways)
    return ej.problems.Mixture(rng.dirichlet(np.full(modes, 3.0)), means[..., None], covs)


def draw(problem, key, n, shape, parts=20):
    """`n` samples, in parts: a sample of a mixture holds its mode's whole basis for a moment."""
    draws = [problem.sample(random.fold_in(key, i), n // parts) for i in range(parts)]
    return np.concatenate([np.asarray(x, np.float32).reshape(-1, *shape) for x in draws])


def train(problem, shape, net, optim):
    """`optim.steps` steps on 100,000 samples."""
    data = draw(problem, random.key(0), 100_000, shape)
    start, sigma_data = time.process_time(), float(data.std())
    p_mean = -1.2 + np.log(sigma_data / 0.5)
    loss = training.LossConfig(sigma_data=sigma_data, p_mean=p_mean, stratified=True)
    apply, params = ej.nn.functional(training.build_net(net, shape, rngs=nnx.Rngs(0)))
    optimizer, averages = build.build_optimizer(optim), build.build_averages(optim)
    state = training.init_state(apply, params, optimizer, random.key(1))
    batch_loss = training.make_batch_loss(training.build_loss(loss), jnp.asarray)
    advance = training.make_train_steps(apply, batch_loss, optimizer, averages)
    batches = np.random.default_rng(0).integers(0, len(data), (optim.steps, optim.batch_size))
    for part in np.array_split(batches, optim.steps // 250):
        state, _ = jax.block_until_ready(advance(state, training.Examples(data), part))
    trained = ej.nn.Functional(apply.graphdef, state.buffers).bind(state.ema[0])
    size = sum(np.size(array) for array in params.values())
    cpu = time.process_time() - start
    return Trained(ej.denoisers.edm(trained, sigma_data), loss, size, cpu)


def excess(problem, denoise, shape, loss, n=24_000):
    """The part of the loss that the exact denoiser does not have, over all levels, and the largest
    in a twelfth of them.

    The loss of any denoiser is that of the exact one and their squared distance, on average.
    """
    x0 = draw(problem, random.key(2), n, shape)
    # Sorted, so that twelfths of the samples are twelfths of the levels.
    levels = jax.scipy.stats.norm.ppf((jnp.arange(n) + 0.5) / n)
    sigma = jnp.exp(loss.p_mean + loss.p_std * levels)
    each = (-1, *[1] * len(shape))
    x = x0 + sigma.reshape(each) * random.normal(random.key(3), x0.shape)

    def losses(of_twelfth):
        x, x0, sigma = of_twelfth
        exact = problem(x.reshape(len(x), *problem.means.shape[1:]), sigma).reshape(x.shape)
        weight = (sigma**-2 + loss.sigma_data**-2).reshape(each)
        squares = jnp.square(denoise(x, sigma) - exact), jnp.square(exact - x0)
        return [(weight * square).mean() for square in squares]

    twelfths = [value.reshape(12, -1, *value.shape[1:]) for value in (x, jnp.asarray(x0), sigma)]
    # One after the other, in a twelfth of the memory.
    ours, least = jax.jit(lambda xs: jax.lax.map(losses, xs))(twelfths)
    return float(ours.mean() / least.mean()), float((ours / least).max())


def of_images(name, seed):
    """A network of `RECIPES` on `images(seed)`: what was trained, and its two excess losses."""
    net, optim = RECIPES[name]
    problem, shape = images(seed), (8, 8, 1)
    net = training.NetConfig(name, embed_dim=64, **net)
    trained = train(problem, shape, net, training.OptimConfig(batch_size=128, **optim))
    return trained, excess(problem, trained.denoise, shape, trained.loss)
