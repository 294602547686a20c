"""`SongUNet` of EDM: the U-Nets DDPM++ and NCSN++ of Song et al. (2021)."""

import math
from types import SimpleNamespace
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from edmjax._common.typing import Arraylike, PyTree
from edmjax.nn.convolutions import Impl
from edmjax.pretrained.networks.conditions import class_rows, levels_of
from edmjax.pretrained.networks.edm_blocks import Filter, FusedDown, Kind, UNetBlock
from edmjax.pretrained.networks.layers import Linear, Sinusoids
from edmjax.pretrained.networks.levels import Place, way_down, way_up
from edmjax.pretrained.options import Option, count, even_list, ignored, offset, only, several

OPTIONS = {
    "augment_dim": Option(0, offset),
    "model_channels": Option(128, count),
    "channel_mult": Option((1, 2, 2, 2), several(count)),
    "channel_mult_emb": Option(4, count),
    "num_blocks": Option(4, count),
    "attn_resolutions": Option((16,), several(count, least=0)),
    "dropout": Option(0.1, ignored),
    "label_dropout": Option(0, ignored),
    "embedding_type": Option("positional", only("positional", "fourier")),
    "channel_mult_noise": Option(1, count),
    "encoder_type": Option("standard", only("standard", "skip", "residual")),
    "decoder_type": Option("standard", only("standard", "skip")),
    "resample_filter": Option((1, 1), even_list),
}
_EPSILON = 1e-6
_ROOT_HALF = math.sqrt(0.5)


class Fourier(nnx.Module):
    """`[sin(2 pi w c), cos(2 pi w c)]` with the frequencies `w` of the file."""

    def __init__(self, channels: int):
        self.freqs: nnx.Param[Array] = nnx.Param(jnp.zeros(channels // 2, jnp.float32))

    def __call__(self, c: Float[Array, " batch"]) -> Float[Array, "batch channels"]:
        angles = c[:, None] * (2 * jnp.pi * self.freqs[...])
        return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


class SongUNet(nnx.Module):
    """The network `net(x, c_noise, cond=None)` of images `(batch, height, width, channels)`.

    With `encoder_type` "skip" each level adds a projection of the halved image to what it reads,
    with "residual" a convolution of the image, halved, that is handed on. With `decoder_type`
    "skip" each level adds its own image to the doubled one of the level below.
    """

    def __init__(
        self, config: SimpleNamespace, outputs: int, *, impl: Impl = "auto", rngs: nnx.Rngs
    ):
        channels, images = config.model_channels, config.img_channels
        widths = [channels * mult for mult in config.channel_mult]
        noise, embed = channels * config.channel_mult_noise, channels * config.channel_mult_emb
        taps = len(config.resample_filter)
        how: dict[str, Any] = dict(adaptive=False, project=True, width=None, impl=impl)
        kind = Kind(_EPSILON, _ROOT_HALF, taps=taps, **how)

        self.classes: int = config.label_dim
        self.positions: Sinusoids | None = None
        if config.embedding_type == "fourier":
            self.map_noise: Fourier = Fourier(noise)
        else:
            self.positions = Sinusoids(noise, False, 1)
        if config.label_dim:
            self.map_label: Linear = Linear(config.label_dim, noise, rngs=rngs)
        if config.augment_dim:  # a sample is not augmented: its labels would be zeros
            self.map_augment: Linear = Linear(config.augment_dim, noise, use_bias=False, rngs=rngs)
        self.map_layer0: Linear = Linear(noise, embed, rngs=rngs)
        self.map_layer1: Linear = Linear(embed, embed, rngs=rngs)

        def block(place: Place, attends: bool) -> UNetBlock:
            change = place.kind if place.kind in ("down", "up") else None
            return UNetBlock(
                place.inputs, place.outputs, embed, kind, change=change, attends=attends, rngs=rngs
            )

        side, num = config.img_resolution, config.num_blocks
        down = [*way_down(side, images, channels, widths, num)]
        enc: dict[str, Any] = {}
        aux = images
        for place in down:
            at, attends = f"{place.side}x{place.side}", place.side in config.attn_resolutions
            if place.kind == "conv":
                enc[place.name] = kind.conv(place.inputs, place.outputs, rngs=rngs)
                continue
            enc[place.name] = block(place, attends and place.kind == "block")
            if place.kind == "down" and config.encoder_type == "skip":
                enc[f"{at}_aux_down"] = Filter("down", taps)
                enc[f"{at}_aux_skip"] = kind.conv(aux, place.outputs, 1, rngs=rngs)
            elif place.kind == "down" and config.encoder_type == "residual":
                enc[f"{at}_aux_residual"] = FusedDown(aux, place.outputs, kind, rngs=rngs)
                aux = place.outputs

        dec: dict[str, Any] = {}
        for place in way_up(down, widths, num):
            at, attends = f"{place.side}x{place.side}", place.side in config.attn_resolutions
            last = place.kind == "block" and place.index == num
            dec[place.name] = block(place, place.kind == "in0" or (last and attends))
            if last and (config.decoder_type == "skip" or place.level == 0):
                if config.decoder_type == "skip" and place.level < len(widths) - 1:
                    dec[f"{at}_aux_up"] = Filter("up", taps)
                dec[f"{at}_aux_norm"] = kind.norm(place.outputs)
                dec[f"{at}_aux_conv"] = kind.conv(place.outputs, outputs, rngs=rngs)

        # A module keeps its arrays in the order of their names.
        self.encoder: tuple[str, ...] = tuple(enc)
        self.decoder: tuple[str, ...] = tuple(dec)
        self.enc: nnx.Dict[Any] = nnx.Dict(enc)
        self.dec: nnx.Dict[Any] = nnx.Dict(dec)

    def __call__(
        self,
        x: Float[Array, "batch height width channels"],
        c_noise: Arraylike,
        cond: PyTree = None,
    ) -> Float[Array, "batch height width out"]:
        e = self._embedded(c_noise, cond, x)
        h = x.astype(self.enc[self.encoder[0]].kernel.dtype)
        wide = jnp.promote_types(x.dtype, jnp.float32)
        return self._image(*self._skips(h, e), e).astype(wide)

    def _embedded(self, c_noise: Any, cond: PyTree, x: Array) -> Array:
        batch, dtype = x.shape[0], jnp.promote_types(self.map_layer0.kernel.dtype, jnp.float32)
        c = levels_of(c_noise, batch).astype(dtype)
        e = self.map_noise(c) if self.positions is None else self.positions(c, dtype)
        rows = class_rows(cond, self.classes, type(self).__name__, batch, dtype)
        if rows is not None:
            e = e + self.map_label(rows * math.sqrt(self.classes))
        return nnx.silu(self.map_layer1(nnx.silu(self.map_layer0(e))))

    def _skips(self, h: Array, e: Array) -> tuple[Array, list[Array]]:
        """The way down: its last output, and all that the way up reads."""
        skips, aux = [], h
        for name in self.encoder:
            module = self.enc[name]
            if name.endswith("aux_down"):
                aux = module(aux)
            elif name.endswith("aux_skip"):
                h = skips[-1] = h + module(aux)
            elif name.endswith("aux_residual"):
                h = skips[-1] = aux = (h + module(aux)) * _ROOT_HALF
            else:
                h = module(h, e) if isinstance(module, UNetBlock) else module(h)
                skips.append(h)
        return h, skips

    def _image(self, h: Array, skips: list[Array], e: Array) -> Array:
        """The way up."""
        image, normed = None, h
        for name in self.decoder:
            module = self.dec[name]
            if name.endswith("aux_up"):
                image = module(image)
            elif name.endswith("aux_norm"):
                normed = module(h)
            elif name.endswith("aux_conv"):
                own = module(nnx.silu(normed))
                image = own if image is None else own + image
            else:
                if "block" in name:
                    h = jnp.concatenate([h, skips.pop()], axis=-1)
                h = module(h, e)
        assert image is not None
        return image
