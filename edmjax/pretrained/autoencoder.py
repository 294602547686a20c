"""The autoencoder of a latent diffusion model: images to latents and back."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import register_dataclass
from jaxtyping import Array, Float, Key

from edmjax.nn.convolutions import Impl
from edmjax.nn.functional import Arrays, Functional
from edmjax.pretrained import loading
from edmjax.pretrained.files import directory, header, read_json, weight_files
from edmjax.pretrained.networks.edm2 import Latents
from edmjax.pretrained.networks.kl import AutoencoderKL


@register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Autoencoder:
    """Images to latents and back; a pytree, as `load_autoencoder` returns it.

        z = (latent - shift_factor) scaling_factor,    latent ~ N(mean, exp(log_var)) of the encoder

    `z` is what the denoiser of the same pipeline is for, with a standard deviation of about 1.
    Both factors are numbers, or have one for each channel of a latent. Images are `(batch, height,
    width, channels)` in [-1, 1]; latents likewise, and a factor of 2 smaller for each level but
    one.
    """

    apply: Functional
    params: Arrays
    scaling_factor: float | tuple[float, ...] = dataclasses.field(metadata={"static": True})
    shift_factor: float | tuple[float, ...] = dataclasses.field(metadata={"static": True})

    def encode(
        self, x: Float[Array, "batch height width channels"], key: Key[Array, ""] | None = None
    ) -> Float[Array, "batch rows columns latent"]:
        """The latents of images: their mean, or with a `key` one draw of each."""
        return _encode(self, x, key)

    def decode(
        self, z: Float[Array, "batch rows columns latent"]
    ) -> Float[Array, "batch height width channels"]:
        """The images of latents; a few values lie outside of [-1, 1]."""
        return _decode(self, z)


def load_autoencoder(
    source: str | Path,
    *,
    subfolder: str | None = None,
    variant: str | None = None,
    dtype: "jax.typing.DTypeLike | None" = None,
    impl: Impl = "auto",
    latents: Latents | None = None,
) -> Autoencoder:
    """The autoencoder of a pipeline's directory, or of its own: AutoencoderKL of diffusers.

    Float16 weights are held in float32 where the configuration says `force_upcast`, which is its
    default (the one of SDXL overflows in float16), unless `dtype` says otherwise. Arguments and
    errors are as in `load`; `subfolder` is "vae" where the directory is a pipeline's. `latents`, of
    a denoiser of EDM2, takes the place of the factors of the file; images are in [0, 1] then.
    """
    root = directory(source)
    folder = root / subfolder if subfolder is not None else root
    if subfolder is None and (root / "model_index.json").is_file():
        folder = root / "vae"
    file = folder / "config.json"
    if dtype is None and read_json(file).get("force_upcast", True) is True:
        entries = [e for path in weight_files(folder, variant) for e in header(path).values()]
        dtype = jnp.float32 if any(e.dtype == jnp.float16 for e in entries) else None
    options, apply, params = loading.network(file, variant, dtype, impl, ("vae",))
    if latents is None:
        return Autoencoder(apply, params, options.scaling_factor, options.shift_factor or 0.0)
    if len(latents.scaling_factor) != options.latent_channels:
        raise ValueError(
            f"{str(file)!r} has latents of {options.latent_channels} channels, and `latents` are "
            f"of {len(latents.scaling_factor)}: load the autoencoder {latents.vae_name!r}."
        )
    return Autoencoder(apply, params, latents.scaling_factor, latents.shift_factor)


@jax.jit
def _encode(model: Autoencoder, x: Array, key: Array | None) -> Array:
    mean, log_var = _module(model).moments(x)
    if key is not None:
        mean = mean + jnp.exp(log_var / 2) * jax.random.normal(key, mean.shape, mean.dtype)
    return (mean - _factor(model.shift_factor, mean)) * _factor(model.scaling_factor, mean)


@jax.jit
def _decode(model: Autoencoder, z: Array) -> Array:
    factor, shift = _factor(model.scaling_factor, z), _factor(model.shift_factor, z)
    return _module(model).decode(z / factor + shift)


def _factor(factor: Any, like: Array) -> Any:
    """A factor as it is, or those of the channels as an array."""
    return jnp.asarray(factor, like.dtype) if isinstance(factor, tuple) else factor


def _module(model: Autoencoder) -> AutoencoderKL:
    module = model.apply.merge(model.params)
    assert isinstance(module, AutoencoderKL)
    return module
