"""Fixed weights of levels, as the papers give them for each prediction."""

import jax.numpy as jnp
import numpy as np
import pytest

from edmjax import losses

SIGMA = np.geomspace(1e-3, 1e3, 61)
SNR = 1 / SIGMA**2
C_OUT = {"eps": SIGMA, "v": SIGMA / np.sqrt(1 + SIGMA**2), "x0": np.ones(61)}


def test_min_snr_has_the_weights_of_its_paper():
    """Hang et al. 2023: min(SNR, 5) of x0, over SNR for eps, over SNR + 1 for v."""
    expected = {
        "eps": np.minimum(SNR, 5) / SNR,
        "v": np.minimum(SNR, 5) / (SNR + 1),
        "x0": np.minimum(SNR, 5),
    }
    for kind, c_out in C_OUT.items():
        np.testing.assert_allclose(losses.min_snr(SIGMA, c_out), expected[kind], rtol=1e-5)
    of_one = losses.min_snr(SIGMA, SIGMA, gamma=1.0)
    np.testing.assert_allclose(of_one, np.minimum(SNR, 1) / SNR, rtol=1e-5)


def test_p2_has_the_weights_of_its_paper():
    """Choi et al. 2022: 1 / (k + SNR)^gamma of eps; the error of eps is alpha times that of v."""
    for gamma, k in ((1.0, 1.0), (0.5, 2.0)):
        eps = 1 / (k + SNR) ** gamma
        expected = {"eps": eps, "v": eps * SNR / (1 + SNR), "x0": eps * SNR}
        for kind, c_out in C_OUT.items():
            found = losses.p2(SIGMA, c_out, gamma=gamma, k=k)
            np.testing.assert_allclose(found, expected[kind], rtol=1e-5)


def test_weights_are_finite_at_levels_whose_squares_are_not():
    sigma = jnp.asarray([1e-25, 1e18], jnp.float32)
    for rule in (losses.min_snr, losses.p2):
        assert np.isfinite(rule(sigma, sigma)).all()
    for rule, name in ((losses.min_snr, "gamma"), (losses.p2, "gamma"), (losses.p2, "k")):
        with pytest.raises(ValueError, match=f"`{name}` must be positive"):
            rule(sigma, sigma, **{name: 0.0})
