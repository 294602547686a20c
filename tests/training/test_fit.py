"""The loop as a function: what it returns, resumes, holds out, and tells its callbacks."""

import csv
import functools

import chex
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen

import edmjax as ej
from edmjax import training
from edmjax.training.data import batch_indices
from edmjax.training.held_out import HeldOut, split
from edmjax.training.networks import adapted
from edmjax.training.objectives import build_loss
from edmjax.training.state import init_state, make_batch_loss, make_train_steps

KEY = jax.random.key(0)
DATA = np.random.default_rng(0).normal(2, 3, (64, 3)).astype(np.float32)
PARAMS = {"w": jnp.float32(0.5), "b": jnp.zeros(3)}


def line(params, x, c_noise, cond=None):
    return params["w"] * x + params["b"]


class PowerCut(BaseException):
    """No `Exception`, after which a run would save its state."""


class Net(linen.Module):
    """With Dropout and batch statistics, whose state must be resumed too."""

    @linen.compact
    def __call__(self, x, c_noise, cond=None, train=False):
        h = linen.BatchNorm(use_running_average=not train)(linen.Dense(8)(x))
        return linen.Dense(3)(linen.Dropout(0.2, deterministic=not train)(linen.silu(h)))


def fit(net=(line, PARAMS), data=DATA, **options):
    options = {"steps": 8, "batch_size": 8, "scan_steps": 2, "key": KEY, **options}
    return training.fit(net, data, **options)


def exact_denoiser(mean, std):
    def denoise(x, sigma, cond=None):
        level = jnp.reshape(sigma, (-1, 1))
        return (std**2 * x + level**2 * mean) / (std**2 + level**2)

    return denoise


def test_a_step_is_that_of_a_loop_by_hand():
    """The loop of the README's kind: gradient, optax, average, with the batches of the seed."""
    optimizer = optax.adam(1e-2)
    made = fit(optimizer=optimizer, ema_decay=0.5, steps=4)
    dataset = training.Dataset.of(DATA)
    x = (DATA - DATA.mean(0)) / DATA.std(0)
    seed = int(jax.random.bits(KEY))
    loss = build_loss(training.LossConfig(sigma_data=float(f"{x.std():.4g}"), p_mean=None))
    p_mean = -1.2 + round(np.log(float(f"{x.std():.4g}") / 0.5), 4)
    loss = functools.partial(loss.func, **{**loss.keywords, "p_mean": p_mean})
    params, state, ema, losses = PARAMS, optimizer.init(PARAMS), PARAMS, []
    for step in range(4):
        rows = jnp.asarray(x[batch_indices(seed, step, 8, len(dataset))])
        mean, grad = jax.value_and_grad(
            lambda p, rows=rows, step=step: loss(
                line, p, rows, jax.random.fold_in(KEY, step)
            ).loss.mean()
        )(params)
        updates, state = optimizer.update(grad, state, params)
        params = optax.apply_updates(params, updates)
        # The decay begins at 0: an average of so few steps is not of the start.
        ema = jax.tree.map(lambda e, p, n=step: e + share(n + 1) * (p - e), ema, params)
        losses.append(mean)
    np.testing.assert_allclose(made.losses, losses, rtol=1e-4)
    chex.assert_trees_all_close(made.net[1], params, rtol=1e-4)
    chex.assert_trees_all_close(made.ema[1], ema, rtol=1e-4)
    y = made.denoise(jnp.ones((2, 3)), jnp.ones(2))
    direct = ej.denoisers.edm(
        lambda x, c: line(made.ema[1], x, c), sigma_data=float(f"{x.std():.4g}")
    )
    np.testing.assert_allclose(y, direct(jnp.ones((2, 3)), jnp.ones(2)), rtol=1e-5)
    back = made.to_data(x)
    assert back.dtype == np.float32
    np.testing.assert_allclose(back, DATA, rtol=1e-4, atol=1e-4)


def share(step):
    return training.ema.exponential(0.5)(jnp.int32(step))


@pytest.mark.parametrize("net", ["linen", pytest.param("line", marks=pytest.mark.slow)])
def test_a_resumed_fit_ends_with_the_same_bits(tmp_path, net):
    def run(out, callbacks=(), **options):
        given = (line, PARAMS)
        if net == "linen":
            given = Net(), Net().init(KEY, jnp.zeros((2, 3)), jnp.zeros(2))
        options = {"held_out": 0.25, "keep": "best", "watch_every": 2, **options}
        return fit(given, out=out, checkpoint_every=4, callbacks=callbacks, **options)

    whole = run(tmp_path / "whole")

    def stop(now):
        if now.step == 6:  # after the checkpoint of step 4
            raise PowerCut

    with pytest.raises(PowerCut):
        run(tmp_path / "cut", [stop])
    resumed = run(tmp_path / "cut")
    np.testing.assert_array_equal(whole.losses, resumed.losses)
    chex.assert_trees_all_equal(whole.ema[1], resumed.ema[1])
    state, other = ((f.state._replace(key=0), jax.random.key_data(f.state.key)) for f in
                    (whole, resumed))  # fmt: skip
    chex.assert_trees_all_equal(state, other)
    for name in ("weights.safetensors", "loss.csv", "held_out.csv"):
        a, b = ((tmp_path / where / name).read_bytes() for where in ("whole", "cut"))
        assert a == b, name
    # Again: nothing is trained, and what was kept comes back.
    again = run(tmp_path / "whole")
    chex.assert_trees_all_equal(whole.ema[1], again.ema[1])
    with pytest.raises(ValueError, match=r"another run's checkpoint: optim\.batch_size is 8"):
        run(tmp_path / "whole", batch_size=16)


def test_weights_of_a_fit_are_read_with_the_network(tmp_path):
    made = fit(out=tmp_path)
    trained = training.load_trained(tmp_path, (line, PARAMS))
    x = jnp.ones((2, 3))
    np.testing.assert_array_equal(trained.denoise(x, jnp.ones(2)), made.denoise(x, jnp.ones(2)))
    assert trained.units.describe() == made.about.units.describe()
    with pytest.raises(ValueError, match=r"pass the network, load_trained\(path, net\)"):
        training.load_trained(tmp_path)


def test_parts_of_a_batch_have_the_mean_of_their_gradients():
    """One step of gradient descent at rate 1 moves by minus the mean gradient of the parts."""
    apply, params = adapted((line, PARAMS))
    loss = build_loss(training.LossConfig())
    batch_loss = make_batch_loss(loss, lambda x: x)
    optimizer = optax.sgd(1.0)
    state = init_state(apply, params, optimizer, KEY)
    advance = make_train_steps(
        apply, batch_loss, optimizer, [lambda n: jnp.float32(1)], accumulate=4
    )
    examples = training.Examples(jnp.asarray(DATA))
    rows = np.arange(16).reshape(1, 16)
    state, losses = advance(state, examples, jnp.asarray(rows))

    def part(params, i):
        key = jax.random.fold_in(KEY, i)
        return loss(line, params, jnp.asarray(DATA[4 * i : 4 * i + 4]), key).loss.mean()

    means, grads = zip(*(jax.value_and_grad(part)(PARAMS, i) for i in range(4)), strict=True)
    np.testing.assert_allclose(losses, [np.mean(means)], rtol=1e-5)
    expected = jax.tree.map(lambda p, *g: p - sum(g) / 4, PARAMS, *grads)
    for name, value in expected.items():
        np.testing.assert_allclose(state.params[name], value, rtol=1e-5)


def test_the_held_out_loss_is_the_mean_over_what_is_not_trained_on():
    which, held_out = split(64, 0.3, seed=1)
    assert len(held_out) == 19 and len(which) == 45
    np.testing.assert_array_equal(np.sort(np.concatenate([which, held_out])), np.arange(64))
    assert not np.array_equal(held_out, split(64, 0.3, seed=2)[1])
    # A loss that is the data: its mean over 19 samples, in batches of 8 of which one is filled up.
    apply, params = adapted((line, PARAMS))

    def batch_loss(net, params, key, step, examples):
        values = examples.images[:, 0]
        return ej.losses.PerSample(values, values, values)

    examples = training.Examples(DATA[held_out])
    judge = HeldOut(apply, batch_loss, examples, KEY, 8)
    state = init_state(apply, params, optax.sgd(1.0), KEY, keep_best=True)
    state, loss = judge.measure(state._replace(step=jnp.int32(5)))
    np.testing.assert_allclose(loss, DATA[held_out, 0].mean(), rtol=1e-5)
    assert float(state.best[0]) == np.float32(loss) and int(state.best[1]) == 5
    # Not better: what was remembered stays.
    state, _ = judge.measure(state._replace(step=jnp.int32(7)))
    assert int(state.best[1]) == 5
    for share_ in (0.001, 0.999):
        with pytest.raises(ValueError, match="at least one must be held out"):
            split(64, share_, 0)


def test_the_best_average_is_kept_and_not_the_last(tmp_path):
    """A rate that ruins the network: the best held-out loss is that of an early step."""
    made = fit(
        optimizer=optax.sgd(0.05), ema_decay=0, steps=40, held_out=0.25, keep="best",
        watch_every=2, out=tmp_path,
    )  # fmt: skip
    rows = list(csv.DictReader((tmp_path / "held_out.csv").open()))
    losses = [float(row["loss"]) for row in rows]
    best = int(rows[int(np.argmin(losses))]["step"])
    assert int(made.state.best[1]) == best and len(rows) == 20
    if best < 40:
        with np.testing.assert_raises(AssertionError):
            chex.assert_trees_all_close(made.ema[1], made.net[1])


def test_a_callback_that_raises_loses_no_step(tmp_path):
    def stop(now):
        if now.step == 6:
            raise RuntimeError("of the user's")

    with pytest.raises(RuntimeError, match="of the user's"):
        fit(out=tmp_path / "a", checkpoint_every=100, callbacks=[stop])
    seen = []
    resumed = fit(out=tmp_path / "a", callbacks=[lambda now: seen.append(now.step)])
    whole = fit(out=tmp_path / "b")
    assert seen == [8]
    chex.assert_trees_all_equal(resumed.state, whole.state)


def test_callbacks_are_told_what_a_run_does():
    seen = []

    def note(now):
        y = now.denoiser()(jnp.ones((1, 3)), 1.0)
        seen.append((now.step, now.total, len(now.losses), now.held_out, float(y.sum())))

    made = fit(callbacks=[note], held_out=0.25, watch_every=4)
    assert [row[:3] for row in seen] == [(s, 8, 2) for s in (2, 4, 6, 8)]
    assert [row[3] is None for row in seen] == [True, False, True, False]
    y = made.denoise(jnp.ones((1, 3)), 1.0)
    np.testing.assert_allclose(seen[-1][-1], float(y.sum()), rtol=1e-6)


def test_a_run_on_other_data_is_not_taken_for_this_one(tmp_path):
    """A second call returns what is there; data that were changed in between would be lost."""
    made = fit(steps=2, out=tmp_path)
    again = fit(steps=2, out=tmp_path)
    chex.assert_trees_all_equal(made.ema[1], again.ema[1])
    for data, at in ((DATA + 1, "mean"), (DATA * [1, 1, 2], "width")):
        with pytest.raises(ValueError, match=f"holds a run on other data .* {at} "):
            fit(data=data, steps=2, out=tmp_path)
    with pytest.raises(ValueError, match="holds a run on other data"):
        fit(data=DATA.astype(np.float64), steps=2, out=tmp_path)


@pytest.mark.parametrize("options, error, words", [
    ({"data": "x.npy"}, TypeError, r"pass training.load_dataset\('x.npy'\)"),
    ({"optimizer": "adam"}, TypeError, "`optimizer` must be .* optax.adam.*got str 'adam'"),
    ({"callbacks": print}, TypeError, "`callbacks` must be a list of functions"),
    ({"callbacks": [lambda: None]}, TypeError, r"`callbacks\[0\]` must be a function of"),
    ({"loss": ej.losses.edm, "denoiser": ej.denoisers.edm}, TypeError, "edm_per_sample does"),
])  # fmt: skip
def test_what_fit_cannot_use_is_a_sentence(options, error, words):
    with pytest.raises(error, match=words):
        fit(**options)


def test_a_fit_goes_on_from_another():
    first = fit()
    with pytest.warns(training.TrainingWarning, match="the scale of the `Fit` is kept"):
        second = fit((line, jax.tree.map(jnp.zeros_like, PARAMS)), DATA + 1, init=first, steps=2,
                     optimizer=optax.sgd(0.0), ema_decay=0)  # fmt: skip
    chex.assert_trees_all_close(second.net[1], first.ema[1])
    np.testing.assert_array_equal(second.about.units.shift, first.about.units.shift)
    fresh = fit(first.ema, DATA + 1, steps=2)
    np.testing.assert_allclose(fresh.about.units.shift, first.about.units.shift + 1, rtol=1e-5)


def test_pytrees_conditions_and_losses_of_the_users():
    data = {"a": DATA, "b": np.ones((64, 2, 2)) * DATA[:, :1, None]}

    def tree(params, x, c_noise, cond):
        assert cond.shape[-1] == 2
        return jax.tree.map(lambda v: params["w"] * v, x)

    dataset = training.Dataset.of(data, cond=DATA[:, :2])
    made = fit((tree, {"w": jnp.float32(1)}), dataset)
    cond = made.condition(DATA[:1, :2])
    out = made.denoise({"a": jnp.ones((4, 3)), "b": jnp.ones((4, 2, 2))}, 1.0, cond)
    assert jax.tree.map(np.shape, made.to_data(out)) == {"a": (4, 3), "b": (4, 2, 2)}
    flow = fit(loss=ej.losses.flow_per_sample, denoiser=ej.denoisers.flow)
    assert np.isfinite(flow.losses).all()


def test_equinox_comes_back():
    class Line(eqx.Module):
        w: jax.Array

        def __call__(self, x, c_noise):
            return x * self.w

    made = fit(Line(jnp.ones(3)))
    assert isinstance(made.net, Line) and isinstance(made.ema, Line)


@pytest.mark.parametrize(
    "options, says",
    [
        ({"net": 3}, "`net` must be"),
        ({"data": "text"}, "must hold numbers, got the name"),
        ({"data": DATA * np.nan}, "must be finite"),
        ({"loss": "nll"}, "`loss.name`|parameter 'name'"),
        ({"loss": ej.losses.edm_per_sample}, "pass `denoiser`"),
        ({"steps": 0}, "`optim.steps` must be at least 1"),
        ({"keep": "best"}, "needs a part that is held out"),
        ({"accumulate": 3}, "does not divide"),
        ({"classes": True}, "the data have no classes"),
        ({"key": jax.random.split(KEY)}, "key"),
        ({"batch_size": 100}, "64 samples"),
    ],
)
def test_mistakes_are_sentences(options, says):
    with pytest.raises((TypeError, ValueError), match=says):
        fit(**options)


@pytest.mark.slow
def test_a_posterior_is_learned():
    """theta ~ N(0, 1), x = theta + N(0, 1/4): the posterior is N(4 x / 5, 1/5)."""
    from flax import nnx

    draws = np.random.default_rng(3)
    theta = draws.normal(size=(4000, 2))
    x = theta + 0.5 * draws.normal(size=theta.shape)
    net = ej.nn.MLP((2,), width=64, num_blocks=2, cond_vector=2, rngs=nnx.Rngs(0))
    made = training.fit(
        net, training.Dataset.of(theta, cond=7 * x + 30), steps=1500, key=KEY,
        held_out=0.1, keep="best",
    )  # fmt: skip
    observed = np.array([[1.0, -0.5]])
    plan = ej.make_plan(*ej.recommend(20, sigma_data=1.0, spread=1.0))
    noise = 80 * jax.random.normal(KEY, (4000, 2))
    cond = made.condition(7 * observed + 30)
    samples = made.to_data(ej.sample(made.denoise, plan, noise, jax.random.key(1), cond=cond))
    # 0.007 is the error of a mean of 4,000; what is learned from 4,000 simulations is 0.1 off.
    np.testing.assert_allclose(samples.mean(0), 0.8 * observed[0], atol=0.12)
    np.testing.assert_allclose(samples.std(0), np.sqrt(0.2), rtol=0.12)
