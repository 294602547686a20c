"""Kills a training run with SIGKILL again and again, and compares it with one that nothing stopped.

    python checks/check_kill.py --kills 10 --out runs/kills [--data=FOLDER --data_in_memory=no ...]
    python checks/check_kill.py --kills 10 --out runs/kills --fit

Two runs of one command, of a tiny network on the digits, or with --fit of `ej.training.fit` and a
Linen network with Dropout, batch statistics and the best held-out average: the first undisturbed,
the second killed at random moments and started anew each time. Three kinds of moments take turns:
while steps are taken, while a checkpoint is being written, and at any time from the start of Python
on. At the end weights.safetensors and loss.csv of the two must have the same bytes, and loss.csv
each step once.
The starts share what they compile, in OUT/cache.
"""

import argparse
import hashlib
import os
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

TRAIN = Path(__file__).parents[1] / "scripts" / "train.py"
STEPS = 240
OPTIONS = [
    "--net.channels=[4]",
    "--net.embed_dim=8",
    f"--optim.steps={STEPS}",
    "--optim.batch_size=8",
    "--scan_steps=2",
    "--checkpoint_every=6",
    "--sample.num_samples=1",
    "--sample.num_steps=1",
    "--sample.sampler=euler",
]
FIT = f"""
import sys
import jax, jax.numpy as jnp, numpy as np
from flax import linen
import edmjax as ej

class Net(linen.Module):
    @linen.compact
    def __call__(self, x, c_noise, cond=None, train=False):
        h = linen.BatchNorm(use_running_average=not train)(linen.Dense(16)(x))
        return linen.Dense(3)(linen.Dropout(0.2, deterministic=not train)(linen.silu(h)))

data = np.random.default_rng(0).normal(2, 3, (200, 3))
net, key = Net(), jax.random.key(0)
ej.training.fit(
    (net, net.init(key, jnp.zeros((2, 3)), jnp.zeros(2))), data, key=key, steps={STEPS},
    batch_size=8, scan_steps=2, checkpoint_every=6, held_out=0.1, keep="best", out=sys.argv[1],
)
"""
MOMENTS = ("in the loop", "during a save", "at any time")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=10, help="how many (default: 10)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default: 0)")
    parser.add_argument("--out", type=Path, required=True, help="directory for the two runs")
    parser.add_argument("--fit", action="store_true", help="kill `fit` in place of the command")
    args, options = parser.parse_known_args(argv)  # what it does not know is for `edmjax train`
    options = [*(["--fit"] if args.fit else []), *options]
    whole, killed = args.out / "whole", args.out / "killed"
    for run in (whole, killed):
        if run.exists():
            sys.exit(f"error: {run} exists already: choose another directory.")

    begin = time.monotonic()
    finish(start(whole, options))
    rng = random.Random(args.seed)
    for number in range(args.kills):
        moment = MOMENTS[number % len(MOMENTS)]
        process = start(killed, options)
        wait_for(moment, killed, process, rng)
        if process.poll() is not None:
            sys.exit(f"error: the run ended before kill {number + 1}; more steps are needed.")
        process.kill()
        process.wait()
        unfinished = " with an unfinished checkpoint" if saving(killed) else ""
        steps = last_step(killed)
        print(f"kill {number + 1:2} {moment}, {steps} steps in loss.csv{unfinished}", flush=True)
    finish(start(killed, options))

    both = ("weights.safetensors", "loss.csv")
    differences = [name for name in both if digest(whole, name) != digest(killed, name)]
    steps = [int(line.split(",")[0]) for line in (killed / "loss.csv").read_text().splitlines()[1:]]
    if differences or steps != list(range(1, STEPS + 1)):
        sys.exit(f"error: after {args.kills} kills other bytes in {differences or 'loss.csv'}.")
    print(
        f"weights.safetensors has the same SHA-256 after {args.kills} kills as without, "
        f"{digest(killed, 'weights.safetensors')[:16]}, and loss.csv each of {STEPS} steps once "
        f"({time.monotonic() - begin:.0f} s in all)."
    )


def start(out: Path, options: Sequence[str]) -> subprocess.Popen:
    command = [sys.executable, str(TRAIN), *OPTIONS, *options, f"--out={out}"]
    if "--fit" in options:
        command = [sys.executable, "-c", FIT, str(out)]
    cache = {
        "JAX_COMPILATION_CACHE_DIR": str(out.parent / "cache"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    return subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=os.environ | cache
    )


def finish(process: subprocess.Popen) -> None:
    _, errors = process.communicate()
    if process.returncode:
        sys.exit(f"error: the run failed.\n{errors.decode()}")


def wait_for(moment: str, out: Path, process: subprocess.Popen, rng: random.Random) -> None:
    """Returns at a random moment of a kind, or when the process has ended."""
    if moment == "at any time":
        time.sleep(rng.uniform(0.0, 8.0))
        return
    # A run that is killed early would never come further: some saves are waited for first.
    until = last_step(out) + rng.randint(8, 16)
    while process.poll() is None:
        if last_step(out) >= until and (moment == "in the loop" or saving(out)):
            break
        time.sleep(0.001)
    time.sleep(rng.uniform(0.0, 0.03))


def last_step(out: Path) -> int:
    path = out / "loss.csv"
    return path.read_text().count("\n") - 1 if path.exists() else 0


def saving(out: Path) -> bool:
    """Whether there is a checkpoint that has not got its final name."""
    return any((out / "checkpoint").glob("*tmp*"))


def digest(out: Path, name: str) -> str:
    return hashlib.sha256((out / name).read_bytes()).hexdigest()


if __name__ == "__main__":
    main()
