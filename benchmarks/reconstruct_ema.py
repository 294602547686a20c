"""Makes an average of a run's parameters whose width is not one that the run kept.

    python benchmarks/reconstruct_ema.py --run runs/mnist --sigma-rel 0.15 --out wide.safetensors
    edmjax sample --checkpoint wide.safetensors --out samples

The run must have been trained with optim.ema_sigma_rel, for example [0.05, 0.1]. The width is the
standard deviation of the averaging profile as a part of the run, up to 0.2887 (the plain mean). The
error that is printed is that of the profile: what the snapshots cannot tell. Smaller
checkpoint_every, and so more snapshots, lowers it.

Source: Karras et al. 2024 (arXiv 2312.02696), section 3.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from edmjax import training
from edmjax.training.files import make_directory


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="reconstruct_ema.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--run", required=True, help="directory of a training run")
    parser.add_argument("--sigma-rel", required=True, type=float, help="width of the average")
    parser.add_argument("--out", required=True, help="file to write, a weights.safetensors")
    args = parser.parse_args(argv)
    with training.plain_errors():
        out = Path(args.out)
        make_directory(out.parent, out.name)
        arrays, config, error = training.reconstruct_ema(args.run, args.sigma_rel)
        training.save_weights(args.out, arrays, config)
    print(f"{args.out}: error of the profile {error:.2%}")


if __name__ == "__main__":
    main()
