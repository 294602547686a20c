"""MLP and DiT equal their equations in NumPy, start at zero, and say what they cannot be."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from support.networks import SHAPES, build, normal, small

from edmjax import nn


def float64(apply, params):
    return {name: np.asarray(a, float) for name, a in (params | apply.buffers).items()}


def swish(a):
    return a / (1 + np.exp(-a))


def dense(w, name, a):
    return a @ w[f"{name}.kernel"] + w[f"{name}.bias"]


def embedding(w, c_noise, vector):
    angles = 2 * np.pi * np.asarray(c_noise, float)[:, None] * w["conditioning.fourier.frequencies"]
    features = np.concatenate([np.sin(angles), np.cos(angles)], 1)
    told = dense(w, "conditioning.vector.1", swish(dense(w, "conditioning.vector.0", vector)))
    return swish(dense(w, "conditioning.linear", features) + told)


def test_mlp_equals_its_equations():
    apply, params = build(lambda: small("MLP", num_blocks=2, cond_vector=4))
    w, x, vector, c = (
        float64(apply, params),
        normal(0, 5, 3),
        normal(1, 5, 4),
        np.linspace(-1, 1, 5),
    )
    e = embedding(w, c, np.asarray(vector, float))
    h = dense(w, "first", np.concatenate([x, vector], axis=1).astype(float))
    for i in range(2):
        scale, shift = np.split(dense(w, f"blocks.{i}.modulate", e), 2, axis=1)
        u = swish(dense(w, f"blocks.{i}.first", swish((1 + scale) * h + shift)))
        h = h + dense(w, f"blocks.{i}.second", u)
    y = dense(w, "last", swish(h))
    found = jax.jit(apply)(params, x, np.float32(c), vector)
    np.testing.assert_allclose(found, y, rtol=1e-4, atol=1e-4)


def attention(w, name, h, context, mask, heads):
    q, k, v = (
        dense(w, f"{name}.{part}", a).reshape(*a.shape[:2], heads, -1)
        for part, a in (("query", h), ("key", context), ("value", context))
    )
    logits = np.einsum("bqhd,bkhd->bhqk", q, k) / math.sqrt(q.shape[-1])
    odds = np.exp(logits) * mask[:, None, None]
    y = np.einsum("bhqk,bkhd->bqhd", odds / odds.sum(-1, keepdims=True), v)
    return dense(w, f"{name}.out", y.reshape(h.shape))


def normalised(h):
    return (h - h.mean(-1, keepdims=True)) / np.sqrt(h.var(-1, keepdims=True) + 1e-6)


def gelu(a):
    return 0.5 * a * (1 + np.tanh(math.sqrt(2 / math.pi) * (a + 0.044715 * a**3)))


def test_dit_equals_its_equations_on_patches_with_a_masked_sequence():
    options = dict(num_blocks=2, cond_vector=4, cond_sequence=3)
    apply, params = build(lambda: small("DiT", (4, 6, 2), **options))
    w, width, heads = float64(apply, params), 8, 2
    x, c = np.asarray(normal(0, 2, 4, 6, 2), float), np.array([0.1, 0.7])
    vector, sequence = np.asarray(normal(1, 2, 4), float), np.asarray(normal(2, 2, 5, 3), float)
    mask = np.array([[1, 1, 0, 1, 0], [0, 0, 0, 0, 0]], bool)

    def waves(places, number):
        """Of each place `number` sines and cosines; 10000^(-i / number) are the frequencies."""
        angles = places[..., None] * 10000.0 ** (-np.arange(number) / number)
        return np.sin(angles), np.cos(angles)

    e = embedding(w, c, vector)
    tokens = np.zeros((2, 2, 3, 8))
    for i, j, a, b in np.ndindex(2, 3, 2, 2):
        tokens[:, i, j, 4 * a + 2 * b : 4 * a + 2 * b + 2] = x[:, 2 * i + a, 2 * j + b]
    i, j = np.mgrid[:2, :3]
    (si, ci), (sj, cj) = waves(i, 2), waves(j, 2)
    h = dense(w, "first", tokens) + np.concatenate([si, sj, ci, cj], -1)
    h = h.reshape(2, 6, width)
    context = dense(w, "context.embed", sequence) + np.concatenate(waves(np.arange(5), 4), -1)
    always = np.broadcast_to(w["context.always"], (2, 1, width))
    context, mask = (
        np.concatenate([always, context], 1),
        np.pad(mask, ((0, 0), (1, 0)), constant_values=True),
    )
    for n in range(2):
        shift1, scale1, gate1, shift2, scale2, gate2 = np.split(
            dense(w, f"blocks.{n}.modulate", e)[:, None], 6, axis=-1
        )
        u = normalised(h) * (1 + scale1) + shift1
        h = h + gate1 * attention(w, f"blocks.{n}.attention", u, u, np.ones((2, 6)), heads)
        h = h + attention(w, f"blocks.{n}.cross", normalised(h), context, mask, heads)
        u = gelu(dense(w, f"blocks.{n}.wide", normalised(h) * (1 + scale2) + shift2))
        h = h + gate2 * dense(w, f"blocks.{n}.narrow", u)
    shift, scale = np.split(dense(w, "modulate", e)[:, None], 2, axis=-1)
    h = dense(w, "last", normalised(h) * (1 + scale) + shift).reshape(2, 2, 3, 8)
    y = np.zeros(x.shape)
    for i, j, a, b in np.ndindex(2, 3, 2, 2):
        y[:, 2 * i + a, 2 * j + b] = h[:, i, j, 4 * a + 2 * b : 4 * a + 2 * b + 2]
    given = {"vector": vector, "sequence": sequence, "mask": mask[:, 1:]}
    given = {k: v if v.dtype == bool else np.float32(v) for k, v in given.items()}
    found = jax.jit(apply)(params, np.float32(x), np.float32(c), given)
    np.testing.assert_allclose(found, y, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "name, zero",
    [
        ("MLP", {"blocks.0.modulate", "blocks.0.second", "last"}),
        pytest.param(
            "DiT",
            {"blocks.0.modulate", "blocks.0.cross.out", "modulate", "last"},
            marks=pytest.mark.thorough,
        ),
    ],
)
def test_they_start_at_zero_where_the_docstrings_say(name, zero):
    @jax.jit
    def make():
        rngs = nnx.Rngs(jax.random.key(0, impl="rbg"))  # compiles in a quarter of the time
        sequence = {"cond_sequence": 2} if name == "DiT" else {}
        options = {"width": 8, "num_blocks": 1, "embed_dim": 4, **sequence}
        return nn.functional(getattr(nn, name)(SHAPES[name], **options, rngs=rngs))[1]

    params = make()
    found = {
        n.removesuffix(".kernel") for n, a in params.items() if "bias" not in n and not a.any()
    }
    assert found == zero
    assert not any(a.any() for n, a in params.items() if "bias" in n)


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["MLP", "DiT"])
def test_every_parameter_takes_part(name):
    apply, params = build(lambda: small(name, num_classes=2, cond_vector=4))
    x, cond = normal(0, 2, *SHAPES[name]), {"label": np.array([0, 1]), "vector": normal(1, 2, 4)}
    slopes = jax.jit(jax.grad(lambda p: jnp.sum(apply(p, x, 0.3, cond) ** 2)))(params)
    # A key's bias adds the same to all logits of a query, so softmax leaves it out.
    assert {n for n, g in slopes.items() if not np.abs(g).max() > 1e-4} <= {
        "blocks.0.attention.key.bias"
    }


@pytest.mark.parametrize(
    "make, says",
    [
        (lambda: nn.MLP((2, 3), rngs=nnx.Rngs(0)), r"`data_shape` must be .*\(d,\).* got \(2, 3\)"),
        (lambda: nn.MLP((0,), rngs=nnx.Rngs(0)), r"`data_shape\[0\]` must be at least 1, got 0"),
        (lambda: nn.DiT((2,), rngs=nnx.Rngs(0)), r"`data_shape` must be .*channels\).* got \(2,\)"),
        (lambda: nn.DiT((4, 1), width=6, num_heads=4, rngs=nnx.Rngs(0)), "multiple of `num_heads`"),
        (lambda: small("MLP")(jnp.ones((2, 4)), 0.0), r"vectors of shape \(3,\), got \(4,\)"),
        (lambda: small("DiT")(jnp.ones((2, 4, 1)), 0.0), r"\(height, width, 1\), got \(4, 1\)"),
    ],
)
def test_shapes_that_do_not_fit_are_a_sentence(make, says):
    with pytest.raises(ValueError, match=says):
        nnx.eval_shape(make)
