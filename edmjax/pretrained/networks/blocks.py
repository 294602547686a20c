"""Blocks of the U-Nets and autoencoders of diffusers: residual blocks, and rows of them."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from edmjax.nn.layers import GroupNorm, alike
from edmjax.nn.unet import double, halve
from edmjax.pretrained.networks.layers import Conv, ImageAttention, Linear, Style

Images: TypeAlias = Float[Array, "batch height width channels"]
Changed: TypeAlias = Float[Array, "batch rows columns out"]


class ResnetBlock(nnx.Module):
    """`(skip(x) + conv2(act(norm2(conv1(act(norm1(x))) + W act(e))))) / scale`.

    With `style.scale_shift` the embedding `e` enters behind the second norm, as a factor and a
    shift. `embed=0` is a block without one. `resize` ("down" or "up") halves or doubles the image
    between the first activation and the first convolution, and the image that is skipped.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        embed: int,
        style: Style,
        *,
        scale: float = 1.0,
        resize: str | None = None,
        rngs: nnx.Rngs,
    ):
        self.style: Style = style
        self.scale: float = scale
        self.resize: str | None = resize
        self.norm1: GroupNorm = style.norm(inputs)
        self.conv1: Conv = style.conv(inputs, outputs, rngs=rngs)
        self.time_emb_proj: Linear | None = (
            Linear(embed, outputs * (2 if style.scale_shift else 1), rngs=rngs) if embed else None
        )
        self.norm2: GroupNorm = style.norm(outputs)
        self.conv2: Conv = style.conv(outputs, outputs, rngs=rngs)
        self.conv_shortcut: Conv | None = (
            style.conv(inputs, outputs, 1, rngs=rngs) if inputs != outputs else None
        )

    def __call__(self, x: Images, embedding: Array | None) -> Changed:
        h = self.style.act(self.norm1(x))
        if self.resize is not None:
            change = halve if self.resize == "down" else double
            x, h = change(x), change(h)
        h = self.conv1(h)
        if self.time_emb_proj is None or embedding is None:
            h = self.norm2(h)
        else:
            e = self.time_emb_proj(self.style.act(embedding))[:, None, None]
            if self.style.scale_shift:
                factor, shift = jnp.split(e, 2, axis=-1)
                h = self.norm2(h) * alike(1 + factor, h) + alike(shift, h)
            else:
                h = self.norm2(h + alike(e, h))
        h = self.conv2(self.style.act(h))
        skipped = x if self.conv_shortcut is None else self.conv_shortcut(x)
        return (skipped + h) / self.scale


class Downsample(nnx.Module):
    """A convolution of stride 2; with `padding=0` a row and a column of zeros follow the image."""

    def __init__(self, channels: int, padding: int, style: Style, *, rngs: nnx.Rngs):
        self.padding: int = padding
        how: dict[str, Any] = dict(stride=2, padding=padding, rngs=rngs)
        self.conv: Conv = style.conv(channels, channels, **how)

    def __call__(self, x: Images, embedding: Array | None) -> Changed:
        del embedding  # same call as a block's
        return self.conv(x if self.padding else jnp.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0))))


class Upsample(nnx.Module):
    """Each pixel four times, then a convolution.

    Where the image to come has other sides than twice those of this one, as a side was odd on the
    way down, each of its pixels is the nearest one here.
    """

    def __init__(self, channels: int, style: Style, *, rngs: nnx.Rngs):
        self.conv: Conv = style.conv(channels, channels, rngs=rngs)

    def __call__(
        self, x: Images, embedding: Array | None, sides: tuple[int, ...] | None = None
    ) -> Changed:
        del embedding
        here = x.shape[1:3]
        if sides is None or sides == (2 * here[0], 2 * here[1]):
            return self.conv(double(x))
        rows, columns = (np.arange(m) * n // m for n, m in zip(here, sides, strict=True))
        return self.conv(x[:, rows][:, :, columns])


Resampler: TypeAlias = ResnetBlock | Downsample | Upsample


class Row(nnx.Module):
    """The blocks of one level: residual blocks, an attention behind each, and a change of size.

    `down` returns what its mirror image reads; `up` reads it.
    """

    def __init__(
        self,
        resnets: Sequence[ResnetBlock],
        attentions: Sequence[nnx.Module] = (),
        *,
        downsampler: ResnetBlock | Downsample | None = None,
        upsampler: ResnetBlock | Upsample | None = None,
    ):
        self.resnets: nnx.List[ResnetBlock] = nnx.List(resnets)
        if attentions:
            self.attentions: nnx.List[Any] = nnx.List(attentions)
        if downsampler is not None:
            self.downsamplers: nnx.List[Any] = nnx.List([downsampler])
        if upsampler is not None:
            self.upsamplers: nnx.List[Any] = nnx.List([upsampler])

    def down(self, x: Images, embedding: Array | None, context: Any = None) -> list[Array]:
        """The outputs of the row, the last of which goes on."""
        outputs = []
        for i in range(len(self.resnets)):
            x = self._block(i, x, embedding, context)
            outputs.append(x)
        for downsampler in getattr(self, "downsamplers", ()):
            outputs.append(downsampler(x, embedding))
        return outputs

    def up(
        self, x: Images, embedding: Array | None, skips: list[Array] | None, context: Any = None
    ) -> Changed:
        """The output of the row, which takes what it reads from the end of `skips`."""
        for i in range(len(self.resnets)):
            if skips is not None:
                x = jnp.concatenate([x, skips.pop()], axis=-1)
            x = self._block(i, x, embedding, context)
        for upsampler in getattr(self, "upsamplers", ()):
            if isinstance(upsampler, Upsample) and skips:
                x = upsampler(x, embedding, skips[-1].shape[1:3])
            else:
                x = upsampler(x, embedding)
        return x

    def _block(self, i: int, x: Images, embedding: Array | None, context: Any) -> Changed:
        x = self.resnets[i](x, embedding)
        attentions = getattr(self, "attentions", ())
        return attentions[i](x, context) if len(attentions) else x


def down_row(
    inputs: int,
    outputs: int,
    num: int,
    embed: int,
    style: Style,
    *,
    attention: Callable[[int], nnx.Module] | None = None,
    change: str | None,
    padding: int = 1,
    rngs: nnx.Rngs,
) -> Row:
    """A row on the way down; `change` is "conv", "resnet", or None for the last one."""
    resnets, attentions = [], []
    for i in range(num):
        resnets.append(ResnetBlock(inputs if i == 0 else outputs, outputs, embed, style, rngs=rngs))
        attentions += [] if attention is None else [attention(i)]
    downsampler = None
    if change == "conv":
        downsampler = Downsample(outputs, padding, style, rngs=rngs)
    elif change == "resnet":
        downsampler = ResnetBlock(outputs, outputs, embed, style, resize="down", rngs=rngs)
    return Row(resnets, attentions, downsampler=downsampler)


def up_row(
    inputs: int,
    outputs: int,
    skipped: Sequence[int],
    embed: int,
    style: Style,
    *,
    attention: Callable[[int], nnx.Module] | None = None,
    change: str | None,
    rngs: nnx.Rngs,
) -> Row:
    """A row on the way up; each block reads `skipped` channels beside its own."""
    resnets, attentions = [], []
    for i, extra in enumerate(skipped):
        before = inputs if i == 0 else outputs
        resnets.append(ResnetBlock(before + extra, outputs, embed, style, rngs=rngs))
        attentions += [] if attention is None else [attention(i)]
    upsampler = None
    if change == "conv":
        upsampler = Upsample(outputs, style, rngs=rngs)
    elif change == "resnet":
        upsampler = ResnetBlock(outputs, outputs, embed, style, resize="up", rngs=rngs)
    return Row(resnets, attentions, upsampler=upsampler)


class Middle(nnx.Module):
    """A residual block, an attention and a residual block."""

    def __init__(self, resnets: Sequence[ResnetBlock], attention: nnx.Module | None):
        self.resnets: nnx.List[ResnetBlock] = nnx.List(resnets)
        if attention is not None:
            self.attentions: nnx.List[Any] = nnx.List([attention])

    def __call__(self, x: Images, embedding: Array | None, context: Any = None) -> Changed:
        x = self.resnets[0](x, embedding)
        for attention in getattr(self, "attentions", ()):
            x = attention(x, context)
        return self.resnets[1](x, embedding)


def image_middle(
    channels: int,
    embed: int,
    style: Style,
    *,
    width: int | None,
    groups: int | None,
    scale: float = 1.0,
    rngs: nnx.Rngs,
) -> Middle:
    """The middle of a network of images; `width` is that of a head, None for no attention."""
    resnets = [
        ResnetBlock(channels, channels, embed, style, scale=scale, rngs=rngs) for _ in range(2)
    ]
    attention = None
    if width is not None:
        attention = ImageAttention(channels, width, groups, style.epsilon, scale=scale, rngs=rngs)
    return Middle(resnets, attention)
