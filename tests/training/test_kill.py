"""A run that is killed, or asked to stop, and started again ends as if nothing had happened."""

import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
from typing import Any

import numpy as np
import pytest
from jax import random
from PIL import Image
from support.runs import config

from edmjax import training
from edmjax.training import loop, outputs
from edmjax.training.errors import Stopped, stop_requests
from edmjax.training.loop import check_state
from edmjax.training.outputs import read_losses

ROOT = pathlib.Path(__file__).parents[2]
CHECK = [sys.executable, ROOT / "checks" / "check_kill.py"]


@pytest.fixture(scope="module")
def digits():
    return training.load_dataset("digits")


@pytest.fixture(scope="module")
def whole(digits, tmp_path_factory):
    """The directory of a run that nothing interrupted."""
    out = tmp_path_factory.mktemp("whole")
    training.train(config(out), digits, progress=False)
    return out


def same_files(one, other):
    for name in ("weights.safetensors", "loss.csv"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


@pytest.mark.slow
def test_ten_kills_change_no_byte(tmp_path):
    """Undisturbed and killed runs in subprocesses; the script says which moments there were."""
    done = subprocess.run(
        [*CHECK, f"--out={tmp_path}"], capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("kill ") == 10
    same_files(tmp_path / "whole", tmp_path / "killed")
    steps = [step for step, _ in read_losses(tmp_path / "killed" / "loss.csv")]
    assert steps == list(range(1, len(steps) + 1)) and len(steps) > 200


@pytest.mark.slow
def test_kills_change_no_byte_of_a_fit(tmp_path):
    command = [*CHECK, f"--out={tmp_path}", "--kills=6", "--fit"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("kill ") == 6
    same_files(tmp_path / "whole", tmp_path / "killed")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["folder", "array"])
def test_kills_change_no_byte_where_grain_reads(kind, tmp_path):
    """Of a directory of images, and of an array in a file: the same script."""
    pytest.importorskip("grain")
    rng = np.random.default_rng(0)
    name = tmp_path / "data.npy" if kind == "array" else tmp_path / "data"
    if kind == "array":
        np.save(name, rng.normal(5, 2, (200, 8, 8, 1)))
    else:
        name.mkdir()
        for i, values in enumerate(rng.integers(0, 256, (200, 8, 8, 3)).astype(np.uint8)):
            Image.fromarray(values).save(name / f"{i}.png")
    command = [*CHECK, f"--out={tmp_path}", "--kills=6", f"--data={name}", "--data_in_memory=no"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("kill ") == 6
    same_files(tmp_path / "whole", tmp_path / "killed")


@pytest.mark.parametrize(
    "name, code",
    [
        pytest.param("SIGTERM", 143, marks=pytest.mark.slow),
        pytest.param("SIGINT", 130, marks=pytest.mark.slow),
    ],
)
def test_a_signal_saves_and_stops_and_the_run_goes_on(
    name, code, whole, digits, tmp_path, monkeypatch, capsys, ctrl_c
):
    """Sent after the first call, of two steps, where no checkpoint is due."""
    ctrl_c(signal.default_int_handler)
    number, check = getattr(signal, name), loop.check_losses
    handlers = [signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)]

    def send(losses, start, *rest):
        if start == 0:
            os.kill(os.getpid(), number)
        check(losses, start, *rest)

    monkeypatch.setattr(loop, "check_losses", send)
    with pytest.raises(SystemExit) as stop, training.plain_errors():
        training.train(config(tmp_path), digits, progress=False)
    assert stop.value.code == code
    assert f"Stopped by {name} after step 2 of 8, which is saved" in capsys.readouterr().err
    assert [p.name for p in (tmp_path / "checkpoint").iterdir()] == ["2"]
    assert handlers == [signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)]

    monkeypatch.setattr(loop, "check_losses", check)
    training.train(config(tmp_path), digits, progress=False)
    same_files(whole, tmp_path)


@pytest.fixture
def ctrl_c():
    """Sets the handler of SIGINT, which a job in the background of a shell ignores."""
    before = signal.getsignal(signal.SIGINT)
    yield lambda handler: signal.signal(signal.SIGINT, handler)
    signal.signal(signal.SIGINT, before)


def test_a_second_signal_is_not_held_back(ctrl_c):
    ctrl_c(signal.default_int_handler)
    with pytest.raises(KeyboardInterrupt) as stop, stop_requests() as asked:
        assert asked() == 0
        os.kill(os.getpid(), signal.SIGINT)
        assert asked() == signal.SIGINT
        os.kill(os.getpid(), signal.SIGINT)
    assert not isinstance(stop.value, Stopped)


def test_a_signal_that_is_ignored_stays_so(ctrl_c):
    ctrl_c(signal.SIG_IGN)
    with stop_requests() as asked:
        os.kill(os.getpid(), signal.SIGINT)
        assert asked() == 0


@pytest.mark.slow
def test_a_kill_after_the_last_checkpoint_is_made_good(whole, digits, tmp_path, monkeypatch):
    """Training is done, what follows it is not, and the weights are lost as well."""

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(outputs, "plot_losses", killed)
        training.train(config(tmp_path), digits, progress=False)
    (tmp_path / "weights.safetensors").unlink()
    training.train(config(tmp_path), digits, progress=False)
    same_files(whole, tmp_path)
    assert (tmp_path / "loss.png").is_file()


def test_a_state_that_is_not_finite_is_refused():
    parts: Any = {name: {} for name in training.TrainState._fields}
    empty = training.TrainState(**parts | {"step": 3, "params": {"a": np.ones(3)}})
    check_state(empty)
    with pytest.raises(FloatingPointError, match="After step 3 the parameter b is not finite"):
        check_state(empty._replace(params={"a": np.ones(3), "b": np.array([1.0, np.inf])}))
    with pytest.raises(FloatingPointError, match="moment of the optimizer is not finite"):
        check_state(empty._replace(opt_state=[np.array(np.nan)]))


@pytest.mark.slow
def test_a_loss_that_is_not_finite_is_reported_with_its_batch(digits, tmp_path):
    """The levels by the loss's formula, log sigma = p_mean + p_std n, from the seed and step."""
    optim = training.OptimConfig(steps=8, batch_size=4, learning_rate=1e30, warmup=0.0)
    bad = config(tmp_path, optim=optim, seed=5)
    with pytest.raises(FloatingPointError) as caught:
        training.train(bad, digits, progress=False)
    text = str(caught.value)
    pattern = r"The loss is (nan|inf) at step (\d), .*indices (\[.*\]) with.*levels (\[.*\])"
    found = re.search(pattern, text)
    assert found, text
    step = int(found[2]) - 1  # the sentence counts from 1, as loss.csv does
    indices = training.batch_indices(5, step, 4, len(digits.images))
    assert found[3] == str(indices.tolist())
    key_level, _ = random.split(random.fold_in(random.key(5), step))
    sigma = np.exp(-1.2 + 1.2 * np.asarray(random.normal(key_level, (4,))))
    np.testing.assert_allclose(eval(found[4]), sigma, rtol=1e-3)
    # The losses before it are in the log, and nothing of what it spoilt is kept.
    assert [s for s, _ in read_losses(tmp_path / "loss.csv")] == list(range(1, step + 1))
    assert not (tmp_path / "weights.safetensors").exists()


@pytest.mark.slow
def test_a_bad_loss_keeps_the_last_checkpoint(whole, digits, tmp_path, monkeypatch):
    make = loop.make_train_steps

    def spoilt(*args):
        advance = make(*args)

        def steps(state, *rest):
            after = int(state.step) >= 4
            state, losses = advance(state, *rest)
            return state, losses * (np.nan if after else 1)

        return steps

    monkeypatch.setattr(loop, "make_train_steps", spoilt)
    with pytest.raises(FloatingPointError, match=r"loss is nan at step 5.*is kept"):
        training.train(config(tmp_path), digits, progress=False)
    assert [p.name for p in (tmp_path / "checkpoint").iterdir()] == ["4"]
    monkeypatch.setattr(loop, "make_train_steps", make)
    training.train(config(tmp_path), digits, progress=False)
    same_files(whole, tmp_path)


def test_a_directory_that_cannot_be_written_is_a_sentence(digits, tmp_path):
    (tmp_path / "file").write_text("")
    sentence = pytest.raises(SystemExit, match="file/run cannot be written to: Not a directory")
    with sentence, training.plain_errors():
        training.train(config(tmp_path / "file" / "run"), digits, progress=False)


@pytest.mark.slow
def test_a_damaged_checkpoint_costs_steps_and_no_bits(whole, digits, tmp_path, capsys):
    training.train(config(tmp_path), digits, progress=False)
    damaged = tmp_path / "checkpoint" / "8" / "state" / "manifest.ocdbt"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    (tmp_path / "weights.safetensors").unlink()
    with training.plain_errors():
        training.train(config(tmp_path), digits, progress=False)
    text = capsys.readouterr().err
    assert text.startswith("warning: A checkpoint is damaged: ")
    assert f"{damaged} has 1" in text and "from step 4" in text
    same_files(whole, tmp_path)


@pytest.mark.slow
def test_outside_the_main_thread_no_handler_is_touched(digits, tmp_path):
    errors = []

    def run():
        try:
            training.train(config(tmp_path), digits, progress=False)
        except BaseException as err:
            errors.append(err)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert not errors and (tmp_path / "weights.safetensors").is_file()
