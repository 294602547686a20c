"""The network that the examples draw with, and its images.

Without more, it is a small network of labels, trained on scikit-learn's digits in half a minute and
kept in docs/_build/network. For MNIST train one that knows classes and name its directory:

    edmjax train --config configs/mnist_classes.yaml --out runs/classes
    EDMJAX_EXAMPLE_RUN=runs/classes python docs/examples/inpainting.py
"""

import os
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import yaml

from edmjax import training

BUILD = Path(__file__).resolve().parent.parent / "_build" / "network"

CONFIG = training.Config(
    data="digits",
    out=str(BUILD),
    net=training.NetConfig(channels=[24, 48], classes=True),
    loss=training.LossConfig(sigma_data=0.75, p_mean=-0.8),
    optim=training.OptimConfig(steps=600, batch_size=64, learning_rate=4e-3, ema_decay=0.99),
)


class Example(NamedTuple):
    """What an example needs of a network."""

    denoise: Any  # denoise(x, sigma, label)
    images: jax.Array  # of the training set, (n, height, width, channels), from -1 to 1
    labels: np.ndarray
    step: float  # between neighbouring greys
    sigma_data: float
    unknown: np.int32  # the label that stands for no class


def load() -> Example:
    """The run that EDMJAX_EXAMPLE_RUN names, or the small one on digits."""
    run = Path(os.environ.get("EDMJAX_EXAMPLE_RUN", BUILD))
    if run == BUILD and not (BUILD / "weights.safetensors").exists():
        print("Training a small network on digits, once.")
        training.train(CONFIG, training.load_dataset("digits"))
    config = yaml.safe_load((run / "config.yaml").read_text())
    trained = training.load_trained(run)
    if not trained.num_classes:
        raise SystemExit(f"The network in {run} knows no classes: train one with net.classes.")
    dataset = training.load_dataset(config["data"], config["data_dir"])
    print(f"A network trained on {dataset.name}, images of {trained.image_shape}.")
    unknown = np.int32(trained.num_classes)
    sigma_data = config["loss"]["sigma_data"]
    images = dataset.scale(dataset.images[:64])
    assert dataset.largest is not None, "bits are of images of whole numbers"
    labels, step = dataset.labels[:64], 2 / dataset.largest
    return Example(trained.denoise, images, labels, step, sigma_data, unknown)
