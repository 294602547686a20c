"""Checks of the options that the networks share."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import jax.numpy as jnp
import numpy as np

from edmjax._common.arguments import whole
from edmjax._common.typing import Int

if TYPE_CHECKING:
    from jax.typing import DTypeLike

    DType: TypeAlias = DTypeLike
else:
    DType = Any  # a wrong one must reach the message of `activations`


def widths(channels: Sequence[Int]) -> tuple[int, ...]:
    """`channels`, the width of each level, of which there must be one."""
    return _wholes(channels, "channels", 1, "the widths of the levels, finest first: [32, 64]")


def counts(num_blocks: Sequence[Int]) -> tuple[int, ...]:
    """`num_blocks`, the number of blocks of each level."""
    return _wholes(num_blocks, "num_blocks", 0, "the blocks of every level: [1, 3]")


def image(image_shape: Sequence[Int]) -> tuple[int, ...]:
    """`image_shape`, `(height, width, channels)`."""
    shape = _wholes(image_shape, "image_shape", 1, "(height, width, channels): (28, 28, 1)")
    if len(shape) != 3:
        raise ValueError(f"`image_shape` must be (height, width, channels), got {shape}.")
    return shape


def data(data_shape: Sequence[Int], least: int, most: int, what: str) -> tuple[int, ...]:
    """`data_shape`, the shape of one sample, with `least` to `most` axes."""
    shape = _wholes(data_shape, "data_shape", 1, f"the shape of one sample, {what}")
    if not least <= len(shape) <= most:
        raise ValueError(f"`data_shape` must be the shape of one sample, {what}; got {shape}.")
    return shape


def activations(dtype: DType | None) -> np.dtype | None:
    """`dtype`, which must be floating, or None."""
    if dtype is None:
        return None
    try:
        floating = jnp.issubdtype(jnp.dtype(dtype), jnp.floating)
    except TypeError:
        floating = False
    if not floating:
        raise ValueError(f"`dtype` must be a floating one, such as bfloat16, got {dtype!r}.")
    return jnp.dtype(dtype)


def _wholes(values: Sequence[Int], name: str, least: int, what: str) -> tuple[int, ...]:
    if isinstance(values, str) or not hasattr(values, "__len__") or len(values) == 0:
        raise ValueError(f"`{name}` are {what}; got {values!r:.80}.")
    return tuple(whole(value, f"{name}[{i}]", least=least) for i, value in enumerate(values))
