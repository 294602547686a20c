"""One device a core on a CPU, as XLA leaves most of its operations to one core of a device."""

import os
from typing import Any

import jax
from jax.sharding import Mesh

from edmjax.training.mesh import make_mesh

SMALLEST_SHARE = 32  # samples a device: what each device does on its own is no more than they cost


def split_over_cores(batch_size: int) -> Mesh | None:
    """A mesh of CPU devices, one a core, that split a batch; None where there is nothing to split.

    To be called before any device is used: later, JAX has as many as it has. As many cores are
    taken as divide `batch_size` and leave each `SMALLEST_SHARE` samples. None too where the default
    devices are no CPUs, or the number of CPU devices was chosen by someone else (`XLA_FLAGS`,
    `JAX_NUM_CPU_DEVICES`).
    """
    chosen = "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", "")
    config: Any = jax.config
    if chosen or config.jax_num_cpu_devices > 0:
        return None
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    most = min(cores or 1, batch_size // SMALLEST_SHARE)
    number = max((n for n in range(1, most + 1) if batch_size % n == 0), default=1)
    if number == 1:
        return None
    try:
        jax.config.update("jax_num_cpu_devices", number)
    except RuntimeError:  # a device was used already
        return None
    return make_mesh() if jax.default_backend() == "cpu" else None
