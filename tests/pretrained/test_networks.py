"""Networks of diffusers: what they compute, against goldens of diffusers with redrawn weights.

`checks/pretrained_goldens.py` has made the goldens, in float64 and in float32.
"""

import jax.numpy as jnp
import numpy as np
import pytest
from support.pretrained import cases
from support.pretrained_error import error

ALL = [case for kind in ("unet2d", "condition", "dit", "kl") for case in cases(kind)]
QUICK = "unet2d_plain"
TIERS = [c if c == QUICK else pytest.param(c, marks=pytest.mark.thorough) for c in ALL]


@pytest.mark.parametrize("case", TIERS)
def test_float64(case, x64):
    assert error(case, np.float64) < 1e-9


# Without a golden in bfloat16: its own error, eight binary digits in each of some thirty layers.
@pytest.mark.slow
@pytest.mark.parametrize("dtype, most", [(np.float32, 1e-5), (jnp.bfloat16, 0.06)])
@pytest.mark.parametrize("case", ALL)
def test_narrow(case, dtype, most):
    assert error(case, dtype) < most
