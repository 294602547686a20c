"""Weights of Inception at random, and images, that both sides draw by the same rule."""

from collections.abc import Mapping, Sequence

import numpy as np

IMAGES = ((2, 32, 32), (1, 299, 299), (1, 340, 150))  # number, height, width


def draw_weights(shapes: Mapping[str, Sequence[int]], seed: int = 0) -> dict[str, np.ndarray]:
    """The weights of layers whose kernels have these shapes, in the order of their names.

    Kernels are normal with variance 2 / inputs, the moments of batch norms far from 0 and 1.
    """
    rng = np.random.default_rng(seed)
    found = {}
    for name in sorted(shapes):
        outputs, *inputs = shapes[name]
        kernel = rng.normal(size=shapes[name]) * np.sqrt(2 / np.prod(inputs))
        found[f"{name}.conv.weight"] = kernel
        for part, low, high in (
            ("weight", 0.5, 1.5), ("bias", -0.2, 0.3), ("running_mean", -0.3, 0.2),
            ("running_var", 0.5, 1.5),
        ):  # fmt: skip
            found[f"{name}.bn.{part}"] = rng.uniform(low, high, outputs)
    return {name: values.astype(np.float32) for name, values in found.items()}


def draw_images(seed: int = 1) -> list[np.ndarray]:
    """Batches of bytes, (n, height, width, 3), smooth over a few pixels."""
    rng = np.random.default_rng(seed)
    coarse = [rng.integers(0, 256, (n, -(-h // 4), -(-w // 3), 3)) for n, h, w in IMAGES]
    return [
        x.repeat(4, axis=1).repeat(3, axis=2)[:, :h, :w].astype(np.uint8)
        for x, (_, h, w) in zip(coarse, IMAGES, strict=True)
    ]
