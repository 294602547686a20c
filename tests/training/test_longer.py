"""A run goes on: longer, at other rates, in other calls; or a new one starts from its weights."""

import dataclasses
import shutil
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from support.runs import config

from edmjax import nn, training
from edmjax.training.config import MAY_CHANGE, fixed, identity
from edmjax.training.longer import (
    Start,
    continued,
    found_start,
    load_start,
    started,
    steps_of_a_call,
)
from edmjax.training.outputs import read_losses
from edmjax.training.watch import watchers

CONSTANT = training.OptimConfig(
    steps=8, batch_size=4, learning_rate=1e-2, ema_decay=0.9, decay="none", warmup=0.0
)


def with_optim(base, **changes):
    return dataclasses.replace(base, optim=dataclasses.replace(base.optim, **changes))


def test_what_may_change_is_what_the_page_says():
    rates = training.OptimConfig(decay="inverse_sqrt", decay_from=5)
    here = identity(training.Config(optim=rates))
    left = fixed(here)
    assert {name for name in here["optim"] if name not in left["optim"]} == set(MAY_CHANGE)
    assert left.keys() == here.keys() and "scan_steps" not in here
    # Of a checkpoint of an earlier version, which has more entries.
    assert fixed({**here, "scan_steps": 10}) == left


def test_a_run_goes_on_with_what_may_change_and_says_what_it_is():
    asked = with_optim(config("runs/a"), steps=12, learning_rate=1e-3)
    stored = identity(config("runs/a"))
    with pytest.warns(
        training.TrainingWarning,
        match=r"runs/a holds a run that has taken 4 of 8 steps. It goes on .*learning_rate is "
        r"0\.01 there and 0\.001 here; optim\.steps is 8 there and 12 here\.",
    ):
        assert continued(asked, stored, 4) == asked
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert continued(config("runs/a"), stored, 8) == config("runs/a")


def test_a_decay_that_starts_elsewhere_is_a_changed_schedule():
    """An entry that is null is no part of what a checkpoint has stored."""
    flat = with_optim(config("runs/a"), steps=200, decay="none", warmup=0.0)
    usual = with_optim(flat, decay="inverse_sqrt")
    moved = with_optim(usual, decay_from=4)
    for before, says in [
        (flat, r"decay is 'none' .*decay_from is None .* is 0\.002, .* have been 0\.01:"),
        (usual, r"decay_from is None there and 4 here.* is 0\.002, .* have been 0\.00447:"),
        (with_optim(usual, decay_from=16), r"is 16 there and 4 here.*0\.002, .* been 0\.004:"),
    ]:
        with pytest.warns(training.TrainingWarning, match=says):
            assert continued(moved, identity(before), 100) == moved


def test_a_complete_run_keeps_the_rates_that_it_was_trained_with():
    stored = identity(config("runs/a"))
    with pytest.raises(ValueError, match=r"taken 8 of 8 steps.*make optim\.steps larger than 8"):
        continued(with_optim(config("runs/a"), learning_rate=1e-3), stored, 8)
    with pytest.warns(training.TrainingWarning, match="optim.steps is 4: nothing is trained"):
        kept = continued(with_optim(config("runs/a"), steps=4), stored, 8)
    assert kept == config("runs/a")


@pytest.mark.parametrize("step, total, most, number", [
    (0, 20, 10, 10), (10, 20, 10, 10), (0, 21, 10, 7), (20, 40, 10, 10), (20, 41, 10, 1),
    (7, 40, 10, 3), (9, 40, 8, 1), (8, 12, 5, 4), (20, 20, 10, 10), (4, 8, 100, 4),
])  # fmt: skip
def test_calls_end_with_the_last_step(step, total, most, number):
    assert steps_of_a_call(step, total, most) == number


def test_a_run_starts_from_the_weights_that_fit(tmp_path):
    def made(seed):
        """The network with any numbers: to make those that it starts with takes a second."""
        net = config("a").net
        apply, params = nn.functional(
            nnx.eval_shape(lambda: training.build_net(net, (8, 8, 1), rngs=nnx.Rngs(0)))
        )
        draws = np.random.default_rng(seed)
        params, buffers = jax.tree.map(
            lambda v: jnp.asarray(draws.normal(size=v.shape), v.dtype), (params, apply.buffers)
        )
        return nn.Functional(apply.graphdef, buffers), params

    apply, params = made(3)
    path = tmp_path / "weights.safetensors"
    about = {**identity(config("a")), "image_shape": [8, 8, 1]}
    training.save_weights(path, params | apply.buffers, about)
    asked = dataclasses.replace(config("b"), init=str(tmp_path))
    other, fresh = made(4)
    start = found_start(tmp_path, tmp_path / "new")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found, begun = load_start(asked, start, other, fresh)
    for name, array in params.items():
        np.testing.assert_array_equal(begun[name], array)
    # The frequencies are not trained, and belong to the parameters that were trained with them.
    for name, array in apply.buffers.items():
        np.testing.assert_array_equal(found.buffers[name], array)

    wide = dataclasses.replace(asked, loss=training.LossConfig(sigma_data=1.0))
    with pytest.warns(training.TrainingWarning, match=r"loss\.sigma_data is None there and 1\.0"):
        load_start(wide, start, other, fresh)
    # Of other data or classes: what fits is loaded, and the rest is named and stays as it was.
    longer = {**fresh, "last.bias": jnp.ones(4)}
    says = r"26 of 27 .*last\.bias is 'float32\[1\]' there and 'float32\[4\]' here"
    says = says.replace("26 of 27", rf"{len(fresh) + len(apply.buffers) - 1} of \d+")
    with pytest.warns(training.TrainingWarning, match=says):
        _, begun = load_start(asked, start, other, longer)
    np.testing.assert_array_equal(begun["last.bias"], np.ones(4))
    np.testing.assert_array_equal(begun["last.kernel"], params["last.kernel"])
    with pytest.raises(ValueError, match=r"`init`: no array of .* fits this network"):
        load_start(asked, start, other, {"another": jnp.ones(3)})
    with pytest.raises(FileNotFoundError, match="There is no /nowhere"):
        found_start("/nowhere", None)


def test_the_scale_of_the_weights_is_kept_for_data_that_are_alike(tmp_path):
    draws = np.random.default_rng(0)
    before = training.Dataset.of(draws.normal(3, 2, (500, 4)), cond=draws.normal(1, 3, (500, 2)))
    new = training.Dataset.of(draws.normal(5, 1, (500, 4)), cond=draws.normal(0, 1, (500, 2)))
    asked = dataclasses.replace(config("a"), init="start")
    about = {
        "loss": {"sigma_data": 0.7},
        "units": before.units.describe(),
        "cond": before.conditions.describe(),
        "std": 1.0,
    }
    start = Start("start", {}, about)
    # (5 - 3) / 2 and 1 / 2, by the scale of the data before.
    with pytest.warns(
        training.TrainingWarning, match=r"mean 1\.\d+ and the .* deviation (0\.5|0\.49)"
    ):
        dataset, found = started(start, new, asked)
    assert found.loss.sigma_data == 0.7
    np.testing.assert_allclose(
        dataset.some(np.arange(3)), (new.images[:3] - before.units.shift) / before.units.width, 1e-5
    )
    cond = new.conditions.to_data(new.cond)["vector"]
    units = before.conditions.units["vector"]
    np.testing.assert_allclose(
        dataset.cond["vector"], (cond - units.shift) / units.width, rtol=1e-5, atol=1e-6
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert started(start, dataset, found) == (dataset, found)  # once is enough
        measure = dataclasses.replace(asked, data_scale="measure")
        assert started(start, new, measure) == (new, measure)
    other = training.Dataset.of(draws.normal(size=(50, 5)))
    with pytest.warns(training.TrainingWarning, match="their scale is measured"):
        assert started(start, other, asked) == (other, asked)


def test_the_sigma_data_of_bytes_is_kept_too():
    """All bytes have one scale, so that the scale alone does not tell what a network learned."""
    draws = np.random.default_rng(0)
    dark = training.Dataset.of(draws.integers(100, 120, (50, 3)).astype(np.uint8))
    grey = training.Dataset.of(draws.integers(0, 256, (50, 3)).astype(np.uint8))
    asked = dataclasses.replace(config("a"), init="start")
    about = {"loss": {"sigma_data": 0.045}, "units": dark.units.describe(), "std": 0.045}
    # The deviation of 0 to 255 about the mean is 256 / sqrt(12), and 127.5 of it are 1.
    with pytest.warns(
        training.TrainingWarning, match=r"loss.sigma_data 0\.045\. .* 0\.[56]\d+ about"
    ):
        dataset, found = started(Start("start", {}, about), grey, asked)
    assert found.loss.sigma_data == 0.045
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert started(Start("start", {}, about), dataset, found) == (dataset, found)
        assert started(Start("start", {}, about), dark, asked)[1].loss.sigma_data == 0.045
    of_mnist = {"loss": {"sigma_data": 0.5}, "image_shape": [3], "std": 0.2}  # without units
    with pytest.warns(training.TrainingWarning, match=r"loss.sigma_data 0\.5\. "):
        assert started(Start("m", {}, of_mnist), grey, asked)[1].loss.sigma_data == 0.5


def test_a_number_that_was_constant_is_not_lost_in_silence():
    x = np.random.default_rng(0).normal(size=(50, 2))
    before = training.Dataset.of(x * [1, 0])
    about = {"loss": {"sigma_data": 0.7}, "units": before.units.describe()}
    asked = dataclasses.replace(config("a"), init="start")
    with pytest.raises(ValueError, match="constant in the data of start vary in data"):
        started(Start("start", {}, about), training.Dataset.of(x), asked)


def test_pictures_of_what_is_no_image_are_refused_before_the_first_step():
    asked = dataclasses.replace(config("a"), watch_samples=4)
    for shape in ((3,), (4, 5), (4, 4, 2), (2, 2, 2, 3)):
        data = training.Dataset.of(np.ones((5, *shape)), channels="last")
        with pytest.raises(ValueError, match="watch_samples draws pictures, of images"):
            watchers(asked, data, None, 0, None)


def test_a_callback_that_is_none_is_refused_before_the_first_step(tmp_path, digits):
    asked = config(tmp_path / "a", callbacks=["json:decoder"])
    with pytest.raises(training.DataError, match=r"^json:decoder must be a function of one"):
        training.train(asked, digits)
    assert not (tmp_path / "a").exists()


def test_what_a_changed_schedule_means_is_said():
    stored = identity(config("runs/a"))  # 8 steps, cosine
    with pytest.warns(training.TrainingWarning, match="The learning rate of step 5 is .* would"):
        continued(with_optim(config("runs/a"), steps=80), stored, 4)


def test_averages_of_a_run_that_was_made_longer_are_of_one_run(tmp_path):
    arrays, settings = {"a": jnp.ones(3)}, identity(config("a"))
    settings["optim"] |= {"ema_sigma_rel": [0.1]}
    training.save_snapshots(tmp_path, 8, [arrays], {}, settings)
    longer = {**settings, "optim": {**settings["optim"], "steps": 16}}
    training.save_snapshots(tmp_path, 16, [arrays], {}, longer)
    made, about, error = training.reconstruct_ema(tmp_path, 0.1)
    np.testing.assert_allclose(made["a"], np.ones(3), rtol=1e-6)
    assert about["snapshot"]["step"] == 16 and error < 1e-6


def run(out, digits, **changes):
    base = dataclasses.replace(config(out), optim=CONSTANT)
    optim = {k: v for k, v in changes.items() if hasattr(CONSTANT, k)}
    rest = {k: v for k, v in changes.items() if k not in optim}
    training.train(dataclasses.replace(with_optim(base, **optim), **rest), digits, progress=False)
    return training.load_weights(out)[0], (out / "loss.csv").read_bytes()


def equal(found, expected):
    assert found[1] == expected[1]
    for name, array in expected[0].items():
        np.testing.assert_array_equal(found[0][name], array)


@pytest.fixture(scope="module")
def digits():
    return training.load_dataset("digits")


@pytest.fixture(scope="module")
def whole(digits, tmp_path_factory):
    """The directory of a run of eight steps, and what is in it."""
    out = tmp_path_factory.mktemp("whole")
    return out, run(out, digits)


@pytest.mark.slow
def test_a_run_that_was_made_longer_is_a_run_that_was_longer_from_the_start(
    whole, digits, tmp_path
):
    run(tmp_path, digits, steps=4)
    with pytest.warns(training.TrainingWarning, match="taken 4 of 4 steps. It goes on"):
        equal(run(tmp_path, digits), whole[1])
    with pytest.raises(ValueError, match="other rates would change nothing"):
        run(tmp_path, digits, learning_rate=1e-3)
    # Fewer steps than were taken: nothing is trained, and nothing undone.
    with pytest.warns(training.TrainingWarning, match="nothing is trained"):
        equal(run(tmp_path, digits, steps=4, scan_steps=3), whole[1])


@pytest.mark.slow
def test_the_number_of_steps_in_a_call_changes_nothing(whole, digits, tmp_path):
    equal(run(tmp_path, digits, scan_steps=8), whole[1])
    # Within a run, too.
    run(tmp_path / "again", digits, steps=4)
    with pytest.warns(training.TrainingWarning, match="It goes on"):
        equal(run(tmp_path / "again", digits, scan_steps=1), whole[1])


@pytest.mark.slow
def test_at_another_rate_the_steps_that_were_taken_stay(whole, digits, tmp_path):
    shutil.copytree(whole[0], tmp_path / "run")
    with pytest.warns(training.TrainingWarning, match=r"optim\.learning_rate is 0\.01 there"):
        slower = run(tmp_path / "run", digits, steps=12, learning_rate=1e-4)
    assert slower[1].startswith(whole[1][1]) and len(slower[1]) > len(whole[1][1])


@pytest.mark.slow
def test_a_run_starts_from_the_weights_that_it_is_given(whole, digits, tmp_path):
    shutil.copytree(whole[0], tmp_path / "first")
    still = dict(learning_rate=1e-30, steps=2, ema_decay=0.0, seed=5)
    given, _ = run(tmp_path / "second", digits, init=str(tmp_path / "first"), **still)
    for name, array in whole[1][0].items():
        np.testing.assert_allclose(given[name], array, atol=1e-7)
    losses = [loss for _, loss in read_losses(tmp_path / "second" / "loss.csv")]
    run(tmp_path / "third", digits, **still)
    other = [loss for _, loss in read_losses(tmp_path / "third" / "loss.csv")]
    assert losses[0] < other[0], "the network that was trained loses less on the same batch"
    # A run that has a checkpoint resumes from that, whatever has become of the weights.
    (tmp_path / "first" / "weights.safetensors").unlink()
    again, _ = run(tmp_path / "second", digits, init=str(tmp_path / "first"), **still)
    np.testing.assert_array_equal(again["last.kernel"], given["last.kernel"])
