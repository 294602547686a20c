"""What the parameters of a problem may be given as."""

from typing import TypeAlias

import numpy as np
from jaxtyping import Array, Num

Constant: TypeAlias = Num[Array | np.ndarray, "..."] | float | int | list | tuple
