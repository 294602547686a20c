"""What samples are compared by: features of the user's choice, or the numbers themselves."""

import os
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from edmjax._common.arguments import describe
from edmjax.evaluation.parts import Part, unrounded
from edmjax.training.data.own import look_up
from edmjax.training.data.units import Units
from edmjax.training.files import sha256
from edmjax.training.pretrained import Trained

MOST_NUMBERS = 1000  # samples of more are compared by features alone
ROWS = 250  # samples that features are taken of at once
INCEPTION = "inception="


class Features(NamedTuple):
    """A function of samples as a network makes them, `(n, ...)`, to features `(n, d)` in float64.

    Attributes:
        about: what tells these features from others: a name, and the checksum of a file.
        of: the function.
    """

    about: dict[str, str]
    of: Callable[[Float[np.ndarray, "n ..."]], Float[np.ndarray, "n d"]]

    def of_part(self, part: Part) -> Float[np.ndarray, "n d"]:
        """The features of samples of the data."""
        found = [
            self.of(part.take(np.arange(first, min(first + ROWS, len(part)))).seen())
            for first in range(0, len(part), ROWS)
        ]
        return np.concatenate(found)


def load_features(text: str | None, trained: Trained) -> Features | None:
    """The features that `text` names, for the samples of a network; None where there are none.

    - `package.module:function`, looked up from the working directory too: the function maps a batch
      of samples in the units and the shape of the data, neither rounded nor cut, to an array
      `(n, d)`.
    - `inception=FILE.safetensors`: the 2,048 features of the Fréchet inception distance, of images
      of 0 to 255 with one channel or three (`evaluation.inception`).
    - None: the numbers of a sample themselves, where there are at most `MOST_NUMBERS`.

    Raises:
        ValueError: there is no such function, or the samples are no images.
        FileNotFoundError: there is no file of Inception.
    """
    units = trained.units
    if text is None:
        if int(np.prod(trained.image_shape)) > MOST_NUMBERS:
            return None
        return Features({"features": "the numbers"}, lambda x: x.reshape(len(x), -1).astype(float))
    if text.startswith(INCEPTION):
        return _inception(text.removeprefix(INCEPTION), units, trained.image_shape)
    if ":" not in text:
        raise ValueError(
            f"--features {text}: features are a function, package.module:function, or "
            f"{INCEPTION}FILE.safetensors; a file of a classifier is for MNIST."
        )
    function = look_up(text)
    if not callable(function):
        raise ValueError(f"--features {text} must be a function, got {describe(function)}.")
    return Features({"features": text}, lambda x: _called(function, unrounded(units, x), text))


def _called(function: Any, x: np.ndarray, name: str) -> np.ndarray:
    """The features that the user's function returns, checked."""
    parts = []
    for first in range(0, len(x), ROWS):
        batch = x[first : first + ROWS]
        found = np.asarray(function(batch))
        if found.ndim != 2 or len(found) != len(batch) or found.dtype.kind not in "biuf":
            raise ValueError(
                f"{name} must map a batch of shape {batch.shape} to features ({len(batch)}, d), "
                f"got {describe(found)}."
            )
        parts.append(found.astype(np.float64))
    return np.concatenate(parts)


def _inception(
    path: str | os.PathLike[str], units: Units | None, shape: tuple[int, ...]
) -> Features:
    from edmjax.evaluation.inception import load_inception

    if len(shape) != 3 or shape[-1] not in (1, 3) or (units is not None and not units.whole):
        raise ValueError(
            "--features inception=FILE is for images of whole numbers with one channel or three, "
            f"and these samples are {units or f'of shape {shape}'}: pass a function of your own, "
            "package.module:function."
        )
    low, high = (-1, 1) if units is None else (units.low or 0, units.high or 0)
    inception = load_inception(path)

    def of(x: np.ndarray) -> np.ndarray:
        values = x if units is None else np.asarray(x, np.float64) * units.width + units.shift
        grey = (values - low) * (255 / (high - low))
        return inception(np.clip(grey, 0, 255).astype(np.float32)).astype(np.float64)

    return Features({"features": "inception", "sha256": sha256(path)}, of)
