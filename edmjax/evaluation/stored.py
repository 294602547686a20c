"""The classifier in the cache: trained once, and never another one under the same name."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from flax import nnx

from edmjax.evaluation.classifier import Classifier, Judge
from edmjax.evaluation.classifier_training import SEED, train_classifier
from edmjax.nn.functional import functional
from edmjax.training.checkpoints import load_weights, save_weights
from edmjax.training.mnist import load_mnist

NAME = "mnist_classifier.safetensors"
LEAST_ACCURACY = 0.99


def cache_path() -> Path:
    """`~/.cache/edmjax/mnist_classifier.safetensors`, or below `XDG_CACHE_HOME`."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "edmjax" / NAME


def load_classifier(path: str | os.PathLike) -> Judge:
    """The classifier of a file with the checksum that is recorded beside it.

    `FileNotFoundError` where one of the two is missing; `ValueError` where the file is not the one
    that was recorded, or holds another network.
    """
    path, beside = Path(path), checksum_path(path)
    for file in (path, beside):
        if not file.is_file():
            raise FileNotFoundError(
                f"There is no {file}: run scripts/train_classifier.py to train the classifier."
            )
    recorded, found = beside.read_text().split()[:1], sha256(path)
    if recorded != [found]:
        raise ValueError(
            f"{path} is not the classifier that was trained here: its SHA-256 is {found}, and "
            f"{beside.name} has {' '.join(recorded) or 'nothing'}. Figures of two classifiers do "
            "not compare: delete both files and run scripts/train_classifier.py."
        )
    arrays, config = load_weights(path)
    apply, expected = functional(nnx.eval_shape(lambda: Classifier(rngs=nnx.Rngs(SEED))))
    shapes = {name: array.shape for name, array in arrays.items()}
    if shapes != {name: array.shape for name, array in expected.items()}:
        raise ValueError(
            f"{path} holds the classifier of another version: delete it and {beside.name}, and run "
            "scripts/train_classifier.py."
        )
    return Judge(apply, arrays, found, float(config["test_accuracy"]))


def make_classifier(
    path: str | os.PathLike,
    data_dir: str | os.PathLike | None = None,
    *,
    train: Callable[..., Any] = train_classifier,
) -> Judge:
    """The classifier, trained on MNIST, tested and written with its checksum.

    `ValueError`, and nothing written, where fewer than 99 % of the test images are classed rightly.
    """
    images, labels = load_mnist(data_dir)
    apply, params = train(images[..., None], labels.astype(np.int32))
    images, labels = load_mnist(data_dir, split="test")
    judge = Judge(apply, params, "", 0.0)
    classes = judge(scaled(images)).probabilities.argmax(axis=1)
    accuracy = float(np.mean(classes == labels))
    if accuracy < LEAST_ACCURACY:
        raise ValueError(
            f"The classifier is right on {accuracy:.2%} of the test images and must be on "
            f"{LEAST_ACCURACY:.0%}: it was not written. Train it with its own number of steps."
        )
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # A checksum without its file, or with an older one, is refused, and so is a file without.
    checksum_path(path).unlink(missing_ok=True)
    save_weights(path, params, {"classifier": "mnist", "test_accuracy": accuracy})
    checksum_path(path).write_text(f"{sha256(path)}  {path.name}\n")
    return load_classifier(path)


def find_classifier(path: str | os.PathLike, data_dir: str | os.PathLike | None = None) -> Judge:
    """The classifier of a file, trained first where neither it nor its checksum is there."""
    if not Path(path).exists() and not checksum_path(path).exists():
        return make_classifier(path, data_dir)
    return load_classifier(path)


def checksum_path(path: str | os.PathLike) -> Path:
    """Where the checksum of a file lies, as `sha256sum` writes and checks it."""
    return Path(f"{path}.sha256")


def sha256(path: str | os.PathLike) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def scaled(images: Any) -> np.ndarray:
    """Images (n, 28, 28) of 0 to 255 as networks see them: (n, 28, 28, 1) from -1 to 1, float32."""
    return (np.asarray(images)[..., None].astype(np.float32)) * np.float32(2 / 255) - np.float32(1)
