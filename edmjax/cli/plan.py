"""Shows a plan, draws it, or writes it as a Python file that runs without edmjax.

    edmjax plan show plan.json
    edmjax plan show dyweight/cifar10/5
    edmjax plan list
    edmjax plan draw plan.json --out plan.png
    edmjax plan convert plan.json --to torch --out sampler.py

A plan is a file of `Plan.save` or of `edmjax fit-plan`, or the name of a published one. `list`
prints these names, each with the network that it is for. `show` prints the levels of a plan, and
for each row the weights that make the next point. `draw` writes a picture of the levels and of
the weights. `convert` writes a file that needs NumPy or PyTorch alone; its function
`sample(denoise, x, noises)` computes what `ej.sample` does.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import edmjax as ej
from edmjax._common.extras import missing
from edmjax.cli._options import add_option, make_parser
from edmjax.plans import FRAMEWORKS, about, convert, find, names


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command."""
    parser = make_parser("plan", __doc__)
    parser.add_argument("what", choices=("show", "draw", "convert", "list"), help="what to do")
    parser.add_argument(
        "plan",
        metavar="PLAN",
        nargs="?",
        help="the file of the plan, such as "
        "plan.json, or the name of a published plan, such as dyweight/cifar10/5",
    )
    add_option(parser, "to", "of convert: the package that the file is for", "numpy",
               choices=[*FRAMEWORKS], default="numpy")  # fmt: skip
    parser.add_argument("--out", metavar="FILE", help="of draw and convert: the file to write")
    args = parser.parse_args(argv)
    prints = args.what in ("show", "list")
    if (args.out is None) != prints:
        parser.error(
            f"{args.what} prints, and takes no --out" if prints else f"{args.what} needs --out FILE"
        )
    if (args.plan is None) != (args.what == "list"):
        parser.error(
            "list prints the published plans, and takes no PLAN"
            if args.what == "list"
            else f"{args.what} needs a PLAN: a file, or a name that edmjax plan list prints"
        )
    if args.what == "list":
        width = max(map(len, names()))
        print(*(f"{name:{width}}  {about(name).network}" for name in names()), sep="\n")
        return 0
    try:
        plan = find(args.plan)
        if args.what == "show":
            print(plan)
        else:
            (_draw if args.what == "draw" else _convert)(plan, args)
            print(args.out)
    except OSError as err:
        where = f"{err.filename}: {err.strerror}" if err.filename else err
        parser.exit(1, f"error: {where}\n")
    except (ValueError, ImportError) as err:
        parser.exit(1, f"error: {err}\n")
    return 0


def _convert(plan: ej.Plan, args: Any) -> None:
    Path(args.out).write_text(convert(plan, to=args.to), encoding="utf-8")


def _draw(plan: ej.Plan, args: Any) -> None:
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as err:
        raise missing(err, "edmjax plan draw", "plot") from err
    figure = Figure(figsize=(12, 5), layout="constrained")
    left, right = figure.subplots(1, 2)
    ej.plot.sigmas({Path(args.plan).name: plan.grid}, ax=left)
    ej.plot.plan(plan, ax=right)
    figure.savefig(args.out, dpi=120)
