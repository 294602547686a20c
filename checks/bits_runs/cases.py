"""What runs start from: problems, points, keys and networks in small, the same on both sides."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bits_runs.adapter import api

BATCH = 4
IMAGE = (6, 6, 2)
# A grid short enough to compile quickly and long enough for every multistep start.
STEPS = 6


def points(shape: tuple[int, ...] = (BATCH, 2), dtype: str = "float32", scale: float = 80.0) -> Any:
    """Numbers of standard deviation `scale`, made by NumPy."""
    values = scale * np.random.default_rng(7).normal(size=shape)
    return jnp.asarray(values, dtype)


def data(shape: tuple[int, ...] = (BATCH, 2), dtype: str = "float32") -> Any:
    """Points of about the size of the data."""
    return points(shape, dtype, 0.5)


def key(number: int = 3) -> Any:
    return jax.random.key(number)


def mixture() -> Any:
    """Three modes in two dimensions."""
    means = [[1.0, 0.0], [-1.0, 0.5], [0.0, -1.0]]
    return api.problems.Mixture([0.5, 0.3, 0.2], means, [0.04, 0.09, 0.02])


def gaussian() -> Any:
    return api.problems.Gaussian([0.3, -0.2], [[0.25, 0.1], [0.1, 0.16]])


def images() -> Any:
    """A mixture of two images."""
    means = 0.5 * np.random.default_rng(1).normal(size=(2, *IMAGE))
    return api.problems.Mixture([0.6, 0.4], means, 0.05)


@jax.tree_util.register_pytree_node_class
class Tree:
    """A denoiser of a dict of two leaves that depend on each other; with `cond`, shifted."""

    def __init__(self, width: Any = 0.5):
        self.width = width

    def __call__(self, x: Any, sigma: Any, cond: Any = None) -> Any:
        shrink = 1 / (1 + (jnp.asarray(sigma) / self.width) ** 2)

        def leaf(v: Any) -> Any:
            factor = jnp.reshape(shrink, jnp.shape(shrink) + (1,) * (v.ndim - jnp.ndim(shrink)))
            return (factor * jnp.tanh(v)).astype(v.dtype)

        out = jax.tree.map(leaf, x)
        if cond is not None:
            out = jax.tree.map(
                lambda v: v + 0.1 * cond.reshape(-1, *(1,) * (v.ndim - 1)).astype(v.dtype), out
            )
        return out

    def tree_flatten(self) -> Any:
        return (self.width,), None

    @classmethod
    def tree_unflatten(cls, _: Any, children: Any) -> "Tree":
        return cls(*children)


def tree_points(dtype: str = "float32") -> Any:
    return {"a": points((BATCH, 3), dtype), "b": (points((BATCH, 2, 2, 2), dtype, 70.0),)}


def network(x: Any, c_noise: Any, cond: Any = None) -> Any:
    """A raw network without parameters, for preconditionings."""
    level = jnp.reshape(c_noise, jnp.shape(c_noise) + (1,) * (x.ndim - jnp.ndim(c_noise)))
    out = jnp.tanh(x * jnp.asarray([1.3, -0.7], x.dtype) + 0.1 * level.astype(x.dtype))
    if cond is not None:
        out = out + 0.2 * cond.astype(x.dtype).reshape(-1, *(1,) * (x.ndim - 1))
    return out


def karras(n: int = STEPS, **options: Any) -> Any:
    return api.schedules.karras(n, **options)


def plan(sampler: Any, sigmas: Any = None) -> Any:
    return api.make_plan(sampler, karras() if sigmas is None else sigmas)
