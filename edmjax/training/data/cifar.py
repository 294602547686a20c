"""CIFAR-10 from its binary archive; the other one is a pickle, which may run code when it is read.

A record of 3,073 bytes is a class and the three planes, red, green and blue, of 32x32 pixels.
Source: Krizhevsky (2009).
"""

import hashlib
import io
import tarfile

import numpy as np

from edmjax.training.data.download import content
from edmjax.training.files import StrPath

ARCHIVE = "cifar-10-binary.tar.gz"
MIRRORS = (
    "https://www.cs.toronto.edu/~kriz/",
    "https://storage.googleapis.com/s4tf-hosted-binaries/datasets/CIFAR10/",
)
# Published on https://www.cs.toronto.edu/~kriz/cifar.html.
MD5 = "c32a1d4ab5d03f1284b67883e8d87530"
FILES = tuple(f"cifar-10-batches-bin/data_batch_{i}.bin" for i in range(1, 6))
RECORDS = 10_000  # a file
SHAPE = (3, 32, 32)


def load_cifar10(data_dir: StrPath | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The 50,000 training images, uint8 `(n, 32, 32, 3)`, and labels, uint8 `(n,)`.

    With `data_dir`, the archive `cifar-10-binary.tar.gz` in it is read. Without it, the archive
    comes from `~/.cache/edmjax/cifar10` (or below `XDG_CACHE_HOME`), and is downloaded when
    missing.

    Raises:
        FileNotFoundError: the archive is missing in `data_dir`.
        OSError: the archive could not be downloaded.
        ValueError: it differs from CIFAR-10's by as much as a bit.
    """
    archive = content((ARCHIVE,), "cifar10", data_dir, MIRRORS, _verified)
    shape = (RECORDS, 1 + int(np.prod(SHAPE)))
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as files:
        parts = [
            np.frombuffer(opened.read(), np.uint8).reshape(shape)
            for opened in map(files.extractfile, FILES)
            if opened is not None
        ]
    records = np.concatenate(parts)
    planes = records[:, 1:].reshape(-1, *SHAPE)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), records[:, 0].copy()


def _verified(raw: bytes, where: str) -> bytes:
    found = hashlib.md5(raw, usedforsecurity=False).hexdigest()
    if found != MD5:
        raise ValueError(
            f"{where} is damaged or not CIFAR-10's {ARCHIVE}: expected MD5 {MD5}, got {found}. "
            "Delete it and fetch it again."
        )
    return raw
