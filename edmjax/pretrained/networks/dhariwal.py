"""`DhariwalUNet` of EDM: the U-Net ADM of Dhariwal and Nichol (2021)."""

from types import SimpleNamespace
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from edmjax._common.typing import Arraylike, PyTree
from edmjax.nn.convolutions import Impl
from edmjax.nn.layers import GroupNorm
from edmjax.pretrained.networks.conditions import class_rows, levels_of
from edmjax.pretrained.networks.edm_blocks import Kind, UNetBlock
from edmjax.pretrained.networks.layers import Conv, Linear, Sinusoids
from edmjax.pretrained.networks.levels import Place, way_down, way_up
from edmjax.pretrained.options import Option, count, ignored, offset, several

OPTIONS = {
    "augment_dim": Option(0, offset),
    "model_channels": Option(192, count),
    "channel_mult": Option((1, 2, 3, 4), several(count)),
    "channel_mult_emb": Option(4, count),
    "num_blocks": Option(3, count),
    "attn_resolutions": Option((32, 16, 8), several(count, least=0)),
    "dropout": Option(0.1, ignored),
    "label_dropout": Option(0, ignored),
}
_EPSILON = 1e-5
_HEAD = 64  # the channels of a head; a narrower block does not attend


class DhariwalUNet(nnx.Module):
    """The network `net(x, c_noise, cond=None)` of images `(batch, height, width, channels)`."""

    def __init__(
        self, config: SimpleNamespace, outputs: int, *, impl: Impl = "auto", rngs: nnx.Rngs
    ):
        channels = config.model_channels
        widths = [channels * mult for mult in config.channel_mult]
        embed = channels * config.channel_mult_emb
        how: dict[str, Any] = dict(adaptive=True, project=False, width=_HEAD, taps=2, impl=impl)
        kind = Kind(_EPSILON, 1.0, **how)

        self.classes: int = config.label_dim
        self.positions: Sinusoids = Sinusoids(channels, True, 0)
        if config.augment_dim:  # a sample is not augmented: its labels would be zeros
            self.map_augment: Linear = Linear(
                config.augment_dim, channels, use_bias=False, rngs=rngs
            )
        self.map_layer0: Linear = Linear(channels, embed, rngs=rngs)
        self.map_layer1: Linear = Linear(embed, embed, rngs=rngs)
        if config.label_dim:
            self.map_label: Linear = Linear(config.label_dim, embed, use_bias=False, rngs=rngs)

        def module(place: Place) -> Any:
            if place.kind == "conv":
                return kind.conv(place.inputs, place.outputs, rngs=rngs)
            attends = place.kind == "block" and place.side in config.attn_resolutions
            return UNetBlock(
                place.inputs,
                place.outputs,
                embed,
                kind,
                change=place.kind if place.kind in ("down", "up") else None,
                attends=attends or place.kind == "in0",
                rngs=rngs,
            )

        side, num = config.img_resolution, config.num_blocks
        down = [*way_down(side, config.img_channels, widths[0], widths, num)]
        up = [*way_up(down, widths, num)]
        # A module keeps its arrays in the order of their names.
        self.encoder: tuple[str, ...] = tuple(place.name for place in down)
        self.decoder: tuple[str, ...] = tuple(place.name for place in up)
        self.enc: nnx.Dict[Any] = nnx.Dict({place.name: module(place) for place in down})
        self.dec: nnx.Dict[Any] = nnx.Dict({place.name: module(place) for place in up})
        self.out_norm: GroupNorm = kind.norm(widths[0])
        self.out_conv: Conv = kind.conv(widths[0], outputs, rngs=rngs)

    def __call__(
        self,
        x: Float[Array, "batch height width channels"],
        c_noise: Arraylike,
        cond: PyTree = None,
    ) -> Float[Array, "batch height width out"]:
        e = self._embedded(c_noise, cond, x.shape[0])
        h = self.enc[self.encoder[0]](x.astype(self.out_conv.kernel.dtype))
        skips = [h]
        for name in self.encoder[1:]:
            h = self.enc[name](h, e)
            skips.append(h)
        for name in self.decoder:
            if "block" in name:
                h = jnp.concatenate([h, skips.pop()], axis=-1)
            h = self.dec[name](h, e)
        y = self.out_conv(nnx.silu(self.out_norm(h)))
        return y.astype(jnp.promote_types(x.dtype, jnp.float32))

    def _embedded(self, c_noise: Any, cond: PyTree, batch: int) -> Array:
        dtype = jnp.promote_types(self.map_layer0.kernel.dtype, jnp.float32)
        e = self.positions(levels_of(c_noise, batch), dtype)
        e = self.map_layer1(nnx.silu(self.map_layer0(e)))
        rows = class_rows(cond, self.classes, type(self).__name__, batch, dtype)
        return nnx.silu(e if rows is None else e + self.map_label(rows))
