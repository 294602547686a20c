"""Compares the bits of this package with the bits of the package at another commit.

    python checks/bits.py COMMIT
    python checks/bits.py COMMIT --only "samplers/*" --keep runs/bits
    python checks/bits.py --list

The package at COMMIT is extracted into a temporary directory. The runs in `checks/bits_runs` are
made with both packages, each in processes of its own (one without and one with JAX's x64 mode), on
one CPU and with the same JAX. Names, dtypes, shapes and bits of all results are compared. For each
array that differs, the largest difference is printed, in ulps and as a number. Exit code 0 says
that all bits are equal and no run raised an error; 1 that some run differs or raised one.

Both packages share JAX's compilation cache, by default the one of the tests: its key is the
program itself, so a package never gets a program other than its own.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bits_runs import comparison, registry

ROOT = Path(__file__).resolve().parent.parent
# What a side needs: the package, the name of its command, and scripts that become commands.
PARTS = ("edmjax", "pyproject.toml", "scripts", "configs")
# The cache may be chosen by the caller; the rest decides what is computed.
CACHE = {
    "JAX_COMPILATION_CACHE_DIR": str(ROOT / ".jax_cache"),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "0",
}
SETTINGS = {
    "JAX_PLATFORMS": "cpu",
    # One thread, so that no sum depends on how work is divided; four devices, for meshes.
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false --xla_force_host_platform_device_count=4",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",
    "PYTHONDONTWRITEBYTECODE": "1",
    "MPLBACKEND": "Agg",
    "TQDM_DISABLE": "1",
}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("commit", nargs="?", help="the commit to compare the working tree with")
    parser.add_argument("--only", nargs="+", default=["*"], help="runs whose names fit a pattern")
    parser.add_argument("--list", action="store_true", help="print the names of the runs and stop")
    parser.add_argument("--keep", type=Path, help="directory for the results of both sides")
    args = parser.parse_args(argv)
    if args.list:
        # The list is made by a side, because it needs the package.
        with tempfile.TemporaryDirectory() as scratch:
            return _runner(ROOT, ["--list", "--only", *args.only], Path(scratch))
    if args.commit is None:
        parser.error("give the commit to compare with, or --list.")
    with tempfile.TemporaryDirectory() as scratch:
        return _compare(args.commit, args.only, args.keep or Path(scratch) / "out", Path(scratch))


def _compare(commit: str, only: list[str], out: Path, scratch: Path) -> int:
    roots = {"before": scratch / "before", "after": scratch / "after"}
    _extract(commit, roots["before"])
    _copy(roots["after"])
    started = time.monotonic()
    for side, root in roots.items():
        for mode in registry.MODES:
            directory = out / side / mode
            directory.mkdir(parents=True, exist_ok=True)
            asked = ["--only", *only, "--mode", mode, "--out", str(directory)]
            code = _runner(root, asked, scratch)
            if code:
                print(f"The runs of {side} ({mode}) ended with exit code {code}.")
                return 1
            seconds = time.monotonic() - started
            print(f"{side}, {mode}: done after {seconds / 60:.1f} minutes", flush=True)
    return comparison.report(out / "before", out / "after")


def _extract(commit: str, into: Path) -> None:
    """The package at `commit`, and what belongs to it, as far as that commit has it."""
    git = ["git", "-C", str(ROOT)]
    there = subprocess.run(
        [*git, "ls-tree", "--name-only", commit, *PARTS], check=True, capture_output=True, text=True
    ).stdout.split()
    into.mkdir()
    archive = subprocess.run(
        [*git, "archive", commit, *there], check=True, capture_output=True
    ).stdout
    subprocess.run(["tar", "-x", "-C", str(into)], input=archive, check=True)


def _copy(into: Path) -> None:
    """The working package, so that it may be edited while the runs are made."""
    into.mkdir()
    for part in filter(Path.exists, (ROOT / name for name in PARTS)):
        copy = shutil.copytree if part.is_dir() else shutil.copy
        copy(part, into / part.name)


def _runner(root: Path, arguments: list[str], scratch: Path) -> int:
    """Makes runs with the package that lies in `root`, in a process of its own."""
    mode = arguments[arguments.index("--mode") + 1] if "--mode" in arguments else "x32"
    environment = CACHE | os.environ | SETTINGS
    environment["JAX_ENABLE_X64"] = "1" if mode == "x64" else "0"
    environment["PYTHONPATH"] = os.pathsep.join([str(root), str(ROOT / "checks")])
    command = [sys.executable, "-P", "-m", "bits_runs", "--package", str(root), *arguments]
    return subprocess.run(command, env=environment, cwd=scratch).returncode


if __name__ == "__main__":
    sys.exit(main())
