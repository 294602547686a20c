"""Muon orthogonalises what is a matrix and leaves the rest to AdamW."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from edmjax import training
from edmjax.training.config import identity


def first_update(gradients, **options):
    config = training.OptimConfig(
        steps=10, warmup=0.0, decay="none", clip_norm=None, learning_rate=0.01, **options
    )
    optimizer = training.build_optimizer(config)
    params = jax.tree.map(jnp.ones_like, gradients)
    return optimizer.update(gradients, optimizer.init(params), params)[0]


def test_muon_takes_matrices_and_kernels_and_adam_the_rest():
    key = jax.random.key(0)
    gradients = {
        "kernel": jax.random.normal(key, (3, 3, 4, 24)),
        "dense": jax.random.normal(key, (20, 50)) * jnp.logspace(-2, 0, 50),
        "bias": jax.random.normal(key, (24,)),
        "last": jax.random.normal(key, (3, 3, 24, 1)),
    }
    updates = first_update(gradients, name="muon", adam_learning_rate=0.003)
    for name in ("kernel", "dense"):
        flat = np.asarray(gradients[name]).reshape(-1, gradients[name].shape[-1])
        u, _, v = np.linalg.svd(flat, full_matrices=False)
        update = -np.asarray(updates[name]).reshape(flat.shape)
        # Of Adam's size, 0.2 of the rate; Newton and Schulz leave singular values between 0.7, 1.2.
        np.testing.assert_allclose(np.sqrt(np.mean(update**2)), 0.2 * 0.01, rtol=0.2)
        cosine = np.sum(update * (u @ v)) / np.linalg.norm(update) / np.linalg.norm(u @ v)
        assert cosine > 0.97
        values = np.linalg.svd(update, compute_uv=False)
        assert values.max() < 2 * values.min()
    rest = {name: gradients[name] for name in ("bias", "last")}
    adam = optax.adamw(0.003, b2=0.99, weight_decay=0.0, nesterov=True)
    expected = adam.update(rest, adam.init(rest), rest)[0]
    for name in rest:
        np.testing.assert_allclose(updates[name], expected[name], rtol=1e-5)


def test_muon_iterates_as_often_as_it_is_asked_to():
    """Each iteration maps singular values by `a s + b s^3 + c s^5`, from those of unit norm."""
    gradient = jax.random.normal(jax.random.key(0), (20, 30))
    for steps in (1, 3):
        update = first_update({"dense": gradient}, name="muon", newton_schulz_steps=steps)["dense"]
        values = np.linalg.svd(gradient, compute_uv=False)
        values = values / np.linalg.norm(values)
        for _ in range(steps):
            values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
        ours = np.linalg.svd(update, compute_uv=False)
        np.testing.assert_allclose(ours / ours.max(), np.sort(values / values.max())[::-1], 1e-3)
    with pytest.raises(ValueError, match=r"newton_schulz_steps` must be at least 1, got 0"):
        first_update({}, name="muon", newton_schulz_steps=0)


def test_muon_can_have_nothing_to_do():
    gradients = {"bias": jnp.array([1.0, -2.0])}
    updates = first_update(gradients, name="muon")
    assert np.all(np.sign(updates["bias"]) == [-1, 1])
    assert first_update({}, name="muon") == {}


def test_adamw_is_optax():
    gradients = {"dense": jax.random.normal(jax.random.key(1), (20, 30))}
    expected = optax.adamw(0.01, b2=0.99, weight_decay=0.1)
    params = jax.tree.map(jnp.ones_like, gradients)
    theirs = expected.update(gradients, expected.init(params), params)[0]
    ours = first_update(gradients, weight_decay=0.1)
    np.testing.assert_array_equal(ours["dense"], theirs["dense"])


def test_a_rate_for_adam_beside_adamw_is_a_sentence():
    with pytest.raises(ValueError, match=r"adam_learning_rate is an option of muon"):
        first_update({"bias": jnp.ones(2)}, adam_learning_rate=0.1)


@pytest.mark.parametrize(
    "net, words",
    [
        (dict(name="unet", num_blocks=[1, 2]), "is one number for unet; got"),
        (dict(name="patch_unet", num_blocks=2), "has a number for each level for patch_unet"),
        (dict(name="score_net", num_blocks=2), "does not exist for score_net; got 2"),
        (dict(name="unet", patch=2), "patch is an option of patch_unet and dit; unet has none"),
    ],
)
def test_an_option_of_another_network_is_a_sentence(net, words):
    with pytest.raises(ValueError, match=words):
        training.build_net(training.NetConfig(**net), (28, 28, 1), rngs=nnx.Rngs(0))


@pytest.mark.parametrize("start", [None, 25])
def test_inverse_sqrt_is_the_formula_of_the_paper(start):
    """Karras et al. 2024, equation 67, after a linear warm-up: null is a tenth of the steps."""
    options = dict(steps=1000, warmup=0.01, decay="inverse_sqrt", decay_from=start)
    rate = training.build.schedule(training.OptimConfig(**options), 0.3)
    for t in (0, 5, 10, 25, 60, 100, 101, 999, 5000):
        expected = 0.3 * min(t / 10, 1) / np.sqrt(max(t / (start or 100), 1))
        assert float(rate(jnp.int32(t))) == pytest.approx(expected, rel=1e-6), t
    without = training.OptimConfig(steps=5, warmup=0.0, decay="inverse_sqrt", decay_from=3)
    assert float(training.build.schedule(without, 0.3)(0)) == pytest.approx(0.3)


def test_a_start_of_another_decay_is_a_sentence():
    with pytest.raises(ValueError, match="decay_from` is an entry of inverse_sqrt, and opt"):
        training.OptimConfig(decay_from=10)
    assert "decay_from" not in identity(training.Config())["optim"]
