"""Trains the classifier of MNIST that scripts/evaluate.py judges samples with.

    python scripts/train_classifier.py --data_dir DIR

About two minutes on two CPU cores, less on a GPU. It is written to the cache
(~/.cache/edmjax/mnist_classifier.safetensors, or below XDG_CACHE_HOME) with its SHA-256 beside it,
where evaluate.py looks for it, and is not trained again while it is there. Figures compare only
where the checksum is the same.
"""

import argparse
from collections.abc import Sequence

from edmjax import training
from edmjax.evaluation import stored


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="train_classifier.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data_dir", help="directory with MNIST's files (default: downloaded)")
    parser.add_argument(
        "--out", default=stored.cache_path(), help="the file (default: %(default)s)"
    )
    args = parser.parse_args(argv)
    with training.plain_errors():
        judge = stored.find_classifier(args.out, args.data_dir)
    print(f"{args.out}: {judge.test_accuracy:.2%} of the test images, SHA-256 {judge.sha256}")


if __name__ == "__main__":
    main()
