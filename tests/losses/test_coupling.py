"""Noise that is paired with the data of its batch: which, among whom, and with the same bits."""

import jax
import numpy as np
import optax
import pytest
import scipy.optimize
from flax import nnx

import edmjax as ej
from edmjax import losses, nn, training
from edmjax.training import ema

KEY = jax.random.key(3)
N = 12


def shown(x0, t=0.5, **options):
    """The noise that each sample got, from what the network is shown at `t`."""

    @jax.jit
    def shown_to_the_network():
        seen = {}

        def net(params, x, c_noise, cond=None):
            seen["x"] = x
            return x

        losses.flow(net, None, x0, KEY, times=np.full(N, t), coupled=True, **options)
        return seen["x"]

    return (np.asarray(shown_to_the_network()) - (1 - t) * x0) / t


def white(shape):
    return np.asarray(jax.random.normal(jax.random.split(KEY)[1], shape))


X0 = np.random.default_rng(0).normal(size=(N, 1)).astype(np.float32)


def test_pairs_are_among_the_samples_of_one_label():
    """In one dimension in their order. A condition that all share parts nobody."""
    labels = np.arange(N) % 3
    noise = shown(X0, cond={"label": labels, "all": np.zeros(1, np.float32)})
    for label in range(3):
        rows = labels == label
        own = noise[rows][np.argsort(X0[rows, 0]), 0]
        np.testing.assert_allclose(own, np.sort(white((N, 1))[rows, 0]), atol=1e-5)


def test_the_least_sum_of_squares_in_many_dimensions_and_of_what_weighs():
    """The distances of all pairs in NumPy, and SciPy's assignment; what is hidden is no part."""
    x0 = np.random.default_rng(1).normal(size=(N, 4)).astype(np.float32)
    drawn = white((N, 4))
    for weights in (None, np.array([True, True, False, False])):
        w = 1.0 if weights is None else weights
        cost = ((x0[:, None] - drawn[None]) ** 2 * w).sum(-1)
        _, order = scipy.optimize.linear_sum_assignment(cost)
        np.testing.assert_allclose(shown(x0, weights=weights), drawn[order], atol=1e-5)


@pytest.mark.thorough
def test_a_coupled_flow_of_a_gaussian_has_straight_paths():
    """In one dimension noise and data are paired in order: F is a function of the point alone.

    `v = n - x0` is then nearly `(1 - s) n`, and its best network loses next to nothing, where that
    of independent pairs loses `s^2` divided by `(1 - t)^2 s^2 + t^2`.
    """
    s, n = 0.5, 512
    x0 = s * jax.random.normal(jax.random.key(1), (n, 1))

    def best(params, x, t):  # x_t = ((1 - t) s + t) n
        t = t[:, None]
        return (1 - s) * x / ((1 - t) * s + t)

    loss = losses.flow(best, None, x0, KEY, coupled=True)
    apart = losses.flow(best, None, x0, KEY)
    assert loss < 0.02 < 0.2 < apart


@pytest.mark.parametrize(
    "options, words",
    [
        (dict(cond=np.zeros((N, 2), np.float32)), "conditions of float32 are all different"),
        (dict(weights=np.ones((N, 1))), "one for all samples"),
        (dict(coupled=1), "`coupled` must be True or False"),
    ],
    ids=["cond", "weights", "flag"],
)
def test_what_cannot_be_paired_is_a_sentence(options, words, unchecked):
    net = lambda params, x, c, cond=None: x  # noqa: E731
    with pytest.raises((TypeError, ValueError), match=words):
        losses.flow(net, None, X0, KEY, **(dict(coupled=True) | options))


def test_steps_of_a_coupled_flow_have_the_bits_of_a_run_that_was_not_interrupted():
    """Scans of two steps, the second from a state that was on the host; NaN reaches the loss."""
    graphdef = nn.functional(nnx.Linear(1, 1, rngs=nnx.Rngs(0)))[0].graphdef  # never called
    apply, optimizer = nn.Functional(graphdef, {}), optax.sgd(0.01)
    plain = training.build_loss(training.LossConfig("flow", coupling="minibatch"))

    def loss(_, params, x0, key, cond):
        net = lambda p, x, t: p["a"] * x + p["b"] * t[:, None]  # noqa: E731
        return plain(net, params, x0, key, cond=cond)

    batch_loss = training.make_batch_loss(loss, lambda x: x)
    advance = training.make_train_steps(apply, batch_loss, optimizer, [ema.exponential(0.9)])
    examples = training.Examples(np.random.default_rng(1).normal(size=(32, 2)).astype(np.float32))
    indices = np.random.default_rng(0).integers(0, 32, (2, 2, 8))

    def run(saved=lambda state: state, examples=examples):
        params = {"a": np.float32(0.1), "b": np.float32(0.0)}
        state = training.init_state(apply, params, optimizer, jax.random.key(4))
        state, first = advance(state, examples, indices[0])
        state, second = advance(saved(state), examples, indices[1])
        return np.concatenate([first, second]), {k: float(v) for k, v in state.params.items()}

    def by_way_of_the_host(state):
        data = jax.random.key_data(state.key)
        numbers = jax.tree.map(np.asarray, state._replace(key=data))
        return numbers._replace(key=jax.random.wrap_key_data(numbers.key))

    (found, params), (expected, wanted) = run(by_way_of_the_host), run()
    np.testing.assert_array_equal(found, expected)
    assert params == wanted and params["a"] != np.float32(0.1)
    for broken in (np.nan, np.inf):
        examples.images[indices[0, 0, 0]] = broken
        assert not np.isfinite(run()[0][0])


@pytest.mark.thorough
def test_the_denoiser_of_a_coupled_flow_brings_noise_to_the_data():
    """Its ODE along the straight paths of a Gaussian, whose end is known: `s n`."""
    s = 0.5

    def best(x, t):
        return (1 - s) * x / ((1 - t) * s + t)

    plan = ej.make_plan(ej.samplers.euler(), ej.schedules.karras(4))
    x = 80 * jax.random.normal(KEY, (5, 1))
    samples = ej.sample(ej.denoisers.flow(best), plan, x)
    # From t = 80 / 81: the point is t n, and the paths in the frame of sigma are curved a little.
    t = 80 / 81
    n = (x / 81) / ((1 - t) * s + t)
    np.testing.assert_allclose(samples, s * n, rtol=0.2)


@pytest.mark.thorough
def test_a_batch_that_is_split_over_devices_has_the_same_pairs():
    mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    split = jax.NamedSharding(mesh, jax.P("data"))
    x0 = jax.random.normal(KEY, (16, 3))
    net = lambda params, x, t: params * x  # noqa: E731
    loss = jax.jit(lambda x0: losses.flow_per_sample(net, 0.3, x0, KEY, coupled=True).loss)
    np.testing.assert_allclose(loss(jax.device_put(x0, split)), loss(x0), rtol=1e-5)
