"""A denoiser that declares its levels: what is asked outside of them is refused."""

import jax
import numpy as np
import pytest

import edmjax as ej

POINTS = jax.random.normal(jax.random.key(0), (3, 2))


def ranged():
    """A denoiser that knows the levels from 0.05 to 50."""
    denoise = ej.denoisers.edm(lambda x, c: x)
    object.__setattr__(denoise, "sigma_range", (0.05, 50.0))
    return denoise


@pytest.mark.parametrize(
    "call",
    [
        lambda d, **ends: ej.adaptive.sample(d, ej.adaptive.multistep(), POINTS, **ends),
        lambda d, **ends: ej.terms.adaptive_sample(d, POINTS, **ends),
        lambda d, **ends: ej.likelihood.log_likelihood(d, POINTS, **ends),
        lambda d, **ends: ej.likelihood.encode(d, POINTS, **ends),
        lambda d, **ends: ej.likelihood.decode(d, POINTS, **ends),
    ],
)
def test_calls_of_two_levels_refuse_a_denoiser_of_another_range(call):
    for low, high in ((0.01, 50.0), (0.05, 80.0)):
        with pytest.raises(ValueError, match=r"declares `sigma_range` \(0.05, 50\): choose levels"):
            call(ranged(), sigma_min=low, sigma_max=high)
        with pytest.raises(ValueError, match=r"choose levels"):
            call(ej.guidance.clip(ranged()), sigma_min=low, sigma_max=high)
    call(ranged(), sigma_min=np.float32(0.05), sigma_max=1.0)
