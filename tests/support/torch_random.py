"""The normal numbers of `torch.randn` after `torch.manual_seed` on a CPU, in NumPy.

PyTorch seeds a Mersenne twister as NumPy's `RandomState` does, and takes the lower 24 bits of each
number as a float in [0, 1). Sixteen of them at a time become normal by the polar formula of Box and
Muller: the first eight give the radii, the others the angles.
"""

from collections.abc import Iterator

import numpy as np


def normals(seed: int, shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    """Draws of one shape, whose number of entries is a multiple of 16, float32."""
    twister = np.random.RandomState(seed)
    size = int(np.prod(shape))
    assert size % 16 == 0
    while True:
        bits = twister.randint(0, 2**32, size, dtype=np.uint64).astype(np.uint32)
        uniform = (bits & np.uint32(2**24 - 1)).astype(np.float32) * np.float32(2**-24)
        first, second = uniform.reshape(-1, 2, 8).swapaxes(0, 1)
        radius = np.sqrt(-2 * np.log(1 - first))
        angle = np.float32(2 * np.pi) * second
        pair = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
        yield pair.reshape(shape)
