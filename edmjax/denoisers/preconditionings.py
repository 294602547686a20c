"""Preconditionings: networks `F` made denoisers by the coefficients that they were trained with."""

import dataclasses
from typing import Any

import jax.numpy as jnp
from jax.tree_util import register_dataclass

from edmjax import processes
from edmjax._common.arguments import positive_number
from edmjax._common.functions import as_pytree
from edmjax.denoisers._network import Preconditioned
from edmjax.processes.tables import iddpm_table


@register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class EDM(Preconditioned):
    """See `edm`."""

    net: Any
    sigma_data: Any

    def coefficients(self, sigma):
        sigma_data = jnp.asarray(self.sigma_data, sigma.dtype)
        total = jnp.hypot(sigma, sigma_data)  # does not overflow where sigma ** 2 would
        # At 0 the output is multiplied by c_out = 0, so any finite c_noise gives D = x; that of the
        # least level of the paper's range keeps the network, and the slope of D, where it was
        # trained.
        seen = jnp.where(sigma > 0, sigma, 0.002)
        return (sigma_data / total) ** 2, sigma / total * sigma_data, 1 / total, jnp.log(seen) / 4


def edm(net: Any, sigma_data: Any = 0.5) -> EDM:
    """The denoiser of a network `net(x, c_noise[, cond]) -> F` with EDM preconditioning.

        D(x; sigma) = c_skip x + c_out F(c_in x, c_noise)
        c_skip = sigma_data^2 / (sigma^2 + sigma_data^2)
        c_out  = sigma sigma_data / sqrt(sigma^2 + sigma_data^2)
        c_in   = 1 / sqrt(sigma^2 + sigma_data^2)
        c_noise = log(sigma) / 4

    `net` gets `c_in x` in the dtypes of `x` and `c_noise` in the shape of `sigma`. At `sigma = 0`
    the result is `x`, and `c_noise` is that of 0.002. Parameters travel through `jit` where `net`
    is a pytree (a Flax NNX module, a `jax.tree_util.Partial` of arrays); a plain function is
    static, with what it closes over.

    Raises:
        TypeError: `net` is not callable, `x` is not floating.
        ValueError: `sigma_data` is not positive, `sigma` does not fit `x`, or the network returns
            another structure or shape than that of `x`.

    Source: Karras et al. (2022), Table 1 (rightmost column) and equation 7.
    """
    return EDM(as_pytree(net, "net"), positive_number("sigma_data", sigma_data))


@register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Song(Preconditioned):
    """See `song`."""

    net: Any
    sigma: Any

    def coefficients(self, sigma):
        one = jnp.ones_like(sigma)
        return one, sigma, one, processes.song_ve(self.sigma).time(sigma)


def song(net: Any, sigma: Any = 25.0) -> Song:
    """The denoiser of a network `net(x, t[, cond]) -> F` trained on the SDE dx = sigma^t dw.

    With the standard deviation `std(t) = sqrt((sigma^(2t) - 1) / (2 log sigma))` of that SDE, its
    network estimates `score = F / std(t)`; hence at level `s`

        D(x; s) = x + s F(x, t(s)),    t(s) = log(1 + 2 s^2 log sigma) / (2 log sigma).

    The network itself is not to divide by `std`. Raises as `edm` does, and where `sigma`, the base,
    is not above 1. Source: the score-based tutorial of Song, whose sigma is 25; Song et al. (2021),
    equation 30 for the loss.
    """
    processes.song_ve(sigma)  # raises where the base makes no process
    return Song(as_pytree(net, "net"), positive_number("sigma", sigma))


@register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class VP(Preconditioned):
    """See `vp`."""

    net: Any
    process: Any
    last: Any

    def coefficients(self, sigma):
        total = jnp.hypot(1, sigma)
        time = self.process.time(sigma) * jnp.asarray(self.last, sigma.dtype)
        return jnp.ones_like(sigma), -sigma, 1 / total, time


def vp(net: Any, beta_min: Any = 0.1, beta_max: Any = 20.0, num_timesteps: Any = 1000) -> VP:
    """The denoiser of a network `net(x_vp, 999 t[, cond]) -> eps` trained on the VP SDE.

        D(x; sigma) = x - sigma F(x / sqrt(1 + sigma^2), (M - 1) t(sigma)),    M = num_timesteps

    `t(sigma)` is the time of `processes.vp(beta_min, beta_max)`. Raises as `edm` and that process
    do. Source: Karras et al. (2022), Table 1, with `beta_d = beta_max - beta_min`.
    """
    process = processes.vp(beta_min, beta_max)
    return VP(as_pytree(net, "net"), process, positive_number("num_timesteps", num_timesteps) - 1)


@register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class VE(Preconditioned):
    """See `ve`."""

    net: Any

    def coefficients(self, sigma):
        one = jnp.ones_like(sigma)
        # As in `EDM`: any finite number serves at 0, and 0.02 is the paper's least level.
        return one, sigma, one, jnp.log(jnp.where(sigma > 0, sigma, 0.02) / 2)


def ve(net: Any) -> VE:
    """The denoiser of a network `net(x, c_noise[, cond])` trained on the geometric VE SDE.

        D(x; sigma) = x + sigma F(x, log(sigma / 2))

    Raises as `edm` does. Source: Karras et al. (2022), Table 1.
    """
    return VE(as_pytree(net, "net"))


@register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class IDDPM(Preconditioned):
    """See `iddpm`."""

    net: Any
    table: Any
    learned_range: bool = dataclasses.field(default=False, metadata={"static": True})

    def coefficients(self, sigma):
        table = jnp.asarray(self.table, sigma.dtype)
        # Entry i of the table is u_(M-1-i), so its index is the number that the network knows.
        step = jnp.argmin(jnp.abs(table - sigma[..., None]), axis=-1).astype(sigma.dtype)
        return jnp.ones_like(sigma), -sigma, 1 / jnp.hypot(1, sigma), step


def iddpm(
    net: Any,
    num_timesteps: int = 1000,
    *,
    c1: float = 0.001,
    c2: float = 0.008,
    learned_range: bool = False,
) -> IDDPM:
    """The denoiser of an improved-DDPM (ADM) network `net(x_vp, step[, cond]) -> eps`.

        D(x; sigma) = x - sigma F(x / sqrt(1 + sigma^2), M - 1 - argmin_j |u_j - sigma|)

    `u_j`, j = 0 ... M - 1, are the levels of `schedules.iddpm_table`, nearest in sigma itself. With
    `learned_range` the network has twice the channels, as most of the kind do, and the denoiser
    returns `{"x0", "log_var"}`, `log_var` being the second half as it is; a sampler with fixed
    variances does not read it. Raises as `edm` and the table do, and ValueError where the channels
    disagree with `learned_range`. Source: Karras et al. (2022), Table 1.
    """
    table = iddpm_table(num_timesteps, c1=c1, c2=c2)
    return IDDPM(as_pytree(net, "net"), table, bool(learned_range))


@register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Flow(Preconditioned):
    """See `flow`."""

    net: Any

    def coefficients(self, sigma):
        alpha, t = processes.flow().scale_of(sigma), processes.flow().time(sigma)
        return alpha, -t, alpha, t


def flow(net: Any) -> Flow:
    """The denoiser of a rectified-flow network `net(x_t, t[, cond]) -> v`, `v = n - x0`.

        x_t = (1 - t) x0 + t n = x / (1 + sigma),    t = sigma / (1 + sigma),    D = x_t - t v

    `t` runs from 0, the data, to 1, the noise. A network with time the other way (noise at 0, `v =
    x0 - n`) is `lambda x, t: -net(x, 1 - t)`; one that counts to 1000 is `lambda x, t: net(x, 1000
    * t)`. Raises as `edm` does. Source: Liu et al. (2023); Lipman et al. (2023).
    """
    return Flow(as_pytree(net, "net"))


@register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Consistency(Preconditioned):
    """See `consistency`."""

    net: Any
    sigma_min: Any
    sigma_data: Any

    def coefficients(self, sigma):
        low = jnp.asarray(self.sigma_min, sigma.dtype)
        sigma_data = jnp.asarray(self.sigma_data, sigma.dtype)
        sigma = jnp.maximum(sigma, low)  # below the boundary as at it: x itself
        total = jnp.hypot(sigma, sigma_data)
        c_skip = (sigma_data / jnp.hypot(sigma - low, sigma_data)) ** 2
        return c_skip, (sigma - low) / total * sigma_data, 1 / total, jnp.log(sigma) / 4


def consistency(net: Any, sigma_min: Any = 0.002, sigma_data: Any = 0.5) -> Consistency:
    """The consistency function `f(x, sigma)` of a network `net(x, c_noise[, cond]) -> F`.

        c_skip = sigma_data^2 / ((sigma - sigma_min)^2 + sigma_data^2)
        c_out  = sigma_data (sigma - sigma_min) / sqrt(sigma^2 + sigma_data^2)

    and `c_in`, `c_noise` of `edm`. At the boundary `sigma_min`, and below it, `f(x, sigma) = x`
    whatever the network. Published code passes `1000 c_noise`: `lambda x, c: net(x, 1000 * c)`.
    Raises as `edm` does. Source: Song et al. (2023), "Consistency models", appendix C.
    """
    low, width = positive_number("sigma_min", sigma_min), positive_number("sigma_data", sigma_data)
    return Consistency(as_pytree(net, "net"), low, width)
