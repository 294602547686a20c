"""Prints what it takes to load a network of the size of Stable Diffusion 1.5, and its memory.

    python benchmarks/bench_load.py [--folder FOLDER] [--repeats 5]

The file has random float16 weights, 1.7 GB. It is written to the folder, kept if one is named, and
read once before anything is measured. In each of `--repeats` pairs of processes, one reads the
arrays with safetensors and the other loads the network; both take turns, so that what else runs
hinders both. Shown are the ratios of their CPU times and of their times, the median with the least
and the most, and the peak of memory over what the process held before, in sizes of the file.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from typing import Any

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "tests"))

# What a process prints: CPU seconds, seconds, and the peak of its memory in bytes.
MEASURE = """
import resource, sys, threading, time
import jax, numpy, psutil, safetensors.numpy
import edmjax as ej
ej.pretrained.load, jax.numpy.zeros(1)
source = sys.argv[1]
def held():
    return psutil.Process().memory_full_info().uss
before, start, cpu = held(), time.perf_counter(), time.process_time()
{work}
cpu, wall = time.process_time() - cpu, time.perf_counter() - start
print(cpu, wall, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before)
"""
READ = "made = safetensors.numpy.load_file(source + '/diffusion_pytorch_model.safetensors')"
LOAD = "made = jax.block_until_ready(ej.pretrained.load(source))"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=pathlib.Path)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or pathlib.Path(temporary)
        size = write(folder)
        measure(READ, folder)  # the file is in memory from here on
        pairs = [[measure(work, folder) for work in (READ, LOAD)] for _ in range(args.repeats)]
    found = np.array(pairs)  # (repeats, read or load, three numbers)
    for i, name in enumerate(("CPU time", "time")):
        ratio = found[:, 1, i] / found[:, 0, i]
        read, load = np.median(found[:, :, i], axis=0)
        print(
            f"{name}: {np.median(ratio):.2f} ({ratio.min():.2f} to {ratio.max():.2f}) times that "
            f"of safetensors; {load:.2f} s and {read:.2f} s"
        )
    print(f"memory: {found[:, 1, 2].max() / size:.2f} times the file of {size / 1e9:.2f} GB")


def measure(work: str, folder: pathlib.Path) -> list[float]:
    command = [sys.executable, "-c", MEASURE.format(work=work), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [float(number) for number in done.stdout.split()]


def write(folder: pathlib.Path) -> int:
    """A flat directory with the configuration, the scheduler and random weights; their bytes."""
    path = folder / "diffusion_pytorch_model.safetensors"
    if not path.is_file():
        from safetensors.numpy import save_file
        from support.pretrained_configs import CONFIGS

        from edmjax.pretrained import building, names

        config: Mapping[str, Any] = CONFIGS["sd15"]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(config))
        scheduler = {"_class_name": "DDIMScheduler", "clip_sample": False}
        (folder / "scheduler_config.json").write_text(json.dumps(scheduler))
        _, make = building.build(config, "config.json")
        draw = np.random.default_rng(0)
        save_file(
            {
                names.in_file(name): draw.random(
                    names.shape_in_file(name, leaf.shape), np.float32
                ).astype(np.float16)
                for name, leaf in building.shapes_of(make, "config.json")[1].items()
            },
            path,
        )
    return path.stat().st_size


if __name__ == "__main__":
    main()
