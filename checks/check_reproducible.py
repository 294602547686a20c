"""Draws the same samples chunked, in one batch, on 8 devices and in 2 processes, and compares them.

    python checks/check_reproducible.py
    python checks/check_reproducible.py --num-samples 256 --num-steps 18

Prints for each sampler and each way how many numbers differ from those of one batch on one device,
the median difference in ulps of the sample, and the largest in units of sigma_max (an ulp of a
float32 number is 6e-8 to 1.2e-7 of it). The noise that a plan draws is compared bit by bit; the
exit code is 1 where it differs, or a sample by more than --tolerance of sigma_max. Every way is a
process of its own on the CPU, with virtual devices.
"""

import argparse
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

SIGMA_MAX = 80.0
SAMPLERS = ("heun", "dpmpp_2m", "ddpm", "dpmpp_2m_sde", "dpmpp_sde")
# name: (devices a process, processes, chunk)
WAYS = {
    "one batch": (1, 1, 0),
    "chunks of 7": (1, 1, 7),
    "chunks of 32": (1, 1, 32),
    "8 devices": (8, 1, 0),
    "2 processes of 4": (4, 2, 0),
}


def work(args: argparse.Namespace) -> None:
    """One process of one way: draws everything, and writes what it holds to a file."""
    devices, processes, chunk = WAYS[args.way]
    import jax
    import jax.numpy as jnp
    from jax import random

    import edmjax as ej

    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", devices)
    if processes > 1:
        jax.distributed.initialize(f"127.0.0.1:{args.port}", processes, args.process)
    key, n = random.key(args.seed), args.num_samples
    # 63 numbers, so that vectors are not full, and other batches leave other numbers over.
    shape = jax.ShapeDtypeStruct((9, 7, 1), jnp.float32)
    mix = 0.2 * random.normal(random.key(1), (63, 63))

    def denoise(x, sigma):
        """A small network with EDM preconditioning: sums whose order a compiler chooses."""
        total = 0.25 + sigma**2
        out = jnp.tanh((x / jnp.sqrt(total)).reshape(len(x), -1) @ mix).reshape(x.shape)
        return 0.25 / total * x + 0.5 * sigma / jnp.sqrt(total) * out

    def begin():
        key_start, key_steps = random.split(key)
        noise = ej.normal_like(ej.sample_keys(key_start, n), jnp.zeros((n, *shape.shape)))
        return SIGMA_MAX * noise, ej.sample_keys(key_steps, n)

    if devices * processes > 1:
        mesh = jax.make_mesh((devices * processes,), ("data",))
        begin = jax.jit(begin, out_shardings=jax.NamedSharding(mesh, jax.P("data")))
    x, keys = (None, None) if chunk else begin()
    found = {}
    for name in SAMPLERS:
        plan = ej.make_plan(getattr(ej.samplers, name)(), ej.schedules.karras(args.num_steps))
        if chunk:
            found[f"{name}/0"] = ej.sample_in_chunks(
                denoise, plan, key, num_samples=n, chunk_size=chunk, shape=shape
            )
            starts = range(0, n, chunk)
            parts = [slice(start, min(start + chunk, n)) for start in starts]
            if not plan.num_draws:
                continue
            whole_x, whole_keys = begin()
            noises = [ej.draw_noise(plan, whole_keys[part], whole_x[part]) for part in parts]
            found[f"noise {name}/0"] = np.concatenate(noises, axis=1)
            continue
        run = jax.jit(lambda x, keys, plan=plan: ej.sample(denoise, plan, x, keys))
        draws = jax.jit(lambda x, keys, plan=plan: ej.draw_noise(plan, keys, x))
        values = {name: run(x, keys)}
        if plan.num_draws:
            values[f"noise {name}"] = draws(x, keys)
        for label, value in values.items():
            axis = 1 if label.startswith("noise") else 0
            # Each process writes what it holds; nothing is sent between them.
            for shard in value.addressable_shards:
                found[f"{label}/{shard.index[axis].start or 0:06d}"] = np.asarray(shard.data)
    np.savez(f"{args.file}.{args.process}.npz", **found)


def start(way: str, file: Path, args: argparse.Namespace) -> dict[str, np.ndarray]:
    """What the processes of a way drew."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    command = [sys.executable, __file__, "--way", way, "--file", str(file), "--port", str(port)]
    for name in ("num_samples", "num_steps", "seed"):
        command += [f"--{name.replace('_', '-')}", str(getattr(args, name))]
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    running = [
        subprocess.Popen([*command, "--process", str(i)], env=environment)
        for i in range(WAYS[way][1])
    ]
    if any([process.wait() for process in running]):
        sys.exit(f"error: the run `{way}` failed; its message is above.")
    parts: dict[str, np.ndarray] = {}
    for i in range(WAYS[way][1]):
        parts |= dict(np.load(f"{file}.{i}.npz"))
    labels = dict.fromkeys(name.partition("/")[0] for name in parts)
    return {
        label: np.concatenate(
            [parts[name] for name in sorted(parts) if name.partition("/")[0] == label],
            axis=1 if label.startswith("noise") else 0,
        )
        for label in labels
    }


def ulps(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The distance of float32 numbers, counted in those between them."""
    bits = (v.astype(np.float32).view(np.int32).astype(np.int64) for v in (one, other))
    ordered = [np.where(b < 0, -(b & 0x7FFFFFFF), b) for b in bits]
    return np.abs(ordered[0] - ordered[1])


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--num-samples", type=int, default=64, help="a multiple of 8")
    parser.add_argument("--num-steps", type=int, default=18)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tolerance", type=float, default=1e-6, help="in units of sigma_max")
    for name in ("way", "file", "port"):
        parser.add_argument(f"--{name}", help=argparse.SUPPRESS)
    parser.add_argument("--process", type=int, default=0, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.num_samples % 8 or args.num_samples < 8:
        parser.error(f"--num-samples must be a multiple of 8, got {args.num_samples}.")
    if args.way:
        work(args)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        found = {way: start(way, Path(folder) / way.replace(" ", "_"), args) for way in WAYS}
    whole, bad = found.pop("one batch"), 0
    spread = min(np.std(whole[name], axis=0).mean() for name in SAMPLERS)
    print(
        f"{args.num_samples} samples of 9x7, {args.num_steps} steps, against one batch; "
        f"their standard deviation is {spread:.2f} or more"
    )
    print(f"{'sampler':14} {'way':18} {'noise':>10} {'differ':>8} {'ulps':>10} {'/ sigma_max':>12}")
    for name in SAMPLERS:
        for way, drawn in found.items():
            noise = f"noise {name}"
            same = noise not in whole or np.array_equal(drawn[noise], whole[noise])
            gap = np.abs(drawn[name] - whole[name])
            share, most = np.mean(gap > 0), gap.max() / SIGMA_MAX
            median = np.median(ulps(drawn[name], whole[name]))
            said = "none" if noise not in whole else "bit-equal" if same else "DIFFERS"
            print(f"{name:14} {way:18} {said:>10} {share:>8.1%} {median:>10.0f} {most:>12.1e}")
            bad += not (same and most <= args.tolerance)
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
