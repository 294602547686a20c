"""Conditions: which network takes which kind, how they are given, padding. Little is compiled."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from support.helpers import later
from support.networks import NETWORKS, SHAPES, build, normal, small

import edmjax as ej
from edmjax.nn._network import cut, padded
from edmjax.nn.conditions import Kinds, resized

N = 3
WIDTHS = {"label": 4, "vector": 5, "image": 2, "sequence": 6}
OPTIONS = {"label": "num_classes"} | {k: f"cond_{k}" for k in ("vector", "image", "sequence")}
UNETS = ("EDM2UNet", "PatchUNet", "ScoreNet", "UNet")
TAKES = {
    "label": NETWORKS,
    "vector": NETWORKS,
    "image": ("DiT", *UNETS),
    "sequence": ("DiT",),
}


def condition(kind, axes=2):
    shapes = {"label": (), "vector": (5,), "image": (*[3] * axes, 2), "sequence": (7, 6)}
    shape = (N, *shapes[kind])
    return np.arange(N) % 4 if kind == "label" else normal(1, *shape)


def output(net, x, cond):
    """What comes out, without computing it; the error where there is one."""
    return nnx.eval_shape(lambda net, x: net(x, 0.3, cond), net, x)


def made(name, *kinds, shape=None):
    widths = {OPTIONS[kind]: WIDTHS[kind] for kind in kinds}
    return nnx.eval_shape(lambda: small(name, shape, **widths))


@pytest.mark.parametrize("name", ["MLP", "DiT", "UNet", *later(*UNETS[:3])])
def test_each_network_takes_its_kinds_of_conditions_and_refuses_the_others(name):
    takes = [kind for kind in TAKES if name in TAKES[kind]]
    net, x = made(name, *takes), normal(0, N, *SHAPES[name])
    cond = {kind: condition(kind) for kind in takes}
    assert output(net, x, cond).shape == x.shape
    for kind in set(TAKES) - set(takes):
        with pytest.raises(TypeError, match=OPTIONS[kind]):
            made(name, kind)
        with pytest.raises(ValueError, match=f"takes a label and .* `cond` has '{kind}'"):
            output(net, x, cond | {kind: condition(kind)})


@pytest.mark.thorough
@pytest.mark.parametrize("kind", TAKES)
@pytest.mark.parametrize("name", NETWORKS)
def test_one_kind_is_given_as_it_is_or_by_its_name(name, kind):
    x, cond = normal(0, N, *SHAPES[name]), condition(kind)
    if name in TAKES[kind]:
        net = made(name, kind)
        for given in (cond, {kind: cond}, cond[:1]):
            assert output(net, x, given).shape == x.shape
    with pytest.raises(ValueError, match="knows no classes and no other condition"):
        output(made(name), x, cond)


@pytest.mark.parametrize("shape", [(5, 2), *later((4, 6, 1), (3, 4, 2, 1))])
def test_a_transformer_takes_all_kinds_together_for_any_number_of_axes(shape):
    net, x = made("DiT", *TAKES, shape=shape), normal(0, N, *shape)
    cond = {kind: condition(kind, len(shape) - 1) for kind in TAKES if kind != "label"}
    assert output(net, x, cond | {"mask": np.zeros((N, 7), int)}).shape == x.shape


VECTOR, SEQUENCE = condition("vector"), condition("sequence")


@pytest.mark.parametrize(
    "kinds, cond, says",
    [
        ({"vector": 5}, None, "This net takes a vector as its condition, and there is no vector"),
        ({"vector": 5, "image": 2}, {"vector": VECTOR}, "there is no image"),
        ({"label": 4, "image": 2}, VECTOR, "takes a label and an image: pass `cond` as a dict"),
        ({"vector": 4}, VECTOR, r"shape \(3, 4\).* got float32 of shape \(3, 5\)"),
        ({"vector": 5}, VECTOR[:2], r"shape \(3, 5\).* \(2, 5\)"),
        ({"vector": 5}, np.ones((N, 5), int), r"must be floats .* got int\d+ of shape \(3, 5\)"),
        ({"image": 2}, np.ones((N, 8, 8), np.float32), r"shape \(3, any, any, 2\)"),
        ({"sequence": 6}, {"sequence": SEQUENCE, "mask": np.ones((N, 6), bool)},
         r"mask .* shape \(3, 7\), got bool of shape \(3, 6\)"),
        ({"sequence": 6}, {"sequence": SEQUENCE, "mask": np.ones((N, 7))}, "must be True or False"),
        ({"vector": 5}, {"vector": VECTOR, "mask": np.ones((N, 7))}, "`cond` has 'mask'"),
        ({}, VECTOR, "knows no classes and no other condition"),
    ],
)  # fmt: skip
def test_a_condition_that_does_not_fit_is_a_sentence(kinds, cond, says):
    with pytest.raises(ValueError, match=says):
        Kinds(**kinds).read(cond, N, 4, "net")


def test_a_condition_that_all_samples_share_may_have_one_entry():
    widths = {kind: width for kind, width in WIDTHS.items() if kind != "label"}
    read = Kinds(**widths).read({kind: condition(kind)[:1] for kind in widths}, N, 4, "net")
    for kind, given in zip(("vector", "image", "sequence"), read[1:4], strict=True):
        np.testing.assert_array_equal(given, np.repeat(condition(kind)[:1], N, 0))
    assert read.mask.shape == (N, 7) and read.mask.all(), "all entries count where there is no mask"


@pytest.fixture(scope="module")
def transformer():
    """Outputs of a DiT, and their slopes along image, vector and sequence."""
    apply, params = build(
        lambda: small("DiT", cond_vector=5, cond_image=2, cond_sequence=6, num_classes=4)
    )

    @jax.jit
    def run(params, x, floats, rest):
        def size(floats):
            y = apply(params, x, 0.3, floats | rest)
            return jnp.sum(jnp.square(y)), y

        (_, y), slopes = jax.value_and_grad(size, has_aux=True)(floats)
        return y, slopes

    return functools.partial(run, params)


@pytest.mark.thorough
def test_what_is_masked_changes_nothing_and_all_may_be_masked(transformer):
    x = normal(0, N, *SHAPES["DiT"])
    floats = {kind: condition(kind) for kind in ("vector", "image", "sequence")}
    mask = np.ones((N, 7), bool)
    mask[0, 3:], mask[1] = False, False
    rest = {"label": condition("label"), "mask": mask}
    y, slopes = transformer(x, floats, rest)
    for kind, slope in slopes.items():
        assert np.isfinite(slope).all()
        if kind != "sequence":
            assert np.all(np.any(slope.reshape(N, -1), axis=1)), f"{kind} has an influence"
    size = np.abs(slopes["sequence"]).max(-1)
    np.testing.assert_array_equal(size > 0, mask)
    odd = np.where(mask[..., None], floats["sequence"], np.nan)
    other, _ = transformer(x, floats | {"sequence": odd}, rest)
    np.testing.assert_array_equal(other, y)
    swapped = condition("sequence")[:, ::-1]
    last, _ = transformer(x, floats | {"sequence": swapped}, rest)
    np.testing.assert_array_equal(last[1], y[1])
    assert np.abs(last[2] - y[2]).max() > 1e-4, "the order of a sequence counts"


@pytest.mark.thorough
def test_hidden_conditions_guide_as_a_class_does():
    """As a training loop hides them: "no class", zeros, a mask that is False everywhere."""
    apply, params = build(
        lambda: small("DiT", cond_vector=5, cond_image=2, cond_sequence=6, num_classes=4)
    )
    x, cond = 8 * normal(0, N, *SHAPES["DiT"]), {kind: condition(kind) for kind in TAKES}
    cond["mask"] = np.ones((N, 7), bool)
    hidden = {kind: np.zeros((1, *v.shape[1:]), v.dtype) for kind, v in cond.items()}
    hidden["label"] = np.int32(4)
    denoise = ej.denoisers.edm(apply.bind(jax.tree.map(jnp.asarray, params)))
    guided = jax.jit(ej.guidance.classifier_free(denoise, 3.0, uncond=hidden))(x, 2.0, cond)
    without = {kind: np.repeat(np.atleast_1d(v), N // len(np.atleast_1d(v)), 0)
               for kind, v in hidden.items()}  # fmt: skip
    told, not_told = (jax.jit(denoise)(x, 2.0, given) for given in (cond, without))
    np.testing.assert_allclose(guided, not_told + 3 * (told - not_told), rtol=1e-4, atol=1e-4)
    assert np.abs(told - not_told).max() > 1e-3


@pytest.mark.thorough
@pytest.mark.parametrize("name", UNETS)
def test_image_and_vector_have_an_influence_on_a_unet(name):
    apply, params = build(lambda: small(name, cond_vector=5, cond_image=2))
    x, cond = normal(0, N, *SHAPES[name]), {k: condition(k) for k in ("vector", "image")}
    size = jax.jit(jax.grad(lambda c, params: jnp.sum(jnp.square(apply(params, x, 0.3, c)))))
    for slope in size(cond, params).values():
        assert np.isfinite(slope).all() and np.all(slope != 0)


def test_an_image_is_resized_bilinearly():
    x = jnp.zeros((2, 8, 3, 1))
    image = normal(0, 2, 4, 7, 2)  # becomes higher and narrower
    expected = jax.image.resize(image, (2, 8, 3, 2), "linear")
    np.testing.assert_allclose(resized(image, x), expected, atol=1e-6)
    assert resized(image, jnp.zeros((2, 4, 7, 1))) is image


# ---- sides that the levels do not divide


def test_padding_is_zeros_on_both_ends_and_is_cut_again():
    x = normal(0, 2, 7, 6, 1)
    wide = padded(x, (4, 4))
    np.testing.assert_array_equal(wide, np.pad(x, ((0, 0), (0, 1), (1, 1), (0, 0))))
    np.testing.assert_array_equal(cut(wide, (7, 6)), x)
    assert padded(x, (7, 2)) is x and cut(x, (7, 6)) is x, "no operation where they divide"


@pytest.mark.parametrize("sides", [(7, 7), *later((25, 25), (28, 30))])
@pytest.mark.parametrize("name", ["UNet", *later("DiT", *UNETS[:3])])
def test_images_of_any_sides_keep_them(name, sides):
    levels = {} if name == "DiT" else {"channels": (4, 4, 4)}
    levels |= {"num_blocks": (1, 1, 1)} if name == "PatchUNet" else {}
    net = nnx.eval_shape(lambda: small(name, (*sides, 1), cond_image=2, **levels))
    x = normal(0, N, *sides, 1)
    assert output(net, x, condition("image")).shape == x.shape


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["UNet", "PatchUNet", "EDM2UNet", "DiT"])
def test_a_padded_image_is_one_with_zeros_around_it(name):
    apply, params = build(lambda: small(name, (7, 6, 1)))
    run = jax.jit(lambda params, x: apply(params, x, 0.3))
    x, factor = normal(0, 2, 7, 6, 1), 4 if name == "PatchUNet" else 2
    wide = padded(x, (factor, factor))
    assert ("= pad[" in str(jax.make_jaxpr(run)(params, x))) and wide.shape != x.shape
    assert "= pad[" not in str(jax.make_jaxpr(run)(params, wide))
    np.testing.assert_allclose(run(params, x), cut(run(params, wide), (7, 6)), atol=1e-5)
