"""Training: resumption to the bit, refusals, what is written, and text that names a sampler."""

import dataclasses
import inspect
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib.image
import numpy as np
import optax
import pytest
from flax import nnx
from safetensors import safe_open
from support.runs import config

import edmjax as ej
from edmjax import losses, nn, training
from edmjax.training import choices, ema, feed, loop
from edmjax.training.checkpoints import differences, save_weights
from edmjax.training.outputs import LossLog, read_losses


@pytest.fixture(scope="module")
def digits():
    return training.load_dataset("digits")


@pytest.fixture(scope="module")
def finished(digits, tmp_path_factory):
    """The directory, network and parameters of a run that nothing interrupted."""
    out = tmp_path_factory.mktemp("finished")
    return out, *training.train(config(out), digits, progress=False)


def test_a_resumed_run_ends_with_the_same_bits(finished, digits, tmp_path, monkeypatch):
    """Interrupted after step 8, of which the checkpoint at 4 knows nothing."""
    reference, _, params = finished
    check = loop.check_losses

    def fail(losses, start, *rest):
        if start == 6:
            raise KeyboardInterrupt
        check(losses, start, *rest)

    monkeypatch.setattr(loop, "check_losses", fail)
    with pytest.raises(KeyboardInterrupt):
        training.train(config(tmp_path), digits, progress=False)
    assert [step for step, _ in read_losses(tmp_path / "loss.csv")] == [1, 2, 3, 4, 5, 6, 7, 8]

    seen = []
    indices = training.batch_indices
    monkeypatch.setattr(loop, "check_losses", check)
    monkeypatch.setattr(feed, "batch_indices", lambda *a: seen.append(a[1]) or indices(*a))
    _, resumed = training.train(config(tmp_path), digits, progress=False)
    assert seen == [4, 5, 6, 7]
    assert params.keys() == resumed.keys()
    for name in params:
        np.testing.assert_array_equal(params[name], resumed[name])
    assert (tmp_path / "loss.csv").read_bytes() == (reference / "loss.csv").read_bytes()
    assert [step for step, _ in read_losses(tmp_path / "loss.csv")] == list(range(1, 9))


def test_a_finished_run_is_not_trained_again(finished, digits, monkeypatch):
    out, _, params = finished
    monkeypatch.setattr(feed, "batch_indices", None)
    _, again = training.train(config(out), digits, progress=False)
    np.testing.assert_array_equal(params["last.kernel"], again["last.kernel"])


@pytest.mark.parametrize(
    "changes, phrase",
    [
        ({"net": training.NetConfig(channels=[8], embed_dim=8)}, r"net.channels is \[4\] there"),
        ({"seed": 1}, "seed is 0 there and 1 here"),
    ],
)
def test_another_runs_directory_is_refused_untouched(finished, digits, changes, phrase):
    out, *_ = finished
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*") if p.is_file()}
    with pytest.raises(ValueError, match=f"another run's checkpoint.*{phrase}"):
        training.train(config(out, **changes), digits, progress=False)
    assert before == {p: p.stat().st_mtime_ns for p in out.rglob("*") if p.is_file()}


def test_differences_name_every_entry():
    stored = {"a": {"b": 1, "c": 2}, "d": [1]}
    assert differences(stored, stored) == []
    assert differences(stored, {"a": {"b": 1, "c": 3}}) == [
        "a.c is 2 there and 3 here",
        "d is [1] there and None here",
    ]


def test_a_loss_that_is_not_finite_stops_with_a_sentence(digits, tmp_path):
    optim = training.OptimConfig(steps=8, batch_size=4, learning_rate=1e30, warmup=0.0)
    with pytest.raises(FloatingPointError, match=r"at step \d.*Lower optim.learning_rate"):
        training.train(config(tmp_path, optim=optim), digits, progress=False)
    assert not (tmp_path / "weights.safetensors").exists()


def test_a_run_writes_what_it_promises(finished):
    out, *_ = finished
    names = {p.name for p in out.iterdir()}
    assert names == {"config.yaml", "checkpoint", "loss.csv", "loss.png", "weights.safetensors"}
    assert (out / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert (out / "loss.csv").read_text().startswith("step,loss\n1,")


def test_weights_are_the_averaged_ones_with_buffers_and_restore_the_denoiser(finished):
    out, net, params = finished
    with safe_open(out / "weights.safetensors", framework="numpy") as file:
        assert set(file.keys()) == set(params) | set(net.buffers)
        for name, array in (params | net.buffers).items():
            np.testing.assert_array_equal(file.get_tensor(name), array)
    denoise, shape = training.load_denoiser(out)
    assert shape == (8, 8, 1)
    x = jax.random.normal(jax.random.key(0), (2, 8, 8, 1))
    expected = ej.denoisers.edm(net.bind(params))(x, 0.5)
    np.testing.assert_array_equal(denoise(x, 0.5), expected)


def test_damaged_or_missing_weights_are_a_sentence(finished, tmp_path):
    with pytest.raises(FileNotFoundError, match="train a network first"):
        training.load_denoiser(tmp_path)
    content = (finished[0] / "weights.safetensors").read_bytes()
    (tmp_path / "weights.safetensors").write_bytes(content[:1000])
    with pytest.raises(ValueError, match=r"weights\.safetensors is damaged"):
        training.load_denoiser(tmp_path)
    arrays, described = training.load_weights(finished[0])
    arrays.pop("last.bias")
    save_weights(tmp_path / "weights.safetensors", arrays, described)
    with pytest.raises(ValueError, match=r"does not hold the network.*last\.bias"):
        training.load_denoiser(tmp_path)


def test_a_step_is_adam_and_the_average_by_hand():
    """One parameter, loss (p - mean x)^2: gradients, updates and averages known in closed form."""

    graphdef = nn.functional(nnx.Linear(1, 1, rngs=nnx.Rngs(0)))[0].graphdef  # never called

    def loss(net, params, x0, key, cond):
        each = jnp.broadcast_to(jnp.square(params["p"] - x0.mean()), x0.shape)
        return losses.PerSample(each, each, each)

    optimizer = optax.sgd(0.25)
    net = nn.Functional(graphdef, {"fixed": jnp.ones(3)})
    state = training.init_state(net, {"p": jnp.array(2.0)}, optimizer, jax.random.key(0))
    batch_loss = training.make_batch_loss(loss, lambda images: images * 1.0)
    advance = training.make_train_steps(net, batch_loss, optimizer, [ema.exponential(0.15)])
    examples = training.Examples(jnp.array([1.0, 3.0, 5.0]))
    state, means = advance(state, examples, jnp.array([[0, 1], [2, 2]]))
    # mean 2: nothing moves. mean 5: loss 9, gradient -6, p = 3.5; decays are 1/10, then 0.15.
    np.testing.assert_allclose(means, [0.0, 9.0])
    np.testing.assert_allclose(state.params["p"], 3.5)
    np.testing.assert_allclose(state.ema[0]["p"], 0.15 * 2 + 0.85 * 3.5)
    assert state.step == 2
    np.testing.assert_array_equal(state.buffers["fixed"], jnp.ones(3))


@pytest.mark.parametrize("decay", ["cosine", "linear", "none"])
def test_the_rate_warms_up_and_decays(decay):
    optim = training.OptimConfig(
        steps=20, warmup=0.5, learning_rate=1.0, clip_norm=1e9, decay=decay
    )
    optimizer = training.build_optimizer(optim)
    params = jnp.zeros(())
    opt_state, rates = optimizer.init(params), []
    for _ in range(21):
        update, opt_state = optimizer.update(jnp.ones(()), opt_state, params)
        rates.append(-float(update))
    np.testing.assert_allclose(rates[:11], np.linspace(0, 1, 11), atol=1e-6)
    part = np.arange(11) / 10
    expected = {"cosine": (1 + np.cos(np.pi * part)) / 2, "linear": 1 - part, "none": np.ones(11)}
    np.testing.assert_allclose(rates[10:], expected[decay], atol=1e-6)
    with pytest.raises(ValueError, match=r"`optim\.steps` must be at least 1"):
        training.OptimConfig(steps=0)


def test_loss_log_keeps_each_step_once_and_drops_a_torn_line(tmp_path):
    path = tmp_path / "loss.csv"
    log = LossLog(path, 0)
    log.append([3.0, 2.0, 1.0])
    with path.open("a") as file:
        file.write("4,0.")
    LossLog(path, 2).append([1.5])
    assert read_losses(path) == [(1, 3.0), (2, 2.0), (3, 1.5)]


@pytest.mark.thorough
def test_samples_depend_on_seed_and_index_alone(digits):
    gaussian = ej.problems.Gaussian(np.zeros(4), 0.2 * np.eye(4))

    def denoise(x, sigma):
        return gaussian.denoise(x.reshape(-1, 4), sigma).reshape(x.shape)

    def samples(**changes):
        base = training.SampleConfig(6, "ddpm", "karras(sigma_max=10)", 4, seed=1)
        options = dataclasses.replace(base, **changes)
        return training.generate(denoise, options, (2, 2, 1), progress=False)

    whole = samples()
    assert whole.shape == (6, 2, 2, 1) and whole.dtype == np.float32
    assert np.abs(whole).max() <= 1
    np.testing.assert_allclose(samples(chunk_size=4), whole, atol=1e-6)
    np.testing.assert_allclose(samples(num_samples=3), whole[:3], atol=1e-6)
    assert np.abs(samples(seed=2) - whole).max() > 0.1


@pytest.mark.parametrize("shape", [(3, 2), (3, 8, 8), (3, 4, 4, 4, 1)])
def test_samples_that_are_no_images_have_no_picture(shape, tmp_path):
    (tmp_path / "samples.png").write_bytes(b"of other samples")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        written = training.write_samples(np.zeros(shape), tmp_path)
    assert written == [tmp_path / "samples.npz"] and list(tmp_path.iterdir()) == written


@pytest.mark.parametrize("shape", [(3, 8, 8, 2), (3, 8, 8, 4), (3, 8, 8, 5), (0, 8, 8, 1)])
def test_samples_without_a_picture_are_written_all_the_same(shape, tmp_path):
    samples = np.random.default_rng(0).normal(size=shape)
    (tmp_path / "samples.png").write_bytes(b"of other samples")
    with pytest.warns(training.TrainingWarning, match="samples.npz is written, and no picture"):
        written = training.write_samples(samples, tmp_path)
    assert written == [tmp_path / "samples.npz"] and list(tmp_path.iterdir()) == written
    with np.load(written[0]) as stored:
        np.testing.assert_array_equal(stored["x"], samples)


def test_samples_are_written_before_their_picture(tmp_path, monkeypatch):
    def full(*args, **options):
        raise OSError("no room")

    monkeypatch.setattr(training.samples.image, "imsave", full)
    with pytest.raises(OSError, match="no room"):
        training.write_samples(np.zeros((2, 8, 8, 1), np.float32), tmp_path)
    assert np.load(tmp_path / "samples.npz")["x"].shape == (2, 8, 8, 1)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_of_values_beyond_its_range_is_cut_there(channels, tmp_path):
    images = np.stack([np.full((8, 8, channels), value) for value in (-3.0, 3.0, np.nan, 0.0)])
    training.write_samples(images, tmp_path)
    picture = matplotlib.image.imread(tmp_path / "samples.png")[..., 0]
    assert picture[28, 28] == 0 and picture[28, 88] == 1 and abs(picture[88, 88] - 0.5) < 1 / 255


@pytest.mark.parametrize("channels", [1, 3])
def test_written_samples_are_the_arrays_and_a_picture_in_reading_order(channels, tmp_path):
    levels = np.linspace(-1, 1, 5, dtype=np.float32)[:, None, None, None]
    images = levels * np.ones((28, 28, channels), np.float32)
    training.write_samples(images, tmp_path, np.arange(5))
    with np.load(tmp_path / "samples.npz") as stored:
        np.testing.assert_array_equal(stored["x"], images)
        np.testing.assert_array_equal(stored["y"], np.arange(5))
    picture = matplotlib.image.imread(tmp_path / "samples.png")[..., 0]
    assert picture.shape == (2 * 56 + 4, 3 * 56 + 2 * 4)  # twice as large, and 4 between
    middles = picture[np.ix_([28, 88], [28, 88, 148])]
    expected = [[0, 0.25, 0.5], [0.75, 1, 0.5]]
    np.testing.assert_allclose(middles, expected, atol=1 / 255)
    np.testing.assert_allclose(picture[56:60], 0.5, atol=1 / 255)


@pytest.mark.parametrize("text", ["heun", "heun()", " dpmpp_2m ", "ddim(eta=0.5)"])
def test_text_names_a_sampler(text):
    sigmas = ej.schedules.karras(4)
    plan = ej.make_plan(choices.parse_sampler(text), sigmas)
    expected = eval(text.strip(), vars(ej.samplers))
    expected = expected if text.strip().endswith(")") else expected()
    same = ej.make_plan(expected, sigmas)
    jax.tree.map(np.testing.assert_array_equal, plan, same)


def test_text_names_wrapped_samplers_and_schedules():
    sigmas = choices.parse_schedule("karras(sigma_max=20, rho=5)", 6)
    np.testing.assert_array_equal(sigmas, ej.schedules.karras(6, sigma_max=20, rho=5))
    s = ej.samplers
    pairs = {
        "churn(heun, s_churn=4)": s.churn(s.heun(), s_churn=4),
        "churn(ancestral(euler(), eta=0.5), 8, s_min=-0.0)": s.churn(
            s.ancestral(s.euler(), eta=0.5), 8, s_min=0.0
        ),
    }
    for text, sampler in pairs.items():
        plan = ej.make_plan(choices.parse_sampler(text), sigmas)
        jax.tree.map(np.testing.assert_array_equal, plan, ej.make_plan(sampler, sigmas))


@pytest.mark.parametrize(
    "text, phrase",
    [
        ("huen", r"No sampler 'huen'.*Did you mean 'heun'\?"),
        ("churn(hoin, s_churn=1)", "`sampler` must be .*, got 'hoin'"),
        ("ddim(etta=1)", r"unexpected keyword argument 'etta'.*ddim\(eta=0.0"),
        ("churn(heun)", "missing a required argument: 's_churn'"),
        ("heun(", "does not describe a sampler"),
        ("", "does not describe a sampler"),
        ("__import__('os')", "`sampler` must be .*, got '__import__'"),
        ("heun.__class__()", "does not describe a sampler"),
        ("ddim(eta=[].append(1))", "does not describe a sampler"),
        ("ddim(**{'eta': 1})", "does not describe a sampler"),
        ("(lambda: 1)()", "does not describe a sampler"),
        ("make_plan", "No sampler 'make_plan'"),
    ],
)
def test_wrong_text_is_a_sentence_and_runs_nothing(text, phrase):
    with pytest.raises(ValueError, match=phrase):
        choices.parse_sampler(text)


def test_wrong_schedules_are_sentences():
    with pytest.raises(
        ValueError, match=r"`schedule` must be .*got 'karas'.*Did you mean 'karras'"
    ):
        choices.parse_schedule("karas", 5)
    with pytest.raises(ValueError, match="does not describe a schedule"):
        choices.parse_schedule("karras(rho=heun)", 5)


def test_every_sampler_and_schedule_is_listed_with_its_options():
    text = choices.describe(choices.sampler_names())
    for name in ("euler", "heun", "dpm_2", "dpmpp_2m", "ddpm", "ddim(eta=0.0", "churn(inner,"):
        assert name in text
    assert "karras(sigma_min=0.002" in choices.describe(choices.schedule_names(), skip=("n",))


def test_functions_that_return_anything_are_not_offered_as_samplers(monkeypatch):
    def helper() -> Any:
        return None

    before = choices.sampler_names()
    monkeypatch.setattr(ej.samplers, "helper", helper, raising=False)
    monkeypatch.setattr(ej.samplers, "__all__", [*ej.samplers.__all__, "helper"])
    assert choices.sampler_names() == before
    # All others of the public functions are samplers or wrappers of one.
    functions = {n for n in ej.samplers.__all__ if inspect.isfunction(getattr(ej.samplers, n))}
    assert functions - before.keys() == {"from_name", "helper"}


def test_samples_are_written_whole_or_refused_in_a_sentence(tmp_path):
    samples = np.zeros((3, 8, 8, 1), np.float32)
    training.write_samples(samples, tmp_path / "a" / "b", np.arange(3, dtype=np.int32))
    arrays = np.load(tmp_path / "a" / "b" / "samples.npz")
    assert arrays["x"].shape == samples.shape and list(arrays["y"]) == [0, 1, 2]
    assert (tmp_path / "a" / "b" / "samples.png").read_bytes().startswith(b"\x89PNG")
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file cannot be written to"):
        training.write_samples(samples, tmp_path / "file")
