"""Samples made in float32 against the same samples made in float64, every sampler."""

import importlib.util
import pathlib

import numpy as np
import pytest
from support.helpers import ALL, mixture

SCRIPT = pathlib.Path(__file__).parents[2] / "benchmarks" / "bench_precision.py"


def differences(*arguments):
    spec = importlib.util.spec_from_file_location("bench_precision", SCRIPT)
    bench = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bench)
    return bench.differences(*arguments)


def check(name, num_steps):
    """In units of the data's standard deviation. Rounding a sample once makes 3e-8 of it.

    The median is that of the sums, the percentile that of the samples between two modes, where
    the flow itself makes a difference grow. A difference of nothing would be float64 twice.
    """
    found = differences(ALL[name][0](), num_steps, mixture(), 2048)
    assert 1e-9 < np.median(found) < 1e-6
    assert np.quantile(found, 0.99) < 5e-5


@pytest.mark.parametrize("name", ["heun", "dpmpp_3m_sde", "sa_solver"])
def test_float32_is_float64(name):
    """Besides Heun, the two of the table that lose most: their weights are up to 5."""
    check(name, 10)


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_float32_is_float64_at_all_lengths(name):
    for num_steps in (10, 18, 50, 100):
        check(name, num_steps)
