"""Class labels: what a network is told in training, and what is drawn, alone and guided."""

import dataclasses
import importlib.util
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from edmjax import losses, nn, training
from edmjax.training import loop
from edmjax.training.checkpoints import load_weights, save_weights

ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.parametrize("rate", [0.0, 0.1, 1.0])
def test_labels_are_hidden_one_by_one_with_the_rate(rate):
    labels = jnp.arange(20000) % 10
    dropped = np.asarray(training.drop_labels(labels, jax.random.key(1), rate, 10))
    hidden = dropped == 10
    np.testing.assert_array_equal(dropped[~hidden], np.asarray(labels)[~hidden])
    assert abs(hidden.mean() - rate) <= 4 * np.sqrt(rate * (1 - rate) / 20000)
    pairs = np.mean(hidden[1:] & hidden[:-1])  # neighbours are independent
    assert abs(pairs - rate**2) <= 5 * np.sqrt(rate**2 * (1 - rate**2) / 20000)


def told(num_classes, label_dropout, step, seed=0):
    """What `make_batch_loss` tells of the labels 0 ... 9, 50 times over, and a loss's two draws."""

    def loss(net, params, x0, key, cond):
        labels = jnp.full(500, jnp.nan) if cond is None else cond * 1.0
        level, noise = (jax.random.normal(half, (500,)) for half in jax.random.split(key))
        return losses.PerSample(labels, level, noise)

    batch_loss = training.make_batch_loss(
        loss, lambda x: x, num_classes=num_classes, label_dropout=label_dropout
    )
    examples = training.Examples(jnp.zeros((500, 2)), jnp.arange(500) % 10)
    labels, *draws = batch_loss(None, {}, jax.random.key(seed), jnp.int32(step), examples)
    return np.asarray(labels), *map(np.asarray, draws)


def test_what_a_step_tells_is_a_function_of_seed_and_step():
    first, *_ = told(10, 0.3, step=3)
    np.testing.assert_array_equal(first, told(10, 0.3, step=3)[0])
    for at in ({"step": 4}, {"step": 3, "seed": 1}):
        both = np.mean((told(10, 0.3, **at)[0] == 10) & (first == 10))
        assert abs(both - 0.09) < 0.06  # 0.3 if they were the same ones
    np.testing.assert_array_equal(told(10, 0.0, step=3)[0], np.arange(500) % 10)
    labels, level, _ = told(0, 0.3, step=3)
    assert np.isnan(labels).all()
    # Without classes the draws are those of the step's key itself.
    key = jax.random.split(jax.random.fold_in(jax.random.key(0), 3))[0]
    np.testing.assert_array_equal(level, jax.random.normal(key, (500,)))


def test_whether_a_label_is_hidden_says_nothing_of_the_noise():
    """Of 20,000 products with deviation 1/2; one key for two draws makes them all but equal."""
    products = []
    for step in range(40):
        labels, *draws = told(10, 0.5, step)
        products.append(np.mean(((labels == 10) - 0.5) * draws, axis=1))
    assert np.abs(np.mean(products, axis=0)).max() < 5 * 0.5 / np.sqrt(20000)


@pytest.mark.parametrize(
    "classes, expected",
    [(None, [0, 1, 2, 0, 1, 2, 0]), ([2], [2] * 7), ([1, 0], [1, 0, 1, 0, 1, 0, 1])],
)
def test_labels_are_drawn_in_turn(classes, expected):
    labels = training.sample_labels(7, 3, classes)
    np.testing.assert_array_equal(labels, expected)
    assert labels.dtype == np.int32


def test_wrong_labels_are_sentences():
    assert training.sample_labels(7, 0) is None
    with pytest.raises(ValueError, match=r"knows no classes.*train one with net\.classes"):
        training.sample_labels(7, 0, [1])
    for wrong in ([0, 3], [-1], []):
        with pytest.raises(ValueError, match="whole numbers from 0 to 2"):
            training.sample_labels(7, 3, wrong)


def denoise(x, sigma, cond=None):
    """Exact for a Gaussian of deviation 1/2 around -0.5, 0 or 0.5; around 0.1 without a class."""
    means = jnp.array([-0.5, 0.0, 0.5, 0.1])
    mean = means[3 if cond is None else cond].reshape(-1, *(1,) * (x.ndim - 1))
    level = jnp.reshape(sigma, (-1, *(1,) * (x.ndim - 1)))
    return (0.25 * x + level**2 * mean) / (0.25 + level**2)


TRAINED = training.Trained(denoise, (2, 2, 1), 3, 0.1)


@pytest.mark.thorough
def test_samples_depend_on_seed_index_and_label_alone():
    def samples(labels, **changes):
        base = training.SampleConfig(len(labels), "ddpm", "karras(sigma_max=10)", 4, seed=1)
        options = dataclasses.replace(base, **changes)
        return training.generate(
            denoise, options, (2, 2, 1), labels=np.array(labels, np.int32), progress=False
        )

    whole = samples([0, 1, 2, 0, 1, 2])
    np.testing.assert_allclose(samples([0, 1, 2, 0, 1, 2], chunk_size=4), whole, atol=1e-6)
    np.testing.assert_allclose(samples([0, 1, 2]), whole[:3], atol=1e-6)
    other = samples([2, 1, 2, 0, 1, 2])
    np.testing.assert_allclose(other[1:], whole[1:], atol=1e-6)
    assert (other[0] > whole[0]).all()
    with pytest.raises(ValueError, match="2 labels for 6 samples"):
        samples([0, 1], num_samples=6)


def test_guidance_goes_from_no_class_past_the_class():
    x = jax.random.normal(jax.random.key(0), (3, 2, 2, 1))
    cond = jnp.arange(3)
    guided = training.guided(TRAINED, 2.5)
    assert guided[1:] == TRAINED[1:]
    class_less = denoise(x, 0.7)
    expected = class_less + 2.5 * (denoise(x, 0.7, cond) - class_less)
    np.testing.assert_allclose(guided.denoise(x, 0.7, cond), expected, rtol=1e-5, atol=1e-6)

    worse = training.Trained(lambda x, s, c=None: 0.5 * denoise(x, s, c), (2, 2, 1), 3, 0.1)
    bad = 0.5 * denoise(x, 0.7, cond)
    expected = bad + 2.5 * (denoise(x, 0.7, cond) - bad)
    got = training.guided(TRAINED, 2.5, worse).denoise(x, 0.7, cond)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)

    blind = training.Trained(lambda x, s: 0.5 * x, (2, 2, 1), 0, 0.1)  # takes no class
    got = training.guided(TRAINED, 2.5, blind).denoise(x, 0.7, cond)
    expected = 0.5 * x + 2.5 * (denoise(x, 0.7, cond) - 0.5 * x)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "trained, guide, phrase",
    [
        (TRAINED._replace(num_classes=0), None, r"knows none.*net\.classes"),
        (TRAINED._replace(label_dropout=0.0), None, r"had loss\.label_dropout 0"),
        (TRAINED, TRAINED._replace(image_shape=(4, 4, 1)), r"\(4, 4, 1\).*\(2, 2, 1\)"),
        (TRAINED, TRAINED._replace(num_classes=5), "knows 5 classes and the network 3"),
        (TRAINED._replace(num_classes=0), TRAINED, "knows 3 classes and the network 0"),
    ],
)
def test_guidance_that_cannot_be_is_a_sentence(trained, guide, phrase):
    with pytest.raises(ValueError, match=phrase):
        training.guided(trained, 2.0, guide)


def weights(path, *, classes, label_dropout=0.1):
    """Weights as a run leaves them, of a network that no one trained: all its arrays are drawn."""
    net_config = training.NetConfig(channels=[4], embed_dim=8, classes=classes)
    config = training.Config(net=net_config, loss=training.LossConfig(label_dropout=label_dropout))
    num_classes = 10 if classes else 0
    apply, params = nn.functional(
        training.build_net(net_config, (8, 8, 1), num_classes, rngs=nnx.Rngs(0))
    )
    params = {
        name: array + 0.3 * jax.random.normal(jax.random.key(i), array.shape)
        for i, (name, array) in enumerate(params.items())
    }
    about = {"image_shape": [8, 8, 1], "num_classes": num_classes}
    save_weights(path, params | apply.buffers, {**dataclasses.asdict(config), **about})
    return str(path)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    return {
        name: weights(folder / f"{name}.safetensors", classes=classes)
        for name, classes in (("classes", True), ("plain", None))
    }


def sample(out, checkpoint, *options):
    spec = importlib.util.spec_from_file_location("script", ROOT / "scripts" / "sample.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    common = ["--num-samples", "12", "--num-steps", "2", "--sampler", "euler"]
    script.main(["--checkpoint", checkpoint, "--out", str(out), *common, *options])
    with np.load(out / "samples.npz") as arrays:
        return {name: arrays[name] for name in arrays}


def test_samples_come_with_their_labels(files, tmp_path):
    turns = sample(tmp_path, files["classes"], "--guidance", "2.0")
    np.testing.assert_array_equal(turns["y"], np.arange(12) % 10)
    assert turns["x"].shape == (12, 8, 8, 1)


@pytest.mark.slow
def test_sampling_by_class_from_the_command_line(files, tmp_path):
    turns = sample(tmp_path, files["classes"])
    sevens = sample(tmp_path, files["classes"], "--label", "7")
    np.testing.assert_array_equal(sevens["y"], np.full(12, 7))
    np.testing.assert_allclose(sevens["x"][7], turns["x"][7], atol=1e-5)
    assert np.abs(sevens["x"][6] - turns["x"][6]).max() > 1e-3
    some = sample(tmp_path, files["classes"], "--labels", "7", "1", "--guidance", "1.0")
    np.testing.assert_array_equal(some["y"], [7, 1] * 6)
    np.testing.assert_allclose(some["x"][::2], sevens["x"][::2], atol=1e-5)
    guided = sample(tmp_path, files["classes"], "--label", "7", "--guidance", "3")
    assert np.abs(guided["x"] - sevens["x"]).max() > 1e-3
    against_itself = ["--guide", files["classes"], "--guidance", "3", "--label", "7"]
    again = sample(tmp_path, files["classes"], *against_itself)
    np.testing.assert_allclose(again["x"], sevens["x"], atol=1e-4)
    assert "y" not in sample(tmp_path, files["plain"])


@pytest.mark.parametrize(
    "name, options, phrase",
    [
        ("plain", ["--label", "3"], "knows no classes"),
        ("plain", ["--guidance", "2"], "knows none"),
        ("classes", ["--labels", "3", "10"], r"from 0 to 9.*\[10\]"),
        ("classes", ["--guide", "plain"], "--guide needs a scale"),
        ("classes", ["--guidance", "2", "--guide", "nothing"], "There is no"),
    ],
)
def test_sampling_mistakes_are_sentences(files, tmp_path, capsys, name, options, phrase):
    options = [files.get(option, option) for option in options]
    with pytest.raises(SystemExit) as end:
        sample(tmp_path, files[name], *options)
    said = capsys.readouterr().err
    assert re.search(phrase, f"{end.value} {said}"), said
    assert not list(tmp_path.iterdir())


def test_a_network_without_classes_in_its_file_still_loads(files):
    """Files from before there were classes have no such entries."""
    arrays, config = load_weights(files["plain"])
    del config["num_classes"], config["net"]["classes"], config["loss"]["label_dropout"]
    save_weights(files["plain"], arrays, config)
    assert training.load_trained(files["plain"]).num_classes == 0


@pytest.mark.slow
def test_a_network_learns_which_class_it_draws(tmp_path):
    """Black images are class 0, white ones class 1; also with the weighting of EDM2."""
    values = np.repeat([0, 16], 64).astype(np.uint8)
    images = np.broadcast_to(values[:, None, None, None], (128, 4, 4, 1)).copy()
    dataset = training.Dataset("bars", images, (values > 0).astype(np.int32), 16, 2)
    config = training.Config(
        out=str(tmp_path),
        net=training.NetConfig(channels=[8], embed_dim=16, classes=True),
        loss=training.LossConfig(sigma_data=1.0, p_mean=0.0, uncertainty=True),
        optim=training.OptimConfig(steps=800, batch_size=64, learning_rate=3e-3, ema_decay=0.9),
        checkpoint_every=800,
    )
    training.train(config, dataset, progress=False)
    arrays, _ = load_weights(tmp_path)
    assert not {"bias", "weight"} & arrays.keys()  # u(sigma) is no part of the network

    trained = training.load_trained(tmp_path)
    assert trained.num_classes == 2
    labels = training.sample_labels(64, 2)
    drawn = training.generate(
        trained.denoise, training.SampleConfig(64), (4, 4, 1), labels=labels, progress=False
    )
    bright = drawn.mean(axis=(1, 2, 3))
    assert np.mean((bright > 0) == (labels == 1)) > 0.95  # half without the labels
    without = training.generate(
        trained.denoise,
        training.SampleConfig(64),
        (4, 4, 1),
        labels=np.full(64, 2, np.int32),
        progress=False,
    )
    assert 0.2 < np.mean(without.mean(axis=(1, 2, 3)) > 0) < 0.8  # no class: both


@pytest.mark.slow
def test_a_resumed_run_with_all_options_ends_with_the_same_bits(tmp_path, monkeypatch):
    """Classes, learned weighting and two averages, stopped after the checkpoint at 4."""
    digits = training.load_dataset("digits")

    def run(name):
        config = training.Config(
            out=str(tmp_path / name),
            net=training.NetConfig(channels=[4], embed_dim=8, classes=True),
            loss=training.LossConfig(uncertainty=True),
            optim=training.OptimConfig(steps=8, batch_size=4, ema_sigma_rel=[0.05, 0.1]),
            checkpoint_every=4,
            scan_steps=2,
        )
        training.train(config, digits, progress=False)

    run("whole")
    check = loop.check_losses

    def fail(losses, start, *rest):
        if start == 6:
            raise KeyboardInterrupt
        check(losses, start, *rest)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(loop, "check_losses", fail)
        run("parts")
    run("parts")
    files = [p.relative_to(tmp_path / "whole") for p in (tmp_path / "whole/snapshots").iterdir()]
    assert len(files) == 4
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert (whole / "loss.csv").read_bytes() == (parts / "loss.csv").read_bytes()
    for name in ("weights.safetensors", *files):
        expected, got = load_weights(whole / name)[0], load_weights(parts / name)[0]
        for array in expected:
            np.testing.assert_array_equal(expected[array], got[array])


def test_options_of_the_rate():
    """A constant rate, with and without warm-up, and the whole gradient where there is no bound."""
    for warmup, expected in ((0.0, [2.0] * 5), (0.4, [0.0, 1.0, 2.0, 2.0, 2.0])):
        optim = training.OptimConfig(
            steps=5, warmup=warmup, decay="none", learning_rate=2.0, clip_norm=None
        )
        optimizer = training.build_optimizer(optim)
        params = jnp.zeros(())
        opt_state, rates = optimizer.init(params), []
        for _ in range(5):
            update, opt_state = optimizer.update(jnp.float32(1e6), opt_state, params)
            rates.append(-float(update))
        np.testing.assert_allclose(rates, expected, rtol=1e-5, atol=1e-7)
    with pytest.raises(ValueError, match=r"label_dropout` must be in \[0, 1\]"):
        training.LossConfig(label_dropout=1.5)


def test_losses_tell_the_network_the_labels():
    seen = []

    def net(params, x, c_noise, cond=None):
        seen.append(cond)
        return jnp.zeros_like(x)

    for name in ("edm", "dsm", "ddpm", "flow"):
        loss = training.build_loss(training.LossConfig(name=name))
        out = loss(net, {}, jnp.zeros((3, 2)), jax.random.key(0), cond=jnp.arange(3))
        assert isinstance(out, losses.PerSample)
        np.testing.assert_array_equal(seen.pop(), [0, 1, 2])


CONDITIONED = training.Dataset.of(
    np.random.default_rng(0).normal(size=(30, 2)), cond=np.arange(60.0).reshape(30, 2)
)


def conditioned(cond_dropout, num_classes=0):
    """A network that knows a Gaussian around the sum of its condition; around 0 without."""
    dataset = CONDITIONED.hiding(cond_dropout > 0)

    def denoise(x, sigma, cond=None):
        vector = cond["vector"] if isinstance(cond, dict) else cond
        mean = 0 if vector is None else vector.sum(-1)[:, None]
        return (x + sigma**2 * mean) / (1 + sigma**2)

    return training.Trained(
        jax.tree_util.Partial(denoise), (2,), num_classes, 0.1, False, dataset.units,
        dataset.conditions, cond_dropout,
    )  # fmt: skip


@pytest.mark.parametrize("num_classes", [0, 3])
def test_guidance_goes_from_no_condition_past_the_condition(num_classes):
    trained = conditioned(0.1, num_classes)
    guided = training.guided(trained, 2.0)
    labels = np.zeros(4, np.int32) if num_classes else None
    cond = trained.condition(np.array([[4.0, 9.0]]), labels)
    x = jnp.ones((4, 2))
    vector = cond["vector"] if num_classes else cond
    alone, none = trained.denoise(x, 1.0, cond), trained.denoise(x, 1.0, jnp.zeros((4, 3)))
    assert vector.shape[-1] == 3 and vector[0, -1] == 1
    np.testing.assert_allclose(guided.denoise(x, 1.0, cond), 2 * alone - none, rtol=1e-5)


def test_guidance_without_a_hidden_condition_is_a_sentence():
    with pytest.raises(ValueError, match=r"had no loss\.cond_dropout: train with 0\.1"):
        training.guided(conditioned(0.0), 2.0)
    with pytest.raises(ValueError, match="takes no conditions"):
        TRAINED.condition(np.zeros((1, 2)))
    worse = conditioned(0.0)
    with pytest.raises(ValueError, match=r"The guide takes \{'vector': \(2,\)\} and the network"):
        training.guided(conditioned(0.1), 2.0, worse)
    # A guide that knows nothing is asked without the condition.
    plain = worse._replace(conditions=None, denoise=jax.tree_util.Partial(lambda x, s: x * 0))
    guided = training.guided(worse, 3.0, plain)
    x, cond = jnp.ones((1, 2)), worse.condition(np.array([[4.0, 9.0]]))
    np.testing.assert_allclose(
        guided.denoise(x, 1.0, cond), 3 * worse.denoise(x, 1.0, cond), rtol=1e-5
    )
