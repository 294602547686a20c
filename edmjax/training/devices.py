"""Which devices and processes take part in a run, and the options of the commands that say so.

`jax.distributed` connects several processes, which run the same code, each on its own devices, as
one program. Process 0 alone writes what is not sharded, and shows progress bars.
"""

import argparse
import os
import re
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh

from edmjax._common.arguments import whole

AXES = ("data", "model")
SMALLEST_SHARE = 32  # samples a device: with fewer, the fixed cost of each device outweighs them
_PATIENCE_MS = 30 * 60 * 1000

# The options that `add_device_options` adds, as attributes of the parsed arguments.
DEVICE_OPTIONS = ("mesh", "distributed", "coordinator", "num_processes", "process_id")


def add_device_options(parser: argparse.ArgumentParser) -> None:
    """Adds `DEVICE_OPTIONS` to a parser, `argparse.ArgumentParser` or jsonargparse's."""
    group = parser.add_argument_group("Devices (no part of the configuration)")
    group.add_argument(
        "--mesh",
        help="axes whose product is the number of devices, such as data=4,model=2: data splits the "
        "batch, model each parameter (default: one device, on a CPU one for each core; with "
        "several processes all devices along data)",
    )
    group.add_argument(
        "--distributed",
        action="store_true",
        help="join the other processes of this job (TPU pod, SLURM, Open MPI, Kubernetes)",
    )
    group.add_argument("--coordinator", help="HOST:PORT of process 0, where JAX finds no cluster")
    group.add_argument("--num-processes", type=int, help="with --coordinator")
    group.add_argument("--process-id", type=int, help="with --coordinator, from 0")


def open_mesh(options: dict[str, Any], batch_size: int) -> Mesh | None:
    """Joins the processes and makes the mesh that the values of `DEVICE_OPTIONS` ask for.

    Call it before any device is used. None where one device does all the work. Raises what
    `initialize` and `make_mesh` raise.
    """
    processes = [options[name] for name in ("coordinator", "num_processes", "process_id")]
    joins = options["distributed"] or any(value is not None for value in processes)
    if joins:
        initialize(*processes)
    if joins or options["mesh"] is not None:
        return make_mesh(options["mesh"])
    return split_over_cores(batch_size)


def make_mesh(text: str | None = None) -> Mesh:
    """The mesh of a text such as `data=4,model=2`; an axis that is left out has size 1.

    Without a text all devices, those of other processes included, are along `data`.

    Raises:
        ValueError: not of this form, or the product is not the number of devices.
    """
    devices = jax.device_count()
    text = f"data={devices}" if text is None else text
    sizes = dict.fromkeys(AXES, 1)
    parts = [re.fullmatch(r"\s*(\w+)\s*=\s*([1-9]\d*)\s*", part) for part in text.split(",")]
    names = [part[1] for part in parts if part]
    if not all(parts) or not set(names) <= set(AXES) or len(set(names)) < len(names):
        raise ValueError(f"A mesh is written data=4,model=2, or one of the two; got {text!r:.80}.")
    sizes |= {part[1]: int(part[2]) for part in parts if part}
    product = sizes["data"] * sizes["model"]
    if product != devices:
        raise ValueError(
            f"The mesh {text!r} is of {product} devices, and there are {devices}: the product of "
            "its sizes must be their number."
        )
    # Auto: the compiler chooses the shardings between the inputs and the outputs.
    return jax.make_mesh(tuple(sizes.values()), AXES, axis_types=(AxisType.Auto,) * len(AXES))


def split_over_cores(batch_size: int) -> Mesh | None:
    """A mesh of CPU devices, one a core, that split a batch; None where splitting does not help.

    XLA leaves most operations of a CPU device to one core, so one device a core is faster. It takes
    the largest number of cores that divides `batch_size` and leaves each at least `SMALLEST_SHARE`
    samples. Call it before any device is used: their number is fixed then. None, too, where the
    default devices are not CPUs, or the user has chosen the number of CPU devices (`XLA_FLAGS`,
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


def initialize(
    coordinator: str | None = None, num_processes: int | None = None, process_id: int | None = None
) -> None:
    """Joins this process to the others; call it before any device is used.

    Without arguments `jax.distributed.initialize` finds the others itself (TPU pods, SLURM, Open
    MPI, Kubernetes); with them process 0 listens at `coordinator` (`HOST:PORT`), and each process
    has its own `process_id` from 0 to `num_processes - 1`.

    Raises:
        ValueError: only some of the three are given, or one is out of range, or none is given and
            JAX knows no cluster here.
    """
    if coordinator is not None and num_processes is not None and process_id is not None:
        host, _, port = coordinator.rpartition(":")
        if not host or not port.isdigit():
            raise ValueError(
                f"--coordinator is HOST:PORT, such as 10.0.0.1:1234; got {coordinator!r}."
            )
        whole(process_id, "process_id", least=0, most=num_processes - 1)
    elif any(value is not None for value in (coordinator, num_processes, process_id)):
        raise ValueError(
            "--coordinator HOST:PORT, --num-processes N and --process-id I belong together; got "
            f"{coordinator!r}, {num_processes!r} and {process_id!r}."
        )
    try:
        jax.distributed.initialize(coordinator, num_processes, process_id)
    except ValueError as err:
        raise ValueError(
            f"JAX did not find the other processes by itself ({err}). Name them: --coordinator "
            "HOST:PORT --num-processes N --process-id I."
        ) from err


def is_first() -> bool:
    """Whether this process writes the files and shows the bars."""
    return jax.process_index() == 0


def agree(value: int, what: str) -> None:
    """Raises `ValueError` in every process where they do not all have the same `value`."""
    wait_for_all(what)
    values = gather_flags(value)
    if min(values) != max(values):
        raise ValueError(
            f"The processes do not agree on {what}: {values}. Start all with the same command, and "
            "give them one directory (a shared file system)."
        )


def gather_flags(value: int) -> list[int]:
    """The value of every process, in all of them."""
    if jax.process_count() == 1:
        return [value]
    return np.ravel(multihost_utils.process_allgather(np.int32(value))).tolist()


def wait_for_all(name: str) -> None:
    """Returns when every process is here; call it before devices first communicate.

    On CPUs, devices that communicate for the first time wait 30 s for each other and then fail;
    processes that import or compile may be further apart.
    """
    ocp.multihost.get_barrier_sync_fn()(key=name, timeout_ms=_PATIENCE_MS)
