"""The widths of the data: of known covariances, few images and none, and in the weights' file."""

import numpy as np
import pytest
from support.runs import config

from edmjax import training
from edmjax.training.checkpoints import save_weights
from edmjax.training.config import identity
from edmjax.training.data import Dataset, widths as module


def widths(dataset):
    return dataset.widths


def dataset(rows):
    images = np.asarray(rows, np.float32).reshape(len(rows), 4, 4, -1)
    return Dataset("a", images, np.zeros(len(rows), np.int32), None, 1)


def test_of_a_known_covariance():
    rng = np.random.default_rng(0)
    deviations = np.array([3.0, 2.9, *np.full(30, 0.5)])
    turn = np.linalg.qr(rng.normal(size=(32, 32)))[0]
    _, width, spread = widths(dataset(7.0 + (rng.normal(size=(4000, 32)) * deviations) @ turn))
    np.testing.assert_allclose(width, np.sqrt(np.mean(deviations**2)), rtol=0.02)
    np.testing.assert_allclose(
        spread, 3.0, rtol=0.06
    )  # between 2.9 and 3, to a standard error of 2 %


def test_few_images_of_many_pixels_are_no_wider_than_they_are():
    # The largest eigenvalue of the covariance of these 64 is 5.7 times the true one.
    rows = np.random.default_rng(0).normal(size=(64, 16 * 64))
    _, width, spread = widths(dataset(rows))
    np.testing.assert_allclose((width, spread), (1.0, 1.0), rtol=0.2)


def test_images_that_say_nothing_have_none():
    rng = np.random.default_rng(0)
    assert widths(dataset(rng.normal(size=(3, 16)))) is None
    assert widths(dataset(np.ones((20, 16)))) is None


def test_some_of_many_images(monkeypatch):
    rows = np.random.default_rng(0).normal(size=(4000, 16)) * np.geomspace(4.0, 0.1, 16)
    found = widths(dataset(rows))
    monkeypatch.setattr(module, "MOST_IMAGES", 1000)
    some = widths(dataset(rows))
    assert some != found
    np.testing.assert_allclose(some, found, rtol=0.1)


def test_of_digits_as_a_network_sees_them():
    digits = training.load_dataset("digits")
    x = digits.images.reshape(len(digits.images), -1) / 8.0 - 1.0
    values = np.linalg.eigvalsh(np.cov(x, rowvar=False))
    total, width, spread = widths(digits)
    np.testing.assert_allclose(total, x.std(), rtol=1e-6)
    np.testing.assert_allclose(width, np.sqrt(values.mean()), rtol=1e-3)
    np.testing.assert_allclose(spread, np.sqrt(values[-1]), rtol=0.05)


ABOUT = {**identity(config("a")), "image_shape": [8, 8, 1]}


def levels(path, about):
    save_weights(path, {"w": np.zeros(3, np.float32)}, about)
    return training.levels_of(path)


def test_weights_tell_of_them_and_those_of_earlier_versions_do_not(tmp_path):
    found = levels(tmp_path / "now", ABOUT | {"std": 0.5, "spread": 2.0})
    assert found == training.NoiseLevels(0.002, 80.0, 0.5, 2.0)
    former = {**ABOUT, "loss": {**ABOUT["loss"], "sigma_data": 0.4}}
    found = levels(tmp_path / "former", former)
    assert found == training.NoiseLevels(0.002, 80.0, 0.4, None)


@pytest.mark.parametrize("std, spread", [(-1.0, 2.0), ("wide", 2.0), (0.5, None), (0.5, np.inf)])
def test_senseless_ones_are_a_sentence(std, spread, tmp_path):
    with pytest.raises(ValueError, match="written by another version"):
        levels(tmp_path / "odd", ABOUT | {"std": std, "spread": spread})
