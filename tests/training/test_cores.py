"""On a CPU each core is a device, where a batch divides and nobody chose otherwise."""

import os
import subprocess
import sys

import jax
import pytest

from edmjax import training

CODE = """
import os, sys
os.sched_getaffinity = lambda pid: set(range(3))
import jax
from edmjax.training import split_over_cores
mesh = split_over_cores(int(sys.argv[1]))
print(mesh and mesh.shape["data"], jax.device_count())
"""


@pytest.mark.parametrize(
    "batch_size, flags, devices",
    [
        (96, "", "3 3"),
        pytest.param(100, "", "2 2", marks=pytest.mark.thorough),  # 3 does not divide it
        pytest.param(40, "", "None 1", marks=pytest.mark.slow),  # too few for two
        pytest.param(
            96, "--xla_force_host_platform_device_count=2", "None 2", marks=pytest.mark.slow
        ),
    ],
)
def test_a_device_a_core(batch_size, flags, devices):
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    environment.pop("JAX_NUM_CPU_DEVICES", None)
    command = [sys.executable, "-c", CODE, str(batch_size)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[-2] == devices


def test_devices_that_are_in_use_stay():
    number = jax.device_count()
    assert training.split_over_cores(128) is None
    assert jax.device_count() == number
