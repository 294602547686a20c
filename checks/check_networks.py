"""Prints how near networks of images come to the exact denoiser of a mixture of 8x8 pixels.

    python checks/check_networks.py 2              # all of them on images(2)
    python checks/check_networks.py 3 unet dit

The recipes are those of `tests/support/trained.py`, chosen on images(1). A line has the CPU time of
the process in training, all cores together, the number of parameters, and the excess over the loss
of the exact denoiser: over all levels, and in the worst twelfth of them.
"""

import argparse
import resource
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.trained import RECIPES, of_images


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("seed", type=int, help="of the mixture")
    parser.add_argument("names", nargs="*", default=list(RECIPES), help="of the networks")
    given = parser.parse_args()
    print("network       CPU s  parameters  excess   worst")
    for name in given.names:
        trained, (all_levels, worst) = of_images(name, given.seed)
        size = f"{trained.parameters:>10,}"
        print(f"{name:<12} {trained.cpu:6.0f}  {size}  {all_levels:6.3f}  {worst:6.3f}", flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"The process took at most {peak:.1f} GiB of memory.")


if __name__ == "__main__":
    main()
