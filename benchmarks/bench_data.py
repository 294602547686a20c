"""Data that are read when their step comes: how fast, and how much memory.

    python benchmarks/bench_data.py memory --out runs/bench_data
    python benchmarks/bench_data.py speed --data_dir MNIST --out runs/bench_data

`memory` makes 60,000 PNGs of 64x64x3 in OUT/photos once, 60,000 links to 600 files, and trains a
few steps on them in a process of its own with `data_in_memory: no`. It prints the most resident
memory that the process and its children had together, and the rate at which batches alone are read,
by threads and by processes of Grain.

`speed` trains steps of configs/mnist.yaml with data in memory and read by Grain, in turns, and
prints the ratio of the times a step, by the clock and by the CPU time of the process.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import psutil
import yaml
from flax import nnx
from jax import random
from PIL import Image

from edmjax import training
from edmjax.nn.functional import functional
from edmjax.training.data import batch_indices
from edmjax.training.feed import Feed

ROOT = Path(__file__).parents[1]
SIDE, COUNT, FILES, BATCH = 64, 60_000, 600, 64


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("memory", "speed"))
    parser.add_argument("--in_memory", default="no", help="of `memory`, yes or no (default: no)")
    parser.add_argument("--data_dir", help="of MNIST; without it, the download cache")
    parser.add_argument("--steps", type=int, default=20, help="steps of a turn (default: 20)")
    parser.add_argument("--turns", type=int, default=6, help="turns of each way (default: 6)")
    parser.add_argument("--out", type=Path, required=True, help="directory for what is made")
    args = parser.parse_args(argv)
    memory(args) if args.what == "memory" else speed(args)


def memory(args: Any) -> None:
    photos = args.out / "photos"
    make_photos(photos)
    command = [sys.executable, str(ROOT / "scripts" / "train.py"), f"--data={photos}"]
    command += [f"--data_in_memory={args.in_memory}", "--net.name=patch_unet", "--net.patch=4"]
    command += ["--net.channels=[32,32]", "--net.num_blocks=[1,1]", f"--optim.batch_size={BATCH}"]
    command += ["--optim.steps=60", "--scan_steps=10", "--sample.num_samples=4"]
    command += ["--sample.num_steps=2", f"--out={args.out / args.in_memory}"]
    begin = time.monotonic()
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    peak = 0
    while process.poll() is None:
        peak = max(peak, resident(process.pid))
        time.sleep(0.05)
    if process.returncode:
        sys.exit(f"error: the run ended with {process.returncode}.")
    print(f"peak resident memory, all processes: {peak / 1e9:.2f} GB")
    print(f"the run of 60 steps took {time.monotonic() - begin:.0f} s")
    if args.in_memory == "no":
        rates(photos)


def make_photos(folder: Path) -> None:
    """COUNT names of PNGs; every file has a hundred of them, so that the disk is not filled."""
    if folder.exists():
        return
    rng = np.random.default_rng(0)
    (folder / "0").mkdir(parents=True)
    for i in range(FILES):
        # Smooth with noise, so that it compresses as photographs do.
        coarse = rng.integers(0, 256, (8, 8, 3)).astype(np.uint8)
        smooth = np.asarray(Image.fromarray(coarse).resize((SIDE, SIDE), Image.Resampling.BICUBIC))
        noisy = np.clip(smooth + rng.normal(0, 6, smooth.shape), 0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(folder / "0" / f"{i:05}.png")
    for i in range(FILES, COUNT):
        target = folder / str(i // FILES)
        target.mkdir(exist_ok=True)
        os.link(folder / "0" / f"{i % FILES:05}.png", target / f"{i:05}.png")


def resident(pid: int) -> int:
    """The resident bytes of a process and its children."""
    try:
        process = psutil.Process(pid)
        every = [process, *process.children(recursive=True)]
        return sum(one.memory_info().rss for one in every)
    except psutil.NoSuchProcess:
        return 0


def rates(photos: Path) -> None:
    """Prints how many images a second are read: alone, and by Grain's threads and processes."""
    import grain
    from absl import flags

    flags.FLAGS.mark_as_parsed()  # which Grain's processes want
    dataset = training.load_dataset(str(photos), in_memory="no")
    options = grain.ReadOptions(num_threads=os.cpu_count() or 1, prefetch_buffer_size=16)
    workers = grain.MultiprocessingOptions(num_workers=os.cpu_count() or 1)
    batches = grain.MapDataset.source(Batches(dataset))
    ways = {
        "no prefetch": batches,
        "threads": batches.to_iter_dataset(options),
        "processes": batches.to_iter_dataset(options).mp_prefetch(workers),
    }
    for name, way in ways.items():
        iterator = iter(way)
        next(iterator)
        begin, n = time.monotonic(), 100
        for _ in range(n):
            next(iterator)
        rate, held = n * BATCH / (time.monotonic() - begin), resident(os.getpid())
        print(f"{name}: {rate:,.0f} images/s; this process and its children {held / 1e9:.2f} GB")


class Batches:
    """Batches of a dataset by their steps."""

    def __init__(self, dataset: training.Dataset):
        self.dataset: training.Dataset = dataset

    def __len__(self) -> int:
        return 10_000

    def __getitem__(self, index: int) -> training.Examples:
        return self.dataset.read(batch_indices(0, index, BATCH, len(self.dataset)), labels=False)


def speed(args: Any) -> None:
    entries = yaml.safe_load((ROOT / "configs" / "mnist.yaml").read_text())
    net = training.NetConfig(**entries["net"])
    loss = training.LossConfig(**entries["loss"])
    optim = training.OptimConfig(**entries["optim"])
    dataset = training.load_dataset("mnist", args.data_dir)
    built = training.build_net(net, dataset.image_shape, rngs=nnx.Rngs(0))
    apply, params = functional(built)
    optimizer, averages = training.build_optimizer(optim), training.build_averages(optim)
    batch_loss = training.make_batch_loss(training.build_loss(loss), dataset.scale)
    advance = training.make_train_steps(apply, batch_loss, optimizer, averages)
    ways: dict[str, list[Any]] = {}
    for how in ("yes", "no"):
        state = training.init_state(apply, params, optimizer, random.key(0), num_averages=1)
        ways[how] = [Feed(dataset, 0, optim.batch_size, in_memory=how), state, 0, [], []]
    for turn in range(-1, args.turns):  # the first one compiles
        for way in ways.values():
            feed, state, step, clock, cpu = way
            begin, used = time.monotonic(), time.process_time()
            for _ in range(args.steps // 5):
                state, losses = advance(state, *feed.steps(step, step + 5))
                np.asarray(losses)
                step += 5
            way[1:3] = state, step
            if turn >= 0:
                clock.append((time.monotonic() - begin) / args.steps)
                cpu.append((time.process_time() - used) / args.steps)
    for name, at in (("clock", 3), ("CPU time", 4)):
        yes, no = (statistics.median(ways[how][at]) for how in ("yes", "no"))
        pairs = [b / a for a, b in zip(ways["yes"][at], ways["no"][at], strict=True)]
        print(
            f"{name}: {1e3 * yes:.1f} ms a step in memory, {1e3 * no:.1f} ms by Grain; "
            f"ratio {statistics.median(pairs):.3f} (of {len(pairs)} pairs: {min(pairs):.3f} to "
            f"{max(pairs):.3f})"
        )
    same = jax.tree.map(np.array_equal, ways["yes"][1].params, ways["no"][1].params)
    print(f"parameters have the same bits: {all(jax.tree.leaves(same))}")


if __name__ == "__main__":
    main()
