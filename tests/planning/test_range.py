"""A denoiser that declares its levels: what is asked outside of them is refused."""

import jax
import numpy as np
import pytest
from support.helpers import over

import edmjax as ej

POINTS = jax.random.normal(jax.random.key(0), (3, 2))


def ranged():
    """A denoiser that knows the levels from 0.05 to 50."""
    denoise = ej.denoisers.edm(lambda x, c: x)
    object.__setattr__(denoise, "sigma_range", (0.05, 50.0))
    return denoise


CALLS = {
    "adaptive": lambda d, **ends: ej.adaptive.sample(d, ej.adaptive.multistep(), POINTS, **ends),
    "terms": lambda d, **ends: ej.terms.adaptive_sample(d, POINTS, **ends),
    "likelihood": lambda d, **ends: ej.likelihood.log_likelihood(d, POINTS, **ends),
    "encode": lambda d, **ends: ej.likelihood.encode(d, POINTS, **ends),
    "decode": lambda d, **ends: ej.likelihood.decode(d, POINTS, **ends),
}


@pytest.mark.parametrize("name", CALLS)
def test_calls_of_two_levels_refuse_a_denoiser_of_another_range(name):
    for low, high in ((0.01, 50.0), (0.05, 80.0)):
        with pytest.raises(ValueError, match=r"declares `sigma_range` \(0.05, 50\): choose levels"):
            CALLS[name](ranged(), sigma_min=low, sigma_max=high)
        with pytest.raises(ValueError, match=r"choose levels"):
            CALLS[name](ej.guidance.clip(ranged()), sigma_min=low, sigma_max=high)


@pytest.mark.parametrize("name", over(CALLS, ("adaptive",), CALLS))
def test_they_take_levels_within_the_range(name, unchecked):
    """Traced and not compiled; a report of no numbers is not what its annotations say."""
    jax.eval_shape(lambda: CALLS[name](ranged(), sigma_min=np.float32(0.05), sigma_max=1.0))
