"""Weights in a file: the same bits, a checksum, and a sentence for every file that is damaged."""

import json
import struct

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.flax import save
from support.runs import config

from edmjax import training
from edmjax.training.config import identity

ARRAYS = {
    "a.kernel": jnp.arange(6.0).reshape(2, 3),
    "b": jnp.asarray([1.5, -0.0], jnp.bfloat16),
    "empty": jnp.zeros((0, 2)),
}
CONFIG = {"net": {"name": "unet"}, "text": "\u00e9 \u2028"}
DAMAGED = "is damaged or holds no edmjax weights"


@pytest.fixture
def path(tmp_path):
    training.save_weights(tmp_path / "weights.safetensors", ARRAYS, CONFIG)
    return tmp_path / "weights.safetensors"


def same(found):
    arrays, settings = found
    assert settings == CONFIG and arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype and arrays[name].shape == array.shape
        assert np.asarray(arrays[name]).tobytes() == np.asarray(array).tobytes()


def test_the_same_bits_and_the_same_bytes(path, tmp_path):
    same(training.load_weights(path))
    training.save_weights(tmp_path / "again", dict(reversed(ARRAYS.items())), CONFIG)
    same(training.load_weights(tmp_path / "again"))


def test_a_file_of_an_earlier_version_has_no_checksum_and_loads(path):
    path.write_bytes(save(ARRAYS, metadata={"config": json.dumps(CONFIG)}))
    same(training.load_weights(path))


def test_every_byte_is_looked_at(path):
    """A bit of each in turn: of lengths, names, shapes, the configuration and the numbers."""
    whole = path.read_bytes()
    for i in range(len(whole)):
        changed = bytearray(whole)
        changed[i] ^= 1
        path.write_bytes(changed)
        with pytest.raises(ValueError, match=DAMAGED):
            training.load_weights(path)
    for size in (0, 7, 8, 100, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match=DAMAGED):
            training.load_weights(path)


@pytest.mark.parametrize("array, words", [
    (jnp.arange(3), "'w' is of dtype int32, and weights are floating"),
    (jnp.zeros(3, bool), "'w' is of dtype bool, and weights are floating"),
    (jnp.asarray([1.0, np.nan]), "'w' is not finite"),
    (jnp.asarray([1.0, np.inf], jnp.bfloat16), "'w' is not finite"),
])  # fmt: skip
def test_arrays_that_are_no_weights_are_neither_written_nor_read(array, words, path):
    before = path.read_bytes()
    with pytest.raises(ValueError, match=f"cannot be written to .*{words}"):
        training.save_weights(path, {"w": array}, CONFIG)
    assert path.read_bytes() == before
    path.write_bytes(save({"w": array}, metadata={"config": json.dumps(CONFIG)}))
    with pytest.raises(ValueError, match=f"{DAMAGED}: {words}"):
        training.load_weights(path)


@pytest.mark.parametrize("metadata", [
    {"config": "[" * 100_000}, {"config": '{"a":' * 100_000}, {"config": "[1]"}, {"config": "{"},
    {"other": "{}"}, None,
], ids="{!r:.20}".format)  # fmt: skip
def test_a_configuration_that_is_none_is_a_sentence(metadata, path):
    path.write_bytes(save(ARRAYS, metadata=metadata))
    with pytest.raises(ValueError, match=DAMAGED):
        training.load_weights(path)


def test_a_header_of_brackets_is_a_sentence(path):
    header = b"[" * 200_000
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(ValueError, match=DAMAGED):
        training.load_weights(path)


@pytest.mark.parametrize("change, words", [
    ({"net": {"name": "mlp"}}, "net.name"),
    ({"net": {"channels": [0]}}, "net.channels"),
    ({"net": {"weights": 3}}, "weights"),
    ({"image_shape": 5}, "written by another version"),
    ({"image_shape": [7, 7, 1, 1, 1]}, "describes a network that cannot be built.*axis"),
    ({"num_classes": "ten"}, "describes a network that cannot be built"),
])  # fmt: skip
def test_a_network_that_cannot_be_built_is_a_sentence(change, words, path, unchecked):
    about = {**identity(config("a")), "image_shape": [8, 8, 1], "num_classes": 3}
    about["net"] |= {"channels": [4, 8], "classes": True}
    change = {**change, "net": about["net"] | change.get("net", {})}
    training.save_weights(path, ARRAYS, about | change)
    with pytest.raises(ValueError, match=words):
        training.load_trained(path)
