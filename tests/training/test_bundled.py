"""Networks that come with the package, and weights of 8 bits."""

from pathlib import Path

import numpy as np
import pytest
from jax import random

import edmjax as ej
from edmjax import training
from edmjax.training.bundled import bundled
from edmjax.training.compact import compact, expanded


def test_eight_bits_are_within_half_a_step_of_each_output(tmp_path):
    rng = np.random.default_rng(0)
    kernel = (rng.normal(size=(3, 3, 4, 5)) * np.geomspace(1e-3, 10, 5)).astype(np.float32)
    kernel[..., 2] = 0
    arrays = {"a.kernel": kernel, "a.bias": rng.normal(size=5).astype(np.float32)}
    training.save_weights(tmp_path / "w.safetensors", arrays, {"a": 1}, eight_bits=True)
    found, config = training.load_weights(tmp_path / "w.safetensors")
    assert config == {"a": 1} and found.keys() == arrays.keys()
    assert all(v.dtype == np.float32 for v in found.values())
    half_a_step = np.abs(kernel).max((0, 1, 2)) / 127 / 2
    assert (np.abs(found["a.kernel"] - kernel) <= half_a_step * 1.00001).all()
    np.testing.assert_array_equal(found["a.bias"], arrays["a.bias"])
    assert not np.asarray(found["a.kernel"])[..., 2].any()


def test_scales_that_are_missing_or_of_another_size_are_a_sentence(tmp_path):
    held = compact({"a": np.ones((2, 3), np.float32)})
    for wrong in ({"a": held["a"]}, held | {"a@scale": np.ones(2, np.float32)}):
        with pytest.raises((KeyError, ValueError)):
            expanded(wrong)
    with pytest.raises(KeyError):
        expanded({"a@scale": held["a@scale"]})


def test_a_bundled_network_draws_the_classes_that_it_is_asked_for():
    """The nearest of scikit-learn's digits is of the class of most samples."""
    datasets = pytest.importorskip("sklearn.datasets")
    trained = training.load_trained("digits")
    plan = ej.make_plan(*ej.recommend(12, **training.levels_of("digits")._asdict()))
    x = 80.0 * random.normal(random.key(0), (100, 8, 8, 1))
    labels = np.arange(100) % 10
    x0 = np.asarray(ej.sample(trained.denoise, plan, x, cond=labels)).reshape(100, -1)
    pixels, classes = datasets.load_digits(return_X_y=True)
    real = pixels / 8 - 1
    nearest = np.argmin(((x0[:, None] - real) ** 2).sum(-1), axis=1)
    assert np.mean(classes[nearest] == labels) > 0.9


@pytest.mark.parametrize("name, shape", [("digits", (8, 8, 1)), ("mnist", (28, 28, 1))])
def test_every_network_of_the_package_has_classes_and_a_dropout(name, shape):
    trained = training.load_trained(name)
    assert trained.image_shape == shape and trained.num_classes == 10
    assert trained.label_dropout == 0.1  # so it serves prior, classes and guidance
    path = Path(bundled()[name])
    assert path.stat().st_size <= 1_000_000


def test_they_are_all_in_that_table():
    assert sorted(bundled()) == ["digits", "mnist"]


def test_a_run_of_the_same_name_is_asked_for_by_its_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()  # data, say: the network wins
    arrays, config = training.load_weights("digits")
    training.save_weights(tmp_path / "digits" / training.WEIGHTS, arrays, config)
    with pytest.raises(ValueError, match=r"write \./digits for the run"):
        training.load_weights("digits")
    assert training.load_weights("./digits")[1] == config
    with pytest.raises(FileNotFoundError, match="or a network of the package, digits or mnist"):
        training.load_weights("runs/none")
