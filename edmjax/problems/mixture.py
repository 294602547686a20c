"""Data from a mixture of Gaussians."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Num

from edmjax._common.arguments import on_host
from edmjax._common.arrays import register_fields
from edmjax._common.typing import Arraylike
from edmjax.problems.conditioned import Matrices, log_sum, module_of, read, updated
from edmjax.problems.problem import Problem, freeze, from_basis, positive, spectrum, to_basis


@register_fields
@dataclasses.dataclass(frozen=True, init=False, eq=False)
class Mixture(Problem):
    """Data from a mixture of Gaussians, `sum_k weights[k] N(means[k], covs[k])`.

    With responsibilities `r_k = P(component k | x)` and each component's own denoiser,

        denoise(x, sigma) = sum_k r_k denoise_k(x, sigma),   r = softmax(log(weights) + log N_k(x)).

    `means` has shape `(k, *point)`; `covs` is a scalar variance, `(k,)` variances, `(k, *point)`
    diagonals, or `(k, d, d)` matrices over the flattened point. If two of these fit the shape, the
    earlier one is taken. `weights` are positive and sum to 1 (to 1e-6): they are not normalised
    here. A call holds an array of shape `(batch, k, d)`; for a large data set with equal weights
    see `Empirical`.

    Raises as `Gaussian` does, and ValueError for weights that are not such.
    """

    weights: Num[Array | np.ndarray, " k"]
    means: Num[Array | np.ndarray, "k ..."]
    variances: Num[Array | np.ndarray, "k d"]
    bases: Num[Array | np.ndarray, "k d d"] | None  # eigenvectors in columns; None where diagonal
    log_evidence: Num[Array | np.ndarray, ""] | None  # of a posterior, in nats

    def __init__(self, weights: Arraylike, means: Arraylike, covs: Arraylike):
        w, mu, cov = on_host(weights, "weights"), on_host(means, "means"), on_host(covs, "covs")
        if mu.ndim < 1 or w.shape != mu.shape[:1] or not len(w):
            raise ValueError(
                f"weights has shape {w.shape} and means {mu.shape}: "
                "expected (k,) and (k, d), one weight a component, and at least one component."
            )
        if not (w > 0).all() or abs(w.sum() - 1) > 1e-6:
            raise ValueError(
                "`weights` must be positive and sum to 1: "
                f"got a least weight of {w.min()} and a sum of {w.sum()}."
            )
        if cov.ndim == 0:
            cov = np.broadcast_to(cov, w.shape)
        if cov.shape[:1] != w.shape:
            raise ValueError(
                f"covs has shape {cov.shape} for {len(w)} components: expected (), (k,), "
                "the shape of means, or (k, d, d)."
            )
        parts = [spectrum(np.asarray(c), mu.shape[1:]) for c in cov]
        variances = np.stack([variances for variances, _ in parts])
        found = [basis for _, basis in parts if basis is not None]
        bases = np.stack(found) if found else None
        freeze(self, weights=w, means=mu, variances=variances, bases=bases, log_evidence=None)

    def condition(self, measurement: Matrices) -> "Mixture":
        """The exact posterior under a linear Gaussian measurement `y = A x0 + noise`: a mixture.

        Each component becomes its own posterior, as in `Gaussian.condition`, and its weight is
        multiplied by its evidence N(y; A m_k, A C_k A^T + R). `log_evidence` is log p(y) in nats.
        Raises as `Gaussian.condition` does.
        """
        matrices = read(measurement, self._event)
        parts = [
            updated(
                self.means[k].reshape(-1),
                self.variances[k],
                None if self.bases is None else self.bases[k],
                matrices,
            )
            for k in range(len(self.weights))
        ]
        xp = module_of(*(leaf for part in parts for leaf in part))
        means, variances, bases, evidence = (xp.stack(v) for v in zip(*parts, strict=True))
        joint = xp.log(self.weights) + evidence
        total = log_sum(joint)
        posterior = object.__new__(Mixture)
        freeze(posterior, weights=xp.exp(joint - total), means=means.reshape(self.means.shape))
        freeze(posterior, variances=variances, bases=bases, log_evidence=total)
        return posterior

    @property
    def _event(self):
        return np.shape(self.means)[1:]

    def _least_variance(self):
        return self.variances

    def _parts(self, x, sigma):
        """The parts of all formulas, a row a component: shapes (k, d), (..., k, d) or (..., k).

        `z` is `x - means` in the bases. An offset of size d log sigma that all components share is
        left out of the log joint, so that differences between them are not rounded away at large
        sigma.
        """
        means = jnp.asarray(self.means, x.dtype).reshape(np.shape(self.means)[0], -1)
        v = jnp.asarray(self.variances, x.dtype)
        bases = None if self.bases is None else jnp.asarray(self.bases, x.dtype)
        total = positive(v + sigma[..., None] ** 2)
        z = to_basis(x[..., None, :] - means, bases)
        half_log_det = 0.5 * jnp.sum(jnp.log(2 * np.pi * total), axis=-1)
        offset = half_log_det[..., :1]
        log_weights = jnp.log(jnp.asarray(self.weights, x.dtype))
        log_joint = log_weights - 0.5 * jnp.sum(z**2 / total, axis=-1) - (half_log_det - offset)
        return means, v, total, bases, z, log_joint, offset[..., 0]

    def _denoise(self, x, sigma):
        means, v, total, bases, z, log_joint, _ = self._parts(x, sigma)
        denoised = means + from_basis(v / total * z, bases)
        return jnp.sum(jax.nn.softmax(log_joint)[..., None] * denoised, axis=-2)

    def _score(self, x, sigma):
        _, _, total, bases, z, log_joint, _ = self._parts(x, sigma)
        scores = -from_basis(z / total, bases)
        return jnp.sum(jax.nn.softmax(log_joint)[..., None] * scores, axis=-2)

    def _log_prob(self, x, sigma):
        *_, log_joint, offset = self._parts(x, sigma)
        return jax.nn.logsumexp(log_joint, axis=-1) - offset

    def _draw(self, key, dtype):
        which, normal = jax.random.split(key)
        k = jax.random.categorical(which, jnp.log(jnp.asarray(self.weights, dtype)))
        mean = jnp.ravel(jnp.asarray(self.means, dtype)[k])
        spread = jnp.sqrt(jnp.asarray(self.variances, dtype)[k])
        z = spread * jax.random.normal(normal, mean.shape, dtype)
        basis = None if self.bases is None else jnp.asarray(self.bases, dtype)[k]
        return mean + from_basis(z, basis)
