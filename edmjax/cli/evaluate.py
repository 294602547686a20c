"""Says how good a trained network is, and its samples by sampler and evaluations.

    edmjax evaluate --checkpoint runs/photos                                    # any data
    edmjax evaluate --checkpoint runs/photos --features mymodule:embed --test newer_photos/
    edmjax evaluate --checkpoint runs/mnist --features classifier.safetensors   # an hour or two

The data are those that the network was trained on, or --data. Of the network: the loss, with the
checkpoint's own noise levels; the loss by noise level against the best denoiser for the training
set; bits per dimension of bytes. All of it on training samples and, where there are some, on
samples that it has not seen: --test DATA, the part that training held out, or MNIST's test images.

Of samples, over --seeds sets of --num-samples, against as many training samples: sliced Wasserstein
and energy distance, the distances to the nearest training samples, and in features the Fréchet
distance, precision and recall, and a classifier two-sample test. The line "held-out samples" is
what as many real samples get that the network never saw. Features are one of

    --features package.module:function      yours: samples in the data's units to an array (n, d)
    --features inception=FILE.safetensors   those of the Fréchet inception distance, for images
    --features classifier.safetensors       those of a classifier of MNIST, with other figures

and without any, the numbers of a sample where there are at most 1,000. Figures are taken before
samples are rounded. MNIST's classifier is trained in a checkout of edmjax, in two minutes:

    python benchmarks/mnist/train_classifier.py --out classifier.safetensors

How samples are drawn is written SAMPLER@SCHEDULE:BUDGETS, the budgets being evaluations:

    --samplers heun@karras:10,20,35 "unipc(order=3)@cosine:6,10"
    --samplers recommended:5,8,10 "learned@plans/{nfe}.json:5,8,10"

"recommended" is what ej.recommend chooses, "learned" a plan that edmjax fit-plan has written.

The directory given with --out receives summary.csv, levels.csv, samples.csv (a line for each set of
samples; of MNIST without --features it is copies.csv), quality.csv (means and standard errors over
seeds), evaluation.md, quality.png and levels.png. An interrupted command resumes where it stopped
when it is run again; with other samplers or more seeds it adds theirs. docs/evaluation.md says what
each figure is.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from edmjax import training
from edmjax.cli._options import add_checkpoint, add_option, at_least, count, make_parser
from edmjax.evaluation import QUICK, Amounts, evaluate
from edmjax.evaluation.amounts import GENERAL
from edmjax.evaluation.general import LEAST
from edmjax.evaluation.measure import default_amounts
from edmjax.training.bundled import bundled


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command."""
    parser = _parser()
    args = parser.parse_args(argv)
    if args.out is None and args.checkpoint in bundled():
        parser.error(f"--checkpoint {args.checkpoint} comes with the package: add --out DIRECTORY")
    out = args.out or Path(args.checkpoint) / "evaluation"
    mesh = training.split_over_cores(args.chunk_size)  # before any device is used
    with training.plain_errors():
        what = {name: getattr(args, name) for name in ("features", "data", "test")}
        amounts = QUICK if args.quick else default_amounts(args.checkpoint, **what)
        given = {name: getattr(args, name) for name in ("num_samples", "seeds", "samplers")}
        amounts = amounts._replace(**{k: v for k, v in given.items() if v is not None})
        options = {"data_dir": args.data_dir, "chunk_size": args.chunk_size, "mesh": mesh}
        text = evaluate(args.checkpoint, out, amounts, **what, **options)
        print(f"{text}\nAll of it: {out}/evaluation.md, *.csv, *.png")


def _parser() -> argparse.ArgumentParser:
    parser, full = make_parser("evaluate", __doc__), Amounts()
    add_checkpoint(parser)
    parser.add_argument("--features", help="what samples are compared by, as above")
    parser.add_argument("--data", help="data in place of those that the network was trained on")
    parser.add_argument("--test", help="data of the same kind that the network has not seen")
    parser.add_argument("--data_dir", help="directory of built-in data (default: downloaded)")
    parser.add_argument("--out", help="directory for results (default: CHECKPOINT/evaluation)")
    add_option(parser, "num-samples", "samples a set", full.num_samples, type=at_least(LEAST))
    add_option(parser, "seeds", "sets of samples", full.seeds, type=count)
    text = "how samples are drawn; more for MNIST"
    add_option(parser, "samplers", text, GENERAL.samplers, nargs="+")
    parser.add_argument(
        "--chunk-size", type=count, default=500, help="samples computed at once; changes no sample"
    )
    parser.add_argument("--quick", action="store_true", help="less of everything")
    return parser
