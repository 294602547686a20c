"""Between the data and what a network sees: both ways for every dtype, shape and rule."""

import json
import warnings

import jax.numpy as jnp
import numpy as np
import pytest

from edmjax.training import Dataset, TrainingWarning, Units
from edmjax.training.data.units import measure

RNG = np.random.default_rng(0)
FLOATS = 40.0 + RNG.normal(size=(60, 6, 5, 3)) * [1.0, 20.0, 0.1]


def both_ways(data, **options):
    """The data set of an array, what a network sees of it, and that in the data's units again."""
    dataset = Dataset.of(data, **options)
    seen = np.asarray(dataset.scale(dataset.examples(labels=False).images))
    assert seen.dtype == np.float32 and seen.shape == (len(data), *dataset.image_shape)
    stored = json.loads(json.dumps(dataset.units.describe()))
    back = Units.read(stored).to_data(seen)
    assert back.dtype == data.dtype and back.shape == data.shape
    return dataset, seen, back


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "int32", "bool"])
@pytest.mark.parametrize("shape", [(3,), (6, 5), (4, 5, 3), (2, 3, 4, 5)])
def test_whole_numbers_come_back_exactly(dtype, shape):
    high = 2 if dtype == "bool" else 120
    data = RNG.integers(0 if dtype[0] in "ub" else -120, high, (40, *shape)).astype(dtype)
    dataset, seen, back = both_ways(data)
    np.testing.assert_array_equal(back, data)
    low, high = (0, 255) if dtype == "uint8" else (int(data.min()), int(data.max()))
    expected = 2 * (data.astype(float) - low) / (high - low) - 1
    np.testing.assert_allclose(seen.reshape(data.shape), expected, atol=2e-7)
    assert dataset.clips(None)


@pytest.mark.parametrize("dtype, rtol", [("float64", 1e-6), ("float32", 1e-6), ("float16", 1e-3)])
def test_floats_have_mean_0_and_deviation_1_in_each_channel(dtype, rtol):
    dataset, seen, back = both_ways(FLOATS.astype(dtype))
    np.testing.assert_allclose(seen.mean((0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(seen.std((0, 1, 2)), 1, rtol=1e-5)
    np.testing.assert_allclose(back, FLOATS.astype(dtype), rtol=rtol, atol=40 * rtol)
    assert not dataset.clips(None)


def test_vectors_have_it_in_each_coordinate():
    data = RNG.normal(size=(500, 4)) * [1e-6, 1.0, 1e6, 3.0] + [5.0, 0.0, -1e7, 1e3]
    _, seen, back = both_ways(data)
    np.testing.assert_allclose(seen.std(0), 1, rtol=1e-5)
    np.testing.assert_allclose(back, data, rtol=1e-6, atol=1e-12)


def test_a_small_variation_about_a_large_mean_survives():
    data = 1e6 + 1e-3 * RNG.normal(size=(100, 2))
    _, seen, back = both_ways(data)
    expected = (data - data.mean(0)) / data.std(0)
    np.testing.assert_allclose(seen, expected, atol=1e-6)
    np.testing.assert_allclose(back - 1e6, data - 1e6, atol=1e-9)


def test_constant_entries_are_seen_as_0_and_come_back_whatever_a_network_gives():
    data = RNG.normal(size=(50, 3))
    data[:, 1] = 0.1
    dataset, seen, back = both_ways(data)
    np.testing.assert_array_equal(seen[:, 1], 0)
    np.testing.assert_array_equal(back[:, 1], data[:, 1])
    np.testing.assert_array_equal(dataset.units.to_data(seen + 1)[:, 1], data[:, 1])
    assert "1 constant" in str(dataset.units)


@pytest.mark.parametrize("channels, seen_shape", [
    (None, (4, 5, 3)), ("last", (4, 5, 3)), ("first", (5, 3, 4)), ("none", (4, 5, 3, 1)),
])  # fmt: skip
def test_channels_are_moved_and_moved_back(channels, seen_shape):
    data = RNG.normal(size=(30, 4, 5, 3))
    dataset, seen, back = both_ways(data, channels=channels)
    assert dataset.image_shape == seen_shape
    np.testing.assert_allclose(back, data, atol=1e-6)
    if channels == "first":
        np.testing.assert_allclose(seen.std((0, 1, 2)), 1, rtol=1e-5)


@pytest.mark.parametrize("shape, seen", [((), (1,)), ((4,), (4,)), ((6, 5), (6, 5, 1))])
def test_samples_of_few_axes(shape, seen):
    assert both_ways(RNG.normal(size=(30, *shape)))[0].image_shape == seen


def test_rules_by_name():
    whole = RNG.integers(10, 20, (30, 4)).astype(np.uint8)
    _, seen, back = both_ways(whole, scale="range")
    assert (seen.min(), seen.max()) == (-1, 1)
    np.testing.assert_array_equal(back, whole)
    _, seen, back = both_ways(whole, scale="standard")
    np.testing.assert_allclose(seen.std(0), 1, rtol=1e-5)
    np.testing.assert_array_equal(back, whole)
    _, seen, back = both_ways(FLOATS, scale="none")
    np.testing.assert_array_equal(seen, FLOATS.astype(np.float32))
    _, seen, _ = both_ways(FLOATS, scale="range")
    np.testing.assert_allclose((seen.min(), seen.max()), (-1, 1), rtol=1e-6)


def test_samples_of_whole_numbers_are_rounded_and_cut():
    units = Dataset.of(np.array([[0], [255]], np.uint8)).units
    found = units.to_data(np.array([[-3.0], [-1.0], [0.0], [0.9999], [7.0]], np.float32))
    np.testing.assert_array_equal(found[:, 0], np.array([0, 0, 128, 255, 255], np.uint8))
    units = Dataset.of(np.array([[-3], [4]], np.int16)).units
    np.testing.assert_array_equal(units.to_data(np.array([[-9.0], [9.0]]))[:, 0], [-3, 4])


def test_moments_of_parts_are_those_of_the_whole(monkeypatch):
    data = 1e5 + RNG.normal(size=(70, 3, 2, 2))
    monkeypatch.setattr("edmjax.training.data.units.NUMBERS_AT_ONCE", 100)
    units = measure(data, "data")
    np.testing.assert_allclose(units.shift, data.mean((0, 1, 2)), rtol=1e-14)
    np.testing.assert_allclose(units.width, data.std((0, 1, 2)), rtol=1e-12)


def test_a_pytree_of_arrays():
    data = {"position": FLOATS, "kind": RNG.integers(0, 9, (60, 7))}
    dataset = Dataset.of(data, labels=np.arange(60) % 3)
    assert dataset.image_shape == {"position": (6, 5, 3), "kind": (7,)}
    seen = dataset.scale(dataset.examples(labels=False).images)
    np.testing.assert_allclose(np.std(seen["position"], (0, 1, 2)), 1, rtol=1e-5)
    assert (seen["kind"].min(), seen["kind"].max()) == (-1, 1)
    assert (len(dataset), dataset.num_classes) == (60, 3)


def test_arrays_of_jax():
    data = jnp.asarray(FLOATS, jnp.bfloat16)
    _, _, back = both_ways(np.asarray(data))
    mean = np.asarray(data).astype(float).mean((0, 1, 2)).astype(jnp.bfloat16)
    found = Dataset.of(data).units.to_data(np.zeros((1, 6, 5, 3)))
    np.testing.assert_array_equal(found[0, 0, 0], mean)
    assert back.dtype == jnp.bfloat16


def test_whole_numbers_of_64_bits_stay_within_their_dtype():
    """float64 has no number between 2^63 - 1024 and 2^63, which int64 does not hold."""
    for dtype in (np.int64, np.uint64):
        limits = np.iinfo(dtype)
        dataset, _, back = both_ways(np.array([[limits.min], [limits.max]], dtype))
        assert (dataset.units.low, dataset.units.high) == (limits.min, limits.max)
        assert back[0, 0] == limits.min and limits.max - 2048 <= back[1, 0] <= limits.max


def test_older_kinds_of_arrays():
    matrix = np.asmatrix(FLOATS[:, 0, 0])
    for x in (matrix, np.ma.masked_array(FLOATS[:, 0, 0], False)):
        dataset = Dataset.of(x, labels=np.ma.masked_array(np.zeros(60, int)), cond=x)
        assert {type(v) for v in (dataset.images, dataset.labels)} == {np.ndarray}
        np.testing.assert_array_equal(dataset.images, FLOATS[:, 0, 0])


def test_classes_that_no_sample_has_are_told_of():
    labels = np.tile([1, 2, 4], 20)
    dataset = Dataset.of(FLOATS, labels=labels)
    with pytest.warns(TrainingWarning, match="labels from 1 to 4, .* the label 0 or others"):
        dataset.tell_absent()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Dataset.of(FLOATS, labels=np.arange(60) % 3).tell_absent()


MASKED = np.ma.masked_array(FLOATS, np.arange(60 * 90).reshape(FLOATS.shape) == 200)
NAN = FLOATS.copy()
NAN[17, 2, 2, 1] = np.nan


@pytest.mark.parametrize("data, options, error, words", [
    (NAN, {}, ValueError, r"data must be finite, and sample 17 on axis 0 is not"),
    (FLOATS * 1j, {}, TypeError, "complex.*side by side as channels"),
    (np.array([["a"]]), {}, TypeError, "must hold numbers"),
    (np.array([[None]]), {}, TypeError, "must hold numbers"),
    ([1, 2], {}, TypeError, "int"),
    ({}, {}, TypeError, "holds no arrays"),
    (np.zeros((0, 3)), {}, ValueError, "no axis may be empty"),
    (np.float64(3.0), {}, TypeError, "np.asarray"),
    (FLOATS, {"scale": "minmax"}, ValueError, "`data_scale` must be"),
    (FLOATS[:, 0, 0, 0], {"channels": "first"}, ValueError, "no axis for channels"),
    ({"a": FLOATS, "b": FLOATS[:9]}, {}, ValueError, r"data\['b'\] has 9"),
    (FLOATS, {"labels": np.zeros(59, int)}, ValueError, "labels of shape"),
    (FLOATS, {"labels": np.zeros(60)}, TypeError, "classes are whole numbers"),
    (FLOATS, {"labels": np.arange(60) - 3}, ValueError, "label -3 at index 0"),
    (FLOATS, {"cond": np.zeros((59, 2))}, ValueError, "59 conditions"),
    (FLOATS, {"cond": np.full((60, 2), np.inf)}, ValueError, "`cond`, must be finite"),
    (FLOATS * 1e200, {}, ValueError, r"numbers as large as .*e.20\d, whose squares"),
    (MASKED, {}, ValueError, "data has masked entries, the first in sample 2"),
    (FLOATS, {"cond": MASKED.reshape(60, -1)}, ValueError, "`cond`, has masked entries"),
    (FLOATS, {"labels": np.arange(60) * 10**9}, ValueError, "more classes than samples"),
])  # fmt: skip
def test_bad_data_are_a_sentence(data, options, error, words):
    with pytest.raises(error, match=words):
        Dataset.of(data, **options)


@pytest.mark.parametrize("change", [
    {"shift": [1.0, 2.0]}, {"width": [-1.0, 1.0, 1.0]}, {"shift": [np.inf, 0, 0]},
    {"dtype": "text"}, {"channels": "middle"}, {"low": 3}, {"shape": ["a"]}, {"shift": "many"},
])  # fmt: skip
def test_units_that_are_none_are_refused(change):
    about = Dataset.of(FLOATS).units.describe()
    with pytest.raises((KeyError, TypeError, ValueError)):
        Units.read({**about, **change})
