"""Convolutions are in the form of the platform that a program is lowered for, wherever it is made.

A program that was lowered for a TPU is run here on a CPU, which XLA does as well.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import export
from jax.sharding import NamedSharding, PartitionSpec as P
from support.helpers import later

from edmjax import nn

PLATFORMS = ("cpu", "cuda", "tpu")
RNG = np.random.default_rng(0)
KERNEL, X = 0.3 * RNG.normal(size=(3, 3, 3, 3)), RNG.normal(size=(2, 7, 6, 3))


def loss(kernel, x, impl="auto"):
    """Convolutions with and without a stride, and their transposes."""
    y = nn.conv(jnp.tanh(nn.conv(x, kernel, padding=1, impl=impl)), kernel, stride=2, impl=impl)
    y = nn.conv_transpose(y, kernel, stride=2, output_padding=(1, 0), impl=impl)
    return jnp.sum(jnp.sin(nn.conv_transpose(y, kernel, impl=impl)))


def short(kernel, x, impl="auto"):
    y = nn.conv(x, kernel, stride=2, impl=impl)
    return jnp.sum(jnp.sin(nn.conv_transpose(y, kernel, stride=2, impl=impl)))


def derivatives(kernel, x, impl="auto"):
    """Of the second order, in forward mode, and of one kernel a sample."""

    def slope(kernel, x):
        return sum(jnp.sum(g**2) for g in jax.grad(loss, (0, 1))(kernel, x, impl))

    one = jax.vmap(jax.grad(loss, (0, 1)), (0, 0, None))
    return (
        jax.grad(slope, (0, 1))(kernel, x),
        jax.jvp(lambda *a: loss(*a, impl), (kernel, x), (x[0, :3, :3, :, None] * kernel, x)),
        one(jnp.stack([kernel, 2 * kernel]), jnp.stack([x, x]), impl),
    )


def lowered(f, *arguments, platforms):
    """The program as text, lowered for these platforms."""
    return str(export.export(jax.jit(f), platforms=platforms)(*arguments).mlir_module())


def operations(text):
    return {name: text.count(f"stablehlo.{name}") for name in ("convolution", "dot_general")}


@pytest.mark.parametrize("platform", PLATFORMS)
def test_one_platform_gets_its_own_form_alone(platform):
    def slopes(impl):
        return lambda kernel, x: jax.grad(loss, (0, 1))(kernel, x, impl)

    auto, lax = (lowered(slopes(i), KERNEL, X, platforms=[platform]) for i in ("auto", "lax"))
    assert "case" not in auto and "while" not in auto
    # The transpose is computed by other means, the slopes of the kernel with a stride too.
    on_cpu = operations(auto)["dot_general"] > 0
    assert on_cpu if platform == "cpu" else operations(auto) == operations(lax)


def test_the_precision_is_that_of_where_the_products_are_asked_for():
    run = jax.jit(jax.grad(short, (0, 1)))
    with jax.default_matmul_precision("highest"):
        traced = run.trace(KERNEL, X)
    text = traced.lower(lowering_platforms=("tpu",)).as_text()  # after it
    assert text.count("precision HIGHEST") == 2 * operations(text)["convolution"] > 0
    assert "precision DEFAULT" not in text


def test_one_artifact_of_all_platforms_has_the_bits_of_this_one():
    run = jax.jit(jax.grad(short, (0, 1)))
    made = export.export(run, platforms=PLATFORMS)(KERNEL, X)
    assert "case" in str(made.mlir_module())
    jax.tree.map(np.testing.assert_array_equal, made.call(KERNEL, X), run(KERNEL, X))


@pytest.mark.thorough
def test_the_form_of_a_tpu_is_the_same_function_with_the_same_derivatives(x64):
    anywhere = [export.DisabledSafetyCheck.platform()]
    run = jax.jit(derivatives, static_argnames="impl")
    made = export.export(run, platforms=["tpu"], disabled_checks=anywhere)(KERNEL, X)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9),
        made.call(KERNEL, X),
        run(KERNEL, X, impl="lax"),
    )


@pytest.mark.parametrize("where", ["shard_map", *later("explicit mesh")])
def test_where_primitives_cannot_be_taken_the_platform_chooses_too(where):
    mesh = jax.make_mesh((1,), ("data",))

    slopes = jax.grad(short, (0, 1))
    specs = (P(), P("data"))
    mapped = jax.shard_map(slopes, mesh=mesh, in_specs=specs, out_specs=specs)
    run = jax.jit(mapped if where == "shard_map" else slopes)
    with jax.set_mesh(mesh):
        arrays = [
            jax.device_put(np.float32(value), NamedSharding(mesh, spec))
            for value, spec in zip((KERNEL, X), specs, strict=True)
        ]
        want = jax.grad(lambda *a: short(*a, "lax"), (0, 1))(np.float32(KERNEL), np.float32(X))
        for got, wanted in zip(run(*arrays), want, strict=True):
            np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4)
        text = run.trace(*arrays).lower(lowering_platforms=("tpu",)).as_text()
        assert operations(text)["dot_general"] == 0 and operations(text)["convolution"] > 0
        # A condition of one branch is none.
        assert "conditional" not in run.lower(*arrays).compile().as_text()


@pytest.mark.thorough
def test_a_training_step_of_score_net_is_lowered_for_a_tpu_as_with_lax():
    x = jax.ShapeDtypeStruct((8, 28, 28, 1), jnp.float32)

    def step(impl):
        apply, params = nn.functional(
            nnx.eval_shape(lambda: nn.ScoreNet(impl=impl, rngs=nnx.Rngs(0)))
        )
        of = lambda p, x, b: jnp.sum(nn.Functional(apply.graphdef, b)(p, x, jnp.ones(8)) ** 2)  # noqa: E731
        return lowered(jax.grad(of), params, x, apply.buffers, platforms=["tpu"])

    auto, lax = map(step, ("auto", "lax"))
    assert operations(auto) == operations(lax) and "case" not in auto


@pytest.mark.thorough
@pytest.mark.parametrize(
    "kind, shape, options",
    [
        (nn.ScoreNet, (20, 18, 1), {"channels": (4, 32)}),
        (nn.UNet, (7, 8, 3), {"channels": (8, 8)}),
        (nn.MLP, (3,), {"width": 8}),
        (nn.DiT, (5, 4), {"width": 8, "num_blocks": 1}),
    ],
)
def test_a_network_and_its_slopes_take_a_symbolic_batch(kind, shape, options):
    """One file for any number of images and every platform."""

    def build():
        return kind(shape, embed_dim=8, rngs=nnx.Rngs(0), **options)

    apply, params = nn.functional(nnx.eval_shape(build))
    (batch,) = export.symbolic_shape("batch")

    def slopes(params, buffers, x):
        run = nn.Functional(apply.graphdef, buffers)
        return jax.grad(lambda p: jnp.sum(run(p, x, jnp.ones(x.shape[0])) ** 2))(params)

    x = jax.ShapeDtypeStruct((batch, *shape), jnp.float32)
    made = export.export(jax.jit(slopes), platforms=PLATFORMS)(params, apply.buffers, x)
    assert made.platforms == PLATFORMS and made.out_avals
