"""Makes the runs with one package and stores what they return; started by `checks/bits.py`."""

import argparse
import contextlib
import fnmatch
import importlib
import io
import pkgutil
import sys
import time
import warnings
from pathlib import Path

import bits_runs
from bits_runs import registry, results

_HELPERS = {"__main__", "adapter", "cases", "comparison", "registry", "results"}


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--package", type=Path, required=True)
    parser.add_argument("--mode", choices=registry.MODES, default="x32")
    parser.add_argument("--only", nargs="*", default=["*"])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--list", action="store_true")
    args = parser.parse_args()

    import edmjax

    where = Path(edmjax.__file__).resolve()
    if not where.is_relative_to(args.package.resolve()):
        print(f"edmjax was imported from {where}, and not from {args.package}.", file=sys.stderr)
        return 2
    for module in pkgutil.iter_modules(bits_runs.__path__):
        if module.name not in _HELPERS:
            importlib.import_module(f"bits_runs.{module.name}")
    chosen = {
        mode: {n: make for n, make in runs.items() if _fits(n, args.only)}
        for mode, runs in registry.RUNS.items()
    }
    if args.list:
        for mode, runs in chosen.items():
            print("\n".join(f"{name}  [{mode}]" for name in runs))
        print(sum(map(len, chosen.values())), "runs")
        return 0
    _make(chosen[args.mode], args.out)
    return 0


def _fits(name: str, patterns: list[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _make(runs: dict, out: Path) -> None:
    shown = sys.stderr.isatty()
    with results.Writer(out) as writer:
        for number, (name, make) in enumerate(runs.items(), 1):
            if shown:
                print(f"\r\033[K{number}/{len(runs)} {name}", end="", file=sys.stderr, flush=True)
            started = time.process_time()
            said = io.StringIO()
            with (
                warnings.catch_warnings(),
                contextlib.redirect_stdout(said),
                contextlib.redirect_stderr(said),
            ):
                warnings.simplefilter("ignore")
                try:
                    found = results.flatten(make())
                except Exception as err:
                    found = f"{type(err).__name__}: {err}"
            writer.add(name, found, time.process_time() - started)
    if shown:
        print("\r\033[K", end="", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
