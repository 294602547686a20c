"""MNIST and Fashion-MNIST from their IDX files.

IDX is a big-endian header (two zero bytes, the type 8 for bytes, the number of axes, then the axes)
and one byte an entry. Of MNIST the decompressed content is verified, so it does not matter how a
file was compressed; of Fashion-MNIST checksums are published of the compressed files alone.
Sources: LeCun, Cortes and Burges; Xiao, Rasul and Vollgraf (2017).
"""

import gzip
import hashlib
import math
import zlib
from functools import partial
from typing import NamedTuple

import numpy as np

from edmjax._common.arguments import one_of
from edmjax.training.data.download import content
from edmjax.training.files import StrPath

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)


class IdxFile(NamedTuple):
    """What a file must be: its axes, and a checksum, of MNIST the SHA-256 of decompressed bytes."""

    shape: tuple[int, ...]
    digest: str

    @property
    def header(self) -> int:
        """The number of bytes before the entries."""
        return 4 + 4 * len(self.shape)


FILES = {
    "train-images-idx3-ubyte": IdxFile(
        (60000, 28, 28), "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"
    ),
    "train-labels-idx1-ubyte": IdxFile(
        (60000,), "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"
    ),
    "t10k-images-idx3-ubyte": IdxFile(
        (10000, 28, 28), "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"
    ),
    "t10k-labels-idx1-ubyte": IdxFile(
        (10000,), "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"
    ),
}

# The images lie in the publisher's repository; Keras has them from the second address.
FASHION_MIRRORS = (
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
)
# MD5 of the compressed files, from the README of github.com/zalandoresearch/fashion-mnist.
FASHION_FILES = {
    "train-images-idx3-ubyte.gz": IdxFile((60000, 28, 28), "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
    "train-labels-idx1-ubyte.gz": IdxFile((60000,), "25c81989df183df01b3e8a0aad5dffbe"),
}


def load_mnist(
    data_dir: StrPath | None = None, *, split: str = "train"
) -> tuple[np.ndarray, np.ndarray]:
    """The images, uint8 `(n, 28, 28)`, and labels, uint8 `(n,)`, of `split` "train" or "test".

    With `data_dir`, only files in it are read, as they are or with `.gz` at the end. Without it,
    files come from `~/.cache/edmjax/mnist` (or below `XDG_CACHE_HOME`), and are downloaded when
    missing.

    Raises:
        FileNotFoundError: a file is missing in `data_dir`.
        OSError: a missing file could not be downloaded.
        ValueError: a file differs from MNIST's by as much as a bit, or `split` is unknown.
    """
    prefixes = {"train": "train", "test": "t10k"}
    prefix = prefixes[one_of(split, "split", prefixes)]

    def read(name: str, file: IdxFile) -> np.ndarray:
        names, verified = (name, f"{name}.gz"), partial(_verified, name)
        raw = content(names, "mnist", data_dir, MIRRORS, verified)
        return np.frombuffer(raw, np.uint8, offset=file.header).reshape(file.shape)

    images, labels = (read(*item) for item in FILES.items() if item[0].startswith(prefix))
    return images, labels


def load_fashion_mnist(data_dir: StrPath | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The 60,000 training images, uint8 `(n, 28, 28)`, and labels, uint8 `(n,)`.

    Files are looked for as by `load_mnist`, compressed alone: `NAME.gz`. It raises the same.
    """

    def read(name: str, file: IdxFile) -> np.ndarray:
        verified = partial(_fashion, name)
        raw = content((name,), "fashion_mnist", data_dir, FASHION_MIRRORS, verified)
        return np.frombuffer(raw, np.uint8, offset=file.header).reshape(file.shape)

    images, labels = (read(*item) for item in FASHION_FILES.items())
    return images, labels


def _fashion(name: str, raw: bytes, where: str) -> bytes:
    """The decompressed bytes, once they are known to be Fashion-MNIST's file of this name."""
    expected = FASHION_FILES[name]
    found = hashlib.md5(raw, usedforsecurity=False).hexdigest()
    if found != expected.digest:
        raise ValueError(
            f"{where} is damaged or not Fashion-MNIST's {name}: expected MD5 {expected.digest}, "
            f"got {found}. Delete it and fetch it again."
        )
    return gzip.decompress(raw)


def _verified(name: str, raw: bytes, where: str) -> bytes:
    """The decompressed bytes, once they are known to be MNIST's file of this name."""
    expected = FILES[name]
    size = expected.header + math.prod(expected.shape)
    entries = raw
    if raw[:2] == b"\x1f\x8b":
        try:
            entries = gzip.decompress(raw)
        except (EOFError, OSError, zlib.error) as err:
            raise ValueError(
                f"{where} is damaged: expected {size:,} bytes once decompressed, but it does not "
                f"decompress ({err}). Delete it and fetch it again."
            ) from err
    found = hashlib.sha256(entries).hexdigest()
    if len(entries) != size:
        raise ValueError(
            f"{where} is truncated or not MNIST's {name}: expected {size:,} bytes (decompressed), "
            f"got {len(entries):,}. Delete it and fetch it again."
        )
    if found != expected.digest:
        raise ValueError(
            f"{where} is corrupt or not MNIST's {name}: expected SHA-256 {expected.digest} "
            f"(decompressed), got {found}. Delete it and fetch it again."
        )
    return entries
