"""Every network and layer of `edmjax.nn`, as small as it can be, and parameters for them."""

import jax
import numpy as np
from flax import nnx

from edmjax import nn


def normal(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape)


def build(make, seed=0):
    """The functional form of `make()` with random parameters everywhere, and nothing compiled."""
    apply, shapes = nn.functional(nnx.eval_shape(make))
    rng = np.random.default_rng(seed)

    def fill(tree):
        return {n: (rng.normal(size=a.shape) * 0.3).astype(np.float32) for n, a in tree.items()}

    return nn.Functional(apply.graphdef, fill(apply.buffers)), fill(shapes)


# One sample of each network below.
SHAPES = {
    "MLP": (3,),
    "DiT": (4, 4, 1),
    "EDM2UNet": (8, 8, 1),
    "PatchUNet": (8, 8, 1),
    "ScoreNet": (8, 8, 1),
    "UNet": (8, 8, 1),
}
NETWORKS = tuple(SHAPES)
_OPTIONS = {
    "MLP": dict(width=8, num_blocks=1),
    "DiT": dict(width=8, num_blocks=1, num_heads=2),
    "EDM2UNet": dict(channels=(4, 8), num_blocks=1),
    "PatchUNet": dict(channels=(4, 8), num_blocks=(2, 1)),
    "ScoreNet": dict(channels=(4, 8)),
    "UNet": dict(channels=(4, 8)),
}


def small(name, shape=None, **options):
    """A small network of this name for samples of `shape`."""
    options = {"embed_dim": 4, **_OPTIONS[name], **options}
    return getattr(nn, name)(shape or SHAPES[name], **options, rngs=nnx.Rngs(0))


SMALL = {
    "Conv": lambda **o: nn.Conv(2, 3, rngs=nnx.Rngs(0)),
    "ConvTranspose": lambda **o: nn.ConvTranspose(2, 3, rngs=nnx.Rngs(0)),
    "FourierFeatures": lambda **o: nn.FourierFeatures(4, 1.0, rngs=nnx.Rngs(0)),
    "GroupNorm": lambda **o: nn.GroupNorm(8),
    **{name: lambda name=name, **o: small(name, **o) for name in NETWORKS},
}
