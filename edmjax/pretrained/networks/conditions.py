"""What a network is told beside the points: a timestep, classes, and more by name."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array

from edmjax._common.arguments import describe
from edmjax._common.typing import Arraylike, PyTree
from edmjax.nn.embeddings import checked_labels
from edmjax.pretrained.networks.layers import Embedding, Linear, Sinusoids, TimestepEmbedding


def levels_of(t: Arraylike, batch: int) -> Array:
    """A timestep, one or one a sample, for each of `batch` samples."""
    if np.shape(t) not in ((), (batch,)):
        raise ValueError(
            f"The timestep must be one number, or one for each of the {batch} samples, got shape "
            f"{np.shape(t)}."
        )
    return jnp.broadcast_to(jnp.asarray(t), (batch,))


def given(cond: PyTree, keys: tuple[str, ...], who: str, batch: int) -> dict[str, Array]:
    """The entries of `cond`, which must be those of `keys`, for each of `batch` samples.

    Axis 0 counts samples, or has length 1 where all samples share the entry.
    """
    needs = f"This {who} takes `cond` as a dict with " + " and ".join(map(repr, keys))
    if not keys:
        if cond is not None:
            raise ValueError(f"This {who} takes no condition: call it without `cond`.")
        return {}
    if not isinstance(cond, Mapping):
        raise ValueError(f"{needs}, got {describe(cond)}.")
    odd = [key for key in cond if key not in keys]
    missing = [key for key in keys if cond.get(key) is None]
    if odd or missing:
        what = f"it has {odd[0]!r} too" if odd else f"there is no {missing[0]!r}"
        raise ValueError(f"{needs}: {what}.")
    found = {}
    for key in keys:
        value = jnp.asarray(cond[key])
        if not value.ndim or value.shape[0] not in (1, batch):
            raise ValueError(
                f"`cond[{key!r}]` must have {batch} or 1 on axis 0, which counts samples, got "
                f"shape {value.shape}."
            )
        found[key] = jnp.broadcast_to(value, (batch, *value.shape[1:]))
    return found


def class_rows(cond: PyTree, classes: int, who: str, batch: int, dtype: Any) -> Array | None:
    """A row of `classes` numbers for each sample: 1 at its class, or zeros for no class.

    `cond` is None, for no class, or a dict with `class_labels`: whole numbers, where `classes`
    stands for no class, or the rows themselves. None where the network knows no classes.
    """
    if not classes:
        given(cond, (), who, batch)
        return None
    if cond is None:
        return jnp.zeros((batch, classes), dtype)
    labels = given(cond, ("class_labels",), who, batch)["class_labels"]
    if labels.ndim == 1 and jnp.issubdtype(labels.dtype, jnp.integer):
        return jax.nn.one_hot(checked_labels(labels, classes, batch), classes, dtype=dtype)
    if labels.shape == (batch, classes):
        return labels.astype(dtype)
    raise ValueError(
        f"`cond['class_labels']` must hold one integer a sample, or a row of {classes} numbers, "
        f"got {labels.dtype} of shape {labels.shape}."
    )


class Classes(NamedTuple):
    """How a network is told classes: `class_embed_type`, and the number of classes it has."""

    kind: str | None
    number: int | None

    @property
    def keys(self) -> tuple[str, ...]:
        """The key of the classes in `cond`, if there are any."""
        return ("class_labels",) if self.kind or self.number else ()

    def embed(self, labels: Array, module: Any, sinusoids: Sinusoids, dtype: Any) -> Array:
        """The vector that is added to the one of the timestep."""
        if self.kind is None:
            if labels.ndim != 1 or not jnp.issubdtype(labels.dtype, jnp.integer):
                raise ValueError(
                    "`cond['class_labels']` must hold one integer a sample, got "
                    f"{labels.dtype} of shape {labels.shape}."
                )
            return module(labels).astype(dtype)
        if self.kind == "timestep":
            return module(sinusoids(labels, dtype))
        labels = labels.astype(dtype)
        return labels if self.kind == "identity" else module(labels)


def class_embedding(
    classes: Classes,
    timesteps: int,
    embed: int,
    vector: int | None = None,
    *,
    activation: str = "silu",
    rngs: nnx.Rngs,
) -> nnx.Module | None:
    """The module of `class_embed_type`; `vector` is the width of what a projection is given."""
    if classes.kind is None:
        return Embedding(classes.number, embed, rngs=rngs) if classes.number else None
    if classes.kind == "timestep":
        return TimestepEmbedding(timesteps, embed, activation, rngs=rngs)
    if classes.kind == "identity":
        return None
    if vector is None:
        raise ValueError(
            f"`class_embed_type` is {classes.kind!r}, and there is no "
            "`projection_class_embeddings_input_dim`, the width of what it projects."
        )
    if classes.kind == "simple_projection":
        return Linear(vector, embed, rngs=rngs)
    return TimestepEmbedding(vector, embed, rngs=rngs)
