"""`UNet` of EDM2 in its `Precond`: magnitude-preserving layers without biases.

The magnitude of an array is the root of its mean square. As in the paper, 1e-4 is added to it
before anything is divided by it; `ej.nn.magnitude` has a form that is smooth at zero. Embeddings
and the weights' magnitudes are computed in float32 or wider.

Source: Karras et al. 2024 (arXiv 2312.02696), appendix B, whose equations are named.
"""

import math
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from edmjax._common.typing import Arraylike, PyTree
from edmjax.nn.convolutions import Impl, conv
from edmjax.nn.layers import alike
from edmjax.nn.magnitude import mp_silu, mp_sum
from edmjax.pretrained.networks.blocks import Changed, Images
from edmjax.pretrained.networks.conditions import class_rows, levels_of
from edmjax.pretrained.networks.edm_blocks import resampled
from edmjax.pretrained.networks.layers import attend
from edmjax.pretrained.networks.levels import Place, way_down, way_up
from edmjax.pretrained.options import (
    Option,
    above_zero,
    count,
    even_list,
    ignored,
    offset,
    optional,
    real,
    several,
)

_EPSILON = 1e-4


class Latents(NamedTuple):
    """How the latents of an autoencoder were scaled: `z = (latent - shift) scaling`, per channel.

    For `load_autoencoder`. Images are in [0, 1] there, and not in [-1, 1]: EDM2's authors show the
    autoencoder such images.
    """

    scaling_factor: tuple[float, ...]
    shift_factor: tuple[float, ...]
    vae_name: str  # on huggingface.co


def latents(value: object, name: str) -> Latents:
    """The encoder of a converted file, `z = scale latent + bias`."""
    if not isinstance(value, Mapping) or not {"scale", "bias", "vae_name"} <= set(value):
        raise ValueError(f"`{name}` must have `scale`, `bias` and `vae_name`, got {value!r:.80}.")
    scale, bias = (
        np.array(several(real)(value[key], f"{name}.{key}")) for key in ("scale", "bias")
    )
    if len(scale) != len(bias) or not (scale > 0).all():
        raise ValueError(f"`{name}` must have a positive `scale` and a `bias` for each channel.")
    return Latents(tuple(scale.tolist()), tuple((-bias / scale).tolist()), str(value["vae_name"]))


OPTIONS = {
    "img_resolution": Option(None, count),
    "img_channels": Option(None, count),
    "label_dim": Option(None, offset),
    "use_fp16": Option(True, ignored),
    "sigma_data": Option(0.5, above_zero),
    "logvar_channels": Option(128, count),
    "model_channels": Option(192, count),
    "channel_mult": Option((1, 2, 3, 4), several(count)),
    "channel_mult_noise": Option(None, optional(count)),
    "channel_mult_emb": Option(None, optional(count)),
    "num_blocks": Option(3, count),
    "attn_resolutions": Option((16, 8), several(count, least=0)),
    "label_balance": Option(0.5, real),
    "concat_balance": Option(0.5, real),
    "resample_filter": Option((1, 1), even_list),
    "channels_per_head": Option(64, count),
    "dropout": Option(0.0, ignored),
    "res_balance": Option(0.3, real),
    "attn_balance": Option(0.3, real),
    "clip_act": Option(256, optional(real)),
    "latents": Option(None, optional(latents)),
}


def unit(x: Array, axes: int | Sequence[int] = -1) -> Array:
    """`x / (1e-4 + magnitude)` over `axes`, in the dtype of `x` (equations 30 and 47)."""
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    axes = axes if isinstance(axes, int) else tuple(axes)
    magnitude = jnp.sqrt(jnp.mean(jnp.square(wide), axes, keepdims=True))
    return x / (_EPSILON + magnitude).astype(x.dtype)


def mp_cat(a: Array, b: Array, share: float) -> Array:
    """The channels of both, of which `b` has the part `share` in a sum (equation 103)."""
    n, m = a.shape[-1], b.shape[-1]
    both = math.sqrt((n + m) / ((1 - share) ** 2 + share**2))
    factors = both * (1 - share) / math.sqrt(n), both * share / math.sqrt(m)
    return jnp.concatenate([a * factors[0], b * factors[1]], axis=-1)


class MPConv(nnx.Module):
    """A product with weights of magnitude 1 over the root of their number (equation 47).

    With `size=0` a dense layer over the last axis, otherwise a convolution that keeps the sides of
    an image.
    """

    def __init__(self, inputs: int, outputs: int, size: int, impl: Impl = "auto"):
        self.impl: Impl = impl
        self.size: int = size
        shape = (size, size, inputs, outputs) if size else (inputs, outputs)
        self.kernel: nnx.Param[Array] = nnx.Param(jnp.zeros(shape, jnp.float32))

    def __call__(self, x: Array, gain: Array | float = 1.0) -> Array:
        kernel = self.kernel[...]
        wide = kernel.astype(jnp.promote_types(kernel.dtype, jnp.float32))
        number = kernel.size // kernel.shape[-1]
        wide = unit(wide, range(kernel.ndim - 1)) * (gain / math.sqrt(number))
        kernel = wide.astype(x.dtype)
        if not self.size:
            return x @ kernel
        return conv(x, kernel, padding=self.size // 2, impl=self.impl)


class MPFourier(nnx.Module):
    """`sqrt(2) cos(w c + b)` with the frequencies and the phases of the file (equation 75)."""

    def __init__(self, channels: int):
        self.freqs: nnx.Param[Array] = nnx.Param(jnp.zeros(channels, jnp.float32))
        self.phases: nnx.Param[Array] = nnx.Param(jnp.zeros(channels, jnp.float32))

    def __call__(self, c: Float[Array, " batch"]) -> Float[Array, "batch channels"]:
        return math.sqrt(2) * jnp.cos(c[:, None] * self.freqs[...] + self.phases[...])


class Block(nnx.Module):
    """A residual block, after a change of size, and attention where the width has heads.

    On the way down `conv_skip` and the pixel norm come before the residual branch, on the way up
    `conv_skip` beside it. See `ej.nn.edm2_unet.Block` for the formulas.
    """

    def __init__(self, place: Place, embed: int, config: SimpleNamespace, *, up: bool, impl: Impl):
        inputs, outputs = place.inputs, place.outputs
        attends = place.kind == "block" and place.side in config.attn_resolutions
        attends = attends or place.kind == "in0"
        self.up: bool = up
        self.change: str | None = place.kind if place.kind in ("down", "up") else None
        self.taps: tuple[float, ...] = config.resample_filter
        self.heads: int = outputs // config.channels_per_head if attends else 0
        self.shares: tuple[float, float] = (config.res_balance, config.attn_balance)
        self.most: float | None = config.clip_act
        self.emb_gain: nnx.Param[Array] = nnx.Param(jnp.zeros((), jnp.float32))
        self.conv_res0: MPConv = MPConv(inputs if up else outputs, outputs, 3, impl)
        self.emb_linear: MPConv = MPConv(embed, outputs, 0)
        self.conv_res1: MPConv = MPConv(outputs, outputs, 3, impl)
        if inputs != outputs:
            self.conv_skip: MPConv = MPConv(inputs, outputs, 1, impl)
        if self.heads:
            self.attn_qkv: MPConv = MPConv(outputs, 3 * outputs, 1, impl)
            self.attn_proj: MPConv = MPConv(outputs, outputs, 1, impl)

    def __call__(self, x: Images, embedding: Float[Array, "batch embed"]) -> Changed:
        if self.change is not None:
            taps = np.array(self.taps) / np.sum(self.taps)
            x = resampled(x, jnp.asarray(np.outer(taps, taps)[None, None]), self.change)
        x = x if self.up else unit(self._skipped(x))
        h = self.conv_res0(mp_silu(x))
        c = 1 + self.emb_linear(embedding, self.emb_gain[...])
        h = self.conv_res1(mp_silu(h * alike(c[:, None, None], h)))
        x = mp_sum(self._skipped(x) if self.up else x, h, self.shares[0])
        x = mp_sum(x, self._attended(x), self.shares[1]) if self.heads else x
        return x if self.most is None else jnp.clip(x, -self.most, self.most)

    def _skipped(self, x: Array) -> Array:
        return self.conv_skip(x) if hasattr(self, "conv_skip") else x

    def _attended(self, x: Array) -> Array:
        # The channels count heads, then the numbers of a head, then queries to values.
        qkv = self.attn_qkv(x).reshape(len(x), -1, self.heads, x.shape[-1] // self.heads, 3)
        y = attend(*jnp.moveaxis(unit(qkv, -2), -1, 0))
        return self.attn_proj(y.reshape(x.shape))


class UNet(nnx.Module):
    """The network `net(x, c_noise, cond=None)` of images or latents, channels last."""

    def __init__(self, config: SimpleNamespace, impl: Impl):
        channels, images = config.model_channels, config.img_channels
        widths = [channels * mult for mult in config.channel_mult]
        noise, embed = config.channel_mult_noise, config.channel_mult_emb
        noise = widths[0] if noise is None else channels * noise
        embed = max(widths) if embed is None else channels * embed
        self.classes: int = config.label_dim
        self.shares: tuple[float, float] = (config.label_balance, config.concat_balance)
        self.out_gain: nnx.Param[Array] = nnx.Param(jnp.zeros((), jnp.float32))
        self.emb_fourier: MPFourier = MPFourier(noise)
        self.emb_noise: MPConv = MPConv(noise, embed, 0)
        if config.label_dim:
            self.emb_label: MPConv = MPConv(config.label_dim, embed, 0)

        side, num = config.img_resolution, config.num_blocks
        down = [*way_down(side, images + 1, widths[0], widths, num)]
        enc: dict[str, Any] = {
            place.name: Block(place, embed, config, up=False, impl=impl) for place in down[1:]
        }
        enc = {down[0].name: MPConv(images + 1, widths[0], 3, impl)} | enc
        dec = {
            place.name: Block(place, embed, config, up=True, impl=impl)
            for place in way_up(down, widths, num)
        }
        # A module keeps its arrays in the order of their names.
        self.encoder: tuple[str, ...] = tuple(enc)
        self.decoder: tuple[str, ...] = tuple(dec)
        self.enc: nnx.Dict[Any] = nnx.Dict(enc)
        self.dec: nnx.Dict[Any] = nnx.Dict(dec)
        self.out_conv: MPConv = MPConv(widths[0], images, 3, impl)

    def __call__(
        self,
        x: Float[Array, "batch height width channels"],
        c_noise: Arraylike,
        cond: PyTree = None,
    ) -> Float[Array, "batch height width channels"]:
        dtype = self.out_conv.kernel.dtype
        e = self._embedded(c_noise, cond, x.shape[0], jnp.promote_types(dtype, jnp.float32))
        h = x.astype(dtype)
        h = self.enc[self.encoder[0]](jnp.concatenate([h, jnp.ones_like(h[..., :1])], axis=-1))
        skips = [h]
        for name in self.encoder[1:]:
            h = self.enc[name](h, e)
            skips.append(h)
        for name in self.decoder:
            h = mp_cat(h, skips.pop(), self.shares[1]) if "block" in name else h
            h = self.dec[name](h, e)
        y = self.out_conv(h, self.out_gain[...])
        return y.astype(jnp.promote_types(x.dtype, jnp.float32))

    def _embedded(self, c_noise: Any, cond: PyTree, batch: int, dtype: Any) -> Array:
        e = self.emb_noise(self.emb_fourier(levels_of(c_noise, batch).astype(dtype)))
        rows = class_rows(cond, self.classes, type(self).__name__, batch, dtype)
        if rows is not None:
            e = mp_sum(e, self.emb_label(rows * math.sqrt(self.classes)), self.shares[0])
        return mp_silu(e)


class Precond(nnx.Module):
    """The network `net(x, c_noise, cond=None)`, and what it learned of its own error.

    A network with classes takes `cond={"class_labels": labels}`, whole numbers or one-hot rows.
    """

    def __init__(self, config: SimpleNamespace, *, impl: Impl = "auto", rngs: nnx.Rngs):
        del rngs  # every array is of the file
        self.unet: UNet = UNet(config, impl)
        self.logvar_fourier: MPFourier = MPFourier(config.logvar_channels)
        self.logvar_linear: MPConv = MPConv(config.logvar_channels, 1, 0)

    def __call__(
        self,
        x: Float[Array, "batch height width channels"],
        c_noise: Arraylike,
        cond: PyTree = None,
    ) -> Float[Array, "batch height width channels"]:
        return self.unet(x, c_noise, cond)

    def log_var(self, c_noise: Float[Array, " batch"]) -> Float[Array, " batch"]:
        """`u(sigma)`, the logarithm of the loss that training expected at a level (equation 21)."""
        return self.logvar_linear(self.logvar_fourier(c_noise))[:, 0]
