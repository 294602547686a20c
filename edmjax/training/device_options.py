"""The options of the scripts that say which devices and processes take part."""

from typing import Any

from jax.sharding import Mesh

from edmjax.training.cores import split_over_cores
from edmjax.training.distributed import initialize
from edmjax.training.mesh import make_mesh

# The options that `add_device_options` adds, as attributes of the parsed arguments.
DEVICE_OPTIONS = ("mesh", "distributed", "coordinator", "num_processes", "process_id")


def add_device_options(parser: Any) -> None:
    """Adds `DEVICE_OPTIONS` to a parser of argparse or jsonargparse."""
    group = parser.add_argument_group("Devices (no part of the configuration)")
    group.add_argument(
        "--mesh",
        help="axes whose product is the number of devices, such as data=4,model=2: data splits the "
        "batch, model each parameter (default: one device, of a CPU one for each core; with "
        "processes all along data)",
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

    To be called before any device is used. None where one device does all. Raises what `initialize`
    and `make_mesh` raise.
    """
    processes = [options[name] for name in ("coordinator", "num_processes", "process_id")]
    joins = options["distributed"] or any(value is not None for value in processes)
    if joins:
        initialize(*processes)
    if joins or options["mesh"] is not None:
        return make_mesh(options["mesh"])
    return split_over_cores(batch_size)
