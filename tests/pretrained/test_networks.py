"""Networks of diffusers: what they compute, against goldens of diffusers with redrawn weights.

`checks/pretrained_goldens.py` has made the goldens, in float64 and in float32.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from edmjax.pretrained import building, names
from support.pretrained import cases, golden, redrawn


def network(config, dtype=np.float64):
    """The network of a configuration with its arrays redrawn, as a function of NCHW images."""
    _, make = building.build(config, "config.json")
    apply, shapes = building.shapes_of(make, "config.json")
    arrays = {}
    for name, leaf in shapes.items():
        drawn = redrawn(names.in_file(name), names.shape_in_file(name, leaf.shape))
        arrays[name] = jnp.asarray(names.from_file(name, drawn), dtype)
    net = jax.jit(apply.__call__)

    def call(x, t, cond):
        y = net(arrays, jnp.asarray(np.moveaxis(x, 1, -1), dtype), t, cond)
        return np.moveaxis(np.asarray(y), -1, 1)

    return call


def error(case, dtype, net=network):
    """The largest error, over the largest entry of the output."""
    given = dict(golden(case))
    call = net(given.pop("config"), dtype)
    x, t, out, out32 = (given.pop(name) for name in ("x", "t", "out", "out32"))
    out = out32 if dtype is np.float32 else out
    got = call(x, t, given or None)
    return np.abs(got - out).max() / np.abs(out).max()


ALL = cases("")


@pytest.mark.parametrize("case", ALL)
def test_float64(case, x64):
    assert error(case, np.float64) < 1e-9


@pytest.mark.parametrize("dtype, most", [(np.float32, 1e-5), (jnp.bfloat16, 0.1)])
@pytest.mark.parametrize("case", ALL)
def test_narrow(case, dtype, most):
    found = error(case, dtype)
    print(case, dtype, found)
    assert found < most
