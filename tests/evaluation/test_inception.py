"""The Inception of the Fréchet distance against torch-fidelity's, and against plain NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file
from support import inception as drawn, untrained
from support.cases import golden

from edmjax import training
from edmjax.evaluation import features, inception, parts

GOLDEN = golden("inception")


def test_images_are_resized_as_tensorflow_1_did():
    x = np.random.default_rng(0).uniform(0, 255, (2, 5, 430, 3)).astype(np.float32)
    found = np.asarray(inception.resized(jnp.asarray(x)))
    assert found.shape == (2, 299, 299, 3)
    for i, j in ((0, 0), (17, 200), (298, 298), (260, 1)):
        row, column = i * 5 / 299, j * 430 / 299
        top, left = int(row), int(column)
        bottom, right = min(top + 1, 4), min(left + 1, 429)
        a = x[:, top, left] * (1 - column + left) + x[:, top, right] * (column - left)
        b = x[:, bottom, left] * (1 - column + left) + x[:, bottom, right] * (column - left)
        want = a * (1 - row + top) + b * (row - top)
        np.testing.assert_allclose(found[:, i, j], want, rtol=1e-4, atol=1e-3)


def test_averages_leave_out_what_is_padded_and_maxima_too():
    x = -1 - np.random.default_rng(0).uniform(size=(1, 4, 5, 2)).astype(np.float32)
    mean, most = (np.asarray(f(jnp.asarray(x))) for f in (inception._average_pool, _max))
    for i, j in ((0, 0), (2, 4), (1, 2)):
        part = x[:, max(0, i - 1) : i + 2, max(0, j - 1) : j + 2]
        np.testing.assert_allclose(mean[:, i, j], part.mean((1, 2)), rtol=1e-5)
        np.testing.assert_array_equal(most[:, i, j], part.max((1, 2)))


def _max(x):
    return inception._max_pool(x, 1)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "inception.safetensors"
    arrays = drawn.draw_weights(GOLDEN["shapes"])
    # The file of torch-fidelity has these too.
    more = {"fc.weight": np.zeros((1008, 2048), np.float32)}
    more["Mixed_5b.branch1x1.bn.num_batches_tracked"] = np.zeros((), np.int64)
    save_file(arrays | more, path)
    return path


@pytest.mark.thorough
def test_features_are_those_of_torch_fidelity_at_the_same_weights(weights):
    net = inception.load_inception(weights)
    found = np.concatenate([net(x.astype(np.float32)) for x in drawn.draw_images()])
    want = np.array(GOLDEN["features"])
    assert found.shape == want.shape == (4, 2048)
    assert np.abs(found - want).max() < 1e-4 * np.abs(want).max()
    np.testing.assert_allclose(found, want, rtol=1e-3, atol=1e-4 * np.abs(want).mean())


@pytest.mark.thorough
def test_samples_are_shown_to_it_from_0_to_255(weights, tmp_path, monkeypatch):
    seen = []

    def look(_, images):
        seen.append(images)
        return np.zeros((len(images), 2048), np.float32)

    monkeypatch.setattr(inception.Inception, "__call__", look)
    x = np.random.default_rng(0).integers(3, 90, (30, 6, 5)).astype(np.int64)
    for data in (x.astype(np.uint8), x):
        dataset = training.Dataset.of(data)
        about = {"units": dataset.units.describe(), "clip": True}
        run = untrained.weights(tmp_path / data.dtype.name, shape=(6, 5, 1), **about)
        trained = training.load_trained(run)
        found = features.load_features(f"inception={weights}", trained)
        assert len(found.about["sha256"]) == 64
        found.of_part(parts.Part(dataset, trained, np.arange(30)))
    np.testing.assert_allclose(seen[0][..., 0], x, atol=1e-3)
    low, high = x.min(), x.max()
    np.testing.assert_allclose(seen[1][..., 0], (x - low) * 255 / (high - low), atol=1e-3)


def test_other_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"There is no file of Inception .*: docs/evalu"):
        inception.load_inception(tmp_path / "nowhere")
    path = tmp_path / "other.safetensors"
    save_file({"kernel": np.zeros((3, 3), np.float32)}, path)
    with pytest.raises(ValueError, match=r"does not hold this network \(KeyError.*Conv2d_1a_3x3"):
        inception.load_inception(path)
    path.write_bytes(b"no")
    with pytest.raises(ValueError, match="does not hold this network"):
        inception.load_inception(path)


def test_the_shapes_of_the_published_network_are_those_that_it_has():
    shapes = {
        f"{name}.conv.weight": jax.ShapeDtypeStruct(tuple(shape), jnp.float32)
        for name, shape in GOLDEN["shapes"].items()
    }
    for name, shape in GOLDEN["shapes"].items():
        for part in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{name}.bn.{part}"] = jax.ShapeDtypeStruct((shape[0],), jnp.float32)
    image = jax.ShapeDtypeStruct((3, 40, 30, 1), jnp.float32)
    assert jax.eval_shape(inception.features, shapes, image).shape == (3, 2048)
    # Without the last layer, which gives no features: 21.8 million (Szegedy et al.: 23.8 with it).
    assert len(GOLDEN["shapes"]) == 94
