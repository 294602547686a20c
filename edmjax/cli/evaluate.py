"""Says how good a trained network of MNIST is, and its samples by sampler and evaluations.

    edmjax evaluate --checkpoint runs/mnist --quick                             # minutes
    edmjax evaluate --checkpoint runs/mnist --features classifier.safetensors   # an hour or two

Of the network: the loss on the test images, with the checkpoint's own noise levels and with those
of Karras et al. (2022); the loss by noise level against the best denoiser for the training set;
bits per dimension. Of samples, over --seeds sets of --num-samples: the distances to the nearest
training images, and with --features the Fréchet distance in the features of a classifier, shares
and classes under it, precision and recall. The line "test images" is what as many real images get
that the network never saw.

The classifier is trained in a checkout of edmjax, in two minutes:

    python benchmarks/mnist/train_classifier.py --out classifier.safetensors

How samples are drawn is written SAMPLER@SCHEDULE:BUDGETS, the budgets being evaluations:

    --samplers heun@karras:10,20,35 "unipc(order=3)@cosine:6,10"
    --samplers recommended:5,8,10 "learned@plans/{nfe}.json:5,8,10"

"recommended" is what ej.recommend chooses, "learned" a plan that edmjax fit-plan has written.

The directory given with --out receives summary.csv, levels.csv, samples.csv (a line for each set of
samples; without --features it is copies.csv), quality.csv (means and standard errors over seeds),
evaluation.md, quality.png and levels.png. An interrupted command resumes where it stopped when it
is run again; with other samplers or more seeds it adds theirs. docs/evaluation.md says what each
figure is.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from edmjax import training
from edmjax.cli._options import add_option, count, make_parser
from edmjax.evaluation import QUICK, Amounts, evaluate


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command."""
    args, amounts = _arguments(argv)
    out = args.out or Path(args.checkpoint) / "evaluation"
    mesh = training.split_over_cores(args.chunk_size)  # before any device is used
    with training.plain_errors():
        text = evaluate(
            args.checkpoint,
            out,
            amounts,
            features=args.features,
            data_dir=args.data_dir,
            chunk_size=args.chunk_size,
            mesh=mesh,
        )
        print(f"{text}\nAll of it: {out}/evaluation.md, *.csv, *.png")


def _arguments(argv: Sequence[str] | None) -> tuple[argparse.Namespace, Amounts]:
    parser, full = make_parser("evaluate", __doc__), Amounts()
    parser.add_argument("--checkpoint", required=True, help="directory of a training run")
    parser.add_argument("--features", help="file of a classifier, whose features are compared")
    parser.add_argument("--data_dir", help="directory with MNIST's files (default: downloaded)")
    parser.add_argument("--out", help="directory for results (default: CHECKPOINT/evaluation)")
    add_option(parser, "num-samples", "samples a set", full.num_samples, type=int)
    add_option(parser, "seeds", "sets of samples", full.seeds, type=count)
    add_option(parser, "samplers", "how samples are drawn", full.samplers, nargs="+")
    parser.add_argument(
        "--chunk-size", type=count, default=500, help="samples computed at once; changes no sample"
    )
    parser.add_argument("--quick", action="store_true", help="less of everything")
    args = parser.parse_args(argv)
    given = {name: getattr(args, name) for name in ("num_samples", "seeds", "samplers")}
    amounts = QUICK if args.quick else full
    amounts = amounts._replace(**{k: v for k, v in given.items() if v is not None})
    if not 100 <= amounts.num_samples <= 10_000:
        parser.error(
            f"--num-samples must be from 100 (a classifier has 64 features) to 10000 (the test "
            f"images that samples are compared with), got {amounts.num_samples}"
        )
    return args, amounts
