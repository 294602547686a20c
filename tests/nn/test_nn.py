"""Networks: layers equal their definitions in both forms, sizes, parameters, functional use."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from support.helpers import later
from support.networks import NETWORKS, SHAPES, SMALL, build, normal

import edmjax as ej
from edmjax import nn
from edmjax.nn.layers import Linear


def conv_by_loops(x, kernel, stride):
    size = kernel.shape[0]
    height, width = ((n - size) // stride + 1 for n in x.shape[1:3])
    y = np.zeros((x.shape[0], height, width, kernel.shape[3]))
    for i in range(height):
        for j in range(width):
            window = x[:, stride * i : stride * i + size, stride * j : stride * j + size]
            y[:, i, j] = np.einsum("bhwc,hwcd->bd", window, kernel)
    return y


@pytest.mark.parametrize("stride, padding", [(1, 0), (1, 1), (2, 0), (3, 1)])
def test_conv_equals_its_definition_in_every_form(stride, padding):
    x, kernel = normal(0, 2, 7, 6, 3), normal(1, 3, 3, 3, 4)
    padded = np.pad(np.asarray(x, float), ((0, 0), (padding,) * 2, (padding,) * 2, (0, 0)))
    expected = conv_by_loops(padded, np.asarray(kernel, float), stride)
    for impl in ("lax", "matmul", "auto"):
        y = nn.conv(x, kernel, stride=stride, padding=padding, impl=impl)
        np.testing.assert_allclose(y, expected, atol=1e-5)


@pytest.mark.parametrize(
    "stride, extra", [(1, (0, 0)), (2, (0, 0)), (2, (1, 0)), (3, (2, 1)), (4, (0, 3))]
)
def test_conv_transpose_is_the_adjoint_of_conv_in_every_form(stride, extra):
    """`<conv(x), y> = <x, conv_transpose(y)>` for all x and y, with the kernel's axes swapped."""
    y, kernel = normal(0, 2, 3, 2, 4), normal(1, 3, 3, 3, 4)
    shape = tuple(stride * (n - 1) + 3 + e for n, e in zip((3, 2), extra, strict=True))
    x = np.asarray(normal(2, 2, *shape, 3), float)
    forward = np.sum(conv_by_loops(x, np.asarray(kernel, float), stride) * np.asarray(y))
    for impl in ("lax", "matmul", "auto"):
        back = nn.conv_transpose(
            y, kernel.swapaxes(2, 3), stride=stride, output_padding=extra, impl=impl
        )
        assert back.shape == (2, *shape, 3)
        np.testing.assert_allclose(np.sum(x * np.asarray(back)), forward, rtol=1e-5)


@pytest.mark.slow
def test_all_forms_are_one_function_with_the_same_gradients():
    x, shape = normal(0, 2, 18, 17, 2), (18, 17, 2)
    results = []
    for impl in ("lax", "matmul", "auto"):
        options = dict(channels=(4, 4, 4, 4), embed_dim=4, impl=impl)
        apply, params = build(lambda o=options: nn.ScoreNet(shape, **o, rngs=nnx.Rngs(0)))

        @jax.jit
        def both(params, x, apply=apply):
            out, pull = jax.vjp(lambda p, x: apply(p, x, 0.3), params, x)
            return out, pull(jnp.cos(out) / out.size)

        results.append(both(params, x))
    for other in results[1:]:
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), results[0], other)


@pytest.mark.parametrize("stride", [*later(1), 2, *later(3)])
@pytest.mark.parametrize("transposed", [False, True])
def test_derivatives_of_any_kind_on_a_cpu_are_those_of_xla(x64, stride, transposed):
    """Second derivatives, forward mode, vmap over either input."""
    x, kernel = (v.astype(np.float64) for v in (normal(0, 2, 6, 5, 3), normal(1, 3, 3, 3, 4)))

    def ours(x, k, impl="auto"):
        if transposed:  # an output padding of 1: rows that no input reaches where the stride is 3
            extra = (min(stride - 1, 1), 0)
            return nn.conv_transpose(x, k, stride=stride, output_padding=extra, impl=impl)
        return nn.conv(x, k, stride=stride, padding=1, impl=impl)

    name = "edmjax_spread" if transposed and stride > 1 else "edmjax_convolve"
    assert name in str(jax.make_jaxpr(ours)(x, kernel))

    def derivatives(f):
        def size(x, k):
            return jnp.sum(jnp.sin(f(x, k)))

        def slope(x, k):
            return sum(jnp.sum(jnp.square(g)) for g in jax.grad(size, (0, 1))(x, k))

        twice = jnp.stack([kernel, 2 * kernel])
        return (
            jax.grad(slope, (0, 1))(x, kernel),
            jax.jvp(f, (x, kernel), (2 * x, kernel)),
            jax.vmap(f, (None, 0))(x, twice),
            jax.vmap(f, (1, None), 1)(x[:, None].repeat(2, 1), kernel),
            jax.vmap(jax.grad(size, 1), (None, 0))(x, twice),
            jax.vmap(jax.grad(size, (0, 1)))(x[:, None], kernel[None].repeat(2, 0)),
        )

    def compare(f, g):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9),
            jax.jit(derivatives, static_argnums=0)(f),
            jax.jit(derivatives, static_argnums=0)(g),
        )

    compare(ours, lambda x, k: ours(x, k, "lax"))


def test_no_convolution_in_a_loop_has_a_layout_that_xla_is_slow_with():
    """Channels last and kernels HWIO, in every derivative: others take a hundred times as long."""

    def loss(kernel, x):
        y = nn.conv(jnp.tanh(nn.conv(x, kernel, padding=1)), kernel, stride=2)
        return jnp.sum(jnp.square(nn.conv_transpose(y, kernel, stride=2)))

    text = jax.jit(jax.grad(loss, (0, 1))).lower(jnp.ones((3, 3, 4, 4)), jnp.ones((2, 6, 6, 4)))
    layouts = re.findall(r"convolution.* dim_numbers = (.*?), window", text.as_text())
    assert layouts == ["[b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]"] * 5


def test_unknown_impl_is_a_sentence():
    with pytest.raises(ValueError, match="`impl` must be 'auto', 'lax' or 'matmul', got 'torch'"):
        nn.conv(normal(0, 1, 3, 3, 1), normal(1, 3, 3, 1, 1), impl="torch")


def test_score_net_has_the_parameters_of_the_tutorial():
    net = nnx.eval_shape(lambda: nn.ScoreNet(rngs=nnx.Rngs(0)))
    _, params = nn.functional(net)
    assert sum(p.size for p in params.values()) == 1_115_297


def group_norm(h, groups, scale, bias):
    b, height, width, c = h.shape
    g = h.reshape(b, height, width, groups, c // groups)
    mean, var = g.mean((1, 2, 4), keepdims=True), g.var((1, 2, 4), keepdims=True)
    return ((g - mean) / np.sqrt(var + 1e-5)).reshape(h.shape) * scale + bias


def test_score_net_equals_the_tutorial_written_in_numpy():
    """Level by level in float64, transposed convolutions as sums over inputs."""
    options = dict(channels=(4, 8, 8, 16), embed_dim=8)
    apply, params = build(lambda: nn.ScoreNet((19, 18, 1), **options, rngs=nnx.Rngs(0)))
    w = {name: np.asarray(a, float) for name, a in (params | apply.buffers).items()}
    x, t = normal(0, 2, 19, 18, 1), jnp.array([0.2, 0.9])

    def act(a):
        return a / (1 + np.exp(-a))

    def conv_transpose(h, kernel, stride, shape):
        y = np.zeros((h.shape[0], *shape, kernel.shape[3]))
        for i in range(h.shape[1]):
            for j in range(h.shape[2]):
                part = np.einsum("bc,hwcd->bhwd", h[:, i, j], kernel)
                y[:, stride * i : stride * i + 3, stride * j : stride * j + 3] += part
        return y

    def finish(h, name, groups):
        dense = embed @ w[f"{name}.dense.kernel"] + w[f"{name}.dense.bias"]
        scale, bias = w[f"{name}.norm.scale"], w[f"{name}.norm.bias"]
        return act(group_norm(h + dense[:, None, None], groups, scale, bias))

    angles = 2 * np.pi * np.asarray(t, float)[:, None] * w["conditioning.fourier.frequencies"]
    fourier = np.concatenate([np.sin(angles), np.cos(angles)], 1)
    embed = act(fourier @ w["conditioning.linear.kernel"] + w["conditioning.linear.bias"])
    h, skips = np.asarray(x, float), []
    for level, groups in enumerate((4, 8, 8, 16)):
        h = conv_by_loops(h, w[f"down.{level}.layer.kernel"], 2 if level else 1)
        h = finish(h, f"down.{level}", groups)
        skips.append(h)
    for level, groups in enumerate((8, 8, 4)):
        skip = skips[2 - level]
        h = conv_transpose(h, w[f"up.{level}.layer.kernel"], 2, skip.shape[1:3])
        h = np.concatenate([finish(h, f"up.{level}", groups), skip], -1)
    h = conv_transpose(h, w["last.kernel"], 1, (19, 18)) + w["last.bias"]
    np.testing.assert_allclose(jax.jit(apply)(params, x, t), h, atol=1e-4)


@pytest.mark.parametrize("size", [(1, 3), (8, 8), (17, 17), (28, 28), (16, 30), (32, 31)])
def test_score_net_keeps_every_size(size):
    net = nnx.eval_shape(
        lambda: nn.ScoreNet((*size, 3), channels=(4, 8, 8, 8), embed_dim=8, rngs=nnx.Rngs(0))
    )
    out = nnx.eval_shape(lambda n, x: n(x, 0.0), net, jnp.ones((2, *size, 3)))
    assert out.shape == (2, *size, 3)


@pytest.mark.thorough
def test_score_net_pads_sides_that_are_too_short():
    """Two levels need 5 pixels: a side of 2 gets one zero before and two after."""
    apply, params = build(
        lambda: nn.ScoreNet((2, 6, 1), channels=(4, 8), embed_dim=8, rngs=nnx.Rngs(0))
    )
    short = jnp.asarray(normal(1, 2, 2, 6, 1))
    long = jnp.zeros((2, 5, 6, 1), short.dtype).at[:, 1:3].set(short)
    run = jax.jit(lambda params, x: apply(params, x, 0.3))
    out = run(params, short)
    np.testing.assert_allclose(out, run(params, long)[:, 1:3], atol=1e-5)
    assert out.shape == short.shape and np.abs(out).min() > 0


@pytest.mark.parametrize(
    "build, shape, needs",
    [
        (nn.ScoreNet, (8, 1), "must be .height, width, channels., got"),
        (nn.UNet, (8, 1), "must be .height, width, channels., got"),
    ],
)
def test_sizes_that_cannot_work_are_a_sentence(build, shape, needs):
    with pytest.raises(ValueError, match=needs):
        build(shape, rngs=nnx.Rngs(0))
    small = nnx.eval_shape(lambda: nn.UNet((8, 8, 1), channels=(4, 8), rngs=nnx.Rngs(0)))
    with pytest.raises(ValueError, match=r"got \(8, 8, 3\)"):
        small(jnp.ones((1, 8, 8, 3)), 0.0)


@pytest.fixture(scope="module")
def unet():
    """A tiny U-Net, its function compiled, with parameters that are nowhere zero."""
    return build(lambda: nn.UNet((4, 4, 2), channels=(4, 8), embed_dim=8, rngs=nnx.Rngs(0)))


@jax.jit
def run(apply, params, x, c_noise, cond=None):
    return apply(params, x, c_noise, cond)


def test_unet_starts_at_zero():
    @jax.jit
    def make():
        rngs = nnx.Rngs(jax.random.key(0, impl="rbg"))  # compiles in a quarter of the time
        return nn.functional(nn.UNet((4, 4, 1), channels=(4, 8), embed_dim=8, rngs=rngs))

    apply, params = make()
    assert not run(apply, params, normal(0, 2, 4, 4, 1), 0.0).any()
    # Otherwise nothing starts at zero but biases and what the docstring names.
    zero = {name for name, array in params.items() if not array.any() and "bias" not in name}
    assert {name.split(".")[-2] for name in zero} == {"conv2", "modulate", "out", "last"}


def test_unet_levels_and_blocks_change_no_shape():
    for channels, blocks in [((4,), 1), ((4, 8, 8), 2)]:
        build = dict(channels=channels, num_blocks=blocks, embed_dim=8)
        net = nnx.eval_shape(lambda b=build: nn.UNet((8, 4, 3), **b, rngs=nnx.Rngs(0)))
        out = nnx.eval_shape(lambda n, x: n(x, 0.0), net, jnp.ones((2, 8, 4, 3)))
        assert out.shape == (2, 8, 4, 3)


def test_a_scalar_level_is_one_level_a_sample(unet):
    apply, params = unet
    x = normal(0, 3, 4, 4, 2)
    one, each = run(apply, params, x, 0.5), run(apply, params, x, jnp.full(3, 0.5))
    np.testing.assert_allclose(one, each, atol=1e-6)
    other = run(apply, params, x, jnp.array([0.5, 0.5, 1.5]))
    np.testing.assert_allclose(other[:2], one[:2], atol=1e-6)
    assert jnp.abs(other[2] - one[2]).max() > 1e-3


def test_frequencies_are_a_buffer_and_everything_else_is_trained(unet):
    apply, params = unet
    assert list(apply.buffers) == ["conditioning.fourier.frequencies"]
    assert not set(apply.buffers) & set(params)
    grad = jax.jit(jax.grad(lambda p: jnp.sum(apply(p, normal(0, 2, 4, 4, 2), 0.3) ** 2)))
    assert not {name for name, g in grad(params).items() if not jnp.any(g)}


def test_module_functional_and_bound_network_make_the_same_denoiser(unet):
    apply, params = unet
    x, sigma = normal(0, 2, 4, 4, 2), 0.7
    denoise = jax.jit(lambda net: ej.denoisers.edm(net)(x, sigma))
    np.testing.assert_array_equal(denoise(apply.merge(params)), denoise(apply.bind(params)))


def test_parameters_travel_as_arguments_and_compile_once(unet):
    apply, params = unet
    traces = []

    @jax.jit
    def denoise(net, x):
        traces.append(1)
        return ej.denoisers.edm(net)(x, 1.0)

    x = normal(0, 2, 4, 4, 2)
    first = denoise(apply.bind(params), x)
    second = denoise(apply.bind({n: 1.1 * a for n, a in params.items()}), x)
    other, other_params = build(
        lambda: nn.UNet((4, 4, 2), channels=(4, 8), embed_dim=8, rngs=nnx.Rngs(5)), seed=1
    )
    denoise(other.bind(other_params), x)
    assert len(traces) == 1
    assert jnp.abs(first - second).max() > 1e-4


def test_a_plan_runs_the_network_inside_one_scan(unet):
    apply, params = unet
    plan = ej.make_plan(ej.samplers.heun(), ej.schedules.karras(3))
    x = 80.0 * normal(0, 2, 4, 4, 2)
    sample = jax.jit(lambda net, x: ej.sample(ej.denoisers.edm(net), plan, x))
    out = sample(apply.bind(params), x)
    assert out.shape == x.shape
    assert jnp.isfinite(out).all()


@pytest.mark.parametrize("name", ["MLP", *later(*NETWORKS[1:])])
def test_the_sampler_holds_one_copy_of_a_network(name):
    apply, params = nn.functional(nnx.eval_shape(SMALL[name]))
    plan = ej.make_plan(ej.samplers.heun(), ej.schedules.karras(3))
    x = jax.ShapeDtypeStruct((2, *SHAPES[name]), jnp.float32)

    def sample(buffers, params, x):
        net = nn.Functional(apply.graphdef, buffers).bind(params)
        return ej.sample(ej.denoisers.edm(net), plan, x)

    text = jax.jit(sample).lower(apply.buffers, params, x).as_text()
    assert text.count("stablehlo.cosine") == 1  # of the noise level's features, and nothing else


def test_classes_condition_and_no_class_is_the_last_label():
    options = dict(channels=(4,), embed_dim=8, num_classes=3)
    apply, params = build(lambda: nn.UNet((4, 4, 1), **options, rngs=nnx.Rngs(0)))
    x = jnp.repeat(normal(0, 1, 4, 4, 1), 2, axis=0)
    labelled = run(apply, params, x, 0.0, jnp.array([0, 2]))
    assert jnp.abs(labelled[0] - labelled[1]).max() > 1e-4
    none = run(apply, params, x, 0.0)
    np.testing.assert_allclose(none, run(apply, params, x, 0.0, jnp.array([3, 3])), atol=1e-6)


def test_a_class_for_a_network_without_classes_is_a_sentence(unet):
    apply, params = unet
    with pytest.raises(ValueError, match="knows no classes"):
        apply(params, normal(0, 2, 4, 4, 2), 0.0, jnp.zeros(2, int))


def test_group_norm_keeps_its_digits_where_the_mean_is_large():
    net = nn.UNet((4, 4, 1), channels=(4,), num_blocks=0, embed_dim=8, rngs=nnx.Rngs(0))
    y = net.norm(1e4 + normal(0, 1, 4, 4, 4))
    assert abs(float(y.std()) - 1) < 0.05


def test_patch_unet_is_a_unet_of_patches():
    """One level, no second patch: the first convolution, blocks and the last, on 2x2 patches."""

    def make():
        return nn.PatchUNet((4, 6, 1), channels=[8], num_blocks=[1], embed_dim=4, rngs=nnx.Rngs(0))

    @jax.jit
    def by_parts(apply, params, patches):
        module = apply.merge(params)
        y = module.middle[0](module.first(patches), module.conditioning(2, 0.3))
        return module.last(nnx.swish(module.norm(y)))

    (apply, params), x = build(make), normal(99, 2, 4, 6, 1)
    patches = np.zeros((2, 2, 3, 4), np.float32)
    for i, j, a, b in np.ndindex(2, 3, 2, 2):
        patches[:, i, j, 2 * a + b] = x[:, 2 * i + a, 2 * j + b, 0]
    y = np.asarray(by_parts(apply, params, patches))
    expected = np.zeros(x.shape)
    for i, j, a, b in np.ndindex(2, 3, 2, 2):
        expected[:, 2 * i + a, 2 * j + b, 0] = y[:, i, j, 2 * a + b]
    found = jax.jit(lambda apply, params: apply(params, x, 0.3))(apply, params)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.thorough
def test_patch_unet_has_the_blocks_it_is_asked_for():
    options = dict(channels=[4, 8, 12], num_blocks=[3, 2, 3], embed_dim=4)

    def make():
        return nn.PatchUNet((16, 8, 3), **options, rngs=nnx.Rngs(0))

    @jax.jit
    def run(apply, params, x):
        y, pull = jax.vjp(lambda params: apply(params, x, 0.3), params)
        return y, *pull(jnp.cos(y))

    net = nnx.eval_shape(make)
    assert [len(level) for level in (*net.down, net.middle, *net.up)] == [1, 1, 3, 2, 1]
    x = normal(0, 2, 16, 8, 3)
    # Of all arrays only these are compiled for.
    final = jax.jit(lambda: [v for k, v in nn.functional(make())[1].items() if k[:5] == "last."])()
    assert len(final) == 2 and not any(map(np.any, final)), "the last layer starts at zero"
    apply, params = build(make)
    y, slopes = run(apply, params, x)
    assert y.shape == x.shape and np.all(np.abs(y - y.mean()) > 0)
    assert all(np.any(slope != 0) for slope in slopes.values()), "every parameter takes part"
    with pytest.raises(ValueError, match=r"for images \(height, width, 3\), got \(16, 8, 2\)"):
        apply(params, x[..., :2], 0.3)
    with pytest.raises(ValueError, match=r"as long as channels: got \[1\] for \[4, 8\]"):
        nn.PatchUNet((8, 8, 1), channels=[4, 8], num_blocks=[1], rngs=nnx.Rngs(0))


LAYERS = ("dot_general", "conv_general_dilated", "edmjax_convolve", "edmjax_spread")


def equations(jaxpr):
    """The name of each operation and the dtypes of its inputs, those within others too."""
    for equation in jaxpr.eqns:
        yield equation.primitive.name, [v.aval.dtype for v in equation.invars]
        for inner in jax.tree.leaves(equation.params, is_leaf=lambda v: hasattr(v, "jaxpr")):
            if hasattr(inner, "jaxpr"):
                yield from equations(inner.jaxpr)


@pytest.mark.parametrize("name", later(*NETWORKS, mark=pytest.mark.slow))
def test_bfloat16_is_for_the_activations_alone(name):
    """All layers compute in it; the gradients are float32, and as near float32's as rounding is.

    That is: as near as those at parameters and images that were rounded to it, of float32 layers.
    """
    shape = (20, 20, 1) if len(SHAPES[name]) == 3 else SHAPES[name]
    images = name in ("EDM2UNet", "PatchUNet", "ScoreNet", "UNet")
    options = dict(channels=(8, 8), embed_dim=8) if images else dict(width=16, embed_dim=8)
    options |= {"num_blocks": (2, 1)} if "Patch" in name else {}
    x, slopes = normal(0, 2, *shape), []
    for dtype in (None, "bfloat16"):
        apply, params = build(
            lambda d=dtype: getattr(nn, name)(shape, **options, dtype=d, rngs=nnx.Rngs(0))
        )

        def loss(params, x, apply=apply):
            y = apply(params, x, 0.3)
            assert y.dtype == jnp.float32
            return jnp.mean(jnp.square(y))

        slopes.append(jax.jit(jax.grad(loss)))
        found = [e for e in equations(jax.make_jaxpr(loss)(params, x).jaxpr) if e[0] in LAYERS]
        layers = [dtypes for kind, dtypes in found if not images or kind != "dot_general"]
        assert len(layers) > 3
        # The embedding of the noise level is float32.
        others = sum(set(dtypes) != {jnp.dtype(dtype or "float32")} for dtypes in layers)
        assert others == (dtype is not None and not images)

    def rounded(tree):
        return jax.tree.map(lambda v: jnp.asarray(v, jnp.bfloat16).astype(jnp.float32), tree)

    ratios = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        params = {k: np.float32(0.3 * rng.normal(size=v.shape)) for k, v in params.items()}
        found = slopes[0](params, x), slopes[1](params, x), slopes[0](*rounded((params, x)))
        assert {v.dtype for v in found[1].values()} == {jnp.dtype("float32")}
        exact, got, nearby = (np.concatenate([v.ravel() for v in g.values()]) for g in found)
        assert not np.array_equal(got, exact)
        ratios.append(np.linalg.norm(got - exact) / np.linalg.norm(nearby - exact))
    assert np.median(ratios) < 2


@pytest.mark.parametrize("make", [nn.Conv, nn.ConvTranspose, "linear"])
def test_a_bias_in_bfloat16_has_the_gradient_of_all_pixels(make):
    """4,096 of them: a sum in bfloat16 would stand still at 256."""
    if make == "linear":
        layer = Linear(1, 1, dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    else:
        layer = make(1, 1, size=1, dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    slope = nnx.grad(lambda layer: layer(jnp.ones((1, 64, 64, 1))).astype(jnp.float32).sum())(layer)
    assert slope.bias[...].dtype == jnp.float32 and slope.bias[...].tolist() == [4096.0]


def test_every_module_of_the_room_is_in_the_table_above():
    modules = {
        name
        for name in nn.__all__
        if isinstance(made := getattr(nn, name), type) and issubclass(made, nnx.Module)
    }
    assert modules == set(SMALL)


@pytest.mark.parametrize("name", SMALL)
def test_parameters_are_float32_whatever_x64(x64, name):
    """As those of flax's own layers are, whose `param_dtype` is float32."""
    options = {"num_classes": 3, "cond_vector": 2} if name in NETWORKS else {}
    arrays = jax.tree.leaves(nnx.state(nnx.eval_shape(lambda: SMALL[name](**options))))
    assert arrays and {array.dtype for array in arrays} == {jnp.dtype("float32")}


@pytest.mark.thorough
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("dtype", [None, "bfloat16"])
def test_a_float32_image_meets_no_float64_under_x64(x64, name, dtype):
    """Neither the output nor the gradients of image and parameters hold a float64 value."""
    make, widths = SMALL[name], {"num_classes": 3, "cond_vector": 2}
    given = {"label": np.zeros(2, np.int32), "vector": np.ones((2, 2))}
    if name == "DiT":
        widths["cond_sequence"], given["sequence"] = 2, np.ones((2, 3, 2))
    if name != "MLP":
        widths["cond_image"], given["image"] = 2, np.ones((1, 4, 4, 2))
    apply, params = nn.functional(nnx.eval_shape(lambda: make(**widths, dtype=dtype)))
    x = jax.ShapeDtypeStruct((2, *SHAPES[name]), jnp.float32)
    level = np.full(2, 0.3, np.float32)

    def both(params, buffers, x):
        net = nn.Functional(apply.graphdef, buffers)
        y, pull = jax.vjp(lambda p, x: net(p, x, level, given), params, x)
        return y, pull(y)

    program = jax.make_jaxpr(both)(params, apply.buffers, x)
    assert {value.dtype for value in program.out_avals} == {jnp.dtype("float32")}
    assert "f64[" not in str(program)
