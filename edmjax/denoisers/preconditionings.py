"""Preconditionings: a network `F` becomes a denoiser by the coefficients it was trained with.

    D(x; sigma) = c_skip x + c_out F(c_in x, c_noise)

Each is a function, documented in full, and the class of the denoiser that it returns, which has the
coefficients.
"""

import dataclasses
from typing import TypeAlias

import jax.numpy as jnp
from jax.tree_util import register_dataclass

from edmjax import processes
from edmjax._common.arguments import positive_leaf
from edmjax._common.deprecation import now_keywords
from edmjax._common.typing import Int, Network, Number, Scalar, Values
from edmjax.denoisers.network import Preconditioned, network_as_pytree
from edmjax.processes.tables import iddpm_table

_Coefficients: TypeAlias = tuple[Values, Values, Values, Values]


@register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class EDM(Preconditioned):
    """The denoiser that `edm` returns."""

    net: Network
    sigma_data: Scalar

    def coefficients(self, sigma: Values) -> _Coefficients:
        sigma_data = jnp.asarray(self.sigma_data, sigma.dtype)
        total = jnp.hypot(sigma, sigma_data)  # does not overflow where sigma ** 2 would
        # At 0 the output is multiplied by c_out = 0, so any finite c_noise gives D = x. The c_noise
        # of the lowest level of the paper's range keeps the network, and the slope of D, where it
        # was trained.
        seen = jnp.where(sigma > 0, sigma, 0.002)
        return (sigma_data / total) ** 2, sigma / total * sigma_data, 1 / total, jnp.log(seen) / 4


def edm(net: Network, sigma_data: Scalar = 0.5) -> EDM:
    """The denoiser of a network `net(x, c_noise[, cond]) -> F` with EDM preconditioning.

        D(x; sigma) = c_skip x + c_out F(c_in x, c_noise)
        c_skip = sigma_data^2 / (sigma^2 + sigma_data^2)
        c_out  = sigma sigma_data / sqrt(sigma^2 + sigma_data^2)
        c_in   = 1 / sqrt(sigma^2 + sigma_data^2)
        c_noise = log(sigma) / 4

    `net` gets `c_in x` in the dtypes of `x` and `c_noise` in the shape of `sigma`. At `sigma = 0`
    the result is `x`, and `c_noise` is the one of 0.002. Parameters travel through `jit` where
    `net` is a pytree (a Flax NNX module, a `jax.tree_util.Partial` of arrays); a plain function is
    static, with what it closes over. `jax.vmap` over networks makes each denoiser within the map:
    a denoiser of stacked parameters has one `sigma_data`, which has no axis to map.

    Args:
        net: the network.
        sigma_data: the standard deviation of the data, as in training.

    Raises:
        TypeError: `net` is not callable, or already a denoiser; `x` is not floating.
        ValueError: `sigma_data` is not positive, `sigma` does not fit `x`, or the network returns
            another structure or shape than `x` has.

    Source: Karras et al. (2022), Table 1 (rightmost column) and equation 7.
    """
    return EDM(network_as_pytree(net), positive_leaf(sigma_data, "sigma_data"))


@register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Song(Preconditioned):
    """The denoiser that `song` returns."""

    net: Network
    sigma: Scalar

    def coefficients(self, sigma: Values) -> _Coefficients:
        one = jnp.ones_like(sigma)
        return one, sigma, one, processes.song_ve(self.sigma).time(sigma)


def song(net: Network, sigma: Scalar = 25.0) -> Song:
    """The denoiser of a network `net(x, t[, cond]) -> F` trained on the SDE dx = sigma^t dw.

    With the standard deviation `std(t) = sqrt((sigma^(2t) - 1) / (2 log sigma))` of that SDE, its
    network estimates `score = F / std(t)`; hence at level `s`

        D(x; s) = x + s F(x, t(s)),    t(s) = log(1 + 2 s^2 log sigma) / (2 log sigma).

    The network must not divide by `std` itself. Raises as `edm` does, and ValueError where `sigma`,
    the base, is not above 1. Source: the score-based tutorial of Song, whose sigma is 25; Song et
    al. (2021), equation 30 for the loss.
    """
    processes.song_ve(sigma)  # raises where the base makes no process
    return Song(network_as_pytree(net), positive_leaf(sigma, "sigma"))


@register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class VP(Preconditioned):
    """The denoiser that `vp` returns."""

    net: Network
    process: processes.Process
    last: Scalar

    def coefficients(self, sigma: Values) -> _Coefficients:
        total = jnp.hypot(1, sigma)
        time = self.process.time(sigma) * jnp.asarray(self.last, sigma.dtype)
        return jnp.ones_like(sigma), -sigma, 1 / total, time


def vp(
    net: Network,
    beta_min: Scalar = 0.1,
    beta_max: Scalar = 20.0,
    num_timesteps: Scalar = 1000,
) -> VP:
    """The denoiser of a network `net(x_vp, 999 t[, cond]) -> eps` trained on the VP SDE.

        D(x; sigma) = x - sigma F(x / sqrt(1 + sigma^2), (M - 1) t(sigma)),    M = num_timesteps

    `t(sigma)` is the time of `processes.vp(beta_min, beta_max)`. Raises as `edm` and that process
    do. Source: Karras et al. (2022), Table 1, with `beta_d = beta_max - beta_min`.
    """
    process = processes.vp(beta_min, beta_max)
    last = positive_leaf(num_timesteps, "num_timesteps") - 1
    return VP(network_as_pytree(net), process, last)


@register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class VE(Preconditioned):
    """The denoiser that `ve` returns."""

    net: Network

    def coefficients(self, sigma: Values) -> _Coefficients:
        one = jnp.ones_like(sigma)
        # As in `EDM`, any finite number will do at 0; 0.02 is the paper's lowest level.
        return one, sigma, one, jnp.log(jnp.where(sigma > 0, sigma, 0.02) / 2)


def ve(net: Network) -> VE:
    """The denoiser of a network `net(x, c_noise[, cond])` trained on the geometric VE SDE.

        D(x; sigma) = x + sigma F(x, log(sigma / 2))

    Raises as `edm` does. Source: Karras et al. (2022), Table 1.
    """
    return VE(network_as_pytree(net))


@register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class IDDPM(Preconditioned):
    """The denoiser that `iddpm` returns."""

    net: Network
    table: Values
    learned_range: bool = dataclasses.field(default=False, metadata={"static": True})

    def coefficients(self, sigma: Values) -> _Coefficients:
        table = jnp.asarray(self.table, sigma.dtype)
        # Entry i of the table is u_(M-1-i), so its index is the number that the network knows.
        step = jnp.argmin(jnp.abs(table - sigma[..., None]), axis=-1).astype(sigma.dtype)
        return jnp.ones_like(sigma), -sigma, 1 / jnp.hypot(1, sigma), step


def iddpm(
    net: Network,
    num_timesteps: Int = 1000,
    *,
    c1: Number = 0.001,
    c2: Number = 0.008,
    learned_range: bool = False,
) -> IDDPM:
    """The denoiser of an improved-DDPM (ADM) network `net(x_vp, step[, cond]) -> eps`.

        D(x; sigma) = x - sigma F(x / sqrt(1 + sigma^2), M - 1 - argmin_j |u_j - sigma|)

    `u_j`, j = 0 ... M - 1, are the levels of `schedules.iddpm_table`, nearest in sigma itself. With
    `learned_range` the network has twice the channels, as most of the kind do, and the denoiser
    returns `{"x0", "log_var"}`, where `log_var` is the second half as it is; samplers with fixed
    variances do not read it. Raises as `edm` and the table do, and ValueError where the channels
    disagree with `learned_range`. Source: Karras et al. (2022), Table 1.
    """
    table = iddpm_table(num_timesteps, c1=c1, c2=c2)
    return IDDPM(network_as_pytree(net), table, bool(learned_range))


@register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Flow(Preconditioned):
    """The denoiser that `flow` returns."""

    net: Network

    def coefficients(self, sigma: Values) -> _Coefficients:
        alpha, t = processes.flow().scale_of(sigma), processes.flow().time(sigma)
        return alpha, -t, alpha, t


def flow(net: Network) -> Flow:
    """The denoiser of a rectified-flow network `net(x_t, t[, cond]) -> v`, `v = n - x0`.

        x_t = (1 - t) x0 + t n = x / (1 + sigma),    t = sigma / (1 + sigma),    D = x_t - t v

    `t` runs from 0, the data, to 1, the noise. A network with time the other way (noise at 0, `v =
    x0 - n`) is `lambda x, t: -net(x, 1 - t)`; one that counts to 1000 is `lambda x, t: net(x, 1000
    * t)`. Raises as `edm` does. Source: Liu et al. (2023); Lipman et al. (2023).
    """
    return Flow(network_as_pytree(net))


@register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Consistency(Preconditioned):
    """The denoiser that `consistency` returns."""

    net: Network
    sigma_min: Scalar
    sigma_data: Scalar

    def coefficients(self, sigma: Values) -> _Coefficients:
        low = jnp.asarray(self.sigma_min, sigma.dtype)
        sigma_data = jnp.asarray(self.sigma_data, sigma.dtype)
        sigma = jnp.maximum(sigma, low)  # below the boundary the same as at it: x itself
        total = jnp.hypot(sigma, sigma_data)
        c_skip = (sigma_data / jnp.hypot(sigma - low, sigma_data)) ** 2
        return c_skip, (sigma - low) / total * sigma_data, 1 / total, jnp.log(sigma) / 4


@now_keywords("sigma_min", "sigma_data")
def consistency(
    net: Network, *, sigma_min: Scalar = 0.002, sigma_data: Scalar = 0.5
) -> Consistency:
    """The consistency function `f(x, sigma)` of a network `net(x, c_noise[, cond]) -> F`.

        c_skip = sigma_data^2 / ((sigma - sigma_min)^2 + sigma_data^2)
        c_out  = sigma_data (sigma - sigma_min) / sqrt(sigma^2 + sigma_data^2)

    and `c_in`, `c_noise` as in `edm`. At the boundary `sigma_min`, and below it, `f(x, sigma) = x`
    whatever the network. Published code passes `1000 c_noise`: `lambda x, c: net(x, 1000 * c)`.
    Raises as `edm` does. Source: Song et al. (2023), "Consistency models", appendix C.
    """
    low, width = positive_leaf(sigma_min, "sigma_min"), positive_leaf(sigma_data, "sigma_data")
    return Consistency(network_as_pytree(net), low, width)
