"""Several processes as one program: each runs the same code on its own devices.

`jax.distributed` connects them. Process 0 alone writes what is not sharded, and shows bars.
"""

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

_PATIENCE_MS = 30 * 60 * 1000


def initialize(
    coordinator: str | None = None, num_processes: int | None = None, process_id: int | None = None
) -> None:
    """Joins this process to the others; to be called before any device is used.

    Without arguments `jax.distributed.initialize` finds them itself (TPU pods, SLURM, Open MPI,
    Kubernetes); else process 0 listens at `coordinator` (`HOST:PORT`), and each has its own
    `process_id` from 0 to `num_processes - 1`.

    Raises:
        ValueError: only some of the three are given, or one is out of range, or nothing is given
            and this is no cluster that JAX knows.
    """
    given = (coordinator, num_processes, process_id)
    if any(v is not None for v in given) and any(v is None for v in given):
        raise ValueError(
            "--coordinator HOST:PORT, --num-processes N and --process-id I belong together; got "
            f"{coordinator!r}, {num_processes!r} and {process_id!r}."
        )
    if coordinator is not None and num_processes is not None and process_id is not None:
        host, _, port = coordinator.rpartition(":")
        if not host or not port.isdigit():
            raise ValueError(
                f"--coordinator is HOST:PORT, such as 10.0.0.1:1234; got {coordinator!r}."
            )
        if not 0 <= process_id < num_processes:
            raise ValueError(
                "--process-id counts from 0 to --num-processes - 1; got "
                f"{process_id} of {num_processes}."
            )
    try:
        jax.distributed.initialize(coordinator, num_processes, process_id)
    except ValueError as err:
        raise ValueError(
            f"JAX did not find the other processes by itself ({err}) Name them: --coordinator "
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
    """Returns when every process is here: to be called before devices first communicate.

    On CPUs, devices that communicate for the first time wait 30 s for each other and then fail;
    processes that import or compile may be further apart.
    """
    ocp.multihost.get_barrier_sync_fn()(key=name, timeout_ms=_PATIENCE_MS)
