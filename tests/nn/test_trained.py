"""Networks trained on data whose exact denoiser is known: how far above its loss they end.

Measured by training these on fresh samples with the recipe of `edmjax train`, where a network has
nothing to gain by remembering.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import random

import edmjax as ej
from edmjax import training
from edmjax.training import build


def mixture(seed):
    """Eight round modes in two dimensions, with random weights, places and widths."""
    rng = np.random.default_rng(seed)
    means, weights = rng.uniform(-1, 1, (8, 2)), rng.dirichlet(np.full(8, 3.0))
    return ej.problems.Mixture(weights, means, rng.uniform(0.03, 0.15, 8) ** 2)


def train(problem, shape, net, optim):
    """The denoiser that comes out of `optim.steps` steps on 100,000 samples, and its loss."""
    data = np.asarray(problem.sample(random.key(0), 100_000), np.float32).reshape(-1, *shape)
    sigma_data = float(data.std())
    options = dict(sigma_data=sigma_data, p_mean=-1.2 + np.log(sigma_data / 0.5), stratified=True)
    loss = training.LossConfig(**options)
    apply, params = ej.nn.functional(training.build_net(net, shape, rngs=nnx.Rngs(0)))
    optimizer = build.build_optimizer(optim)
    state = training.init_state(apply, params, optimizer, random.key(1))
    batch_loss = training.make_batch_loss(training.build_loss(loss), jnp.asarray)
    averages = build.build_averages(optim)
    advance = training.make_train_steps(apply, batch_loss, optimizer, averages)
    batches = np.random.default_rng(0).integers(0, len(data), (optim.steps, optim.batch_size))
    for part in np.array_split(batches, optim.steps // 250):
        state, _ = advance(state, training.Examples(data), part)
    trained = ej.nn.Functional(apply.graphdef, state.buffers).bind(state.ema[0])
    return ej.denoisers.edm(trained, sigma_data), options


def excess(problem, denoise, shape, options, n=24_000):
    """The part of the loss that the exact denoiser does not have, over all levels, and the largest
    in a twelfth of them.

    The loss of any denoiser is that of the exact one and their squared distance, on average.
    """
    x0 = problem.sample(random.key(2), n).reshape(n, *shape)
    # Sorted, so that twelfths of the samples are twelfths of the levels.
    levels = jax.scipy.stats.norm.ppf((jnp.arange(n) + 0.5) / n)
    sigma = jnp.exp(options["p_mean"] + 1.2 * levels)
    each = (n, *[1] * len(shape))
    x = x0 + sigma.reshape(each) * random.normal(random.key(3), x0.shape)

    @jax.jit
    def both(x, x0, sigma):
        exact = problem(x.reshape(len(x), *problem.means.shape[1:]), sigma).reshape(x.shape)
        weight = (sigma**-2 + options["sigma_data"] ** -2).reshape(-1, *each[1:])
        found = weight * jnp.square(denoise(x, sigma) - exact), weight * jnp.square(exact - x0)
        return [value.reshape(len(x), -1).mean(1) for value in found]

    ours, least = (value.reshape(12, -1).mean(1) for value in both(x, x0, sigma))
    return float(ours.mean() / least.mean()), float((ours / least).max())


@pytest.mark.slow
def test_mlp_is_within_3_per_cent_of_the_exact_denoiser():
    """Measured 0.3 % (1.0 % in the worst twelfth) after 2,000 steps; they take 15 s on a core."""
    problem, net = mixture(1), training.NetConfig("mlp")
    optim = training.OptimConfig(steps=2000, batch_size=256, learning_rate=2e-3)
    denoise, options = train(problem, (2,), net, optim)
    all_levels, worst = excess(problem, denoise, (2,), options)
    assert all_levels < 0.03 and worst < 0.05


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


ADAM = dict(batch_size=128, learning_rate=3e-3)
# Network, optimiser, and the excess that was measured: over all levels, and in the worst twelfth.
OF_IMAGES = {
    "unet": (dict(channels=[16, 32]), dict(steps=1000), (0.308, 2.73)),
    "patch_unet": (dict(channels=[48, 96], num_blocks=[2, 2]), dict(steps=1000), (0.353, 3.25)),
    "edm2_unet": (
        dict(channels=[16, 32]), dict(steps=600, learning_rate=0.02), (0.600, 5.21),
    ),
    "dit": (
        dict(width=64, num_blocks=3, num_heads=4),
        dict(name="muon", steps=750, learning_rate=4e-3),
        (0.517, 4.07),
    ),
    "score_net": (dict(channels=[32, 64]), dict(steps=1000), (2.22, 12.8)),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", OF_IMAGES)
def test_networks_of_images_come_as_near_to_the_exact_denoiser_as_they_did(name):
    """In 84 s (unet), 157, 143, 96 and 24 s of CPU time; the aim, 1.1 times unet, is not reached.

    Two levels of `score_net` are all that 8 pixels allow. The bounds leave a fifth for rounding.
    """
    options, optim, (all_levels, worst) = OF_IMAGES[name]
    net = training.NetConfig(name, embed_dim=64, **options)
    problem, shape = images(1), (8, 8, 1)
    denoise, about = train(problem, shape, net, training.OptimConfig(**ADAM | optim))
    found = excess(problem, denoise, shape, about)
    assert found[0] < 1.2 * all_levels and found[1] < 1.2 * worst
