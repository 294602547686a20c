"""Draws the work-precision comparison of the samplers of edmjax and of diffrax.

    edmjax compare --quick --out runs/quick             # under three minutes
    edmjax compare --out runs/compare                   # all of it, under half an hour
    edmjax compare --out runs/mnist_compare --checkpoint runs/mnist --problems

Every solver takes the same starts from sigma 80 to 0.002 and is compared with the exact solution of
the flow, which is Dopri8 at a tolerance of 1e-10. P1 is a mixture of 25 modes in 2 dimensions, P2
one of 10 modes of low rank in 64, P3 the digits of 8 x 8 pixels, blurred; their denoisers are
exact. A checkpoint is a directory of edmjax train: its own network solved accurately is the
reference, so that the error of the solver is apart from that of the model.

Samplers with noise are compared by their distance from exact samples, with the exact denoiser and
with one that is off by --perturbation, an error that noise can mend. They are not run on
checkpoints, which have no exact samples.

The directory given with --out receives compare.csv (a line for each run), compare.md (the tables),
compare.png and compare.svg (the plots). After Ctrl-C, the same command resumes where it stopped;
with other samplers, schedules, budgets or problems it adds their runs. A file made with other
samples, seeds or versions is refused.

Times are wall time in this process, the least of up to three runs; compile time is what the first
run of a program takes more than a later one, without JAX's compilation cache. Plans of any budget
share a program, as in ej.sweep, with those that look back about as far and draw noise where they
do; each is run and timed alone.
"""

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from typing import Any

import jax

from edmjax import training
from edmjax.cli._options import add_option, make_parser
from edmjax.comparison import KINDS, QUICK, Settings, compare
from edmjax.comparison.methods import FORMS, SOLVERS


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command."""
    args = vars(_arguments(argv))
    out, settings = args.pop("out"), QUICK if args.pop("quick") else Settings()
    # What was not given is None, and keeps the value of the settings.
    settings = dataclasses.replace(settings, **{k: v for k, v in args.items() if v is not None})
    try:
        with training.plain_errors():
            results = compare(settings, out)
    except KeyboardInterrupt:
        print("stopped; the same command resumes from there", file=sys.stderr)
        sys.exit(130)
    print(f"{len(results)} runs: {out}/compare.csv, compare.md, compare.png, compare.svg")


def command(argv: Sequence[str] | None = None) -> None:
    """`main` in a process of its own, whose compilations are timed."""
    # From JAX's cache on the disk they would be read and not timed.
    jax.config.update("jax_enable_compilation_cache", False)
    main(argv)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    kinds = "\n".join(f"  {name:17} {what}" for name, what in KINDS.items())
    parser, full = make_parser("compare", __doc__, epilog=f"kinds:\n{kinds}"), Settings()

    def add(name: str, text: str, **options: Any) -> None:
        add_option(parser, name, text, getattr(full, name.replace("-", "_")), **options)

    parser.add_argument("--out", help="directory for what is written", required=True)
    parser.add_argument(
        "--quick", help="fewer of everything, to see that it runs", action="store_true"
    )
    add("problems", "exact problems", nargs="*", choices=full.problems)
    add("checkpoint", "directories of training runs", nargs="*")
    add("kinds", "which kinds of method, of those below", nargs="*", choices=list(KINDS))
    add("samplers", "samplers of edmjax, with options in Python's syntax", nargs="*")
    add("schedules", "their levels; sigma_data is that of the problem", nargs="*")
    add("budgets", "evaluations that fixed steps may take", nargs="*", type=int)
    add("adaptive", "adaptive samplers of edmjax", nargs="*")
    add("solvers", "solvers of diffrax", nargs="*", choices=SOLVERS)
    add("forms", "the forms of the flow that diffrax solves", nargs="*", choices=FORMS)
    add("noisy-samplers", "samplers compared by distances", nargs="*")
    add("noisy-budgets", "evaluations that they may take", nargs="*", type=int)
    add("samples", "starts of each problem; of P3, which costs most, half", type=int)
    add("distance-samples", "samples for distances, of P3 half; 0 takes no distances", type=int)
    add("perturbation", "error of the second denoiser", type=float)
    add("tolerance-step", "tolerances: 10^-1 to 10^-8 in steps of 10^-this", type=float)
    add("seed", "of starts, noise and exact samples", type=int)
    return parser.parse_args(argv)
