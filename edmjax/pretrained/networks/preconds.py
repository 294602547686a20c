"""The preconditioned networks of EDM as modules: the arrays and the options of a file.

What a module computes is the network's own output `F`. The coefficients around it are those of
`ej.denoisers`.
"""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, ClassVar

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from edmjax._common.typing import Arraylike, PyTree
from edmjax.nn.convolutions import Impl
from edmjax.pretrained.networks import dhariwal, song
from edmjax.pretrained.options import (
    Option,
    above_zero,
    count,
    ignored,
    offset,
    only,
    optional,
    real,
)

_MODELS: Mapping[str, tuple[type[Any], Mapping[str, Option]]] = {
    "SongUNet": (song.SongUNet, song.OPTIONS),
    "DhariwalUNet": (dhariwal.DhariwalUNet, dhariwal.OPTIONS),
}


def _options(model: str, **own: Option) -> Any:
    """The options of a preconditioning, with those of the network that a configuration names."""

    def of(config: Mapping[str, Any]) -> dict[str, Option]:
        named = str(config.get("model_type", model))
        shared = {
            "img_resolution": Option(None, count),
            "img_channels": Option(None, count),
            "label_dim": Option(0, offset),
            "use_fp16": Option(False, ignored),
            "model_type": Option(model, only(*_MODELS)),
        }
        # Another type is refused where its option is read, whatever options it has.
        tables = [_MODELS[named]] if named in _MODELS else _MODELS.values()
        return shared | own | {key: option for _, table in tables for key, option in table.items()}

    return of


def _in_order(low: float, high: float | None) -> None:
    if high is not None and low >= high:
        raise ValueError(f"`sigma_min` must be below `sigma_max`, got {low} and {high}.")


class Precond(nnx.Module):
    """The network `net(x, c_noise, cond=None)` that a preconditioning holds as `model`.

    A network with classes takes `cond={"class_labels": labels}`, whole numbers or one-hot rows.
    """

    doubled: ClassVar[bool] = False  # whether a learned variance doubles the outputs

    def __init__(self, config: SimpleNamespace, *, impl: Impl = "auto", rngs: nnx.Rngs):
        outputs = config.img_channels * (2 if self.doubled else 1)
        self.model: Any = _MODELS[config.model_type][0](config, outputs, impl=impl, rngs=rngs)

    def __call__(
        self,
        x: Float[Array, "batch height width channels"],
        c_noise: Arraylike,
        cond: PyTree = None,
    ) -> Float[Array, "batch height width out"]:
        return self.model(x, c_noise, cond)


class EDMPrecond(Precond):
    """Of Karras et al. (2022)."""

    OPTIONS = staticmethod(
        _options(
            "DhariwalUNet",
            sigma_min=Option(0.0, real),
            sigma_max=Option(None, optional(above_zero)),
            sigma_data=Option(0.5, above_zero),
        )
    )

    def __init__(self, config: SimpleNamespace, *, impl: Impl = "auto", rngs: nnx.Rngs):
        _in_order(config.sigma_min, config.sigma_max)
        super().__init__(config, impl=impl, rngs=rngs)


class VPPrecond(Precond):
    """Of the variance-preserving networks of Song et al. (2021)."""

    OPTIONS = staticmethod(
        _options(
            "SongUNet",
            beta_d=Option(19.9, above_zero),
            beta_min=Option(0.1, above_zero),
            M=Option(1000, count),
            epsilon_t=Option(1e-5, above_zero),
        )
    )


class VEPrecond(Precond):
    """Of the variance-exploding networks of Song et al. (2021)."""

    OPTIONS = staticmethod(
        _options(
            "SongUNet", sigma_min=Option(0.02, above_zero), sigma_max=Option(100.0, above_zero)
        )
    )

    def __init__(self, config: SimpleNamespace, *, impl: Impl = "auto", rngs: nnx.Rngs):
        _in_order(config.sigma_min, config.sigma_max)
        super().__init__(config, impl=impl, rngs=rngs)


class IDDPMPrecond(Precond):
    """Of the networks of Nichol and Dhariwal (2021); `u` are the levels, and a zero behind them."""

    doubled = True
    OPTIONS = staticmethod(
        _options(
            "DhariwalUNet",
            C_1=Option(0.001, ignored),  # the levels are in the file
            C_2=Option(0.008, ignored),
            M=Option(1000, count),
        )
    )

    def __init__(self, config: SimpleNamespace, *, impl: Impl = "auto", rngs: nnx.Rngs):
        super().__init__(config, impl=impl, rngs=rngs)
        self.u: nnx.Param[Array] = nnx.Param(jnp.zeros(config.M + 1, jnp.float32))
