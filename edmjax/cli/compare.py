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
with one that is off by --perturbation, which is what noise can mend. On checkpoints they are not
run: there are no exact samples.

The directory given with --out receives compare.csv (a line a run), compare.md (the tables),
compare.png and compare.svg (the plots). Interrupted with Ctrl-C, the same command goes on where it
stopped; with other samplers, schedules, budgets or problems it adds their runs. A file made with
other samples, seeds or versions is refused.

Times are wall time in this process, the least of up to three runs; compile time is what the first
run of a program takes more than a later one, without JAX's compilation cache. Plans of any budget
share a program, as in ej.sweep, with those that look back about as far and draw noise where they
do; each is run and timed alone.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import diffrax
import jax
from tqdm import tqdm

import edmjax as ej
from edmjax.cli.comparison import Mistake, methods, plots, tables
from edmjax.cli.comparison.choices import FULL, QUICK, series_of
from edmjax.cli.comparison.methods import KINDS
from edmjax.cli.comparison.rows import Table
from edmjax.cli.comparison.runs import GROUPS, Comparison
from edmjax.cli.comparison.targets import problem, trained


def main(argv: Sequence[str] | None = None) -> None:
    args = arguments(argv)
    try:
        with ej.training.plain_errors(), jax.enable_x64(True):
            compare(args)
    except Mistake as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:  # before the first run, or after the last
        print("stopped; the same command goes on from there", file=sys.stderr)
        sys.exit(130)


def command(argv: Sequence[str] | None = None) -> None:
    """`main` in a process of its own, whose compilations are timed."""
    # Or they would be timed once, and read from the disk from then on.
    jax.config.update("jax_enable_compilation_cache", False)
    main(argv)


def compare(args: argparse.Namespace) -> None:
    check(args)
    out = Path(args.out)
    targets = [problem(name, args.samples, args.seed) for name in args.problems]
    targets += [trained(path, args.samples, args.seed) for path in args.checkpoint]
    work = [(target, series_of(args, target)) for target in targets]
    if not any(one.settings for _, series in work for one in series):
        raise Mistake("These options leave no method to run: name --kinds that the problems have.")
    table = Table(out / "compare.csv", configuration(args))
    bar = tqdm(total=sum(len(one.settings) for _, series in work for one in series), unit="run")
    try:
        with bar:
            for target, series in work:
                bar.set_postfix_str(f"{target.name}, its reference")  # minutes for a network
                comparison = Comparison(
                    target, series, table, out, args.distance_samples, args.seed
                )
                for one in series:
                    comparison.run(one, bar)
                jax.clear_caches()  # the programs of a target serve no other
    except KeyboardInterrupt:
        done = f"stopped after {bar.n} of {bar.total} runs"
        print(f"{done}; the same command goes on from there", file=sys.stderr)
        sys.exit(130)
    judged_by = {target.name: target.judged_by for target in targets}
    rows = list(table.rows.values())
    (out / "compare.md").write_text(tables.markdown(rows, judged_by), encoding="utf-8")
    plots.draw(rows, judged_by, out / "compare.png")
    print(f"{len(rows)} runs: {out}/compare.csv, compare.md, compare.png, compare.svg")


def configuration(args: argparse.Namespace) -> dict[str, Any]:
    """What all rows of a file must have in common to be compared."""
    return {
        "samples": args.samples,
        "distance_samples": args.distance_samples,
        "seed": args.seed,
        "edmjax": ej.__version__,
        "jax": jax.__version__,
        "diffrax": diffrax.__version__,
        "device": jax.devices()[0].device_kind,
    }


def check(args: argparse.Namespace) -> None:
    """Says what is wrong before anything runs or is written."""
    if not args.problems and not args.checkpoint:
        raise Mistake("There is nothing to solve: name --problems or a --checkpoint.")
    if args.samples < 4 or 0 < args.distance_samples < 4 * GROUPS:
        raise Mistake(
            f"--samples must be 4 or above and --distance-samples 0 or {4 * GROUPS} or above, got "
            f"{args.samples} and {args.distance_samples}."
        )
    if not 0 < args.tolerance_step <= 7 or not args.perturbation >= 0:
        raise Mistake(
            "--tolerance-step must be above 0 and at most 7, and --perturbation 0 or above, got "
            f"{args.tolerance_step:g} and {args.perturbation:g}."
        )
    if args.perturbation == float("inf") or not 0 <= args.seed < 2**32:
        raise Mistake(
            "--perturbation must be finite and --seed from 0 to 2^32 - 1, got "
            f"{args.perturbation:g} and {args.seed}."
        )
    if min([*args.budgets, *args.noisy_budgets], default=1) < 1:
        raise Mistake("A budget is 1 evaluation or more.")
    args.budgets, args.noisy_budgets = sorted(args.budgets), sorted(args.noisy_budgets)
    for schedule in args.schedules:
        methods.levels(schedule, 4, 0.5)
    for method in args.adaptive:
        methods.adaptive_of(method, 0.1, 0.5)
    for sampler in (*args.samplers, *args.noisy_samplers):
        made = ej.training.parse_sampler(sampler)
        plan = ej.make_plan(made, methods.levels(methods.GRIDS[0], 12, 0.5))
        if sampler in args.samplers and plan.num_draws:
            raise Mistake(
                f"{sampler!r} draws noise, so it has no error against the flow: name it in "
                "--noisy-samplers, where distances are compared."
            )


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="edmjax compare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="kinds:\n" + "\n".join(f"  {name:17} {what}" for name, what in KINDS.items()),
    )

    def add(name: str, text: str, **options: Any) -> None:
        default = FULL.get(name.replace("-", "_"))
        if default is not None:
            shown = default if not isinstance(default, list) else " ".join(map(str, default))
            text = f"{text} (default: {shown})"
        parser.add_argument(f"--{name}", help=text.replace("%", "%%"), **options)

    add("out", "directory for what is written", required=True)
    add("quick", "fewer of everything, to see that it runs", action="store_true")
    add("problems", "exact problems", nargs="*", choices=FULL["problems"])
    add("checkpoint", "directories of training runs", nargs="*", default=[])
    add("kinds", "which kinds of method, of those below", nargs="*", choices=list(KINDS))
    add("samplers", "samplers of edmjax, with options in Python's syntax", nargs="*")
    add("schedules", "their levels; sigma_data is that of the problem", nargs="*")
    add("budgets", "evaluations that fixed steps may take", nargs="*", type=int)
    add("adaptive", "adaptive samplers of edmjax", nargs="*")
    add("solvers", "solvers of diffrax", nargs="*", choices=methods.SOLVERS)
    add("forms", "the forms of the flow that diffrax solves", nargs="*", choices=methods.FORMS)
    add("noisy-samplers", "samplers compared by distances", nargs="*")
    add("noisy-budgets", "evaluations that they may take", nargs="*", type=int)
    add("samples", "starts of each problem; of P3, which costs most, half", type=int)
    add("distance-samples", "samples for distances, of P3 half; 0 takes no distances", type=int)
    add("perturbation", "error of the second denoiser (default: 0.3)", type=float, default=0.3)
    add("tolerance-step", "tolerances: 10^-1 to 10^-8 in steps of 10^-this", type=float)
    add("seed", "of starts, noise and exact samples (default: 0)", type=int, default=0)
    args = parser.parse_args(argv)
    for name, value in (QUICK if args.quick else FULL).items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    return args
