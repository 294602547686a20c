"""The types that the whole package speaks in."""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Array, Float, Float64, Key, PyTree

# A point: any pytree of floating arrays whose axis 0 counts samples. Checked with a sentence by
# what takes it, so the annotation itself asks for nothing.
X: TypeAlias = PyTree

# A noise level: a scalar, or one level a sample, broadcast from the left.
Sigma: TypeAlias = (
    Float[Array | np.ndarray, " "] | Float[Array | np.ndarray, " batch"] | float | int | np.floating
)

# One level as the host sees it: a number, or a traced scalar.
Level: TypeAlias = Any

# One typed key, or one a sample.
Keys: TypeAlias = Key[Array, "..."]

# denoise(x, sigma) or denoise(x, sigma, cond) -> E[x0 | x], or a dict with "x0" and more outputs.
Denoiser: TypeAlias = Callable[..., Any]

# net(x, c_noise) or net(x, c_noise, cond) -> F.
Network: TypeAlias = Callable[..., Any]

Number: TypeAlias = float | int | np.floating | np.integer
Levels: TypeAlias = Float64[np.ndarray, " levels"]
