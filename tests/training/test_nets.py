"""The network that a configuration names: by the shape, of the user's own, told of conditions."""

import dataclasses

import jax.numpy as jnp
import pytest
from flax import nnx

from edmjax import nn, training
from edmjax.training.build import TAKES, named_net
from edmjax.training.config import identity

OWN = """
import jax.numpy as jnp
from flax import nnx

class Net(nnx.Module):
    def __init__(self, shape, *, depth, rngs, num_classes=0, cond_vector=0):
        self.told = shape, depth, num_classes, cond_vector

def plain(shape, *, rngs):
    return 3
"""


def build(shape, num_classes=0, cond_shapes=None, **entries):
    config = training.NetConfig(**entries)
    return nnx.eval_shape(
        lambda: training.build_net(
            config, shape, num_classes, cond_shapes=cond_shapes, rngs=nnx.Rngs(0)
        )
    )


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "own_network_of_a_test.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    return "own_network_of_a_test"


@pytest.mark.parametrize(
    "shape, name", [((3,), "mlp"), ((8, 8, 1), "unet"), ((5, 2), "dit"), ((4, 4, 4, 1), "dit")]
)
def test_a_network_without_a_name_follows_the_shape(shape, name):
    assert named_net(training.NetConfig(), shape).name == name
    kept = training.NetConfig("score_net")
    assert named_net(kept, shape) is kept


def test_no_network_is_for_five_axes():
    with pytest.raises(ValueError, match=r"no network for samples of shape \(2, 2, 2, 2, 1\)"):
        named_net(training.NetConfig(), (2, 2, 2, 2, 1))


def test_entries_reach_the_network_and_null_ones_do_not():
    net = build((3,), width=6, num_blocks=2, embed_dim=4)
    assert isinstance(net, nn.MLP) and len(net.blocks) == 2
    assert net.first.kernel.shape == (3, 6)
    net = build((4, 2), name="dit", patch=2, num_heads=2, width=8, num_blocks=1, embed_dim=4)
    assert (net.patch, net.blocks[0].attention.num_heads) == (2, 2)


def test_conditions_of_the_data_become_options_of_the_network():
    shapes = {"vector": (3,), "image": (4, 4, 2), "sequence": (7, 5), "mask": (7,)}
    options = dict(width=8, num_blocks=1, num_heads=2, embed_dim=4)
    net = build((4, 4, 1), 3, shapes, name="dit", classes=True, **options)
    assert dataclasses.astuple(net.kinds) == (3, 3, 2, 5)


@pytest.mark.parametrize(
    "entries, shape, shapes, says",
    [
        (dict(name="unet", width=8), (8, 8, 1), {}, "net.width is an option of mlp and dit; unet"),
        (dict(name="mlp", channels=[8]), (3,), {}, "net.channels is an option of unet and patch_u"),
        (dict(name="mlp", num_blocks=[1]), (3,), {}, r"num_blocks is one number for mlp; got \[1"),
        (dict(options={"a": 1}), (3,), {}, "net.options are those of a network of your own"),
        (dict(name="mlp"), (8, 8, 1), {}, r"mlp is for vectors \(d,\), and .* \(8, 8, 1\)"),
        (dict(name="unet"), (3,), {}, r"unet is for images .* has the shape \(3,\)"),
        (dict(), (3,), {"image": (4, 4, 1)}, "mlp takes as a condition label, vector, and these"),
        (dict(name="unet"), (8, 8, 1), {"sequence": (4, 1)}, "the condition sequence: take dit"),
        (dict(name="unet"), (8, 8, 1), {"text": (4,)}, "the condition text: pass label, vector"),
    ],
)
def test_what_a_network_cannot_take_is_a_sentence(entries, shape, shapes, says):
    with pytest.raises(ValueError, match=says):
        build(shape, cond_shapes=shapes, **entries)


def test_a_network_takes_the_conditions_that_the_table_says():
    """A class name here, an option of its constructor there."""
    made = {"mlp": nn.MLP, "unet": nn.UNet, "patch_unet": nn.PatchUNet, "score_net": nn.ScoreNet}
    for name, network in (made | {"edm2_unet": nn.EDM2UNet, "dit": nn.DiT}).items():
        options = network.__init__.__annotations__
        kinds = {k[len("cond_") :] for k in options if k.startswith("cond_")}
        assert kinds | {"label"} == set(TAKES[name])


def test_a_network_of_the_user_is_called_with_shape_options_and_conditions(own):
    options = {"depth": 2}
    net = build((3,), name=f"{own}:Net", options=options)
    assert net.told == ((3,), 2, 0, 0)
    net = build((3,), 4, {"vector": (5,)}, name=f"{own}:Net", options=options, classes=True)
    assert net.told == ((3,), 2, 4, 5)


@pytest.mark.parametrize(
    "name, entries, says",
    [
        ("Net", dict(width=8), "net.width is an entry for the networks of edmjax"),
        ("Net", {}, "was called with a sample's shape, rngs: .*depth"),
        ("plain", {}, r"must make a module of flax\.nnx or Equinox, .*, and made int 3"),
    ],
)
def test_a_network_of_the_user_that_cannot_be_built_is_a_sentence(own, name, entries, says):
    with pytest.raises(ValueError, match=says):
        build((3,), name=f"{own}:{name}", **entries)


def test_a_name_without_a_colon_is_one_of_ours():
    with pytest.raises(ValueError, match=r"`net\.name` must be 'mlp', 'unet'"):
        training.NetConfig("my_net")


def test_new_entries_belong_to_the_identity_only_where_they_are_given():
    names = {"width", "num_heads", "options"}
    assert not names & set(identity(training.Config())["net"])
    given = training.NetConfig("mlp", width=8)
    assert identity(training.Config(net=given))["net"]["width"] == 8


def test_a_float32_network_of_vectors_denoises_them():
    net = training.build_net(
        training.NetConfig(width=8, num_blocks=1, embed_dim=4), (3,), rngs=nnx.Rngs(0)
    )
    denoise = training.build_denoiser(training.LossConfig(), net)
    assert denoise(jnp.ones((2, 3)), 1.0).shape == (2, 3)
