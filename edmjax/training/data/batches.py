"""The batch of a step: which samples it has, and which labels are hidden."""

from functools import lru_cache

import jax.numpy as jnp
import numpy as np
from jax import random
from jaxtyping import Array, Int, Key

from edmjax._common.arguments import real


def drop_labels(
    labels: Int[Array, " batch"], key: Key[Array, ""], rate: float, num_classes: int
) -> Int[Array, " batch"]:
    """The labels, each replaced by `num_classes`, "no class", with probability `rate`.

    Source: Ho and Salimans 2022, algorithm 1.
    """
    rate = jnp.float32(real(rate, "rate", least=0, most=1))  # the draws have its dtype
    return jnp.where(random.bernoulli(key, rate, labels.shape), num_classes, labels)


def batch_indices(seed: int, step: int, batch_size: int, n: int) -> Int[np.ndarray, " batch"]:
    """The indices of the batch of a step: a pure function of its arguments.

    Every epoch is a permutation of all `n` samples drawn from `(seed, epoch)` with the Philox
    generator, and the steps read the permutations one after the other, so that every sample is
    used equally often. Training resumes from `step` alone.
    """
    positions = np.arange(step * batch_size, (step + 1) * batch_size)
    epochs, within = np.divmod(positions, n)
    return np.concatenate(
        [_permutation(seed, int(e), n)[within[epochs == e]] for e in np.unique(epochs)]
    )


@lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, n: int) -> np.ndarray:
    order = np.random.Generator(np.random.Philox(key=[seed, epoch])).permutation(n)
    return order.astype(np.int32)
