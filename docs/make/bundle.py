"""Writes the network of a run as one that comes with the package.

    python docs/make/bundle.py runs/digits edmjax/training/bundled/digits.safetensors

Its weights are rounded to 8 bits. The file may have at most 1,000,000 bytes.
"""

import argparse
import sys
from pathlib import Path

from edmjax import training

MOST = 1_000_000


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", help="directory of the run")
    parser.add_argument("out", type=Path, help="the file to write")
    args = parser.parse_args()
    arrays, config = training.load_weights(args.run)
    training.save_weights(args.out, arrays, config, eight_bits=True)
    size = args.out.stat().st_size
    count = sum(array.size for array in arrays.values())
    print(f"{args.out}: {count:,} numbers in {size:,} bytes")
    if size > MOST:
        args.out.unlink()
        sys.exit(f"error: that is more than {MOST:,} bytes, and the file was removed.")


if __name__ == "__main__":
    main()
