"""Fixed weights for the noise levels of a loss, in place of the weight of each loss's own.

A network returns `F`, its denoiser is `D = c_skip x + c_out F`, and a loss is the squared error of
`F`. So a weight `w` of the squared error of `D` is the weight `w c_out^2` of the loss:

    each = losses.prediction_per_sample(...)
    loss = (losses.min_snr(each.sigma, c_out) * each.loss).mean()

| the network predicts | `c_out` |
| --- | --- |
| eps (`dsm` too) | `sigma` |
| v, in a process that preserves variance | `sigma / sqrt(1 + sigma^2)` |
| x0 | 1 |
| the velocity of a flow | `sigma / (1 + sigma)` |
| the output of `edm` | `sigma sigma_data / sqrt(sigma^2 + sigma_data^2)` |

The signal-to-noise ratio is `SNR = 1 / sigma^2`: `alpha^2 / s^2` at `x_t = alpha x0 + s n`.
"""

import jax.numpy as jnp

from edmjax._common.arguments import real
from edmjax._common.typing import Arraylike, Scalar, Values


def min_snr(sigma: Arraylike, c_out: Arraylike, *, gamma: Scalar = 5.0) -> Values:
    """The weight of a loss at `sigma` with which `D` has the weight `min(SNR, gamma)`.

    That is `min(1, gamma / SNR)` where the network predicts eps, `min(SNR, gamma) / (SNR + 1)` for
    v and `min(SNR, gamma)` for x0. Low levels, where eps is hard to tell, count less.

    Raises ValueError where `gamma` is not positive. Source: Hang et al. 2023 (arXiv 2303.09556),
    "Min-SNR-gamma"; its `gamma` is 5.
    """
    gamma = real(gamma, "gamma", above=0)
    sigma, c_out = jnp.asarray(sigma), jnp.asarray(c_out)
    # c_out / sigma first: at low levels SNR alone would overflow.
    return jnp.minimum((c_out / sigma) ** 2, gamma * c_out**2)


def p2(sigma: Arraylike, c_out: Arraylike, *, gamma: Scalar = 1.0, k: Scalar = 1.0) -> Values:
    """The weight of a loss at `sigma` with which eps has the weight `1 / (k + SNR)^gamma`.

    `D` then has `SNR / (k + SNR)^gamma`. Low levels, whose details are hardly seen, count less.

    Raises ValueError where `gamma` or `k` is not positive. Source: Choi et al. 2022 (arXiv
    2204.00227), "P2 weighting"; its `k` is 1, and its `gamma` 0.5 or 1.
    """
    gamma, k = real(gamma, "gamma", above=0), real(k, "k", above=0)
    sigma, c_out = jnp.asarray(sigma), jnp.asarray(c_out)
    return (c_out / sigma) ** 2 * (sigma**2 / (k * sigma**2 + 1)) ** gamma
