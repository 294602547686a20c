"""Data: files are the ones asked for, to the last bit; batches depend on (seed, step) alone."""

import gzip
import hashlib
import io
import tarfile
import urllib.request
import warnings

import numpy as np
import pytest

from edmjax import training
from edmjax.training.data import Dataset, batch_indices, cifar, mnist


@pytest.fixture
def idx(monkeypatch):
    """Small stand-ins for MNIST's files, by name, which the package then takes for MNIST."""
    contents, expected = {}, {}
    rng = np.random.default_rng(0)
    for name in mnist.FILES:
        shape = (5, 4, 3) if "images" in name else (5,)
        header = bytes([0, 0, 8, len(shape)]) + np.array(shape, ">u4").tobytes()
        contents[name] = header + rng.integers(0, 256, shape, np.uint8).tobytes()
        digest = hashlib.sha256(contents[name]).hexdigest()
        expected[name] = mnist.IdxFile(shape, digest)
    monkeypatch.setattr(mnist, "FILES", expected)
    return contents


IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


def write(directory, contents, packed=False):
    for name, content in contents.items():
        path = directory / (f"{name}.gz" if packed else name)
        path.write_bytes(gzip.compress(content) if packed else content)


@pytest.mark.parametrize("packed", [False, True])
def test_mnist_is_read_from_a_directory_compressed_or_not(idx, tmp_path, packed):
    write(tmp_path, idx, packed)
    images, labels = training.load_mnist(tmp_path)
    assert images.shape == (5, 4, 3) and labels.shape == (5,)
    assert images.tobytes() == idx[IMAGES][16:]
    assert labels.tobytes() == idx[LABELS][8:]
    test, _ = training.load_mnist(tmp_path, split="test")
    assert test.tobytes() == idx["t10k-images-idx3-ubyte"][16:]


@pytest.mark.parametrize("packed", [False, True])
def test_a_truncated_file_is_named_with_what_was_expected(idx, tmp_path, packed):
    write(tmp_path, idx, packed)
    path = tmp_path / (f"{IMAGES}.gz" if packed else IMAGES)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match=f"{IMAGES}.*expected 76 bytes.*Delete it"):
        training.load_mnist(tmp_path)


def test_a_corrupt_file_is_named_with_both_checksums(idx, tmp_path):
    write(tmp_path, idx)
    content = bytearray(idx[LABELS])
    content[-1] ^= 1
    (tmp_path / LABELS).write_bytes(content)
    wrong = hashlib.sha256(content).hexdigest()
    right = mnist.FILES[LABELS].digest
    with pytest.raises(ValueError, match=f"{LABELS} is corrupt.*{right}.*{wrong}"):
        training.load_mnist(tmp_path)


def test_a_missing_file_in_a_given_directory_is_never_downloaded(idx, tmp_path, monkeypatch):
    monkeypatch.setattr(urllib.request, "urlopen", None)
    with pytest.raises(FileNotFoundError, match=f"neither {IMAGES} nor"):
        training.load_mnist(tmp_path)


def test_download_takes_the_second_mirror_and_keeps_the_file(idx, tmp_path, monkeypatch):
    asked = []

    def urlopen(url, timeout):
        asked.append(url)
        assert url.startswith("https://")
        if url.startswith(mnist.MIRRORS[0]):
            if IMAGES in url:
                raise OSError("no route to host")
            return io.BytesIO(b"<html>not the file</html>")
        name = url.removeprefix(mnist.MIRRORS[1]).removesuffix(".gz")
        return io.BytesIO(gzip.compress(idx[name]))

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    images, _ = training.load_mnist()
    assert images.tobytes() == idx[IMAGES][16:]
    assert len(asked) == 4
    folder = tmp_path / "edmjax" / "mnist"
    assert sorted(p.name for p in folder.iterdir()) == [f"{IMAGES}.gz", f"{LABELS}.gz"]
    training.load_mnist()
    assert len(asked) == 4


def test_no_mirror_is_a_sentence_that_names_both(idx, tmp_path, monkeypatch):
    def urlopen(url, timeout):
        raise OSError("no route to host")

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(OSError, match=r"ossci.*no route.*googleapis.*no route.*data directory"):
        training.load_mnist()
    assert not list(tmp_path.rglob("*.gz"))


@pytest.fixture
def fashion(monkeypatch):
    """Small stand-ins for Fashion-MNIST's files, by name, which the package then takes for it."""
    contents, expected = {}, {}
    rng = np.random.default_rng(1)
    for name in mnist.FASHION_FILES:
        shape = (5, 4, 3) if "images" in name else (5,)
        header = bytes([0, 0, 8, len(shape)]) + np.array(shape, ">u4").tobytes()
        contents[name] = gzip.compress(header + rng.integers(0, 5, shape, np.uint8).tobytes())
        expected[name] = mnist.IdxFile(shape, hashlib.md5(contents[name]).hexdigest())
    monkeypatch.setattr(mnist, "FASHION_FILES", expected)
    return contents


def test_fashion_mnist_comes_in_its_own_units(fashion, tmp_path):
    write(tmp_path, fashion)
    data = training.load_dataset("fashion_mnist", tmp_path)
    images, labels = (gzip.decompress(content) for content in fashion.values())
    assert data.images.tobytes() == images[16:] and data.image_shape == (4, 3, 1)
    np.testing.assert_array_equal(data.labels, np.frombuffer(labels, np.uint8, offset=8))
    assert data.sample_units is data.units and data.units.shape == (4, 3)
    seen = np.asarray(data.some(np.arange(5)))
    np.testing.assert_array_equal(data.units.to_data(seen), data.images)


def test_a_file_of_fashion_mnist_that_was_changed_begins_the_message(fashion, tmp_path):
    write(tmp_path, fashion)
    path = tmp_path / f"{IMAGES}.gz"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(training.DataError, match=f"^{path} is damaged or not Fashion-MNIST's"):
        training.load_dataset("fashion_mnist", tmp_path)


def cifar_archive(monkeypatch, n=4):
    """An archive of the format of CIFAR-10's, which the package then takes for it; its content."""
    rng = np.random.default_rng(2)
    images = rng.integers(0, 256, (len(cifar.FILES), n, 32, 32, 3), np.uint8)
    labels = rng.integers(0, 10, (len(cifar.FILES), n, 1), np.uint8)
    planes = np.moveaxis(images, -1, 2).reshape(len(cifar.FILES), n, -1)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, records in zip(cifar.FILES, np.concatenate([labels, planes], -1), strict=True):
            entry = tarfile.TarInfo(name)
            entry.size = records.size
            archive.addfile(entry, io.BytesIO(records.tobytes()))
    monkeypatch.setattr(cifar, "RECORDS", n)
    monkeypatch.setattr(cifar, "MD5", hashlib.md5(packed.getvalue()).hexdigest())
    return packed.getvalue(), images.reshape(-1, 32, 32, 3), labels.ravel()


def test_cifar10_is_read_from_its_binary_archive(monkeypatch, tmp_path):
    packed, images, labels = cifar_archive(monkeypatch)
    with pytest.raises(FileNotFoundError, match=f"holds no {cifar.ARCHIVE}"):
        training.load_dataset("cifar10", tmp_path)
    (tmp_path / cifar.ARCHIVE).write_bytes(packed)
    data = training.load_dataset("cifar10", tmp_path)
    np.testing.assert_array_equal(data.images, images)
    np.testing.assert_array_equal(data.labels, labels)
    (tmp_path / cifar.ARCHIVE).write_bytes(packed[:-1])
    with pytest.raises(training.DataError, match=f"^{tmp_path / cifar.ARCHIVE} is damaged"):
        training.load_dataset("cifar10", tmp_path)


def test_digits_are_the_real_ones():
    data = training.load_dataset("digits")
    assert data.images.shape == (1797, 8, 8, 1) and data.images.dtype == np.uint8
    assert np.bincount(data.labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    x = np.asarray(data.scale(data.images))
    assert x.dtype == np.float32 and x.min() == -1 and x.max() == 1


def test_scaling_reaches_both_ends():
    data = Dataset("two", np.array([[[[0], [255]]]], np.uint8), np.zeros(1, int), 255, 1)
    assert np.asarray(data.scale(data.images)).ravel().tolist() == [-1.0, 1.0]


def test_floats_are_seen_as_they_are_and_not_clipped():
    images = np.random.default_rng(0).normal(size=(3, 4, 4, 5)).astype(np.float32)
    data = Dataset("latents", images, np.zeros(3, int), None, 1)
    np.testing.assert_array_equal(data.scale(images), images)
    assert not data.clips(None) and data.clips(True)
    whole = Dataset("two", np.zeros((1, 2, 1, 1), np.uint8), np.zeros(1, int), 1, 1)
    assert whole.clips(None) and not whole.clips(False)


def test_labels_are_held_in_a_dtype_that_has_room_for_no_class():
    images = np.zeros((2, 1, 1, 1), np.uint8) + 9
    data = Dataset("two", images, np.array([0, 255], np.uint8), 9, 256)
    assert data.labels.dtype == np.int32 and data.labels.tolist() == [0, 255]


def test_images_that_are_dark_throughout_are_asked_about():
    images, labels = np.full((2, 8, 8, 1), 16, np.uint8), np.zeros(2, int)
    with pytest.warns(
        training.TrainingWarning, match="highest entry .* is 16, and `largest` is 255"
    ):
        Dataset("digits", images, labels, 255, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Dataset("digits", images, labels, 16, 1)


def test_images_of_few_rows_and_few_columns_have_no_order_to_guess():
    """Only a shape that no image has is taken for channels in front."""
    for shape in ((2, 4, 4, 16), (2, 3, 4, 1), (2, 5, 16, 16), (2, 2, 64, 4), (2, 64, 2, 8)):
        Dataset("small", np.full(shape, 16, np.uint8), np.zeros(2, int), 16, 1)


def test_an_unknown_dataset_is_a_sentence_with_the_nearest_name():
    with pytest.raises(
        ValueError, match=r"'fashion_mnist' or 'cifar10', got 'mnits'.*mean 'mnist'"
    ):
        training.load_dataset("mnits")


def test_batches_depend_on_seed_and_step_alone_and_cover_every_epoch():
    n, size = 10, 4
    steps = [batch_indices(3, step, size, n) for step in range(10)]
    np.testing.assert_array_equal(steps[7], batch_indices(3, 7, size, n))
    together = np.concatenate(steps).reshape(4, n)  # 10 steps of 4 are 4 epochs of 10
    for epoch in together:
        assert sorted(epoch) == list(range(n))
    assert any(not np.array_equal(together[0], epoch) for epoch in together[1:])
    assert not np.array_equal(np.concatenate(steps[:2]), together[1][:8])
    assert not np.array_equal(steps[0], batch_indices(4, 0, size, n))
    assert sorted(batch_indices(0, 0, 25, n)[:20].tolist()) == sorted(2 * list(range(n)))
