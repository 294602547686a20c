"""A mixture of many Gaussians with one covariance: the posterior of a data set."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Num

from edmjax._common.arrays import register_fields
from edmjax.problems.conditioned import Update, log_sum, module_of
from edmjax.problems.problem import Problem, freeze, from_basis, positive, ratio, to_basis


@register_fields
@dataclasses.dataclass(frozen=True, init=False, eq=False)
class Tied(Problem):
    """Data from `sum_i weights[i] N(means[i], C)`, what `Empirical.condition` returns.

    In the basis of `C` with variances `v`, with `m = sum_i r_i means[i]`, and `r` the softmax of
    `log weights[i] - sum (x - means[i])^2 / (2 (v + sigma^2))`,

        denoise(x, sigma) = m + v / (v + sigma^2) (x - m).

    Attributes:
        log_weights: of the points, (n,); they sum to 1 as weights.
        log_evidence: log p(y) in nats.
    """

    log_weights: Num[Array | np.ndarray, " n"]
    centred: Num[Array | np.ndarray, "n d"]  # in the basis, minus `centre`
    centre: Num[Array | np.ndarray, "..."]
    variances: Num[Array | np.ndarray, " d"]
    basis: Num[Array | np.ndarray, "d d"]
    log_evidence: Num[Array | np.ndarray, ""]

    def __init__(self, new: Update, event: tuple[int, ...], n: int):
        xp, total = module_of(*new), log_sum(new.log_evidence)
        # About the likely points, where differences are what counts.
        centre = xp.exp(new.log_evidence - total) @ new.mean
        freeze(
            self,
            log_weights=new.log_evidence - total,
            centred=(new.mean - centre) @ new.basis,
            centre=centre.reshape(event),
            variances=new.variances,
            basis=new.basis,
            log_evidence=total - np.log(n),
        )

    @property
    def _event(self):
        return np.shape(self.centre)

    def _least_variance(self):
        return self.variances

    def _parts(self, x, sigma):
        """In the basis: the points, the total variance, `x`, and the log of the joint weights.

        Of the log joint what is common to all points is left out, for it would round the rest away.
        """
        data, v = jnp.asarray(self.centred, x.dtype), jnp.asarray(self.variances, x.dtype)
        basis = jnp.asarray(self.basis, x.dtype)
        z = to_basis(x - jnp.ravel(jnp.asarray(self.centre, x.dtype)), basis)
        total = positive(v + sigma**2)
        fit = jnp.einsum("...d,nd->...n", z / total, data, precision=lax.Precision.HIGHEST)
        half = 0.5 * jnp.einsum(
            "...d,nd->...n",
            jnp.broadcast_to(1 / total, (*sigma.shape[:-1], total.shape[-1])),
            data**2,
            precision=lax.Precision.HIGHEST,
        )
        return data, v, total, basis, z, jnp.asarray(self.log_weights, x.dtype) + fit - half

    def _mean(self, data, log_joint):
        weights = jax.nn.softmax(log_joint)
        return jnp.einsum("...n,nd->...d", weights, data, precision=lax.Precision.HIGHEST)

    def _denoise(self, x, sigma):
        data, v, total, basis, z, log_joint = self._parts(x, sigma)
        mean = self._mean(data, log_joint)
        centre = jnp.ravel(jnp.asarray(self.centre, x.dtype))
        return centre + from_basis(mean + ratio(v, total) * (z - mean), basis)

    def _score(self, x, sigma):
        data, _, total, basis, z, log_joint = self._parts(x, sigma)
        return from_basis((self._mean(data, log_joint) - z) / total, basis)

    def _log_prob(self, x, sigma):
        *_, total, _, z, log_joint = self._parts(x, sigma)
        common = -0.5 * jnp.sum(z**2 / total + jnp.log(2 * np.pi * total), axis=-1)
        return common + jax.nn.logsumexp(log_joint, axis=-1)

    def _draw(self, key, dtype):
        which, normal = jax.random.split(key)
        i = jax.random.categorical(which, jnp.asarray(self.log_weights, dtype))
        v = jnp.asarray(self.variances, dtype)
        z = jnp.asarray(self.centred, dtype)[i]
        z = z + jnp.sqrt(v) * jax.random.normal(normal, z.shape, dtype)
        return jnp.ravel(jnp.asarray(self.centre, dtype)) + from_basis(
            z, jnp.asarray(self.basis, dtype)
        )
