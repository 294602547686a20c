"""The trace of the denoiser's Jacobian, exactly or from products with probes.

`J = dD/dx` is the Jacobian of one sample, (d, d). The functions here return or estimate

    tr(J - shift I) = tr J - shift d

where `J` of a Gaussian with the data's standard deviation is `shift I`. The flow integrates this
trace, and only `J - shift I` contributes to the spread of a probe.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from edmjax._common.arguments import one_of, whole
from edmjax._common.trees import Flat, floating_tree
from edmjax.noise.keys import check_keys, draw_all, keys_of

TRACES = ("exact", "hutchinson", "hutch++")
LAWS = ("rademacher", "gaussian")
# Columns of an exact Jacobian that are formed at once.
_COLUMNS = 64


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Probes:
    """The vectors of an estimate, the same at every evaluation. Axis 0 counts samples.

    Attributes:
        vectors: (batch, m, d), one estimate each; None where the trace is exact.
        sketch: (batch, s, d), whose products span the space where Hutch++ is exact, or None.
        method: one of `TRACES`, or "none" where no trace is asked for.
        spread: whether vectors are scaled to one length in the rest of the space.
    """

    vectors: Any = None
    sketch: Any = None
    method: str = dataclasses.field(default="none", metadata={"static": True})
    spread: bool = dataclasses.field(default=False, metadata={"static": True})

    @property
    def width(self) -> int:
        """The number of estimates a sample."""
        if self.method in ("none", "exact"):
            return int(self.method == "exact")
        return self.vectors.shape[-2]


def make_probes(trace: Any, num_probes: Any, law: Any, key: Any, flat: Flat, batch: int) -> Probes:
    """The probes of a call, checked. Those of sample `i` depend on `(key, i)` alone."""
    one_of(trace, "trace", TRACES)
    if trace == "exact":
        return Probes(method="exact")
    if law is None:
        law = "rademacher" if trace == "hutchinson" else "gaussian"
    named = isinstance(law, str)
    if named:
        if law not in LAWS:
            raise ValueError(
                f"`probes` must be {' or '.join(map(repr, LAWS))}, or the probes themselves, got "
                f"{law!r}."
            )
        vectors = _drawn(num_probes, law, key, flat, batch)
    else:
        vectors = _given(law, flat, batch)
    count = vectors.shape[1]
    if trace == "hutchinson":
        return Probes(vectors, method=trace)
    sketched = min(count // 3, flat.dim)
    # A vector of the sketch costs two products, one to span and one for the trace on the span.
    last = count - sketched
    return Probes(
        vectors[:, sketched:last],
        vectors[:, :sketched],
        method=trace,
        spread=named and law == "gaussian",
    )


def _drawn(num_probes: Any, law: str, key: Any, flat: Flat, batch: int) -> jax.Array:
    num_probes = whole(num_probes, "num_probes")
    if key is None:
        raise ValueError(
            "An estimated trace draws probes: pass `key`, or ask for trace='exact', which costs "
            f"d = {flat.dim} products with the Jacobian an evaluation."
        )
    like = flat.like(batch)
    check_keys(key, like, batched=True)
    draws = draw_all(keys_of(key, like, True), num_probes, like)
    vectors = jnp.moveaxis(jax.vmap(flat.rows)(draws), 0, 1)
    # The sign of a normal draw is a Rademacher draw, and depends on the sample's key alone too.
    return jnp.where(vectors < 0, -1.0, 1.0).astype(flat.dtype) if law == LAWS[0] else vectors


def _given(probes: Any, flat: Flat, batch: int) -> jax.Array:
    probes = floating_tree(probes, "probes")
    like = jax.tree.leaves(flat.like(batch))
    leaves = jax.tree.leaves(probes)
    fits = jax.tree.structure(probes) == flat.treedef and len({v.shape[:1] for v in leaves}) == 1
    fits = fits and all(v.ndim > 0 and len(v) > 0 for v in leaves)
    if not fits or any(v.shape[1:] != w.shape for v, w in zip(leaves, like, strict=True)):
        raise ValueError(
            "`probes` must be 'rademacher', 'gaussian', or like `x0` with one probe or more on a "
            f"new axis 0, leaf shapes (num_probes, *shape) with shapes {[w.shape for w in like]}, "
            f"got {[v.shape for v in leaves]}."
        )
    return jnp.moveaxis(jax.vmap(flat.rows)(probes), 0, 1)


def value_and_traces(f: Any, x: jax.Array, shift: Any, probes: Probes) -> tuple[Any, Any]:
    """`f(x)`, (batch, d), and estimates of `tr(J - shift I)`, (batch, probes.width).

    `f` maps rows to rows, each row by itself, so that one product does for the whole batch.
    """
    if probes.method == "none":
        return f(x), jnp.zeros((x.shape[0], 0), x.dtype)
    if probes.method == "exact":
        value, product = jax.linearize(f, x)

        def entry(k):
            return product(jnp.zeros_like(x).at[:, k].set(1))[:, k] - shift

        dim = x.shape[1]
        entries = lax.map(entry, jnp.arange(dim), batch_size=min(dim, _COLUMNS))
        return value, jnp.sum(entries, axis=0)[:, None]
    vectors = jnp.moveaxis(probes.vectors, 1, 0)
    if probes.method == "hutchinson":
        along = jax.vmap(lambda v: jax.jvp(f, (x,), (v,)), out_axes=(None, 0))
        value, products = along(vectors)
        return value, _quadratic(vectors, products, shift).T
    value, product = jax.linearize(f, x)
    return value, _hutch_pp(jax.vmap(product), vectors, probes, shift)


def _quadratic(v: Any, product: Any, shift: Any) -> Any:
    """`v^T (J - shift I) v`, summed without matrix units, which would round the factors."""
    return jnp.sum(v * (product - shift * v), axis=-1)


def _hutch_pp(product: Any, vectors: Any, probes: Probes, shift: Any) -> Any:
    """Hutch++: exact on the space that a sketch spans, probes for the rest.

        Q = orth(J S),   tr A = tr(Q^T A Q) + E[g^T A g],   g = (I - Q Q^T) v

    Meyer et al. (2021), Algorithm 1. The right side is the trace for any Q, so Q is held constant
    in derivatives: these are unbiased too, and finite where J has a lower rank than the sketch.
    """
    sketch = jnp.moveaxis(probes.sketch, 1, 0)
    count, rest = sketch.shape[0], sketch.shape[-1] - sketch.shape[0]
    if count == 0:
        return _quadratic(vectors, product(vectors), shift).T
    basis, _ = jnp.linalg.qr(jnp.moveaxis(product(sketch), 0, 2))  # (batch, d, s)
    basis = lax.stop_gradient(basis)
    exact = lax.Precision.HIGHEST
    inside = jnp.einsum("bds,mbd->mbs", basis, vectors, precision=exact)
    outside = vectors - jnp.einsum("bds,mbs->mbd", basis, inside, precision=exact)
    if probes.spread:
        # A Gaussian vector's direction is uniform whatever its length, so all may have the same
        # length, and then a multiple of the identity has no spread: the normalisation of Epperly et
        # al. (2024).
        length = jnp.sum(outside**2, axis=-1, keepdims=True)
        outside = outside * jnp.sqrt(rest / jnp.where(length > 0, length, 1))
    both = jnp.concatenate([jnp.moveaxis(basis, 2, 0), outside])
    parts = _quadratic(both, product(both), shift)
    return (jnp.sum(parts[:count], axis=0) + parts[count:]).T
