"""MNIST from its four IDX files: read from a directory, or downloaded once, and always verified.

The decompressed content is verified, so it does not matter how a file was compressed. Source:
LeCun, Cortes and Burges; IDX is a big-endian header (two zero bytes, the type 8 for bytes, the
number of axes, then the axes) and one byte an entry.
"""

import gzip
import hashlib
import math
import os
import tempfile
import urllib.request
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from edmjax._common.arguments import one_of
from edmjax.training.files import StrPath

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)


class IdxFile(NamedTuple):
    """The content that a file must have: its axes, and the SHA-256 of its decompressed bytes."""

    shape: tuple[int, ...]
    sha256: str

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
    images, labels = (
        np.frombuffer(_content(name, data_dir), np.uint8, offset=file.header).reshape(file.shape)
        for name, file in FILES.items()
        if name.startswith(prefix)
    )
    return images, labels


def _content(name: str, data_dir: StrPath | None) -> bytes:
    """The verified bytes of a file, wherever it is."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(cache, "edmjax", "mnist") if data_dir is None else Path(data_dir)
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return _verified(name, path.read_bytes(), str(path))
    if data_dir is not None:
        raise FileNotFoundError(
            f"{folder} holds neither {name} nor {name}.gz. Point the data directory at MNIST's IDX "
            "files, or leave it out to download them."
        )
    return _download(name, folder / f"{name}.gz")


def _download(name: str, path: Path) -> bytes:
    """The verified bytes of a file from the first mirror that has them, kept at `path`."""
    failures = []
    for mirror in MIRRORS:
        url = f"{mirror}{name}.gz"
        try:
            with urllib.request.urlopen(url, timeout=60) as answer:
                packed = answer.read()
            content = _verified(name, packed, url)
        except (OSError, ValueError) as err:
            failures.append(f"{url}: {err}")
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        # Another process may do the same at once, so the name appears when the file is whole.
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            file.write(packed)
        os.replace(file.name, path)
        return content
    raise OSError(
        f"{name} could not be downloaded. {' '.join(failures)} On a machine without a network, "
        "copy MNIST's four IDX files there and pass their directory as the data directory."
    )


def _verified(name: str, raw: bytes, where: str) -> bytes:
    """The decompressed bytes, once they are known to be MNIST's file of this name."""
    expected = FILES[name]
    size = expected.header + math.prod(expected.shape)
    content = raw
    if raw[:2] == b"\x1f\x8b":
        try:
            content = gzip.decompress(raw)
        except (EOFError, OSError, zlib.error) as err:
            raise ValueError(
                f"{where} is damaged: expected {size:,} bytes once decompressed, but it does not "
                f"decompress ({err}). Delete it and fetch it again."
            ) from err
    found = hashlib.sha256(content).hexdigest()
    if len(content) != size:
        raise ValueError(
            f"{where} is truncated or not MNIST's {name}: expected {size:,} bytes (decompressed), "
            f"got {len(content):,}. Delete it and fetch it again."
        )
    if found != expected.sha256:
        raise ValueError(
            f"{where} is corrupt or not MNIST's {name}: expected SHA-256 {expected.sha256} "
            f"(decompressed), got {found}. Delete it and fetch it again."
        )
    return content
