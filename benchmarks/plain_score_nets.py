"""The ScoreNet as others write it, with its weights: in `flax.nnx`'s layers, and in torch."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

EXTRA = (0, 1, 1)  # rows and columns that the transposed layers add at the end, for 28 pixels


class _Transposed(nnx.Module):
    """`nnx.ConvTranspose` in place of edmjax's layer."""

    def __init__(self, layer: Any, stride: int, extra: int):
        kernel = layer.kernel[...]
        size, _, width, features = kernel.shape
        edge = (size - 1, size - 1 + extra)
        self.layer = nnx.ConvTranspose(
            width,
            features,
            (size, size),
            (stride, stride),
            padding=(edge, edge),
            use_bias=layer.bias is not None,
            rngs=nnx.Rngs(0),
        )
        self.layer.kernel[...] = kernel[::-1, ::-1]  # flax correlates

    def __call__(self, x, output_padding=(0, 0)):
        return self.layer(x)


def plain(net: Any) -> Any:
    """The network, its layers replaced in place by nnx's Conv, ConvTranspose and GroupNorm."""
    for level in net.down:
        kernel, stride = level.layer.kernel[...], level.layer.stride
        size, _, width, features = kernel.shape
        layer = nnx.Conv(
            width,
            features,
            (size, size),
            (stride, stride),
            padding="VALID",
            use_bias=False,
            rngs=nnx.Rngs(0),
        )
        layer.kernel[...] = kernel
        level.layer = layer
    for level, extra in zip(net.up, EXTRA, strict=True):
        level.layer = _Transposed(level.layer, 2, extra)
    for level in (*net.down, *net.up):
        channels, groups = level.norm.scale[...].size, level.norm.num_groups
        level.norm = nnx.GroupNorm(channels, groups, epsilon=1e-5, rngs=nnx.Rngs(0))
    net.last = _Transposed(net.last, 1, 0)
    return net


def in_torch(params: dict[str, Any], frequencies: Any) -> Any:
    """A `torch.nn.Module` `net(x, c_noise)`, NCHW, with the parameters of a ScoreNet."""
    import torch
    from torch import nn

    def tensor(array: Any) -> Any:
        return torch.from_numpy(np.array(array))

    def dense(name: str) -> Any:
        layer = nn.Linear(*params[f"{name}.kernel"].shape)
        layer.weight.data = tensor(params[f"{name}.kernel"].T)
        layer.bias.data = tensor(params[f"{name}.bias"])
        return layer

    def norm(name: str, groups: int) -> Any:
        layer = nn.GroupNorm(groups, params[f"{name}.scale"].size)
        layer.weight.data = tensor(params[f"{name}.scale"])
        layer.bias.data = tensor(params[f"{name}.bias"])
        return layer

    def conv(name: str, stride: int) -> Any:
        _, _, width, features = (kernel := params[f"{name}.kernel"]).shape
        layer = nn.Conv2d(width, features, 3, stride, bias=False)
        layer.weight.data = tensor(jnp.moveaxis(kernel, (3, 2), (0, 1))).contiguous()
        return layer

    def transposed(name: str, stride: int, extra: int) -> Any:
        _, _, width, features = (kernel := params[f"{name}.kernel"]).shape
        bias = params.get(f"{name}.bias")
        layer = nn.ConvTranspose2d(
            width, features, 3, stride, output_padding=extra, bias=bias is not None
        )
        layer.weight.data = tensor(jnp.moveaxis(kernel, (2, 3), (0, 1))).contiguous()
        if bias is not None:
            layer.bias.data = tensor(bias)
        return layer

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("frequencies", tensor(frequencies))
            self.linear = dense("conditioning.linear")
            self.down = nn.ModuleList(conv(f"down.{i}.layer", 1 if i == 0 else 2) for i in range(4))
            self.up = nn.ModuleList(transposed(f"up.{i}.layer", 2, EXTRA[i]) for i in range(3))
            self.last = transposed("last", 1, 0)
            names = [f"down.{i}" for i in range(4)] + [f"up.{i}" for i in range(3)]
            self.dense = nn.ModuleList(dense(f"{name}.dense") for name in names)
            groups = (4, 32, 32, 32, 32, 32, 32)
            self.norms = nn.ModuleList(
                norm(f"{n}.norm", g) for n, g in zip(names, groups, strict=True)
            )

        def forward(self, x: Any, c_noise: Any) -> Any:
            angles = 2 * np.pi * c_noise[:, None] * self.frequencies
            features = torch.cat([angles.sin(), angles.cos()], dim=-1)
            embedding = nn.functional.silu(self.linear(features))
            skips = []
            for i in range(7):
                layer = self.down[i] if i < 4 else self.up[i - 4]
                if i > 4:
                    x = torch.cat([x, skips[6 - i + 1]], dim=1)
                x = layer(x) + self.dense[i](embedding)[:, :, None, None]
                x = nn.functional.silu(self.norms[i](x))
                skips.append(x)
            return self.last(torch.cat([x, skips[0]], dim=1))

    return Net()
