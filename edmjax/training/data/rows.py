"""Samples that are read from their files when they are asked for, and what fits into memory."""

import os
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Shaped

from edmjax._common.arguments import one_of

IN_MEMORY = ("auto", "yes", "no")
# The share of the free memory that data may take: on the way to the device there are two of them.
SHARE = 1 / 3


class Rows:
    """Samples on axis 0, read when they are asked for: `rows[indices]` and `rows[3:7]` are arrays.

    A class of one kind of files says how one sample is read. Several threads may read at once.

    Attributes:
        shape: with the number of samples first.
        dtype: of the samples.
    """

    def __init__(self, shape: tuple[int, ...], dtype: object):
        self.shape: tuple[int, ...] = shape
        self.dtype: np.dtype = np.dtype(dtype)  # pyright: ignore[reportArgumentType, reportCallIssue]

    def read(self, index: int) -> Shaped[np.ndarray, "..."]:
        """The sample at this index."""
        raise NotImplementedError

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[np.ndarray]:
        return map(self.read, range(len(self)))

    def __getitem__(self, which: object) -> Shaped[np.ndarray, "..."]:
        if isinstance(which, int | np.integer):
            return self.read(int(which))
        chosen = np.arange(len(self))[which]  # pyright: ignore[reportArgumentType, reportCallIssue]
        found = np.empty((*chosen.shape, *self.shape[1:]), self.dtype)
        for place in np.ndindex(chosen.shape):
            found[place] = self.read(int(chosen[place]))
        return found

    def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
        return np.asarray(self[:], dtype)  # pyright: ignore[reportArgumentType, reportCallIssue]


def fits(nbytes: int, in_memory: str | None) -> bool:
    """Whether data of so many bytes are to lie in memory: as told, or where they take little of it.

    `in_memory` is "yes", "no" or "auto", which None stands for.
    """
    in_memory = "auto" if in_memory is None else one_of(in_memory, "data_in_memory", IN_MEMORY)
    return in_memory == "yes" or (in_memory == "auto" and nbytes <= SHARE * _free())


def _free() -> float:
    """Bytes that neither the host nor the first device has given away."""
    stats = jax.local_devices()[0].memory_stats() or {}
    device = stats.get("bytes_limit", np.inf) - stats.get("bytes_in_use", 0)
    try:
        words = Path("/proc/meminfo").read_text().split()
        host = 1024.0 * int(words[words.index("MemAvailable:") + 1])
    except (OSError, ValueError):  # not Linux: half of what there is
        host = np.inf
        if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
            host = 0.5 * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return float(min(device, host))
