"""The command `edmjax`: train, sample, evaluate, export, fit and convert plans, compare solvers.

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted by Ctrl-C (143 where SIGTERM stopped
training). An error is a sentence on standard error.
"""

import argparse
import importlib
import sys
from collections.abc import Callable, Sequence

import edmjax

# The function that each command runs, the extras that it needs, and what it does.
COMMANDS = {
    "train": ("train:main", "train", "train a network on a dataset and draw samples with it"),
    "sample": ("sample:main", "train", "draw samples with a trained network, by any sampler"),
    "evaluate": ("evaluate:main", "train", "measure a network and its samples"),
    "export": ("export:main", "train,export", "write a sampler and its network as one file"),
    "fit-plan": ("fit_plan:main", "train", "fit a plan of few evaluations to a trained network"),
    "plan": ("plan:main", "plot", "show a plan, draw it, or write it for NumPy or PyTorch"),
    "compare": ("compare:command", "train,diffrax", "compare samplers, and diffrax's solvers"),
}

EPILOG = """\
commands:
{commands}

for example:
  edmjax train --data digits --out runs/digits
  edmjax sample --checkpoint runs/digits --sampler dpmpp_2m --num-steps 10 --out samples
  edmjax evaluate --checkpoint runs/digits --quick
  edmjax export --checkpoint runs/digits --out digits.stablehlo
  edmjax fit-plan --checkpoint runs/digits --nfe 8 --out plan.json
  edmjax plan convert plan.json --to torch --out sampler.py
  edmjax compare --quick --out runs/quick

`edmjax COMMAND --help` has the options of a command.
exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Runs one command and ends the program with its exit code."""
    lines = (f"  {name:8} {text}" for name, (_, _, text) in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="edmjax",
        usage="edmjax [--help] [--version] COMMAND [OPTION ...]",
        description="Turns a denoising network into samples: diffusion solvers in JAX.",
        epilog=EPILOG.format(commands="\n".join(lines)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"edmjax {edmjax.__version__}")
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help="one of those below")
    parser.add_argument("options", nargs=argparse.REMAINDER, metavar="OPTION", help="its options")
    args = parser.parse_args(argv)
    try:
        code = load(args.command)(args.options)
    except KeyboardInterrupt:
        code = _say("stopped", 130)
    sys.exit(code)


def load(command: str) -> Callable[..., int | None]:
    """The function of a command, or the end of the program with a sentence: an extra is missing."""
    # Here and not above: a command imports only what its own extras install.
    where, extra, _ = COMMANDS[command]
    module, function = where.split(":")
    try:
        return getattr(importlib.import_module(f"edmjax.cli.{module}"), function)
    except ImportError as err:
        # A fault of our own, which no installation mends.
        if (err.name or "edmjax").startswith("edmjax"):
            raise
        sys.exit(
            _say(
                f"error: edmjax {command} needs {err.name!r}, which is not installed: "
                f"pip install 'edmjax[{extra}]'",
                1,
            )
        )


def _say(text: str, code: int) -> int:
    print(text, file=sys.stderr)
    return code
